"""What limits a port, from its Interface, Port, QoS and Queue rows: pure.

What cannot be used never takes away a limit that works: that stays as it was, and a sentence says
so.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import schema
from agent.limits import (
    EGRESS_POLICER,
    QOS_TYPES,
    TRTCM_POLICER,
    Bucket,
    Limits,
    Qos,
    QosRow,
    QueueRow,
    StormRate,
    TwoRates,
)
from agent.model import InterfaceRow
from agent.options import (
    Texts,
    in_range,
    integer,
    misspelt,
    natural,
    number_ranges,
    pairs,
    shown,
    some,
    span,
    without_effect,
)

KBIT_BYTES = 125
KPKTS = 1000
# OVS: netdev-dpdk's policer, netdev-linux's for packets
DEFAULT_BURST_KBIT = 8000
DEFAULT_BURST_KPKTS = 16
STORM_CLASSES = ("broadcast", "unknown-unicast", "multicast")
STORM_MOST = 2**32 - 1          # packets a second
STORM_LEAST_BURST = 32          # packets: one burst of a guest
NOT_LIMITED = "sent packets are not limited"


class UnusableError(Exception):
    """Why a row cannot be used."""


def limits(row: InterfaceRow, mtu: int, texts: Texts, before: Limits) -> tuple[Limits, list[str]]:
    """The limits, and what of the rows cannot be used; 'before' is what limited the port so far,
    'texts' the interface's other_config."""
    problems: list[str] = []
    return Limits(
        *policing(row, mtu, before, problems), storm=storm_rate(texts, before.storm),
        qos=None if row.port.qos is None else qos(row.port.qos, mtu, before.qos, problems),
    ), problems


# --- what is received -----------------------------------------------------------------------------

def policing(row: InterfaceRow, mtu: int, before: Limits, problems: list[str]
             ) -> tuple[Bucket | None, Bucket | None]:
    """The buckets of bytes and of packets of what a port receives."""
    rate, burst, kpkts_rate, kpkts_burst = row.ingress_policing
    received = bucket("ingress_policing", "kbit", KBIT_BYTES, rate, burst or DEFAULT_BURST_KBIT,
                      before.rx_bytes, problems)
    if received is not None and received.burst < mtu:
        problems.append(too_small("ingress_policing_burst", received.burst, mtu))
    packets = bucket("ingress_policing_kpkts", "kpkts", KPKTS, kpkts_rate,
                     kpkts_burst or DEFAULT_BURST_KPKTS, before.rx_packets, problems)
    for head, a_rate, a_burst in (("ingress_policing", rate, burst),
                                  ("ingress_policing_kpkts", kpkts_rate, kpkts_burst)):
        if a_burst and not a_rate:
            problems.append(f"{head}_burst: has no effect without {head}_rate")
    return received, packets


def bucket(head: str, unit: str, size: int, rate: int, burst: int, before: Bucket | None,
           problems: list[str]) -> Bucket | None:
    """A bucket of a rate and a burst in units of 'size'; None without a rate."""
    unusable = False
    for name, number in ((f"{head}_rate", rate), (f"{head}_burst", burst)):
        column = schema.columns()["Interface"][name]
        bounds = column["minimum"], column["maximum"]
        if not in_range(number, *bounds):
            stays = (f"{before.rate // size} {unit}/s stay in force" if before is not None
                     else "received packets are not limited")
            problems.append(f"{name}: {number} is outside {span(*bounds)}; {stays}")
            unusable = True
    if unusable:
        return before
    return Bucket(rate * size, burst * size) if rate else None


def too_small(key: str, burst: int, mtu: int) -> str:
    return f"{key}: {burst} bytes are less than the MTU {mtu}: longer packets are always dropped"


# --- what is flooded ------------------------------------------------------------------------------

def storm_rate(texts: Texts, before: StormRate) -> StormRate:
    """Packets a second of each class: one number for all three, or a list."""
    text = texts.text("storm-rate")
    every = natural(text, STORM_MOST)
    if every is not None:
        return StormRate(every, every, every)
    rates: dict[str, int] = {}
    bad: list[str] = []
    for word, key, value in pairs(text):
        rate = natural(value, STORM_MOST)
        if key not in STORM_CLASSES or rate is None:
            bad.append(word)
        else:
            rates[key] = rate
    if bad:
        stays = "those in force stay" if before != StormRate() else "nothing is limited"
        texts.complain("storm-rate", "neither PACKETS nor CLASS:PACKETS, of "
                       f"{', '.join(STORM_CLASSES)} and 0..{STORM_MOST}: {some(bad)}; {stays}")
        return before
    return StormRate(*(rates.get(key, 0) for key in STORM_CLASSES))


# --- what is sent ---------------------------------------------------------------------------------

def qos(row: QosRow, mtu: int, before: Qos | None, problems: list[str]) -> Qos | None:
    """What a QoS row limits sent packets to."""
    found: list[str] = []
    try:
        made: Qos | None = usable_qos(row, mtu, before, found)
    except UnusableError as e:
        made = before
        found.append(f"{e}; " + (NOT_LIMITED if before is None else
                                 f"{in_words(before)} stays in force"))
    problems += (f"qos: {problem}" for problem in found)
    return made


