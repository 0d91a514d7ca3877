"""The package that `make deb` made, on a Debian 12 without systemd and on one with it."""
from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import VERSION
from tools.clean_machine import CleanMachine
from tools.systemd_machine import BOOT_S, SystemdMachine

CHECKOUT = Path(__file__).parents[2]
DEB = CHECKOUT / f"build/ovs-vhost-agent_{VERSION}_amd64.deb"


@pytest.fixture(scope="session")
def deb() -> Path:
    assert DEB.exists(), f"there is no {DEB}: make deb"
    return DEB


@pytest.fixture
def directory() -> Iterator[Path]:
    """Of this host and of clean machines, at the same path, for /tmp is shared; other users pass
    through, as they may not through pytest's own."""
    with tempfile.TemporaryDirectory(prefix="vhost-package.") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture
def clean(deb: Path) -> Iterator[CleanMachine]:
    with CleanMachine() as machine:
        yield machine


@pytest.fixture
def installed(clean: CleanMachine, deb: Path, tmp_path: Path) -> CleanMachine:
    """With the package, and what it depends on."""
    copy = shutil.copy(deb, tmp_path / "agent.deb")
    clean.run(f"apt-get -qq install -y {copy}")
    return clean


@pytest.fixture(scope="module")
def systemd(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SystemdMachine]:
    """A machine that systemd booted, with ovs-vswitchd, and the package beside it in /mnt."""
    directory = tmp_path_factory.mktemp("systemd")
    files = directory / "files"
    files.mkdir()
    shutil.copy(deb, files / "agent.deb")
    shutil.copytree(CHECKOUT / "tools", files / "tools", ignore=shutil.ignore_patterns("*.so"))
    shutil.copytree(CHECKOUT / "tests/package", files / "package")
    with SystemdMachine("package", directory, files) as machine:
        machine.wait_ready()
        assert machine.run("systemctl is-system-running --wait", BOOT_S).strip() == "running"
        yield machine
