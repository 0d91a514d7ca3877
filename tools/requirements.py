"""What of Python's packages is wanted (pyproject.toml), and what that is in numbers and hashes
(requirements.lock). For any Python, before anything is installed.

    tools/requirements.py wanted            what `make lock` looks for, one requirement a line
    tools/requirements.py locked NAME...    these entries of the lock, for `pip --requirement`
"""
from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
ENTRY = re.compile(r"([\w.-]+)==\S+.*(?:\n .*)*", re.ASCII)
# pip, too, is installed by its hash.
INSTALLER = "pip"


def wanted() -> list[str]:
    """To build, to run and to develop."""
    found = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = found["project"]
    return [INSTALLER, *found["build-system"]["requires"], *project["dependencies"],
            *(word for words in project["optional-dependencies"].values() for word in words)]


def canonical(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def entries(text: str) -> Iterator[tuple[str, str]]:
    """(name, whole entry) of a lock; a package has two where the Python decides."""
    for match in ENTRY.finditer(text):
        yield canonical(match[1]), match[0]


def locked(names: list[str]) -> list[str]:
    """Entries of these packages, and of none that they need. Raises SystemExit."""
    found = list(entries(LOCK.read_text(encoding="utf-8")))
    if missing := {canonical(name) for name in names} - {name for name, _ in found}:
        sys.exit(f"requirements: {LOCK.name} does not have {', '.join(sorted(missing))}: "
                 "run `make lock`")
    return [entry for name, entry in found if name in {canonical(name) for name in names}]


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["wanted"]:
            print(*wanted(), sep="\n")
        case ["locked", *names]:
            print(*locked(names), sep="\n")
        case _:
            sys.exit(__doc__)
