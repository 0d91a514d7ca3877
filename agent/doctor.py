"""`vhost-agent doctor`: looks at all that a host needs, changes nothing, and does not hang."""
from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from threading import Thread
from typing import Any

import click

from agent import (
    check_kernel,
    database_facts,
    doctor_facts,
    doctor_text,
    dpdk_files,
    host_facts,
    process_facts,
)
from agent.doctor_facts import Facts
from agent.finding import exit_status
from agent.host_values import Daemon
from agent.remotes import TlsFiles
from agent.settings import companion_rundir, installed_prefix

LIMIT_S = 30.0                  # for each of the two looks: the first, and at files it led to


@dataclass(frozen=True, slots=True)
class Place:
    """Where the database is, and the agent's run directory."""

    remote: str
    tls: TlsFiles
    rundir: str


def run(place: Place, role: str | None, as_json: bool, verbose: bool) -> int:
    """Prints what is found; the exit status."""
    found = doctor_facts.findings(gather(place, role))
    if as_json:
        click.echo(doctor_text.json_text(found))
    else:
        eyes = sys.stdout.isatty() and (sys.stdout.encoding or "").lower().startswith("utf")
        click.echo(doctor_text.text(found, verbose, eyes))
    return exit_status(found)


def gather(place: Place, role: str | None) -> Facts:
    """All facts that come in time."""
    companions = companion_rundir(place.rundir)
    facts = Facts(process_facts.this_process(), place.rundir, role, installed_prefix())
    found, missed = within(LIMIT_S, {
        "DPDK": dpdk_files.gather,
        "the host": host_facts.gather,
        # one after the other, for python-ovs is made for one thread
        "the database and its daemons": lambda: (
            database_facts.gather(place.remote, place.tls), daemons(place.rundir, companions),
            process_facts.found_control(place.rundir)),
        "QEMU and libvirt": lambda: (
            process_facts.programs(), tuple(process_facts.qemus()), process_facts.libvirt_user()),
    })
    database, (running, no_daemons), control = found.get(
        "the database and its daemons", (None, (None, ""), ""))
    programs, qemus, user = found.get("QEMU and libvirt", (None, (), None))
    if no_daemons:
        missed["daemons"] = no_daemons
    facts = replace(facts, dpdk=found.get("DPDK"), host=found.get("the host"), database=database,
                    daemons=running, found_control=control, programs=programs, qemus=qemus,
                    libvirt_user=user)
    if facts.role.beside:
        facts = replace(facts, rundir=companions)
    found, more = within(LIMIT_S, {"files and devices of ports": lambda: of_ports(facts)})
    files, devices = found.get("files and devices of ports", ({}, {}))
    if more:                    # nothing can be said of ports then
        facts = replace(facts, database=None, role_name=facts.role.name)
    return replace(facts, files=files, devices=devices, missed=missed | more)


def daemons(*rundirs: str) -> tuple[Any, str]:
    """Those of the run directories, or why they cannot be seen."""
    found: tuple[Daemon, ...] = ()
    for rundir in dict.fromkeys(rundirs):
        try:
            found += process_facts.daemons(rundir)
        except FileNotFoundError:
            pass
        except OSError as e:
            return None, f"{rundir}: {e.strerror}"
    return found, ""


def of_ports(facts: Facts) -> tuple[Any, Any]:
    ports = doctor_facts.wanted(facts.database, facts.host, facts.rundir, facts.role)
    devices = {address: host_facts.pci_device(address)
               for address in check_kernel.pci_addresses(list(ports.ports.values())).values()}
    paths = doctor_facts.socket_paths(facts.database, ports, devices)
    return host_facts.files(paths), devices


def within(limit_s: float, tasks: Mapping[str, Callable[[], Any]]
           ) -> tuple[dict[str, Any], dict[str, str]]:
    """What tasks return that end in time, and why others are missing. One that hangs, as in a dead
    file system, is left behind, and keeps nobody from ending the program."""
    found: dict[str, Any] = {}
    failed: dict[str, str] = {}

    def perform(name: str, task: Callable[[], Any]) -> None:
        try:
            found[name] = task()
        except Exception as e:
            failed[name] = f"{type(e).__name__}: {e}"
    threads = {name: Thread(target=perform, args=(name, task), daemon=True)
               for name, task in tasks.items()}
    for thread in threads.values():
        thread.start()
    due = time.monotonic() + limit_s
    for name, thread in threads.items():
        thread.join(max(0.0, due - time.monotonic()))
        if thread.is_alive():
            failed[name] = f"no answer within {limit_s:g} s"
    return {name: found[name] for name in tasks if name in found and name not in failed}, failed
