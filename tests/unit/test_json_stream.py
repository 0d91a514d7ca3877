"""Any cut of any stream of objects gives the same objects as json; what is no JSON is refused."""
from __future__ import annotations

import json
import time
from itertools import pairwise
from typing import Any

import ovs.json
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.json_stream import JsonStream, MalformedError

INTEGERS = st.integers(-1 << 63, (1 << 63) - 1)
REALS = st.floats(allow_nan=False, allow_infinity=False)
EXACT_REALS = st.floats(-1e15, 1e15) | st.sampled_from([1e-300, 1e300])     # as json reads them
VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | EXACT_REALS | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=15)
OBJECTS = st.dictionaries(st.text(), VALUES, max_size=5).filter(
    lambda value: "\\u0000" not in json.dumps(value))
BLANKS = st.text(" \t\n\r", max_size=3)


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[dict[str, Any]], bytes]:
    """Some objects, and a text of them all, with and without escapes and blanks."""
    values = draw(st.lists(OBJECTS, max_size=5))
    text = draw(BLANKS)
    for value in values:
        text += json.dumps(value, ensure_ascii=draw(st.booleans()),
                           indent=draw(st.sampled_from([None, 1]))) + draw(BLANKS)
    return values, text.encode()


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    at = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(at)]


def taken(stream: JsonStream) -> list[dict[str, Any]]:
    values = []
    while (value := stream.next()) is not None:
        values.append(value)
    assert not stream.is_ready
    return values


def decoded(parts: list[bytes]) -> list[dict[str, Any]]:
    stream, values = JsonStream(), []
    for part in parts:
        stream.feed(part)
        values += taken(stream)
    return values


@given(streams(), st.lists(st.integers(0), max_size=8))
def test_cut_anywhere_gives_the_same_objects(stream: tuple[list[dict[str, Any]], bytes],
                                             cuts: list[int]) -> None:
    values, data = stream
    assert decoded(pieces(data, cuts)) == values


@given(streams())
def test_cut_everywhere_gives_each_object_with_its_last_byte(
        stream: tuple[list[dict[str, Any]], bytes]) -> None:
    values, data = stream
    reader, found = JsonStream(), []
    for at in range(len(data)):
        reader.feed(data[at:at + 1])
        new = taken(reader)
        assert not new or data[at:at + 1] == b"}"
        found += new
    assert found == values


@pytest.mark.parametrize("text", [
    '{"a":"\\u00e9\\ud83d\\ude00\\\\\\"\\/\\b"}', '{"a":"é😀\x7f"}', '{"a":-1.5e+10}', '{"a":-0.0}',
    '{"a":1E5}', '{"a":[true,false,null]}', '{"a":"}"}', '{"a":"{[\\"]"}', '{"a":[{},{"b":[]}]}',
    '{"\\\\":"\\\\"}', '{"a":"\\\\u0000"}', '{}'])
def test_three_pieces_cut_at_any_byte(text: str) -> None:
    data = f"{text} {text}".encode()
    for cut in range(len(data) + 1):
        for second in range(cut, len(data) + 1):
            parts = [data[:cut], data[cut:second], data[second:]]
            assert decoded(parts) == [json.loads(text)] * 2, parts


@given(REALS | INTEGERS, st.sampled_from(["", "e0", "E2", "e-3", ".0", ".50", ".0e1"]))
@example(9223372036854775807, ".0")
@example(-9223372036854775808, ".0")
@example(0.0, "e5")
def test_numbers_are_those_of_python_ovs(number: float, tail: str) -> None:
    text = f'{{"n":{number}{tail if isinstance(number, int) else ""}}}'
    (got,) = decoded([text.encode()])
    expected = ovs.json.from_string(text)["n"]
    assert (got["n"], type(got["n"])) == (expected, type(expected))


