"""Settings of the whole agent: what is used, and what is said of what is not."""
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import schema
from agent.hostconfig import (
    COLUMN,
    LOCKED,
    TABLE,
    HostConfig,
    host_config,
    mtu_range,
)
from agent.model import CLIENT_TYPE, ETH_TYPE, SERVER_TYPE, AutoBalance, Placing, PmdSpec
from agent.options import shown

RUNDIR = "/run/ovs"
CORES = {0: (0, 1), 1: (2, 3)}


def config(dpdk: bool = True, at_start: dict[str, str] | None = None, **texts: str) -> HostConfig:
    return host_config({key.replace("_", "-"): text for key, text in texts.items()}, rundir=RUNDIR,
                       numa_cores=CORES, dpdk_initialized=dpdk, at_start=at_start)


def test_nothing_configured_is_all_defaults() -> None:
    none: dict[str, tuple[str, ...]] = {ETH_TYPE: (), SERVER_TYPE: (), CLIENT_TYPE: ()}
    assert config() == HostConfig(
        socket_dir=RUNDIR, pmds=(PmdSpec(0, 0), PmdSpec(2, 1)), default_sleep_us=0,
        placing=Placing("cycles", isolate=True), auto_balance=None, numa_nodes=2,
        cores=frozenset(range(4)),
        stats_interval_ms=5000, dpdk_initialized=True, port_problems=none)
    assert not config(dpdk=False).dpdk_initialized


def test_everything_configured() -> None:
    got = config(dpdk_init="true", vhost_sock_dir="sub", vhost_iommu_support="true",
                 vhost_postcopy_support="TRUE", userspace_tso_enable="true",
                 per_port_memory="true",
                 shared_mempool_config="9000,1500", pmd_cpu_mask="0x8",
                 pmd_sleep_max="50,3:70", pmd_idle_mode="block", pmd_rxq_assign="group",
                 pmd_rxq_isolate="false", pmd_auto_lb="true", pmd_auto_lb_rebal_interval="2",
                 pmd_auto_lb_load_threshold="80", pmd_auto_lb_improvement_threshold="10",
                 stats_update_interval="60000")
    assert got == HostConfig(
        f"{RUNDIR}/sub", iommu=True, postcopy=True, tso=True, own_memory=True,
        shared_mtus=(1500, 9000), pmds=(PmdSpec(3, 1, 70, block=True),), default_sleep_us=50,
        placing=Placing("group", isolate=False), auto_balance=AutoBalance(120_000, 80, 10),
        numa_nodes=2, cores=frozenset(range(4)), stats_interval_ms=60000, dpdk_initialized=True,
        port_problems={ETH_TYPE: (), SERVER_TYPE: (), CLIENT_TYPE: ()})


@pytest.mark.parametrize("wanted", ["true", "false", ""])
def test_no_postcopy_where_memory_is_filled_at_once(wanted: str) -> None:
    got = host_config({"vhost-postcopy-support": wanted} if wanted else {}, rundir=RUNDIR,
                      numa_cores=CORES, dpdk_initialized=True, fills_memory=True)
    said = (LOCKED,) if wanted == "true" else ()
    assert not got.postcopy
    assert got.problems == got.port_problems[CLIENT_TYPE] == said
    assert got.port_problems[SERVER_TYPE] == got.port_problems[ETH_TYPE] == ()


texts = st.dictionaries(
    st.sampled_from([o.key for o in schema.options_of(TABLE, COLUMN)]) | st.text(max_size=4),
    st.text(max_size=8) | st.sampled_from(["true", "false", "0x3", "1500,9000", "-1", "..",
                                           "1:2,3(4)", "group", "block"]))


@given(texts, st.none() | texts)
def test_no_text_whatever_stops_the_agent(other: dict[str, str], at_start: dict[str, str] | None
                                          ) -> None:
    got = host_config(other, rundir=RUNDIR, numa_cores=CORES, dpdk_initialized=True,
                      at_start=at_start)
    assert got.socket_dir.startswith(RUNDIR)
    assert {pmd.core for pmd in got.pmds} <= {0, 1, 2, 3}
    assert all(0 <= pmd.sleep_max_us <= 10_000 for pmd in got.pmds)
    assert got.stats_interval_ms >= 5000
    assert {p for problems in got.port_problems.values() for p in problems} <= set(got.problems)


