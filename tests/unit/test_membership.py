"""Port rows to memberships: effective VLAN modes, and what contradicts them."""
from __future__ import annotations

import pytest

from agent.membership import membership
from agent.model import Membership, PortRow
from agent.options import Texts


def of(row: PortRow) -> tuple[Membership, tuple[str, ...], list[str]]:
    texts = Texts(row.other_config, "Port", "other_config")
    how, problems = membership(row, texts)
    return how, problems, [problem for _, problem in texts.problems]


@pytest.mark.parametrize(("row", "how"), [
    (PortRow(), Membership()),
    (PortRow(tag=0), Membership("access")),
    (PortRow(tag=10), Membership("access", 10)),
    (PortRow(trunks=(0, 10)), Membership(trunks=(0, 10))),
    (PortRow(vlan_mode="native-tagged", tag=10), Membership("native-tagged", 10)),
    # the native VLAN always belongs to it, and VLAN 0 never
    (PortRow(vlan_mode="native-untagged", tag=10, trunks=(0, 11)),
     Membership("native-untagged", 10, (10, 11))),
    (PortRow(vlan_mode="native-tagged", tag=0, trunks=(0,)),
     Membership("native-tagged", 0, (0,))),
    (PortRow(vlan_mode="dot1q-tunnel", tag=5, cvlans=(1, 2)),
     Membership("dot1q-tunnel", 5, cvlans=(1, 2))),
    (PortRow(vlan_mode="dot1q-tunnel", tag=5, other_config={"qinq-ethtype": "802.1q"}),
     Membership("dot1q-tunnel", 5, tpid=0x8100)),
    (PortRow(other_config={"priority-tags": "true"}), Membership(priority_tags="if-nonzero")),
    (PortRow(other_config={"priority-tags": "always"}), Membership(priority_tags="always")),
    (PortRow(other_config={"priority-tags": "false"}), Membership()),
    (PortRow(protected=True), Membership(protected=True)),
    (PortRow(other_config={"mcast-snooping-flood": "true"}), Membership(mcast_flood=True)),
    (PortRow(other_config={"mcast-snooping-flood-reports": "true"}),
     Membership(mcast_flood_reports=True)),
])
def test_row_that_says_one_thing(row: PortRow, how: Membership) -> None:
    assert of(row) == (how, (), [])


@pytest.mark.parametrize(("row", "how", "problems"), [
    (PortRow(vlan_mode="trunk", tag=10), Membership(),
     ("tag: has no effect on a port with vlan_mode=trunk",)),
    (PortRow(vlan_mode="native-tagged"), Membership("native-tagged"),
     ("tag: not set on a port with vlan_mode=native-tagged, using VLAN 0",)),
    (PortRow(tag=10, trunks=(1,), cvlans=(2,)), Membership("access", 10),
     ("trunks: has no effect on a port with tag=10 and no vlan_mode, which is an access port",
      "cvlans: has no effect on a port with tag=10 and no vlan_mode, which is an access port")),
    (PortRow(cvlans=(2,)), Membership(),
     ("cvlans: has no effect on a port without vlan_mode and tag, which is a trunk",)),
    (PortRow(vlan_mode="dot1q-tunnel", tag=5, trunks=(1,)), Membership("dot1q-tunnel", 5),
     ("trunks: has no effect on a port with vlan_mode=dot1q-tunnel",)),
])
def test_row_that_contradicts_itself(row: PortRow, how: Membership, problems: tuple[str, ...]
                                     ) -> None:
    assert of(row) == (how, problems, [])


@pytest.mark.parametrize(("key", "text"), [("qinq-ethtype", "0x88a8"), ("priority-tags", "yes")])
def test_words_that_are_none_are_said(key: str, text: str) -> None:
    how, _, said = of(PortRow(other_config={key: text}))
    assert how == Membership()
    assert said[0].startswith(f"{key}: '{text}' is none of ")
