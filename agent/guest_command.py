"""`vhost-agent qemu-args` and `vhost-agent libvirt-xml`: asks the database for ports and prints
what their guest needs."""
from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from agent import ask, guest_nic
from agent.ask import AskError
from agent.guest_nic import GuestRow, Nic, Question
from agent.hostconfig import HostConfig
from agent.model import InterfaceRow
from agent.refusal import PortError
from agent.role import COMPANION, ROLES, VSWITCHD
from agent.select_rows import plain, uuids
from agent.settings import companion_rundir

COLUMNS = ["_uuid", "name", "type", "options", "mtu_request", "external_ids", "error"]


def say(text: str) -> None:
    print(f"vhost-agent: {text}", file=sys.stderr, flush=True)


def run(question: Question, render: Callable[[Sequence[Nic]], str]) -> int:
    """Prints what 'render' makes of the ports' devices; the exit status."""
    try:
        text = render(find_nics(question))
    except (AskError, PortError) as e:
        say(str(e))
        return 1
    print(text, end="")
    return 0


def find_nics(question: Question) -> list[Nic]:
    """The device for each port, in their order; what of its row could not be used is said. Raises
    AskError and PortError."""
    configs, rows = read(question)
    made: dict[str, tuple[Nic, list[str]]] = {}
    for port in question.ports:
        if port not in rows:
            raise PortError(f"no port {port} is in the database: 'ovs-vsctl show' lists ports")
        if port in made:
            raise PortError(f"port {port} is named twice: it has one guest, with one device")
        made[port] = guest_nic.nic(rows[port], configs[port], question.wish)
    for port, (_, problems) in made.items():
        for problem in problems:
            say(f"port {port}: {problem}")
    return [nic for nic, _ in made.values()]


def read(question: Question) -> tuple[dict[str, HostConfig], dict[str, GuestRow]]:
    """Settings for each port, and the rows of those that there are. Raises AskError."""
    root, companions, ports, *found = ask.transact(
        question.remote, question.tls,
        {"op": "select", "table": "Open_vSwitch", "where": [], "columns": ["other_config"]},
        {"op": "select", "table": "Bridge", "columns": ["ports"],
         "where": [["datapath_type", "==", COMPANION.datapath_type]]},
        {"op": "select", "table": "Port", "where": [], "columns": ["_uuid", "name"]},
        *({"op": "select", "table": "Interface", "where": [["name", "==", port]],
           "columns": COLUMNS} for port in question.ports))
    other_config: dict[str, str] = next((plain(row["other_config"]) for row in root["rows"]), {})
    rows = [guest_row(row) for result in found for row in result["rows"]]
    theirs = {uuid for row in companions["rows"] for uuid in uuids(row["ports"])}
    companion = {row["name"] for row in ports["rows"] if plain(row["_uuid"]) in theirs}
    rundirs = {VSWITCHD: question.rundir, COMPANION: companion_rundir(question.rundir)}
    configs = {role: guest_nic.host_config(other_config, rundirs[role], role)
               for role in ROLES.values()}
    return ({port: configs[COMPANION if port in companion else VSWITCHD]
             for port in question.ports},
            {found.row.name: found for found in rows})


def guest_row(row: dict[str, Any]) -> GuestRow:
    """A row as select gives it."""
    columns = {name: plain(value) for name, value in row.items()}
    return GuestRow(
        InterfaceRow(uuid=columns["_uuid"], name=columns["name"], type=columns["type"],
                     options=columns["options"], mtu_request=columns["mtu_request"]),
        columns["external_ids"].get("attached-mac"), columns["error"] or "")