# --- vhost-sock-dir -------------------------------------------------------------------------------

@pytest.mark.parametrize(("text", "directory", "said"), [
    ("", RUNDIR, ""), ("sub", f"{RUNDIR}/sub", ""), ("a/b", f"{RUNDIR}/a/b", ""),
    ("/abs", f"{RUNDIR}//abs", ""),         # concatenated, as in OVS
    (".", f"{RUNDIR}/.", ""), ("x" * 255, f"{RUNDIR}/{'x' * 255}", ""),
    ("../up", RUNDIR, "contains '..', using /run/ovs"),
    ("a..b", RUNDIR, "contains '..', using /run/ovs"),
    ("x" * 256, RUNDIR, "is longer than 255 characters, using /run/ovs"),
])
def test_socket_dir(text: str, directory: str, said: str) -> None:
    got = config(vhost_sock_dir=text)
    assert got.socket_dir == directory
    assert got.problems == ((f"vhost-sock-dir: {shown(text)} {said}",) if said else ())


# --- shared-mempool-config ------------------------------------------------------------------------

@pytest.mark.parametrize(("text", "mtus"), [
    ("", ()), ("1500", (1500,)), ("9000,1500", (1500, 9000)), ("1500:0,9000:1", (1500, 9000)),
    ("1500=0", (1500,)), ("1500(0),9000(1)", (1500, 9000)),
    (" 1500\t9000\n,4096,, ", (1500, 4096, 9000)), ("1500:", (1500,)),
    ("1500(0)9000(1)", (1500, 9000)),
    ("1500:all", (1500,)),                  # no number: all nodes, as in OVS
    ("68,9702", (68, 9702)),
])
def test_shared_mempool_config(text: str, mtus: tuple[int, ...]) -> None:
    got = config(shared_mempool_config=text)
    assert (got.shared_mtus, got.problems) == (mtus, ())


@pytest.mark.parametrize(("text", "what"), [
    ("1500,x", "'x' is not an MTU of 68..9702"), ("1500,-1", "'-1' is not an MTU of 68..9702"),
    ("67", "'67' is not an MTU of 68..9702"), ("9703,1500", "'9703' is not an MTU of 68..9702"),
    (":0", "'' is not an MTU of 68..9702"), ("1500:-1", "'-1' is not a NUMA node"),
])
def test_one_bad_entry_spoils_the_whole_list(text: str, what: str) -> None:
    got = config(shared_mempool_config=text)
    assert got.shared_mtus == ()
    assert got.problems == (f"shared-mempool-config: {what}, the whole list is ignored",)


def test_range_of_an_mtu_is_that_of_mtu_request() -> None:
    assert mtu_range() == (68, 9702)


# --- whom it concerns -----------------------------------------------------------------------------

