"""Where the program begins: nothing is imported before Ctrl-C ends it as quietly as later."""
from __future__ import annotations

import gc
import signal
import sys

INTERRUPTED = 128 + signal.SIGINT       # the exit status, as of a program in a shell


def command_line() -> None:
    """Does what was typed; ends the process."""
    # A thousand ports are half a million objects that stay, and the program itself a hundred
    # thousand; Python's default looks through all of them many times while they are made.
    gc.set_threshold(200_000, 50, 1000)
    try:
        from agent.cli import main

        main(prog_name="vhost-agent")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
