"""Options from their texts, as the contract in schema/ has them: pure. Every text that cannot be
used gets a sentence."""
from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence

import schema

SHOWN_MOST = 120                # characters of a text that a sentence repeats
KEY = re.compile(r"[\w.:-]{1,120}", re.ASCII)
INTEGER = re.compile(r"[+-]?[0-9]+")
NATURAL = re.compile(r"\+?(?:0[xX]([0-9a-fA-F]+)|(0[0-7]*)|([1-9][0-9]*))")
PAIR = re.compile(r"([^:=(,\s]*)(?:[:=]([^,\s]*)|\(([^)]*)\)?)?", re.ASCII)
HEX_DIGITS = frozenset("0123456789abcdef")
INT_MOST = (1 << 31) - 1
WORDS_MOST = 3                  # of a list that a sentence repeats
RANGES_MOST = 8                 # of cores, likewise
BOOLEANS = {"true": True, "false": False}

Value = str | int | bool | None


def shown(text: str) -> str:
    """A text of a user's in quotes, on one line and not too long."""
    visible = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text[:SHOWN_MOST])
    return f"'{visible}'" if len(text) <= SHOWN_MOST else f"'{visible}...' ({len(text)} characters)"


def value(o: schema.Option, text: str | None) -> tuple[Value, str | None]:
    """Value of an option and, when its text could not be used, why; then it is the default."""
    if text is None:
        return o.default, None
    match o.type:
        case "integer":
            number = integer(text)
            if number is None:
                return o.default, f"{o.key}: {shown(text)} is not an integer{using(o)}"
            if not in_range(number, o.minimum, o.maximum):
                said = number if len(text) < SHOWN_MOST else shown(text)
                return o.default, (f"{o.key}: {said} is outside {span(o.minimum, o.maximum)}"
                                   f"{using(o)}")
            return number, None
        case "boolean":
            if text.lower() not in BOOLEANS:
                return o.default, f"{o.key}: {shown(text)} is neither true nor false{using(o)}"
            return BOOLEANS[text.lower()], None
        case "choice":
            if text not in o.words:
                return o.default, (f"{o.key}: {shown(text)} is none of {', '.join(o.words)}"
                                   f"{using(o)}")
            return text, None
        case _:
            return text, None


def integer(text: str) -> int | None:
    try:
        return int(text) if INTEGER.fullmatch(text) else None
    except ValueError:          # more digits than Python converts
        return None


def in_range(number: int, minimum: int | None, maximum: int | None) -> bool:
    return (minimum is None or number >= minimum) and (maximum is None or number <= maximum)


def span(minimum: int | None, maximum: int | None) -> str:
    return f"{'' if minimum is None else minimum}..{'' if maximum is None else maximum}"


def using(o: schema.Option) -> str:
    """What happens with an unusable text, to end a sentence."""
    if o.default is None:
        return f"; {o.invalid}"
    default = str(o.default).lower() if isinstance(o.default, bool) else o.default
    return f", using {default}"


def pairs(text: str) -> Iterator[tuple[str, str, str]]:
    """(word, its key, its value) of a list with commas or blanks between: 'key', 'key:value',
    'key=value' or 'key(value)' (OVS: ofputil_parse_key_value)."""
    for match in PAIR.finditer(text):
        if match[0]:
            yield match[0], match[1], match[2] or match[3] or ""


def natural(text: str, most: int) -> int | None:
    """A number of a list, 0..most, as C writes it: decimal, 0x and hexadecimal, or 0 and octal."""
    match = NATURAL.fullmatch(text)
    if match is None:
        return None
    digits, base = next((d, b) for d, b in zip(match.groups(), (16, 8, 10), strict=True) if d)
    try:
        number = int(digits, base)
    except ValueError:          # more digits than Python converts
        return None
    return number if number <= most else None


def some(words: Sequence[str]) -> str:
    """The first of many words of a user's list, for a sentence."""
    return ", ".join(map(shown, words[:WORDS_MOST])) + (", ..." if len(words) > WORDS_MOST else "")


def cpu_mask(text: str, online: Collection[int]) -> tuple[tuple[int, ...], str | None]:
    """Cores of a hexadecimal mask that exist here, and what is wrong with the rest. What is no
    digit counts as 0, as in OVS."""
    digits = text.lower().removeprefix("0x")
    mask = int("".join(d if d in HEX_DIGITS else "0" for d in digits) or "0", 16)
    wanted = [core for core, bit in enumerate(reversed(f"{mask:b}")) if bit == "1"]
    cores = tuple(core for core in wanted if core in online)
    problems = []
    if not digits or not set(digits) <= HEX_DIGITS:
        problems.append(f"{shown(text)} is not a hexadecimal mask: what is no digit counts as 0")
    if missing := [core for core in wanted if core not in online]:
        problems.append(f"no such core: {number_ranges(missing)}, left out")
    return cores, "; ".join(problems) or None