@pytest.mark.parametrize(("key", "text", "types"), [
    ("vhost-sock-dir", "..", {SERVER_TYPE}),
    ("vhost-iommu-support", "yes", {CLIENT_TYPE}),
    ("vhost-postcopy-support", "1", {CLIENT_TYPE}),
    ("userspace-tso-enable", "1", {SERVER_TYPE, CLIENT_TYPE}),
    ("per-port-memory", "on", {SERVER_TYPE, CLIENT_TYPE}),
    ("shared-mempool-config", "x", {SERVER_TYPE, CLIENT_TYPE}),
    ("pmd-cpu-mask", "100f", {ETH_TYPE, SERVER_TYPE, CLIENT_TYPE}),
    ("pmd-rxq-assign", "Group", {ETH_TYPE, SERVER_TYPE, CLIENT_TYPE}),
    ("pmd-rxq-isolate", "false", {ETH_TYPE, SERVER_TYPE, CLIENT_TYPE}),
    ("pmd-auto-lb", "1", {ETH_TYPE, SERVER_TYPE, CLIENT_TYPE}),
    ("pmd-auto-lb-rebal-interval", "0", {ETH_TYPE, SERVER_TYPE, CLIENT_TYPE}),
    ("pmd-auto-lb-load-threshold", "101", {ETH_TYPE, SERVER_TYPE, CLIENT_TYPE}),
    ("pmd-auto-lb-improvement-threshold", "-1", {ETH_TYPE, SERVER_TYPE, CLIENT_TYPE}),
    ("pmd-sleep-max", "x", {ETH_TYPE, SERVER_TYPE, CLIENT_TYPE}),
    ("pmd-idle-mode", "sleep", {ETH_TYPE, SERVER_TYPE, CLIENT_TYPE}),
    ("stats-update-interval", "1", set()),
    ("dpdk-probe-at-init", "x", set()),
    ("dpdk-init", "yes", set()),
])
def test_problem_is_told_to_the_ports_it_concerns(key: str, text: str, types: set[str]) -> None:
    got = host_config({key: text}, rundir=RUNDIR, numa_cores=CORES, dpdk_initialized=True)
    (problem,) = got.problems
    assert problem.startswith(f"{key}: ")
    assert text in problem or key == "pmd-cpu-mask"
    assert {type_ for type_, problems in got.port_problems.items() if problems} == types
    assert all(problems in ((), got.problems) for problems in got.port_problems.values())


@pytest.mark.parametrize("text", ["", "true", "TRUE", "try", "Try", "false"])
def test_dpdk_init_knows_true_and_try(text: str) -> None:
    assert config(dpdk_init=text).problems == ()


def test_dpdk_init_of_another_value_is_said() -> None:
    assert config(dpdk_init="1").problems == (
        "dpdk-init: '1' is neither true nor try: DPDK is not started",)


def test_interval_below_the_least_is_said() -> None:
    got = config(stats_update_interval="1000")
    assert got.stats_interval_ms == 5000
    assert got.problems == ("stats-update-interval: 1000 is outside 5000.., using 5000",)


# --- changes that wait for a restart --------------------------------------------------------------

RESTART = [o.key for o in schema.options_of(TABLE, COLUMN) if o.takes_effect == "restart"]
LATER = "the change takes effect when the agent is started again"
OTHERWISE_SAID = {
    "dpdk-init": ("dpdk-init: DPDK has started and goes on until the agent ends",),
    "pmd-maxsleep": ("pmd-maxsleep: is deprecated, use pmd-sleep-max",)}


@pytest.mark.parametrize("o", schema.options_of(TABLE, COLUMN), ids=lambda o: o.key)
def test_change_that_only_counts_at_a_start_is_said_and_no_other(o: schema.Option) -> None:
    text = {"integer": str(o.maximum or 6000), "octal": "0660", "boolean": "true",
            "cpu mask": "1", "list": "1500",
            "choice": o.words[-1] if o.words else ""}.get(o.type, "try")
    for at_start, now in (({}, {o.key: text}), ({o.key: text}, {})):
        got = host_config(now, rundir=RUNDIR, numa_cores=CORES, dpdk_initialized=True,
                          at_start=at_start)
        expected = (f"{o.key}: {LATER}",) if o.key in RESTART else ()
        assert got.problems in (expected, OTHERWISE_SAID.get(o.key, expected))
        assert set(got.port_problems.values()) <= {(), OTHERWISE_SAID.get(o.key)}


@pytest.mark.parametrize("at_start", [None, {"dpdk-extra": "-m 5"}])
def test_what_has_not_changed_since_the_start_is_not_said(at_start: dict[str, str] | None) -> None:
    assert config(at_start=at_start, dpdk_extra="-m 5").problems == ()


# --- keys that are no options ---------------------------------------------------------------------

def test_misspelt_key_is_said_to_whom_its_neighbour_concerns() -> None:
    got = config(pmd_cpu_maks="3", smc_enable="true", ovn_remote="x", hostname="y")
    assert got.problems == ("pmd-cpu-maks: not an option; did you mean pmd-cpu-mask?",
                            "smc-enable: has no effect: there is no flow cache")
    assert set(got.port_problems.values()) == {got.problems[:1]}
