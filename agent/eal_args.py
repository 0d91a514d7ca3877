"""EAL arguments from other_config: pure (OVS: lib/dpdk.c)."""
from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from agent.hostconfig import cpu_mask

MEMORY_KEYS = ("dpdk-extra", "dpdk-alloc-mem", "dpdk-socket-mem", "dpdk-socket-limit",
               "dpdk-hugepage-dir")
DEVICE_WORDS = ("-a", "--allow", "-b", "--block", "--no-pci")

# For a host without free hugepages: ordinary memory, and no files shared with other processes.
ORDINARY_MEMORY = ("--no-huge", "-m", "256", "--no-shconf")


def eal_args(other_config: Mapping[str, str], *, program: str, main_cpu: int,
             online: Sequence[int], ordinary_memory: bool = False
             ) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(argv, warnings). Words of dpdk-extra come first and win over the other keys.

    'ordinary_memory' asks for ORDINARY_MEMORY, unless the database says anything about memory.
    """
    warnings: list[str] = []
    try:
        extra = shlex.split(other_config.get("dpdk-extra", ""))
    except ValueError as e:
        warnings.append(f"dpdk-extra: cannot be split into words ({e}), ignored")
        extra = []
    args = list(extra)
    if ordinary_memory and not any(other_config.get(key) for key in MEMORY_KEYS):
        args += ORDINARY_MEMORY

    def add(key: str, word: str, value: str) -> None:
        if not value:
            return
        if word in extra:
            warnings.append(f"Ignoring database defined option '{key}' due to dpdk-extra config")
        else:
            args.extend((word, value))

    lcores = ""
    if mask := other_config.get("dpdk-lcore-mask", ""):
        cores, problem = cpu_mask(mask, online)
        lcores = ",".join(f"{i}@{core}" for i, core in enumerate(cores))
        if not lcores:
            warnings.append("Ignoring database defined option 'dpdk-lcore-mask' due to invalid "
                            f"value '{mask}'")
        elif problem:
            warnings.append(f"dpdk-lcore-mask: {problem}")
    add("dpdk-lcore-mask", "--lcores", lcores)
    add("dpdk-hugepage-dir", "--huge-dir", other_config.get("dpdk-hugepage-dir", ""))
    add("dpdk-socket-limit", "--socket-limit", other_config.get("dpdk-socket-limit", ""))
    if other_config.get("dpdk-socket-mem"):
        add("dpdk-socket-mem", "--socket-mem", other_config["dpdk-socket-mem"])
        if other_config.get("dpdk-alloc-mem"):
            warnings.append("dpdk-alloc-mem is ignored: dpdk-socket-mem is set too")
    else:
        add("dpdk-alloc-mem", "-m", other_config.get("dpdk-alloc-mem", ""))

    # DPDK refuses --in-memory together with --no-huge before 25.
    if not {"--in-memory", "--legacy-mem", "--no-huge"} & set(args):
        args.append("--in-memory")
    if not {"-c", "-l", "--lcores"} & set(args):
        args += ["--lcores", f"0@{main_cpu}"]
    if (other_config.get("dpdk-probe-at-init", "").lower() != "true"
            and not any(word.split("=")[0] in DEVICE_WORDS for word in args)):
        args.append("--no-pci")
    return (program, *args), tuple(warnings)
