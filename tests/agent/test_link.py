"""vhost-agent link and unlink, as a person types them beside ovs-vswitchd."""
from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from agent.link_command import End, why_not
from tests.agent.test_companion import bridge, companion, links
from tools.host import AGENT, Host, temporary_host, wait_until
from tools.vswitchd import Vswitchd

TAP = "br0-ovs0"


@pytest.fixture(scope="module")
def linked_host() -> Iterator[Host]:
    with temporary_host("vhost-link") as host:
        host.start_ovsdb()
        with Vswitchd(host):
            bridge(host, "ovs0", "netdev")
            companion(host)
            bridge(host, "br0", "vhost")
            yield host
        assert "Traceback" not in host.output()


@pytest.fixture
def both(linked_host: Host) -> Iterator[Host]:
    """Bridges br0 and ovs0, not linked."""
    yield linked_host
    run(linked_host, "unlink", "br0", "ovs0")
    assert links(linked_host) == {"lo", "br0", "ovs0", "ovs-netdev"}


def run(host: Host, *words: str) -> subprocess.CompletedProcess[str]:
    return host.run(*host.netns.command(AGENT, *words))


def run_impatient(host: Host, *words: str) -> subprocess.CompletedProcess[str]:
    """As run(), but what does not come is waited for a second, and not for ten."""
    program = ("from agent import link_command; from agent.command_line import command_line; "
               "link_command.WAIT_S = 1; command_line()")
    return host.run(*host.netns.command(sys.executable, "-c", program, *words))


def refusal(host: Host, *words: str) -> str:
    done = run(host, *words)
    assert (done.returncode, done.stdout) == (1, ""), done.stdout
    return done.stderr.removeprefix("vhost-agent: ").rstrip("\n")


def test_link_and_unlink(both: Host) -> None:
    done = run(both, "link", "br0", "ovs0")
    assert (done.returncode, done.stderr) == (0, "")
    ours, theirs = (both.interface(name, "ofport") for name in (f"{TAP}-vhost", TAP))
    assert done.stdout == (f"br0 and ovs0 are linked by the tap {TAP}: port {ours} of br0, port "
                           f"{theirs} of ovs0\n")
    for table in ("Port", "Interface"):
        assert both.get(table, TAP, "external_ids") == {"vhost-agent-link": "br0"}
        assert both.get(table, f"{TAP}-vhost", "external_ids") == {"vhost-agent-link": "ovs0"}
    assert both.get("Open_vSwitch", ".", "cur_cfg") == both.get("Open_vSwitch", ".", "next_cfg")
    assert both.interface(TAP, "mtu") == 1500
    both.vsctl("set", "Interface", f"{TAP}-vhost", "mtu_request=9000")
    wait_until(lambda: both.interface(TAP, "mtu") == 9000, "ovs-vswitchd sees the tap's MTU")
    both.vsctl("clear", "Interface", f"{TAP}-vhost", "mtu_request")
    wait_until(lambda: both.interface(TAP, "mtu") == 1500, "it goes back")
    assert refusal(both, "link", "br0", "ovs0", "--name", "other") == (
        f"br0 and ovs0 are linked already, by {TAP}-vhost and {TAP}: a second link would be a loop "
        "(vhost-agent unlink br0 ovs0 takes it away)")
    done = run(both, "unlink", "br0", "ovs0")
    assert (done.returncode, done.stdout, done.stderr) == (
        0, "br0 and ovs0 are not linked any more\n", "")
    assert TAP not in links(both)
    assert refusal(both, "unlink", "br0", "ovs0") == "br0 and ovs0 are not linked"


def test_tap_that_is_set_down_as_it_is_taken_up_comes_back(both: Host) -> None:
    """As ovs-vswitchd does by accident, when it changes the flags of the tap at the same moment."""
    assert run(both, "link", "br0", "ovs0").returncode == 0
    both.inside("ip", "link", "set", TAP, "down")
    wait_until(lambda: ",UP" in both.inside("ip", "-o", "link", "show", TAP), "it is set up again")
    assert "PROMISC" in both.inside("ip", "-o", "link", "show", TAP)    # ovs-vswitchd's flag stays


