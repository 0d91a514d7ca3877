"""All that doctor knows, and all that it says of that: pure."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from agent import (
    check_cpus,
    check_daemons,
    check_database,
    check_dpdk,
    check_kernel,
    check_limits,
    check_memory,
    check_programs,
    check_sockets,
)
from agent.check_sockets import Qemu
from agent.database_values import DatabaseFacts
from agent.dpdk_values import DpdkFacts
from agent.finding import Finding, unseen
from agent.host_values import Daemon, FileFacts, HostFacts, PciDevice, Process, Program, User
from agent.hostconfig import host_config
from agent.model import Desired, PortSpec
from agent.role import COMPANION, ROLES, VSWITCHD, Role, usual
from agent.validate import desired


@dataclass(frozen=True, slots=True)
class Facts:
    """What was seen. None: it could not be looked at, and 'missed' says why."""

    me: Process
    rundir: str
    role_name: str | None = None                # that was asked for
    prefix: str = ""                            # below which the program is installed, if it is
    dpdk: DpdkFacts | None = None
    host: HostFacts | None = None
    database: DatabaseFacts | None = None
    daemons: tuple[Daemon, ...] | None = None
    found_control: str = ""                     # of the agent that commands find by themselves
    programs: tuple[Program, ...] | None = None
    qemus: tuple[Process, ...] = ()
    libvirt_user: User | None = None            # whom libvirt starts QEMU as
    files: Mapping[str, FileFacts] = field(default_factory=dict)
    devices: Mapping[str, PciDevice] = field(default_factory=dict)
    missed: Mapping[str, str] = field(default_factory=dict)     # what: why

    @property
    def role(self) -> Role:
        """That was asked for, or that of an agent that runs, or else the one that is wanted by what
        else runs, and by the database."""
        if self.role_name is not None:
            return ROLES[self.role_name]
        daemons = self.daemons or ()
        if runs := check_daemons.agents(daemons):
            return check_daemons.role_of(runs[0])
        if check_daemons.vswitchds(daemons):
            return COMPANION
        return usual(self.database.snapshot if self.database is not None else None)

    @property
    def agent(self) -> Process | None:
        """Of the role, that runs."""
        return check_daemons.running(self.daemons or (), self.role)

    @property
    def target(self) -> str:
        """What names the agent to commands that do not find it by themselves."""
        return check_daemons.target(self.daemons or (), self.role, self.found_control)

    @property
    def agent_user(self) -> User | None:
        """Whom the agent runs as, or would if it was started like this."""
        return (self.agent or self.me).user


def wanted(database: DatabaseFacts | None, host: HostFacts | None, rundir: str,
           role: Role = VSWITCHD) -> Desired:
    """What the database asks an agent of the role for: of its own rules, on a host with DPDK."""
    if database is None or database.snapshot is None or host is None:
        return Desired()
    view = replace(role.view(database.snapshot), apart=())
    config = host_config(view.other_config, rundir=rundir, numa_cores=host.numa_cores,
                         dpdk_initialized=True, role=role)
    return desired(view, config, dict)


def socket_paths(database: DatabaseFacts | None, ports: Desired, devices: Mapping[str, PciDevice]
                 ) -> list[str]:
    """Files that checks need to know of."""
    specs = list(ports.ports.values())
    own = [database.socket] if database is not None and database.socket else []
    return [*own, *check_sockets.paths(specs),
            *check_kernel.device_files(specs, [d.iommu_group for d in devices.values()])]


def findings(facts: Facts) -> list[Finding]:
    """All that there is to say."""
    ports = wanted(facts.database, facts.host, facts.rundir, facts.role)
    specs = list(ports.ports.values())
    said = [unseen(what, why) for what, why in facts.missed.items()]
    if facts.dpdk is not None:
        said += check_dpdk.check(facts.dpdk, facts.prefix)
    said += of_database(facts, ports)
    if facts.daemons is not None:
        said += check_daemons.check(facts.daemons, len(specs), facts.role, facts.prefix)
    if facts.host is not None:
        said += of_host(facts, facts.host, ports, specs)
    said += check_limits.check(specs, facts.agent or facts.me, facts.agent is not None)
    said += of_guests(facts, specs)
    if facts.programs is not None:
        kernel = facts.host.kernel if facts.host is not None else HostFacts().kernel
        said += check_programs.check(facts.programs, specs, kernel)
    return said


def of_database(facts: Facts, ports: Desired) -> list[Finding]:
    if facts.database is None or facts.me.user is None:
        return []
    agent = facts.agent.user if facts.agent is not None else None
    said = check_database.check(facts.database, facts.files, facts.me.user, agent)
    if facts.database.snapshot is not None:
        said += check_database.rows(facts.database, ports, facts.agent is not None, facts.role,
                                    facts.target)
    return said


def of_host(facts: Facts, host: HostFacts, ports: Desired, specs: list[PortSpec]
            ) -> list[Finding]:
    other_config = {}
    if facts.database is not None and facts.database.snapshot is not None:
        other_config = dict(facts.role.view(facts.database.snapshot).other_config)
    process = facts.agent or facts.me
    main = min(process.cores, default=0)
    main_node = next((node.number for node in host.nodes if main in node.cores), 0)
    prefix = facts.role.prefix
    said = check_memory.check(specs, other_config, host.nodes, len(host.cpus.online), main_node,
                              facts.agent, prefix)
    said += check_cpus.check(
        ports.pmds, host.cpus, host.nodes, process.cpuset or host.cpus.online,
        mask_is_set=bool(other_config.get("pmd-cpu-mask")), prefix=prefix)
    if facts.agent_user is not None:
        said += check_kernel.check(specs, host.kernel, facts.files, facts.devices,
                                   facts.dpdk or DpdkFacts(), facts.agent_user)
    return said


def of_guests(facts: Facts, specs: list[PortSpec]) -> list[Finding]:
    paths = check_sockets.paths(specs)
    said = list(check_memory.guests(facts.qemus, paths))
    qemus = [Qemu(qemu.user, qemu.words) for qemu in facts.qemus if qemu.user is not None
             and any(path in word for path in paths for word in qemu.words)]
    if facts.libvirt_user is not None:
        qemus.append(Qemu(facts.libvirt_user))
    if facts.agent_user is not None:
        said += check_sockets.check(specs, facts.files, facts.agent_user, qemus, facts.role.prefix)
    return said
