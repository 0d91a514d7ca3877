"""Samples of a PMD thread: where they are, which stage that is, and what a stage takes."""
from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tools.profile_stages import (
    BY_FILE,
    BY_FUNCTION,
    BY_MODULE,
    CALLERS,
    IN_VAIN,
    KERNEL,
    OTHER,
    STAGES,
    Cycles,
    Place,
    cython_name,
    pmd_cycles,
    rows,
    shares,
    stage_of,
    stages,
    unknown,
)
from tools.profile_symbols import (
    Mapped,
    Sample,
    address_of,
    calls,
    file_offset,
    function_at,
    function_starts,
    owners,
    parse_inlined,
    parse_maps,
    parse_samples,
    parse_symbols,
    reached,
)

PMD_EXT = Path(__file__).parents[2] / "pmd_ext"
SO = "cpython-311-x86_64-linux-gnu.so"
PIPELINE = f"/srv/pmd_ext/pipeline.{SO}"
VHOST = "/usr/lib/x86_64-linux-gnu/librte_vhost.so.23.0"

# perf script -F ip,sym,dso
SCRIPT = f"""\
     7f5c20be2d24 __pyx_f_7pmd_ext_8pipeline_forward ({PIPELINE})
     7f5c20de3bcf [unknown] ({VHOST})
     7f5c20e2a0a0 rte_vhost_dequeue_burst@plt (/srv/pmd_ext/poll.{SO})
 ffffffff81c01234 asm_sysvec_apic_timer_interrupt ([kernel.kallsyms])
     7f5c20bc1b24 rte_pktmbuf_free_bulk (/usr/lib/x86_64-linux-gnu/librte_mbuf.so.23.0)
     7ffd5a1d7a10 [unknown] ([vdso])
     7f5c00000010 operator new(unsigned long) (/usr/lib/x86_64-linux-gnu/libstdc++.so.6.0.30)
"""

# /proc/PID/maps
MAPS = f"""\
560f1c000000-560f1c2de000 r--p 00000000 fe:00 1052                       /usr/bin/python3.11
7f5c20be0000-7f5c20be2000 r--p 00000000 fe:00 71234                      {PIPELINE}
7f5c20be2000-7f5c20be5000 r-xp 00002000 fe:00 71234                      {PIPELINE}
7f5c20d50000-7f5c20d57000 r--p 00000000 fe:00 9000                       {VHOST}
7f5c20d57000-7f5c20e00000 r-xp 00007000 fe:00 9000                       {VHOST}
7f5c20f00000-7f5c20f01000 rwxp 00000000 00:00 0
7ffd5a1d7000-7ffd5a1d9000 r-xp 00000000 00:00 0                          [vdso]
"""

# readelf -lW
HEADERS = """\
  Type           Offset   VirtAddr           PhysAddr           FileSiz  MemSiz   Flg Align
  LOAD           0x000000 0x0000000000000000 0x0000000000000000 0x001ab8 0x001ab8 R   0x1000
  LOAD           0x002000 0x0000000000003000 0x0000000000003000 0x002f31 0x002f31 R E 0x1000
  DYNAMIC        0x005d40 0x0000000000007d40 0x0000000000007d40 0x000250 0x000250 RW  0x8
"""

# addr2line -a -i -f
INLINED = """\
0x0000000000002d24
rte_rdtsc
/usr/include/dpdk/rte_cycles.h:49
__pyx_f_7pmd_ext_3pmd_account
/srv/build/cython/pmd_ext/pmd.c:4210
__pyx_f_7pmd_ext_3pmd_pmd_main
/srv/build/cython/pmd_ext/pmd.c:5100 (discriminator 2)
0x00000000000010a0
??
??:0
"""

# readelf -wf
FRAMES = """\
00000018 0000000000000014 00000000 CIE
00000030 0000000000000024 0000001c FDE cie=00000018 pc=0000000000001000..0000000000001100
00000058 0000000000000024 00000044 FDE cie=00000018 pc=0000000000001200..0000000000001300
00000080 0000000000000024 0000006c FDE cie=00000018 pc=0000000000001100..0000000000001200
000000a8 0000000000000024 00000094 FDE cie=00000018 pc=0000000000001300..0000000000001400
000000d0 0000000000000024 000000bc FDE cie=00000018 pc=0000000000001400..0000000000001500
000000f8 0000000000000024 000000e4 FDE cie=00000018 pc=0000000000001500..0000000000001600
"""

