"""Patch ports: their rows, and who is whose peer."""
from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.test_validate import row, wish


def patch(name: str, peer: str | None = None, **options: str) -> object:
    return row(name, "patch", options={**({} if peer is None else {"peer": peer}), **options})


def test_two_that_name_each_other_are_peers() -> None:
    result = wish(patch("p", "q"), patch("q", "p"))
    assert dict(result.bridges[0].patches) == {"p": "q", "q": "p"}
    assert result.port_problems == result.errors == {}
    assert result.pmds == ()            # nothing of them is polled


def test_what_leads_nowhere_is_said() -> None:
    result = wish(patch("p", "q"), patch("q", "r"), patch("r", "v"), patch("s", "none"), row("v"))
    assert set(dict(result.bridges[0].patches).values()) == {None}
    assert result.port_problems == {
        "p": "peer q has another peer, r: what is sent here is dropped",
        "q": "peer r has another peer, v: what is sent here is dropped",
        "r": "peer v is not a patch port: what is sent here is dropped",
        "s": "peer none: no such port is served: what is sent here is dropped"}


def test_row_without_a_usable_peer_is_refused() -> None:
    result = wish(patch("p"), patch("q", "q"), row("good"))
    assert {name: error.partition(":")[2].strip().partition(":")[0]
            for name, error in result.errors.items()} == {
        "p": "patch type requires valid 'peer' argument", "q": "patch peer must not be self"}
    assert set(result.ports) == {"good"}


@pytest.mark.parametrize(("kw", "problem"), [
    ({"options": {"peer": "q", "pear": "x"}},
     "pear: not an option of type patch; did you mean peer?"),
    ({"mtu_request": 9000}, "mtu_request: has no effect on type patch: it has no MTU"),
    ({"other_config": {"pmd-rxq-affinity": "0:x"}},
     "pmd-rxq-affinity: has no effect on type patch: no PMD thread polls the port"),
    ({"other_config": {"tx-steering": "hash"}},
     "tx-steering: has no effect on type patch: no PMD thread polls the port")])
def test_what_a_patch_port_cannot_use_is_said(kw: dict[str, Any], problem: str) -> None:
    spec = wish(row("p", "patch", **{"options": {"peer": "q"}, **kw})).ports["p"]
    assert spec == replace(wish(patch("p", "q")).ports["p"], problems=(problem,))
