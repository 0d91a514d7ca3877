"""Tables of text that fit a width: pure."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

INDENT = "  "
GAP = "  "
CUT = "…"


@dataclass(frozen=True, slots=True)
class Column:
    title: str
    right: bool = False             # aligned to the right, as numbers are
    goes: int = 0                   # columns with the largest go first where there is no room; 0:
                                    # never


def layout(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None = None
           ) -> list[str]:
    """The line of titles and one of each row. Within 'width' characters if there is one: without
    the columns that have to go, then cut."""
    widths = [max(map(len, (column.title, *(row[i] for row in rows))))
              for i, column in enumerate(columns)]
    kept = list(range(len(columns)))
    while width is not None and needed(widths, kept) > width:
        least = max(kept, key=lambda i: (columns[i].goes, i))
        if not columns[least].goes:
            break
        kept.remove(least)
    texts = [INDENT + GAP.join(
        row[i].rjust(widths[i]) if columns[i].right else row[i].ljust(widths[i])
        for i in kept).rstrip() for row in ([column.title for column in columns], *rows)]
    return [cut(text, width) for text in texts]


def needed(widths: Sequence[int], kept: Sequence[int]) -> int:
    return len(INDENT) + sum(widths[i] for i in kept) + len(GAP) * (len(kept) - 1)


def cut(text: str, width: int | None) -> str:
    """The text, or its beginning and a sign that it goes on."""
    return text if width is None or len(text) <= width else text[:max(0, width - 1)] + CUT


def printable(text: str) -> str:
    """Names are anybody's text; a terminal shall not obey them."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
