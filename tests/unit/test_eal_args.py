"""EAL arguments as OVS's lib/dpdk.c makes them: their order, and who wins when two say the same."""
from __future__ import annotations

import shlex
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.eal_args import MAX_LCORES, MEMORY_KEYS, NO_DEVICES, ORDINARY_MEMORY, eal_args
from agent.loglines import Line

PLAIN = ("p", "--in-memory", "--lcores", "0@3", "--no-pci")
ORDINARY = ("p", "--no-huge", "-m", "256", "--no-shconf", "--lcores", "0@3", "--no-pci")
# other_config key -> EAL word, value as other_config has it, value as the EAL gets it
OPTIONS = {
    "dpdk-lcore-mask": ("--lcores", "0x6", "0@1,1@2"),
    "dpdk-hugepage-dir": ("--huge-dir", "/h", "/h"),
    "dpdk-socket-limit": ("--socket-limit", "1,2", "1,2"),
    "dpdk-socket-mem": ("--socket-mem", "3,4", "3,4"),
    "dpdk-alloc-mem": ("-m", "512", "512"),
}


def build(config: dict[str, str], ordinary: bool = False, online: Sequence[int] = (0, 1, 2, 3),
          buses: Sequence[str] = ()) -> tuple[tuple[str, ...], tuple[Line, ...]]:
    return eal_args(config, program="p", main_cpu=3, online=online, ordinary_memory=ordinary,
                    buses=buses)


def warned(*texts: str) -> tuple[Line, ...]:
    return tuple(("warn", text) for text in texts)


def test_nothing_configured_is_one_lcore_in_memory_without_devices() -> None:
    assert build({}) == (PLAIN, ())


def test_empty_values_are_unset() -> None:
    empty = dict.fromkeys((*OPTIONS, "dpdk-extra", "dpdk-probe-at-init"), "")
    assert build(empty) == (PLAIN, ())
    assert build(empty, ordinary=True) == (ORDINARY, ())


def test_order_is_that_of_ovs_vswitchd() -> None:
    config = {key: value for key, (_, value, _) in OPTIONS.items() if key != "dpdk-alloc-mem"}
    argv, lines = build({**config, "dpdk-extra": "--log-level lib.eal:8 'a b'"})
    assert argv == ("p", "--log-level", "lib.eal:8", "a b", "--lcores", "0@1,1@2", "--huge-dir",
                    "/h", "--socket-limit", "1,2", "--socket-mem", "3,4", "--in-memory",
                    "--no-pci")
    assert lines == ()


@pytest.mark.parametrize("key", OPTIONS)
def test_key_alone_becomes_its_word(key: str) -> None:
    word, value, shown = OPTIONS[key]
    argv, lines = build({key: value})
    assert argv[1:3] == (word, shown)
    assert lines == ()


@pytest.mark.parametrize("key", OPTIONS)
def test_word_of_dpdk_extra_wins_over_the_key_and_that_is_said(key: str) -> None:
    word, value, _ = OPTIONS[key]
    argv, lines = build({key: value, "dpdk-extra": f"{word} 7"})
    assert argv[1:3] == (word, "7")
    assert argv.count(word) == 1
    assert lines == warned(f"Ignoring database defined option '{key}' due to dpdk-extra config")


def test_only_the_exact_word_wins() -> None:
    argv, lines = build({"dpdk-socket-mem": "3", "dpdk-extra": "--socket-mem=7"})
    assert argv[1:4] == ("--socket-mem=7", "--socket-mem", "3")
    assert lines == ()


def test_socket_mem_wins_over_alloc_mem_and_that_is_said() -> None:
    argv, lines = build({"dpdk-socket-mem": "3", "dpdk-alloc-mem": "512"})
    assert argv[1:3] == ("--socket-mem", "3")
    assert "-m" not in argv
    assert lines == ((
        "err", "Multiple defined options for memory type. Please check your database settings and "
        "reconfigure if necessary. dpdk-socket-mem is used, dpdk-alloc-mem is not."),)


def test_empty_socket_mem_leaves_alloc_mem_in_force() -> None:
    argv, lines = build({"dpdk-socket-mem": "", "dpdk-alloc-mem": "512"})
    assert argv[1:3] == ("-m", "512")
    assert lines == ()


