"""What systemd does with a unit, for a host without it: its directories, user, capabilities,
environment and commands. What it hides of the host and which system calls it lets through is seen
where systemd is (test_systemd.py)."""
from __future__ import annotations

import re
import resource
import shlex
from collections import defaultdict

CAPABILITY = "CAP_"


def settings(text: str) -> dict[str, list[str]]:
    """Values of each setting of a unit file, in their order."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if match := re.fullmatch(r"(\w+)=(.*)", line):
            found[match[1]].append(match[2])
    return found


def script(text: str, options: str = "", without: str = "") -> str:
    """A shell script that does as the unit says, with 'options' in place of those of the default
    file, and without the capability 'without'. It ends as the unit's main process."""
    unit = settings(text)
    user, group = unit["User"][0], unit["Group"][0]
    kept = [word.removeprefix(CAPABILITY).lower() for word in unit["AmbientCapabilities"][0].split()
            if word != without]
    assert unit["CapabilityBoundingSet"] == unit["AmbientCapabilities"]
    capabilities = ",".join(["-all", *(f"+{word}" for word in kept)])
    (default,) = unit["EnvironmentFile"]
    given = f"VHOST_AGENT_OPTS={shlex.quote(options)}" if options else f". {default.lstrip('-')}"
    lines = [f"install -d -o {user} -g {group} -m {mode} {directory}" for directory, mode in (
        (f"/run/{unit['RuntimeDirectory'][0]}", "0755"),
        (f"/var/log/{unit['LogsDirectory'][0]}", unit["LogsDirectoryMode"][0]))]
    lines.append(f"export RUNTIME_DIRECTORY=/run/{unit['RuntimeDirectory'][0]}")
    lines += [command.lstrip("+") for command in unit["ExecStartPre"]]
    lines += [given, f"export {' '.join(unit['Environment'])}"]
    lines.append(
        f"exec prlimit --nofile={at_most(resource.RLIMIT_NOFILE, unit['LimitNOFILE'][0])} "
        f"--memlock={at_most(resource.RLIMIT_MEMLOCK, unit['LimitMEMLOCK'][0])} "
        f"setpriv --reuid={user} --regid={group} --init-groups --no-new-privs "
        f"--inh-caps={capabilities} --ambient-caps={capabilities} --bounding-set={capabilities} "
        f"{unit['ExecStart'][0]}")
    return "\n".join(lines)


def at_most(kind: int, wanted: str) -> str:
    """The limit, or what this host lets a process have of it."""
    number = resource.RLIM_INFINITY if wanted == "infinity" else int(wanted)
    hard = resource.getrlimit(kind)[1]
    if hard == resource.RLIM_INFINITY or -1 < number < hard:
        return "unlimited" if number == resource.RLIM_INFINITY else wanted
    return str(hard)
