"""Patch ports, of their rows: pure."""
from __future__ import annotations

from collections.abc import Mapping

import schema
from agent.hostconfig import HostConfig
from agent.model import PATCH_TYPE, InterfaceRow, PatchDevice, PortSpec
from agent.options import Texts, unknown
from agent.refusal import PortError
from agent.shell import quoted


def patch(row: InterfaceRow, config: HostConfig) -> tuple[PatchDevice, list[str]]:
    """The device of a patch port and what could not be used; PortError without a usable peer, in
    the words of Open vSwitch (set_patch_config)."""
    known = [o.key for o in schema.options_of("Interface", "options", PATCH_TYPE)]
    texts = Texts(row.options, "Interface", "options")
    peer = texts.text("peer")
    if not peer:
        raise PortError(f"{row.name}: patch type requires valid 'peer' argument: the name of the "
                        f"patch port at the other end (ovs-vsctl set Interface {quoted(row.name)} "
                        "options:peer=NAME)")
    if peer == row.name:
        raise PortError(f"{row.name}: patch peer must not be self")
    said = list(unknown(row.options, "Interface", "options", known, f"type {PATCH_TYPE}"))
    if row.mtu_request is not None:
        said.append(f"mtu_request: has no effect on type {PATCH_TYPE}: it has no MTU")
    return PatchDevice(peer), said


def peer_of(spec: PortSpec, specs: Mapping[str, PortSpec]) -> str | None:
    """The port at the other end: the one that is named, when it is a patch port that names this
    one in turn."""
    if not isinstance(spec.device, PatchDevice):
        return None
    other = specs.get(spec.device.peer)
    if other is None or other.device != PatchDevice(spec.name):
        return None
    return other.name


def missing_peer(spec: PortSpec, specs: Mapping[str, PortSpec]) -> str | None:
    """Why a patch port leads nowhere; None when it does not."""
    if not isinstance(spec.device, PatchDevice) or peer_of(spec, specs) is not None:
        return None
    name = spec.device.peer
    other = specs.get(name)
    if other is None:
        return f"peer {name}: no such port is served: what is sent here is dropped"
    if not isinstance(other.device, PatchDevice):
        return f"peer {name} is not a patch port: what is sent here is dropped"
    return f"peer {name} has another peer, {other.device.peer}: what is sent here is dropped"
