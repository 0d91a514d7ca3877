"""Whether PMD threads have their cores to themselves: pure."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from agent.finding import ERROR, INFO, OK, WARNING, Finding
from agent.host_values import Cpus, Node
from agent.model import PmdSpec
from agent.options import number_ranges

PERFORMANCE = "performance"
MASK = "pmd-cpu-mask="


def check(pmds: Sequence[PmdSpec], cpus: Cpus, nodes: Sequence[Node], allowed: Sequence[int],
          mask_is_set: bool, prefix: str = "") -> list[Finding]:
    """'allowed' are the cores that threads of the agent may choose from, 'prefix' what a user types
    before keys of other_config."""
    if not pmds:
        return []
    found = [replace(finding, fix=finding.fix and finding.fix.replace(MASK, f"{prefix}{MASK}"))
             for finding in problems(pmds, cpus, nodes, allowed, mask_is_set)]
    if all(finding.severity == INFO for finding in found):
        found.insert(0, Finding("pmd-cores", OK, f"PMD threads: {cores(pmds)}, which the agent "
                                "may use", details=details(cpus)))
    return found


def problems(pmds: Sequence[PmdSpec], cpus: Cpus, nodes: Sequence[Node], allowed: Sequence[int],
             mask_is_set: bool) -> list[Finding]:
    return [*not_allowed(pmds, allowed), *not_isolated(pmds, cpus, allowed, mask_is_set),
             *sharing(pmds, cpus), *without_memory(pmds, nodes), *slow(pmds, cpus)]


def cores(pmds: Sequence[PmdSpec]) -> str:
    numbers = sorted(pmd.core for pmd in pmds)
    return f"core{'s' if len(numbers) > 1 else ''} {number_ranges(numbers)}"


def details(cpus: Cpus) -> tuple[str, ...]:
    return tuple(f"{name}: {number_ranges(found) or 'none'}" for name, found in (
        ("online", cpus.online), ("isolated", cpus.isolated), ("nohz_full", cpus.nohz_full),
        ("rcu_nocbs", cpus.rcu_nocbs)))


def mask_command(wanted: Sequence[int]) -> str:
    mask = sum(1 << core for core in wanted)
    return f"ovs-vsctl set Open_vSwitch . other_config:{MASK}0x{mask:x}"


def not_allowed(pmds: Sequence[PmdSpec], allowed: Sequence[int]) -> Iterator[Finding]:
    out = [pmd.core for pmd in pmds if pmd.core not in allowed]
    if out and allowed:
        yield Finding(
            "pmd-core-forbidden", ERROR, f"the agent may not use core {number_ranges(out)}, which "
            "a PMD thread is to have",
            f"its cpuset (of a container or a service) leaves it {number_ranges(allowed)}: that "
            "PMD thread is not started",
            mask_command([pmd.core for pmd in pmds if pmd.core in allowed] or allowed[-1:]))


def not_isolated(pmds: Sequence[PmdSpec], cpus: Cpus, allowed: Sequence[int], mask_is_set: bool
                 ) -> Iterator[Finding]:
    shared = [pmd.core for pmd in pmds if pmd.core not in cpus.isolated]
    if not shared:
        return
    why = "whatever else runs on the core holds packets up meanwhile"
    usable = [core for core in cpus.isolated if core in cpus.online and core in allowed]
    if usable:
        set_or_not = "pmd-cpu-mask names others" if mask_is_set else "pmd-cpu-mask is not set"
        yield Finding(
            "pmd-core-not-isolated", WARNING, f"cores {number_ranges(usable)} are isolated, but "
            f"PMD threads run on {number_ranges(shared)}: {set_or_not}", why, mask_command(usable),
            details(cpus))
    else:
        # Core 0 is the kernel's own in many ways.
        wanted = [core for core in shared if core and core in allowed] or list(allowed[-1:])
        yield Finding(
            "no-isolated-cores", INFO, "no core is isolated: other programs share core "
            f"{number_ranges(shared)} with PMD threads", why, isolate(wanted, shared))


def isolate(wanted: Sequence[int], used: Sequence[int]) -> str:
    """Commands for Debian: others have GRUB_CMDLINE_LINUX elsewhere."""
    cores = number_ranges(wanted).replace(", ", ",")
    return ("echo 'GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX isolcpus="
            f"{cores} nohz_full={cores} rcu_nocbs={cores}\"' \\\n"
            "    >/etc/default/grub.d/vhost-agent.cfg && update-grub && reboot"
            + (f"\n{mask_command(wanted)}" if list(wanted) != list(used) else ""))


def sharing(pmds: Sequence[PmdSpec], cpus: Cpus) -> Iterator[Finding]:
    """Two PMD threads on the hyperthreads of one core."""
    numbers = {pmd.core for pmd in pmds}
    pairs = sorted({tuple(sorted(numbers & set(cpus.siblings.get(core, ())))) for core in numbers})
    for pair in pairs:
        if len(pair) > 1:
            yield Finding(
                "pmd-cores-siblings", WARNING, f"PMD threads on {number_ranges(pair)} share one "
                "core: these are its hyperthreads", "each of them has about half of the core",
                mask_command(sorted(numbers - set(pair[1:]))))


def without_memory(pmds: Sequence[PmdSpec], nodes: Sequence[Node]) -> Iterator[Finding]:
    bare = {node.number for node in nodes if not node.memory_bytes}
    if out := [pmd.core for pmd in pmds if pmd.node in bare]:
        better = [pmd.core for pmd in pmds if pmd.node not in bare] or [
            core for node in nodes if node.memory_bytes for core in node.cores[-1:]]
        yield Finding("pmd-core-without-memory", WARNING, f"PMD threads on {number_ranges(out)} "
                      "are on a NUMA node without memory", "all that they read is far away",
                      mask_command(better) if better else None)


def slow(pmds: Sequence[PmdSpec], cpus: Cpus) -> Iterator[Finding]:
    out = [pmd.core for pmd in pmds if cpus.governors.get(pmd.core, PERFORMANCE) != PERFORMANCE]
    if out:
        words = sorted({cpus.governors[core] for core in out})
        yield Finding("cpu-governor", INFO, f"the frequency of core {number_ranges(out)} follows "
                      f"its load (governor {', '.join(words)})",
                      "the first packets after a pause wait for the clock",
                      "cpupower -c " + number_ranges(out).replace(", ", ",")
                      + " frequency-set -g performance")
