"""Who may connect to the sockets of server ports, of their settings: pure."""
from __future__ import annotations

import re

from agent.access import SocketAccess
from agent.options import Texts, in_range, integer, shown

OWNER, GROUP, MODE = KEYS = "vhost-sock-owner", "vhost-sock-group", "vhost-sock-mode"
OCTAL = re.compile("[0-7]+")
EVERYBODY = 0o002               # who may write to a socket may connect to it
ID_MOST = (1 << 32) - 2         # the number beyond means that nothing is to change
NAME_MOST = 255                 # characters


def no_id(text: str) -> str | None:
    """Why a text can be neither the name nor the number of a user or a group. Whether there is one
    of that name is not known here."""
    number = integer(text)
    if number is not None:
        return None if 0 <= number <= ID_MOST else f"{shown(text)} is outside 0..{ID_MOST}"
    if len(text) > NAME_MOST or not text.isprintable():
        return f"{shown(text)} is neither a name nor a number"
    return None


def access(texts: Texts, elsewhere: SocketAccess, before: SocketAccess, whose: str = ""
           ) -> SocketAccess:
    """What a column says, and 'elsewhere' where it says nothing.

    When a value cannot be used it is 'before', all of it: a mode is meant for its owner and its
    group, and would open the socket to others. 'whose' ends the sentence that says so.
    """
    owner, group = texts.text("vhost-sock-owner"), texts.text("vhost-sock-group")
    mode_text, o = texts.text("vhost-sock-mode"), texts.option(MODE)
    assert o.minimum is not None
    assert o.maximum is not None
    mode = int(mode_text, 8) if OCTAL.fullmatch(mode_text) else None
    wrong = [(key, why) for key, text in ((OWNER, owner), (GROUP, group))
             if text and (why := no_id(text)) is not None]
    if mode_text and (mode is None or not in_range(mode, o.minimum, o.maximum)):
        wrong.append((MODE, f"{shown(mode_text)} is not an octal number of "
                      f"{o.minimum:04o}..{o.maximum:04o}"))
    for key, why in wrong:
        texts.complain(key, f"{why}, using {before}{whose}")
    if wrong:
        return before
    if mode is not None and mode & EVERYBODY:
        texts.complain(MODE, f"{mode:04o} lets every user of this host connect{whose}")
    found = SocketAccess(owner or elsewhere.owner, group or elsewhere.group,
                         elsewhere.mode if mode is None else mode)
    return elsewhere if found == elsewhere else found
