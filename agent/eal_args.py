"""EAL arguments from other_config: pure (OVS: lib/dpdk.c)."""
from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from agent.options import cpu_mask, shown

if TYPE_CHECKING:
    from agent.loglines import Line

MEMORY_KEYS = ("dpdk-extra", "dpdk-alloc-mem", "dpdk-socket-mem", "dpdk-socket-limit",
               "dpdk-hugepage-dir")
DEVICE_WORDS = ("-a", "--allow", "-b", "--block")
# A device of each bus that there is not, or no driver knows, allowed so that no other is taken but
# by a port's own words. The EAL refuses the name of a bus that it lacks.
NO_DEVICES = {"auxiliary": "auxiliary:", "cdx": "cdx:cdx-", "fslmc": "fslmc:dpni.65535",
              "pci": "pci:0000:00:00.0", "uacce": "uacce:",
              "vmbus": "vmbus:00000000-0000-0000-0000-000000000000"}
MAX_LCORES = 128                # RTE_MAX_LCORE of DPDK's builds, but for some that have more

# For a host without free hugepages: ordinary memory, and no files shared with other processes.
ORDINARY_MEMORY = ("--no-huge", "-m", "256", "--no-shconf")


def eal_args(other_config: Mapping[str, str], *, program: str, main_cpu: int,
             online: Sequence[int], ordinary_memory: bool = False, buses: Sequence[str] = (),
             prefix: str = "", file_prefix: str = "") -> tuple[tuple[str, ...], tuple[Line, ...]]:
    """(argv, lines for the log). Words of dpdk-extra come first and win over the other keys.

    'ordinary_memory' asks for ORDINARY_MEMORY, unless the database says anything about memory.
    'buses' are those that DPDK has here, 'prefix' what a user types before keys of other_config;
    'file_prefix', unless empty, keeps files of DPDK apart from those of other processes.
    """
    lines: list[Line] = []
    try:
        extra = shlex.split(other_config.get("dpdk-extra", ""))
    except ValueError as e:
        lines.append(("warn", f"{prefix}dpdk-extra: cannot be split into words ({e}), ignored"))
        extra = []
    args = list(extra)
    if ordinary_memory and not any(other_config.get(key) for key in MEMORY_KEYS):
        args += ORDINARY_MEMORY

    def add(key: str, word: str, value: str) -> None:
        if not value:
            return
        if word in extra:
            lines.append(("warn", f"Ignoring database defined option '{prefix}{key}' due to "
                          f"{prefix}dpdk-extra config"))
        elif key != "dpdk-lcore-mask":
            args.extend((word, value))
        elif lcores := lcore_list(value, online, lines, prefix):
            args.extend((word, lcores))

    add("dpdk-lcore-mask", "--lcores", other_config.get("dpdk-lcore-mask", ""))
    add("dpdk-hugepage-dir", "--huge-dir", other_config.get("dpdk-hugepage-dir", ""))
    add("dpdk-socket-limit", "--socket-limit", other_config.get("dpdk-socket-limit", ""))
    if other_config.get("dpdk-socket-mem"):
        if other_config.get("dpdk-alloc-mem"):
            lines.append(("err", "Multiple defined options for memory type. Please check your "
                          "database settings and reconfigure if necessary. "
                          f"{prefix}dpdk-socket-mem is used, {prefix}dpdk-alloc-mem is not."))
        add("dpdk-socket-mem", "--socket-mem", other_config["dpdk-socket-mem"])
    else:
        add("dpdk-alloc-mem", "-m", other_config.get("dpdk-alloc-mem", ""))

    if file_prefix and not any(word.split("=")[0] == "--file-prefix" for word in args):
        args += ["--file-prefix", file_prefix]
    # DPDK refuses --in-memory together with --no-huge before 25.
    if not {"--in-memory", "--legacy-mem", "--no-huge"} & set(args):
        args.append("--in-memory")
    if not {"-c", "-l", "--lcores"} & set(args):
        args += ["--lcores", f"0@{main_cpu}"]
    if (other_config.get("dpdk-probe-at-init", "").lower() != "true"
            and not any(word.split("=")[0] in DEVICE_WORDS for word in args)):
        if "pci" not in buses and "--no-pci" not in args:
            args.append("--no-pci")
        for bus in sorted(NO_DEVICES.keys() & set(buses)):
            if bus != "pci" or "--no-pci" not in args:
                args += ["-a", NO_DEVICES[bus]]
    return (program, *args), tuple(lines)


def lcore_list(mask: str, online: Sequence[int], lines: list[Line], prefix: str) -> str:
    """The lcores of a mask as the EAL takes them, numbered from 0; says what is not used."""
    cores, problem = cpu_mask(mask, online)
    if not cores:
        lines.append(("warn", f"Ignoring database defined option '{prefix}dpdk-lcore-mask' due to "
                      f"invalid value {shown(mask)}"))
        return ""
    if problem:
        lines.append(("warn", f"{prefix}dpdk-lcore-mask: {problem}"))
    if len(cores) > MAX_LCORES:
        lines.append(("info", f"Truncating DPDK lcore list as {prefix}dpdk-lcore-mask has > "
                      f"{MAX_LCORES} lcores"))
    return ",".join(f"{i}@{core}" for i, core in enumerate(cores[:MAX_LCORES]))
