"""What limits a port, from rows; and that a row which cannot be used takes nothing away."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.actions import AddPort, SetBridges, SetLimits
from agent.hostconfig import HostConfig
from agent.limits import (
    NO_LIMITS,
    Bucket,
    Limits,
    Qos,
    QosRow,
    QueueRow,
    StormRate,
    TwoRates,
)
from agent.model import (
    CLIENT_TYPE,
    BridgeRow,
    Desired,
    InterfaceRow,
    Observed,
    PmdSpec,
    PortRow,
    PortSpec,
    Snapshot,
)
from agent.options import Texts
from agent.plan import plan
from agent.policing import limits, meters
from agent.qos_commands import qos_show
from agent.validate import Memo, desired
from tests.unit.fake_datapath import FakeDatapath

MTU = 1500
EGRESS = Qos("egress-policer", TwoRates(46_000_000, 2048))
TWO = {"cir": "52000", "cbs": "2048", "eir": "10000", "ebs": "4096"}
TWO_RATES = TwoRates(52_000, 2048, 10_000, 4096)
TRTCM = Qos("trtcm-policer", TWO_RATES, ((0, TWO_RATES),))


def said(before: Limits = NO_LIMITS, qos: QosRow | None = None, storm: str | None = None,
         policing: tuple[int, int, int, int] = (0, 0, 0, 0)) -> tuple[Limits, list[str]]:
    row = InterfaceRow(UUID(int=1), "p", CLIENT_TYPE, ingress_policing=policing,
                       port=PortRow(qos=qos))
    texts = Texts({} if storm is None else {"storm-rate": storm}, "Interface", "other_config")
    found, problems = limits(row, MTU, texts, before)
    return found, [*problems, *(text for _, text in texts.problems)]


def egress(**other_config: str) -> QosRow:
    return QosRow("egress-policer", other_config)


def trtcm(other_config: Mapping[str, str] = TWO, **queues: QueueRow) -> QosRow:
    return QosRow("trtcm-policer", other_config,
                  tuple((int(number[1:]), row) for number, row in queues.items()))


# --- received -------------------------------------------------------------------------------------

@pytest.mark.parametrize(("policing", "received", "packets"), [
    ((0, 0, 0, 0), None, None),
    ((1000, 0, 0, 0), Bucket(125_000, 1_000_000), None),
    ((1000, 100, 0, 0), Bucket(125_000, 12_500), None),
    ((0, 0, 3, 0), None, Bucket(3000, 16_000)),
    ((8, 4294967295, 1, 2), Bucket(1000, 536_870_911_875), Bucket(1000, 2000))])
def test_policing_of_what_is_received(policing: tuple[int, int, int, int],
                                      received: Bucket | None, packets: Bucket | None) -> None:
    assert said(policing=policing) == (Limits(received, packets), [])


def test_policing_out_of_range_keeps_what_works() -> None:
    assert said(policing=(2**32, 0, 0, 0)) == (NO_LIMITS, [
        "ingress_policing_rate: 4294967296 is outside 0..4294967295; received packets are not "
        "limited"])
    before = Limits(Bucket(125_000, 1_000_000), Bucket(2000, 1000))
    assert said(before, policing=(1000, -1, 0, 0)) == (Limits(before.rx_bytes), [
        "ingress_policing_burst: -1 is outside 0..4294967295; 1000 kbit/s stay in force"])
    assert said(before, policing=(0, 0, 2**40, 0)) == (Limits(None, before.rx_packets), [
        f"ingress_policing_kpkts_rate: {2**40} is outside 0..4294967295; 2 kpkts/s stay in force"])


def test_bursts_that_do_nothing_or_too_little_are_said() -> None:
    assert said(policing=(0, 5, 0, 6)) == (NO_LIMITS, [
        "ingress_policing_burst: has no effect without ingress_policing_rate",
        "ingress_policing_kpkts_burst: has no effect without ingress_policing_kpkts_rate"])
    found, problems = said(policing=(1000, 11, 0, 0))
    assert found.rx_bytes == Bucket(125_000, 1375)
    assert problems == ["ingress_policing_burst: 1375 bytes are less than the MTU 1500: longer "
                        "packets are always dropped"]


# --- sent -----------------------------------------------------------------------------------------

def test_egress_policer() -> None:
    assert said(qos=egress(cir="46000000", cbs="2048")) == (Limits(qos=EGRESS), [])


def test_trtcm_policer_has_queue_0_always() -> None:
    assert said(qos=trtcm()) == (Limits(qos=TRTCM), [])
    assert said(qos=trtcm(q0=QueueRow())) == (Limits(qos=TRTCM), [])
    own = {"cir": "1000", "cbs": "2000"}
    found, problems = said(qos=trtcm(q0=QueueRow(own)))
    assert found.qos is not None
    assert (found.qos.queues, problems) == (((0, TwoRates(1000, 2000)),), [])


WRONG = [
    (QosRow("linux-htb", {"max-rate": "1"}),
     "type 'linux-htb' is none of egress-policer, trtcm-policer"),
    (QosRow(""), "type '' is none of egress-policer, trtcm-policer"),
    (egress(), "egress-policer needs cir and cbs, both above 0"),
    (egress(cir="1"), "egress-policer needs cir and cbs, both above 0"),
    (egress(cir="0", cbs="5"), "egress-policer needs cir and cbs, both above 0"),
    (egress(cir="x", cbs="5"), "cir: 'x' is not an integer"),
    (egress(cir="1", cbs="-5"), "cbs: '-5' is outside 0..1000000000000"),
    (egress(cir="9" * 30, cbs="5"), f"cir: '{'9' * 30}' is outside 0..1000000000000"),
    (trtcm({}), "cir and eir are both 0: nothing would be sent"),
    (trtcm({"cir": "1", "eir": "1", "ebs": "1"}), "cir=1 needs a cbs above 0"),
    (trtcm({"cir": "1", "cbs": "1", "eir": "2"}), "eir=2 needs an ebs above 0")]


@pytest.mark.parametrize(("row", "why"), WRONG)
@pytest.mark.parametrize("before", [None, EGRESS, TRTCM])
def test_wrong_row_keeps_what_works(row: QosRow, why: str, before: Qos | None) -> None:
    stays = {None: "sent packets are not limited",
             EGRESS: "egress-policer with cir=46000000, cbs=2048 stays in force",
             TRTCM: "trtcm-policer with cir=52000, cbs=2048, eir=10000, ebs=4096 stays in force",
             }[before]
    assert said(Limits(qos=before), qos=row) == (Limits(qos=before), [f"qos: {why}; {stays}"])


def test_qos_that_is_taken_away_is_gone() -> None:
    assert said(Limits(qos=EGRESS)) == (NO_LIMITS, [])


@pytest.mark.parametrize("before", [None, EGRESS])
def test_wrong_queue_has_the_port_s_rates_or_those_it_had(before: Qos | None) -> None:
    wrong = QueueRow({"cir": "5"})
    found, problems = said(Limits(qos=before), qos=trtcm(q0=wrong))
    assert (found.qos, problems) == (TRTCM, [
        "qos: queue 0: cir=5 needs a cbs above 0; it has the port's rates"])
    had = Qos("trtcm-policer", TWO_RATES, ((0, TwoRates(7, 8)),))
    found, problems = said(Limits(qos=had), qos=trtcm(q0=wrong))
    assert (found.qos, problems) == (had, [
        "qos: queue 0: cir=5 needs a cbs above 0; its rates stay as they were"])


def test_what_of_a_row_does_nothing_is_said() -> None:
    found, problems = said(qos=QosRow("egress-policer", {
        "cir": "1", "cbs": "1500", "eir": "1", "max-rate": "1", "other": "1", "cibs": "1"},
        ((1, QueueRow()),)))
    assert found.qos == Qos("egress-policer", TwoRates(1, 1500))
    assert problems == [
        "qos: cibs: not an option; did you mean cbs?",
        "qos: max-rate: has no effect: it is for queues of the kernel",
        "qos: eir: has no effect with type egress-policer",
        "qos: queues: has no effect with type egress-policer"]
    found, problems = said(qos=trtcm(q0=QueueRow({"min-rate": "1", **TWO}, ("dscp",)),
                                     q1=QueueRow(TWO), q7=QueueRow()))
    assert found.qos == Qos("trtcm-policer", TWO_RATES, tuple((q, TWO_RATES) for q in (0, 1, 7)))
    assert problems == [
        "qos: queue 0: min-rate: has no effect: it is for queues of the kernel",
        "qos: queue 0: dscp: has no effect: packets are not marked",
        "qos: nothing is sent through queues 1, 7: only OpenFlow chooses another than 0"]


def test_burst_that_no_packet_fits_into_is_said() -> None:
    assert said(qos=egress(cir="1", cbs="1499"))[1] == [
        "qos: cbs: 1499 bytes are less than the MTU 1500: longer packets are always dropped"]
    assert said(qos=trtcm({**TWO, "cbs": "100"}))[1] == []
    assert said(qos=trtcm({**TWO, "cbs": "100", "ebs": "200"}))[1] == [
        "qos: ebs: 200 bytes are less than the MTU 1500: longer packets are always dropped"]


# --- flooded --------------------------------------------------------------------------------------

@pytest.mark.parametrize(("text", "rates"), [
    ("1000", (1000, 1000, 1000)), ("0", (0, 0, 0)), ("", (0, 0, 0)), ("0x10", (16, 16, 16)),
    ("broadcast:5", (5, 0, 0)), ("multicast=7, unknown-unicast:6", (0, 6, 7)),
    ("broadcast:0", (0, 0, 0))])
def test_storm_rate(text: str, rates: tuple[int, int, int]) -> None:
    assert said(storm=text) == (Limits(storm=StormRate(*rates)), [])


@pytest.mark.parametrize(("text", "word"), [
    ("x", "x"), ("-1", "-1"), ("broadcast", "broadcast"), ("broadcast:x", "broadcast:x"),
    ("unicast:5", "unicast:5"), ("multicast:1,broadcast:4294967296", "broadcast:4294967296")])
def test_wrong_storm_rate_keeps_what_works(text: str, word: str) -> None:
    head = ("storm-rate: neither PACKETS nor CLASS:PACKETS, of broadcast, unknown-unicast, "
            f"multicast and 0..4294967295: '{word}'")
    assert said(storm=text) == (NO_LIMITS, [f"{head}; nothing is limited"])
    before = Limits(storm=StormRate(1, 2, 3))
    assert said(before, storm=text) == (before, [f"{head}; those in force stay"])
    assert said(before) == (NO_LIMITS, [])


# --- what is made of it ---------------------------------------------------------------------------

def test_meters_of_the_data_plane() -> None:
    assert meters(NO_LIMITS) == {}
    assert meters(Limits(Bucket(1, 2), Bucket(3, 4), StormRate(1, 1000, 0), EGRESS)) == {
        "rx_bytes": (1, 2), "rx_packets": (3, 4), "broadcast": (1, 32),
        "unknown_unicast": (1000, 100), "tx_bytes": (46_000_000, 2048)}
    own = TwoRates(1, 2, 3, 4)
    assert meters(Limits(qos=Qos("trtcm-policer", TWO_RATES, ((0, own), (1, TWO_RATES))))) == {
        "tx_port": (52_000, 2048, 10_000, 4096), "tx_queue": (1, 2, 3, 4)}


AMOUNTS = st.sampled_from(["", "0", "1", "2048", "10000000000000", "x"])
OTHER_CONFIGS = st.dictionaries(st.sampled_from(["cir", "cbs", "eir", "ebs", "rate"]), AMOUNTS)
QOS_ROWS = st.builds(
    QosRow, st.sampled_from(["egress-policer", "trtcm-policer", "linux-htb"]), OTHER_CONFIGS,
    st.dictionaries(st.integers(0, 2), st.builds(QueueRow, OTHER_CONFIGS)).map(
        lambda rows: tuple(sorted(rows.items(), key=lambda item: item[0]))))


@given(st.lists(st.one_of(st.none(), QOS_ROWS), max_size=4))
def test_whatever_the_rows_say_the_data_plane_takes_it_and_a_policer_only_goes_with_its_row(
        rows: list[QosRow | None]) -> None:
    before = NO_LIMITS
    for row in rows:
        found, problems = said(before, qos=row)
        if row is None:
            assert found.qos is None
        elif found.qos is None:
            assert before.qos is None
            assert problems
        for name, numbers in meters(found).items():
            if name in ("tx_port", "tx_queue"):
                cir, cbs, eir, ebs = numbers
                assert cir + eir > 0
                assert cbs or not cir
                assert ebs or not eir
            else:
                assert all(numbers)
        before = found


def test_reply_of_qos_show() -> None:
    assert qos_show("p", None, (0, 0, 0)) == "QoS not configured on p"
    assert qos_show("p", EGRESS, (0, 0, 0)) == (
        "QoS: p egress-policer\ncir: 46000000\ncbs: 2048")
    two = Qos("trtcm-policer", TWO_RATES, ((0, TwoRates(1, 2)), (9, TwoRates(3, 4, 5, 6))))
    assert qos_show("p", two, (7, 8, 9)) == """QoS: p trtcm-policer
