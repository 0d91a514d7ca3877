"""What the load generator sends, and what it says of a run."""
from __future__ import annotations

from tools.load import Counts, Measured, Run, Stream, template

ONE_FLOW, MANY = Stream(source=0, destination=1), Stream(source=1, destination=0, flows=9)


def counts(**other: int) -> Counts:
    return Counts(**{"sent": 100, "received": 90, "bytes": 5760, "late": 0, "repeated": 0,
                     "stray": 0, **other})


def run(*streams: tuple[Stream, Counts], foreign: int = 0, endpoints: int = 2) -> Run:
    """Of which a tenth of each stream came before it counted."""
    before = counts(sent=10, received=9, bytes=576)
    return Run(endpoints=endpoints, asked=tuple(stream for stream, _ in streams),
               streams=tuple(Measured(before=before, after=end, end=end) for _, end in streams),
               seconds=0.5, idle=0.1, pressed=0.5, foreign=foreign, delays=())


def test_frames_are_ipv4_and_udp_with_a_right_checksum() -> None:
    frame = template(Stream(source=3, destination=4, bytes=512), group=1)
    assert (frame[0:6].hex(), frame[6:12].hex(), frame[12:14].hex()) == (
        "020104000000", "020103000000", "0800")
    header = frame[14:34]
    assert int.from_bytes(header[2:4], "big") == 512 - 14
    total = sum(int.from_bytes(header[i:i + 2], "big") for i in range(0, 20, 2))
    assert (total & 0xffff) + (total >> 16) == 0xffff
    assert int.from_bytes(frame[38:40], "big") == 512 - 34
    assert len(frame) == 64


def test_frames_for_all_are_broadcast() -> None:
    assert template(Stream(source=0, destination=None), group=0)[:6] == b"\xff" * 6


def test_rate_is_of_what_arrived_while_it_counted() -> None:
    done = run((ONE_FLOW, counts()), (MANY, counts()))
    assert done.rate == 2 * (90 - 9) / 0.5
    assert (done.sent, done.lost) == (200, 20)
    assert done.wrong == ""


def test_frame_to_all_others_is_sent_to_each() -> None:
    done = run((Stream(source=0, destination=None), counts(received=799)), endpoints=9)
    assert (done.sent, done.lost) == (800, 1)


def test_flows_may_overtake_each_other_but_not_themselves() -> None:
    assert run((MANY, counts(late=3))).wrong == ""
    assert run((ONE_FLOW, counts(late=3))).wrong == "of the frames 3 overtook others of their flow"


def test_what_no_switch_may_do_is_named() -> None:
    assert run((MANY, counts(repeated=2, stray=1)), foreign=4).wrong == (
        "of the frames 2 came twice, 1 came out at a wrong port, 4 are of nobody here")