def usable_qos(row: QosRow, mtu: int, before: Qos | None, problems: list[str]) -> Qos:
    if row.type not in QOS_TYPES:
        raise UnusableError(f"type {shown(row.type)} is none of {', '.join(QOS_TYPES)}")
    texts = Texts(row.other_config, "QoS", "other_config")
    problems += unused_keys(row.other_config, "QoS")
    rates = two_rates(texts)
    if row.type == EGRESS_POLICER:
        problems += (f"{key}: has no effect with type {EGRESS_POLICER}"
                     for key, set_ in (("eir", rates.eir), ("ebs", rates.ebs),
                                       ("queues", row.queues)) if set_)
        if not rates.cir or not rates.cbs:
            raise UnusableError(f"{EGRESS_POLICER} needs cir and cbs, both above 0")
        rates = replace(rates, eir=0, ebs=0)
    check_two_rates(rates)
    if max(rates.cbs, rates.ebs) < mtu:
        problems.append(too_small("cbs" if rates.cbs >= rates.ebs else "ebs",
                                  max(rates.cbs, rates.ebs), mtu))
    if row.type == EGRESS_POLICER:
        return Qos(row.type, rates)
    return Qos(row.type, rates, queues(row.queues, rates, before, problems))


def queues(rows: Sequence[tuple[int, QueueRow]], rates: TwoRates, before: Qos | None,
           problems: list[str]) -> tuple[tuple[int, TwoRates], ...]:
    """The rates of each queue; queue 0 is there always, with the port's unless it has its own."""
    had = dict(before.queues) if before is not None else {}
    made = {0: rates}
    for number, row in rows:
        found = list(unused_keys(row.other_config, "Queue"))
        found += (f"{column}: has no effect: {schema.without_effect('Queue')[column]}"
                  for column in row.unserved)
        try:
            texts = Texts(row.other_config, "Queue", "other_config")
            made[number] = two_rates(texts) if row.other_config else rates
            check_two_rates(made[number])
        except UnusableError as e:
            made[number] = had.get(number, rates)
            found.append(f"{e}; " + ("its rates stay as they were" if number in had else
                                     "it has the port's rates"))
        problems += (f"queue {number}: {problem}" for problem in found)
    if idle := [number for number in sorted(made) if number]:
        problems.append(f"nothing is sent through queue{'s'[len(idle) == 1:]} "
                        f"{number_ranges(idle)}: only OpenFlow chooses another than 0")
    return tuple(sorted(made.items()))


def two_rates(texts: Texts) -> TwoRates:
    return TwoRates(*(amount(texts.option(key), text) for key, text in (
        ("cir", texts.text("cir")), ("cbs", texts.text("cbs")), ("eir", texts.text("eir")),
        ("ebs", texts.text("ebs")))))


def amount(o: schema.Option, text: str) -> int:
    """Bytes, or bytes a second; 0 when it is not set."""
    number = integer(text or "0")
    if number is None:
        raise UnusableError(f"{o.key}: {shown(text)} is not an integer")
    if not in_range(number, o.minimum, o.maximum):
        raise UnusableError(f"{o.key}: {shown(text)} is outside {span(o.minimum, o.maximum)}")
    return number


def check_two_rates(rates: TwoRates) -> None:
    if not rates.cir and not rates.eir:
        raise UnusableError("cir and eir are both 0: nothing would be sent")
    if rates.cir and not rates.cbs:
        raise UnusableError(f"cir={rates.cir} needs a cbs above 0")
    if rates.eir and not rates.ebs:
        raise UnusableError(f"eir={rates.eir} needs an ebs above 0")


def unused_keys(other_config: Mapping[str, str], table: str) -> Iterator[str]:
    yield from (problem for _, problem in misspelt(other_config, table, "other_config"))
    yield from without_effect(other_config, table, "other_config")


def in_words(qos: Qos) -> str:
    return f"{qos.type} with " + ", ".join(f"{key}={number}" for key, number in settings(qos))


def settings(qos: Qos) -> list[tuple[str, int]]:
    """The keys of a QoS in force and their numbers."""
    return [(key, number) for key, number in rates_of(qos.rates)
            if qos.type == TRTCM_POLICER or key in ("cir", "cbs")]


def rates_of(rates: TwoRates) -> list[tuple[str, int]]:
    return [("cir", rates.cir), ("cbs", rates.cbs), ("eir", rates.eir), ("ebs", rates.ebs)]


# --- the meters of the data plane -----------------------------------------------------------------

def meters(limits: Limits) -> dict[str, tuple[int, ...]]:
    """{meter: its numbers}, as pmd_ext.Ports.set_limits() takes them."""
    wanted: dict[str, tuple[int, ...]] = {}
    for name, received in (("rx_bytes", limits.rx_bytes), ("rx_packets", limits.rx_packets)):
        if received is not None:
            wanted[name] = (received.rate, received.burst)
    storm = limits.storm
    for name, rate in (("broadcast", storm.broadcast), ("unknown_unicast", storm.unknown_unicast),
                       ("multicast", storm.multicast)):
        if rate:
            wanted[name] = (rate, max(STORM_LEAST_BURST, rate // 10))   # of 100 ms
    if limits.qos is not None:
        rates = limits.qos.rates
        if limits.qos.type == EGRESS_POLICER:
            wanted["tx_bytes"] = (rates.cir, rates.cbs)
        else:
            for name, two in (("tx_port", rates), ("tx_queue", dict(limits.qos.queues)[0])):
                wanted[name] = (two.cir, two.cbs, two.eir, two.ebs)
    return wanted