def test_what_is_wrong_is_said_and_nothing_is_half_done(both: Host) -> None:
    both.run("ovs-vsctl", "--timeout=30", "add-br", "odd", "--", "set", "Bridge", "odd",
             "datapath_type=odd")
    bridge(both, "br1", "vhost")
    both.vsctl("add-port", "br0", "taken", "--", "set", "Interface", "taken", "type=internal")
    wait_until(lambda: both.interface("br1", "mac_in_use") and both.interface("taken", "ifindex"),
               "they are served")
    before = both.transact({"op": "select", "table": "Port", "where": [], "columns": ["name"]})
    try:
        for words, why in (
                (("br0", "nosuch"), "no bridge nosuch is in the database: 'ovs-vsctl show' lists "
                                    "bridges"),
                (("br0", "br0"), "br0 is named twice: a link has two bridges"),
                (("ovs0", "br0"), "br0 is the companion's bridge, and comes first: vhost-agent "
                                  "link br0 ovs0"),
                (("odd", "ovs0"), "bridge odd has datapath_type 'odd', a bridge of the companion "
                                  "has vhost (ovs-vsctl set Bridge odd datapath_type=vhost)"),
                (("br0", "br1"), "bridge br1 has datapath_type 'vhost', which is not "
                                 "ovs-vswitchd's: two bridges of the companion are joined by patch "
                                 "ports"),
                (("br0", "odd"), "bridge odd has datapath_type 'odd', which is not ovs-vswitchd's: "
                                 "its bridges are of type system or netdev"),
                (("br0", "ovs0", "--name", "x" * 16), f"'{'x' * 16}': the name of a device of the "
                                                      "host has 15 bytes at most"),
                (("br0", "ovs0", "--name", ""), "the name of the tap is empty"),
                (("br0", "ovs0", "--name", "taken"), "the name taken is taken by another port: "
                                                     "choose the tap's with --name")):
            assert refusal(both, "link", *words) == why
        assert both.transact({"op": "select", "table": "Port", "where": [],
                              "columns": ["name"]}) == before
    finally:
        for words in (("del-br", "odd"), ("del-br", "br1"), ("del-port", "taken")):
            both.vsctl(*words)
        wait_until(lambda: not {"br1", "taken"} & links(both), "their devices are gone")


def test_of_two_at_the_same_time_one_links(both: Host) -> None:
    racers = [subprocess.Popen(both.netns.command(AGENT, "link", "br0", "ovs0", "--name", name),
                               env=both.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True) for name in ("one", "two", "three")]
    said = [racer.communicate(timeout=60) for racer in racers]
    assert sorted(racer.returncode for racer in racers) == [0, 1, 1]
    assert sum("are linked already" in err for _, err in said) == 2
    assert both.vsctl("list-ports", "br0").splitlines() in (
        ["one-vhost"], ["two-vhost"], ["three-vhost"])


def test_an_end_that_somebody_removed_is_no_link_and_no_loop(both: Host) -> None:
    run(both, "link", "br0", "ovs0", "--name", "l0")
    both.vsctl("del-port", "ovs0", "l0")
    assert "are linked already, by l0-vhost: a second link" in refusal(both, "link", "br0", "ovs0")
    assert run(both, "unlink", "br0", "ovs0").returncode == 0
    run(both, "link", "br0", "ovs0", "--name", "l0")
    both.vsctl("del-port", "br0", "l0-vhost")
    wait_until(lambda: "l0" not in links(both), "the tap goes with our end")
    assert run(both, "unlink", "br0", "ovs0").returncode == 0
    assert both.vsctl("list-ports", "ovs0") == ""


def promiscuous(host: Host) -> bool:
    """Whether ovs-vswitchd listens to the tap."""
    return "promiscuity 0 " not in host.inside("ip", "-d", "-o", "link", "show", TAP)


def test_a_tap_that_is_deleted_from_outside_is_made_again_and_what_mends_it_is_said(both: Host
                                                                                    ) -> None:
    def mend_is_said() -> bool:
        both.look("vhost-agent-")
        return mend in both.interface(f"{TAP}-vhost", "status").get("reason", "")

    run(both, "link", "br0", "ovs0")
    assert promiscuous(both)
    before = both.interface(TAP, "ifindex")
    both.inside("ip", "link", "delete", TAP)
    wait_until(lambda: all(
        both.interface(name, "ifindex") not in (None, before)
        and both.interface(name, "link_state") == "up" for name in (TAP, f"{TAP}-vhost")),
        "there is one again")
    assert not promiscuous(both)
    mend = "vhost-agent unlink br0 ovs0 && vhost-agent link br0 ovs0"
    wait_until(mend_is_said, "it is said that ovs-vswitchd has not taken it up", timeout_s=30)
    explained = both.appctl("vhost/explain", f"{TAP}-vhost")
    assert mend in " ".join(explained.split())
    assert f"  device    {TAP}, tun\n" in explained
    for words in mend.split(" && "):
        assert run(both, *words.split()[1:]).returncode == 0
    assert promiscuous(both)
    explained = both.appctl("vhost/explain", f"{TAP}-vhost")
    assert explained.startswith(f"{TAP}-vhost is up\n")


