"""The way to a running data plane: DPDK starts as soon as the database has been seen, for guests
wait for it, and what else the agent is made of is loaded meanwhile."""
from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING

import ovs.poller
import ovs.timeval

from agent import log
from agent.dpdk import Dpdk
from agent.ovsdb import Database
from agent.signals import Signals

if TYPE_CHECKING:
    from agent.datapath import Datapath

DATABASE_MS = 300       # that a database is waited for before the agent is there to say so


def start_dpdk(database: Database, dpdk: Dpdk, signals: Signals) -> Datapath | None:
    """The data plane, if the database asks for one by now. Raises FatalError."""
    until_ms = ovs.timeval.msec() + DATABASE_MS
    while not signals.exit:
        try:
            database.run()
            other_config = database.other_config() if database.has_lock else None
        except Exception:
            log.main.exception("internal error, going on")      # as the agent's loop does
            break
        if other_config is not None:
            with loading("agent.main"):
                return dpdk.start(other_config)
        if database.is_contended or ovs.timeval.msec() >= until_ms:
            break
        poller = ovs.poller.Poller()
        database.wait(poller)
        signals.wait(poller)
        poller.timer_wait_until(until_ms)
        poller.block()
    return None


@contextmanager
def loading(module: str) -> Iterator[None]:
    """Another thread imports the module meanwhile: DPDK needs the GIL for nothing, and sleeps for a
    tenth of a second where it has to measure the clock. What the import raises, it raises again
    where the module is needed."""
    thread = Thread(target=importlib.import_module, args=(module,))
    thread.start()
    try:
        yield
    finally:
        thread.join()
