"""Of the columns that we want, those that a server has."""
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.db_schema import usable

TABLES = st.dictionaries(st.sampled_from("ABC"),
                         st.lists(st.sampled_from("abc"), unique=True))


def test_table_that_is_missing_and_column_that_is_missing() -> None:
    wanted = {"A": ["y", "x", "z"], "B": ["x"]}
    assert usable(wanted, {"A": {"z", "y", "more"}, "More": {"x"}}) == (
        {"A": ["y", "z"]}, ["A.x", "B.x"])


def test_server_that_has_all() -> None:
    assert usable({"A": ["x"]}, {"A": {"x"}}) == ({"A": ["x"]}, [])


@given(TABLES, TABLES)
def test_each_wanted_column_is_usable_or_lacking(wanted: dict[str, list[str]],
                                                 server: dict[str, list[str]]) -> None:
    has, lacks = usable(wanted, server)
    found = [f"{table}.{column}" for table, columns in has.items() for column in columns]
    assert sorted(found + lacks) == sorted(f"{t}.{c}" for t, cs in wanted.items() for c in cs)
    assert lacks == sorted(lacks)
    assert all(set(columns) <= set(server[table]) for table, columns in has.items())
