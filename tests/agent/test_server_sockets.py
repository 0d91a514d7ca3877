"""Sockets of server ports for guests of other users: a real agent, real files, real guests."""
from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.agent.conftest import Contract
from tools.frontend import FrontEnd, ethernet
from tools.guest import is_listening
from tools.host import Host, wait_until

A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
NOBODY = 65534                  # user nobody and group nogroup
STRANGER = 54321                # a user without a name
EVERYBODY = "vhost-sock-mode: 0666 lets every user of this host connect"
KEEPS = "the socket keeps owner root, group root, mode "


def access(path: str) -> tuple[int, int, int]:
    """Owner, group and mode of a file, not of what it leads to."""
    file = os.lstat(path)
    return file.st_uid, file.st_gid, stat.S_IMODE(file.st_mode)


def as_made() -> tuple[int, int, int]:
    """What a process of ours makes sockets with."""
    umask = os.umask(0)
    os.umask(umask)
    return os.geteuid(), os.getegid(), 0o777 & ~umask


@contextmanager
def user(uid: int, gid: int = STRANGER) -> Iterator[None]:
    """This process is that of another user, without privileges and other groups."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def may_connect(path: str, uid: int, gid: int = STRANGER) -> bool:
    with user(uid, gid), socket.socket(socket.AF_UNIX) as guest:
        try:
            guest.connect(path)
        except PermissionError:
            return False
        return True


def remove(contract: Contract, name: str, *keys: str) -> None:
    for key in keys:
        contract.host.vsctl("remove", "Interface", name, "options", key)


# --- who may connect ------------------------------------------------------------------------------

def test_guest_of_another_user_is_served(contract: Contract) -> None:
    contract.config("vhost-sock-owner=nobody", "vhost-sock-mode=0600")
    for name in ("p", "q"):
        contract.server(name)
    with user(NOBODY):
        guests = [contract.guest(str(contract.host.directory / n), listen=False) for n in "pq"]
    wait_until(lambda: contract.host.connected("p") and contract.host.connected("q"), "connected")
    guests[0].send([ethernet("ff:ff:ff:ff:ff:ff", A)] * 5)
    assert len(guests[1].recv_wait(5)) == 5


@pytest.mark.parametrize(("settings", "who"), [
    ((), set()),
    (("owner=nobody",), {"owner"}),
    (("owner=65534", "mode=0600"), {"owner"}),
    (("group=nogroup", "mode=0660"), {"group"}),
    (("group=65534",), set()),                  # the umask gives groups nothing to write with
    (("mode=0666",), {"owner", "group", "stranger"}),
    (("owner=nobody", "group=nogroup", "mode=0060"), {"group"})])
def test_those_may_connect_who_may_write_to_the_socket(
        contract: Contract, settings: tuple[str, ...], who: set[str]) -> None:
    path = contract.server("s0", *(f"options:vhost-sock-{s}" for s in settings))
    assert contract.problems("s0") == (EVERYBODY if "mode=0666" in settings else "")
    assert {name for name, uid, gid in (("owner", NOBODY, STRANGER), ("group", STRANGER, NOBODY),
                                        ("stranger", STRANGER, STRANGER))
            if may_connect(path, uid, gid)} == who


def test_setting_for_all_ports_is_of_old_and_new_sockets_and_a_ports_own_wins(
        contract: Contract) -> None:
    old = contract.server("s0")
    own = contract.server("s1", "options:vhost-sock-mode=0640", "options:vhost-sock-group=4")
    contract.config("vhost-sock-owner=nobody", "vhost-sock-group=nogroup", "vhost-sock-mode=0660")
    new = contract.server("s2")
    assert access(old) == access(new) == (NOBODY, NOBODY, 0o660)
    assert access(own) == (NOBODY, 4, 0o640)
    remove(contract, "s1", "vhost-sock-mode", "vhost-sock-group")
    assert access(own) == (NOBODY, NOBODY, 0o660)
    for key in ("owner", "group", "mode"):
        contract.host.vsctl("remove", "Open_vSwitch", ".", "other_config", f"vhost-sock-{key}")
    assert access(old) == access(own) == access(new) == as_made()
    assert all(contract.problems(name) == "" for name in ("s0", "s1", "s2"))


def test_socket_in_another_directory_has_them_too(contract: Contract) -> None:
    (contract.host.directory / "sub").mkdir(exist_ok=True)
    contract.server("s0", "options:vhost-sock-owner=nobody", "options:vhost-sock-mode=0600")
    contract.config("vhost-sock-dir=sub")
    assert access(str(contract.host.directory / "sub" / "s0")) == (NOBODY, 0, 0o600)


# --- a change under a guest -----------------------------------------------------------------------

def test_guest_keeps_its_connection_and_every_frame(contract: Contract) -> None:
    paths = [contract.server(name) for name in ("p", "q")]
    a, b = (contract.joined(name, server=True) for name in ("p", "q"))
    b.send([ethernet(A, B)])
    a.recv_wait(1)
    files = [os.stat(path).st_ino for path in paths]
    steps = [("mode=0600", (0, 0, 0o600)), ("owner=nobody", (NOBODY, 0, 0o600)),
             ("group=nogroup", (NOBODY, NOBODY, 0o600)), ("mode=0000", (NOBODY, NOBODY, 0)),
             ("owner=no-such-user", (NOBODY, NOBODY, 0)), ("owner=root", (0, NOBODY, 0)),
             ("mode=0777", (0, NOBODY, 0o777))]
    for n, (setting, expected) in enumerate(steps):
        frames = [ethernet(B, A, f"{n} {i}".encode()) for i in range(100)]
        a.send(frames[:50])
        contract.config(f"vhost-sock-{setting}")
        assert [access(path) for path in paths] == [expected] * 2
        a.send(frames[50:])
        assert b.recv_wait(100) == frames
        assert "pending" not in contract.status("p")
    assert [os.stat(path).st_ino for path in paths] == files
    assert contract.fresh("p")["rx_packets"] == 100 * len(steps)


# --- what cannot be used --------------------------------------------------------------------------

@pytest.mark.parametrize(("setting", "said"), [
    ("owner=no-such-user", "vhost-sock-owner: this host has no user 'no-such-user' (allowed: a "
     "user's name or number); the socket keeps owner nobody, group nogroup, mode 0620"),
    ("group=no-such-group", "vhost-sock-group: this host has no group 'no-such-group' (allowed: a "
     "group's name or number); the socket keeps owner nobody, group nogroup, mode 0620"),
    ("owner=4294967295", "vhost-sock-owner: '4294967295' is outside 0..4294967294, using owner "
     "nobody, group nogroup, mode 0620"),
    ("mode=1777", "vhost-sock-mode: '1777' is not an octal number of 0000..0777, using owner "
     "nobody, group nogroup, mode 0620"),
    ("mode=rw-rw----", "vhost-sock-mode: 'rw-rw----' is not an octal number of 0000..0777, using "
     "owner nobody, group nogroup, mode 0620")])
def test_unusable_value_is_said_and_stops_no_port(contract: Contract, setting: str, said: str
                                                  ) -> None:
    """Nor does it change anything, be it the port's own or of all."""
    good = ["vhost-sock-owner=nobody", "vhost-sock-group=nogroup", "vhost-sock-mode=0620"]
    path = contract.server("s0", *(f"options:{s}" for s in good))
    contract.set("s0", f"options:vhost-sock-{setting}")
    assert contract.problems("s0") == said
    assert access(path) == (NOBODY, NOBODY, 0o620)
    contract.joined("s0", server=True)
    contract.server("s1")
    assert contract.problems("s1") == ""
    contract.joined("s1", server=True)
    contract.set("s0", *(f"options:{s}" for s in good))
    assert contract.problems("s0") == ""

    contract.config(*good)
    contract.config(f"vhost-sock-{setting}")
    assert contract.problems("s1").startswith(said)
    assert access(str(contract.host.directory / "s1")) == (NOBODY, NOBODY, 0o620)
    assert access(path) == (NOBODY, NOBODY, 0o620)