# objdump -d --no-show-raw-insn
DISASSEMBLY = """\
0000000000001000 <rte_vhost_enqueue_burst@@DPDK_23>:
    1000:\tpush   %rbp
    1004:\tcall   1200 <rte_vhost_dequeue_burst@@DPDK_23+0x100>
    1009:\tjne    1020 <rte_vhost_enqueue_burst@@DPDK_23+0x20>
    1020:\tbnd jmp 1500 <rte_vhost_dequeue_burst@@DPDK_23+0x400>
    1030:\tcall   *0x2b0(%rax)
    1100:\tja     1410 <rte_vhost_dequeue_burst@@DPDK_23+0x310>
    1108:\tcall   13f0 <rte_vhost_dequeue_burst@@DPDK_23+0x2f0>
    1300:\tcall   1100 <rte_vhost_dequeue_burst@@DPDK_23>
    1410:\tjmp    1500 <rte_vhost_dequeue_burst@@DPDK_23+0x400>
"""
NM = """\
0000000000001000 T rte_vhost_enqueue_burst@@DPDK_23
0000000000001100 T rte_vhost_dequeue_burst@@DPDK_23
0000000000009000 D rte_vhost_data@@DPDK_23
"""

# dpif-netdev/pmd-stats-show
SHOWN = """\
pmd thread numa_id 0 core_id 1:
  packets received: 24737760
  avg. packets per output batch: 32.00
  idle cycles: 2020993495 (24.22%)
  processing cycles: 6321871674 (75.78%)
pmd thread numa_id 0 core_id 10:
  packets received: 0
main thread:
  packets received: 5
  idle cycles: 7 (50.00%)
  processing cycles: 7 (50.00%)
"""


def ours(*names: str, file: str = PIPELINE) -> Place:
    """A place in functions of the extension, as "module.function"."""
    return Place(file, tuple(
        f"__pyx_f_7pmd_ext_{len(module)}{module}_{function}"
        for module, _, function in (name.partition(".") for name in names)))


# --- addresses ------------------------------------------------------------------------------------

def test_samples_of_perf_script() -> None:
    assert parse_samples(SCRIPT) == [
        Sample(0x7f5c20be2d24, "__pyx_f_7pmd_ext_8pipeline_forward"),
        Sample(0x7f5c20de3bcf, "??"),
        Sample(0x7f5c20e2a0a0, "rte_vhost_dequeue_burst@plt"),
        Sample(0xffffffff81c01234, "asm_sysvec_apic_timer_interrupt"),
        Sample(0x7f5c20bc1b24, "rte_pktmbuf_free_bulk"),
        Sample(0x7ffd5a1d7a10, "??"),
        Sample(0x7f5c00000010, "operator new(unsigned long)")]
    assert parse_samples("") == []


def test_place_in_a_file() -> None:
    maps = parse_maps(MAPS)
    assert maps[0] == Mapped(0x7f5c20be2000, 0x7f5c20be5000, 0x2000, PIPELINE)
    assert [m.file for m in maps] == [PIPELINE, VHOST, "[vdso]"]
    assert file_offset(maps, 0x7f5c20be2d24) == (PIPELINE, 0x2d24)
    assert file_offset(maps, 0x7f5c20be5000) == ("", 0x7f5c20be5000)
    assert file_offset(maps, 0xffffffff81c01234) == (KERNEL, 0xffffffff81c01234)


@pytest.mark.parametrize(("offset", "address"), [
    (0x10, 0x10), (0x2000, 0x3000), (0x2d24, 0x3d24), (0x4f31, 0x4f31)])
def test_address_by_the_segments(offset: int, address: int) -> None:
    assert address_of(HEADERS, offset) == address


def test_inlined_functions_come_before_their_callers() -> None:
    assert parse_inlined(INLINED) == {
        0x2d24: ("rte_rdtsc", "__pyx_f_7pmd_ext_3pmd_account", "__pyx_f_7pmd_ext_3pmd_pmd_main"),
        0x10a0: ("??",)}
    assert parse_inlined("") == {}


