"""Options from their texts: every one that cannot be used gets a sentence that names it."""
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import schema
from agent.options import (
    SHOWN_MOST,
    Texts,
    cpu_mask,
    integer,
    misspelt,
    natural,
    number_ranges,
    pairs,
    shown,
    some,
    span,
    unknown,
    value,
    without_effect,
)

INTEGERS = [o for o in schema.options() if o.type == "integer"]
BOOLEANS = [o for o in schema.options() if o.type == "boolean"]
CHOICES = [o for o in schema.options() if o.type == "choice"]
OTHERS = [o for o in schema.options() if o.type not in ("integer", "boolean", "choice")]
RETRIES = schema.option("Interface", "options", "tx-retries-max")
INTERVAL = schema.option("Open_vSwitch", "other_config", "stats-update-interval")


def option_id(o: schema.Option) -> str:
    return f"{o.table}.{o.column}:{o.key}"


# --- every option of the contract -----------------------------------------------------------------

@pytest.mark.parametrize("o", schema.options(), ids=option_id)
def test_unset_option_has_its_default_and_nothing_to_say(o: schema.Option) -> None:
    assert value(o, None) == (o.default, None)


@pytest.mark.parametrize("o", INTEGERS, ids=option_id)
def test_bounds_of_an_integer_are_accepted_and_what_is_beyond_refused(o: schema.Option) -> None:
    for bound, beyond in ((o.minimum, -1), (o.maximum, 1)):
        if bound is not None:
            assert value(o, str(bound)) == (bound, None)
            assert value(o, str(bound + beyond)) == (
                o.default, f"{o.key}: {bound + beyond} is outside {span(o.minimum, o.maximum)}, "
                f"using {o.default}")


@pytest.mark.parametrize("o", INTEGERS, ids=option_id)
@given(number=st.integers())
def test_integer_is_itself_or_the_default(o: schema.Option, number: int) -> None:
    got, problem = value(o, str(number))
    inside = ((o.minimum is None or number >= o.minimum)
              and (o.maximum is None or number <= o.maximum))
    assert got == (number if inside else o.default)
    assert (problem is None) == inside


@pytest.mark.parametrize("o", INTEGERS, ids=option_id)
@pytest.mark.parametrize("text", ["", "x", "1.5", "0x10", "1_6", " 5 ", "+-1", "٣"])
def test_text_that_is_no_integer_is_said(o: schema.Option, text: str) -> None:
    assert value(o, text) == (
        o.default, f"{o.key}: '{text}' is not an integer, using {o.default}")


@pytest.mark.parametrize("o", BOOLEANS, ids=option_id)
@given(text=st.text() | st.sampled_from(["true", "True", "TRUE", "false", "FALSE"]))
def test_boolean_is_true_or_false_in_any_case_or_the_default(o: schema.Option, text: str) -> None:
    using = (f"; {o.invalid}" if o.default is None else f", using {str(o.default).lower()}")
    expected = {"true": (True, None), "false": (False, None)}.get(
        text.lower(), (o.default, f"{o.key}: {shown(text)} is neither true nor false{using}"))
    assert value(o, text) == expected


@pytest.mark.parametrize("o", CHOICES, ids=option_id)
@given(text=st.text() | st.sampled_from(["hash", "Hash", "cycles ", "block"]))
def test_choice_is_one_of_its_words_to_the_letter_or_the_default(o: schema.Option, text: str
                                                                 ) -> None:
    for word in o.words:
        assert value(o, word) == (word, None)
    if text not in o.words:
        assert value(o, text) == (o.default, f"{o.key}: {shown(text)} is none of "
                                  f"{', '.join(o.words)}, using {o.default}")


@pytest.mark.parametrize("o", OTHERS, ids=option_id)
@given(text=st.text())
def test_other_options_are_their_texts(o: schema.Option, text: str) -> None:
    assert value(o, text) == (text, None)