@pytest.mark.parametrize("setting", ["owner=no-such-user", "mode=0888"])
def test_new_port_with_an_unusable_value_is_served_as_without_settings(contract: Contract,
                                                                      setting: str) -> None:
    path = contract.server("s0", "options:vhost-sock-group=nogroup",
                           f"options:vhost-sock-{setting}")
    assert contract.problems("s0") != ""
    assert access(path) == as_made()
    contract.joined("s0", server=True)
    contract.set("s0", "options:vhost-sock-owner=nobody", "options:vhost-sock-mode=0600")
    assert contract.problems("s0") == ""
    assert access(path) == (NOBODY, NOBODY, 0o600)


def test_agent_without_permission_says_so_and_serves(host: Host) -> None:
    """As root, but not allowed to give files away."""
    host.start("setpriv", "--bounding-set=-chown", "--inh-caps=-chown", *host.agent_command(),
               "run")
    host.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")
    for name, options in (("s0", ("owner=nobody", "mode=0600")), ("s1", ("mode=0600",))):
        host.vsctl("add-port", "br0", name, "--", "set", "Interface", name, "type=dpdkvhostuser",
                   *(f"options:vhost-sock-{option}" for option in options))
    mode = as_made()[2]
    assert host.interface("s0", "status")["problems"] == (
        "vhost-sock-owner: Operation not permitted (without CAP_CHOWN and CAP_FOWNER the agent can "
        f"only give it to a group that it is in); {KEEPS}{mode:04o}")
    assert access(str(host.directory / "s0")) == as_made()
    assert access(str(host.directory / "s1")) == (0, 0, 0o600)
    with FrontEnd(str(host.directory / "s0"), listen=False) as guest:
        guest.connect()
        wait_until(lambda: host.connected("s0"), "the guest is connected")


