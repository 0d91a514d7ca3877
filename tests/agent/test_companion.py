"""run --role companion beside Debian's ovs-vswitchd, on one database."""
from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tools.host import AGENT, SCHEMA, Host, temporary_host, wait_until
from tools.vswitchd import WITH_DPDK, Vswitchd

CLIENT = "type=dpdkvhostuserclient"
ROOT = "Open_vSwitch"


def bridge(host: Host, name: str, datapath_type: str, *words: str) -> None:
    host.vsctl(*words, "add-br", name, "--", "set", "Bridge", name,
               f"datapath_type={datapath_type}")


def port(host: Host, on: str, name: str, *settings: str) -> list[str]:
    """The words that add a client port."""
    return ["add-port", on, name, "--", "set", "Interface", name, CLIENT,
            f"options:vhost-server-path={host.directory}/{name}.sock", *settings]


def companion(host: Host, *options: str) -> None:
    """A companion that waits for ports."""
    before = host.output().count("DPDK Enabled - initialized")
    host.start_agent("--role", "companion", *options)
    wait_until(lambda: host.output().count("DPDK Enabled - initialized") > before, "it has DPDK")


def links(host: Host) -> set[str]:
    words = [line.split() for line in host.inside("ip", "-o", "link").splitlines()]
    return {word[1].rstrip(":").partition("@")[0] for word in words}


@pytest.fixture
def directory() -> Iterator[Host]:
    with temporary_host("vhost-companion") as host:
        yield host
        assert "Traceback" not in host.output()


@pytest.fixture
def host(directory: Host) -> Host:
    directory.start_ovsdb()
    return directory


@pytest.fixture
def both(host: Host) -> Iterator[Host]:
    """ovs-vswitchd with a bridge ovs0, a companion with a bridge br0."""
    with Vswitchd(host):
        bridge(host, "ovs0", "netdev")
        companion(host)
        bridge(host, "br0", "vhost")
        yield host


def dump(host: Host) -> dict[str, dict[str, Any]]:
    """{table: {UUID: row}}"""
    done = host.transact(*({"op": "select", "table": table, "where": []}
                           for table in (ROOT, "Bridge", "Port", "Interface", "Mirror")))
    return {table: {row["_uuid"][1]: {k: v for k, v in row.items() if k != "_version"}
                    for row in result["rows"]}
            for table, result in zip((ROOT, "Bridge", "Port", "Interface", "Mirror"), done,
                                     strict=True)}


def versions(host: Host) -> dict[str, str]:
    """{row: its version}, which moves with everything that is written to it."""
    done = host.transact(*({"op": "select", "table": table, "where": [],
                            "columns": ["_uuid", "_version"]}
                           for table in (ROOT, "Bridge", "Port", "Interface", "Mirror")))
    return {row["_uuid"][1]: row["_version"][1] for result in done for row in result["rows"]}


# --- what is whose --------------------------------------------------------------------------------

