"""Settings of PMD threads and of the placing of rxqs: what is used, and what is said."""
from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import schema
from agent import model, pmdconfig
from agent.hostconfig import COLUMN, TABLE, HostConfig, host_config
from agent.model import CLIENT_TYPE, ETH_TYPE, SERVER_TYPE, AutoBalance, Placing, PmdSpec
from agent.options import Texts

CORES = {0: (0, 1), 2: (2, 3, 12)}      # nodes are not numbered through
NO_MASK = "is not a hexadecimal mask: what is no digit counts as 0"


def config(**texts: str) -> HostConfig:
    got = host_config({key.replace("_", "-"): text for key, text in texts.items()},
                      rundir="/run/ovs", numa_cores=CORES, dpdk_initialized=True)
    assert got.port_problems == dict.fromkeys(
        (ETH_TYPE, SERVER_TYPE, CLIENT_TYPE), got.problems)
    return got


# --- which PMD threads there are ------------------------------------------------------------------

@pytest.mark.parametrize(("mask", "cores", "said"), [
    ("", (0, 2), ()), ("a", (1, 3), ()), ("100f", (0, 1, 2, 3, 12), ()),
    ("12", (1,), ("pmd-cpu-mask: no such core: 4, left out",)),
    ("0", (), ("pmd-cpu-mask: names no core of this host: no rx queue is polled",)),
    ("x", (), (f"pmd-cpu-mask: 'x' {NO_MASK}",
               "pmd-cpu-mask: names no core of this host: no rx queue is polled")),
])
def test_cores_of_the_pmd_threads(mask: str, cores: tuple[int, ...], said: tuple[str, ...]) -> None:
    got = config(pmd_cpu_mask=mask)
    assert (tuple(pmd.core for pmd in got.pmds), got.problems) == (cores, said)


def test_default_core_is_the_lowest_of_each_node_that_has_any_in_the_order_of_cores() -> None:
    got = host_config({}, rundir="/run/ovs", numa_cores={0: (), 3: (9, 8), 5: (5, 4)},
                      dpdk_initialized=True)
    assert got.pmds == (PmdSpec(4, 5), PmdSpec(8, 3))


def test_each_pmd_thread_knows_its_node() -> None:
    assert config(pmd_cpu_mask="100a").pmds == (PmdSpec(1, 0), PmdSpec(3, 2), PmdSpec(12, 2))


# --- sleep ----------------------------------------------------------------------------------------

@pytest.mark.parametrize(("text", "default", "of_0", "of_2"), [
    ("", 0, 0, 0), ("50", 50, 50, 50), ("0:20", 0, 20, 0), ("50,0:20", 50, 20, 50),
    ("0:20 2:30\t50", 50, 20, 30), ("0=20,2(30)", 0, 20, 30), ("2:0,50", 50, 50, 0),
    ("10000", 10000, 10000, 10000), ("0x10,2:010", 16, 16, 8),
    ("50:", 50, 50, 50),                    # no value: one for all, as in OVS
])
def test_sleep_of_all_and_of_one_core(text: str, default: int, of_0: int, of_2: int) -> None:
    got = config(pmd_sleep_max=text)
    assert (got.default_sleep_us, *(pmd.sleep_max_us for pmd in got.pmds)) == (default, of_0, of_2)
    assert got.problems == ()


