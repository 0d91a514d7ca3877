"""Tests of the data plane, compiled for one of gcc's sanitizers; librte_vhost is compiled with it.

    python -m tools.sanitize address|thread [ARGUMENTS OF PYTEST]

What is compiled lies in build/asan or build/tsan. The rest of DPDK and Python are as they always
are. A report of the sanitizer ends the process that made it, and fails the run.
"""
from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
HOOK = ROOT / "tools/sanitizers"                # every Python of the run imports what is here
# Little is inlined, so reports name lines; frames and all, tests take twice their usual time.
FLAGS = ("-O1", "-g1", "-fno-omit-frame-pointer", "-w")
FUNCTIONAL = tuple(f"tests/functional/test_{name}.py" for name in ("guests", "kill", "churn"))


@dataclass(frozen=True)
class Sanitizer:
    """One of gcc's, or several that work together."""
    directory: Path                             # of all that is made for it
    flags: tuple[str, ...]                      # for gcc, when it compiles and when it links
    libraries: tuple[str, ...]                  # gcc's, to be loaded before Python
    options: dict[str, str]                     # environment of the libraries
    tests: tuple[str, ...]                      # what runs when nothing is named


SANITIZERS = {
    "address": Sanitizer(
        ROOT / "build/asan", (*FLAGS, "-fsanitize=address,undefined"), ("libasan", "libubsan"),
        {"LSAN_OPTIONS": f"suppressions={HOOK}/lsan.supp:print_suppressions=0:use_tls=0",
         "ASAN_OPTIONS": "abort_on_error=1:handle_segv=2:strict_string_checks=1:"
                         "detect_stack_use_after_return=1",
         "UBSAN_OPTIONS": f"suppressions={HOOK}/ubsan.supp:halt_on_error=1:abort_on_error=1:"
                          "print_stacktrace=1"},
        ("tests/ext", *FUNCTIONAL)),
    "thread": Sanitizer(
        # DPDK's locks, atomics and rings made of what the sanitizer knows, not of assembler
        ROOT / "build/tsan", (*FLAGS, "-fsanitize=thread", "-DRTE_FORCE_INTRINSICS",
                              "-DRTE_USE_C11_MEM_MODEL"), ("libtsan",),
        {"TSAN_OPTIONS": f"history_size=7:suppressions={HOOK}/tsan.supp"},
        ("tests/ext", FUNCTIONAL[0])),
}


def build(sanitizer: Sanitizer) -> None:
    """The extension and librte_vhost, as far as they are not there yet; exits with a sentence
    where that cannot be done."""
    directory, flags = sanitizer.directory, sanitizer.flags
    package, made = directory / "pmd_ext", directory / "flags"
    if not made.exists() or made.read_text() != f"{flags}":
        shutil.rmtree(directory, ignore_errors=True)
        package.mkdir(parents=True)
        made.write_text(f"{flags}")
    # the library is one large file, and compiled by one processor
    with subprocess.Popen(["tools/build-vhost", str(package), *flags], cwd=ROOT):
        subprocess.run([sys.executable, "setup.py", "-q", "build_ext", f"-j{os.cpu_count()}",
                        f"--build-lib={directory}", f"--build-temp={directory}/temp"], cwd=ROOT,
                       env={**os.environ, "EXTENSION_FLAGS": " ".join(flags)}, check=True)
    shutil.copy(ROOT / "pmd_ext/__init__.py", package)
    if not any(package.glob("lib/**/librte_vhost.so.*")):
        sys.exit("sanitize: without a librte_vhost compiled for it most of the work would be "
                 "left out; the lines above say what is missing.")


def library(name: str) -> str:
    return subprocess.run(["gcc", f"-print-file-name={name}.so"], check=True, text=True,
                          capture_output=True).stdout.strip()


def environment(sanitizer: Sanitizer, reports: Path) -> dict[str, str]:
    """Of the tests and of all that they start."""
    return {
        **os.environ,
        # what is compiled first, and no directory before it that a program is started in
        "PYTHONPATH": f"{HOOK}:{sanitizer.directory}:{ROOT}", "PYTHONSAFEPATH": "1",
        "PYTHONMALLOC": "malloc",               # the sanitizer sees each object
        "SANITIZER_LIBRARIES": " ".join(map(library, sanitizer.libraries)),
        **{name: f"{options}:log_path={reports}/report" for name, options
           in sanitizer.options.items()},
    }


def run(command: Sequence[str], env: dict[str, str]) -> int:
    """Exit status of a command, which is told what this process is told."""
    child = subprocess.Popen(command, cwd=ROOT, env=env)
    signal.signal(signal.SIGINT, signal.SIG_IGN)            # a terminal tells both
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: child.send_signal(number))
    return child.wait()


def main(sanitizer: Sanitizer, arguments: Sequence[str]) -> int:
    build(sanitizer)
    reports = sanitizer.directory / "reports"
    shutil.rmtree(reports, ignore_errors=True)
    reports.mkdir()
    status = run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider",
                  # undefined behaviour is reported on stderr in any case
                  "--capture=sys",
                  "-o", f"pythonpath={sanitizer.directory} .", *(arguments or sanitizer.tests)],
                 environment(sanitizer, reports))
    made = sorted(reports.iterdir())
    for report in made:
        print(f"--- {report}", report.read_text(errors="replace"), sep="\n")
    print(f"{len(made)} reports of the sanitizer")
    return 1 if made or status else 0


if __name__ == "__main__":
    match sys.argv[1:]:
        case [name, *arguments] if name in SANITIZERS:
            sys.exit(main(SANITIZERS[name], arguments))
    sys.exit(__doc__)