@given(st.text())
def test_text_in_a_sentence_is_one_short_line(text: str) -> None:
    said = shown(text)
    assert said.isprintable()
    assert len(said) < 600
    assert said.startswith("'")
    if text.isprintable() and len(text) <= SHOWN_MOST:
        assert said == f"'{text}'"


@pytest.mark.parametrize("digits", [300, 5000])
def test_number_of_many_digits_is_not_repeated_in_full(digits: int) -> None:
    o = schema.option("Interface", "options", "tx-retries-max")
    found, problem = value(o, "9" * digits)
    assert found == 8
    assert problem is not None
    assert f"({digits} characters)" in problem
    assert len(problem) < 250


# --- the parts ------------------------------------------------------------------------------------

@given(st.text())
def test_integer_takes_nothing_that_python_would_not(text: str) -> None:
    number = integer(text)
    if number is not None:
        assert number == int(text)


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("+7", 7), ("-7", -7), ("007", 7)])
def test_integer_is_decimal_with_or_without_a_sign(text: str, number: int) -> None:
    assert integer(text) == number


@pytest.mark.parametrize(("minimum", "maximum", "text"), [
    (0, 32, "0..32"), (5000, None, "5000.."), (None, 3, "..3")])
def test_span(minimum: int | None, maximum: int | None, text: str) -> None:
    assert span(minimum, maximum) == text


def test_texts_collect_what_is_wrong_with_them_in_the_order_of_reading() -> None:
    texts = Texts({"tx-retries-max": "99", "vhost-iommu-support": "yes", "vhost-server-path": "/x"},
                  "Interface", "options")
    assert texts.text("vhost-server-path") == "/x"
    assert texts.text("vhost-max-queue-pairs") == ""
    assert texts.boolean("vhost-iommu-support") is None
    assert texts.boolean("vhost-postcopy-support") is None
    assert texts.integer("tx-retries-max") == 8
    texts.complain("vhost-server-path", "'/x' will not do")
    assert texts.is_set("tx-retries-max")
    assert not texts.is_set("vhost-postcopy-support")
    assert texts.option("tx-retries-max") is RETRIES
    assert [(o.key, problem) for o, problem in texts.problems] == [
        ("vhost-iommu-support", "vhost-iommu-support: 'yes' is neither true nor false; the value "
         "for all ports is used"),
        ("tx-retries-max", "tx-retries-max: 99 is outside 0..32, using 8"),
        ("vhost-server-path", "vhost-server-path: '/x' will not do")]


def test_set_to_nothing_is_set() -> None:
    texts = Texts({"pmd-sleep-max": ""}, "Open_vSwitch", "other_config")
    assert texts.is_set("pmd-sleep-max")
    assert texts.text("pmd-sleep-max") == ""


def test_choice_that_is_none_of_the_words_is_collected_like_the_rest() -> None:
    texts = Texts({"pmd-idle-mode": "block", "pmd-rxq-assign": ""}, "Open_vSwitch", "other_config")
    assert (texts.choice("pmd-idle-mode"), texts.choice("pmd-rxq-assign")) == ("block", "cycles")
    assert [problem for _, problem in texts.problems] == [
        "pmd-rxq-assign: '' is none of cycles, roundrobin, group, using cycles"]


@pytest.mark.parametrize("read", [Texts.text, Texts.integer, Texts.boolean, Texts.choice,
                                  Texts.is_set, Texts.option])
def test_option_that_the_contract_lacks_is_a_bug(read: object) -> None:
    with pytest.raises(KeyError, match="nonsense"):
        read(Texts({}, "Interface", "options"), "nonsense")     # type: ignore[operator]


# --- lists ----------------------------------------------------------------------------------------

