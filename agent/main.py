"""Wires the parts together and runs the loop: run everything, reconcile, wait on everything."""
from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ovs.poller
import ovs.timeval
import ovs.unixctl

from agent import (
    VERSION,
    capture_command,
    control,
    log,
    loglines,
    machine,
    mirroring,
    reconcile,
    report,
)
from agent.datapath import Datapath
from agent.dpdk import Dpdk, FatalError
from agent.dpif_commands import DpifCommands
from agent.explain_command import ExplainCommand
from agent.fdb_commands import FdbCommands
from agent.hostconfig import wants_postcopy
from agent.live_commands import LiveCommands
from agent.mdb_commands import MdbCommands
from agent.memlock import lock_memory
from agent.model import OFPORT_NONE, Counters, Snapshot
from agent.notify import Notify, sentence
from agent.ovsdb import Database
from agent.picture import LOCK_HELD, LOCK_NONE, LOCK_TAKEN, AgentFacts, DatabaseFacts
from agent.pmd_commands import PmdCommands
from agent.pmd_datapath import dpdk_version
from agent.port_reasons import PortReasons
from agent.publish import Publisher
from agent.qos_commands import QosCommands
from agent.reason import no_dpdk
from agent.reconcile import Reconciler
from agent.settings import Settings
from agent.signals import Signals
from agent.standalone import OwnDatabase
from agent.standing import ORDERS

EXPIRE_MS = 1000                # how often aged entries of MAC tables and groups are removed, and
                                # sockets looked for
PAUSE_MS = 1000                 # before what failed in the agent itself is tried again
BUGS_IN_A_ROW = 3               # then the agent gives up rather than run on broken
# What the machine, or a limit, has no more of: nothing is broken, and it comes back.
SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC)


