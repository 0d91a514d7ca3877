"""Sections 3.4 to 3.7, 4 and 5.2 to 5.7 of the contract: queues and PMD threads. A test each."""
from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.agent.conftest import Contract
from tools.frontend import FrontEnd, ethernet
from tools.host import Host, wait_until

A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
CORES = sorted(os.sched_getaffinity(0))[:2]
BOTH, FIRST, SECOND, NONE = (hex(sum(1 << core for core in cores)) for cores in (
    CORES, CORES[:1], CORES[1:], [100]))


def pmds(host: Host) -> list[str]:
    """Names of the agent's PMD threads."""
    tasks = Path(f"/proc/{host.agents[-1].pid}/task")
    return sorted(name for task in tasks.iterdir()
                  if (name := (task / "comm").read_text().strip()).startswith("pmd-"))


def names(*cores: int) -> list[str]:
    return [f"pmd-c{core:02}" for core in cores]


def queues(contract: Contract) -> dict[int, list[tuple[str, int, bool]]]:
    """{core: (port, queue, whether it is enabled), ...} as pmd-rxq-show has it."""
    found: dict[int, list[tuple[str, int, bool]]] = {}
    core = -1
    for line in contract.host.appctl("dpif-netdev/pmd-rxq-show").splitlines():
        if match := re.fullmatch(r"pmd thread numa_id \d+ core_id (\d+):", line):
            core = int(match[1])
            found[core] = []
        elif match := re.fullmatch(r"  port: (.{16})  queue-id: (..) (\(enabled\) |\(disabled\))"
                                   r"  pmd usage: (NOT AVAIL|..+ %)", line):
            found[core].append((match[1].strip(), int(match[2]), match[3] == "(enabled) "))
    return found


def refused(host: Host, *words: str) -> str:
    """What ovs-appctl prints when a command fails."""
    control = host.directory / f"vhost-agent.{host.agents[-1].pid}.ctl"
    done = host.run("ovs-appctl", "-t", str(control), *words)
    assert done.returncode == 2, done
    return done.stderr


def two(contract: Contract, *settings: str) -> None:
    """Ports p and q on both cores."""
    contract.config(f"pmd-cpu-mask={BOTH}")
    for name in ("p", "q"):
        contract.client(name, *settings)


def two_guests(contract: Contract) -> tuple[FrontEnd, FrontEnd]:
    """The same with their guests."""
    contract.config(f"pmd-cpu-mask={BOTH}")
    return contract.attached("p"), contract.attached("q")


# --- 3.4, 3.5 queues follow the guest -------------------------------------------------------------

def test_3_5_fresh_port_has_one_enabled_queue_and_an_absent_guest_a_disabled_one(
        contract: Contract) -> None:
    contract.client("p")
    only, = queues(contract).values()
    assert only == [("p", 0, True)]
    guest = contract.joined("p")
    assert list(queues(contract).values()) == [[("p", 0, True)]]
    guest.stop()
    wait_until(lambda: list(queues(contract).values()) == [[("p", 0, False)]], "it is disabled")


def test_3_4_number_of_queues_is_the_guests(contract: Contract) -> None:
    contract.client("p")
    for count in (1, 4, 2, 8):
        guest = contract.joined("p", queues=count)
        wait_until(lambda n=count: contract.status("p").get("n_rxq") == str(n), "n_rxq follows")
        assert contract.status("p")["n_txq"] == str(count)
        shown, = queues(contract).values()
        assert shown == [("p", q, True) for q in range(count)]
        guest.close()
        wait_until(lambda: not contract.host.connected("p"), "the guest is gone")


def test_3_4_queues_are_switched_in_place(contract: Contract) -> None:
    guest = contract.attached("p", queues=4)
    for q in (0, 2):
        guest.enable(q, False)
    wait_until(lambda: list(queues(contract).values()) == [
        [("p", 0, False), ("p", 1, True), ("p", 2, False), ("p", 3, True)]], "1 and 3 are on")
    path = contract.path("p")
    assert (f"State of queue 5 ( rx_qid 2 ) of vhost device '{path}' changed to 'disabled'"
            in contract.log())
    contract.attached("q").send([ethernet(A, B)])
    assert len(guest.recv_wait(1, queue=1)) == 1        # txq 0 borrows the first that is on


@pytest.mark.parametrize("setting", ["options:n_rxq=4", "options:n_rxq_desc=512"])
def test_3_5_number_of_queues_is_no_option(contract: Contract, setting: str) -> None:
    contract.attached("p", setting)
    asked = setting.removeprefix("options:")
    wait_until(lambda: f"{asked} was asked for, and the guest" in contract.status("p")["reason"],
               "it is said that the guest has others")
    assert contract.status("p")["n_rxq"] == "1"
    assert "problems" not in contract.status("p")


