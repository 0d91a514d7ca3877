"""The dashboard and the alerts name metrics that there are."""
from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from agent.drops import BLAMES
from agent.metrics import METRICS

PACKAGING = Path(__file__).parents[2] / "packaging"
DASHBOARD = PACKAGING / "grafana" / "vhost-agent.json"
RULES = PACKAGING / "prometheus" / "vhost-agent.rules.yml"
# Of prometheus-client and of Prometheus itself.
OTHERS = {"process_resident_memory_bytes", "process_start_time_seconds", "up"}
NAME = re.compile(r"\b(?:vhost_agent_|process_)[a-z_]+|\bup\b")


def expressions(dashboard: Path) -> list[str]:
    """Of all panels and annotations."""
    board = json.loads(dashboard.read_text())
    return [annotation["expr"] for annotation in board["annotations"]["list"]] + [
        target["expr"] for panel in board["panels"] for target in panel["targets"]]


def named(texts: list[str]) -> set[str]:
    return {name for text in texts for name in NAME.findall(text)}


def definitions() -> dict[str, Any]:
    return {metric.full_name: metric for metric in METRICS}


def rules() -> list[str]:
    return re.findall(r"^        expr: (.*)$", RULES.read_text(), re.M)


def test_metrics_that_are_named_exist() -> None:
    there = definitions().keys() | OTHERS
    templating = json.loads(DASHBOARD.read_text())["templating"]["list"]
    variables = [variable["definition"] for variable in templating if "definition" in variable]
    for texts in (expressions(DASHBOARD), variables, rules()):
        assert named(texts)
        assert named(texts) <= there


def test_labels_that_are_named_exist() -> None:
    for text in (*expressions(DASHBOARD), *rules()):
        for name, selector in re.findall(r"(vhost_agent_[a-z_]+)\{([^}]*)\}", text):
            labels = set(re.findall(r"(\w+)[=!]~?\"", selector))
            assert labels <= {*definitions()[name].labels, "instance", "job"}, text
        for blame in re.findall(r'blame="([^"]*)"', text):
            assert blame in BLAMES


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"])
                 for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