@pytest.mark.parametrize(("text", "default", "of_0", "of_2", "said"), [
    # what cannot be read is left out, and the rest holds
    ("x,50", 50, 50, 50, "neither MICROSECONDS nor CORE:MICROSECONDS: 'x', left out"),
    ("0:x,2:7,-1,1.5,:5,99999999999999999999", 0, 0, 7,
     "neither MICROSECONDS nor CORE:MICROSECONDS: '0:x', '-1', '1.5', ..., left out"),
    ("4294967295:5", 0, 0, 0,
     "neither MICROSECONDS nor CORE:MICROSECONDS: '4294967295:5', left out"),
    ("10001", 10000, 10000, 10000, "more than 10000 us: '10001', using 10000"),
    ("0:20000,2:30000,5", 5, 10000, 10000, "more than 10000 us: '0:20000', '2:30000', using 10000"),
    ("1,2,0:3,0:4", 2, 4, 2, "the list has another value for the same: '2', '0:4', the last one "
     "is used"),
    ("1:5", 0, 0, 0, "no PMD thread on core 1: its value is not used"),
    ("1:5,3:5,4:5,0:6", 0, 6, 0, "no PMD thread on core 1, 3-4: its value is not used"),
    ("4294967294:5", 0, 0, 0, "no PMD thread on core 4294967294: its value is not used"),
])
def test_sleep_that_cannot_be_used_is_said(text: str, default: int, of_0: int, of_2: int, said: str
                                           ) -> None:
    got = config(pmd_sleep_max=text)
    assert (got.default_sleep_us, *(pmd.sleep_max_us for pmd in got.pmds)) == (default, of_0, of_2)
    assert got.problems == (f"pmd-sleep-max: {said}",)


def test_sleep_list_of_any_length_takes_few_words() -> None:
    text = " ".join(["x" * 500, "99999"] * 5000)
    assert sum(map(len, config(pmd_sleep_max=text).problems)) < 1000


@given(st.dictionaries(st.none() | st.sampled_from([0, 2]), st.integers(0, 10_000)))
def test_sleep_of_a_core_is_its_own_or_that_of_all(sleeps: dict[int | None, int]) -> None:
    text = ",".join(f"{us}" if core is None else f"{core}:{us}" for core, us in sleeps.items())
    got = config(pmd_sleep_max=text)
    assert got.default_sleep_us == sleeps.get(None, 0)
    assert {pmd.core: pmd.sleep_max_us for pmd in got.pmds} == {
        core: sleeps.get(core, sleeps.get(None, 0)) for core in (0, 2)}
    assert got.problems == ()


DEPRECATED = "pmd-maxsleep: is deprecated, use pmd-sleep-max"


@pytest.mark.parametrize(("text", "sleep_us", "said"), [
    ("0", 0, ()), ("60", 60, ()), ("10000", 10000, ()),
    ("10001", 10000, ("pmd-maxsleep: '10001' is more than 10000 us, using 10000",)),
    ("9" * 4000, 10000, (f"pmd-maxsleep: '{'9' * 120}...' (4000 characters) is more than 10000 us, "
                         "using 10000",)),
    ("-1", 0, ("pmd-maxsleep: -1 is outside 0.., using 0",)),
    ("0:5", 0, ("pmd-maxsleep: '0:5' is not an integer, using 0",)),
])
def test_deprecated_key_for_the_sleep_of_all(text: str, sleep_us: int, said: tuple[str, ...]
                                             ) -> None:
    got = config(pmd_maxsleep=text)
    assert (got.default_sleep_us, *(pmd.sleep_max_us for pmd in got.pmds)) == (sleep_us,) * 3
    assert got.problems == (DEPRECATED, *said)


@pytest.mark.parametrize("text", ["", "50", "x"])
def test_deprecated_key_does_nothing_beside_the_other(text: str) -> None:
    got, without = config(pmd_maxsleep="60", pmd_sleep_max=text), config(pmd_sleep_max=text)
    assert got.pmds == without.pmds
    assert got.default_sleep_us == without.default_sleep_us
    assert set(got.problems) - set(without.problems) == {
        "pmd-maxsleep: is deprecated and not used: pmd-sleep-max is set"}


# --- idle mode ------------------------------------------------------------------------------------

@pytest.mark.parametrize(("text", "block", "said"), [
    ("poll", False, ()), ("block", True, ()),
    *((text, False, (f"pmd-idle-mode: '{text}' is none of poll, block, using poll",))
      for text in ("", "Block", "sleep", "true"))])
def test_idle_mode_is_that_of_all_pmd_threads(text: str, block: bool, said: tuple[str, ...]
                                              ) -> None:
    got = config(pmd_idle_mode=text)
    assert [pmd.block for pmd in got.pmds] == [block, block]
    assert got.problems == said


