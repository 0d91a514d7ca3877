"""Whether a command printed what its page shows.

Blanks count as one, `[...]` as anything (on a line of its own: any lines). What differs from run to
run has to be there, but may be another: times, dates, versions, shares in percent. An Ethernet
address and a UUID may be another, too, but the same wherever the page has the same. The rows of
fdb/show come in any order. A backslash at the end of a line is for terminals alone.
"""
from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import permutations

from tools.doc_pages import ANY

# What a page shows -> what may be there in its place. The first that fits is taken.
KINDS = (
    ("same", r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"),                       # a UUID
    ("same", r"\b[0-9a-f]{2}(?::[0-9a-f]{2}){5}\b"),                               # an address
    ("like", r"\b\d{4}-\d\d-\d\d\b"),                                               # dates
    ("like", r"\b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ \d]\d\b"),
    ("like", r"\b\d\d:\d\d(?::\d\d(?:\.\d+)?)?\b"),                                # times
    ("like", r"\b\d+(?:\.\d+)? ?(?:ms|us|µs|Mbit/s|Gbit/s)\b"),                    # measured
    ("like", r"(?:\b\d+(?:\.\d+)? ?%|NOT AVAIL)"),                                 # of a PMD's time
    ("like", r"(?<=:[0-9a-f]{2})[ \t]+\d+(?![ \t]*\S)"),                           # fdb's ages
    ("like", r"(?<![\d.])\d+\.\d+\.\d+(?![\d.])"),                                   # versions
)
TOKEN = re.compile("|".join([re.escape(ANY), *(f"({form})" for _, form in KINDS), r"[ \t]+"]))


FDB = ["Port", "VLAN", "MAC", "Age"]


def difference(shown: tuple[str, ...], printed: str, same: dict[str, str]) -> str | None:
    """None when they fit, else both as text. 'same' says what stands for what on this page, and
    gets what is new."""
    pattern, groups = expression(shown)
    lines = [line.rstrip() for line in printed.strip("\n").split("\n")] if printed.strip() else []
    for order in orders(lines):
        match = re.fullmatch(pattern, "".join(f"{line}\n" for line in order))
        if match is not None:
            found = [(word, match[number + 1]) for number, word in enumerate(groups)]
            if all(same.get(word, value) == value for word, value in found):
                same.update(found)
                return None
    return "\n".join(["shown:", *(f"    {line}" for line in shown), "printed:",
                      *(f"    {line}" for line in lines)])


def orders(lines: list[str]) -> Iterator[list[str]]:
    if lines and lines[0].split() == FDB and len(lines) < 7:
        yield from ([lines[0], *rows] for rows in permutations(lines[1:]))
    else:
        yield lines


def expression(shown: tuple[str, ...]) -> tuple[str, list[str]]:
    """A regular expression for what is printed, and what each of its groups stands for."""
    groups: list[str] = []
    pattern = ""
    for line in shown:
        if line.strip() == ANY:
            pattern += r"(?:.*\n)*?"
            continue
        pattern += r"[ \t]*"
        at, line = 0, line.removesuffix("\\").strip()
        for token in TOKEN.finditer(line):
            pattern += re.escape(line[at:token.start()])
            pattern += of_token(token, groups)
            at = token.end()
        pattern += re.escape(line[at:]) + r"\n"
    return pattern, groups


def of_token(token: re.Match[str], groups: list[str]) -> str:
    if token.lastindex is None:
        return r".*?" if token[0] == ANY else r"[ \t]+"
    kind, form = KINDS[token.lastindex - 1]
    if kind == "like":
        return f"(?:{form})"
    if token[0] in groups:
        return rf"(?:\{groups.index(token[0]) + 1})"
    groups.append(token[0])
    return f"({form})"
