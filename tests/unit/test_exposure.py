"""What other users could get at, of real files and this process's umask."""
from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.exposure import close_umask, exposures
from agent.model import SERVER_TYPE, Memory, PortSpec, Registration
from agent.remotes import TlsFiles
from agent.settings import Settings
from agent.socket_directories import SocketDirectories


@pytest.fixture
def umask() -> Iterator[int]:
    before = os.umask(0)
    yield before
    os.umask(before)


@pytest.fixture
def private(tmp_path: Path) -> Settings:
    """Of an agent that others get nothing of."""
    directory = tmp_path / "run"
    directory.mkdir(mode=0o700)
    (directory / "key").touch(mode=0o600)
    return Settings(name="x", remote="", rundir=str(directory), logdir=str(directory),
                    standalone=None, schema_file=Path("/x"),
                    tls=TlsFiles(private_key=str(directory / "key")))


@pytest.mark.parametrize(("given", "used"), [(0, 0o002), (0o022, 0o022), (0o077, 0o077),
                                             (0o020, 0o022), (0o777, 0o777)])
def test_nothing_is_made_that_everybody_may_write_to(umask: int, tmp_path: Path, given: int,
                                                     used: int) -> None:
    os.umask(given)
    assert close_umask() == given
    assert os.umask(0) == used


def test_nothing_is_said_of_what_is_closed(private: Settings) -> None:
    assert list(exposures(private, 0o022)) == []
    assert list(exposures(replace(private, rundir="/nowhere", tls=TlsFiles()), 0o002)) == []


def test_umask_is_said(private: Settings) -> None:
    (said,) = exposures(private, 0o020)
    assert said.startswith("started with the umask 0020, which would let every user")
    assert said.endswith(": 0022 is used")


def test_directories_are_said(private: Settings, tmp_path: Path) -> None:
    for what in ("rundir", "logdir"):
        for mode in (0o777, 0o1777, 0o702):
            (tmp_path / what).mkdir(exist_ok=True)
            (tmp_path / what).chmod(mode)
            (said,) = exposures(replace(private, **{what: str(tmp_path / what)}), 0o022)
            assert f"directory {tmp_path}/{what}: every user of this host may put files" in said


def test_directories_of_sockets_are_said_once(tmp_path: Path) -> None:
    (tmp_path / "open/inner").mkdir(parents=True)
    tmp_path.chmod(0o777)                           # said at the start
    (tmp_path / "open").chmod(0o777)

    def port(name: str, client: bool = False) -> PortSpec:
        return PortSpec("p", "br0", SERVER_TYPE, Registration(f"{tmp_path}/{name}", client), 8,
                        Memory(1500, 2048))
    directories = SocketDirectories(str(tmp_path))
    for nothing in (port("s"), port("open/c", client=True)):
        assert list(directories.exposures(nothing)) == []
    (said,) = directories.exposures(port("open/inner/s"))
    assert said.startswith(f"vhost-sock-dir {tmp_path}/open: every user of this host may put ")
    assert list(directories.exposures(port("open/inner/t"))) == []


@pytest.mark.parametrize(("remote", "said"), [
    ("tcp:10.0.0.1:6640", 1), ("tcp:[fe80::1]:6640,tcp:10.0.0.1:6640", 2),
    ("tcp:127.0.0.1:6640,tcp:[::1]:6640,unix:/x,y,ssl:10.0.0.1:6640", 0)])
def test_remotes_that_anybody_can_read_are_said(private: Settings, remote: str, said: int) -> None:
    found = list(exposures(replace(private, remote=remote), 0o022))
    assert [text.split(": ")[0] for text in found] == [
        f"remote {r}" for r in remote.split(",")[:said]]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_private_key_is_said(private: Settings, mode: int) -> None:
    key = Path(str(private.tls.private_key))
    key.chmod(mode)
    (said,) = exposures(private, 0o022)
    assert said == (f"--private-key={key}: others than its owner may read it (mode {mode:04o}), "
                    "and so be taken for this agent")
