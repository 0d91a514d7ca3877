"""Names as words of a shell, for commands that a person may copy: pure. Names of ports and paths of
sockets are anybody's text, and a shell shall take each for one word."""
from __future__ import annotations

import shlex

from agent.table import printable


def quoted(word: str) -> str:
    """As one word, on one line; one that needs no quotes stays as it is."""
    if word.isprintable():
        return shlex.quote(word)
    return "$'" + "".join(octal(c) if not c.isprintable() or c in "'\\" else c for c in word) + "'"


def octal(character: str) -> str:
    return "".join(f"\\{byte:03o}" for byte in character.encode(errors="surrogateescape"))


def argument(*words: str) -> str:
    """Arguments, quoted, of a command that takes what begins with '-' for an option."""
    options_end = "-- " if any(word.startswith("-") for word in words) else ""
    return options_end + " ".join(map(quoted, words))


def is_plain(command: str) -> bool:
    """Whether a shell does nothing with the text but divide it into words."""
    try:
        return command == printable(command) and shlex.join(shlex.split(command)) == command
    except ValueError:              # a quote that does not end
        return False