@pytest.mark.parametrize("key", ["vhost-sock-owner", "vhost-sock-group", "vhost-sock-mode"])
def test_port_whose_guest_makes_the_socket_says_that_it_does(contract: Contract, key: str) -> None:
    contract.config("vhost-sock-owner=nobody", "vhost-sock-mode=0600")
    path = contract.client("c0", f"options:{key}=0")
    contract.joined("c0")
    assert contract.problems("c0") == (
        f"{key}: has no effect: QEMU makes the socket of this type of port")
    assert access(path) == as_made()


def test_misspelt_setting_is_said(contract: Contract) -> None:
    contract.server("s0", "options:vhost-sock-user=nobody")
    assert "vhost-sock-user: not an option of type dpdkvhostuser" in contract.problems("s0")
    contract.config("vhost-sock-owners=nobody")
    assert ("vhost-sock-owners: not an option; did you mean vhost-sock-owner?"
            in contract.problems("s0"))


# --- what is not the agent's socket ---------------------------------------------------------------

@pytest.mark.parametrize("to_the_socket", [False, True])
def test_link_in_place_of_the_socket_is_not_followed(contract: Contract, to_the_socket: bool
                                                     ) -> None:
    path, aside = contract.server("s0"), contract.path("aside")
    victim = aside if to_the_socket else contract.path("victim")
    contract.joined("s0", server=True)  # else the socket is missed, and looked for each second
    os.rename(path, aside)
    if not to_the_socket:
        Path(victim).touch(mode=0o640)
    os.symlink(victim, path)
    before, link = access(victim), access(path)
    contract.set("s0", "options:vhost-sock-owner=nobody", "options:vhost-sock-mode=0666")
    assert contract.problems("s0") == EVERYBODY + (
        f"; socket {path}: what is there is not the socket that the agent made: its owner, group "
        "and mode are left alone")
    assert (access(victim), access(path)) == (before, link)
    os.rename(aside, path)              # back, it is found without another change
    wait_until(lambda: contract.problems("s0") == EVERYBODY, "the socket is found")
    assert access(path) == (NOBODY, 0, 0o666)


def test_socket_that_was_removed_is_made_again_once_its_guest_has_gone(contract: Contract) -> None:
    contract.config("vhost-sock-mode=0660")
    path = Path(contract.server("s0"))
    path.unlink()
    wait_until(lambda: path.exists() and is_listening(path), "the socket is there again")
    wait_until(lambda: access(str(path))[2] == 0o660, "with its mode")
    guest = contract.joined("s0", server=True)
    path.unlink()
    contract.set("s0", "options:vhost-sock-mode=0600")      # the agent has looked at the port
    assert contract.host.connected("s0")
    assert not path.exists()
    contract.guests.remove(guest)
    guest.close()
    wait_until(path.exists, "the socket is there again")
    contract.joined("s0", server=True)


def test_socket_of_another_process_is_left_alone(contract: Contract) -> None:
    path = contract.server("s0")
    os.unlink(path)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        before = access(path)
        contract.set("s0", "options:vhost-sock-owner=nobody")
        assert "not the socket that the agent made" in contract.problems("s0")
        assert access(path) == before
    os.unlink(path)


# --- another life of the agent --------------------------------------------------------------------

def test_agent_that_was_killed_takes_the_sockets_over_and_gives_them_again(served: Host) -> None:
    served.vsctl("set", "Open_vSwitch", ".", "other_config:vhost-sock-owner=nobody",
                 "other_config:vhost-sock-mode=0600")
    served.vsctl("add-port", "br0", "s0", "--", "set", "Interface", "s0", "type=dpdkvhostuser")
    path = str(served.directory / "s0")
    assert access(path) == (NOBODY, 0, 0o600)
    served.kill_agent()
    os.chown(path, STRANGER, STRANGER)
    served.start_agent()
    wait_until(lambda: is_listening(Path(path)) and access(path) == (NOBODY, 0, 0o600),
               "the agent listens again, for nobody")
    assert "problems" not in served.interface("s0", "status")
