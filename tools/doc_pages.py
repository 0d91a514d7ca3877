"""What stands in README.md and docs/: fenced blocks, commands with their output, notes to tests.

In a block of language `console` a line that begins with "$ " is a command of a user, one with "# "
of root; a backslash at the end of a line goes on in the next. The lines below it are its output, in
which `[...]` stands for whatever is there. A comment `<!-- test: WORDS -->` tells the test that
runs the commands what the reader has at this place (tests/docs/place.py).
"""
from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
LANGUAGES = {"console", "text", "ini", "json", "xml", "yaml"}
ANY = "[...]"
NOTE = re.compile(r"<!-- test: (.*?) -->", re.DOTALL)
MARKDOWN = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True)
class Fence:
    """A block of code; 'line' is that of its first, and an indented one has no language."""
    language: str
    line: int
    text: str


@dataclass(frozen=True)
class Command:
    """As it is typed, on one line or several, and the lines that it prints."""
    line: int
    text: str
    output: tuple[str, ...]

    @property
    def words(self) -> str:
        """On one line, without what a shell takes for a comment at its end."""
        joined = re.sub(r"\\\n\s*", "", self.text)
        return re.sub(r"\s{2,}#\s.*", "", joined).strip()


@dataclass(frozen=True)
class Note:
    """What a test is told at this place."""
    line: int
    text: str


def pages() -> list[Path]:
    """README.md and the pages of docs/, by name."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def fences(text: str) -> list[Fence]:
    return [item for item in items(text) if isinstance(item, Fence)]


def items(text: str) -> Iterator[Fence | Note]:
    """Blocks of code and notes, in their order."""
    for token in MARKDOWN.parse(text):
        first = token.map[0] + 1 if token.map else 0
        if token.type == "fence":
            yield Fence(token.info, first + 1, token.content)
        elif token.type == "code_block":
            yield Fence("", first, token.content)
        elif token.type == "html_block":
            for found in NOTE.finditer(token.content):
                line = first + token.content[:found.start()].count("\n")
                yield Note(line, " ".join(found[1].split()))


def steps(text: str) -> Iterator[Command | Note]:
    """Commands of console blocks and notes, in their order."""
    for item in items(text):
        if isinstance(item, Note):
            yield item
        elif item.language == "console":
            yield from commands(item)


def commands(block: Fence) -> Iterator[Command]:
    """Raises ValueError when the block begins with output."""
    lines = block.text.splitlines()
    at = 0
    while at < len(lines):
        if lines[at][:2] not in ("$ ", "# "):
            raise ValueError(f"line {block.line + at}: a console block begins with a command")
        start = at
        while lines[at].endswith("\\"):
            at += 1
        at += 1
        end = at
        while end < len(lines) and lines[end][:2] not in ("$ ", "# "):
            end += 1
        output = "\n".join(lines[at:end]).strip("\n")
        yield Command(block.line + start, "\n".join(lines[start:at])[2:],
                      tuple(output.split("\n")) if output else ())
        at = end


def spans(text: str) -> Iterator[tuple[int, str]]:
    """Line of the paragraph, and text, of each piece of code in running text and tables."""
    for token in MARKDOWN.parse(text):
        for child in token.children or ():
            if child.type == "code_inline":
                yield (token.map[0] + 1 if token.map else 0), child.content
