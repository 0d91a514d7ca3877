"""The agent as its unit runs it: as user vhost-agent with two capabilities, at an ovsdb-server with
Debian's permissions."""
from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.package.unit_file import script
from tools.clean_machine import CleanMachine
from tools.frontend import FrontEnd
from tools.guest import Guest, Namespace
from tools.host import wait_until

Start = Callable[..., "subprocess.Popen[bytes]"]
OVS_CTL = "/usr/share/openvswitch/scripts/ovs-ctl"
UNIT = "/lib/systemd/system/vhost-agent.service"
CONTROL = "/run/vhost-agent/vhost-agent.ctl"


@pytest.fixture
def start(installed: CleanMachine) -> Iterator[Start]:
    """Starts the agent as the unit says, beside an ovsdb-server as ovs-ctl starts it."""
    started: list[subprocess.Popen[bytes]] = []

    def start(**words: str) -> subprocess.Popen[bytes]:
        text = script(installed.run(f"cat {UNIT}"), **words)
        agent = subprocess.Popen(installed.command("sh", "-ec", text), stdin=subprocess.DEVNULL)
        started.append(agent)
        wait_until(lambda: agent.poll() is not None or installed.attempt(
            f"ovs-appctl -t {CONTROL} version")[0] == 0, "the agent answers")
        assert agent.poll() is None
        return agent

    installed.run(f"{OVS_CTL} --no-ovs-vswitchd --system-id=random start")
    yield start
    for agent in started:
        stop(installed, agent)


def stop(machine: CleanMachine, agent: subprocess.Popen[bytes]) -> None:
    if agent.poll() is None:                # a signal would end nsenter alone
        machine.run(f"ovs-appctl -t {CONTROL} exit")
        assert agent.wait(30.0) == 0


def add_port(machine: CleanMachine, name: str, *words: str) -> None:
    """Returns when it is served or refused. There is no ovs-vswitchd here that would be waited for,
    and the agent beside it writes no cur_cfg."""
    machine.run(f"ovs-vsctl --no-wait --may-exist add-br br0 -- set bridge br0 datapath_type=vhost "
                f"-- add-port br0 {name} -- set Interface {name} {' '.join(words)}")
    wait_until(lambda: interface(machine, name, "ofport") != "[]", f"{name} has a number")


def interface(machine: CleanMachine, name: str, column: str) -> str:
    return machine.run(f"ovs-vsctl get Interface {name} {column}").strip('"')


@pytest.mark.parametrize("memory", ["", "--no-huge -m 256"], ids=["hugepages", "ordinary memory"])
def test_guests_reach_each_other(installed: CleanMachine, start: Start, directory: Path,
                                 memory: str) -> None:
    """On sockets that guests of another user, in group kvm, made."""
    if memory:
        installed.run("ovs-vsctl --no-wait set Open_vSwitch . "
                      f"other_config:vhost-agent-dpdk-extra='\"{memory}\"'")
    start()
    kvm = int(installed.run("getent group kvm").split(":")[2])
    with ExitStack() as stack:
        namespaces = []
        for number, name in enumerate("ab"):
            namespace = stack.enter_context(Namespace(
                name=f"package{os.getpid() % 10_000}{name}", mac=f"02:00:00:00:02:{number:02x}",
                address=f"10.40.0.{number + 1}/24"))
            namespaces.append(namespace)
            guest = stack.enter_context(Guest(
                name=name, socket=directory / name, server=True, log=directory / f"{name}.log",
                namespace=namespace))
            wait_until((directory / name).exists, "the guest listens")
            (directory / name).chmod(0o770)
            os.chown(directory / name, -1, kvm)
            add_port(installed, name, "type=dpdkvhostuserclient",
                     f"options:vhost-server-path={directory}/{name}")
            guest.wait_ready()
            wait_until(lambda: interface(installed, name, "link_state") == "up",  # noqa: B023
                       "the guest is connected")
        done = namespaces[0].run(["ping", "-c", "5", "-l", "5", "-i", "2", namespaces[1].ip],
                                 capture_output=True)
        assert "5 received" in done.stdout


