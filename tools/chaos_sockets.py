"""Faults of sockets: their names are removed while they are in use."""
from __future__ import annotations

from random import Random

from tools.chaos_fault import BOTH, Fault
from tools.chaos_site import NEIGHBOURS, SERVER, Site, WrongError


def server_socket_removed(site: Site, _: Random) -> None:
    """Of a server port. Its guest is not disturbed; one that comes again has to find a socket."""
    site.guests[SERVER].socket.unlink()
    site.restart_server_guest()


def control_socket_removed(site: Site, _: Random) -> None:
    """ovs-appctl cannot reach the agent until that made another one."""
    (site.directory / f"vhost-agent.{site.agent.pid}.ctl").unlink()


def database_socket_removed(site: Site, _: Random) -> None:
    """Who is connected stays so; ovs-vsctl can do nothing until ovsdb-server is started again."""
    (site.directory / "db.sock").unlink()
    if not site.picture()["database"]["connected"]:
        raise WrongError("the agent lost a connection of which only the name was removed")
    site.kill_ovsdb()
    site.start_ovsdb()


FAULTS = (
    Fault("server port's socket removed", server_socket_removed, (NEIGHBOURS,),
          "c to s, while the guest starts again"),
    Fault("control socket removed", control_socket_removed, BOTH, "nothing"),
    Fault("database's socket removed", database_socket_removed, BOTH, "nothing"),
)