def test_rows_of_others_are_not_written_even_where_they_cry_for_it(host: Host) -> None:
    """Nobody else writes here: what changes, the companion has changed."""
    host.vsctl("--no-wait", "set", ROOT, ".", "other_config:pmd-cpu-mask=nonsense",
               "other_config:dpdk-extra=--nonsense", "other_config:dpdk-init=false")
    for name, type_ in (("ovs0", "netdev"), ("ovs1", "system"), ("ovs2", '""')):
        bridge(host, name, type_, "--no-wait")
        host.vsctl("--no-wait", *port(host, name, f"{name}p", "mtu_request=1"))
    host.vsctl("--no-wait", "--", "--id=@m", "create", "Mirror", "name=m", "--", "set", "Bridge",
               "ovs0", "mirrors=@m")
    before = versions(host)
    companion(host)
    bridge(host, "br0", "vhost", "--no-wait")
    host.vsctl("--no-wait", *port(host, "br0", "a"))
    wait_until(lambda: host.interface("a", "statistics"), "our port is served")
    own = versions(host).keys() - before.keys()
    # a new port of theirs, alone and in one transaction with one of ours, is not numbered for them
    host.vsctl("--no-wait", *port(host, "ovs0", "theirs"))
    host.vsctl("--no-wait", *port(host, "ovs0", "too"), "--", *port(host, "br0", "b"))
    wait_until(lambda: host.interface("b", "statistics"), "our port is served")
    host.vsctl("--no-wait", "del-port", "a")
    host.vsctl("--no-wait", *port(host, "br0", "c"))
    wait_until(lambda: host.interface("c", "statistics"), "our port is served")
    after = versions(host)
    moved = {row for row, version in before.items() if after[row] != version}
    tables = dump(host)
    (root,) = tables[ROOT]
    theirs = {row["_uuid"][1] for row in tables["Bridge"].values() if row["name"] == "ovs0"}
    assert moved <= {root, *theirs}                 # ovs-vsctl's own: bridges, ports
    assert own
    for name in ("theirs", "too", "ovs0p", "ovs1p", "ovs2", "ovs1"):
        assert (host.interface(name, "ofport"), host.interface(name, "error")) == (None, None)
    found = host.get(ROOT, ".", "cur_cfg"), host.get(ROOT, ".", "datapath_types")
    assert found == (0, None)
    assert host.get(ROOT, ".", "iface_types") is None
    assert host.get(ROOT, ".", "dpdk_initialized") is False
    said = [line for line in host.output().splitlines()
            if "ovs0" in line or "ovs1" in line or "ovs2" in line or "nonsense" in line]
    assert said == []


def test_rows_of_ovs_vswitchd_are_as_it_writes_them(both: Host) -> None:
    both.vsctl("add-port", "ovs0", "t0", "--", "set", "Interface", "t0", "type=internal")
    steady = [column for column in json.loads(both.vsctl("--format=json", "list", "Interface",
                                                         "t0"))["headings"]
              if column not in ("statistics", "status")]

    def foreign() -> list[Any]:
        return [both.vsctl("list", ROOT, "."), both.vsctl("list", "Bridge", "ovs0"),
                *(both.vsctl(f"--columns={','.join(steady)}", "list", "Interface", name)
                  for name in ("ovs0", "t0"))]

    before = foreign()
    both.vsctl("--no-wait", *port(both, "br0", "a"))
    wait_until(lambda: both.interface("a", "statistics"), "our port is served")
    both.vsctl("--no-wait", "set", "Interface", "a", "mtu_request=9000")
    both.vsctl("--no-wait", "del-port", "a")
    wait_until(lambda: "deleted interface a" in both.output(), "it is gone")
    after = foreign()
    # ovs-vswitchd has seen to more than was asked for: cur_cfg moves with next_cfg alone
    assert after == before


def test_a_number_that_was_taken_from_a_port_of_others_is_not_made_up_for(host: Host) -> None:
    companion(host)
    bridge(host, "br0", "vhost", "--no-wait")
    bridge(host, "ovs0", "netdev", "--no-wait")
    host.vsctl("--no-wait", "add-port", "ovs0", "t0", "--", "set", "Interface", "t0", "ofport=7",
               "admin_state=up")
    host.vsctl("--no-wait", *port(host, "br0", "a"))
    wait_until(lambda: host.interface("a", "statistics"), "the agent has seen all of it")
    host.vsctl("--no-wait", "clear", "Interface", "t0", "ofport")
    host.vsctl("--no-wait", *port(host, "br0", "b"))
    wait_until(lambda: host.interface("b", "statistics"), "our port is served")
    assert not host.interface("t0", "ofport")


# --- ovs-vsctl ------------------------------------------------------------------------------------