def test_functions_of_a_stripped_library_belong_to_the_entry_that_leads_to_them() -> None:
    starts = function_starts(FRAMES)
    assert starts == [0x1000, 0x1100, 0x1200, 0x1300, 0x1400, 0x1500]
    assert [function_at(starts, at) for at in (0xfff, 0x1000, 0x10ff, 0x1100, 0x9999)] == [
        0x1000, 0x1000, 0x1000, 0x1100, 0x1500]
    graph = calls(DISASSEMBLY, starts)
    enqueue, dequeue = "rte_vhost_enqueue_burst", "rte_vhost_dequeue_burst"
    assert parse_symbols(NM) == {enqueue: 0x1000, dequeue: 0x1100}
    assert reached(graph, 0x1100) == {0x1100, 0x1300, 0x1400, 0x1500}   # 0x1300 calls it again
    assert owners(graph, parse_symbols(NM)) == {
        0x1000: enqueue, 0x1200: enqueue, 0x1100: dequeue, 0x1300: dequeue, 0x1400: dequeue}
    assert calls(DISASSEMBLY, []) == {}


def test_what_three_entries_share_is_of_none() -> None:
    assert owners({1: {9}, 2: {9}, 3: {9}}, {"a": 1, "b": 2, "c": 3}) == {1: "a", 2: "b", 3: "c"}


# --- stages ---------------------------------------------------------------------------------------

@pytest.mark.parametrize(("symbol", "name"), [
    ("__pyx_f_7pmd_ext_8pipeline_forward", "pipeline.forward"),
    ("__pyx_f_7pmd_ext_8mactable_mac_lookup.part.0", "mactable.mac_lookup"),
    ("__pyx_f_7pmd_ext_10host_queue_host_enqueue.cold", "host_queue.host_enqueue"),
    ("__pyx_pw_7pmd_ext_7runtime_1x", None),
    ("rte_rdtsc", None),
    ("??", None)])
def test_names_of_cython(symbol: str, name: str | None) -> None:
    assert cython_name(symbol) == name


@pytest.mark.parametrize(("place", "stage"), [
    (ours("classify.classify", "pipeline.forward"), "classify"),
    (ours("pipeline.learn", "pipeline.forward"), "learn"),
    (ours("pipeline.output_of", "pipeline.look_up", "pipeline.forward"), "look up"),
    (ours("pipeline.unicast"), "group by output, and the rest of the pipeline"),
    (ours("reserved.is_reserved", "classify.classify", "pipeline.forward"), "classify"),
    (ours("mactable.mac_key", "classify.classify", "pipeline.forward"), "classify"),
    (ours("mactable.first_bucket", "mactable.mac_prefetch"), "look up"),
    (ours("mactable.find", "maclearn.mac_learn"), "learn"),
    (ours("maclearn.evict"), "learn"),
    (ours("snoop.learn", "snoop.snoop"), "multicast groups"),
    (ours("state.ring_of", "poll.poll_rxq", "poll.poll_once"), "loop"),
    (ours("transmit.size_bin", "transmit.count"), "statistics"),
    (ours("transmit.lock_ring", "transmit.enqueue", "transmit.send"), "transmit"),
    (ours("transmit.release_txqs"), "transmit"),
    (ours("meters.police_rx"), "policing"),
    (ours("vlan.vlan_in", "pipeline.learn"), "VLANs"),
    (Place(PIPELINE, ("rte_rdtsc", "__pyx_f_7pmd_ext_3pmd_account")), "loop"),
    (Place(VHOST, ("rte_vhost_dequeue_burst",)), "librte_vhost: dequeue"),
    (Place(VHOST, ("rte_vhost_enqueue_burst",)), "librte_vhost: enqueue"),
    (Place(PIPELINE, ("rte_vhost_dequeue_burst@plt",)), "librte_vhost: dequeue"),
    (Place(VHOST, ("??",)), "librte_vhost: else"),
    (Place("/usr/lib/librte_mbuf.so.25", ("rte_pktmbuf_free_bulk",)), "packet buffers"),
    (Place("/usr/lib/dpdk/pmds-25.0/librte_mempool_ring.so.25", ("??",)), "packet buffers"),
    (Place(KERNEL, ("asm_sysvec_apic_timer_interrupt",)), "kernel"),
    (Place("", ("??",)), OTHER),
    (Place("/usr/lib/libc.so.6", ("??",)), OTHER),
    (Place(PIPELINE, ("??",)), OTHER)])