cir: 52000
cbs: 2048
eir: 10000
ebs: 4096

Default:
  cir: 1
  cbs: 2
  eir: 0
  ebs: 0
  tx_packets: 7
  tx_bytes: 8
  tx_errors: 9

Queue 9:
  cir: 3
  cbs: 4
  eir: 5
  ebs: 6
  tx_packets: 0
  tx_bytes: 0
  tx_errors: 0"""


# --- from look to look ----------------------------------------------------------------------------

CONFIG = HostConfig("/run/ovs", pmds=(PmdSpec(0),), dpdk_initialized=True)


class Looked:
    """The spec of port p from look to look."""

    def __init__(self) -> None:
        self.memo: Memo = {}

    def __call__(self, uuid: int = 1, config: HostConfig = CONFIG, type_: str = CLIENT_TYPE,
                 qos: QosRow | None = None, **row: Any) -> PortSpec | None:
        interface = InterfaceRow(UUID(int=uuid), "p", type_, port=PortRow(qos=qos), **{
            "options": {"vhost-server-path": "/p"}, **row})
        bridge = BridgeRow(UUID(int=9), "br0", "netdev", interfaces=(interface,))
        return desired(Snapshot(bridges=(bridge,)), config, dict, self.memo).ports.get("p")


def test_policer_outlives_whatever_happens_to_its_row_but_for_another_port() -> None:
    look, wrong = Looked(), egress(cir="x")

    def qos(**row: Any) -> Qos | None:
        spec = look(**row)
        assert spec is not None
        return spec.limits.qos

    assert qos(qos=wrong) is None
    assert qos(qos=egress(cir="46000000", cbs="2048")) == EGRESS
    assert qos(qos=wrong) == EGRESS
    assert qos(qos=QosRow("linux-htb"), options={"vhost-server-path": "/q"}) == EGRESS
    assert qos(qos=wrong, config=HostConfig("/run", dpdk_initialized=True)) == EGRESS
    assert qos(qos=wrong, uuid=2) is None
    assert look(qos=egress(cir="46000000", cbs="2048"), type_="dpdk") is None
    assert qos(qos=wrong) is None


def test_limits_are_set_before_a_port_is_put_on_its_bridge_and_only_when_they_change() -> None:
    look, plane = Looked(), FakeDatapath()
    spec = look(qos=egress(cir="46000000", cbs="2048"))
    assert spec is not None
    wanted = Desired(ports={"p": spec})

    def acts() -> list[type]:
        actions = plan(wanted, plane.observe(), ())
        for action in actions:
            plane.apply(action)
        return [type(action) for action in actions]

    assert acts() == [AddPort]
    assert acts() == [SetLimits]
    assert plane.ports["p"].limits.qos == EGRESS
    assert acts() == []
    again = look(qos=egress(cir="46000000", cbs="2048"))
    assert again is not None
    assert again is not spec
    wanted = Desired(ports={"p": again})
    assert acts() == []
    wanted = Desired(ports={"p": spec}, bridges=desired(
        Snapshot(bridges=(BridgeRow(UUID(int=9), "br0", "netdev"),)), CONFIG, dict).bridges)
    plane = FakeDatapath()
    assert acts() == [AddPort, SetBridges]
    assert plan(wanted, Observed(dict(plane.ports), plane.bridges), ()) == (
        SetLimits("p", spec.limits),)
