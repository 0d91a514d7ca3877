"""What 'vhost-agent show' and 'vhost-agent top' do: ask the agent, print what it answers."""
from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import click

from agent import appctl, top
from agent.appctl import NoAgentError, RefusedError
from agent.picture import FORMAT, Picture
from agent.rates import rates
from agent.settings import PROGRAM
from agent.show import Line, Style, lines

RICH = {Style.HEAD: "bold", Style.BAD: "red", Style.QUIET: "dim", Style.PLAIN: ""}


@dataclass(frozen=True, slots=True)
class TopWish:
    """What 'vhost-agent top' was asked for."""

    seconds: float                  # between two tables
    count: int | None               # tables; None: until Ctrl-C
    sort: str
    batch: bool                     # one table after the other, for a pipe or a file


def state(target: str, rundir: str) -> Picture:
    """The picture of the agent called 'target'. Raises NoAgentError and RefusedError."""
    answer = json.loads(appctl.call(appctl.control_socket(target, rundir), "vhost/state"))
    if answer["format"] != FORMAT:
        raise RefusedError(f"the agent speaks format {answer['format']}, this command format "
                           f"{FORMAT}: they are of different versions")
    return dict(answer)


def show(target: str, rundir: str, bridge: str | None) -> int:
    """Prints the picture, of one bridge when one is named; the exit status."""
    try:
        picture = state(target, rundir)
        if bridge is not None and bridge not in {row["name"] for row in picture["bridges"]}:
            raise RefusedError(f"there is no bridge {bridge}")
    except (NoAgentError, RefusedError) as e:
        return failed(e)
    Printed().show(lines(picture, bridge, terminal_width()))
    return 0


def run_top(target: str, rundir: str, wish: TopWish) -> int:
    """Shows tables until there were enough, or Ctrl-C; the exit status."""
    try:
        before = state(target, rundir)
    except (NoAgentError, RefusedError) as e:
        return failed(e)
    try:
        with (printed() if wish.batch else screen()) as display:
            watch(target, rundir, wish, before, display)
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:             # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def watch(target: str, rundir: str, wish: TopWish, before: Picture | None, display: Display
          ) -> None:
    """An agent that ends is waited for; what is shown of it then is that."""
    shown = 0
    if before is not None and not wish.batch:
        display.show(top.lines(before, None, wish.sort, *display.size))
    due = time.monotonic()
    while wish.count is None or shown < wish.count:
        due = max(due + wish.seconds, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))
        try:
            after = state(target, rundir)
        except (NoAgentError, RefusedError) as e:
            if before is not None or not wish.batch:
                said = f"waiting for the agent: {e}"
                width = display.size[0]
                display.show([(Style.BAD, text) for text in (
                    textwrap.wrap(said, width) if width else [said])])
            before = None
            continue
        moved = rates(before, after) if before is not None else None
        if moved is not None or not wish.batch:
            display.show(top.lines(after, moved, wish.sort, *display.size))
        shown += moved is not None
        before = after


def failed(error: Exception) -> int:
    click.echo(f"{PROGRAM}: {error}", err=True)
    return 1


# --- where it is shown ----------------------------------------------------------------------------

class Display(Protocol):
    @property
    def size(self) -> tuple[int | None, int | None]:
        """(columns, lines) that there is room for; None: no limit."""

    def show(self, lines: Iterable[Line]) -> None: ...


def terminal_width() -> int | None:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


class Printed:
    """Lines one after the other; colours are for terminals alone."""

    def __init__(self) -> None:
        self._colours = {Style.HEAD: {"bold": True}, Style.BAD: {"fg": "red"},
                         Style.QUIET: {"dim": True}}

    @property
    def size(self) -> tuple[int | None, int | None]:
        return terminal_width(), None

    def show(self, lines: Iterable[Line]) -> None:
        text = "\n".join(click.style(text, **self._colours.get(style, {}))   # type: ignore[arg-type]
                         for style, text in lines)
        click.echo(text)
        sys.stdout.flush()


@contextmanager
def printed() -> Iterator[Display]:
    yield Separated()


class Separated(Printed):
    """With an empty line after each."""

    def show(self, lines: Iterable[Line]) -> None:
        super().show([*lines, (Style.PLAIN, "")])


@contextmanager
def screen() -> Iterator[Display]:
    """The whole terminal, which is as it was afterwards."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(highlight=False)

    class Screen:
        @property
        def size(self) -> tuple[int | None, int | None]:
            return console.size.width, console.size.height

        def show(self, lines: Iterable[Line]) -> None:
            text = Text("\n", no_wrap=True).join(
                Text(words, style=RICH[style], no_wrap=True) for style, words in lines)
            live.update(text, refresh=True)

    with Live(console=console, screen=True, auto_refresh=False) as live:
        yield Screen()
