"""How a port takes part in its bridge, from its Port row: pure."""
from __future__ import annotations

from collections.abc import Iterator

from agent.model import VLAN_ACCESS, VLAN_TRUNK, VLAN_TUNNEL, Membership, PortRow
from agent.options import Texts

TPIDS = {"802.1q": 0x8100, "802.1ad": 0x88a8}
# other words for the same
PRIORITY_TAGS = {"true": "if-nonzero", "false": "never"}


def effective_mode(row: PortRow) -> str:
    """vlan_mode, where it is not set by whether there is a tag (OVS: port_configure)."""
    return row.vlan_mode or (VLAN_TRUNK if row.tag is None else VLAN_ACCESS)


def unused(row: PortRow, mode: str) -> Iterator[str]:
    """What contradicts the port's mode."""
    as_what = f"a port with vlan_mode={mode}" if row.vlan_mode else (
        f"a port with tag={row.tag} and no vlan_mode, which is an access port"
        if mode == VLAN_ACCESS else "a port without vlan_mode and tag, which is a trunk")
    if mode == VLAN_TRUNK and row.tag is not None:
        yield f"tag: has no effect on {as_what}"
    if mode != VLAN_TRUNK and row.tag is None:
        yield f"tag: not set on {as_what}, using VLAN 0"
    if mode in (VLAN_ACCESS, VLAN_TUNNEL) and row.trunks:
        yield f"trunks: has no effect on {as_what}"
    if mode != VLAN_TUNNEL and row.cvlans:
        yield f"cvlans: has no effect on {as_what}"


def membership(row: PortRow, texts: Texts) -> tuple[Membership, tuple[str, ...]]:
    """The membership, and what of the columns has no effect; 'texts' is the row's other_config."""
    mode = effective_mode(row)
    vlan = 0 if mode == VLAN_TRUNK else row.tag or 0
    trunks = () if mode in (VLAN_ACCESS, VLAN_TUNNEL) else row.trunks
    if trunks and mode != VLAN_TRUNK:
        # a native port always carries its own VLAN, and nothing else without one (OVS: bundle_set)
        trunks = tuple(sorted({*trunks, vlan} - {0})) or (vlan,)
    priority_tags = texts.choice("priority-tags")
    return Membership(
        vlan_mode=mode, vlan=vlan, trunks=trunks, cvlans=row.cvlans if mode == VLAN_TUNNEL else (),
        tpid=TPIDS[texts.choice("qinq-ethtype")],
        priority_tags=PRIORITY_TAGS.get(priority_tags, priority_tags), protected=row.protected,
        mcast_flood=bool(texts.boolean("mcast-snooping-flood")),
        mcast_flood_reports=bool(texts.boolean("mcast-snooping-flood-reports")),
    ), tuple(unused(row, mode))
