"""Interface.ifindex as ovs-vswitchd's build for any x86 makes it."""
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.ifindex import ifindex


@pytest.mark.parametrize(("name", "expected"), [
    ("vhu0", 15199922), ("dpdkvhostuserclient0", 7403513), ("vhost-user-1", 14017250),
    ("8a0dd2a77c59-net2", 15730733),        # as a published 'ovs-vsctl list' shows it
])
def test_vectors(name: str, expected: int) -> None:
    assert ifindex(name) == expected


@given(st.text(alphabet=st.characters(exclude_categories=("Cs",))))
def test_any_name_has_a_number_that_the_column_takes(name: str) -> None:
    assert 1 <= ifindex(name) <= 0xFFFFFE


@given(st.text("ab\0", max_size=12), st.text("ab\0", max_size=12))
def test_length_counts_even_where_the_words_are_the_same(a: str, b: str) -> None:
    assert (ifindex(a) == ifindex(b)) == (a == b)
