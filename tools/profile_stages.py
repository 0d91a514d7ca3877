"""Which stage of the data plane a sample belongs to, and what a stage takes; pure."""
from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath

KERNEL = "[kernel]"             # stands for the file


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sample was: the file and its functions there, an inlined one before its caller."""

    file: str
    functions: tuple[str, ...]

    def __str__(self) -> str:
        name = PurePath(self.file).name.partition(".")[0] or "?"
        return f"{name}: {cython_name(self.functions[0]) or self.functions[0]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A row of the table. A function counts before its module, a module before a file."""

    title: str
    functions: tuple[str, ...] = ()     # of any module of pmd_ext, of the one named, or of C
    modules: tuple[str, ...] = ()       # of pmd_ext
    files: tuple[str, ...] = ()         # how their names begin


OTHER = "other"
IN_VAIN = "rounds that found nothing"

STAGES = (
    Stage(title="librte_vhost: dequeue", functions=("rte_vhost_dequeue_burst",)),
    Stage(title="librte_vhost: enqueue", functions=("rte_vhost_enqueue_burst",)),
    Stage(title="librte_vhost: else", files=("librte_vhost.",)),
    Stage(title="packet buffers", files=("librte_mbuf.", "librte_mempool")),
    Stage(title="loop", modules=("poll", "pmd", "idle"), functions=(
        "pmd_main", "account", "settle", "poll_once", "poll_rxq", "received")),
    Stage(title="classify", modules=("classify",), functions=("read_header", "are_alike")),
    Stage(title="learn", modules=("maclearn", "macflaps"), functions=(
        "pipeline.learn", "mac_learn")),
    Stage(title="look up", functions=(
        "look_up", "output_of", "fetch_ahead", "mac_prefetch", "mac_lookup")),
    Stage(title="group by output, and the rest of the pipeline", modules=("pipeline",)),
    Stage(title="transmit", modules=("transmit", "flow"), functions=(
        "transmit", "keep_fitting", "give", "own_txq", "send", "lock_ring", "enqueue")),
    Stage(title="statistics", modules=("tally",), functions=(
        "count", "count_cast", "count_frames", "size_bin")),
    Stage(title="VLANs", modules=("vlan", "vlansets")),
    Stage(title="policing", modules=("meters", "limits")),
    Stage(title="mirrors", modules=("mirror", "mirrors")),
    Stage(title="multicast groups", modules=("snoop", "groups")),
    Stage(title="offloads", modules=("offload",)),
    Stage(title="patch ports", modules=("patch",)),
    Stage(title="captures", modules=("capture",)),
    Stage(title="other kinds of ports", modules=("host", "host_io", "host_queue", "ethdev"),
          files=("librte_ethdev.", "librte_net_")),
    Stage(title="kernel", files=(KERNEL,)),
)
# What these hold is inlined in all places: such a sample is its caller's.
CALLERS = frozenset(("state", "atomics", "reserved", "slotsets", "mactable"))

BY_FUNCTION = {name: stage.title for stage in STAGES for name in stage.functions}
BY_MODULE = {name: stage.title for stage in STAGES for name in stage.modules}
BY_FILE = {name: stage.title for stage in STAGES for name in stage.files}


def cython_name(symbol: str) -> str | None:
    """"module.function" of __pyx_f_7pmd_ext_8pipeline_forward; None for what is not of pmd_ext."""
    found = re.fullmatch(r"__pyx_f_7pmd_ext_(\d+)(\w+)(?:\..*)?", symbol)  # gcc: .part.0, .cold
    if not found:
        return None
    length = int(found[1])
    return f"{found[2][:length]}.{found[2][length + 1:]}"


def stage_of(place: Place) -> str:
    """Title of the stage; OTHER for what the table does not know, so that it is seen."""
    for symbol in place.functions:
        name = cython_name(symbol) or symbol.removesuffix("@plt")
        module, _, function = name.rpartition(".")
        title = BY_FUNCTION.get(name) or BY_FUNCTION.get(function)
        if title is None and module and module not in CALLERS:
            title = BY_MODULE.get(module, OTHER)
        if title is not None:
            return title
    file = PurePath(place.file).name
    return next((title for start, title in BY_FILE.items() if file.startswith(start)), OTHER)


def stages(places: Iterable[Place]) -> Counter[str]:
    return Counter(map(stage_of, places))


def unknown(places: Iterable[Place]) -> Counter[str]:
    """What OTHER is made of."""
    return Counter(str(place) for place in places if stage_of(place) == OTHER)


# --- what a stage takes ---------------------------------------------------------------------------

@dataclass(frozen=True, slots=True)
class Cycles:
    """Of a PMD thread, as pmd-stats-show has them."""

    packets: int
    idle: int
    busy: int

    @property
    def used(self) -> int:
        return self.idle + self.busy

    @property
    def busy_share(self) -> float:
        return self.busy / self.used


def pmd_cycles(shown: str, core: int) -> Cycles:
    """Of the thread on this core, from the output of dpif-netdev/pmd-stats-show. ValueError."""
    for part in re.split(r"^(?=\S)", shown, flags=re.M):
        if re.match(rf"pmd thread numa_id \d+ core_id {core}:", part):
            found = [re.search(rf"^ *{what}: (\d+)", part, re.M)
                     for what in ("packets received", "idle cycles", "processing cycles")]
            if all(found):
                return Cycles(*(int(each[1]) for each in found if each))
    raise ValueError(f"pmd-stats-show has no cycles of core {core}:\n{shown}")


def shares(loaded: Mapping[str, int], silent: Mapping[str, int], busy: float) -> dict[str, float]:
    """Each stage's share of the thread's time, and last what went into rounds that found nothing.

    'busy' is the share of time of the other rounds. Samples do not say of which round they are, so
    the idle time is taken off each stage as it is spread while all rounds find nothing ('silent').
    Under load a poll in vain takes longer, as the guest has just written there: so this takes
    rather too much off the loop and too little off the library.
    """
    total, total_silent = sum(loaded.values()), sum(silent.values())
    if not total:
        return {}
    idle = {title: (1 - busy) * n / total_silent for title, n in silent.items()}
    left = {title: max(0.0, loaded[title] / total - idle.get(title, 0))
            for title in [*(stage.title for stage in STAGES), OTHER] if loaded.get(title)}
    return {**left, IN_VAIN: max(0.0, 1 - sum(left.values()))}


def rows(loaded: Mapping[str, int], parts: Mapping[str, float], cycles_a_packet: float
         ) -> list[list[str]]:
    """Of the table: a stage's percent of all samples, its share of 'parts' in percent, and that in
    cycles for each packet."""
    total = sum(loaded.values())

    def cells(title: str, samples: int, share: float) -> list[str]:
        return [title, f"{100 * samples / total:.1f}" if samples else "", f"{100 * share:.1f}",
                f"{share * cycles_a_packet:.1f}"]

    found = [cells(title, loaded.get(title, 0), share) for title, share in parts.items()]
    return [*found, cells("all", total, sum(parts.values()))]