def number_ranges(cores: Sequence[int]) -> str:
    """Ascending numbers in few words: '2-5, 8', the first ranges of many."""
    ranges: list[list[int]] = []
    for core in cores:
        if ranges and core == ranges[-1][1] + 1:
            ranges[-1][1] = core
        else:
            ranges.append([core, core])
    said = [str(a) if a == b else f"{a}-{b}" for a, b in ranges[:RANGES_MOST]]
    return ", ".join(said) + (", ..." if len(ranges) > RANGES_MOST else "")


class Texts:
    """The texts of one column, read option by option; collects what is wrong with them."""

    def __init__(self, texts: Mapping[str, str], table: str, column: str, prefix: str = ""
                 ) -> None:
        """'prefix' is what a user types before the keys, and 'texts' is without."""
        self._texts = texts
        self._prefix = prefix
        self._table = table
        self._column = column
        self.problems: list[tuple[schema.Option, str]] = []

    def option(self, key: str) -> schema.Option:
        return schema.option(self._table, self._column, key)

    def is_set(self, key: str) -> bool:
        return self.option(key).key in self._texts

    def text(self, key: str) -> str:
        """The text of an option; empty when it is not set."""
        return self._texts.get(self.option(key).key, "")

    def integer(self, key: str) -> int:
        found = self._value(key)
        assert isinstance(found, int)
        return found

    def choice(self, key: str) -> str:
        """One of the option's words."""
        found = self._value(key)
        assert isinstance(found, str)
        return found

    def boolean(self, key: str) -> bool | None:
        """None: not set, or not usable, of an option without a default."""
        found = self._value(key)
        assert found is None or isinstance(found, bool)
        return found

    def complain(self, key: str, why: str) -> None:
        """A problem that the option's type does not tell: 'why' follows its name."""
        self.problems.append((self.option(key), f"{self.typed(key)}: {why}"))

    def typed(self, key: str) -> str:
        """The key as a user types it."""
        return self._prefix + key

    def _value(self, key: str) -> Value:
        o = self.option(key)
        found, problem = value(o, self._texts.get(key))
        if problem is not None:
            self.problems.append((o, self._prefix + problem))
        return found


def without_effect(texts: Collection[str], table: str, column: str, prefix: str = ""
                   ) -> Iterator[str]:
    """A sentence for each key of Open vSwitch that does nothing here. 'prefix' as of Texts."""
    known = schema.without_effect(table, column)
    for key in sorted(known.keys() & set(texts)):
        yield f"{prefix}{key}: has no effect: {known[key]}"


def unknown(texts: Collection[str], table: str, column: str, known: Collection[str], what: str
            ) -> Iterator[str]:
    """A sentence for each key that is neither in 'known' nor Open vSwitch's, with the nearest."""
    elsewhere = schema.without_effect(table, column)
    for key in sorted(texts):
        if key not in known and key not in elsewhere:
            near = difflib.get_close_matches(key, known, n=1)
            yield (f"{key_name(key)}: not an option of {what}"
                   f"{f'; did you mean {near[0]}?' if near else ''}")


def key_name(key: str) -> str:
    """A key as it begins a sentence: in quotes where it does not look like one."""
    return key if KEY.fullmatch(key) else shown(key)


def misspelt(texts: Collection[str], table: str, column: str, prefix: str = ""
             ) -> Iterator[tuple[str, str]]:
    """(key that it resembles, sentence) for unknown keys that resemble a known one: the column
    holds other programs' keys too. 'prefix' as of Texts."""
    known = [*(o.key for o in schema.options_of(table, column)),
             *schema.without_effect(table, column)]
    for key in sorted(texts):
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.85)
            if near:
                yield near[0], (f"{key_name(prefix + key)}: not an option; did you mean "
                                f"{prefix}{near[0]}?")


def nearest(texts: Texts, key: str, text: str) -> int:
    """The number nearest to the text's that the option allows; its default for 0 and what is no
    32-bit number. A negative one means the greatest (OVS: mac_learning_set_idle_time() and its like
    take it for a large unsigned one)."""
    o = texts.option(key)
    assert isinstance(o.default, int)
    assert o.minimum is not None
    assert o.maximum is not None
    if not text:
        return o.default
    number = integer(text)
    if number is None:
        texts.complain(key, f"{shown(text)} is not an integer, using {o.default}")
        return o.default
    if number == 0 or not -INT_MOST <= number <= INT_MOST:
        using = o.default
    elif number < 0:
        using = o.maximum
    else:
        using = min(max(number, o.minimum), o.maximum)
    if using != number:
        said = str(number) if abs(number) <= INT_MOST else shown(text)
        texts.complain(key, f"{said} is outside {span(o.minimum, o.maximum)}, using {using}")
    return using
