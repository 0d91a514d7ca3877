"""What is wanted and known of Ethernet devices. Imports nothing of ours; all frozen."""
from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EthDevice:
    """An Ethernet device of DPDK's, as it is asked for."""

    devargs: str                    # DPDK's words for it
    n_rxq: int = 1
    n_txq: int = 2                  # one for each PMD, and one more
    n_rxq_desc: int = 2048
    n_txq_desc: int = 2048
    lsc: bool = True                # interrupts when its link changes, if it can


@dataclass(frozen=True, slots=True)
class EthInfo:
    """What is known of an Ethernet device in use; names as DPDK's."""

    port_no: int
    dpdk_version: str = ""
    driver_name: str = ""
    bus_name: str = ""
    bus_info: str = ""
    numa_id: int = -1
    min_rx_bufsize: int = 0
    max_rx_queues: int = 0
    max_tx_queues: int = 0
    max_mac_addrs: int = 0
    max_hash_mac_addrs: int = 0
    max_vfs: int = 0
    max_vmdq_pools: int = 0
    n_rxq: int = 1
    n_txq: int = 1
    n_rxq_desc: int = 0
    n_txq_desc: int = 0
    mac: str = ""
    mtu: int = 0
    lsc: bool = False               # it interrupts when its link changes
    sender: bool = False            # a thread sends for the PMDs, for its driver may wait
    link_up: bool = False
    full_duplex: bool = False
    link_speed_mbps: int = 0
