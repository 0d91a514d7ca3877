"""Which ports let their guests leave segmentation to the switch: pure.

A guest that ran on a port without TSO may insist on features that one with it does not offer (ECN):
then it gets no connection. So a front end that goes before its guest was ready makes its port
change between the two, until one was (OVS: virtio_features_state of netdev-dpdk.c).
"""
from __future__ import annotations

from dataclasses import replace

from agent.model import TSO_DISABLED, TSO_ON, Device, PortState, Registration


def turns(wanted: Registration, state: PortState) -> bool:
    """Whether a port that nothing else changes of is registered anew, with TSO or without.

    One that was registered before TSO was enabled keeps what it has.
    """
    has = state.device
    if not isinstance(has, Registration):
        return False
    if wanted.tso != TSO_ON or not has.client or not state.connections or state.attached:
        return False
    return has.tso == TSO_DISABLED or (has.tso == TSO_ON and not state.connects)


def next_device(wanted: Device | None, state: PortState | None) -> Device | None:
    """What a port is registered with that is made anew, or that is new."""
    if not isinstance(wanted, Registration):
        return wanted
    has = None if state is None else state.device
    if (state is None or not isinstance(has, Registration) or has.tso != TSO_ON
            or has.path != wanted.path or not turns(wanted, state)):
        return wanted
    return replace(wanted, tso=TSO_DISABLED)