def test_the_tap_stays_while_the_bridge_is_another_daemons(both: Host) -> None:
    run(both, "link", "br0", "ovs0")
    before = both.interface(TAP, "ifindex"), both.interface(TAP, "ofport")
    both.vsctl("--no-wait", "set", "Bridge", "br0", "datapath_type=netdev")
    wait_until(lambda: both.interface(TAP, "link_state") == "down", "the agent has let it go")
    both.vsctl("--no-wait", "set", "Bridge", "br0", "datapath_type=vhost")
    wait_until(lambda: both.interface(TAP, "link_state") == "up"
               and both.interface(f"{TAP}-vhost", "ifindex") == before[0], "it has it again")
    assert (both.interface(TAP, "ifindex"), both.interface(TAP, "ofport")) == before
    assert promiscuous(both)
    # else it goes, as a port's tap does
    both.vsctl("--no-wait", "remove", "Interface", f"{TAP}-vhost", "options", "tap-name")
    wait_until(lambda: TAP not in links(both), "nobody asks for it")


def test_a_name_that_the_kernel_has_given_away(both: Host) -> None:
    both.inside("ip", "link", "add", "l1", "type", "veth", "peer", "name", "far")
    before = both.transact({"op": "select", "table": "Port", "where": [], "columns": ["name"]})
    try:
        for name in ("l1", "lo"):
            assert refusal(both, "link", "br0", "ovs0", "--name", name) == (
                f"the name {name} is taken by a device of this host that is no tap: choose the "
                "tap's with --name")
        assert both.transact({"op": "select", "table": "Port", "where": [],
                              "columns": ["name"]}) == before
    finally:
        both.inside("ip", "link", "del", "l1")


def test_taps_that_are_there(both: Host) -> None:
    both.vsctl("add-port", "br0", "open", "--", "set", "Interface", "open", "type=tap",
               "options:tap-name=l3")
    wait_until(lambda: both.interface("open", "link_state") == "up", "a program has it open")
    assert refusal(both, "link", "br0", "ovs0", "--name", "l3") == (
        "the name l3 is taken by a tap of this host that a program has open: choose another with "
        "--name")
    both.vsctl("del-port", "open")
    wait_until(lambda: "l3" not in links(both), "it is gone")
    both.inside("ip", "tuntap", "add", "l2", "mode", "tap")     # as an agent leaves one behind
    left = both.inside("ip", "-o", "link", "show", "l2").partition(":")[0]
    done = run(both, "link", "br0", "ovs0", "--name", "l2")
    assert (done.returncode, done.stderr) == (0, "")
    assert both.interface("l2", "ifindex") == int(left)


def test_an_end_with_a_number_is_served_by_somebody() -> None:
    assert why_not(End(3, up=False, error=None), "none", "ovs-vswitchd runs on it") == (
        "it has number 3, but its link_state is not up")


def test_without_a_companion_it_is_said_and_made_up_for() -> None:
    """And as after a reboot: rows are there, a tap is not."""
    with temporary_host("vhost-link-late") as host:
        host.start_ovsdb()
        with Vswitchd(host):
            bridge(host, "ovs0", "netdev")
            host.run("ovs-vsctl", "--timeout=30", "add-br", "br0", "--", "set", "Bridge", "br0",
                     "datapath_type=vhost")
            done = run_impatient(host, "link", "br0", "ovs0")
            assert done.returncode == 1
            assert ("nobody serves it; see whether a companion runs on this database (vhost-agent "
                    "run --role companion), port br0-ovs0-vhost of br0") in done.stderr
            companion(host)
            wait_until(lambda: all(
                host.interface(name, "error") is None and (host.interface(name, "ofport") or 0) > 0
                and host.interface(name, "link_state") == "up"
                for name in (TAP, f"{TAP}-vhost")), "both ends are served")
            host.kill_agent()
            done = run_impatient(host, "unlink", "br0", "ovs0")
            assert done.returncode == 1
            assert f"(ip link delete {TAP})" in done.stderr
            host.inside("ip", "link", "delete", TAP)
