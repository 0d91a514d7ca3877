"""docs/cli.md: what every command of vhost-agent prints with --help."""
from __future__ import annotations

import click

from agent.cli import main

HEAD = """<!-- Made from agent/cli.py by `make docs`: change that, not this. -->
# The command line

What each command says of itself. How they are used: [operating the agent](operations.md),
[beside ovs-vswitchd](beside.md), [guests](guests.md), [seeing it live](live.md),
[when something does not work](troubleshooting.md).
"""


def cli_page() -> str:
    """The whole page."""
    return HEAD + sections(main, "vhost-agent", None)


def sections(command: click.Command, word: str, parent: click.Context | None) -> str:
    """One for the command, and for each below it. The width is that of a terminal of 80 columns, of
    which click leaves two free."""
    with click.Context(command, parent, word, terminal_width=78,
                       **command.context_settings) as context:
        name = context.command_path
        text = f"\n## {name}\n\n```console\n$ {name} --help\n{command.get_help(context)}\n```\n"
        if isinstance(command, click.Group):
            for member in sorted(command.commands):
                text += sections(command.commands[member], member, context)
        return text
