"""`vhost-agent explain`: asks the agent, and the database where there is none."""
from __future__ import annotations

from typing import Any

from agent import appctl, ask, remotes
from agent.appctl import NoAgentError, RefusedError
from agent.ask import AskError
from agent.guest_command import say
from agent.options import shown
from agent.remotes import RemoteError, TlsFiles
from agent.select_rows import plain
from agent.table import printable

COLUMNS = ["name", "type", "error", "status", "link_state", "admin_state"]


def run(port: str, target: str, rundir: str, remote: str) -> int:
    """Prints the answer; the exit status."""
    try:
        print(appctl.call(appctl.control_socket(target, rundir), "vhost/explain", [port]), end="")
    except RefusedError as e:
        say(str(e))
        return 1
    except NoAgentError as e:
        say(f"{e}; what follows is what the database has, and may be of the past")
        return from_database(port, remote)
    return 0


def from_database(port: str, remote: str) -> int:
    tls = TlsFiles(None, None, None)
    try:
        remotes.check(remote, tls)
        (found,) = ask.transact(remote, tls, {
            "op": "select", "table": "Interface", "where": [["name", "==", port]],
            "columns": COLUMNS})
    except (AskError, RemoteError) as e:
        say(str(e))
        return 1
    if not found["rows"]:
        say(f"no port {shown(port)} is in the database: 'ovs-vsctl show' lists ports")
        return 1
    print(printable(sentence({name: plain(value) for name, value in found["rows"][0].items()})))
    return 1


def sentence(row: dict[str, Any]) -> str:
    """What an Interface row says of its port."""
    name, status = row["name"], row["status"] or {}
    if row["error"]:
        return f"{name} was not served: {row['error']}"
    said = [status[key] for key in ("reason", "problems", "pending") if key in status]
    how = row["link_state"] or "without a link"
    return f"{name} was {how}" + (f": {'; '.join(said)}" if said else "")
