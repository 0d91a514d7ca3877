"""Becoming a daemon, and what must be around the loop: pid file, own database."""
from __future__ import annotations

import errno
import os
import re
import resource
import stat
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import ovs.daemon

from agent import log, machine
from agent.dpdk import Dpdk, FatalError
from agent.monitor import Monitor
from agent.ovsdb import Database
from agent.remotes import Listen
from agent.settings import DEFAULT_FILE, Settings
from agent.signals import Signals
from agent.starting import start_dpdk

if TYPE_CHECKING:
    from agent.metrics_server import MetricsServer
    from agent.standalone import OwnDatabase


def check_pidfile(name: str) -> None:
    """Raises OSError when a file of that name is none of a process: python-ovs would remove it."""
    path = ovs.daemon.make_pidfile_name(name)
    with suppress(FileNotFoundError):
        file = os.lstat(path)
        if not stat.S_ISREG(file.st_mode) or not re.fullmatch(
                rb"\d{0,20}\n?", Path(path).read_bytes()):
            raise OSError(errno.EEXIST, "a file that is no pid file is in the way", path)


def run(settings: Settings) -> int:
    """Runs the agent to its end; returns the exit status. May fork; call it before any thread."""
    if settings.overwrite_pidfile:
        ovs.daemon.ignore_existing_pidfile()
    if settings.detach:
        ovs.daemon.set_detach()
    if not settings.chdir:
        ovs.daemon.set_no_chdir()
    # A port takes a descriptor, each queue of a guest three more: the usual 1024 are soon gone.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    signals = Signals()
    monitor = Monitor(signals)
    ovs.daemon.daemonize_start()
    if settings.monitor:
        import_module("agent.main")     # once, before each start is a fork of this process
        monitor.keep_running(settings.detach)
    if settings.pidfile is not None:
        name = None if settings.pidfile == DEFAULT_FILE else settings.pidfile
        path = ovs.daemon.make_pidfile_name(name)
        if monitor.again and (other := ovs.daemon.read_pidfile(path)) > 0:
            log.main.err(f"another agent runs meanwhile, as pid {other}")
            return 0
        ovs.daemon.set_pidfile(name)
        ovs.daemon._make_pidfile()      # the agent's own, where python-ovs makes one for --monitor
    signals.catch()
    try:
        own_database = None
        if settings.standalone is not None:
            own_database = serve_database(settings.standalone, settings.schema_file)
        metrics = None
        if settings.metrics is not None:
            metrics = serve_metrics(settings.metrics, settings.control, monitor.again)
        database = Database(own_database.remote if own_database else settings.remote, settings.role)
        dpdk = Dpdk(machine.numa_cores(), settings.role, settings.rundir,
                    standalone=own_database is not None)
        datapath = start_dpdk(database, dpdk, signals)
        from agent.main import Agent  # not at the top: it is loaded while DPDK starts

        def started() -> None:
            ovs.daemon.daemonize_complete()
            monitor.works()

        Agent(settings, own_database, signals, database, dpdk, datapath, started).run()
        if metrics is not None:
            metrics.stop()
    except FatalError as e:
        log.main.emer(str(e))
        if settings.detach:
            print(e, file=sys.stderr)
        return 1
    except Exception:
        log.main.exception("internal error, giving up")
        return int(ovs.daemon.RESTART_EXIT_CODE)        # --monitor starts another one
    return 0


def serve_database(directory: Path, schema_file: Path) -> OwnDatabase:
    """Raises FatalError."""
    from agent.shell import quoted  # not at the top: as in serve_metrics()
    from agent.standalone import OwnDatabase, StandaloneError

    database = OwnDatabase(directory, schema_file)
    try:
        database.start()
    except StandaloneError as e:
        raise FatalError(str(e)) from e
    print(f"ovs-vsctl {quoted(f'--db={database.remote}')} show", flush=True)
    return database


def serve_metrics(listen: Listen, control: str, again: bool) -> MetricsServer | None:
    """Raises FatalError, but not when the agent is started 'again': whoever took the address
    meanwhile does not keep guests from their switch."""
    # Not at the top: prometheus_client is a tenth of the time that a restart takes.
    from agent.metrics_server import MetricsError, MetricsServer

    try:
        server = MetricsServer(listen, control)
        server.start()
    except MetricsError as e:
        if again:
            log.main.err(f"{e}; metrics are not served")
            return None
        raise FatalError(str(e)) from e
    log.main.info(f"metrics are served at http://{listen}/metrics")
    if not listen.is_loopback:
        log.main.warn(f"--metrics={listen}: whoever reaches this address can read the metrics")
    return server
