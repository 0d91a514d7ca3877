"""Names of links; what a transaction holds is seen with a real database in tests/agent."""
from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.host_device import NAME_BYTES, no_name
from agent.link_command import is_local
from agent.linking import (
    Bridge,
    Bridges,
    HostName,
    LinkError,
    check,
    check_host,
    default_name,
)

NAMES = st.text(st.characters(blacklist_characters="/\\", blacklist_categories=("Cs",)),
                min_size=1, max_size=20)


@pytest.mark.parametrize(("ours", "theirs", "name"), [
    ("brv", "br0", "brv-br0"), ("br-int", "br0", "br-int"), ("a" * 8, "b" * 7, "aaaaaa"),
    ("\u00fc", "br0", "link")])
def test_name_is_of_both_bridges_where_that_is_clear(ours: str, theirs: str, name: str) -> None:
    found = default_name(ours, theirs)
    assert found == name or (found.startswith(f"{name}-") and len(found) <= NAME_BYTES)


@given(NAMES, NAMES, NAMES, NAMES)
def test_each_pair_has_a_name_of_its_own_that_the_kernel_takes(a: str, b: str, c: str, d: str
                                                               ) -> None:
    assert no_name(default_name(a, b)) is None
    if (a, b) != (c, d):
        assert default_name(a, b) != default_name(c, d)


def test_names_of_pairs_that_read_alike_differ() -> None:
    assert default_name("a-b", "c") != default_name("a", "b-c")
    assert default_name("a", "b") != default_name("b", "a")


@pytest.mark.parametrize("type_", ["", "system", "netdev"])
def test_bridges_of_ovs_vswitchd_are_of_these_types(type_: str) -> None:
    ours, theirs = Bridge(UUID(int=1), "a", "vhost"), Bridge(UUID(int=2), "b", type_)
    check(Bridges(ours, theirs), "a-b")
    with pytest.raises(LinkError):
        check(Bridges(theirs, ours), "a-b")


@pytest.mark.parametrize(("host", "why"), [
    (HostName(taken=True), "the name l is taken by a device of this host that is no tap: choose "
                           "the tap's with --name"),
    (HostName(taken=True, tap=True, open=True), "the name l is taken by a tap of this host that a "
                                                "program has open: choose another with --name")])
def test_a_device_of_the_host_is_not_taken(host: HostName, why: str) -> None:
    with pytest.raises(LinkError, match=f"^{why}$"):
        check_host("l", host)


def test_no_device_and_a_tap_that_was_left_are_fine() -> None:
    check_host("l", HostName())
    check_host("l", HostName(taken=True, tap=True))


@pytest.mark.parametrize(("remote", "local"), [
    ("unix:/r/db.sock", True), ("unix:/r/a,b", True), ("tcp:192.0.2.1:6640", False),
    ("unix:/r/db.sock,ssl:192.0.2.1:6640", False)])
def test_devices_are_looked_at_where_the_database_is_on_this_host(remote: str, local: bool
                                                                  ) -> None:
    assert is_local(remote) is local
