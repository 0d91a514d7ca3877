"""In place of ovs-vswitchd or beside it, and all that differs between the two: pure."""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.model import BridgeRow, Snapshot


@dataclass(frozen=True, slots=True)
class Role:
    """What of a database an agent serves, reads and writes."""

    name: str
    lock: str                       # of OVSDB: one process has it
    rival: str                      # what another process with that lock is
    datapath_type: str              # of the bridges that are served
    prefix: str = ""                # of the keys of Open_vSwitch.other_config that are read
    # Whether another daemon has the rest of the database: bridges of other types are not looked
    # at, the Open_vSwitch row is not written, and DPDK starts unless dpdk-init says false.
    beside: bool = False
    file_prefix: str = ""           # of DPDK's files; empty: DPDK's own
    leaves: str = ""                # datapath_type of bridges that another role serves

    def owns(self, datapath_type: str) -> bool:
        """Whether rows of bridges of this type are the role's to write."""
        return datapath_type == self.datapath_type if self.beside else datapath_type != self.leaves

    def view(self, snapshot: Snapshot) -> Snapshot:
        """What the role sees of the database; keys of other_config lose their prefix."""
        bridges = tuple(b for b in snapshot.bridges if self.owns(b.datapath_type))
        others = [b for b in snapshot.bridges if b.datapath_type != self.datapath_type]
        named = taps(b for b in snapshot.bridges if b.datapath_type == self.datapath_type)
        snapshot = replace(
            snapshot, taps_elsewhere=taps(others), taps_shared={
                row.name: b.name for b in others if named
                for row in b.interfaces if row.name in named})
        if not self.beside:
            return replace(snapshot, bridges=bridges, apart=tuple(
                b.name for b in snapshot.bridges if b.datapath_type == self.leaves))
        return replace(
            snapshot, next_cfg=0, bridges=bridges, other_config=self.config(snapshot.other_config))

    def config(self, other_config: Mapping[str, str]) -> dict[str, str]:
        """Open_vSwitch.other_config as the role has it."""
        if not self.beside:
            return dict(other_config)
        return {"dpdk-init": "true", **self.settings(other_config)}

    def settings(self, other_config: Mapping[str, str]) -> dict[str, str]:
        """What the role reads of Open_vSwitch.other_config; keys lose their prefix."""
        return {key.removeprefix(self.prefix): text for key, text in other_config.items()
                if key.startswith(self.prefix)}


def taps(bridges: Iterable[BridgeRow]) -> frozenset[str]:
    """Names of taps that last, which ports of these ask for."""
    from agent.host_model import TAP  # not at the top: as in ovsdb.py

    return frozenset(row.options["tap-name"] for bridge in bridges for row in bridge.interfaces
                     if row.type == TAP and row.options.get("tap-name"))


VSWITCHD = Role("vswitchd", "ovs_vswitchd", "ovs-vswitchd", "netdev", leaves="vhost")
COMPANION = Role("companion", "ovs_vhost_agent", "companion", "vhost", prefix="vhost-agent-",
                 beside=True, file_prefix="vhost-agent")
ROLES = {role.name: role for role in (VSWITCHD, COMPANION)}


def usual(snapshot: Snapshot | None) -> Role:
    """That a database is made for, of the whole of it or VSWITCHD's view: the companion, if one of
    the bridges is its own."""
    if snapshot is None:
        return VSWITCHD
    own = snapshot.apart or any(COMPANION.owns(b.datapath_type) for b in snapshot.bridges)
    return COMPANION if own else VSWITCHD
