"""Settings of the whole agent: what is used, and what is said of what is not."""
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import schema
from agent.hostconfig import (
    COLUMN,
    TABLE,
    HostConfig,
    core_ranges,
    cpu_mask,
    host_config,
    mtu_range,
)
from agent.model import CLIENT_TYPE, SERVER_TYPE
from agent.options import shown

RUNDIR = "/run/ovs"
CORES = ((0, 1), (2, 3))


def config(dpdk: bool = True, at_start: dict[str, str] | None = None, **texts: str) -> HostConfig:
    return host_config({key.replace("_", "-"): text for key, text in texts.items()}, rundir=RUNDIR,
                       numa_cores=CORES, dpdk_initialized=dpdk, at_start=at_start)


def test_nothing_configured_is_all_defaults() -> None:
    none: dict[str, tuple[str, ...]] = {SERVER_TYPE: (), CLIENT_TYPE: ()}
    assert config() == HostConfig(socket_dir=RUNDIR, cores=(0, 2), numa_nodes=2,
                                  stats_interval_ms=5000, dpdk_initialized=True,
                                  port_problems=none)
    assert not config(dpdk=False).dpdk_initialized


def test_everything_configured() -> None:
    got = config(dpdk_init="true", vhost_sock_dir="sub", vhost_iommu_support="true",
                 vhost_postcopy_support="TRUE", per_port_memory="true",
                 shared_mempool_config="9000,1500", pmd_cpu_mask="0x8",
                 stats_update_interval="60000")
    assert got == HostConfig(
        f"{RUNDIR}/sub", iommu=True, postcopy=True, own_memory=True, shared_mtus=(1500, 9000),
        cores=(3,), numa_nodes=2, stats_interval_ms=60000, dpdk_initialized=True,
        port_problems={SERVER_TYPE: (), CLIENT_TYPE: ()})


texts = st.dictionaries(
    st.sampled_from([o.key for o in schema.options_of(TABLE, COLUMN)]) | st.text(max_size=4),
    st.text(max_size=8) | st.sampled_from(["true", "false", "0x3", "1500,9000", "-1", ".."]))


@given(texts, st.none() | texts)
def test_no_text_whatever_stops_the_agent(other: dict[str, str], at_start: dict[str, str] | None
                                          ) -> None:
    got = host_config(other, rundir=RUNDIR, numa_cores=CORES, dpdk_initialized=True,
                      at_start=at_start)
    assert got.socket_dir.startswith(RUNDIR)
    assert set(got.cores) <= {0, 1, 2, 3}
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


NO_MASK = "is not a hexadecimal mask: what is no digit counts as 0"


# --- masks ----------------------------------------------------------------------------------------

@pytest.mark.parametrize(("mask", "cores", "said"), [
    ("0x3", (0, 1), None), ("0X3", (0, 1), None), ("C", (2, 3), None), ("00f", (0, 1, 2, 3), None),
    ("11", (0,), "no such core: 4, left out"),
    ("f0", (), "no such core: 4-7, left out"), ("0", (), None),
    # what is no digit counts as 0
    ("g", (), f"'g' {NO_MASK}"), ("0x", (), f"'0x' {NO_MASK}"),
    ("3g", (), f"'3g' {NO_MASK}; no such core: 4-5, left out"),
    ("g3", (0, 1), f"'g3' {NO_MASK}"),
    (" 3", (0, 1), f"' 3' {NO_MASK}"),
    ("-1", (0,), f"'-1' {NO_MASK}"),
])
def test_cpu_mask(mask: str, cores: tuple[int, ...], said: str | None) -> None:
    assert cpu_mask(mask, [0, 1, 2, 3]) == (cores, said)


@given(st.sets(st.integers(0, 200)), st.sets(st.integers(0, 200)))
def test_mask_of_any_cores_names_those_and_no_others(wanted: set[int], online: set[int]) -> None:
    got, problem = cpu_mask(f"{sum(1 << core for core in wanted):x}", sorted(online))
    assert got == tuple(sorted(wanted & online))
    missing = sorted(wanted - online)
    assert problem == (f"no such core: {core_ranges(missing)}, left out" if missing else None)


