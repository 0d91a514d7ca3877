"""Installed where systemd is, beside a running ovs-vswitchd: the unit as it is shipped."""
from __future__ import annotations

import faulthandler
import json
import re
import shlex
from typing import Any

from tools.host import wait_until
from tools.systemd_machine import SystemdMachine

SLOW_S = 600.0                      # TCG on a busy machine
UNIT = "vhost-agent.service"
GUESTS = ("cd /mnt && setpriv --regid kvm --clear-groups python3 package/two_guests.py "
          "/tmp/dpdkvhostclient0 /tmp/dpdkvhostclient1")


def run(machine: SystemdMachine, command: str) -> str:
    # systemctl and apt think that they have a terminal, and end lines as for one
    return machine.run(f"/bin/sh -ec {shlex.quote(command)}", SLOW_S).replace("\r", "").strip()


def shown(machine: SystemdMachine, name: str) -> str:
    return run(machine, f"systemctl show --value --property={name} {UNIT}")


def agent_pid(machine: SystemdMachine) -> str:
    """Empty while there is none."""
    return run(machine, "cat /run/vhost-agent/vhost-agent.pid || true")


def test_whole_life_of_the_service(systemd: SystemdMachine) -> None:
    """One test, for each step stands on the one before, and the machine takes a minute to boot."""
    faulthandler.cancel_dump_traceback_later()      # it takes longer than others may
    before = run(systemd, LEFT)
    run(systemd, "echo vm.nr_hugepages=64 >/etc/sysctl.d/80-hugepages.conf && "
                 "sysctl -p /etc/sysctl.d/80-hugepages.conf && "
                 "apt-get -qq install -y /mnt/agent.deb >/tmp/apt.log")
    runs_as_the_unit_says(systemd)
    add_ports(systemd)
    doctor_is_content(systemd)
    faults_are_explained(systemd)
    guests_reach_each_other(systemd)
    database_may_be_started_anew(systemd)
    killed_agent_is_started_by_its_monitor(systemd)
    hung_agent_is_started_anew(systemd)
    log_is_rotated(systemd)
    takes_the_place_of_ovs_vswitchd(systemd)
    run(systemd, "apt-get -qq purge -y ovs-vhost-agent >/tmp/apt.log")
    assert run(systemd, LEFT) == before


# Files, users and units that have to do with the agent, and who may connect to the database.
LEFT = ("set +e; find / -xdev -path /mnt -prune -o -path /tmp -prune "
        "-o -name '*vhost-agent*' -print; "
        "ls -d /run/vhost-agent*; getent passwd vhost-agent; getent group vhost-agent; "
        "systemctl list-units --all --no-legend 'vhost-agent*'; "
        "stat -c '%U:%G %a' /run/openvswitch/db.sock; ip -o link | grep -c br0; true")


def runs_as_the_unit_says(machine: SystemdMachine) -> None:
    assert shown(machine, "ActiveState") == "active"
    assert shown(machine, "StatusText") == "serving 0 ports"
    status = run(machine, "cat /proc/$(cat /run/vhost-agent/vhost-agent.pid)/status")
    field = dict(re.findall(r"^(\w+):\s*(.*)$", status, re.M))
    user = run(machine, "id -u vhost-agent")
    assert field["Uid"].split() == [user] * 4
    net_admin_and_raw = f"{1 << 12 | 1 << 13:016x}"
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert field[kind] == net_admin_and_raw, kind
    assert field["NoNewPrivs"] == "1"
    assert field["Seccomp"] == "2"
    run(machine, f"systemctl --no-pager status {UNIT}")
    run(machine, f"systemd-analyze --man=no verify {UNIT}")