def test_ovs_vsctl_hears_of_no_error(both: Host) -> None:
    complaints: list[str] = []

    def typed(*words: str) -> None:
        done = both.run("ovs-vsctl", "--timeout=30", *words)
        assert done.returncode == 0, words
        complaints.extend(done.stderr.splitlines()[:1])

    for number in range(10):
        typed(*port(both, "br0", f"a{number}"))
    told = [both.interface(f"a{number}", "ofport") for number in range(10)]
    assert len(set(told)) == 10
    assert min(told) > 0
    words: list[str] = []
    for number in range(20):
        words += [*(["--"] if words else []), *port(both, "br0", f"b{number}")]
    typed(*words)
    typed("add-br", "br1", "--", "set", "Bridge", "br1", "datapath_type=vhost", "--",
          *port(both, "br1", "c"))
    typed(*port(both, "br1", "d", "ofport_request=77"))
    wait_until(lambda: len({both.interface(f"b{n}", "ofport") for n in range(20)}) == 20,
               "each has a number of its own")
    assert [both.interface(f"a{number}", "ofport") for number in range(10)] == told
    wait_until(lambda: both.interface("br1", "ofport") == 65534, "the bridge's own port has its")
    wait_until(lambda: both.interface("d", "ofport") == 77, "the number that was asked for")
    assert len(complaints) <= 4, complaints     # of 13, on a machine that has too much to do


def test_ovs_vsctl_seldom_hears_of_an_error_from_a_clustered_database(directory: Host) -> None:
    """There the number is a transaction of its own, which ovs-vswitchd may overtake."""
    host = directory
    host.check("ovsdb-tool", "create-cluster", str(host.directory / "conf.db"), str(SCHEMA),
               f"unix:{host.directory}/raft.sock")
    host.start_ovsdb()
    host.vsctl("--no-wait", "init")
    with Vswitchd(host):
        companion(host)
        bridge(host, "br0", "vhost")
        done = [host.run("ovs-vsctl", "--timeout=30", *port(host, "br0", f"a{number}"))
                for number in range(5)]
        assert sum((one.returncode, one.stderr) != (0, "") for one in done) <= 2


def test_ovs_vsctl_hears_of_a_real_error(both: Host) -> None:
    done = both.run("ovs-vsctl", "--timeout=30", "add-port", "br0", "x", "--", "set", "Interface",
                    "x", "type=vxlan")
    assert "Error detected while setting up 'x'" in done.stderr
    wait_until(lambda: both.interface("x", "ofport") == -1, "it is refused")
    assert "type 'vxlan' is not served" in both.interface("x", "error")


def test_explain_knows_ports_of_others_and_what_there_is_not(both: Host) -> None:
    assert both.appctl("vhost/explain", "ovs0") == (
        "ovs0 is on bridge ovs0, which another daemon serves\n"
        "  type      internal on bridge ovs0\n")
    control = f"{both.directory}/vhost-agent.{both.agents[-1].pid}.ctl"
    done = both.run(AGENT, "explain", "-t", control, "zzzz")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no port 'zzzz' is in the database" in done.stderr


def test_emergency_reset_and_deletion(both: Host) -> None:
    both.vsctl(*port(both, "br0", "a"))
    both.vsctl("emer-reset")
    wait_until(lambda: both.interface("a", "ofport") > 0, "it is served on")
    both.vsctl("del-port", "a")
    both.vsctl("del-br", "br0")
    wait_until(lambda: "br0" not in links(both), "the bridge's device is gone")


# --- settings -------------------------------------------------------------------------------------

def test_settings_have_a_prefix_and_complaints_name_it(both: Host) -> None:
    both.vsctl(*port(both, "br0", "a"))
    both.vsctl("set", ROOT, ".", "other_config:vhost-agent-vhost-iommu-support=perhaps",
               "other_config:vhost-agent-vhost-iommu-suport=true",
               "other_config:vhost-postcopy-support=perhaps")

    def problems() -> str:
        return str(both.interface("a", "status").get("problems", ""))

    wait_until(problems, "they are complained about")
    assert problems() == (
        "vhost-agent-vhost-iommu-support: 'perhaps' is neither true nor false, using false; "
        "vhost-agent-vhost-iommu-suport: not an option; did you mean "
        "vhost-agent-vhost-iommu-support?")
    both.vsctl("remove", ROOT, ".", "other_config", "vhost-agent-vhost-iommu-suport", "--", "set",
               ROOT, ".", "other_config:vhost-agent-vhost-iommu-support=true")
    wait_until(lambda: both.interface("a", "status").get("vhost-iommu-support") == "true",
               "it is used")