def test_stage(place: Place, stage: str) -> None:
    assert stage_of(place) == stage


def test_functions_that_moved_to_another_module_keep_their_stage() -> None:
    assert stage_of(ours("switch.read_header", "switch.forward")) == "classify"
    assert stage_of(ours("switch.poll_once")) == "loop"


def test_a_new_module_is_seen_even_inlined() -> None:
    places = [ours("sorter.sort", "pipeline.forward"), ours("sorter.sort"),
              Place("/usr/lib/libc.so.6", ("memcpy",)), ours("state.synchronize"),
              ours("pipeline.forward")]
    assert stages(places)[OTHER] == 4
    assert unknown(places) == {
        "pipeline: sorter.sort": 2, "libc: memcpy": 1, "pipeline: state.synchronize": 1}
    assert str(Place("", ("??",))) == "?: ??"


def test_no_name_is_in_two_rows() -> None:
    for kind, by in (("functions", BY_FUNCTION), ("modules", BY_MODULE), ("files", BY_FILE)):
        names = [name for stage in STAGES for name in getattr(stage, kind)]
        assert len(names) == len(by), kind


def test_names_in_the_table_are_names_of_the_source() -> None:
    """A function without a module counts by its name alone: no two modules may have it."""
    defined: dict[str, set[str]] = {}
    for path in sorted(PMD_EXT.glob("*.p[yx][xd]")):
        for name in re.findall(r"^cdef [^\n=]*?(\w+)\([^=]*?nogil:$", path.read_text(), re.M):
            defined.setdefault(name, set()).add(path.stem)
            defined.setdefault(f"{path.stem}.{name}", set()).add(path.stem)
    of_c = {"rte_vhost_dequeue_burst", "rte_vhost_enqueue_burst"}
    for name in BY_FUNCTION.keys() - of_c:
        assert len(defined.get(name, ())) == 1, name
    for module in BY_MODULE.keys() | CALLERS:
        assert list(PMD_EXT.glob(f"{module}.p*")), module


# --- what a stage takes ---------------------------------------------------------------------------

def test_cycles_of_one_pmd() -> None:
    cycles = pmd_cycles(SHOWN, 1)
    assert cycles == Cycles(24737760, 2020993495, 6321871674)
    assert cycles.used == 8342865169
    assert cycles.busy_share == pytest.approx(0.7578, abs=1e-4)
    for core in (10, 0, 2):
        with pytest.raises(ValueError, match=f"core {core}:"):
            pmd_cycles(SHOWN, core)


def test_shares_are_of_rounds_with_packets_and_what_is_left_of_the_others() -> None:
    loaded = Counter({"librte_vhost: dequeue": 500, "loop": 300, "classify": 150, OTHER: 50})
    silent = Counter({"loop": 30, "librte_vhost: dequeue": 10})
    found = shares(loaded, silent, busy=0.8)
    assert found == pytest.approx({
        "librte_vhost: dequeue": 0.45, "loop": 0.15, "classify": 0.15, OTHER: 0.05, IN_VAIN: 0.2})
    assert [*found] == ["librte_vhost: dequeue", "loop", "classify", OTHER, IN_VAIN]


def test_shares_are_never_negative() -> None:
    assert shares({"loop": 1, "classify": 9}, {"loop": 1}, busy=0.5) == pytest.approx(
        {"loop": 0, "classify": 0.9, IN_VAIN: 0.1})
    assert shares({"loop": 1}, {}, busy=0.5) == {"loop": 1, IN_VAIN: 0}
    assert shares({}, {"loop": 1}, busy=0.5) == {}


def test_rows() -> None:
    parts = {"loop": 0.25, "classify": 0.1, IN_VAIN: 0.65}
    assert rows({"loop": 9, "classify": 1}, parts, 200) == [
        ["loop", "90.0", "25.0", "50.0"], ["classify", "10.0", "10.0", "20.0"],
        [IN_VAIN, "", "65.0", "130.0"], ["all", "100.0", "100.0", "200.0"]]
    assert rows({}, {}, 0) == [["all", "", "0.0", "0.0"]]
