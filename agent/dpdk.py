"""Starting DPDK, once in a process, when the database asks for it; and its log."""
from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from threading import Thread
from typing import TYPE_CHECKING

import ovs.util

from agent import log, machine
from agent.eal_args import eal_args
from agent.role import Role
from pmd_ext.runtime import DatapathError, Runtime, dpdk_version, open_log

if TYPE_CHECKING:
    from agent.datapath import Datapath

LEAST_HUGEPAGE_BYTES = 64 << 20     # packet buffers, and some for guests' queues
MIB = 1 << 20
SWITCH_S = 0.0002               # that who loads keeps the GIL from who starts DPDK


class FatalError(Exception):
    """The agent cannot go on; the text says why and what to do."""


class Dpdk:
    """The one attempt to start DPDK. For the main thread only."""

    def __init__(self, numa_cores: Mapping[int, Sequence[int]], role: Role, rundir: str,
                 standalone: bool) -> None:
        self._online = [core for cores in numa_cores.values() for core in cores]
        self._role = role
        self._rundir = rundir
        self._standalone = standalone
        self._tried = False
        self._said_disabled = False
        self.log = log.DpdkLog(open_log())

    def start(self, other_config: Mapping[str, str]) -> Datapath | None:
        """A running data plane when other_config:dpdk-init asks for one for the first time.

        Raises FatalError when DPDK refuses and dpdk-init is 'true'; with 'try' that is logged.
        """
        mode = other_config.get("dpdk-init", "").lower()
        if mode not in ("true", "try"):
            if not self._tried and not self._said_disabled:
                log.dpdk.info(f"DPDK Disabled - Use other_config:{self._role.prefix}dpdk-init to "
                              "enable")
                self._said_disabled = True
            return None
        if self._tried:
            return None
        self._tried = True
        log.dpdk.info(f"Using {dpdk_version()}")
        log.dpdk.info("DPDK Enabled - initializing...")
        argv = self._argv(other_config)
        log.dpdk.info(f"EAL ARGS: {' '.join(argv)}.")
        try:
            with loading("agent.main"):
                runtime = Runtime(argv)
                log.dpdk.info("DPDK Enabled - initialized")
        except DatapathError as e:
            text = f"DPDK does not start: {e.strerror}{hugepage_hint(argv, self._role.prefix)}"
            if mode == "try":
                log.dpdk.err(f"{text}; going on without it")
                return None
            raise FatalError(text) from e
        from agent.pmd_datapath import PmdDatapath  # not at the top: as in ovsdb.py

        datapath = PmdDatapath(runtime, self._rundir)
        log.dpdk.info(datapath.memory_line())
        return datapath

    def _argv(self, other_config: Mapping[str, str]) -> tuple[str, ...]:
        short = machine.free_hugepage_bytes() < LEAST_HUGEPAGE_BYTES
        ordinary = short and (self._standalone or self._role.beside)
        argv, lines = eal_args(
            other_config, program=ovs.util.PROGRAM_NAME, main_cpu=machine.lowest_allowed_cpu(),
            online=self._online, ordinary_memory=ordinary, buses=machine.dpdk_buses(),
            prefix=self._role.prefix, file_prefix=self._role.file_prefix)
        for level, text in lines:
            getattr(log.dpdk, level)(text)
        if ordinary and "--no-huge" in argv:
            log.dpdk.info(f"less than {LEAST_HUGEPAGE_BYTES // MIB} MiB of hugepages are free: "
                          "running on ordinary memory, which is slower (sysctl "
                          "vm.nr_hugepages=512 reserves hugepages)")
        return argv


@contextmanager
def loading(module: str) -> Iterator[None]:
    """Another thread imports the module meanwhile, as what guests wait for: DPDK needs the GIL for
    nothing, and sleeps for a tenth of a second where it has to measure the clock. What the import
    raises, it raises again where the module is needed."""
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    thread = Thread(target=import_module, args=(module,))
    thread.start()
    try:
        yield
    finally:
        thread.join()
        sys.setswitchinterval(interval_s)


def hugepage_hint(argv: Sequence[str], prefix: str) -> str:
    """What to do about a DPDK that may have failed for want of hugepages."""
    free = machine.free_hugepage_bytes()
    if "--no-huge" in argv or free >= LEAST_HUGEPAGE_BYTES:
        return ""
    return (f": {free // MIB} MiB of hugepages are free, {LEAST_HUGEPAGE_BYTES // MIB} MiB are "
            "needed; reserve more (sysctl vm.nr_hugepages=512), or use ordinary memory "
            f"(ovs-vsctl --no-wait set Open_vSwitch . other_config:{prefix}dpdk-extra="
            "\"--no-huge -m 256\")")