def test_no_dpdk_where_it_is_not_wanted(host: Host) -> None:
    host.vsctl("--no-wait", "set", ROOT, ".", "other_config:vhost-agent-dpdk-init=false")
    host.start_agent("--role", "companion")
    with Vswitchd(host):
        bridge(host, "br0", "vhost")
        host.run("ovs-vsctl", "--timeout=30", *port(host, "br0", "a"))
        wait_until(lambda: host.interface("a", "error"), "it says so")
        assert "other_config:vhost-agent-dpdk-init=true)" in host.interface("a", "error")
        host.vsctl("set", ROOT, ".", "other_config:vhost-agent-dpdk-init=true")
        wait_until(lambda: host.interface("a", "ofport") > 0, "it works once it may")


def test_without_free_hugepages_it_runs_on_ordinary_memory(host: Host) -> None:
    hide = 'mount -t tmpfs none /sys/kernel/mm/hugepages && exec "$@"'
    host.start("unshare", "--mount", "sh", "-c", hide, "sh", *host.netns.command(AGENT, "run"),
               "--role", "companion")
    bridge(host, "br0", "vhost", "--no-wait")
    host.vsctl("--no-wait", *port(host, "br0", "a"))
    wait_until(lambda: host.interface("a", "statistics"), "it is served")
    assert "less than 64 MiB of hugepages are free: running on ordinary memory" in host.output()


def test_it_is_ready_without_a_bridge_of_its_own(host: Host) -> None:
    done = host.run(*host.netns.command(AGENT, "run", "--role", "companion", "--detach",
                                        "--pidfile"))
    assert done.returncode == 0
    assert host.check("ovs-appctl", "-t", "vhost-agent", "exit") == ""


def test_dpdk_of_both_on_one_host(host: Host) -> None:
    host.enable_dpdk("")
    with Vswitchd(host, WITH_DPDK):
        bridge(host, "ovs0", "netdev")
        host.vsctl(*port(host, "ovs0", "p"))
        companion(host)
        bridge(host, "br0", "vhost")
        host.vsctl(*port(host, "br0", "q"))
        wait_until(lambda: host.interface("q", "statistics"), "our port is served")
        for name in ("p", "q"):
            assert host.interface(name, "error") is None
            assert host.interface(name, "ofport") > 0
        assert host.get(ROOT, ".", "dpdk_initialized") is True


# --- several --------------------------------------------------------------------------------------

def test_the_second_companion_waits_for_the_first(both: Host) -> None:
    first = both.agents[-1]
    both.start_agent("--role", "companion")
    wait_until(lambda: "another companion process is running" in both.output(), "it says so")
    both.vsctl(*port(both, "br0", "a"))
    added = f"added interface a on port {both.interface('a', 'ofport')}"
    wait_until(lambda: added in both.output(), "the first serves it")
    both.agents.remove(first)
    first.kill()
    first.wait()
    wait_until(lambda: both.output().count(added) == 2, "it takes over")


def test_agents_in_both_roles_each_have_their_bridges(host: Host) -> None:
    host.enable_dpdk()
    host.start_agent()
    wait_until(lambda: "DPDK Enabled - initialized" in host.output(), "it has DPDK")
    companion(host)
    bridge(host, "ovs0", "netdev")
    bridge(host, "br0", "vhost")
    for on, name in (("ovs0", "p"), ("br0", "q")):
        # either may be done with another's port first: ovs-vsctl complains now and then
        assert host.run("ovs-vsctl", "--timeout=30", *port(host, on, name)).returncode == 0
        wait_until(lambda name=name: host.interface(name, "statistics"),    # type: ignore[misc]
                   "it is served")
        assert host.interface(name, "error") is None
        assert host.interface(name, "ofport") > 0
    assert "bridge br0: datapath_type vhost is for an agent that runs with --role companion" in (
        host.output())


