"""Commands and notes are found in a page, and output is compared with what a page shows."""
from __future__ import annotations

import pytest

from tools.doc_output import difference
from tools.doc_pages import Command, Fence, Note, commands, fences, steps

PAGE = """# Title

<!-- test: switch br0 -->
<!-- test: guest vm1 -->

```console
# ovs-vsctl add-port br0 vm1 \\
    -- set Interface vm1 type=tap      # a tap
$ ls
a
b

$ true
```

    indented
"""


def test_steps_are_in_order_with_their_lines() -> None:
    assert list(steps(PAGE)) == [
        Note(3, "switch br0"), Note(4, "guest vm1"),
        Command(7, "ovs-vsctl add-port br0 vm1 \\\n    -- set Interface vm1 type=tap      # a tap",
                ()),
        Command(9, "ls", ("a", "b")), Command(13, "true", ())]


def test_words_of_a_command_are_those_that_a_shell_sees() -> None:
    (command, *_) = (step for step in steps(PAGE) if isinstance(step, Command))
    assert command.words == "ovs-vsctl add-port br0 vm1 -- set Interface vm1 type=tap"


def test_indented_code_has_no_language() -> None:
    assert [block.language for block in fences(PAGE)] == ["console", ""]


def test_console_that_begins_with_output_is_an_error() -> None:
    with pytest.raises(ValueError, match="line 5"):
        list(commands(Fence("console", 5, "output\n$ ls\n")))


UUID, OTHER = "f0448e6b-5e2c-4b83-9ba7-eae9f6eb6103", "a505c6a0-ad50-498b-9d3f-4ee5c0a4ba42"


@pytest.mark.parametrize(("shown", "printed"), [
    ("", ""),
    ("a  b", "   a b"),
    ("[...]\nlast", "first\nlast"),
    ("[...]\nlast", "last"),
    ("first\n[...]", "first"),
    ("first\n[...]", "first\na\nb"),
    ("{a=[...], c=1}", "{a=5, b=6, c=1}"),
    ("time=73.6 ms, 12 %", "time=0.1 ms, 0%"),
    ("16:03:19.877010 ARP", "21:32:03.821401 ARP"),
    ("DPDK 22.11.11", "DPDK 24.11.4"),
    (f"{UUID} {UUID}", f"{OTHER} {OTHER}"),
    ("-m 1024M \\\n-x", "-m 1024M\n-x"),
    ("Port VLAN MAC Age\n1 0 02:00:00:00:00:01 4\n2 0 02:00:00:00:00:02 0",
     "Port VLAN MAC Age\n2 0 0a:00:00:00:00:0b 1\n1 0 0a:00:00:00:00:0a 0"),
])
def test_what_differs_from_run_to_run_may(shown: str, printed: str) -> None:
    assert difference(tuple(shown.split("\n")) if shown else (), printed, {}) is None


@pytest.mark.parametrize(("shown", "printed"), [
    ("", "a"),
    ("a", ""),
    ("a", "a\nb"),
    ("264", "265"),
    ("10.10.0.2", "10.10.0"),
    ("/tmp/vm1", "/tmp/vm2"),
    ("[...]\nlast", "last\nmore"),
    (f"{UUID} {UUID}", f"{OTHER} {UUID}"),
    ("Port VLAN MAC Age\n1 0 02:00:00:00:00:01 4", "Port VLAN MAC Age\n2 0 02:00:00:00:00:01 4"),
])
def test_all_else_may_not(shown: str, printed: str) -> None:
    assert difference(tuple(shown.split("\n")) if shown else (), printed, {}) is not None


def test_what_stands_for_an_address_stands_for_it_on_the_whole_page() -> None:
    same: dict[str, str] = {}
    shown = ("02:00:00:00:00:01",)
    assert difference(shown, "0a:00:00:00:00:01", same) is None
    assert difference(shown, "0a:00:00:00:00:02", same) is not None
    assert difference(shown, "0a:00:00:00:00:01", same) is None