@pytest.mark.parametrize("text", [
    "x", "[", '"a"', "1", "}", "\x00", "\ufeff{", "{x", "{1", "{]", "{,", "{'a':1}", '{"a"}',
    '{"a",', '{"a"1', '{"a":}', '{"a":x', '{"a":tx', '{"a":1x', '{"a":1]', '{"a":01', '{"a":1.x',
    '{"a":--', '{"a":+', '{"a":1,,', '{"a":1,}', '{"a":[1,]', '{"a":"\n', '{"a":"\\x',
    '{"a":"\\u12x4 "', '{"a":NaN}', '{"a":Infinity}', '{"a":-Infinity}', '{"a":1e999}',
    '{"a":"\\u0000"}', '{"a":"\\ud800"}', '{"a":"\\udc00"}', '{"a":"\\\\\\ud800\\u0041"}', "{}x",
    "{}]", '{"a":' + "9" * 5000 + "}", '{"a":trux', '{"a" "b'])
def test_malformed_is_told_from_incomplete_at_once(text: str) -> None:
    with pytest.raises(MalformedError):
        decoded([text.encode()])
    with pytest.raises(MalformedError):
        decoded([text.encode()[i:i + 1] for i in range(len(text.encode()))] + [b" " * 5000])


@given(st.binary(min_size=1, max_size=200), st.integers(0))
def test_bytes_in_the_middle_do_not_go_unnoticed_for_long(noise: bytes, at: int) -> None:
    """After noise the stream is refused, or is JSON that json takes as well."""
    data = json.dumps({"method": "update", "params": [{"a": [1.5, True, "x\\é"]}] * 3}).encode() * 2
    at %= len(data)
    data = data[:at] + noise + data[at:] + b'{"x":1}' * 500
    try:
        values = decoded([data])
    except (MalformedError, UnicodeDecodeError):
        return
    scanner, text, expected = json.JSONDecoder(), data.decode().lstrip(" \t\n\r"), []
    while text:
        value, end = scanner.raw_decode(text)
        expected.append(value)
        text = text[end:].lstrip(" \t\n\r")
    assert values == expected


@pytest.mark.parametrize("bad", [b"\xff", b"{\"a\":\"\xc3(", b"\xed\xa0\x80", b"{\"\xf8"])
def test_what_is_no_utf_8_is_refused(bad: bytes) -> None:
    with pytest.raises(UnicodeDecodeError):
        decoded([bad])


@pytest.mark.parametrize("bomb", ['{"a":' * 200_000, '{"a":' + "[" * 200_000,
                                  '{"a":' + "[" * 200_000 + "]" * 200_000 + "}"])
@pytest.mark.parametrize("size", [100, 1 << 16, 1 << 21])
def test_depth_bomb_is_refused(bomb: str, size: int) -> None:
    data = bomb.encode()
    with pytest.raises(MalformedError):
        decoded([data[i:i + size] for i in range(0, len(data), size)])


def test_nesting_of_a_hundred_is_fine() -> None:
    text = '{"a":' * 100 + "[]" + "}" * 100
    assert decoded([text[i:i + 7].encode() for i in range(0, len(text), 7)]) == [json.loads(text)]


def bytes_until_refused(start: bytes, more: bytes) -> int:
    stream, fed = JsonStream(), len(start)
    stream.feed(start)
    try:
        while True:
            assert stream.next() is None
            stream.feed(more)
            fed += len(more)
    except MalformedError:
        return fed


def test_object_without_end_is_refused_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.json_stream.MAX_TEXT", 1 << 20)
    assert bytes_until_refused(b'{"a":"', b"x" * (1 << 16)) < 10 << 20


def test_noise_in_a_long_object_is_found_before_its_end() -> None:
    start = b'{"a":[' + b'{"b":1},' * 10_000
    assert bytes_until_refused(start, b'{"b":1},,' * 1000) < 10 * len(start)


def test_many_small_pieces_cost_little_more_than_one() -> None:
    """Quadratic cost would be hundreds of times as much."""
    row = json.dumps({"x": ["map", [["a}", "{b\\"]]], "y": list(range(20))})
    data = b'{"rows":[' + ",".join([row] * 30_000).encode() + b"]}"

    def cost(size: int) -> float:
        start = time.process_time()
        (value,) = decoded([data[i:i + size] for i in range(0, len(data), size)])
        assert len(value["rows"]) == 30_000
        return time.process_time() - start

    assert cost(2048) < 20 * cost(len(data))