# --- 3.7 transmit queues --------------------------------------------------------------------------

def test_3_7_steering_changes_under_a_guest(contract: Contract) -> None:
    a, b = contract.attached("p"), contract.attached("q", queues=4)
    b.send([ethernet(A, B)])
    a.recv_wait(1)
    frames = [ethernet(B, f"02:00:00:00:01:{i:02x}") for i in range(64)]
    a.send(frames)
    assert len(b.recv_wait(64)) == 64
    contract.set("q", "other_config:tx-steering=hash")
    a.send(frames)
    wait_until(lambda: contract.fresh("q")["tx_q3_good_packets"], "every txq has some")
    statistics = contract.fresh("q")
    spread = [statistics[f"tx_q{q}_good_packets"] for q in range(4)]
    assert spread[0] > 64
    assert (min(spread[1:]) > 0, sum(spread)) == (True, 128)
    assert "q: Tx packet steering mode has been set to 'hash'." in contract.log()


# --- 4.1 which PMD threads exist ------------------------------------------------------------------

def test_4_1_threads_are_there_while_there_is_a_port(contract: Contract) -> None:
    assert pmds(contract.host) == []
    contract.client("p")
    assert pmds(contract.host) == names(CORES[0])
    core = CORES[0]
    for line in (f"PMD thread on numa_id: 0, core id: {core:2} created.",
                 "There are 1 pmd threads on numa node 0"):
        assert line in contract.log()
    contract.host.vsctl("del-port", "p")
    assert pmds(contract.host) == []
    assert f"PMD thread on numa_id: 0, core id: {core:2} destroyed." in contract.log()


def test_4_1_mask_moves_threads_under_traffic(contract: Contract) -> None:
    a, b = two_guests(contract)
    b.send([ethernet(A, B)])
    a.recv_wait(1)
    for mask, cores in ((BOTH, CORES), (SECOND, CORES[1:]), (FIRST, CORES[:1]), (BOTH, CORES)):
        contract.config(f"pmd-cpu-mask={mask}")
        assert pmds(contract.host) == names(*cores)
        a.send([ethernet(B, A)] * 10)
        assert len(b.recv_wait(10)) == 10
    contract.host.vsctl("remove", "Open_vSwitch", ".", "other_config", "pmd-cpu-mask")
    assert pmds(contract.host) == names(CORES[0])


def test_4_1_mask_without_a_core_polls_nothing_and_says_so(contract: Contract) -> None:
    a, b = two_guests(contract)
    contract.config(f"pmd-cpu-mask={NONE}")
    assert pmds(contract.host) == []
    assert contract.host.appctl("dpif-netdev/pmd-rxq-show") == (
        "Displaying last 60 seconds pmd usage %\n")
    for name in ("p", "q"):
        assert "no such core: 100" in contract.problems(name)
        assert "no rx queue is polled" in contract.problems(name)
    b.send([ethernet(A, B)])
    contract.config(f"pmd-cpu-mask={BOTH}")
    a.recv_wait(1)                      # it has waited
    assert "problems" not in contract.status("p")


# --- 4.2, 4.3 placement ---------------------------------------------------------------------------

@pytest.mark.parametrize(("algorithm", "first"), [
    ("roundrobin", [0, 2, 4, 6]), ("cycles", [0, 3, 4, 7]), ("group", [0, 2, 4, 6])])
def test_4_3_eight_unmeasured_queues_on_two_pmds(contract: Contract, algorithm: str,
                                                 first: list[int]) -> None:
    contract.config(f"pmd-cpu-mask={BOTH}", f"pmd-rxq-assign={algorithm}")
    contract.attached("p", queues=8)
    wait_until(lambda: sum(map(len, queues(contract).values())) == 8, "all are placed")
    shown = queues(contract)
    assert [q for _, q, _ in shown[CORES[0]]] == first
    assert [q for _, q, _ in shown[CORES[1]]] == [q for q in range(8) if q not in first]
    assert (f"Performing pmd to rx queue assignment using {algorithm} algorithm."
            in contract.log())


def test_4_3_unknown_algorithm_is_said_and_cycles_used(contract: Contract) -> None:
    two(contract)
    contract.config("pmd-rxq-assign=Cycles")
    assert "pmd-rxq-assign: 'Cycles'" in contract.problems("p")


def test_4_3_affinity_isolates_its_core(contract: Contract) -> None:
    contract.config(f"pmd-cpu-mask={BOTH}")
    contract.attached("p", queues=2)
    contract.client("q")
    contract.set("p", f"other_config:pmd-rxq-affinity=\"0:{CORES[1]},1:{CORES[1]}\"")
    shown = queues(contract)
    assert shown == {CORES[0]: [("q", 0, True)], CORES[1]: [("p", 0, True), ("p", 1, True)]}
    text = contract.host.appctl("dpif-netdev/pmd-rxq-show", "-pmd", str(CORES[1]))
    assert "  isolated : true\n" in text
    assert f"Core {CORES[1]:2} on numa node 0 is pinned with port 'p' rx queue " in contract.log()
    contract.config("pmd-rxq-assign=group", "pmd-rxq-isolate=false")
    assert "isolated : true" not in contract.host.appctl("dpif-netdev/pmd-rxq-show")


