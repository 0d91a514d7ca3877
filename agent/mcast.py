"""Multicast snooping as the control plane sees it: settings, and replies of mdb commands. Pure."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

from agent.model import OFPORT_LOCAL, BridgeRow, McastSnooping, MdbEntry
from agent.options import Texts, nearest

HEADER = " port  VLAN  protocol  GROUP                Age"
ROUTER_AGING_S = 180            # OVS: MCAST_MROUTER_PORT_IDLE_TIME


def snooping(bridge: BridgeRow, texts: Texts) -> McastSnooping | None:
    """What a bridge does with multicast; None: it floods it. 'texts' is the row's other_config."""
    settings = McastSnooping(
        nearest(texts, "mcast-snooping-aging-time", texts.text("mcast-snooping-aging-time")),
        nearest(texts, "mcast-snooping-table-size", texts.text("mcast-snooping-table-size")),
        not texts.boolean("mcast-snooping-disable-flood-unregistered"))
    return settings if bridge.mcast_snooping else None


def mdb_show(entries: Sequence[MdbEntry], ofports: Mapping[str, int]) -> str:
    """Reply of mdb/show: groups in order of their last reports, in each its ports in order of
    theirs, then ports that lead to routers (OVS: ofproto_unixctl_mcast_snooping_show). Entries are
    in order of their last reports."""
    last = {(e.group, e.vlan): i for i, e in enumerate(entries)}
    lines = [HEADER]
    for e in sorted(entries, key=lambda e: (not e.group, e.group and last[e.group, e.vlan])):
        number = ofports.get(e.port, 0)
        port = "LOCAL" if number == OFPORT_LOCAL else str(number)
        what = f"{e.group}         " if e.group else "querier             "
        lines.append(f"{port:>5}  {e.vlan:>4}  {e.protocol:<8}  {what}{e.age_s:>3}")
    return "\n".join([*lines, ""])
