"""A bridge with multicast snooping, and what its tests ask of it again and again."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.ext.conftest import Switch
from tools import multicast as m
from tools.frontend import FrontEnd, ethernet

A, B, C, D = (f"02:00:00:00:00:0{x}" for x in "abcd")
ALL = "ff:ff:ff:ff:ff:ff"
FOUR, OTHER_FOUR, SIX = "239.1.2.3", "239.1.2.4", "ff0e::1:3"
ROUTER, V1, V2, V3, MLD1, MLD2 = range(6)
SNOOPING = {"aging_s": 300, "router_aging_s": 180, "table_size": 2048, "flood_unregistered": True,
            "flood": (), "reports": ()}
Guests = Mapping[str, FrontEnd]


def set_up(switch: Switch, *names: str, members: Mapping[str, Any] | None = None,
           **settings: Any) -> Guests:
    """Ports of one bridge with snooping, and their guests. Ports are named in 'settings'."""
    switch.add(*names)
    guests = {name: switch.attach(name) for name in names}
    set_bridge(switch, members, **settings)
    return guests


def set_bridge(switch: Switch, members: Mapping[str, Any] | None = None, **settings: Any) -> None:
    slots = {key: tuple(switch.slots[name] for name in settings.pop(key, ()))
             for key in ("flood", "reports")}
    switch.bridges({"br0": {name: (members or {}).get(name, {}) for name in switch.slots}},
                   snooping={**SNOOPING, **settings, **slots})


def untagged(frame: bytes) -> bytes:
    return frame[:12] + frame[16:] if frame[12:14] == b"\x81\x00" else frame


def reached(guests: Guests, source: str, *frames: bytes, vlan: int | None = None) -> str:
    """The names of the guests that the last of the frames reaches, tagged or not; a marker to all
    tells the end."""
    marker = ethernet(ALL, A, bytes(50), vlan)
    guests[source].send([*frames, marker])
    sent = [untagged(frame) for frame in (*frames, marker)]
    found = ""
    for name in sorted(guests.keys() - {source}):
        got: list[bytes] = []
        while sent[-1] not in got:
            got += map(untagged, guests[name].recv_wait(1))
        assert set(got) <= set(sent)
        assert all(got.count(frame) <= sent.count(frame) for frame in got)      # none comes twice
        if sent[-2] in got:
            found += name
    return found


def groups(switch: Switch) -> set[tuple[str, int, int, int]]:
    """{(port, VLAN, address, protocol)}"""
    names = {slot: name for name, slot in switch.slots.items()}
    return {(names[slot], vlan, address, protocol)
            for slot, vlan, address, protocol, _ in switch.runtime.bridges.mdb("br0")}


JOINS = {
    V1: lambda mac, group: m.igmp(mac, m.IGMP_V1, group),
    V2: lambda mac, group: m.igmp(mac, m.IGMP_V2, group),
    V3: lambda mac, group: m.igmp(mac, m.IGMP_V3, entries=[(m.TO_EXCLUDE, group, (), 0)]),
    MLD1: lambda mac, group: m.mld(mac, m.MLD_V1, group),
    MLD2: lambda mac, group: m.mld(mac, m.MLD_V2, entries=[(m.TO_EXCLUDE, group, (), 0)]),
}
LEAVES = {
    V2: lambda mac, group: m.igmp(mac, m.IGMP_LEAVE, group),
    V3: lambda mac, group: m.igmp(mac, m.IGMP_V3, entries=[(m.TO_INCLUDE, group, (), 0)]),
    MLD1: lambda mac, group: m.mld(mac, m.MLD_DONE, group),
    MLD2: lambda mac, group: m.mld(mac, m.MLD_V2, entries=[(m.IS_INCLUDE, group, (), 0)]),
}
QUERIES = {4: lambda ip: m.igmp(A, m.IGMP_QUERY, ip=ip), 6: lambda ip: m.mld(A, m.MLD_QUERY, ip=ip)}
