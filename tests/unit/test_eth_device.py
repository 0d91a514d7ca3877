"""Devices of ports of type dpdk, from their rows."""
from __future__ import annotations

import errno
from uuid import UUID

import pytest

from agent import eth_device
from agent.eth_values import EthDevice
from agent.hostconfig import HostConfig
from agent.model import ETH_TYPE, BridgeRow, InterfaceRow, PmdSpec, Snapshot
from agent.refusal import PortError
from agent.validate import desired

CONFIG = HostConfig("/run", pmds=(PmdSpec(0), PmdSpec(3)), dpdk_initialized=True)
PCI = "0000:06:00.0"


def row(name: str = "p", **options: str) -> InterfaceRow:
    return InterfaceRow(UUID(int=1), name, ETH_TYPE,
                        {key.replace("_devargs", "-devargs").replace("_lsc_", "-lsc-"): text
                         for key, text in options.items()})


def made(**options: str) -> tuple[EthDevice, list[str]]:
    return eth_device.device(InterfaceRow(UUID(int=1), "p", ETH_TYPE, {
        "dpdk-devargs": PCI, **{key.replace("__", "-"): text for key, text in options.items()}}),
        CONFIG)


def test_defaults() -> None:
    assert made() == (EthDevice(PCI, n_rxq=1, n_txq=3, n_rxq_desc=2048, n_txq_desc=2048, lsc=True),
                      [])


def test_options() -> None:
    assert made(n_rxq="4", n_rxq_desc="512", n_txq_desc="1024", dpdk__lsc__interrupt="false") == (
        EthDevice(PCI, 4, 3, 512, 1024, lsc=False), [])


@pytest.mark.parametrize(("key", "text", "said"), [
    ("n_rxq", "0", "n_rxq: 0 is outside 1..128, using 1"),
    ("n_rxq", "129", "n_rxq: 129 is outside 1..128, using 1"),
    ("n_rxq", "two", "n_rxq: 'two' is not an integer, using 1"),
    ("n_rxq_desc", "1000", "n_rxq_desc: 1000 is not a power of two, using 2048"),
    ("n_txq_desc", "65536", "n_txq_desc: 65536 is outside 1..32768, using 2048"),
    ("dpdk__lsc__interrupt", "on",
     "dpdk-lsc-interrupt: 'on' is neither true nor false; it is true"),
    ("tx__retries__max", "8", "tx-retries-max: not an option of type dpdk"),
    ("n_rxqs", "2", "n_rxqs: not an option of type dpdk; did you mean n_rxq?"),
    ("rx__flow__ctrl", "true",
     "rx-flow-ctrl: has no effect: flow control is left as the device has it"),
])
def test_what_cannot_be_used_is_said_and_replaced(key: str, text: str, said: str) -> None:
    assert made(**{key: text}) == (made()[0], [said])


@pytest.mark.parametrize(("devargs", "error"), [
    ("", "'p' is missing 'options:dpdk-devargs'. The old 'dpdk<port_id>' names are not supported"),
    ("a\0b", "Error attaching device 'a\\x00b': no word of it can be a device's: it has characters "
     "that cannot be printed"),
    ("net_tap0,iface=x", "Error attaching device 'net_tap0,iface=x': it is not served: its driver "
     "sends signals to every thread of the process; make the interface with ip tuntap, and name "
     "it to net_af_packet"),
    ("net_vhost0,iface=/x", "Error attaching device 'net_vhost0,iface=/x': it is not served: "
     "vhost-user sockets are ports of type dpdkvhostuserclient"),
    ("vdev:net_virtio_user0,path=/x,server=1", "Error attaching device "
     "'vdev:net_virtio_user0,path=/x,server=1': it is not served: with server=1 it would keep "
     "everything waiting until somebody connects"),
])
def test_words_that_cannot_be_a_device_are_refused(devargs: str, error: str) -> None:
    with pytest.raises(PortError) as caught:
        made(dpdk__devargs=devargs)
    assert str(caught.value) == error


def test_of_two_ports_with_one_device_who_has_it_keeps_it() -> None:
    rows = (row("a", dpdk_devargs=PCI), row("b", dpdk_devargs=PCI), row("c", dpdk_devargs="net_x"))
    snapshot = Snapshot(bridges=(BridgeRow(UUID(int=2), "br0", "netdev", interfaces=rows),))
    for owners, winner, loser in (({}, "a", "b"), ({PCI: "b"}, "b", "a")):
        wanted = desired(snapshot, CONFIG, lambda owners=owners: owners)   # type: ignore[misc]
        assert wanted.ports.keys() == {winner, "c"}
        assert wanted.errors == {loser: f"'{loser}' is trying to use device '{PCI}' which is "
                                        f"already in use by '{winner}'"}


@pytest.mark.parametrize(("number", "why"), [
    (0, "unknown error: its driver refuses it without a reason, which DPDK's own lines in the log "
     "may give"),
    (errno.ENODEV, "No such device"),
    (errno.EFAULT, "Bad address: no driver of DPDK's here knows a device of this name"),
    (errno.EBUSY, "Device or resource busy (rte_dev_probe)"),
])
def test_device_that_dpdk_does_not_take(number: int, why: str) -> None:
    assert eth_device.not_attached("x", number, "rte_dev_probe") == (
        f"Error attaching device 'x': {why}")
