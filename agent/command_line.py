"""Where the program begins: nothing is imported before Ctrl-C ends it as quietly as later."""
from __future__ import annotations

import signal
import sys

INTERRUPTED = 128 + signal.SIGINT       # the exit status, as of a program in a shell


def command_line() -> None:
    """Does what was typed; ends the process."""
    try:
        from agent.cli import main

        main(prog_name="vhost-agent")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
