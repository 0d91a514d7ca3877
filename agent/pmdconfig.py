"""Settings of PMD threads and of which rxqs they poll: pure."""
from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from agent.model import (
    ASSIGN_GROUP,
    ASSIGN_ROUNDROBIN,
    WITHOUT_QUEUES,
    AutoBalance,
    Device,
    Placing,
    PmdSpec,
)
from agent.options import Texts, cpu_mask, natural, number_ranges, pairs, shown, some

MINUTE_MS = 60_000
BLOCK, HASH = "block", "hash"   # words of pmd-idle-mode and tx-steering
# What numbers in lists are read into in OVS.
INT_MOST, CORE_MOST, U64_MOST = (1 << 31) - 1, (1 << 32) - 2, (1 << 64) - 1


def pmds(texts: Texts, numa_cores: Mapping[int, Sequence[int]], default_sleep_us: int,
         sleep_us: Mapping[int, int], last: bool = False) -> tuple[PmdSpec, ...]:
    """The PMD threads: on the cores of pmd-cpu-mask, or on the first one of each NUMA node; with
    'last' on its last one."""
    nodes = {core: node for node, cores in numa_cores.items() for core in cores}
    mask = texts.text("pmd-cpu-mask")
    if not mask:
        choose = max if last else min
        cores = tuple(sorted(choose(cores) for cores in numa_cores.values() if cores))
    else:
        cores, problem = cpu_mask(mask, nodes)
        if problem:
            texts.complain("pmd-cpu-mask", problem)
        if not cores:
            texts.complain("pmd-cpu-mask", "names no core of this host: no rx queue is polled")
    if without := sorted(sleep_us.keys() - set(cores)):
        texts.complain("pmd-sleep-max", f"no PMD thread on core {number_ranges(without)}: "
                       "its value is not used")
    block = texts.choice("pmd-idle-mode") == BLOCK
    return tuple(PmdSpec(core, nodes[core], sleep_us.get(core, default_sleep_us), block)
                 for core in cores)


def sleeps(texts: Texts) -> tuple[int, Mapping[int, int]]:
    """Longest sleep in microseconds: of every PMD thread, and of {core} that has its own."""
    if not texts.is_set("pmd-sleep-max"):
        return deprecated_sleep(texts), {}
    if texts.is_set("pmd-maxsleep"):
        texts.complain("pmd-maxsleep", "is deprecated and not used: "
                       f"{texts.typed('pmd-sleep-max')} is set")
    most = texts.option("pmd-sleep-max").maximum
    assert most is not None
    found: dict[int | None, int] = {}       # None: every core
    unusable, beyond, again = [], [], []
    for word, key, value in pairs(texts.text("pmd-sleep-max")):
        core = natural(key, CORE_MOST) if value else None
        sleep_us = natural(value or key, U64_MOST)
        if sleep_us is None or (value and core is None):
            unusable.append(word)
            continue
        if sleep_us > most:
            beyond.append(word)
        if core in found:
            again.append(word)
        found[core] = min(sleep_us, most)
    if unusable:
        texts.complain("pmd-sleep-max", "neither MICROSECONDS nor CORE:MICROSECONDS: "
                       f"{some(unusable)}, left out")
    if beyond:
        texts.complain("pmd-sleep-max", f"more than {most} us: {some(beyond)}, using {most}")
    if again:
        texts.complain("pmd-sleep-max", "the list has another value for the same: "
                       f"{some(again)}, the last one is used")
    return found.get(None, 0), {c: sleep_us for c, sleep_us in found.items() if c is not None}


def deprecated_sleep(texts: Texts) -> int:
    """pmd-maxsleep, which pmd-sleep-max has replaced."""
    if not texts.is_set("pmd-maxsleep"):
        return 0
    texts.complain("pmd-maxsleep", f"is deprecated, use {texts.typed('pmd-sleep-max')}")
    most = texts.option("pmd-sleep-max").maximum
    assert most is not None
    sleep_us = texts.integer("pmd-maxsleep")
    if sleep_us > most:
        texts.complain("pmd-maxsleep", f"{shown(texts.text('pmd-maxsleep'))} is more than {most} "
                       f"us, using {most}")
    return min(sleep_us, most)