@pytest.mark.parametrize(("mask", "lcores"), [
    ("1", "0@0"), ("0xa", "0@1,1@3"), ("A", "0@1,1@3"), ("0xf", "0@0,1@1,2@2,3@3"),
])
def test_lcore_mask_numbers_the_cores_from_zero(mask: str, lcores: str) -> None:
    argv, lines = build({"dpdk-lcore-mask": mask})
    assert argv == ("p", "--lcores", lcores, "--in-memory", "--no-pci")
    assert lines == ()


def test_cores_that_this_host_has_not_are_left_out_and_said() -> None:
    argv, lines = build({"dpdk-lcore-mask": "f8"})
    assert argv[1:3] == ("--lcores", "0@3")
    assert lines == warned("dpdk-lcore-mask: no such core: 4-7, left out")


def test_what_is_no_digit_of_a_mask_counts_as_zero_and_is_said() -> None:
    argv, lines = build({"dpdk-lcore-mask": "0xz6"})
    assert argv[1:3] == ("--lcores", "0@1,1@2")
    assert lines == warned("dpdk-lcore-mask: '0xz6' is not a hexadecimal mask: what is no digit "
                           "counts as 0")


@pytest.mark.parametrize("mask", ["0", "0x", "10", "xyz"])
def test_mask_without_a_core_is_said_and_leaves_the_choice_to_us(mask: str) -> None:
    argv, lines = build({"dpdk-lcore-mask": mask})
    assert argv == PLAIN
    assert lines == warned(
        f"Ignoring database defined option 'dpdk-lcore-mask' due to invalid value '{mask}'")


def test_mask_is_not_looked_at_where_dpdk_extra_names_lcores() -> None:
    argv, lines = build({"dpdk-lcore-mask": "xyz", "dpdk-extra": "--lcores 7"})
    assert argv[1:3] == ("--lcores", "7")
    assert lines == warned(
        "Ignoring database defined option 'dpdk-lcore-mask' due to dpdk-extra config")


@pytest.mark.parametrize("cores", [MAX_LCORES, MAX_LCORES + 1, 400])
def test_no_more_lcores_than_dpdk_has_room_for(cores: int) -> None:
    (_, _, lcores, *_), lines = build({"dpdk-lcore-mask": "f" * 100}, online=range(5, cores + 5))
    assert lcores.split(",") == [f"{i}@{i + 5}" for i in range(MAX_LCORES)]
    cut = ("info", "Truncating DPDK lcore list as dpdk-lcore-mask has > 128 lcores")
    assert (cut in lines) == (cores > MAX_LCORES)


@pytest.mark.parametrize("extra", ["-c 2", "-l 1", "--lcores 0@1"])
def test_no_lcore_is_chosen_when_dpdk_extra_has_some(extra: str) -> None:
    assert build({"dpdk-extra": extra})[0] == ("p", *extra.split(), "--in-memory", "--no-pci")


@pytest.mark.parametrize("extra", ["--in-memory", "--legacy-mem", "--no-huge", "--no-huge -m 256"])
def test_in_memory_neither_twice_nor_with_what_excludes_it(extra: str) -> None:
    argv, _ = build({"dpdk-extra": extra})
    assert argv == ("p", *extra.split(), "--lcores", "0@3", "--no-pci")


@pytest.mark.parametrize("extra", [
    "-a 0000:01:00.0", "--allow 0000:01:00.0", "--allow=0000:01:00.0", "-b 0000:01:00.0",
    "--block=0000:01:00.0", "--no-pci"])
def test_devices_named_in_dpdk_extra_are_left_to_the_user(extra: str) -> None:
    assert build({"dpdk-extra": extra})[0].count("--no-pci") == extra.count("--no-pci")


BUSES = ("auxiliary", "dpaa", "fslmc", "pci", "vdev", "vmbus")
NONE_OF_THESE = ("-a", "auxiliary:", "-a", "fslmc:dpni.65535", "-a",
                 "vmbus:00000000-0000-0000-0000-000000000000")


