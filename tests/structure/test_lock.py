"""What is installed of Python's packages is what requirements.lock has, each file by its hash."""
from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tools import requirements

ROOT = Path(__file__).parents[2]
ENTRIES = list(requirements.entries(requirements.LOCK.read_text(encoding="utf-8")))
# Where packages are installed; those of Debian come by apt, which looks at signatures.
INSTALLING = [ROOT / "Makefile", *(path for room in ("packaging", "tools", ".ci")
                                   for path in (ROOT / room).rglob("*")
                                   if path.is_file() and b"\0" not in path.read_bytes()[:4096])]


def asked(entry: str) -> Requirement:
    return Requirement(entry.partition("\\")[0].strip())


def test_lock_has_what_is_asked_for_and_nothing_without_a_hash() -> None:
    versions = {name: asked(entry) for name, entry in ENTRIES}
    for wanted in map(Requirement, requirements.wanted()):
        (pin,) = versions[requirements.canonical(wanted.name)].specifier
        assert wanted.specifier.contains(pin.version), wanted
    for name, entry in ENTRIES:
        assert len(asked(entry).specifier) == 1, name
        assert re.search(r" --hash=sha256:[0-9a-f]{64}\b", entry), name


def test_every_file_of_the_lock_is_an_entry() -> None:
    """A line that is none would be installed all the same, or stop the installation."""
    lines = requirements.LOCK.read_text(encoding="utf-8").splitlines()
    seen = "\n".join(entry for _, entry in ENTRIES).splitlines()
    assert seen == [line for line in lines if not line.startswith("#")]


def test_environment_is_that_of_the_lock() -> None:
    here = {requirements.canonical(name): str(next(iter(pin.specifier)).version)
            for name, pin in ((name, asked(entry)) for name, entry in ENTRIES)
            if pin.marker is None or pin.marker.evaluate()}
    installed = {requirements.canonical(d.metadata["Name"]): d.version
                 for d in metadata.distributions()}
    assert {name: v for name, v in here.items() if installed.get(name) != v} == {}


@pytest.mark.parametrize("path", INSTALLING, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_installed_without_hashes(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace("\\\n", "")
    assert [line for line in text.splitlines() if re.search(r'pip"? install|"pip", "install"', line)
            and "--require-hashes --no-deps" not in line
            and not line.endswith(" --no-build-isolation --no-deps --editable .")] == []


def test_package_that_the_lock_lacks_is_said() -> None:
    assert requirements.locked(["Cython"])[0].startswith("cython==")
    with pytest.raises(SystemExit, match=r"does not have no-such: run `make lock`"):
        requirements.locked(["cython", "no_such"])