@given(st.sets(st.integers(0, 40), min_size=1))
def test_ranges_name_the_cores_and_no_others(cores: set[int]) -> None:
    named: set[int] = set()
    *parts, last = core_ranges(sorted(cores)).split(", ")
    for part in parts if last == "..." else [*parts, last]:
        first, _, end = part.partition("-")
        named |= set(range(int(first), int(end or first) + 1))
    assert named == (cores if last != "..." else {c for c in cores if c <= max(named)})


def test_mask_of_a_hundred_thousand_digits_takes_few_words() -> None:
    cores, problem = cpu_mask("f" * 100_000, [0, 1])
    assert cores == (0, 1)
    assert problem == "no such core: 2-399999, left out"


@pytest.mark.parametrize(("mask", "cores", "said"), [
    ("", (0, 2), ()), ("a", (1, 3), ()),
    ("12", (1,), ("pmd-cpu-mask: no such core: 4, left out",)),
    ("0", (), ("pmd-cpu-mask: names no core of this host: no rx queue is polled",)),
    ("x", (), (f"pmd-cpu-mask: 'x' {NO_MASK}",
               "pmd-cpu-mask: names no core of this host: no rx queue is polled")),
])
def test_cores_of_the_pmd_threads(mask: str, cores: tuple[int, ...], said: tuple[str, ...]) -> None:
    got = config(pmd_cpu_mask=mask)
    assert (got.cores, got.problems) == (cores, said)
    assert got.port_problems == {SERVER_TYPE: said, CLIENT_TYPE: said}


def test_default_core_is_the_lowest_of_each_node_that_has_any() -> None:
    got = host_config({}, rundir=RUNDIR, numa_cores=((5, 4), (), (9,)), dpdk_initialized=True)
    assert got.cores == (4, 9)


# --- whom it concerns -----------------------------------------------------------------------------

@pytest.mark.parametrize(("key", "text", "types"), [
    ("vhost-sock-dir", "..", {SERVER_TYPE}),
    ("vhost-iommu-support", "yes", {CLIENT_TYPE}),
    ("vhost-postcopy-support", "1", {CLIENT_TYPE}),
    ("per-port-memory", "on", {SERVER_TYPE, CLIENT_TYPE}),
    ("shared-mempool-config", "x", {SERVER_TYPE, CLIENT_TYPE}),
    ("pmd-cpu-mask", "100f", {SERVER_TYPE, CLIENT_TYPE}),
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


@pytest.mark.parametrize("o", schema.options_of(TABLE, COLUMN), ids=lambda o: o.key)
def test_change_that_only_counts_at_a_start_is_said_and_no_other(o: schema.Option) -> None:
    text = {"integer": "6000", "boolean": "true", "cpu mask": "1", "list": "1500"}.get(
        o.type, "try")
    for at_start, now in (({}, {o.key: text}), ({o.key: text}, {})):
        got = host_config(now, rundir=RUNDIR, numa_cores=CORES, dpdk_initialized=True,
                          at_start=at_start)
        stopped = ("dpdk-init: DPDK has started and goes on until the agent ends",)
        expected = (f"{o.key}: {LATER}",) if o.key in RESTART else ()
        assert got.problems in (expected, stopped if o.key == "dpdk-init" else expected)
        assert not any(got.port_problems.values())


@pytest.mark.parametrize("at_start", [None, {"dpdk-extra": "-m 5"}])
def test_what_has_not_changed_since_the_start_is_not_said(at_start: dict[str, str] | None) -> None:
    assert config(at_start=at_start, dpdk_extra="-m 5").problems == ()


# --- keys that are no options ---------------------------------------------------------------------

def test_misspelt_key_is_said_to_whom_its_neighbour_concerns() -> None:
    got = config(pmd_cpu_maks="3", smc_enable="true", ovn_remote="x", hostname="y")
    assert got.problems == ("pmd-cpu-maks: not an option; did you mean pmd-cpu-mask?",
                            "smc-enable: has no effect: there is no flow cache")
    assert set(got.port_problems.values()) == {got.problems[:1]}
