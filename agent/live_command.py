"""What 'vhost-agent show' does: asks the agent, prints the answer."""
from __future__ import annotations

import json

import click

from agent import appctl
from agent.appctl import NoAgentError, RefusedError
from agent.picture import FORMAT, Picture
from agent.settings import PROGRAM
from agent.show import Style, lines

COLOURS = {Style.HEAD: {"bold": True}, Style.BAD: {"fg": "red"}, Style.QUIET: {"dim": True},
           Style.GOOD: {"fg": "green"}, Style.PLAIN: {}}


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
        click.echo(f"{PROGRAM}: {e}", err=True)
        return 1
    for style, text in lines(picture, bridge):
        click.echo(click.style(text, **COLOURS[style]))     # type: ignore[arg-type]
    return 0
