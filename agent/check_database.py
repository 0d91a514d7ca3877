"""Whether the database can be reached and is fit, and what is wrong with its rows: pure."""
from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from agent.database_values import DatabaseFacts, Told
from agent.finding import ERROR, INFO, OK, WARNING, Finding
from agent.host_values import SEARCH, WRITE, FileFacts, User
from agent.model import ETH_TYPE, VHOST_TYPES, BridgeRow, Desired
from agent.reach import CLOSED, MISSING, obstacle, opening
from agent.role import VSWITCHD, Role
from agent.shell import argument, is_plain, quoted

STARTED = ("true", "try")
KEY = re.compile(r"([\w-]+): ")
COMMAND = re.compile(r"\(((?:ovs-vsctl|modprobe|vdpa) (?:[^()']|'[^']*')+)\)$")
SOME = 5                            # of many ports that a title repeats


def check(facts: DatabaseFacts, files: Mapping[str, FileFacts], me: User, agent: User | None
          ) -> list[Finding]:
    """Reaching it. 'me' is who asked, 'agent' whom a running agent runs as; 'files' has its socket
    and what leads there."""
    found = list(permission(facts, files, agent)) if agent is not None else []
    if facts.error:
        return [*found, *unreachable(facts, files, me, agent)]
    return [*found, Finding("database", OK, f"{facts.remote} answers"), *schema(facts)]


def unreachable(facts: DatabaseFacts, files: Mapping[str, FileFacts], me: User,
                agent: User | None) -> Iterator[Finding]:
    why = "all that ports are is in the database; they cannot be looked at either"
    path = facts.socket
    stop = obstacle(files, path, me, WRITE) if path is not None and path in files else None
    if stop is not None and stop.kind == CLOSED:
        other = f"; the agent runs as {agent.name}" if agent is not None else ""
        yield Finding("database-not-seen", WARNING, f"{stop.text}, the database's socket{other}",
                      why, "sudo vhost-agent doctor")
    elif stop is not None and stop.kind == MISSING:
        yield Finding("database-unreachable", ERROR, f"{stop.text}: no ovsdb-server has a socket "
                      "there", why, "systemctl start ovsdb-server    # or ovs-ctl start "
                      "--no-ovs-vswitchd; another place: --db, OVS_RUNDIR")
    elif "timed out" in facts.error.lower() or "no answer" in facts.error:
        yield Finding("database-silent", ERROR, f"the database does not answer: {facts.error}",
                      f"ovsdb-server hangs, or was stopped; {why}",
                      "systemctl restart ovsdb-server")
    else:
        yield Finding("database-unreachable", ERROR, f"the database cannot be reached: "
                      f"{facts.error}", why, "systemctl restart ovsdb-server")


def permission(facts: DatabaseFacts, files: Mapping[str, FileFacts], agent: User
               ) -> Iterator[Finding]:
    path = facts.socket
    stop = obstacle(files, path, agent, WRITE) if path in files and path else None
    if stop is not None and stop.kind == CLOSED:
        yield Finding("database-closed", ERROR, f"{stop.text}, the database's socket",
                      f"the agent runs as {agent.name}: it cannot reach the database again when "
                      "the connection is lost",
                      opening(stop, agent, WRITE if stop.at == path else SEARCH))


def schema(facts: DatabaseFacts) -> Iterator[Finding]:
    version = facts.schema_version
    if facts.snapshot is None and not facts.lacks:
        yield Finding("database-empty", WARNING, "the database has no Open_vSwitch row",
                      "the agent waits for one", "ovs-vsctl --no-wait init")
    elif facts.snapshot is None:
        yield Finding(
            "schema-unfit", ERROR, f"the database's schema {version} lacks what ports are made of",
            "it is none of Open vSwitch's, or much older",
            "ovsdb-client convert /usr/share/openvswitch/vswitch.ovsschema", facts.lacks)
    elif facts.lacks:
        yield Finding(
            "schema-old", INFO, f"the database's schema {version} lacks {', '.join(facts.lacks)}",
            "what these columns are about cannot be set or is not shown; the rest works. A newer "
            "Open vSwitch has them")
    else:
        yield Finding("schema", OK, f"the database's schema {version} has all that the agent uses")


# --- rows -----------------------------------------------------------------------------------------

