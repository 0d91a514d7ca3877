"""Compiles the extension's Cython with all warnings on; fails when there is one."""
import subprocess
import sys
import tempfile
from pathlib import Path

OPTIONS = ["-3", "-Wextra", "--no-docstrings"]


def main() -> int:
    failed = False
    for source in sorted([*Path("pmd_ext").glob("*.pyx"), *Path("tools").glob("*.pyx")]):
        with tempfile.TemporaryDirectory() as directory:
            done = subprocess.run(
                [sys.executable, "-m", "cython", *OPTIONS, str(source), "-o",
                 f"{directory}/{source.stem}.c"],
                capture_output=True, text=True, check=False)
        # every generator expression is an "unused entry" to Cython
        said = [line for line in done.stderr.splitlines(keepends=True) if "'genexpr'" not in line]
        if done.returncode or any("warning:" in line for line in said):
            failed = True
            sys.stderr.writelines(said)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