# as lib/ofp-parse.c takes them apart
@pytest.mark.parametrize(("text", "found"), [
    ("", []), (" ,\t\r\n,", []), ("5", [("5", "")]), ("1:2", [("1", "2")]), ("1=2", [("1", "2")]),
    ("1(2)", [("1", "2")]), ("1(2)3(4)", [("1", "2"), ("3", "4")]), ("1(2", [("1", "2")]),
    ("1(2,3)4", [("1", "2,3"), ("4", "")]), ("1:", [("1", "")]), (":2", [("", "2")]),
    ("1:2:3", [("1", "2:3")]), ("1:2=3", [("1", "2=3")]), ("1: 2", [("1", ""), ("2", "")]),
    (" 5,1:2\t3=4\r\n6 ", [("5", ""), ("1", "2"), ("3", "4"), ("6", "")]),
])
def test_list_of_keys_with_and_without_values(text: str, found: list[tuple[str, str]]) -> None:
    assert [(key, value) for _, key, value in pairs(text)] == found
    assert all(word in text for word, _, _ in pairs(text))


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99), st.sampled_from([":", "="]))),
       st.sampled_from([",", " ", ", ", "\n"]))
def test_list_has_what_was_put_into_it(put: list[tuple[int, int, str]], between: str) -> None:
    words = [f"{key}{mark}{value}" for key, value, mark in put]
    assert list(pairs(between.join(words))) == [
        (word, str(key), str(value)) for word, (key, value, _) in zip(words, put, strict=True)]


@given(st.text())
def test_no_list_stops_the_agent(text: str) -> None:
    assert all(word and len(key) + len(value) <= len(word) for word, key, value in pairs(text))


@pytest.mark.parametrize(("text", "number"), [
    ("0", 0), ("7", 7), ("+7", 7), ("0x1F", 31), ("0X1f", 31), ("010", 8), ("00", 0), ("100", 100),
    ("101", None), ("0x65", None), ("0145", None), ("08", None), ("0x", None), ("-1", None),
    ("", None), ("1.5", None), ("1e1", None), ("0o7", None), ("0b1", None), ("1_0", None),
    ("٣", None), (" 1", None), ("x", None), ("9" * 5000, None), ("0x" + "f" * 5000, None)])
def test_number_of_a_list_is_written_as_in_c(text: str, number: int | None) -> None:
    assert natural(text, 100) == number


@given(st.integers(0, 1 << 70), st.integers(0, 1 << 70))
def test_number_of_a_list_has_an_upper_bound(number: int, most: int) -> None:
    for text in (str(number), hex(number), f"0{number:o}"):
        assert natural(text, most) == (number if number <= most else None)


@pytest.mark.parametrize(("words", "said"), [
    (["a"], "'a'"), (["a", "b", "c"], "'a', 'b', 'c'"), (["a", "b", "c", "d"], "'a', 'b', 'c', ...")
])
def test_first_words_of_many(words: list[str], said: str) -> None:
    assert some(words) == said


# --- masks ----------------------------------------------------------------------------------------

NO_MASK = "is not a hexadecimal mask: what is no digit counts as 0"


@pytest.mark.parametrize(("mask", "cores", "said"), [
    ("0x3", (0, 1), None), ("0X3", (0, 1), None), ("C", (2, 3), None), ("00f", (0, 1, 2, 3), None),
    ("11", (0,), "no such core: 4, left out"),
    ("f0", (), "no such core: 4-7, left out"), ("0", (), None),
    # what is no digit counts as 0
    ("g", (), f"'g' {NO_MASK}"), ("0x", (), f"'0x' {NO_MASK}"),
    ("3g", (), f"'3g' {NO_MASK}; no such core: 4-5, left out"),
    ("g3", (0, 1), f"'g3' {NO_MASK}"),
    (" 3", (0, 1), f"' 3' {NO_MASK}"),
    ("-1", (0,), f"'-1' {NO_MASK}"),
])
def test_cpu_mask(mask: str, cores: tuple[int, ...], said: str | None) -> None:
    assert cpu_mask(mask, [0, 1, 2, 3]) == (cores, said)


