"""JSON objects out of a byte stream that is cut anywhere, at the speed of the standard library.

Its scanner is C but wants whole texts. So a text is scanned when its object has ended, which
counting brackets tells, and before only when it has grown manifold, to find what is malformed:
each byte is scanned about once or twice, however small the pieces are.
"""
from __future__ import annotations

import codecs
import gc
import json
import re
from decimal import Decimal
from typing import Any

MAX_TEXT = 1 << 28              # characters of one object
MAX_DEPTH = 1000                # as python-ovs's own parser has it
GROWTH = 8                      # an incomplete text is scanned again at this many times its size,
LEAST_TEXT = 4096               # but not below this one

_BLANK = re.compile(r"[ \t\n\r]*")
_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_TO_BRACES = bytes.maketrans(b"[]", b"{}")
_NO_BRACKETS = bytes(set(range(256)) - set(b"{}[]"))
# What lies between an error and the end of a text that is merely incomplete: the beginning of
# a word or of an escape, or what follows the part of a number that was one already.
_CUT_TOKEN = re.compile(r"-?|t(ru?)?|f(a(ls?)?)?|n(ul?)?|(?<=[0-9])(\.|[eE][-+]?)"
                        r"|(?<=\\)u[0-9a-fA-F]{0,4}")
# A null character or half of a surrogate pair: strings that could be neither written nor sent.
_UNICODE_ESCAPE = re.compile(r"\\(u[dD][89abAB]..\\u[dD][c-fC-F]..|u(?P<bad>0000|[dD][89a-fA-F]..)"
                             r"|.)")


class MalformedError(ValueError):
    """What came is no JSON object; the text says why."""


def _number(text: str) -> int | float:
    """A number with a fraction or an exponent: an integer when its value is one (RFC 7047)."""
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise MalformedError(f"number outside valid range: {text}")
    if value and value.is_integer() and abs(value) <= 1 << 63:
        exact = Decimal(text)
        integer = int(exact)
        return integer if integer == exact and -1 << 63 <= integer < 1 << 63 else value
    return value or 0


def _no_constant(text: str) -> Any:
    raise MalformedError(f"invalid keyword {text}")


_SCANNER = json.JSONDecoder(parse_float=_number, parse_constant=_no_constant)


def _scan(text: str) -> tuple[Any, int]:
    """The value at the beginning of a text and where it ends; without looking for garbage in
    between, of which there is none, and which takes most of the time of a large text."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return _SCANNER.raw_decode(text)
    finally:
        if was_enabled:
            gc.enable()


class _Nesting:
    """How deep in brackets the end of a text is that comes in pieces."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escape = False            # the last piece ended in a backslash

    def ends_in(self, piece: str) -> bool:
        """Whether the outermost bracket is closed in this piece. Raises MalformedError."""
        data = piece.encode()
        if self._escape:
            data, self._escape = data[1:], False
        if b"\\" in data:
            data = _ESCAPE.sub(b"", data)
            if data.endswith(b"\\"):
                data, self._escape = data[:-1], True
        parts = data.split(b'"')
        brackets = b"".join(parts[self._in_string::2]).translate(_TO_BRACES, _NO_BRACKETS)
        self._in_string ^= len(parts) % 2 == 0
        for _ in range(MAX_DEPTH):
            pairs_taken = brackets.replace(b"{}", b"")
            if pairs_taken == brackets:
                break
            brackets = pairs_taken
        else:
            self._depth = MAX_DEPTH + 1
        closed = brackets.count(b"}")           # these come first: }}}{{
        if self._depth and closed >= self._depth:
            return True
        self._depth += len(brackets) - 2 * closed
        if self._depth > MAX_DEPTH:
            raise MalformedError(f"input exceeds maximum nesting depth {MAX_DEPTH}")
        return False


class JsonStream:
    """Bytes in, objects out. After an error it is of no more use."""

    def __init__(self) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._text = ""                             # the next object or its beginning
        self._pieces: list[str] = []                # what came after that
        self._size = 0                              # characters in both
        self._nesting: _Nesting | None = None       # of an object known to be incomplete
        self._scan_at = 0                           # size at which that is scanned anyway
        self.is_ready = False                       # something came that was not scanned yet

    def feed(self, data: bytes) -> None:
        """Raises UnicodeDecodeError or MalformedError."""
        piece = self._utf8.decode(data)
        if not piece:
            return
        self._pieces.append(piece)
        self._size += len(piece)
        if self._nesting is None or self._nesting.ends_in(piece) or self._size >= self._scan_at:
            self.is_ready = True

    def next(self) -> dict[str, Any] | None:
        """The next object; None when it has not come as a whole. Raises MalformedError."""
        if not self.is_ready:
            return None
        self._keep("".join([self._text, *self._pieces]))
        if not self._text:
            return None
        if self._text[0] != "{":
            raise MalformedError(f"an object does not begin with {self._text[0]!r}")
        try:
            value, end = _scan(self._text)
        except json.JSONDecodeError as e:
            if not (e.msg.startswith("Unterminated string")
                    or _CUT_TOKEN.fullmatch(self._text, e.pos)):
                raise MalformedError(str(e)) from e
            self._wait_for_more()
            return None
        except (ValueError, RecursionError) as e:
            raise MalformedError(str(e)) from e
        if self._text.find("\\u", 0, end) >= 0:
            for escape in _UNICODE_ESCAPE.finditer(self._text, 0, end):
                if escape["bad"]:
                    raise MalformedError(f"no character: {escape[0]}")
        self._nesting = None
        self._keep(self._text[end:])
        return dict(value)

    def _keep(self, text: str) -> None:
        """Goes on with a text whose blank beginning does not matter."""
        self._text = text[_BLANK.match(text).end():]        # type: ignore[union-attr]
        self._pieces.clear()
        self._size = len(self._text)
        self.is_ready = self._size > 0

    def _wait_for_more(self) -> None:
        """The text is incomplete: remembers what tells when to look again."""
        self.is_ready = False
        if self._size > MAX_TEXT:
            raise MalformedError(f"object of more than {MAX_TEXT} characters")
        self._scan_at = max(GROWTH * self._size, LEAST_TEXT)
        if self._nesting is None:
            self._nesting = _Nesting()
            self._nesting.ends_in(self._text)