def test_socket_of_ours_may_be_given_to_a_group_that_the_user_is_in(installed: CleanMachine,
                                                                    start: Start) -> None:
    start()
    add_port(installed, "vm1", "type=dpdkvhostuser", "options:vhost-sock-group=kvm",
             "options:vhost-sock-mode=0660")
    wait_until(lambda: installed.attempt("stat -c '%U:%G %a' /run/vhost-agent/vm1")
               == (0, "vhost-agent:kvm 660\n"), "the socket is the group's")
    add_port(installed, "vm2", "type=dpdkvhostuser", "options:vhost-sock-owner=nobody")
    wait_until(lambda: "without CAP_CHOWN" in interface(installed, "vm2", "status"),
               "the port says why")


@pytest.mark.parametrize(("capability", "port"), [("CAP_NET_ADMIN", "br0"),
                                                  ("CAP_NET_RAW", "veth0")])
def test_each_capability_is_needed(installed: CleanMachine, start: Start, capability: str,
                                   port: str) -> None:
    """Without it a device that is made, or one that is there, has an error; guests' have none."""
    installed.run("ip link add veth0 type veth peer name veth1")
    agent = start(without=capability)
    add_port(installed, "veth0", "type=system")
    add_port(installed, "vm1", "type=dpdkvhostuserclient", "options:vhost-server-path=/tmp/none")
    wait_until(lambda: "Operation not permitted" in interface(installed, port, "error"),
               "the port says why")
    assert interface(installed, "vm1", "error") == "[]"
    stop(installed, agent)
    start()
    wait_until(lambda: interface(installed, port, "error") == "[]", f"{port} is served")


def test_commands_find_it(installed: CleanMachine, start: Start, directory: Path) -> None:
    start()
    add_port(installed, "vm1", "type=dpdkvhostuserclient", "options:vhost-server-path=/tmp/none")
    said = installed.attempt("timeout 2 vhost-agent capture vm1 >/dev/null")[1]
    assert "capturing vm1" in said


def test_nobody_else_may_connect_to_the_database(installed: CleanMachine, start: Start) -> None:
    start()
    shown = "setpriv --reuid=nobody --regid=nogroup --clear-groups ovs-vsctl --timeout=5 show"
    assert installed.attempt(shown)[0] != 0


def test_plain_user_without_any_capability_serves_guests(installed: CleanMachine, directory: Path
                                                         ) -> None:
    """As somebody types it who has nothing but a directory, and a database of its own there."""
    own = directory / "own"
    own.mkdir()
    os.chown(own, *(int(installed.run(f"id -{word} nobody")) for word in "ug"))
    plain = ("setpriv --reuid=nobody --regid=nogroup --clear-groups --no-new-privs "
             "--inh-caps=-all --bounding-set=-all")
    db = f"--db=unix:{own}/db.sock --timeout=30"
    installed.run(f"{plain} vhost-agent run --standalone {own} --detach --pidfile --log-file "
                  f"--unixctl={own}/x.ctl")
    try:
        assert re.findall(r"CapEff:\s+0+\n", installed.run(f"cat /proc/$(cat {own}/*.pid)/status"))
        installed.run(f"ovs-vsctl {db} add-br br0 -- set bridge br0 datapath_type=netdev "
                      "-- add-port br0 s0 -- set Interface s0 type=dpdkvhostuser")
        with FrontEnd(f"{own}/s0", listen=False) as guest:
            guest.connect()
            wait_until(lambda: installed.run(f"ovs-vsctl {db} get Interface s0 link_state") == "up",
                       "the guest is served")
        # what it lacks is said, of a device of the host's
        assert "Operation not permitted" in installed.run(f"ovs-vsctl {db} get Interface br0 error")
    finally:
        installed.run(f"ovs-appctl -t {own}/x.ctl exit")
