"""Tables that fit a width."""
from __future__ import annotations

from agent.table import Column, cut, layout, printable

COLUMNS = (Column("NAME"), Column("TYPE", goes=2), Column("COUNT", right=True),
           Column("WHY", goes=1))
ROWS = [("a", "client", "1", "no guest"), ("long-name", "server", "12345", "")]


def test_columns_are_as_wide_as_what_stands_in_them() -> None:
    assert layout(COLUMNS, ROWS) == [
        "  NAME       TYPE    COUNT  WHY",
        "  a          client      1  no guest",
        "  long-name  server  12345"]


def test_columns_go_where_there_is_no_room_then_text_does() -> None:
    assert layout(COLUMNS, ROWS, 30) == [
        "  NAME       COUNT  WHY", "  a              1  no guest", "  long-name  12345"]
    assert layout(COLUMNS, ROWS, 20) == ["  NAME       COUNT", "  a              1",
                                         "  long-name  12345"]
    assert layout(COLUMNS, ROWS, 10) == ["  NAME   …", "  a      …", "  long-na…"]


def test_table_without_rows_has_titles() -> None:
    assert layout(COLUMNS, []) == ["  NAME  TYPE  COUNT  WHY"]


def test_terminal_does_not_obey_names() -> None:
    assert printable("a\x1b[2Jb\x07é") == "a\\x1b[2Jb\\x07é"
    assert cut("abc", None) == cut("abc", 3) == "abc"