def add_ports(machine: SystemdMachine) -> None:
    """As OVS's document on vhost-user ports has it, beside an ovs-vswitchd that ovs-vsctl waits
    for."""
    run(machine, "ovs-vsctl set Open_vSwitch . other_config:vhost-agent-pmd-idle-mode=block && "
                 "ovs-vsctl add-br br0 -- set bridge br0 datapath_type=vhost")
    for number in (0, 1):
        run(machine, f"ovs-vsctl add-port br0 dpdkvhostclient{number} -- set Interface "
                     f"dpdkvhostclient{number} type=dpdkvhostuserclient "
                     f"options:vhost-server-path=/tmp/dpdkvhostclient{number}")
    run(machine, "ovs-vsctl add-port br0 vhost-user-1 -- set Interface vhost-user-1 "
                 "type=dpdkvhostuser")
    wait_until(lambda: shown(machine, "StatusText") == "serving 4 ports", "ports are served",
               SLOW_S)
    run(machine, "test -S /run/vhost-agent/vhost-user-1")
    for command in ("qemu-args", "libvirt-xml"):
        assert "/run/vhost-agent/vhost-user-1" in run(machine, f"vhost-agent {command} "
                                                               "vhost-user-1")
    assert "bridge br0: 4 ports, 0 up" in run(machine, "vhost-agent show")


def doctor_is_content(machine: SystemdMachine) -> None:
    """Nothing is wrong on this host, and it is the service that was looked at."""
    found = doctor(machine)
    assert (found["status"], found["summary"]["warning"]) == (0, 0), found
    (pid,) = {re.findall(r"process (\d+)", finding["title"])[0] for finding in found["findings"]
              if finding["id"] == "agent"}
    assert run(machine, f"sed -n 's/^PPid:[^0-9]*//p' /proc/{pid}/status") == shown(
        machine, "MainPID")         # the monitor


def doctor(machine: SystemdMachine) -> dict[str, Any]:
    """With the exit status that it ended with."""
    said = run(machine, "vhost-agent doctor --json && echo 0 || echo $?")
    text, _, status = said.rpartition("\n")
    found: dict[str, Any] = json.loads(text)
    assert found["status"] == int(status)
    return found


def faults_are_explained(machine: SystemdMachine) -> None:
    """Why ports are down: no socket, somebody else's socket, no guest."""
    explained(machine, "dpdkvhostclient0", "there is no socket /tmp/dpdkvhostclient0")
    explained(machine, "vhost-user-1", "no guest has connected to the socket "
                                       "/run/vhost-agent/vhost-user-1")
    run(machine, "umask 077; python3 -c 'import socket; "
                 "socket.socket(socket.AF_UNIX).bind(\"/tmp/theirs\")'; "
                 "ovs-vsctl add-port br0 theirs -- set Interface theirs type=dpdkvhostuserclient "
                 "options:vhost-server-path=/tmp/theirs")
    explained(machine, "theirs", "user vhost-agent, who the agent runs as, may not connect to the "
                                 "socket /tmp/theirs: it has user root, group root, mode 0700")
    found = doctor(machine)
    assert [finding["id"] for finding in found["findings"] if finding["severity"] == "error"] == [
        "socket-closed-to-agent"]
    run(machine, "ovs-vsctl del-port theirs; rm /tmp/theirs")


def explained(machine: SystemdMachine, port: str, why: str) -> None:
    """In words on the terminal, and in the database."""
    wait_until(lambda: f"{port} is down: {why}" in run(machine, f"vhost-agent explain {port}"),
               f"{port} says why it is down", SLOW_S)
    wait_until(lambda: why in run(machine, f"ovs-vsctl get Interface {port} status"),
               f"{port}'s row says why", SLOW_S)


def guests_reach_each_other(machine: SystemdMachine) -> None:
    assert run(machine, GUESTS) == "hello"
    # The bridge's own port is a device of the host, made with CAP_NET_ADMIN.
    assert "br0" in run(machine, "ip -o link show br0")
    # Where commands and people find it.
    assert "dpdkvhostclient0" in run(machine, "ovs-appctl -t /run/vhost-agent/vhost-agent.ctl "
                                              "dpif/show")