def placing(texts: Texts) -> Placing:
    """How rxqs are placed on PMD threads."""
    algorithm = texts.choice("pmd-rxq-assign")
    isolate = bool(texts.boolean("pmd-rxq-isolate"))
    if not isolate and algorithm != ASSIGN_GROUP:
        texts.complain("pmd-rxq-isolate", f"can only be false with "
                       f"{texts.typed('pmd-rxq-assign')}={ASSIGN_GROUP}, using true")
        isolate = True
    return Placing(algorithm, isolate)


def auto_balance(texts: Texts) -> AutoBalance | None:
    """When rxqs are placed anew by themselves; None: never."""
    wanted = AutoBalance(texts.integer("pmd-auto-lb-rebal-interval") * MINUTE_MS,
                         texts.integer("pmd-auto-lb-load-threshold"),
                         texts.integer("pmd-auto-lb-improvement-threshold"))
    if not texts.boolean("pmd-auto-lb"):
        return None
    if texts.text("pmd-rxq-assign") == ASSIGN_ROUNDROBIN:
        texts.complain("pmd-auto-lb", f"has no effect with {texts.typed('pmd-rxq-assign')}="
                       f"{ASSIGN_ROUNDROBIN}")
    return wanted


def affinity(texts: Texts, running: Sequence[PmdSpec], mask_key: str = "pmd-cpu-mask",
             there: Collection[int] = ()) -> tuple[tuple[int, int], ...]:
    """(queue, core) of a port's pinned rxqs, ascending. A core without a PMD thread stays in it:
    what polls the queue instead is the scheduler's to say. 'mask_key' is what a user types for
    pmd-cpu-mask, 'there' are the cores of the host; empty: not known."""
    found: dict[int, int] = {}
    again = []
    for word, key, value in pairs(texts.text("pmd-rxq-affinity")):
        queue, core = natural(key, INT_MOST), natural(value, INT_MOST)
        if queue is None or core is None:
            texts.complain("pmd-rxq-affinity", f"{shown(word)} is not QUEUE:CORE, the whole list "
                           "is ignored")
            return ()
        if queue in found:
            again.append(word)
        found[queue] = core
    if again:
        texts.complain("pmd-rxq-affinity", "the list has another core for the same queue: "
                       f"{some(again)}, the last one is used")
    without = sorted(set(found.values()) - {pmd.core for pmd in running})
    absent = [core for core in without if there and core not in there]
    if absent and running:
        texts.complain("pmd-rxq-affinity", f"this host has no core {number_ranges(absent)}: "
                       "another core is used")
    without = [core for core in without if core not in absent]
    if without and running:
        named = number_ranges(without)
        texts.complain("pmd-rxq-affinity", f"no PMD thread on core {named}: use {mask_key} "
                       f"to enable a PMD on core {named}; another core is used")
    return tuple(sorted(found.items()))


def queues(texts: Texts, device: Device | None, kind: str, running: Sequence[PmdSpec],
           mask_key: str = "pmd-cpu-mask", there: Collection[int] = ()
           ) -> tuple[tuple[tuple[int, int], ...], bool]:
    """Pinned rxqs of a port, and whether its txq is chosen by flow; 'kind' names its type,
    'mask_key' and 'there' are as of affinity()."""
    if not isinstance(device, WITHOUT_QUEUES):
        return affinity(texts, running, mask_key, there), texts.choice("tx-steering") == HASH
    for key in ("pmd-rxq-affinity", "tx-steering"):
        if texts.is_set(key):
            texts.complain(key, f"has no effect on type {kind}: no PMD thread polls the port")
    return (), False