def test_4_3_affinity_to_a_core_without_a_pmd(contract: Contract) -> None:
    contract.config(f"pmd-cpu-mask={FIRST}")
    contract.client("p", "other_config:pmd-rxq-affinity=0:100")
    assert queues(contract) == {CORES[0]: [("p", 0, True)]}
    assert "this host has no core 100: another core is used" in contract.problems("p")
    assert ("Core 100 cannot be pinned with port 'p' rx queue 0. Use pmd-cpu-mask to enable a pmd "
            "on core 100. An alternative core will be assigned.") in contract.log()


def test_4_3_queue_that_no_pmd_may_poll_is_said(contract: Contract) -> None:
    contract.config(f"pmd-cpu-mask={FIRST}")
    contract.client("p", f"other_config:pmd-rxq-affinity=0:{CORES[0]}")
    contract.client("q")
    assert queues(contract) == {CORES[0]: [("p", 0, True)]}
    assert "rx queue 0 is not polled: " in contract.problems("q")
    assert "problems" not in contract.status("p")
    contract.host.vsctl("clear", "Interface", "p", "other_config")
    assert "problems" not in contract.status("q")
    assert len(queues(contract)[CORES[0]]) == 2


def test_4_2_only_queues_that_move_are_said_to(contract: Contract) -> None:
    two(contract)
    before = contract.log()
    contract.client("r")
    new = contract.log()[len(before):]
    assert "assigned port 'r' rx queue 0" in new
    assert "assigned port 'p'" not in new
    assert contract.host.appctl("dpif-netdev/pmd-rxq-rebalance") == (
        "pmd rxq rebalance requested.\n")
    assert refused(contract.host, "dpif-netdev/pmd-rxq-rebalance", "nosuch").startswith(
        "please specify an existing datapath\n")


# --- 4.5 sleep ------------------------------------------------------------------------------------

def test_4_5_sleep_of_all_and_of_one(contract: Contract) -> None:
    two(contract)
    contract.config(f"pmd-sleep-max=\"50,{CORES[1]}:100\"")
    assert contract.host.appctl("dpif-netdev/pmd-sleep-show") == (
        "Default max sleep:   50 us\n"
        f"pmd thread numa_id 0 core_id {CORES[0]}:\n  max sleep:   50 us\n"
        f"pmd thread numa_id 0 core_id {CORES[1]}:\n  max sleep:  100 us\n")
    assert "Default PMD thread max sleep:   50 us." in contract.log()
    assert (f"PMD thread on numa_id: 0, core id: {CORES[1]:2}, max sleep:  100 us."
            in contract.log())
    a, b = contract.joined("p"), contract.joined("q")
    b.send([ethernet(A, B)])
    a.recv_wait(1)


def test_4_5_silent_pmd_waits_in_the_kernel(contract: Contract) -> None:
    contract.config("pmd-idle-mode=block")
    a, b = contract.attached("p"), contract.attached("q")
    pid = contract.host.agents[-1].pid

    def waits() -> bool:
        states = [(task / "stat").read_text().rpartition(")")[2].split()[0]
                  for task in Path(f"/proc/{pid}/task").iterdir()
                  if (task / "comm").read_text().startswith("pmd-")]
        return states == ["S"]
    for _ in range(10):
        wait_until(waits, "the PMD waits in the kernel")
        b.send([ethernet(A, B)])
        a.recv_wait(1)


# --- 5.2 the shows --------------------------------------------------------------------------------

def test_5_2_usage_is_known_after_two_intervals(contract: Contract) -> None:
    contract.attached("p")
    known = re.compile(r"pmd usage: .\d %\n  overhead: .\d %\n\Z")
    wait_until(lambda: known.search(contract.host.appctl("dpif-netdev/pmd-rxq-show", "-secs", "5")),
               "usage is known")


def test_5_2_what_pmds_did(contract: Contract) -> None:
    a, b = contract.attached("p"), contract.attached("q")
    assert contract.host.appctl("dpif-netdev/pmd-stats-clear") == ""
    b.send([ethernet(A, B)])
    a.recv_wait(1)
    a.send([ethernet(B, A)] * 99)
    b.recv_wait(99)
    stats = contract.host.appctl("dpif-netdev/pmd-stats-show")
    assert "  packets received: 100\n" in stats
    assert re.search(r"  idle cycles: \d+ \(\d+\.\d\d%\)\n  processing cycles: \d+ ", stats)
    assert "main thread:\n  packets received: 0\n" in stats
    perf = contract.host.appctl("dpif-netdev/pmd-perf-show", "-nh")
    assert re.search(r"  Rx packets:                  100  \(\d+ Kpps, \d+ cycles/pkt\)\n", perf)
    assert re.search(r"  Tx packets:                  100  ", perf)
    contract.host.appctl("dpif-netdev/pmd-stats-clear")
    assert "  packets received: 100" not in contract.host.appctl("dpif-netdev/pmd-stats-show")


