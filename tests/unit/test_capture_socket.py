"""The socket of a capture, in a directory that root gives to the agent's user with nothing else."""
from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.capture import SOCKET, listen

NOBODY = 65534


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as made:
        yield made


@pytest.fixture
def made(tmp_path: Path) -> Path:
    directory = tmp_path / "capture.x"
    directory.mkdir(mode=0o700)
    return directory


def test_both_are_the_agents(made: Path, listener: socket.socket) -> None:
    listen(listener, str(made), NOBODY)
    assert [os.lstat(path).st_uid for path in (made, made / SOCKET)] == [NOBODY, NOBODY]
    with socket.socket(socket.AF_UNIX) as agent:
        agent.connect(f"{made}/{SOCKET}")
        listener.accept()[0].close()


def link(directory: Path, victim: Path) -> None:
    directory.rmdir()
    directory.symlink_to(victim)


def foreign(directory: Path, victim: Path) -> None:
    os.chown(directory, NOBODY, -1)


def opened(directory: Path, victim: Path) -> None:
    directory.chmod(0o777)


@pytest.mark.parametrize("replace", [link, foreign, opened])
def test_what_was_put_in_its_place_is_not_given_away(
        made: Path, listener: socket.socket, replace: Callable[[Path, Path], None], tmp_path: Path
        ) -> None:
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o700)
    replace(made, victim)
    before = os.stat(made).st_uid
    with pytest.raises(OSError, match=r"somebody has replaced it|Not a directory"):
        listen(listener, str(made), NOBODY + 1)
    assert os.stat(made).st_uid == before
    assert list(made.iterdir()) == []
