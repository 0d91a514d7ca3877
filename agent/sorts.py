"""What the first ports of `vhost-agent top` have most of."""
from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.rates import PortRates

SORTS: dict[str, Callable[[PortRates], float]] = {
    "traffic": lambda port: port.rx_packets + port.tx_packets,
    "rx": lambda port: port.rx_packets,
    "tx": lambda port: port.tx_packets,
    "drops": lambda port: port.dropped,
    "pmd": lambda port: port.pmd_percent or 0.0,
    "name": lambda port: 0.0,
}