def test_5_2_without_a_bridge_there_is_no_datapath(contract: Contract) -> None:
    contract.host.vsctl("del-br", "br0")
    for command in ("pmd-rxq-show", "pmd-stats-show", "pmd-stats-clear", "pmd-perf-show",
                    "pmd-sleep-show", "pmd-rxq-rebalance"):
        assert refused(contract.host, f"dpif-netdev/{command}").startswith(
            "please specify an existing datapath\n"), command


# --- 5.4 netdev-dpdk/*, dpdk/* --------------------------------------------------------------------

def test_5_4_port_is_taken_down_and_up(contract: Contract) -> None:
    a, b = contract.attached("p"), contract.attached("q")
    b.send([ethernet(A, B)])
    a.recv_wait(1)
    assert contract.host.appctl("netdev-dpdk/set-admin-state", "q", "down") == "OK\n"
    wait_until(lambda: contract.get("q", "admin_state") == "down", "the column says so")
    assert contract.get("p", "admin_state") == "up"
    a.send([ethernet(B, A)] * 3)
    wait_until(lambda: contract.fresh("q")["tx_dropped"] == 3, "what is sent to it is dropped")
    assert contract.host.appctl("netdev-dpdk/set-admin-state", "up") == "OK\n"
    wait_until(lambda: contract.get("q", "admin_state") == "up", "it is up again")
    a.send([ethernet(B, A)])
    assert len(b.recv_wait(1)) == 1
    assert refused(contract.host, "netdev-dpdk/set-admin-state", "q", "sideways").startswith(
        "Invalid Admin State\n")
    assert refused(contract.host, "netdev-dpdk/set-admin-state", "br0", "up").startswith(
        "Not a DPDK Interface\n")


def test_5_4_packet_buffers_of_a_port(contract: Contract) -> None:
    contract.client("p")
    assert refused(contract.host, "netdev-dpdk/get-mempool-info", "p").startswith("Not allocated\n")
    contract.joined("p")
    text = contract.host.appctl("netdev-dpdk/get-mempool-info", "p")
    assert text.startswith("mempool <")
    assert re.search(r"    count: avail \(\d+\), in use \(\d+\)\n\Z", text)
    assert "mempool <" in contract.host.appctl("netdev-dpdk/get-mempool-info")
    assert refused(contract.host, "netdev-dpdk/get-mempool-info", "br0").startswith(
        "Not a DPDK Interface\n")


def test_5_4_dpdks_own_lists(contract: Contract) -> None:
    appctl = contract.host.appctl
    assert re.search(r"id \d+: lib\.eal, level is ", appctl("dpdk/log-list"))
    assert appctl("dpdk/log-set", "lib.vhost.config:debug") == ""
    assert "lib.vhost.config, level is debug" in appctl("dpdk/log-list")
    assert appctl("dpdk/log-set", "lib.vhost.config:info") == ""
    assert "lib.vhost.config, level is info" in appctl("dpdk/log-list")
    assert refused(contract.host, "dpdk/log-set", "loud").startswith("invalid log level: 'loud'\n")
    contract.client("p")
    assert re.search(r"lcore \d+, socket \d+, role NON_EAL", appctl("dpdk/lcore-list"))


# --- 5.7 generic ----------------------------------------------------------------------------------

def test_5_7_events_are_counted(contract: Contract) -> None:
    appctl = contract.host.appctl

    def received() -> int:
        return int(appctl("coverage/read-counter", "netdev_received"))
    a, b = contract.attached("p"), contract.attached("q")
    before = received()
    b.send([ethernet(A, B)])
    a.recv_wait(1)
    assert received() == before + 1
    text = appctl("coverage/show")
    assert text.startswith("Event coverage, avg rate over last: 5 seconds, last minute, last hour,")
    assert re.search(r"^netdev_received +\d+\.\d/sec +\d+\.\d{3}/sec +\d+\.\d{4}/sec   total: \d+$",
                     text, re.M)
    assert re.search(r"^\d+ events never hit$", text, re.M)
    assert refused(contract.host, "coverage/read-counter", "nosuch").startswith("No such counter\n")
    assert re.fullmatch(r"packet-buffers-in-use:\d+ pmds:1 ports:3\n", appctl("memory/show"))
