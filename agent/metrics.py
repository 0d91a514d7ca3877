"""A picture as Prometheus' metrics: pure. METRICS is all that there is; docs/metrics.md is made of
it."""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from agent.drops import OVS_REASONS, REASONS, blame
from agent.picture import LOCK_HELD, Picture

PREFIX = "vhost_agent_"
COUNTER, GAUGE = "counter", "gauge"
PORT = ("bridge", "port")
PMD = ("core", "node")
RXQ = (*PORT, "queue")
# Reasons that a port with a guest has a series of from the beginning: rate() does not see the
# first drop of a series that begins with it.
USUAL_REASONS = (*OVS_REASONS, *REASONS)

blame_of = cache(blame)

Sample = tuple[tuple[str, ...], float]          # values of the labels, value
Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Definition:
    """One metric, its name without the prefix and a counter's without '_total'."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str

    @property
    def full_name(self) -> str:
        """As Prometheus has it."""
        return PREFIX + self.name + ("_total" if self.kind == COUNTER else "")


METRICS = (
    Definition("build_info", GAUGE, ("version", "dpdk", "role"), "Versions, and 1."),
    Definition("answer_seconds", GAUGE, (),
               "Time that the agent took to answer: what its control loop was late, and its work "
               "for the answer."),
    Definition("dpdk_initialized", GAUGE, (), "1 when DPDK has started."),
    Definition("database_connected", GAUGE, (), "1 while the database's server answers."),
    Definition("database_lock_held", GAUGE, (),
               "1 while the agent is the one that serves the database."),
    Definition("database_commits", COUNTER, (), "Transactions that the database has taken."),
    Definition("reconciliations", COUNTER, (),
               "Times that the data plane was compared with the database."),
    Definition("actions", COUNTER, (), "Changes that were made to the data plane or refused."),
    Definition("action_refusals", COUNTER, (), "Changes that the data plane refused."),
    Definition("problems", GAUGE, (), "Settings of the whole host that cannot be used."),
    Definition("hugepages", GAUGE, ("kib", "state"),
               "Hugepages of the host by size, free or used by anybody."),
    Definition("dpdk_memory_reserved_bytes", GAUGE, (), "Memory that DPDK has reserved."),
    Definition("dpdk_memory_used_bytes", GAUGE, (), "Reserved memory that is in use."),
    Definition("packet_pool_bytes", GAUGE, (), "Memory in pools of packet buffers."),
    Definition("packet_buffers_in_use", GAUGE, (), "Packet buffers that hold a packet."),
    Definition("pmd_seconds", COUNTER, (*PMD, "state"),
               "Time of a PMD thread since it started: busy (rounds with packets), idle (rounds "
               "without), sleeping (in the kernel). Its load is the rate of busy."),
    Definition("pmd_iterations", COUNTER, PMD, "Rounds over its rx queues."),
    Definition("pmd_busy_iterations", COUNTER, PMD, "Rounds in which packets came."),
    Definition("pmd_rx_packets", COUNTER, PMD, "Packets that a PMD thread received."),
    Definition("pmd_tx_packets", COUNTER, PMD, "Packets that a PMD thread sent."),
    Definition("pmd_tx_contentions", COUNTER, PMD,
               "Times another PMD thread held the lock of the tx queue."),
    Definition("pmd_rx_queues", GAUGE, PMD, "Rx queues that a PMD thread polls."),
    Definition("port_info", GAUGE, (*PORT, "type", "ofport"), "Type and number of a port, and 1."),
    Definition("port_up", GAUGE, PORT, "1 when the link is up: of a guest, when its driver runs."),
    Definition("port_error", GAUGE, PORT, "1 when the port is not served (Interface.error)."),
    Definition("port_problems", GAUGE, PORT,
               "1 when something is said in status:problems or status:reason."),
    Definition("port_guest_connects", COUNTER, PORT,
               "Times a guest became ready since the port was added."),
    Definition("port_rx_queues", GAUGE, (*PORT, "state"), "Rx queues by state: enabled, disabled."),
    Definition("port_rx_packets", COUNTER, PORT,
               "Packets that the switch received by the port. Begins anew with each guest, as do "
               "the next three."),
    Definition("port_rx_bytes", COUNTER, PORT, "Bytes likewise."),
    Definition("port_tx_packets", COUNTER, PORT, "Packets that the switch sent by the port."),
    Definition("port_tx_bytes", COUNTER, PORT, "Bytes likewise."),
    Definition("port_tx_retries", COUNTER, PORT,
               "Times the switch tried again to send, for the guest's ring was full."),
    Definition("port_drops", COUNTER, (*PORT, "reason", "blame"),
               "Dropped packets since the port was added, by key of Interface.statistics, and "
               "whose fault that is."),
    Definition("port_pmd_seconds", COUNTER, PORT,
               "Time of PMD threads that went to what came by the port, since it was added."),
    Definition("rxq_packets", COUNTER, RXQ,
               "Packets by rx queue, of ports that have more than one."),
    Definition("rxq_pmd_seconds", COUNTER, RXQ, "Time of PMD threads likewise."),
)


def families(picture: Picture, answer_s: float) -> Iterator[Metric]:
    """Each metric with its samples; 'answer_s' is how long the picture took to come."""
    samples: dict[str, list[Sample]] = {metric.name: [] for metric in METRICS}
    for name, labels, value in (*host(picture, answer_s), *pmds(picture), *ports(picture)):
        samples[name].append((labels, value))
    for metric in METRICS:
        make = CounterMetricFamily if metric.kind == COUNTER else GaugeMetricFamily
        family = make(PREFIX + metric.name, metric.help, labels=metric.labels)
        for labels, value in samples[metric.name]:
            family.add_metric(labels, value)
        yield family


def host(picture: Picture, answer_s: float) -> Iterator[tuple[str, tuple[str, ...], float]]:
    agent, database, memory = picture["agent"], picture["database"], picture["memory"]
    yield "build_info", (agent["version"], agent["dpdk"], agent["role"]), 1
    for name, value in (
            ("answer_seconds", answer_s),
            ("dpdk_initialized", agent["dpdk_initialized"]),
            ("database_connected", database["connected"]),
            ("database_lock_held", database["connected"] and database["lock"] == LOCK_HELD),
            ("database_commits", database["commits"]),
            ("reconciliations", picture["reconciler"]["steps"]),
            ("actions", picture["reconciler"]["actions"]),
            ("action_refusals", picture["reconciler"]["refusals"]),
            ("problems", len(picture["problems"])),
            ("dpdk_memory_reserved_bytes", memory["reserved_bytes"]),
            ("dpdk_memory_used_bytes", memory["used_bytes"]),
            ("packet_pool_bytes", memory["packet_pool_bytes"]),
            ("packet_buffers_in_use", memory["packet_buffers_in_use"])):
        yield name, (), float(value)
    for pool in memory["hugepages"]:
        yield "hugepages", (str(pool["kib"]), "free"), pool["free"]
        yield "hugepages", (str(pool["kib"]), "used"), pool["total"] - pool["free"]


def pmds(picture: Picture) -> Iterator[tuple[str, tuple[str, ...], float]]:
    hz = picture["tsc_hz"]
    for pmd in picture["pmds"]:
        labels = (str(pmd["core"]), str(pmd["node"]))
        busy, sleeping = pmd["busy_cycles"], pmd["sleep_cycles"]
        for state, cycles in (("busy", busy), ("sleeping", sleeping),
                              ("idle", max(0, pmd["cycles"] - busy - sleeping))):
            yield "pmd_seconds", (*labels, state), cycles / hz
        for key in ("iterations", "busy_iterations", "rx_packets", "tx_packets", "tx_contentions"):
            yield f"pmd_{key}", labels, pmd[key]
        yield "pmd_rx_queues", labels, pmd["rxqs"]


def ports(picture: Picture) -> Iterator[tuple[str, tuple[str, ...], float]]:
    hz = picture["tsc_hz"]
    for port in picture["ports"]:
        labels = (port["bridge"], port["name"])
        status, ofport = port["status"], port["ofport"]
        yield "port_info", (*labels, port["type"], "" if ofport is None else str(ofport)), 1
        yield "port_up", labels, port["link_state"] == "up"
        yield "port_error", labels, port["error"] is not None
        yield "port_problems", labels, "problems" in status or "reason" in status
        if port["guest"]:
            yield "port_guest_connects", labels, port["connects"]
        if "traffic" in port:
            yield from traffic(port, labels, hz)


def traffic(port: Facts, labels: tuple[str, str], hz: int
            ) -> Iterator[tuple[str, tuple[str, ...], float]]:
    counts = port["traffic"]
    for key in ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes"):
        yield f"port_{key}", labels, counts[key]
    if port["guest"]:
        yield "port_tx_retries", labels, counts["tx_retries"]
    usual = dict.fromkeys(USUAL_REASONS if port["connected"] else (), 0)
    for reason, count in {**usual, **counts["drops"]}.items():
        yield "port_drops", (*labels, reason, blame_of(reason)), count
    rxqs = [rxq for rxq in port["rxqs"] if rxq["core"] is not None or port["connected"]]
    if rxqs:
        yield from queues(rxqs, labels, hz)


def queues(rxqs: Iterable[Facts], labels: tuple[str, str], hz: int
           ) -> Iterator[tuple[str, tuple[str, ...], float]]:
    rxqs = list(rxqs)
    enabled = sum(rxq["enabled"] for rxq in rxqs)
    yield "port_rx_queues", (*labels, "enabled"), enabled
    yield "port_rx_queues", (*labels, "disabled"), len(rxqs) - enabled
    yield "port_pmd_seconds", labels, sum(rxq["cycles"] for rxq in rxqs) / hz
    if len(rxqs) > 1:
        for number, rxq in enumerate(rxqs):
            yield "rxq_packets", (*labels, str(number)), rxq["packets"]
            yield "rxq_pmd_seconds", (*labels, str(number)), rxq["cycles"] / hz
