"""The rules of README.md and docs/: blocks that say what they are, links that lead somewhere."""
from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
from mdit_py_plugins.anchors.index import slugify

from tools.doc_pages import LANGUAGES, MARKDOWN, fences, name_of, pages, steps

EVERY = pytest.mark.parametrize("page", pages(), ids=name_of)


@EVERY
def test_code_is_in_fenced_blocks_of_a_known_language(page: Path) -> None:
    """Indented blocks look like commands, and no test would type them."""
    known = LANGUAGES | ({"{toctree}"} if page.name == "index.md" else set())
    text = page.read_text(encoding="utf-8")
    assert [f"{name_of(page)}:{block.line}: {block.language or 'no language'}"
            for block in fences(text) if block.language not in known] == []
    list(steps(text))                           # a console block begins with a command
    if page.name != "README.md":                # which shows the demo's output
        assert [block.line for block in fences(text) if block.language == "text"
                and re.search(r"^[$#] ", block.text, re.M)] == []


@EVERY
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    """The site's builder sees README.md not, and links are to work on a forge as well."""
    dead = []
    for line, target in links(page):
        file, _, heading = target.partition("#")
        other = (page.parent / file).resolve() if file else page
        if not other.exists() or (heading and heading not in headings(other)):
            dead.append(f"{name_of(page)}:{line}: {target}")
    assert dead == []


def links(page: Path) -> list[tuple[int, str]]:
    """(line of the paragraph, target) of links and pictures that do not lead out of here."""
    found = []
    for token in MARKDOWN.parse(page.read_text(encoding="utf-8")):
        for child in token.children or ():
            target = child.attrs.get("href") or child.attrs.get("src")
            if target and "://" not in str(target):
                found.append((token.map[0] + 1 if token.map else 0, str(target)))
    return found


def headings(page: Path) -> set[str]:
    """As forges and the site's builder name them."""
    tokens = MARKDOWN.parse(page.read_text(encoding="utf-8"))
    return {slugify("".join(child.content for child in after.children or ()))
            for token, after in pairwise(tokens)
            if token.type == "heading_open"}