def test_no_device_of_any_bus_is_taken_and_no_bus_is_named_that_is_not_there() -> None:
    argv, lines = build({}, buses=BUSES)
    assert argv == (*PLAIN[:-1], *NONE_OF_THESE[:4], "-a", "pci:0000:00:00.0", *NONE_OF_THESE[4:])
    assert lines == ()
    assert build({}, buses=("vdev", "cdx", "uacce"))[0] == (
        *PLAIN, "-a", "cdx:cdx-", "-a", "uacce:")
    assert build({}, buses=("pci",))[0] == (*PLAIN[:-1], "-a", "pci:0000:00:00.0")
    assert build({"dpdk-extra": "--no-pci"}, buses=("pci",))[0].count("--no-pci") == 1
    assert NO_DEVICES.keys() >= {"pci"}


@pytest.mark.parametrize("extra", ["-a 0000:01:00.0", "--allow=0000:01:00.0", "-b x", "--block x"])
def test_devices_of_other_buses_are_the_user_s_too_once_one_is_named(extra: str) -> None:
    assert build({"dpdk-extra": extra}, buses=BUSES) == build({"dpdk-extra": extra})


def test_without_pci_by_the_user_s_own_word_other_buses_are_left_alone_all_the_same() -> None:
    argv, _ = build({"dpdk-extra": "--no-pci"}, buses=BUSES)
    assert argv == ("p", "--no-pci", "--in-memory", "--lcores", "0@3", *NONE_OF_THESE)


def test_probing_takes_what_there_is() -> None:
    assert build({"dpdk-probe-at-init": "true"}, buses=BUSES)[0] == PLAIN[:-1]


@pytest.mark.parametrize(("value", "probes"), [
    ("true", True), ("TRUE", True), ("false", False), ("yes", False), ("1", False)])
def test_devices_are_probed_only_on_demand(value: str, probes: bool) -> None:
    assert ("--no-pci" not in build({"dpdk-probe-at-init": value})[0]) == probes


def test_ordinary_memory() -> None:
    assert build({}, ordinary=True) == (ORDINARY, ())


@pytest.mark.parametrize("key", MEMORY_KEYS)
def test_ordinary_memory_only_while_the_database_says_nothing_about_memory(key: str) -> None:
    config = {key: "--log-level 8" if key == "dpdk-extra" else "1"}
    assert build(config, ordinary=True) == build(config)
    assert set(build(config)[0]).isdisjoint({"--no-huge", "--no-shconf"})


@pytest.mark.parametrize("extra", ["--file-prefix 'x", '--a "b', "end\\"])
def test_unbalanced_quotes_cost_dpdk_extra_alone(extra: str) -> None:
    argv, ((level, warning),) = build({"dpdk-extra": extra, "dpdk-hugepage-dir": "/h"})
    assert argv == ("p", "--huge-dir", "/h", *PLAIN[1:])
    assert level == "warn"
    assert warning.startswith("dpdk-extra: cannot be split into words")


words = st.lists(st.one_of(
    st.sampled_from(["--in-memory", "--no-huge", "--legacy-mem", "--lcores", "-m", "--no-pci"]),
    st.text(min_size=1, max_size=4)), max_size=4)
configs = st.fixed_dictionaries({}, optional={
    key: st.sampled_from(["", value]) for key, (_, value, _) in OPTIONS.items()})


@given(words, configs, st.booleans())
def test_words_of_dpdk_extra_come_first_and_we_add_no_word_twice(
        extra: list[str], config: dict[str, str], ordinary: bool) -> None:
    argv, _ = build({**config, "dpdk-extra": shlex.join(extra)}, ordinary)
    assert argv[:len(extra) + 1] == ("p", *extra)
    ours = [word for word in argv[len(extra) + 1:] if word.startswith("-")]
    assert len(ours) == len(set(ours))
    assert not set(ours) & set(extra)
    assert not ("--in-memory" in ours and "--no-huge" in argv)
    assert (set(ORDINARY_MEMORY) <= set(argv[len(extra) + 1:])) == (
        ordinary and not extra and not any(config.get(key) for key in MEMORY_KEYS))
