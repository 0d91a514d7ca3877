"""Who may use which file, by owners and modes: pure."""
from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass

from agent.host_values import (
    CAP_DAC_OVERRIDE,
    CAP_DAC_READ_SEARCH,
    READ,
    SEARCH,
    WRITE,
    FileFacts,
    User,
)
from agent.shell import argument, quoted

MISSING, CLOSED, LOOP, UNSEEN = "missing", "closed", "loop", "unseen"
VERBS = {SEARCH: "pass through", WRITE: "use", WRITE | SEARCH: "make files in", READ: "read",
         READ | WRITE: "use"}


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What keeps a user from a file."""

    kind: str                       # MISSING, CLOSED, LOOP, or UNSEEN: nobody here can say
    at: str                         # the file, or the directory on the way to it
    text: str                       # why, for the end of a sentence


def permits(file: FileFacts, user: User, need: int) -> bool:
    """Whether the user may do all of 'need' (READ, WRITE, SEARCH) with the file. Where an access
    control list says more, it is taken to permit it."""
    if user.may(CAP_DAC_OVERRIDE) or file.acl:
        return True
    if user.may(CAP_DAC_READ_SEARCH):
        need &= ~READ if file.kind != "directory" else ~(READ | SEARCH)
    shift = 6 if user.uid == file.uid else 3 if file.gid in user.groups else 0
    return file.mode >> shift & need == need


def obstacle(files: Mapping[str, FileFacts], path: str, user: User, need: int) -> Obstacle | None:
    """The first thing on the way to an absolute path that keeps a user from doing 'need' there;
    'files' has the path and all directories on the way."""
    steps = [path]
    while steps[-1] != "/":
        steps.append(os.path.dirname(steps[-1]))
    for step in reversed(steps):
        file = files[step]
        if file.error in (errno.ENOENT, errno.ENOTDIR):
            return Obstacle(MISSING, step, f"{step} is not there")
        if file.error == errno.ELOOP:
            return Obstacle(LOOP, step, f"{step}: the symbolic links there lead in a circle")
        if file.error:
            return Obstacle(UNSEEN, step, f"{step}: {os.strerror(file.error)}")
        wanted = need if step == path else SEARCH
        if not permits(file, user, wanted):
            return Obstacle(CLOSED, step,
                            f"user {user.name} may not {VERBS[wanted]} {described(file)}")
    return None


def described(file: FileFacts) -> str:
    return f"{file.path} (owner {file.owner}, group {file.group}, mode {file.mode:04o})"


def opening(found: Obstacle, user: User, need: int) -> str:
    """The command that lets the user through."""
    letters = "".join(letter for bit, letter in ((READ, "r"), (WRITE, "w"), (SEARCH, "x"))
                      if need & bit)
    return f"setfacl -m {quoted(f'u:{user.name}:{letters}')} {argument(found.at)}"
