"""Replies of ovs-appctl dpif/show, dpctl/show and ofproto/list, as ovs-vswitchd has them: pure.

Each packet is looked up once, in a MAC table: all lookups are hits, and there are no flows.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import schema
from agent.command import CommandError
from agent.eth_values import EthDevice
from agent.model import OFPORT_LOCAL, PatchDevice, PortSpec, PortState, Registration

DATAPATH = "netdev@ovs-netdev"
NAMES = (DATAPATH, "ovs-netdev")            # that a command may give it
UNITS = ("KiB", "MiB", "GiB", "TiB")
OWN_PORT = "ovs-netdev"                     # datapath port 0
SYSTEM = "system"
TAP = "tap"                                 # type of the datapath's and the bridges' own ports


@dataclass(frozen=True, slots=True)
class Shown:
    """A port of a bridge."""

    name: str
    ofport: int
    spec: PortSpec | None = None            # None: the bridge's own port, while it has no device
    state: PortState | None = None

    @property
    def type(self) -> str:
        if self.spec is None or self.spec.type == "internal" or self.ofport == OFPORT_LOCAL:
            return TAP
        return self.spec.type or SYSTEM

    @property
    def number(self) -> int | None:
        """Number in the datapath; patch ports have none."""
        if self.state is None or isinstance(self.state.device, PatchDevice):
            return None
        return self.state.number


Bridges = Mapping[str, Sequence[Shown]]


def config(port: Shown) -> dict[str, str]:
    """What of a port's configuration is shown (OVS: the get_config() of its type)."""
    if port.spec is None:
        return {}
    match port.spec.device:
        case PatchDevice(peer):
            return {"peer": peer}
        case Registration(path, client=True):
            default = schema.option("Interface", "options", "tx-retries-max").default
            retries = port.spec.tx_retries_max
            return {**({} if retries == default else {"tx-retries-max": str(retries)}),
                    "vhost-server-path": path}
        case EthDevice(devargs, n_rxq, _, n_rxq_desc, n_txq_desc, lsc):
            return {"dpdk-devargs": devargs, "n_rxq": str(n_rxq), "n_rxq_desc": str(n_rxq_desc),
                    "n_txq_desc": str(n_txq_desc), "dpdk-lsc-interrupt": str(lsc).lower()}
        case _:
            return {}


def in_brackets(port: Shown) -> str:
    keys = ", ".join(f"{key}={text}" for key, text in sorted(config(port).items()))
    return f"({port.type}: {keys})" if keys else f"({port.type})"


def dpif_show(bridges: Bridges, lookups: int) -> str:
    """Reply of dpif/show; nothing without a bridge."""
    if not bridges:
        return ""
    lines = [f"{DATAPATH}: hit:{lookups} missed:0"]
    for name, ports in sorted(bridges.items()):
        lines.append(f"  {name}:")
        lines += [f"    {port.name} {port.ofport}/"
                  f"{'none' if port.number is None else port.number}: {in_brackets(port)}"
                  for port in sorted(ports, key=lambda port: port.name)]
    return "\n".join([*lines, ""])


def dpctl_show(words: Sequence[str], bridges: Bridges, lookups: int,
               counted: Callable[[Shown], Mapping[str, int]]) -> str:
    """Reply of dpctl/show [-s] [DATAPATH]; CommandError for another datapath. 'counted' gives the
    statistics of a port of the datapath, and is asked with -s."""
    names = [word for word in words if word not in ("-s", "--statistics")]
    with_statistics = len(names) < len(words)
    for name in names:
        if not bridges or name not in NAMES:
            raise CommandError(f"opening datapath {name} failed (No such device)")
    if not bridges:
        return ""
    lines = [f"{DATAPATH}:", f"  lookups: hit:{lookups} missed:0 lost:0", "  flows: 0",
             f"  port 0: {OWN_PORT} ({TAP})"]
    if with_statistics:
        lines += statistics({})
    numbered = [(port.number, port) for ports in bridges.values() for port in ports
                if port.number is not None]
    for number, port in sorted(numbered, key=lambda entry: entry[0]):
        what = "" if port.type == SYSTEM else f" {in_brackets(port)}"
        lines.append(f"  port {number}: {port.name}{what}")
        if with_statistics:
            lines += statistics(counted(port))
    return "\n".join([*lines, ""])


def statistics(values: Mapping[str, int]) -> Iterator[str]:
    """Of one port; what is not counted is a question mark, as in ovs-vswitchd."""
    def value(key: str) -> str:
        return str(values.get(key, "?"))

    yield (f"    RX packets:{value('rx_packets')} errors:{value('rx_errors')} "
           f"dropped:{value('rx_dropped')} overruns:? frame:?")
    yield (f"    TX packets:{value('tx_packets')} errors:{value('tx_errors')} "
           f"dropped:{value('tx_dropped')} aborted:? carrier:?")
    yield "    collisions:?"
    yield f"    RX bytes:{size(values.get('rx_bytes'))}  TX bytes:{size(values.get('tx_bytes'))}"
    yield "    UPCALL packets:? errors:?"


def size(number: int | None) -> str:
    """Bytes, and from 1 KiB on roughly."""
    if number is None:
        return "?"
    unit = min((number.bit_length() - 1) // 10, len(UNITS)) if number else 0
    rough = f" ({number / (1 << 10 * unit):.1f} {UNITS[unit - 1]})" if unit else ""
    return f"{number}{rough}"


def ofproto_list(bridges: Bridges) -> str:
    """Reply of ofproto/list."""
    return "".join(f"{name}\n" for name in sorted(bridges))
