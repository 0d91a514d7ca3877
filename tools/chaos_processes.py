"""Faults of processes: killed, and stopped for a while."""
from __future__ import annotations

import os
import signal
import time
from functools import partial
from random import Random

from tools.chaos_fault import BOTH, Fault
from tools.chaos_site import NEIGHBOURS, SERVER, Site, WrongError
from tools.host import wait_until

SHORT_S = (0.2, 1.0)            # a stop that the rings of guests outlast
LONG_S = (1.0, 2.5)             # a stop of who has no part in forwarding


def agent_killed(site: Site, _: Random) -> None:
    """As systemd does, it is started again at once."""
    site.kill_agent()
    site.restart_agent()
    site.restart_server_guest()


def guest_killed(site: Site, random: Random) -> None:
    name = random.choice(("c", SERVER))
    site.guests[name].kill()
    wait_until(partial(is_down, site, name), f"the row of {name} says that its guest is gone")
    site.guests[name].start()


def is_down(site: Site, name: str) -> bool:
    return bool(site.rows()[name]["link_state"] == "down")


def ovsdb_killed(site: Site, _: Random) -> None:
    site.kill_ovsdb()
    if not site.picture()["ports"]:
        raise WrongError("without a database the agent serves no ports any more")
    site.start_ovsdb()


def agent_stopped(site: Site, random: Random) -> None:
    stopped(site.agent.pid, random.uniform(*SHORT_S))


def guest_stopped(site: Site, random: Random) -> None:
    stopped(site.guests[random.choice(("c", SERVER))].pid, random.uniform(*SHORT_S))


def ovsdb_stopped(site: Site, random: Random) -> None:
    assert site.ovsdb is not None
    stopped(site.ovsdb.pid, random.uniform(*LONG_S))


def stopped(pid: int, seconds: float) -> None:
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        os.kill(pid, signal.SIGCONT)


FAULTS = (
    Fault("agent killed", agent_killed, (), "all, until it runs again: the gap is measured"),
    Fault("agent stopped", agent_stopped, BOTH, "nothing: rings hold what comes meanwhile"),
    Fault("guest killed", guest_killed, (NEIGHBOURS,), "c to s, until the guest runs again"),
    Fault("guest stopped", guest_stopped, BOTH, "nothing: rings hold what comes meanwhile"),
    Fault("ovsdb-server killed", ovsdb_killed, BOTH, "nothing"),
    Fault("ovsdb-server stopped", ovsdb_stopped, BOTH, "nothing"),
)
