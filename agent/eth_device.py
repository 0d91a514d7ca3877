"""Ethernet devices of ports of type dpdk, of their rows: pure."""
from __future__ import annotations

import errno
import os
import re

import schema
from agent.eth_values import EthDevice
from agent.hostconfig import HostConfig
from agent.model import ETH_TYPE, InterfaceRow
from agent.options import Texts, shown, unknown, without_effect
from agent.refusal import PortError

# As ovs-vswitchd begins Interface.error (OVS: netdev_dpdk_set_config()).
MISSING = ("'{}' is missing 'options:dpdk-devargs'. The old 'dpdk<port_id>' names are not "
           "supported")
IN_USE = "'{}' is trying to use device '{}' which is already in use by '{}'"
NOT_ATTACHED = "Error attaching device {}: {}"

# Virtual devices that cannot be taken into this process, and why.
UNFIT = (
    (re.compile("(vdev:)?net_tap"), "its driver sends signals to every thread of the process; "
     "make the interface with ip tuntap, and name it to net_af_packet"),
    (re.compile("(vdev:)?net_vhost"), "vhost-user sockets are ports of type dpdkvhostuserclient"),
    (re.compile("(vdev:)?net_virtio_user.*[,;]server=1"), "with server=1 it would keep "
     "everything waiting until somebody connects"),
)


def device(row: InterfaceRow, config: HostConfig) -> tuple[EthDevice, list[str]]:
    """The device that a row asks for, and what of its options could not be used."""
    known = [o.key for o in schema.options_of("Interface", "options", ETH_TYPE)]
    texts = Texts({key: text for key, text in row.options.items() if key in known},
                  "Interface", "options")
    devargs = texts.text("dpdk-devargs")
    if not devargs:
        raise PortError(MISSING.format(row.name))
    if not devargs.isprintable():
        raise PortError(NOT_ATTACHED.format(shown(devargs), "no word of it can be a device's: it "
                                            "has characters that cannot be printed"))
    for pattern, why in UNFIT:
        if pattern.match(devargs):
            raise PortError(NOT_ATTACHED.format(shown(devargs), f"it is not served: {why}"))
    wanted = EthDevice(
        devargs, n_rxq=texts.integer("n_rxq"), n_txq=len(config.pmds) + 1,
        n_rxq_desc=descriptors(texts, "n_rxq_desc", texts.integer("n_rxq_desc")),
        n_txq_desc=descriptors(texts, "n_txq_desc", texts.integer("n_txq_desc")),
        lsc=texts.boolean("dpdk-lsc-interrupt") is not False)
    said = [problem for _, problem in texts.problems]
    said += unknown(row.options, "Interface", "options", known, f"type {row.type}")
    said += without_effect(row.options.keys() - set(known), "Interface", "options")
    return wanted, said


def descriptors(texts: Texts, key: str, number: int) -> int:
    """As many as are asked for, where that is a power of two."""
    if number & number - 1 == 0:
        return number
    default = texts.option(key).default
    assert isinstance(default, int)
    texts.complain(key, f"{number} is not a power of two, using {default}")
    return default


def not_attached(devargs: str, number: int, call: str) -> str:
    """Interface.error of a device that DPDK does not take; 'number' is of an error, 0: none was
    given."""
    match number:
        case 0:
            why = ("unknown error: its driver refuses it without a reason, which DPDK's own lines "
                   "in the log may give")
        case errno.ENODEV:
            why = "No such device"
        case errno.EFAULT:
            why = "Bad address: no driver of DPDK's here knows a device of this name"
        case _:
            why = f"{os.strerror(number)} ({call})"
    return NOT_ATTACHED.format(shown(devargs), why)
