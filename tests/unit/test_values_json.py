"""Values of the control plane as JSON and back."""
from __future__ import annotations

import json
from dataclasses import replace
from uuid import UUID

import pytest

from agent.access import SocketAccess
from agent.eth_values import EthDevice, EthInfo
from agent.host_model import HostDevice, HostState, Link
from agent.limits import Bucket, Limits, Qos, TwoRates
from agent.mirror_model import MirrorSpec
from agent.model import BridgeSpec, McastSnooping, Membership, Observed, PatchDevice, PmdSpec
from agent.rehearsal import Placed
from agent.values_json import FormError, decode, encode
from tests.unit.pictures import seen


def everything() -> Observed:
    observed = seen("a", "b", "c", "d", "e").observed
    ports = dict(observed.ports)
    ports["b"] = replace(
        ports["b"], device=EthDevice("0000:01:00.0"), eth=EthInfo(3, mac="02:00:00:00:00:01"),
        limits=Limits(rx_bytes=Bucket(1, 2), qos=Qos("egress-policer", TwoRates(1, 2))))
    ports["c"] = replace(ports["c"], device=HostDevice("tap", "t0", mtu=1400),
                         host=HostState(Link(4, True, False, 1400, "02:00:00:00:00:02"),
                                        ("tun", "1", "")))
    ports["d"] = replace(ports["d"], device=PatchDevice("e"), access=SocketAccess("qemu"))
    bridge = BridgeSpec(
        "br0", (("a", Membership(vlan=7, trunks=(1, 2))),), (("d", None),), (5,),
        mirrors=(MirrorSpec(UUID(int=5), ("a",), output_port="b"),), snooping=McastSnooping())
    return Observed(ports, (bridge,), observed.polls, (PmdSpec(3, block=True),))


@pytest.mark.parametrize("value", [
    everything(), Observed(), Placed(affinities={"a": ((0, 1),)}), (), {}, {"a": (1, None)}, "x"])
def test_what_is_written_is_read(value: object) -> None:
    assert decode(json.loads(json.dumps(encode(value)))) == value


def test_defaults_are_left_out() -> None:
    assert encode(Membership(vlan=7)) == {"is": "Membership", "of": {"vlan": 7}}


@pytest.mark.parametrize("value", [
    {"is": "Popen", "of": {"args": "reboot"}}, {"is": "Membership", "of": {"colour": 1}},
    {"is": "Membership"}, {"uuid": "x"}, {"what": 1}, {"map": [1]}])
def test_what_is_no_value_of_ours_is_refused(value: object) -> None:
    with pytest.raises(FormError):
        decode([value])
