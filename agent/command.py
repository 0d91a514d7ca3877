"""What a command of ovs-appctl may raise."""
from __future__ import annotations


class CommandError(Exception):
    """The text is what ovs-appctl prints before 'server returned an error'."""
