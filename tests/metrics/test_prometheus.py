"""Debian's Prometheus scrapes a running agent, and finds what the dashboard and the alerts name."""
from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from agent.metrics import METRICS
from tests.unit.test_dashboard import DASHBOARD, RULES, expressions
from tools.frontend import FrontEnd
from tools.guest import DIE_WITH_PARENT
from tools.host import Host, temporary_host, wait_until

AGENT_AT, PROMETHEUS_AT = "127.0.0.1:9945", "127.0.0.1:9090"
BROADCAST = b"\xff" * 6 + b"\x02\0\0\0\0\x01" + b"\x08\0" + bytes(46)
FETCH = ("import sys, urllib.request as r; "
         "sys.stdout.write(r.urlopen(sys.argv[1], timeout=20).read().decode())")
CONFIG = f"""
global: {{scrape_interval: 500ms, evaluation_interval: 1s}}
rule_files: [{RULES}]
scrape_configs:
  - job_name: vhost-agent
    static_configs: [{{targets: ['{AGENT_AT}']}}]
"""
Query = Callable[[str], list[dict[str, Any]]]


def fetch(host: Host, url: str) -> str:
    return host.inside(sys.executable, "-c", FETCH, url)


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """Two guests on a bridge, one of which takes nothing, and a port that is not served."""
    with temporary_host("vhost-prometheus") as host:
        host.start_ovsdb()
        host.enable_dpdk()
        host.start_agent(f"--metrics={AGENT_AT}")
        host.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")
        paths = [str(host.directory / f"c{i}.sock") for i in range(2)]
        for i, path in enumerate(paths):
            host.vsctl("add-port", "br0", f"c{i}", "--", "set", "Interface", f"c{i}",
                       "type=dpdkvhostuserclient", f"options:vhost-server-path={path}")
        host.run("ovs-vsctl", "--timeout=30", "add-port", "br0", "g0", "--", "set", "Interface",
                 "g0", "type=gre")
        with (FrontEnd(paths[0], listen=True, queues=2).connect() as one,
              FrontEnd(paths[1], listen=True).connect()):
            wait_until(lambda: host.connected("c0") and host.connected("c1"), "guests run")
            sent = 0
            while sent < 1000:
                sent += one.send([BROADCAST] * 100)
            yield host


@pytest.fixture(scope="module")
def query(host: Host) -> Iterator[Query]:
    """The results of an expression, from Prometheus."""
    config = host.directory / "prometheus.yml"
    config.write_text(CONFIG)
    with (host.directory / "prometheus.log").open("w") as log:
        prometheus = subprocess.Popen(
            [*DIE_WITH_PARENT, *host.netns.command("prometheus"), f"--config.file={config}",
             f"--storage.tsdb.path={host.directory}/data", f"--web.listen-address={PROMETHEUS_AT}"],
            env=host.env, stdout=log, stderr=log, start_new_session=True)

    def query(expression: str) -> list[dict[str, Any]]:
        reply = json.loads(fetch(
            host, f"http://{PROMETHEUS_AT}/api/v1/query?query={quote(expression)}"))
        assert reply["status"] == "success", (expression, reply)
        return list(reply["data"]["result"])

    def scraped_twice() -> bool:
        try:
            return float(query("count_over_time(up[1h])")[0]["value"][1]) >= 3
        except Exception:
            assert prometheus.poll() is None, (host.directory / "prometheus.log").read_text()
            return False

    try:
        wait_until(scraped_twice, "Prometheus has scraped", 60)
        yield query
    finally:
        prometheus.terminate()
        prometheus.wait()


def test_promtool_finds_nothing_to_say(host: Host) -> None:
    text = fetch(host, f"http://{AGENT_AT}/metrics")
    done = subprocess.run(["promtool", "check", "metrics"], input=text, text=True,
                          capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    config = host.directory / "checked.yml"
    config.write_text(CONFIG)                   # and with it the rules that it names
    done = subprocess.run(["promtool", "check", "config", str(config)], text=True,
                          capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_prometheus_has_every_metric(query: Query) -> None:
    there = {series["metric"]["__name__"] for series in query('{__name__=~"vhost_agent_.*"}')}
    assert there == {metric.full_name for metric in METRICS}


def test_prometheus_has_what_the_guests_did(query: Query) -> None:
    assert [series["value"][1] for series in query('up{job="vhost-agent"}')] == ["1"]
    sent = query('vhost_agent_port_rx_packets_total{bridge="br0",port="c0"}')
    assert float(sent[0]["value"][1]) >= 1000
    (drops,) = query('vhost_agent_port_drops_total{port="c1",blame="guest too slow"}')
    assert float(drops["value"][1]) > 0
    (error,) = query("vhost_agent_port_error == 1")
    assert error["metric"]["port"] == "g0"
    assert {series["metric"]["queue"] for series in query("vhost_agent_rxq_packets_total")} == {
        "0", "1"}


def test_every_panel_has_something_to_show(query: Query) -> None:
    restarts, *panels = [
        re.sub(r"\$(instance|bridge)", ".*", expression.replace("$__rate_interval", "1m"))
        for expression in expressions(DASHBOARD)]
    for expression in panels:
        wait_until(functools.partial(query, expression), expression)
    assert query(restarts) == []


def test_alert_is_raised(host: Host, query: Query) -> None:
    wait_until(lambda: [a for a in query("ALERTS") if (
        a["metric"]["alertname"], a["metric"]["port"]) == ("VhostAgentPortNotServed", "g0")],
        "the alert for the port that is not served is pending", 30)
    assert Path(RULES).exists()