class Agent:
    """One agent: its database connection, its data plane, its control socket."""

    def __init__(self, settings: Settings, own_database: OwnDatabase | None, signals: Signals,
                 database: Database, dpdk: Dpdk, datapath: Datapath | None,
                 started: Callable[[], None]) -> None:
        """'datapath' is what 'dpdk' has started by now; 'started' is called once ports work."""
        self._settings = settings
        self._own_database = own_database
        self._signals = signals
        self._database = database
        numa_cores = machine.numa_cores()
        self._reconciler = Reconciler(settings.rundir, numa_cores,
                                      machine.main_node(numa_cores), settings.role)
        self._dpdk = dpdk
        self._datapath: Datapath | None = None
        self._snapshot: Snapshot | None = None
        self._seqno = 0
        self._contended = False
        self._due = False                   # something moved since the last reconciliation
        self._stale = False                 # columns may say what is not so any more
        self._expire_at_ms = 0
        self._publisher = Publisher()
        self._ofports: dict[str, tuple[str, int]] = {}      # interface -> (bridge, ofport)
        self._datapath_ids: dict[str, str] = {}             # bridge -> datapath_id
        self._exit_replies: list[Any] = []
        self._started = False
        self._on_started = started
        self._notify = Notify(os.environ)
        fdb_commands = FdbCommands(self._reconciler, lambda: self._datapath, lambda: self._ofports)
        MdbCommands(self._reconciler, lambda: self._datapath, lambda: self._ofports)
        self._reasons = PortReasons(numa_cores, settings.role.prefix,
                                    lambda: self._publisher.stuck())
        ExplainCommand(self._reconciler, self._reasons, lambda: self._datapath,
                       lambda: self._snapshot, lambda port: self._database.bridge_of(port),
                       ovs.timeval.msec)
        self._commands = PmdCommands(self._reconciler, lambda: self._datapath,
                                     self._publisher.counters, self._look_again,
                                     fdb_commands.events)
        DpifCommands(self._reconciler, self._publisher, lambda: self._datapath,
                     lambda: self._snapshot)
        QosCommands(self._reconciler, lambda: self._datapath)
        LiveCommands(
            AgentFacts(settings.name, VERSION, dpdk_version(), os.getpid(),
                       time.monotonic_ns() // 1_000_000, settings.role),
            self._database_facts, self._reconciler, self._publisher, lambda: self._datapath,
            lambda: self._snapshot, lambda: self._reasons.texts, settings.rundir)
        if datapath is not None:
            self._take(datapath, database.other_config() or {})
        self._control = self._open_control()

    def _open_control(self) -> control.ControlSocket:
        control.register("version", "", 0, 0, lambda _: control.version_text(dpdk_version()))
        capture_command.register(self._reconciler, lambda: self._datapath)
        ovs.unixctl.command_register("exit", "[--cleanup]", 0, 1, self._on_exit, None)
        help_ = ovs.unixctl.commands["help"]
        ovs.unixctl.command_register("list-commands", "", 0, 0, help_.callback, None)
        try:
            control_socket = control.ControlSocket(self._settings.control)
        except OSError as e:
            raise FatalError(
                f"cannot open the control socket {self._settings.control}: {e.strerror}") from e
        control.guard_commands()
        return control_socket

    # --- the loop ---------------------------------------------------------------------------------

    def run(self) -> None:
        """Serves until a signal or ovs-appctl exit. Raises FatalError."""
        bugs = 0
        short: str | None = None            # of what, as was said in the log
        try:
            while not self._signals.exit:
                try:
                    self._step(ovs.timeval.msec())
                except FatalError:
                    raise
                except Exception as e:
                    # The data plane forwards on meanwhile, and the work is still due.
                    if isinstance(e, OSError) and e.errno in SHORTAGES:
                        if short != e.strerror:
                            short = e.strerror
                            log.main.err(f"{e}: trying again until that is over")
                    else:
                        log.main.exception("internal error, going on")
                        bugs += 1
                        if bugs == BUGS_IN_A_ROW:
                            raise
                    self._pause()
                else:
                    bugs, short = 0, None
                    self._block()
        finally:
            self._close()

    def _step(self, now_ms: int) -> None:
        self._signals.run()
        if self._own_database is not None:
            self._own_database.run(now_ms)
        self._database.run()
        self._control.run(now_ms)
        before = self._seqno
        changed = self._look_at_database()
        if changed and self._snapshot is not None:
            self._commands.reconfigured()
            if self._datapath is None:
                datapath = self._dpdk.start(self._snapshot.other_config)
                if datapath is not None:
                    self._take(datapath, self._snapshot.other_config)
        if (self._settings.role.beside and self._seqno != before and self._can_write()
                and self._snapshot is not None and self._datapath is not None):
            self._number_ports(self._snapshot, now_ms, changed)
        woken = self._datapath is not None and self._datapath.drain_wake()
        if self._datapath is not None and now_ms >= self._reconciler.placer.sample_at_ms:
            self._sample(self._datapath, now_ms)
        if self._datapath is not None and now_ms >= self._expire_at_ms:
            self._expire_at_ms = now_ms + EXPIRE_MS
            if self._reconciler.watch_tables(self._datapath):
                self._stale = True
            if self._datapath.look_for_sockets():
                self._due = True
        retry_at_ms = self._reconciler.retry_at_ms()
        if changed or woken or (retry_at_ms is not None and now_ms >= retry_at_ms):
            self._due = True
        if self._due and self._snapshot is not None:
            self._reconciler.step(self._snapshot, self._datapath, now_ms, retry_all=changed)
            self._due = False
            self._stale = True
        look_at_ms = self._reasons.look_at_ms
        if look_at_ms is not None and now_ms >= look_at_ms:
            self._stale = True
        self._dpdk.log.run(now_ms)
        due = self._publisher.due(self._reconciler.desired.stats_interval_ms, now_ms)
        if due:
            self._database.look_after()
        if self._snapshot is not None and self._can_write() and (self._stale or due):
            self._write(self._snapshot, now_ms)
            self._stale = False
        self._say_started()
        self._notify.run(now_ms)

    def _take(self, datapath: Datapath, other_config: Mapping[str, str]) -> None:
        """A data plane that runs. Memory is locked, as --mlockall has it, before ports are added,
        and guests with them."""
        self._datapath = datapath
        if self._settings.mlockall:
            self._reconciler.fills_memory, lines = lock_memory(
                postcopy=wants_postcopy(other_config))
            reconcile.say(lines, log.main)
        self._commands.dpdk_started(datapath)

    def _sample(self, datapath: Datapath, now_ms: int) -> None:
        """Loads of PMDs and rxqs, which may ask for another placement."""
        readings = datapath.readings()
        self._commands.sample(readings)
        if self._reconciler.sample(readings, now_ms):
            self._due = True

    def _look_again(self) -> None:
        self._due = True

    def _can_write(self) -> bool:
        return self._database.has_lock and self._database.root() is not None

    def _look_at_database(self) -> bool:
        """Takes a new snapshot when there is one; True when what is to be served changed. While
        another process has the lock the last one stays in force: packets flow on."""
        if self._database.is_contended != self._contended:
            self._contended = self._database.is_contended
            if self._contended:
                role = self._settings.role
                log.bridge.err(f"another {role.rival} process is running, disabling this process "
                               f"(pid {os.getpid()}) until it goes away: the lock {role.lock} of "
                               f"{self._settings.remote} is held; ports that are served already "
                               "forward on as they are")
        if not self._database.has_lock or self._database.seqno == self._seqno:
            return False
        self._seqno = self._database.seqno
        snapshot = self._database.snapshot()
        if snapshot is None or snapshot == self._snapshot:
            return False
        self._snapshot = snapshot
        return True

    def _pause(self) -> None:
        """Without a look at what is due: what failed is, and would be tried again at once."""
        poller = ovs.poller.Poller()
        poller.timer_wait(PAUSE_MS)
        self._signals.wait(poller)
        poller.block()

    def _block(self) -> None:
        poller = ovs.poller.Poller()
        self._signals.wait(poller)
        self._database.wait(poller)
        self._control.wait(poller)
        self._dpdk.log.wait(poller)
        timers = [self._reconciler.retry_at_ms(), self._notify.alive_at_ms()]
        if self._own_database is not None:
            timers.append(self._own_database.restart_at_ms())
        if self._datapath is not None:
            poller.fd_wait(self._datapath.wake_fd, ovs.poller.POLLIN)
            timers += [self._expire_at_ms, self._reconciler.placer.sample_at_ms]
            if self._can_write():       # else statistics stay due, and waiting for them is none
                timers += [self._publisher.stats_at_ms, self._reasons.look_at_ms]
        for at_ms in timers:
            if at_ms is not None:
                poller.timer_wait_until(at_ms)
        poller.block()

    def _say_started(self) -> None:
        """Lets --detach return once the first transaction is with the server; says how it is."""
        if not self._started and self._database.commits:
            self._started = True
            self._on_started()
            self._notify.started()
        self._notify.status(sentence(
            seen=self._snapshot is not None, contended=self._contended,
            lock=self._settings.role.lock, remote=self._settings.remote,
            dpdk=self._datapath is not None, ports=len(self._reconciler.observed.ports),
            refused=len(self._reconciler.errors)))

    def _close(self) -> None:
        if self._signals.exit:          # otherwise another agent is started
            self._notify.ending()
        if self._datapath is not None:
            self._datapath.close()
        self._dpdk.log.run(ovs.timeval.msec())
        self._database.close()
        if self._own_database is not None:
            self._own_database.stop()
        for connection in self._exit_replies:
            connection.reply(None)
        self._control.close()

    # --- columns ----------------------------------------------------------------------------------

    def _number_ports(self, snapshot: Snapshot, now_ms: int, changed: bool) -> None:
        """Numbers of new ports, and of the next one, before all else: ovs-vsctl waits for
        ovs-vswitchd alone, and complains of a port that has none by then."""
        if changed:
            self._reconciler.wish(snapshot, dpdk_initialized=True)
            self._database.write(self._publisher.first_columns(
                snapshot, self._reconciler.errors, now_ms))
        self._database.stand_by(self._publisher.next_numbers(ORDERS))

    def _write(self, snapshot: Snapshot, now_ms: int) -> None:
        root = self._database.root()
        if root is None:
            return
        desired, observed = self._reconciler.desired, self._reconciler.observed
        errors = self._reconciler.errors
        updates = self._publisher.columns(snapshot, desired, observed, errors,
                                          self._reconciler.problems, now_ms,
                                          self._why(snapshot, now_ms))
        self._database.release(self._publisher.released())
        self._say_ports(self._publisher.ofports())
        self._say_datapath_ids(snapshot)
        if now_ms >= self._publisher.stats_at_ms:
            updates |= mirroring.statistics(
                snapshot, self._datapath.mirror_counters() if self._datapath is not None else {})
        for key, columns in self._publisher.statistics(
                desired, observed, errors, self._counters, now_ms).items():
            updates.setdefault(key, {}).update(columns)
        if not self._settings.role.beside:
            updates["Open_vSwitch", root] = report.host(
                snapshot, dpdk_version(), dpdk_initialized=self._datapath is not None)
        self._database.write(updates)

    def _why(self, snapshot: Snapshot, now_ms: int) -> dict[str, str]:
        """status:reason of ports."""
        if self._datapath is None:
            return {bridge.name: str(no_dpdk(self._settings.role.prefix))
                    for bridge in snapshot.bridges}
        return self._reasons.look(self._reconciler.desired, self._reconciler.observed,
                                  self._datapath, now_ms, now_ms >= self._publisher.stats_at_ms)

    def _counters(self, name: str) -> Counters:
        assert self._datapath is not None
        counters = self._datapath.counters(name)
        mtu = self._reconciler.observed.ports[name].memory.mtu
        reconcile.say(loglines.oversize(name, mtu, self._publisher.counters(name), counters))
        return counters

    def _say_ports(self, ofports: dict[str, tuple[str, int]]) -> None:
        """The lines about added and deleted ports that scripts wait for."""
        before, self._ofports = self._ofports, ofports
        for what, changed in (("deleted", before.items() - ofports.items()),
                              ("added", ofports.items() - before.items())):
            for name, (bridge, number) in sorted(changed):
                if number != OFPORT_NONE:
                    log.bridge.info(f"bridge {bridge}: {what} interface {name} on port {number}")

    def _say_datapath_ids(self, snapshot: Snapshot) -> None:
        ids = {bridge.name: report.datapath_id(bridge) for bridge in snapshot.bridges}
        for name, dpid in ids.items():
            if self._datapath_ids.get(name) != dpid:
                log.bridge.info(f"bridge {name}: using datapath ID {dpid}")
        self._datapath_ids = ids

    def _database_facts(self) -> DatabaseFacts:
        database = self._database
        lock = (LOCK_HELD if database.has_lock
                else LOCK_TAKEN if database.is_contended else LOCK_NONE)
        return DatabaseFacts(database.remote, database.is_connected, lock, database.commits)

    # --- commands ---------------------------------------------------------------------------------

    def _on_exit(self, connection: Any, _argv: Sequence[str], _: object) -> None:
        self._exit_replies.append(connection)       # answered when all is closed
        self._signals.tell_to_end()
