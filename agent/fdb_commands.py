"""ovs-appctl commands about MAC tables."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from agent import control, fdb
from agent.command import CommandError
from agent.datapath import Datapath
from agent.model import BridgeSpec
from agent.reconcile import Reconciler

NOT_ADDED = "could not add static mac entry"


class FdbCommands:
    """Answers about the bridges that the data plane has. For the main thread only.

    'datapath' gives the data plane once there is one, 'ofports' each interface's bridge and number.
    """

    def __init__(self, reconciler: Reconciler, datapath: Callable[[], Datapath | None],
                 ofports: Callable[[], Mapping[str, tuple[str, int]]]) -> None:
        self._reconciler = reconciler
        self._datapath = datapath
        self._ofports = ofports
        for name, usage, least, most, answer in (
            ("fdb/add", "bridge port vlan mac", 4, 4, self._add),
            ("fdb/del", "bridge vlan mac", 3, 3, self._delete),
            ("fdb/flush", "[bridge]", 0, 1, self._flush),
            ("fdb/show", "[bridge...]", 0, 4096, self._show),
            ("fdb/stats-clear", "[bridge]", 0, 1, self._stats_clear),
            ("fdb/stats-show", "bridge", 1, 1, self._stats_show),
        ):
            control.register(name, usage, least, most, answer)

    def events(self) -> Mapping[str, int]:
        """What happened in all tables since the agent started, by counters of coverage/show."""
        sums: dict[str, int] = {}
        for bridge in self._reconciler.observed.bridges:
            for name, count in self._tables().fdb_counters(bridge.name).events.items():
                key = f"mac_learning_{name}"
                sums[key] = sums.get(key, 0) + count
        return sums

    def _tables(self) -> Datapath:
        datapath = self._datapath()
        assert datapath is not None         # else there is no bridge
        return datapath

    def _bridge(self, name: str, named: str = "") -> BridgeSpec:
        for bridge in self._reconciler.observed.bridges:
            if bridge.name == name:
                return bridge
        raise CommandError(f"no such bridge{named and f' {named}'}")

    def _bridges(self, names: Sequence[str]) -> list[str]:
        """Those of an optional word: all without it."""
        return ([self._bridge(name).name for name in names]
                or [bridge.name for bridge in self._reconciler.observed.bridges])

    def _numbers(self) -> dict[str, int]:
        return {name: number for name, (_, number) in self._ofports().items()}

    def _show(self, words: Sequence[str]) -> str:
        for name in words:
            self._bridge(name, name)
        bridges = self._bridges(words)
        tables = {name: self._tables().fdb(name) for name in bridges}
        return fdb.show(tables, self._numbers(), several=len(bridges) > 1)

    def _flush(self, words: Sequence[str]) -> str:
        for name in self._bridges(words):
            self._tables().flush_fdb(name)
        return "table successfully flushed"

    def _add(self, words: Sequence[str]) -> str:
        name, port, vlan_text, mac_text = words
        bridge, mac, vlan = self._bridge(name), fdb.address(mac_text), fdb.vlan(vlan_text)
        if mac is None:
            raise CommandError("bad MAC address")
        if port not in dict(bridge.members):
            raise CommandError("software error, odp port is present but no ofp port")
        if not 0 <= vlan < fdb.VLANS:
            raise CommandError(f"{NOT_ADDED}: VLAN {vlan} is outside 0..{fdb.VLANS - 1}")
        if int(mac[:2], 16) & 1:
            raise CommandError(f"{NOT_ADDED}: {mac} is multicast, which is always flooded")
        before = self._tables().fdb_entry(name, vlan, mac)
        if not self._tables().set_fdb(name, port, vlan, mac):
            raise CommandError(f"{NOT_ADDED}: there is no room: all that could make way is static")
        if before is None or (before.port == port and before.age_s == fdb.STATIC):
            return ""
        kind = "static" if before.age_s == fdb.STATIC else "dynamic"
        number = fdb.port_text(self._numbers().get(before.port, 0))
        return f"Overriding already existing {kind} entry on {number}"

    def _delete(self, words: Sequence[str]) -> str:
        name, vlan_text, mac_text = words
        mac, vlan = fdb.address(mac_text), fdb.vlan(vlan_text)
        self._bridge(name)
        if mac is None:
            raise CommandError("bad MAC address")
        if not 0 <= vlan < fdb.VLANS or not self._tables().delete_fdb(name, vlan, mac):
            raise CommandError("could not find static mac entry")
        return ""

    def _stats_show(self, words: Sequence[str]) -> str:
        bridge = self._bridge(words[0])
        return fdb.stats_show(bridge.name, self._tables().fdb_counters(bridge.name),
                              bridge.mac_table_size)

    def _stats_clear(self, words: Sequence[str]) -> str:
        for name in self._bridges(words):
            self._tables().clear_fdb_counters(name)
        return "statistics successfully cleared"
