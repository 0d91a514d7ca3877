"""What other users of this host could get at, of what an agent makes and reads: closed where that
is the agent's to decide, else said at its start."""
from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from agent import remotes
from agent.settings import Settings

OTHERS_WRITE = 0o002            # of a umask: nobody but owner and group writes to what is made
OTHERS_ALL = 0o077


def close_umask() -> int:
    """From now on this process makes nothing that every user may write to, and no socket that every
    user may connect to; what its umask was."""
    umask = os.umask(OTHERS_ALL)        # there is no other way to read it
    os.umask(umask | OTHERS_WRITE)
    return umask


def exposures(settings: Settings, umask: int) -> Iterator[str]:
    """Sentences for the operator. 'umask' is what the agent was started with."""
    if not umask & OTHERS_WRITE:
        yield (f"started with the umask {umask:04o}, which would let every user of this host write "
               f"to what the agent makes: {umask | OTHERS_WRITE:04o} is used")
    for what, directory in (("run directory", settings.rundir), ("log directory", settings.logdir)):
        yield from open_to_all(what, directory)
    key = settings.tls.private_key
    if key is not None and (mode := _mode(key)) & (stat.S_IRGRP | stat.S_IROTH):
        yield (f"--private-key={key}: others than its owner may read it (mode "
               f"{stat.S_IMODE(mode):04o}), and so be taken for this agent")
    for remote in remotes.split(settings.remote) if settings.standalone is None else ():
        kind, _, address = remote.partition(":")
        if kind == "tcp" and not remotes.listen("", address).is_loopback:
            yield (f"remote {remote}: whoever is on the way can read and change the database; "
                   "ssl: cannot be listened to")


def open_to_all(what: str, directory: str) -> Iterator[str]:
    if _mode(directory) & stat.S_IWOTH:
        yield (f"{what} {directory}: every user of this host may put files and links there, in "
               "place of the agent's: take that from them (chmod o-w)")


def _mode(path: str) -> int:
    try:
        return os.stat(path).st_mode
    except OSError:                     # who needs it says so
        return 0
