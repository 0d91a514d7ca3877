"""Sockets of vhost-user ports, of their rows: pure."""
from __future__ import annotations

from collections.abc import Collection, Mapping

import schema
from agent import accessconfig, hostconfig
from agent.access import AS_MADE, SocketAccess
from agent.hostconfig import HostConfig
from agent.model import (
    CLIENT_TYPE,
    SERVER_TYPE,
    TSO_OFF,
    TSO_ON,
    VHOST_TYPES,
    InterfaceRow,
    PortSpec,
    Registration,
)
from agent.options import Texts, shown, unknown, using, value, without_effect
from agent.refusal import NO_DEVICE, NO_OFPORT, PortError
from agent.vduse import VDUSE_DIR, is_vduse, named

PATH_MAX_BYTES = 107            # sun_path less its final zero; the vhost library cuts silently
# Options of Ethernet devices that a guest decides about here: status:reason has where it differs.
GUEST_DECIDES = ("n_rxq", "n_rxq_desc", "n_txq_desc")
# Options of server ports' sockets.
QEMU_DECIDES = dict.fromkeys(accessconfig.KEYS, "QEMU makes the socket of this type of port")


def check_length(row: InterfaceRow, path: str) -> None:
    size = len(path.encode())
    if size > PATH_MAX_BYTES:
        raise PortError(
            NO_DEVICE.format(row.name, "File name too long")
            + f": socket path {shown(path)} has {size} bytes, a UNIX socket can have "
            f"{PATH_MAX_BYTES}")


def unused(row: InterfaceRow, known: Collection[str], decided: Mapping[str, str]) -> list[str]:
    """A sentence for each option that does nothing; 'decided' are those of others that somebody
    else decides about, and who."""
    said = [f"{key}: has no effect: {why}" for key, why in decided.items() if key in row.options]
    for key in GUEST_DECIDES:
        o = schema.option("Interface", "options", key)
        if problem := value(o, row.options.get(key))[1]:
            said.append(problem.removesuffix(using(o)))
    said += unknown(row.options.keys() - {*decided, *GUEST_DECIDES}, "Interface", "options", known,
                    f"type {row.type}")
    said += without_effect(row.options, "Interface", "options")
    return said


def client(row: InterfaceRow, config: HostConfig) -> tuple[Registration | None, list[str]]:
    """The socket of a client port, None while it has none yet; and what could not be used."""
    known = [o.key for o in schema.options_of("Interface", "options", CLIENT_TYPE)]
    texts = Texts({key: text for key, text in row.options.items() if key in known},
                  "Interface", "options")
    path = texts.text("vhost-server-path")
    check_length(row, path)
    iommu, postcopy = (texts.boolean("vhost-iommu-support"),
                       hostconfig.postcopy(texts, config.fills_memory))
    pairs = texts.integer("vhost-max-queue-pairs")
    if is_vduse(path):
        if not named(path):
            raise PortError(NO_OFPORT.format(row.name, "Invalid argument")
                            + f": {shown(path)} is no VDUSE device: {VDUSE_DIR} and a name without "
                            "'/', which is not control")
    else:
        if path and texts.text("vhost-max-queue-pairs"):
            texts.complain("vhost-max-queue-pairs", "only a VDUSE device (a path under "
                           f"{VDUSE_DIR}) has it; here the guest decides")
        pairs = 1
    said = [problem for _, problem in texts.problems]
    said += unused(row, known, QEMU_DECIDES)
    if not path:
        said.append("vhost-server-path is not set: the port has no socket yet")
        return None, said
    if not path.startswith("/"):
        said.append(f"vhost-server-path: {shown(path)} is looked for in the directory that the "
                    "agent runs in: better begin it with /")
    return Registration(path, True, config.iommu if iommu is None else iommu,
                        config.postcopy if postcopy is None else postcopy, pairs,
                        TSO_ON if config.tso else TSO_OFF), said


def server(row: InterfaceRow, config: HostConfig) -> tuple[Registration | None, list[str]]:
    """The socket of a server port, and which options it does not have."""
    if "/" in row.name or "\\" in row.name:
        raise PortError(NO_DEVICE.format(row.name, "Invalid argument")
                        + f": the name of a {SERVER_TYPE} port names its socket: no '/', no '\\'")
    path = f"{config.socket_dir}/{row.name}"
    check_length(row, path)
    registration = Registration(path, False, tso=TSO_ON if config.tso else TSO_OFF)
    known = [o.key for o in schema.options_of("Interface", "options", SERVER_TYPE)]
    return registration, unused(row, known, {})


def asked(row: InterfaceRow) -> tuple[tuple[str, int], ...]:
    """What the row says of queues and rings, which a guest of these ports decides about."""
    if row.type not in VHOST_TYPES:
        return ()
    found = {key: value(schema.option("Interface", "options", key), row.options[key])
             for key in GUEST_DECIDES if key in row.options}
    return tuple((key, number) for key, (number, problem) in found.items()
                 if problem is None and isinstance(number, int))


def access(row: InterfaceRow, config: HostConfig, before: PortSpec | None
           ) -> tuple[SocketAccess, list[str]]:
    """Who may connect to the socket of a port, and what could not be used: then all is as it was
    'before'."""
    if row.type != SERVER_TYPE:
        return AS_MADE, []
    texts = Texts(row.options, "Interface", "options")
    found = accessconfig.access(texts, config.access,
                                AS_MADE if before is None else before.access)
    return found, [problem for _, problem in texts.problems]
