"""VDUSE devices: which there can be, what a refusal means, and what makes way for one."""
from __future__ import annotations

import errno
from pathlib import Path

import pytest

from agent import vduse
from agent.actions import AddPort
from agent.model import Registration
from agent.refusal import NO_OFPORT
from agent.refused import sentence
from tests.unit.test_validate import CONFIG, port, row, wish

DEVICE = "/dev/vduse/v0"


def refusal(error: int, pairs: int = 1) -> str:
    spec = port(CONFIG, **{"vhost-server-path": DEVICE, "vhost-max-queue-pairs": str(pairs)})
    failure = OSError(error, "rte_vhost_driver_start: the system's words")
    return sentence(AddPort(spec), failure, "DPDK 22.11.9").partition(": ")[2]


@pytest.mark.parametrize(("error", "pairs", "said"), [
    (errno.EOPNOTSUPP, 4, "VDUSE needs DPDK 24.11, this is DPDK 22.11.9"),
    (errno.ENOENT, 4, "there is no VDUSE in /dev (modprobe vduse)"),
    (errno.EBUSY, 1, "another process serves it, or it was left with other queue pairs or "
                     "features, or without its file in /var/run/vduse (vdpa dev del v0)"),
    (errno.EINVAL, 2, "the kernel makes no VDUSE network device with a control queue, which more "
                      "than one queue pair needs: set vhost-max-queue-pairs=1"),
    (errno.EINVAL, 1, "rte_vhost_driver_start: the system's words"),
    (errno.EPERM, 4, "rte_vhost_driver_start: the system's words"),
    (0, 1, "rte_vhost_driver_start: the system's words"),
])
def test_refusal_says_what_it_means(error: int, pairs: int, said: str) -> None:
    assert refusal(error, pairs) == f"VDUSE device {DEVICE}: {said}"


def test_socket_is_refused_as_a_socket() -> None:
    said = sentence(AddPort(port(CONFIG)), OSError(errno.EINVAL, "call: why"), "DPDK 24.11.4")
    assert said.endswith(": socket /tmp/p: call: why")


@pytest.mark.parametrize("name", ["", "control", "..", ".", "a/b", "../sda", "a/"])
def test_path_that_names_no_device_is_refused(name: str) -> None:
    bad = row("p", options={"vhost-server-path": vduse.VDUSE_DIR + name})
    assert wish(bad).errors == {"p": NO_OFPORT.format("p", "Invalid argument") + (
        f": '{vduse.VDUSE_DIR}{name}' is no VDUSE device: /dev/vduse/ and a name without '/', "
        "which is not control")}


def test_device_is_taken_by_its_path() -> None:
    device = port(CONFIG, **{"vhost-server-path": DEVICE}).device
    assert device == Registration(DEVICE, True)


@pytest.mark.parametrize(("environment", "root", "directory"), [
    ({}, True, "/var/run"), ({"XDG_RUNTIME_DIR": "/run/user/1"}, True, "/var/run"),
    ({}, False, "/tmp"), ({"XDG_RUNTIME_DIR": "/run/user/1"}, False, "/run/user/1"),
    ({"RUNTIME_DIRECTORY": "/run/x", "XDG_RUNTIME_DIR": "/y"}, True, "/run/x"),
])
def test_state_is_looked_for_where_the_library_keeps_it(environment: dict[str, str], root: bool,
                                                        directory: str) -> None:
    assert vduse.kept_state(DEVICE, environment, root) == Path(directory, "vduse/v0")


@pytest.mark.parametrize("there", [False, True])
def test_what_was_kept_of_a_device_goes_only_after_the_device(
        there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    monkeypatch.setattr(vduse, "VDUSE_DIR", f"{tmp_path}/dev/")
    kept, device = tmp_path / "vduse/v0", tmp_path / "dev/v0"
    for directory in (kept.parent, device.parent):
        directory.mkdir()
    kept.touch()
    if there:
        device.touch()
    vduse.make_way(str(device))
    assert kept.exists() is there
    vduse.make_way(str(device))         # nothing is in the way any more
