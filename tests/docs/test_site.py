"""docs/ becomes a site without a warning, and what its text names in passing exists."""
from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

import schema
from agent.cli import main
from tests.docs.place import Place
from tools.doc_pages import ROOT, name_of, pages, spans

EVERY = pytest.mark.parametrize("page", pages(), ids=name_of)


def test_site_is_built_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-d", tmp_path / "doctrees",
         ROOT / "docs", tmp_path / "site"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    chart = tmp_path / "site/_images/sizes.svg"
    assert chart.exists()
    assert "_images/sizes.svg" in (tmp_path / "site/performance.html").read_text()


def test_page_of_commands_has_those_of_the_agent() -> None:
    with Place() as place:
        place.switch()
        _, said = place.type("ovs-appctl list-commands")
    page = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`.*?)(?<!\\) \|", page, re.M)
    named = {span.split()[0] for cell in cells for span in re.findall(r"`([^`]+)`", cell)}
    there = {line.split()[0] for line in said.splitlines()[1:]}
    typed = {found[1] for page in pages() for _, span in spans(page.read_text(encoding="utf-8"))
             if (found := re.match(r"ovs-appctl (?:-t \S+ )?([a-z][\w/-]+)", span))}
    assert typed - there == set(), "named in running text, and not in the agent"
    assert (there - named, named - there) == (set(), set()), "missing on the page, or in the agent"


def commands_of(group: click.Group) -> dict[str, set[str]]:
    """{command: its options}"""
    return {name: {word for parameter in command.params for word in parameter.opts} | {"--help"}
            for name, command in group.commands.items()}


@EVERY
def test_text_names_commands_and_options_of_the_program(page: Path) -> None:
    known = commands_of(main)
    for line, span in spans(page.read_text(encoding="utf-8")):
        words = span.partition("|")[0].split()
        if words[:1] == ["vhost-agent"] and len(words) > 1 and not words[1].startswith("-"):
            where = f"{name_of(page)}:{line}: {span}"
            assert words[1] in known, where
            for word in words[2:]:
                name = word.partition("=")[0]
                if re.fullmatch(r"-(-\w[\w-]*|\w)", name):
                    assert name in known[words[1]], where


@EVERY
def test_text_names_keys_of_the_contract(page: Path) -> None:
    """Of `other_config:KEY` and `options:KEY`."""
    keys = {column: {option.key for option in schema.options() if option.column == column}
            | {key for table in schema.columns() for key in schema.without_effect(table, column)}
            for column in ("other_config", "options")}
    unknown = [f"{name_of(page)}:{line}: {span}"
               for line, span in spans(page.read_text(encoding="utf-8"))
               for column, key in re.findall(r"\b(other_config|options):([\w-]+)", span)
               if key not in keys[column] and key != "KEY"]
    assert unknown == []
