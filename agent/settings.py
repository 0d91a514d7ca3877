"""What the command line and the environment say, parsed once; nothing else reads them."""
from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agent import remotes
from agent.remotes import Listen, TlsFiles
from agent.role import ROLES, VSWITCHD, Role

# Where Debian's and Fedora's Open vSwitch packages keep things; python-ovs's own defaults are
# those of a build from source.
RUNDIR = "/var/run/openvswitch"
LOGDIR = "/var/log/openvswitch"
PKGDATADIR = "/usr/share/openvswitch"

PROGRAM = "vhost-agent"
# Of the agent that vhost-agent.service runs: its user may not write to RUNDIR.
PACKAGED_RUNDIR = "/run/vhost-agent"
PACKAGED_CONTROL = f"{PACKAGED_RUNDIR}/vhost-agent.ctl"
INSTALLED = "/lib/ovs-vhost-agent"      # the program, below a prefix
DEFAULT_FILE = ""               # --pidfile or --log-file without a name


@dataclass(frozen=True, slots=True)
class Settings:
    """One run of the agent."""

    name: str                   # program name: of the pid file, log file and control socket
    remote: str                 # OVSDB server, or several of a cluster separated by commas
    rundir: str
    logdir: str
    standalone: Path | None     # directory of the agent's own database
    schema_file: Path           # of OVS's database, for standalone
    role: Role = VSWITCHD
    detach: bool = False
    chdir: bool = True
    monitor: bool = False
    pidfile: str | None = None  # None: no pid file; DEFAULT_FILE: the usual one
    overwrite_pidfile: bool = False
    log_file: str | None = None
    verbose: tuple[str, ...] = ()
    unixctl: str | None = None
    mlockall: bool = False
    metrics: Listen | None = None   # where they are served; None: nowhere
    tls: TlsFiles = field(default_factory=TlsFiles)

    @property
    def control(self) -> str:
        """The control socket, of this process."""
        file = self.unixctl or f"{self.name}.{os.getpid()}.ctl"
        return os.path.join(self.rundir, file)


def default_standalone_dir(environment: Mapping[str, str]) -> Path:
    """OVS_DBDIR, else the user's state directory (XDG): the database survives a reboot."""
    if database := environment.get("OVS_DBDIR"):
        return Path(database)
    state = environment.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(state) / "vhost-agent"


def rundir(environment: Mapping[str, str]) -> str:
    """Where sockets and pid files are."""
    return environment.get("OVS_RUNDIR") or RUNDIR


def companion_rundir(asked: str) -> str:
    """Where a companion's sockets are for who has run directory 'asked': one that
    vhost-agent.service runs has its own."""
    packaged = asked == RUNDIR and os.path.exists(PACKAGED_CONTROL)
    return PACKAGED_RUNDIR if packaged else asked


def installed_prefix() -> str:
    """Below which the package ("/usr") or `make install` put this program; empty: in neither
    way."""
    program = str(Path(__file__).parents[1])
    return program.removesuffix(INSTALLED) if program.endswith(INSTALLED) else ""


def settings(environment: Mapping[str, str], *, name: str, where: str | None, standalone: bool,
             role: str, pidfile: str | None, log_file: str | None, unixctl: str | None,
             verbose: tuple[str, ...], detach: bool, chdir: bool, monitor: bool,
             mlockall: bool, overwrite_pidfile: bool, private_key: str | None,
             certificate: str | None, ca_cert: str | None, metrics: str | None) -> Settings:
    """Settings of a run; 'where' is the positional argument: a remote, or with --standalone a
    directory. Raises RemoteError."""
    run_directory = rundir(environment)
    logdir = environment.get("OVS_LOGDIR") or LOGDIR
    directory = None
    if standalone:
        directory = Path(where) if where else default_standalone_dir(environment)
        directory = directory.absolute()
        run_directory = logdir = str(directory)
    remote = where if where and not standalone else f"unix:{run_directory}/db.sock"
    tls = TlsFiles(absolute(private_key), absolute(certificate), absolute(ca_cert))
    remotes.check(remote, tls)
    listen = remotes.listen("--metrics", metrics) if metrics is not None else None
    if log_file == DEFAULT_FILE:
        log_file = f"{logdir}/{name}.log"
    return Settings(
        name=name, remote=remote, rundir=run_directory, logdir=logdir, standalone=directory,
        schema_file=Path(environment.get("OVS_PKGDATADIR") or PKGDATADIR) / "vswitch.ovsschema",
        role=ROLES[role], detach=detach, chdir=chdir, monitor=monitor, pidfile=pidfile,
        overwrite_pidfile=overwrite_pidfile, verbose=verbose, unixctl=unixctl,
        mlockall=mlockall, log_file=absolute(log_file), metrics=listen, tls=tls)


def absolute(file: str | None) -> str | None:
    """A daemon changes its directory."""
    return None if file is None else str(Path(file).absolute())