# --- placing --------------------------------------------------------------------------------------

@pytest.mark.parametrize("assign", ["cycles", "roundrobin", "group"])
@pytest.mark.parametrize(("isolate", "isolated"), [
    (None, True), ("true", True), ("false", False), ("FALSE", False)])
def test_only_with_group_a_pinned_queue_does_not_isolate(assign: str, isolate: str | None,
                                                         isolated: bool) -> None:
    texts = {"pmd_rxq_assign": assign, **({"pmd_rxq_isolate": isolate} if isolate else {})}
    got = config(**texts)
    if isolated or assign == "group":
        assert got.placing == Placing(assign, isolated)
        assert got.problems == ()
    else:
        assert got.placing == Placing(assign, isolate=True)
        assert got.problems == (
            "pmd-rxq-isolate: can only be false with pmd-rxq-assign=group, using true",)


@pytest.mark.parametrize("text", ["", "Group", "random"])
def test_assignment_that_is_none_is_said(text: str) -> None:
    got = config(pmd_rxq_assign=text, pmd_rxq_isolate="x")
    assert got.placing == Placing("cycles", isolate=True)
    assert got.problems == (
        f"pmd-rxq-assign: '{text}' is none of cycles, roundrobin, group, using cycles",
        "pmd-rxq-isolate: 'x' is neither true nor false, using true")


# --- auto load balance ----------------------------------------------------------------------------

@pytest.mark.parametrize(("minutes", "load", "improvement", "expected", "said"), [
    (None, None, None, AutoBalance(60_000, 95, 25), ()),
    ("20000", "100", "100", AutoBalance(1_200_000_000, 100, 100), ()),
    ("1", "0", "0", AutoBalance(60_000, 0, 0), ()),
    ("0", "-1", "-1", AutoBalance(60_000, 95, 25), (
        "rebal-interval: 0 is outside 1..20000, using 1",
        "load-threshold: -1 is outside 0..100, using 95",
        "improvement-threshold: -1 is outside 0..100, using 25")),
    ("20001", "101", "101", AutoBalance(60_000, 95, 25), (
        "rebal-interval: 20001 is outside 1..20000, using 1",
        "load-threshold: 101 is outside 0..100, using 95",
        "improvement-threshold: 101 is outside 0..100, using 25")),
])
@pytest.mark.parametrize("on", ["true", "false", None])
def test_auto_balance(minutes: str | None, load: str | None, improvement: str | None,
                      expected: AutoBalance, said: tuple[str, ...], on: str | None) -> None:
    texts = {"pmd_auto_lb": on, "pmd_auto_lb_rebal_interval": minutes,
             "pmd_auto_lb_load_threshold": load, "pmd_auto_lb_improvement_threshold": improvement}
    got = config(**{key: text for key, text in texts.items() if text is not None})
    assert got.auto_balance == (expected if on == "true" else None)
    assert got.problems == tuple(f"pmd-auto-lb-{problem}" for problem in said)


def test_auto_balance_that_can_do_nothing_is_said() -> None:
    got = config(pmd_auto_lb="true", pmd_rxq_assign="roundrobin")
    assert got.auto_balance == AutoBalance()
    assert got.problems == ("pmd-auto-lb: has no effect with pmd-rxq-assign=roundrobin",)
    assert config(pmd_auto_lb="false", pmd_rxq_assign="roundrobin").problems == ()
    assert config(pmd_auto_lb="true", pmd_rxq_assign="group").problems == ()


# --- pinned queues --------------------------------------------------------------------------------

RUNNING = (PmdSpec(1), PmdSpec(3))


def pinned(text: str | None, running: tuple[PmdSpec, ...] = RUNNING
           ) -> tuple[tuple[tuple[int, int], ...], list[str]]:
    texts = Texts({} if text is None else {"pmd-rxq-affinity": text}, "Interface", "other_config")
    got = pmdconfig.affinity(texts, running)
    assert all(problem.startswith("pmd-rxq-affinity: ") for _, problem in texts.problems)
    return got, [problem.removeprefix("pmd-rxq-affinity: ") for _, problem in texts.problems]


