"""What all commands but the daemon have in common: how they end, and what a terminal gets."""
from __future__ import annotations

import errno
import os
import sys
from collections.abc import Mapping, Sequence
from io import TextIOWrapper
from typing import Any

import click

from agent.command_line import INTERRUPTED
from agent.settings import PROGRAM

DAEMON = "run"                  # handles signals, and writes logs, in its own way
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)     # of writing to the output


class Program(click.Group):
    """The commands. Ctrl-C ends them without a word, with status 130; output that cannot be
    written with a sentence and 1; letters that the output's encoding lacks are escaped; colours
    are for terminals alone, and for none with NO_COLOR or TERM=dumb."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **named: Any) -> Any:
        words = list(sys.argv[1:] if args is None else args)
        if plain(os.environ):
            named["color"] = False
        if words[:1] == [DAEMON] or not named.get("standalone_mode", True):
            return super().main(words, *rest, **named)
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        named["standalone_mode"] = False
        try:
            try:
                sys.exit(super().main(words, *rest, **named))
            finally:
                if sys.stdout is not None:
                    sys.stdout.flush()      # what is left is written while it can be said of it
        except click.Abort:
            sys.exit(INTERRUPTED)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        except click.ClickException as e:
            e.show()
            sys.exit(e.exit_code)
        except OSError as e:
            if e.filename is not None or e.errno not in (*FULL, errno.EPIPE):
                raise
            # what Python still has would be tried again at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if e.errno != errno.EPIPE:
                click.echo(f"{PROGRAM}: the output cannot be written: {e.strerror}", err=True)
            sys.exit(1)


def plain(environment: Mapping[str, str]) -> bool:
    """Whether colours are unwanted (https://no-color.org)."""
    return bool(environment.get("NO_COLOR")) or environment.get("TERM") == "dumb"