@given(st.sets(st.integers(0, 200)), st.sets(st.integers(0, 200)))
def test_mask_of_any_cores_names_those_and_no_others(wanted: set[int], online: set[int]) -> None:
    got, problem = cpu_mask(f"{sum(1 << core for core in wanted):x}", sorted(online))
    assert got == tuple(sorted(wanted & online))
    missing = sorted(wanted - online)
    assert problem == (f"no such core: {number_ranges(missing)}, left out" if missing else None)


@given(st.sets(st.integers(0, 40), min_size=1))
def test_ranges_name_the_cores_and_no_others(cores: set[int]) -> None:
    named: set[int] = set()
    *parts, last = number_ranges(sorted(cores)).split(", ")
    for part in parts if last == "..." else [*parts, last]:
        first, _, end = part.partition("-")
        named |= set(range(int(first), int(end or first) + 1))
    assert named == (cores if last != "..." else {c for c in cores if c <= max(named)})


def test_mask_of_a_million_digits_takes_few_words_and_no_time() -> None:
    cores, problem = cpu_mask("f" * 1_000_000, [0, 1])
    assert cores == (0, 1)
    assert problem == "no such core: 2-3999999, left out"


# --- keys that are no options ---------------------------------------------------------------------

COLUMNS = sorted({(o.table, o.column) for o in schema.options()})


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_no_option_is_a_misspelt_one_or_without_effect(table: str, column: str) -> None:
    keys = [o.key for o in schema.options_of(table, column)]
    assert list(misspelt(keys, table, column)) == []
    assert list(unknown(keys, table, column, keys, "a port")) == []
    assert list(without_effect(keys, table, column)) == []


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_key_without_effect_is_said_with_the_reason_and_is_not_unknown(table: str, column: str
                                                                      ) -> None:
    known = schema.without_effect(table, column)
    assert known
    assert list(without_effect(known, table, column)) == [
        f"{key}: has no effect: {known[key]}" for key in sorted(known)]
    assert list(misspelt(known, table, column)) == []
    assert list(unknown(known, table, column, (), "a port")) == []


@pytest.mark.parametrize(("key", "said"), [
    ("tx-retries-mx", "did you mean tx-retries-max?"),
    ("vhost-server-pat", "did you mean vhost-server-path?"),
    ("colour", "colour: not an option of type x"),
])
def test_unknown_key_is_said_with_the_nearest_one(key: str, said: str) -> None:
    known = [o.key for o in schema.options_of("Interface", "options")]
    (problem,) = unknown({key: "1"}, "Interface", "options", known, "type x")
    assert problem.startswith(f"{key}: not an option of type x")
    assert problem.endswith(said)


@pytest.mark.parametrize(("key", "said"), [
    ("pmd-cpu-masks", ["pmd-cpu-masks: not an option; did you mean pmd-cpu-mask?"]),
    ("vhost_sock_dir", ["vhost_sock_dir: not an option; did you mean vhost-sock-dir?"]),
    ("dpdk-int", ["dpdk-int: not an option; did you mean dpdk-init?"]),
    # other programs' own
    ("ovn-remote", []), ("colour", []), ("vtep-enable", []),
])
def test_misspelt_key_is_said_and_a_strange_one_is_not(key: str, said: list[str]) -> None:
    assert [p for _, p in misspelt({key: "1"}, "Open_vSwitch", "other_config")] == said


def test_problems_come_in_the_order_of_their_keys() -> None:
    keys = {"tx-flow-ctrl": "1", "dq-zero-copy": "1", "b": "1", "a": "1"}
    assert [p.partition(":")[0] for p in without_effect(keys, "Interface", "options")] == [
        "dq-zero-copy", "tx-flow-ctrl"]
    assert [p.partition(":")[0] for p in unknown(keys, "Interface", "options", (), "x")] == [
        "a", "b"]
