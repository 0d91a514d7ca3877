"""What a port's row says of its queues: pinned ones, and how those of the guest are chosen."""
from __future__ import annotations

from dataclasses import replace

import pytest

from agent.hostconfig import HostConfig
from agent.model import CLIENT_TYPE, PortSpec
from tests.unit.test_validate import CONFIG, TYPES, port, row, wish


def queues(type_: str = CLIENT_TYPE, config: HostConfig = CONFIG, **other_config: str) -> PortSpec:
    given = {key.replace("_", "-"): text for key, text in other_config.items()}
    return wish(row("p", type_, other_config=given), config=config).ports["p"]


@pytest.mark.parametrize("type_", TYPES)
def test_pinned_queues_and_steering(type_: str) -> None:
    spec = queues(type_, pmd_rxq_affinity="1:2,0:0", tx_steering="hash")
    assert spec == replace(port(type_=type_), affinity=((0, 0), (1, 2)), tx_hash=True)
    assert queues(type_, tx_steering="thread") == port(type_=type_)


@pytest.mark.parametrize("text", ["", "Hash", "xps"])
def test_steering_that_is_none_is_said(text: str) -> None:
    spec = queues(tx_steering=text)
    assert not spec.tx_hash
    assert spec.problems == (f"tx-steering: '{text}' is none of thread, hash, using thread",)


@pytest.mark.parametrize("type_", TYPES)
def test_unusable_affinity_costs_no_more_than_itself(type_: str) -> None:
    spec = queues(type_, pmd_rxq_affinity="0:2,x", tx_steering="hash")
    assert (spec.affinity, spec.tx_hash) == ((), True)
    assert spec.problems == (
        "pmd-rxq-affinity: 'x' is not QUEUE:CORE, the whole list is ignored",)


def test_core_without_a_pmd_thread_is_a_problem_of_the_port_that_names_it() -> None:
    result = wish(row("p", other_config={"pmd-rxq-affinity": "0:1"}), row("q"))
    assert result.ports["p"].affinity == ((0, 1),)
    assert result.ports["p"].problems == (
        "pmd-rxq-affinity: no PMD thread on core 1: use pmd-cpu-mask to enable a PMD on core 1; "
        "another core is used",)
    assert (result.ports["q"].problems, result.problems) == ((), ())


def test_misspelt_key_of_the_queues_is_said() -> None:
    assert queues(pmd_rxq_afinity="0:1").problems == (
        "pmd-rxq-afinity: not an option; did you mean pmd-rxq-affinity?",)
