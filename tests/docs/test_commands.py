"""Every command of README.md and docs/ is typed, and prints what its page shows."""
from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.docs.elsewhere import ELSEWHERE, Elsewhere
from tests.docs.place import Place, PlaceError
from tools.doc_output import difference
from tools.doc_pages import ROOT, Command, Note, name_of, pages, steps

NEW_HOST = ("database", "switch", "empty")


def elsewhere(command: Command) -> list[Elsewhere]:
    return [entry for entry in ELSEWHERE if entry.fits(command.words)]


def typed(page: Path) -> list[Command | Note]:
    """What is left for this test of a page's steps."""
    return [step for step in steps(page.read_text(encoding="utf-8"))
            if isinstance(step, Note) or not elsewhere(step)]


class Reader:
    """Goes through a page from its beginning to its end, and notes what is not as it says."""

    def __init__(self, name: str, stack: ExitStack) -> None:
        self.name = name
        self.wrong: list[str] = []
        self._stack = stack
        self._place: Place | None = None
        self._status = 0
        self._same: dict[str, str] = {}

    def place(self, *, new: bool = False) -> Place:
        if new or self._place is None:
            self._stack.close()
            self._place = self._stack.enter_context(Place())
            self._same.clear()
        return self._place

    def read(self, page: list[Command | Note]) -> None:
        """Up to the end, or to where there is no going on."""
        for step in page:
            try:
                self.take(step)
            except PlaceError as e:
                return self.say(step, str(e))

    def take(self, step: Command | Note) -> None:
        if isinstance(step, Command):
            self.type(step)
        elif step.text.startswith("status "):
            self._status = int(step.text.removeprefix("status "))
        else:
            self.place(new=step.text.split()[0] in NEW_HOST).heed(step.text)

    def type(self, command: Command) -> None:
        status, printed = self.place().type(command.text)
        due, self._status = self._status, 0
        if status != due:
            self.say(command, f"status {status}, not {due}: {command.text}\n{printed}")
        elif text := difference(command.output, printed, self._same):
            self.say(command, f"{command.text}\n{text}")

    def say(self, step: Command | Note, what: str) -> None:
        self.wrong.append(f"{self.name}:{step.line}: {what}")


@pytest.mark.parametrize("page", [page for page in pages()
                                  if any(isinstance(step, Command) for step in typed(page))],
                         ids=name_of)
def test_commands_do_what_their_page_says(page: Path) -> None:
    with ExitStack() as stack:
        reader = Reader(name_of(page), stack)
        reader.read(typed(page))
    assert not reader.wrong, "\n\n" + "\n\n".join(reader.wrong)


@pytest.mark.parametrize("entry", ELSEWHERE, ids=lambda entry: entry.form)
def test_what_is_run_elsewhere_is_on_a_page_and_is_run_there(entry: Elsewhere) -> None:
    found = [step for page in pages() for step in steps(page.read_text(encoding="utf-8"))
             if isinstance(step, Command) and entry.fits(step.words)]
    assert found, f"no page has such a command: {entry.form}"
    file, _, test = entry.where.partition("::")
    text = (ROOT / file).read_text(encoding="utf-8")
    assert not test or re.search(rf"^def {test}\(", text, re.M), entry.where
