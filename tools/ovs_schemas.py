"""The database schemas of the Open vSwitch versions that are supported, from Debian's packages.

`python -m tools.ovs_schemas` puts them into build/schemas. apt works in a directory of its own:
the host's sources, lists and packages are not touched.
"""
from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

BUILD = Path(__file__).parents[1] / "build"
SCHEMAS = BUILD / "schemas"
RELEASES = {"3.1": "bookworm", "3.5": "trixie"}     # of Open vSwitch: of Debian
PACKAGE = "openvswitch-switch"
MEMBER = "./usr/share/openvswitch/vswitch.ovsschema"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


class SchemaError(Exception):
    """A schema cannot be had; the text says why."""


def run(*command: str, directory: Path | None = None, data: bytes = b"") -> bytes:
    try:
        return subprocess.run(command, cwd=directory, input=data, capture_output=True,
                              check=True).stdout
    except FileNotFoundError as e:
        raise SchemaError(f"{command[0]} is not installed") from e
    except subprocess.CalledProcessError as e:
        said = e.stderr.decode(errors="replace").strip()
        raise SchemaError(f"{' '.join(command)}: {said}") from e


def configured_uris() -> Iterator[str]:
    """URIs in the host's apt sources, of either format."""
    etc = Path("/etc/apt")
    for file in [etc / "sources.list", *sorted(etc.glob("sources.list.d/*"))]:
        if file.suffix not in (".list", ".sources") or not file.is_file():
            continue
        for line in file.read_text(errors="replace").splitlines():
            if found := re.match(r"deb(?:\s+\[[^]]*\])?\s+(\S+)|URIs:\s*(\S+)", line):
                yield found[1] or found[2]


def mirror() -> str:
    """The host's own Debian mirror. Raises SchemaError when it has none."""
    for uri in configured_uris():
        if uri.rstrip("/").endswith("/debian"):
            return uri.rstrip("/")
    raise SchemaError("no source in /etc/apt is a Debian mirror")


def fetch(version: str) -> Path:
    """The schema of a version, which is fetched when it is not there. Raises SchemaError."""
    target = SCHEMAS / f"ovs-{version}.ovsschema"
    if target.exists():
        return target
    suite = RELEASES[version]
    apt = BUILD / "apt" / suite
    shutil.rmtree(apt, ignore_errors=True)      # of a run that was ended
    for part in ("etc/apt.conf.d", "state/lists/partial", "cache/archives/partial", "log"):
        (apt / part).mkdir(parents=True, exist_ok=True)
    (apt / "etc/sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror()} {suite} main\n")
    options = [f"Dir::Etc={apt}/etc", f"Dir::Etc::SourceList={apt}/etc/sources.list",
               f"Dir::Etc::SourceParts={apt}/etc/none", f"Dir::State={apt}/state",
               f"Dir::State::status={apt}/state/status", f"Dir::Cache={apt}/cache",
               f"Dir::Log={apt}/log", "APT::Sandbox::User=root", "Acquire::Languages=none",
               "Acquire::Retries=3"]
    (apt / "state/status").touch()
    words = ["apt-get", "-qq", *(word for option in options for word in ("-o", option))]
    run(*words, "update")
    run(*words, "download", PACKAGE, directory=apt)
    (package,) = apt.glob("*.deb")
    tar = run("dpkg-deb", "--fsys-tarfile", str(package))
    content = run("tar", "--extract", "--to-stdout", MEMBER, data=tar)
    SCHEMAS.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    partial.write_bytes(content)
    partial.rename(target)
    shutil.rmtree(apt)
    return target


def main() -> int:
    try:
        for version in RELEASES:
            print(fetch(version))
    except SchemaError as e:
        print(f"ovs_schemas: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