def rows(facts: DatabaseFacts, desired: Desired, runs: bool, role: Role = VSWITCHD,
         target: str = "") -> list[Finding]:
    """What is wrong with rows. 'desired' is what an agent of the role makes of them; 'runs': one
    does; 'target' names it to commands that do not find it by themselves."""
    assert facts.snapshot is not None
    view = role.view(facts.snapshot)
    key = f"{role.prefix}dpdk-init"
    found = [*dpdk_init(view.other_config, view.bridges, key, key in facts.snapshot.other_config),
             *bridges(view.bridges, role.datapath_type), *settings(desired.problems)]
    errors = dict(desired.errors)
    ours = {row.name for bridge in view.bridges for row in bridge.interfaces
            if bridge.datapath_type == role.datapath_type}
    said_of = [told for told in facts.told if told.name in ours]
    if runs:
        errors |= {told.name: told.error for told in said_of if told.error}
    errors = {name: text for name, text in errors.items() if name in ours}
    for name, text in sorted(errors.items()):
        match = COMMAND.search(text)
        found.append(Finding("port-error", ERROR, f"port {name} is not served: {text}",
                             "nobody behind it is reached",
                             match[1] if match and is_plain(match[1]) else
                             f"ovs-vsctl list Interface {quoted(name)}     # and set what "
                             "the sentence says"))
    for name, spec in sorted(desired.ports.items()):
        own = [text for text in spec.problems if text not in desired.problems]
        if not runs and own:
            found.append(problem(name, "; ".join(own)))
    if runs:
        found += [finding for told in said_of if not told.error
                  for finding in said(told, desired.problems, target)]
    if desired.ports and not any(f.severity in (WARNING, ERROR) for f in found):
        number = len(desired.ports)
        found.append(Finding("ports", OK, f"{number} {'ports' if number > 1 else 'port'} of the "
                             "database without an error or a setting that cannot be used",
                             details=tuple(sorted(desired.ports))))
    return found


def dpdk_init(other_config: Mapping[str, str], bridges: Sequence[BridgeRow], key: str,
              is_set: bool) -> Iterator[Finding]:
    mode = other_config.get("dpdk-init", "").lower()
    needs = [row.name for bridge in bridges for row in bridge.interfaces
             if row.type in (*VHOST_TYPES, ETH_TYPE)]
    if mode in STARTED:
        yield Finding("dpdk-init", OK, f"other_config:{key} is " + (
            mode if is_set else "not set: DPDK starts by itself"))
    else:
        some = ", ".join(needs[:SOME]) + (", ..." if len(needs) > SOME else "")
        yield Finding(
            "dpdk-init-missing", ERROR if needs else WARNING,
            f"other_config:{key} is " + (f"'{mode}'" if mode else "not set"),
            "without DPDK no port is served" + (f", here {some}" if needs else ""),
            f"ovs-vsctl --no-wait set Open_vSwitch . other_config:{key}=true")


def bridges(found: Sequence[BridgeRow], datapath_type: str) -> Iterator[Finding]:
    for bridge in found:
        if bridge.datapath_type == datapath_type:
            continue
        kind = bridge.datapath_type or "system"
        ports = [row.name for row in bridge.interfaces if row.type in (*VHOST_TYPES, ETH_TYPE)]
        fix = f"ovs-vsctl set Bridge {quoted(bridge.name)} datapath_type={datapath_type}"
        if ports:
            yield Finding(
                "bridge-datapath", ERROR, f"bridge {bridge.name} has datapath_type {kind} and "
                f"ports for DPDK: {', '.join(ports[:SOME])}", "only bridges with datapath_type "
                f"{datapath_type} are served", fix)
        else:
            yield Finding("bridge-elsewhere", INFO, f"bridge {bridge.name} has datapath_type "
                          f"{kind}: the agent leaves it alone", "its ports have an error while an "
                          "agent takes ovs-vswitchd's place", fix)


def settings(problems: Sequence[str]) -> Iterator[Finding]:
    for text in problems:
        match = KEY.match(text)
        yield Finding("setting-unusable", WARNING, text,
                      "something else is in force than what the database says",
                      f"ovs-vsctl remove Open_vSwitch . other_config {match[1]}     # or another "
                      "value: docs/options.md has what is allowed" if match else
                      "ovs-vsctl list Open_vSwitch     # docs/options.md has what is allowed")


def said(told: Told, known: Sequence[str], target: str) -> Iterator[Finding]:
    """What the agent says of a port; 'known' has been said of all of them."""
    problems = told.problems
    for text in known:
        problems = problems.replace(text, "").replace("; ; ", "; ").strip("; ")
    if problems:
        yield problem(told.name, problems)
    if told.reason:
        half = told.link_state == "up"
        yield Finding("port-reason", WARNING if half else INFO, f"port {told.name}: {told.reason}",
                      "the port works in part" if half else "the port is down",
                      f"vhost-agent explain{target} {argument(told.name)}")


def problem(port: str, text: str) -> Finding:
    return Finding("port-problems", WARNING, f"port {port}: {text}",
                   "the port works, but otherwise than its row says",
                   f"ovs-vsctl list Interface {quoted(port)}     # docs/options.md has what "
                   "is allowed")