def test_a_bridge_changes_hands_and_back(both: Host) -> None:
    both.vsctl("add-port", "br0", "t5", "--", "set", "Interface", "t5", "type=internal",
               "ofport_request=5", "--", "add-port", "br0", "s6", "--", "set", "Interface", "s6",
               "type=dpdkvhostuser")
    socket = both.directory / "s6"
    wait_until(socket.exists, "it has its socket")
    both.vsctl("clear", "Interface", "t5", "ofport_request")
    both.vsctl("set", "Bridge", "br0", "datapath_type=netdev")
    wait_until(lambda: not socket.exists(), "the companion lets it go")
    wait_until(lambda: both.interface("s6", "ofport") == -1, "ovs-vswitchd has it, without DPDK")
    wait_until(lambda: "t5" in links(both) and both.interface("t5", "error") is None
               and both.interface("t5", "ofport") > 0, "ovs-vswitchd has taken the device over")
    number = both.interface("t5", "ofport")
    both.vsctl("--no-wait", "set", "Bridge", "br0", "datapath_type=vhost")
    # ovs-vswitchd may say last, after the companion did, that it has them no more
    wait_until(lambda: socket.exists() and both.interface("s6", "error") is None
               and both.interface("t5", "error") is None
               and both.interface("t5", "ofport") == number
               and both.interface("s6", "ofport") > 0, "the companion has taken it back")
    both.vsctl("del-br", "br0")
    wait_until(lambda: links(both) == {"lo", "ovs0", "ovs-netdev"}, "nothing is left")


def test_rows_of_a_bridge_that_left_are_written_no_more(host: Host) -> None:
    companion(host)
    for name in ("br0", "br1"):
        bridge(host, name, "vhost", "--no-wait")
    host.vsctl("--no-wait", *port(host, "br0", "a"))
    wait_until(lambda: host.interface("a", "statistics"), "it is served")
    host.vsctl("--no-wait", "set", "Bridge", "br0", "datapath_type=netdev")
    wait_until(lambda: "deleted interface a" in host.output(), "it is let go")
    host.vsctl("--no-wait", "set", "Interface", "a", "ofport=99")
    host.vsctl("--no-wait", *port(host, "br1", "b"))
    wait_until(lambda: host.interface("b", "statistics"), "the other bridge is served")
    assert host.interface("a", "ofport") == 99
    host.vsctl("--no-wait", "set", "Bridge", "br0", "datapath_type=vhost")
    wait_until(lambda: "added interface a on port 99" in host.output(), "it has its number")


def test_starts_of_ovs_vswitchd_leave_the_rows_alone(host: Host) -> None:
    companion(host)
    bridge(host, "br0", "vhost", "--no-wait")
    host.vsctl("--no-wait", *port(host, "br0", "a"))
    wait_until(lambda: host.interface("a", "statistics"), "it is served")
    host.stop_agent()
    before = versions(host)
    del before[host.get(ROOT, ".", "_uuid")]
    for _ in range(2):
        with Vswitchd(host):
            pass
    after = versions(host)
    assert {row: after[row] for row in before} == before


def test_moving_over_from_companion_to_the_place_of_ovs_vswitchd(host: Host) -> None:
    with Vswitchd(host):
        bridge(host, "ovs0", "netdev")
        companion(host)
        bridge(host, "br0", "vhost")
        for name in "abc":
            host.vsctl(*port(host, "br0", name))
        host.vsctl("del-port", "b")
        wait_until(lambda: host.interface("c", "statistics"), "it is served")
        before = {name: host.interface(name, "ofport") for name in ("br0", "a", "c")}
        assert host.stop_agent() == 0
    host.enable_dpdk()
    host.vsctl("--no-wait", "set", "Bridge", "br0", "datapath_type=netdev")
    host.start_agent()
    host.vsctl(*port(host, "br0", "d"))
    assert {name: host.interface(name, "ofport") for name in before} == before
    assert all(host.interface(name, "error") is None for name in (*before, "d", "ovs0"))