def database_may_be_started_anew(machine: SystemdMachine) -> None:
    pid = agent_pid(machine)
    run(machine, "systemctl restart ovsdb-server && ovs-vsctl --no-wait set Interface "
                 "dpdkvhostclient0 options:vhost-server-path=/tmp/another")
    assert run(machine, GUESTS.replace("/tmp/dpdkvhostclient0", "/tmp/another")) == "hello"
    assert agent_pid(machine) == pid


def killed_agent_is_started_by_its_monitor(machine: SystemdMachine) -> None:
    """And systemd has no part in it."""
    main, killed = shown(machine, "MainPID"), agent_pid(machine)
    run(machine, f"kill -KILL {killed}")
    wait_until(lambda: agent_pid(machine) != killed, "another is started", SLOW_S)
    assert run(machine, GUESTS.replace("/tmp/dpdkvhostclient0", "/tmp/another")) == "hello"
    wait_until(lambda: shown(machine, "StatusText") == "serving 4 ports", "it says so", SLOW_S)
    assert (shown(machine, "MainPID"), shown(machine, "ActiveState")) == (main, "active")


def hung_agent_is_started_anew(machine: SystemdMachine) -> None:
    # Stopped first, for one that runs has been told of another time.
    drop_in = f"/run/systemd/system/{UNIT}.d"
    run(machine, f"systemctl stop {UNIT} && mkdir -p {drop_in} && "
                 f"printf '[Service]\\nWatchdogSec=20\\n' >{drop_in}/soon.conf && "
                 f"systemctl daemon-reload && systemctl start {UNIT}")
    main = shown(machine, "MainPID")
    run(machine, f"kill -STOP {agent_pid(machine)}")
    wait_until(lambda: shown(machine, "MainPID") not in ("0", main)
               and shown(machine, "ActiveState") == "active", "another is started", SLOW_S)
    assert run(machine, GUESTS.replace("/tmp/dpdkvhostclient0", "/tmp/another")) == "hello"
    run(machine, f"rm -r {drop_in} && systemctl daemon-reload")


def log_is_rotated(machine: SystemdMachine) -> None:
    run(machine, "logrotate --force /etc/logrotate.d/vhost-agent")
    assert run(machine, "stat -c '%U %a' /var/log/vhost-agent/vhost-agent.log.1") == (
        "vhost-agent 644")
    assert run(machine, f"ls -l /proc/{agent_pid(machine)}/fd | grep -c 'vhost-agent.log$'") == "1"
    pids = shown(machine, "MainPID"), agent_pid(machine)
    run(machine, "rm /var/log/vhost-agent/vhost-agent.log; systemctl reload vhost-agent")
    wait_until(lambda: run(machine, "ls /var/log/vhost-agent/vhost-agent.log || true"),
               "the log is opened again", SLOW_S)
    assert (shown(machine, "MainPID"), agent_pid(machine)) == pids      # by the same agent


def takes_the_place_of_ovs_vswitchd(machine: SystemdMachine) -> None:
    """As the shipped example says, word for word."""
    example = "/usr/share/doc/ovs-vhost-agent/examples/in-place.conf"
    commands = re.findall(r"^#     (.*)$", run(machine, f"cat {example}"), re.M)
    run(machine, "ovs-vsctl --if-exists del-br br0 -- set Open_vSwitch . "
                 "other_config:dpdk-init=true")
    run(machine, f"cd {example.rpartition('/')[0]}; " + "; ".join(commands))
    assert shown(machine, "StatusText") == "serving 0 ports"
    run(machine, "ovs-vsctl add-br br0 -- set bridge br0 datapath_type=netdev")
    assert "br0" in run(machine, "ovs-appctl dpif/show")
    doctor_is_content(machine)
    run(machine, f"ovs-vsctl del-br br0; systemctl stop vhost-agent; "
                 "systemctl unmask ovs-vswitchd; "
                 f"rm -r /etc/systemd/system/{UNIT}.d; systemctl daemon-reload")