@pytest.mark.parametrize(("text", "expected"), [
    (None, ()), ("", ()), (" , ", ()), ("0:1", ((0, 1),)), ("7:3,0:1", ((0, 1), (7, 3))),
    ("0=1 1(3)\n2:1", ((0, 1), (1, 3), (2, 1))), ("0x2:03,+0:1", ((0, 1), (2, 3))),
    ("2147483647:1", ((2147483647, 1),)),
])
def test_affinity(text: str | None, expected: tuple[tuple[int, int], ...]) -> None:
    assert pinned(text) == (expected, [])


@pytest.mark.parametrize("word", ["0", "0:", ":1", "x:1", "0:x", "-1:1", "0:-1", "0:1:2", "0.5:1",
                                  "08:1", "2147483648:1", "0:2147483648", "1-2:3"])
def test_one_bad_word_of_an_affinity_spoils_the_whole_list(word: str) -> None:
    for text in (word, f"3:1,{word},4:3"):
        assert pinned(text) == ((), [f"'{word}' is not QUEUE:CORE, the whole list is ignored"])


def test_queue_that_an_affinity_names_twice() -> None:
    assert pinned("0:1,1:1,0:3") == (((0, 3), (1, 1)), [
        "the list has another core for the same queue: '0:3', the last one is used"])


@pytest.mark.parametrize(("text", "named"), [
    ("0:2", "2"), ("0:2,1:2", "2"), ("0:1,1:2", "2"), ("0:7,1:5,2:6", "5-7"), ("0:9,1:2", "2, 9"),
    ("0:1000000", "1000000")])
def test_core_without_a_pmd_thread_is_named_and_stays_wanted(text: str, named: str) -> None:
    got, said = pinned(text)
    assert got == tuple(tuple(map(int, word.split(":"))) for word in text.split(","))
    assert said == [f"no PMD thread on core {named}: use pmd-cpu-mask to enable a PMD on core "
                    f"{named}; another core is used"]


def test_core_that_the_host_lacks_cannot_be_enabled() -> None:
    texts = Texts({"pmd-rxq-affinity": "0:7,1:2,2:1"}, "Interface", "other_config")
    assert pmdconfig.affinity(texts, RUNNING, there=range(4)) == ((0, 7), (1, 2), (2, 1))
    assert [problem for _, problem in texts.problems] == [
        "pmd-rxq-affinity: this host has no core 7: another core is used",
        "pmd-rxq-affinity: no PMD thread on core 2: use pmd-cpu-mask to enable a PMD on core 2; "
        "another core is used"]


def test_where_nothing_is_polled_no_other_core_is_promised() -> None:
    assert pinned("0:1", ()) == (((0, 1),), [])


@given(st.dictionaries(st.integers(0, 300), st.sampled_from([1, 3])))
def test_every_affinity_that_is_written_is_read(pins: dict[int, int]) -> None:
    text = ",".join(f"{queue}:{core}" for queue, core in pins.items())
    assert pinned(text) == (tuple(sorted(pins.items())), [])


# --- the contract ---------------------------------------------------------------------------------

def test_words_in_code_are_those_of_the_contract() -> None:
    assert schema.option(TABLE, COLUMN, "pmd-rxq-assign").words == (
        model.ASSIGN_CYCLES, model.ASSIGN_ROUNDROBIN, model.ASSIGN_GROUP)
    assert pmdconfig.BLOCK in schema.option(TABLE, COLUMN, "pmd-idle-mode").words
    assert pmdconfig.HASH in schema.option("Interface", "other_config", "tx-steering").words


def test_defaults_of_the_values_are_those_of_the_contract() -> None:
    default = config()
    assert default.placing == Placing()
    assert config(pmd_auto_lb="true").auto_balance == AutoBalance()
    assert default.pmds == tuple(replace(PmdSpec(pmd.core), node=pmd.node) for pmd in default.pmds)
