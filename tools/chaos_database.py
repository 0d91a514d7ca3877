"""Faults of the database: what is in it, the file, the server, the disk."""
from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from random import Random

from tools.chaos_fault import BOTH, Fault
from tools.chaos_processes import is_down
from tools.chaos_site import NEIGHBOURS, SPARE, Site, WrongError
from tools.guest import is_listening
from tools.host import SCHEMA, HostError, wait_until

HEAD = b"OVSDB JSON"
BLOCK_BYTES = 1 << 16


def emptied(site: Site, _: Random) -> None:
    """Not one row is left. That is no wish for anything, so what is served stays; somebody types
    all of it again."""
    site.transact({"op": "delete", "table": "Open_vSwitch", "where": []})
    wait_until(lambda: not site.rows(), "the database is empty")
    if len(site.picture()["ports"]) < len(site.ports):
        raise WrongError("an empty database took ports away")
    site.vsctl(*site.wish())


def bridges_deleted(site: Site, _: Random) -> None:
    """A wish for nothing: everything goes, and comes back when it is wished for again."""
    site.vsctl("del-br", "br0")
    wait_until(lambda: not site.picture()["ports"], "the agent serves nothing any more")
    site.vsctl(*site.wish())
    site.restart_server_guest()


def replaced(site: Site, _: Random) -> None:
    """Another file behind the same socket, with other rows of the same ports and one port more;
    then the first one again."""
    other = site.directory / "other.db"
    site.check("ovsdb-tool", "create", str(other), str(SCHEMA))
    server = site.spawn_ovsdb("other", other, "other.sock")
    try:
        wait_until(lambda: is_listening(site.directory / "other.sock"), "another server listens")
        site.check("ovs-vsctl", f"--db=unix:{site.directory}/other.sock", "--no-wait",
                   *site.wish(), "--", *site.port_words(SPARE))
    finally:
        server.terminate()
        server.wait()
    mine, aside = site.directory / "conf.db", site.directory / "aside.db"
    site.kill_ovsdb()
    mine.rename(aside)
    other.rename(mine)
    site.start_ovsdb()
    site.ports[SPARE] = None
    site.wait_agreed("the other database")
    site.kill_ovsdb()
    aside.rename(mine)
    site.start_ovsdb()
    del site.ports[SPARE]


def corrupted(site: Site, _: Random) -> None:
    """Its head is garbage, so ovsdb-server does not start: the copy of the day before is put in
    its place."""
    file, copy = site.directory / "conf.db", site.outside / "copy.db"
    shutil.copy(file, copy)
    site.kill_ovsdb()
    with file.open("r+b") as database:
        database.write(os.urandom(len(HEAD)))
    try:
        site.check("ovsdb-tool", "query", str(file), '["Open_vSwitch"]')
    except HostError:
        pass
    else:
        raise WrongError("the database was not corrupted")
    shutil.copy(copy, file)
    site.start_ovsdb()


def torn(site: Site, _: Random) -> None:
    """Its end is garbage, as after a machine lost power: ovsdb-server leaves that out."""
    site.kill_ovsdb()
    with (site.directory / "conf.db").open("ab") as database:
        database.write(HEAD + b" 400 " + os.urandom(100))
    site.start_ovsdb()
    site.add_port(SPARE)            # returns when the agent has served it
    site.del_port(SPARE)


def disk_full(site: Site, _: Random) -> None:
    """Database, logs and run directory are on it. Nothing new can be configured; what is there
    works on, a guest that comes again included."""
    ballast = site.directory / "ballast"
    try:
        fill(ballast)
        site.run("ovs-vsctl", f"--db={site.remote}", "--timeout=3", *site.port_words(SPARE))
        site.guests["c"].kill()
        wait_until(lambda: is_down(site, "c"), "on a full disk the row of c says that it is gone")
        site.guests["c"].start()
        wait_until(lambda: site.rows()["c"]["link_state"] == "up",
                   "on a full disk the guest of c comes again")
    finally:
        ballast.unlink()
    site.vsctl("--if-exists", "del-port", "br0", SPARE)     # should it be there after all
    site.add_port(SPARE)
    site.del_port(SPARE)


def fill(path: Path) -> None:
    """Writes until the file system is full."""
    with path.open("wb", buffering=0) as file:
        size = BLOCK_BYTES
        while size:
            try:
                file.write(bytes(size))
            except OSError as e:
                if e.errno != errno.ENOSPC:
                    raise
                size //= 2


FAULTS = (
    Fault("database emptied", emptied, BOTH, "nothing: what is served stays"),
    Fault("bridges deleted", bridges_deleted, (), "all, until they are wished for again"),
    Fault("database replaced", replaced, BOTH, "nothing: the ports are the same"),
    Fault("database corrupted", corrupted, BOTH, "nothing"),
    Fault("database torn", torn, BOTH, "nothing"),
    Fault("disk full", disk_full, (NEIGHBOURS,), "c to s, while the guest starts again"),
)
