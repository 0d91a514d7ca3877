"""Multicast snooping: a bridge's settings, and the reply of mdb/show."""
from __future__ import annotations

from uuid import UUID

import pytest

from agent.mcast import mdb_show, snooping
from agent.model import BridgeRow, McastSnooping, MdbEntry
from agent.options import Texts


def of(on: bool = True, **other_config: str) -> tuple[McastSnooping | None, list[str]]:
    """Settings of a bridge, keys with '_' for '-' and without what they begin with."""
    keys = {f"mcast-snooping-{key.replace('_', '-')}": text for key, text in other_config.items()}
    texts = Texts(keys, "Bridge", "other_config")
    row = BridgeRow(UUID(int=1), "br0", mcast_snooping=on, other_config=keys)
    return snooping(row, texts), [problem for _, problem in texts.problems]


def test_bridge_floods_unless_it_is_told() -> None:
    assert of(False) == (None, [])
    assert of() == (McastSnooping(300, 2048, True), [])
    assert of(aging_time="20", table_size="10", disable_flood_unregistered="true") == (
        McastSnooping(20, 10, False), [])


@pytest.mark.parametrize(("text", "seconds", "said"), [
    ("15", 15, None),
    ("3600", 3600, None),
    ("0", 300, "0 is outside 15..3600, using 300"),
    ("", 300, None),
    ("14", 15, "14 is outside 15..3600, using 15"),
    ("3601", 3600, "3601 is outside 15..3600, using 3600"),
    ("-1", 3600, "-1 is outside 15..3600, using 3600"),
    ("1.5", 300, "'1.5' is not an integer, using 300"),
    ("2147483648", 300, "'2147483648' is outside 15..3600, using 300"),
])
def test_ageing_time_beyond_its_range_is_the_nearest(text: str, seconds: int, said: str | None
                                                     ) -> None:
    settings, problems = of(aging_time=text)
    assert settings is not None
    assert settings.aging_s == seconds
    assert problems == ([f"mcast-snooping-aging-time: {said}"] if said else [])


def test_unusable_keys_are_said_while_snooping_is_off_too() -> None:
    assert of(False, table_size="9", disable_flood_unregistered="perhaps") == (None, [
        "mcast-snooping-table-size: 9 is outside 10..1000000, using 10",
        "mcast-snooping-disable-flood-unregistered: 'perhaps' is neither true nor false, using "
        "false"])


def test_mdb_show() -> None:
    entries = [MdbEntry("router", 0, "", "UNKNOWN", 170),
               MdbEntry("p", 10, "224.1.1.1", "IGMPv2", 9),
               MdbEntry("p", 4095, "ff0e::1", "MLDv1", 8),
               MdbEntry("q", 10, "224.1.1.1", "IGMPv2", 0),
               MdbEntry("gone", 1, "224.1.1.1", "IGMPv3", 0)]
    assert mdb_show([], {}) == " port  VLAN  protocol  GROUP                Age\n"
    assert mdb_show(entries, {"p": 1, "q": 12345, "router": 65534}) == (
        " port  VLAN  protocol  GROUP                Age\n"
        "    1  4095  MLDv1     ff0e::1           8\n"
        "    1    10  IGMPv2    224.1.1.1           9\n"
        "12345    10  IGMPv2    224.1.1.1           0\n"
        "    0     1  IGMPv3    224.1.1.1           0\n"
        "LOCAL     0  UNKNOWN   querier             170\n")
