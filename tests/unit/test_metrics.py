"""A picture as Prometheus' metrics."""
from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from agent.metrics import METRICS, families
from agent.metrics_server import Collector
from agent.picture import LOCK_TAKEN, DatabaseFacts, Picture, Seen
from tests.unit.pictures import HZ, count, guest, pmd, port, seen, taken

Labels = dict[str, str]


def scraped(picture: Picture) -> dict[str, list[tuple[Labels, float]]]:
    """What a scrape says, by name: read back from the text of it."""
    registry = CollectorRegistry()
    registry.register(Collector(picture, 0.25))     # type: ignore[arg-type]
    found: dict[str, list[tuple[Labels, float]]] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def value(of: Seen, name: str, **labels: Any) -> float:
    (one,) = (value for found, value in scraped(taken(of))[f"vhost_agent_{name}"]
              if labels.items() <= found.items())
    return one


def two_queues(picture: Picture) -> Picture:
    port(picture, "a")["rxqs"] *= 2
    return picture


def test_every_metric_has_samples_and_a_sentence() -> None:
    found = scraped(two_queues(taken(count(seen("a"), "a"))))
    assert found.keys() == {metric.full_name for metric in METRICS}
    for metric in METRICS:
        assert metric.help.endswith("."), metric.name
        assert re.fullmatch("[a-z][a-z_]*", metric.name)
        assert not metric.name.endswith("_total"), "prometheus-client adds it"
        for labels, _ in found[metric.full_name]:
            assert labels.keys() == set(metric.labels)


def test_counters_of_a_port() -> None:
    of = count(seen("a"), "a", rx=(5, 500), tx=(2, 200), cycles=HZ // 2, tx_failure_drops=4,
               rx_storm_drops=1, tx_retries=3)
    where = {"bridge": "br0", "port": "a"}
    assert value(of, "port_rx_packets_total", **where) == 5
    assert value(of, "port_tx_bytes_total", **where) == 200
    assert value(of, "port_tx_retries_total", **where) == 3
    assert value(of, "port_pmd_seconds_total", **where) == 0.5
    assert value(of, "port_drops_total", reason="ovs_tx_failure_drops", blame="guest too slow") == 4
    assert value(of, "port_drops_total", reason="rx_storm_drops", blame="policy") == 1
    assert value(of, "port_drops_total", reason="rx_malformed_drops", blame="bad descriptor") == 0
    assert value(of, "port_up", **where) == 1
    assert value(of, "port_info", type="dpdkvhostuserclient", ofport="1") == 1
    assert value(of, "port_rx_queues", state="enabled") == 1


def test_queues_are_told_apart_where_there_are_several() -> None:
    assert "vhost_agent_rxq_packets_total" not in scraped(taken(seen("a")))
    found = scraped(two_queues(taken(count(seen("a"), "a", rx=(5, 500)))))
    assert [labels["queue"] for labels, _ in found["vhost_agent_rxq_packets_total"]] == ["0", "1"]


def test_port_without_guest_and_port_that_is_not_served() -> None:
    of = replace(guest(seen("a", "b", guests=False), "b", connects=3), errors={"a": "no"})
    assert value(of, "port_error", port="a") == 1
    assert value(of, "port_up", port="b") == 0
    assert value(of, "port_guest_connects_total", port="b") == 3
    assert value(of, "port_rx_packets_total", port="b") == 0
    assert "vhost_agent_port_drops_total" not in scraped(taken(of))


def test_threads_and_the_host() -> None:
    of = pmd(seen("a"), cycles=10 * HZ, busy_cycles=2 * HZ, sleep_cycles=5 * HZ, iterations=9)
    assert {state: value(of, "pmd_seconds_total", core="3", node="1", state=state)
            for state in ("busy", "idle", "sleeping")} == {"busy": 2, "idle": 3, "sleeping": 5}
    assert value(of, "hugepages", kib="2048", state="used") == 6
    assert value(of, "build_info", version="1.2", dpdk="DPDK 22.11", role="vswitchd") == 1
    assert value(of, "answer_seconds") == 0.25
    assert value(of, "database_lock_held") == 1
    assert value(replace(of, database=DatabaseFacts("unix:/x", True, LOCK_TAKEN, 0)),
                 "database_lock_held") == 0


def test_names_are_anybodys_text() -> None:
    name = 'a"b\\c\nd{}é\x1b'
    found = scraped(taken(seen(name)))
    assert [labels["port"] for labels, _ in found["vhost_agent_port_up"]] == [name]


def test_nothing_is_named_that_is_not_defined() -> None:
    assert [family.name for family in families(taken(seen("a")), 0)] == [
        f"vhost_agent_{metric.name}" for metric in METRICS]
