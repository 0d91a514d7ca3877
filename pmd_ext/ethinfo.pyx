"""What is known of Ethernet devices, and what they counted. Main."""
from libc.stdint cimport uint16_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from pmd_ext.dpdk.ethdev cimport (
    rte_bus_name, rte_dev_bus, rte_dev_bus_info, rte_eth_dev_get_mtu, rte_eth_dev_info,
    rte_eth_dev_info_get, rte_eth_link, rte_eth_link_get_nowait, rte_eth_macaddr_get,
    rte_eth_stats, rte_eth_stats_get, rte_eth_xstat, rte_eth_xstat_name, rte_eth_xstats_get,
    rte_eth_xstats_get_names, rte_ether_addr,
)
from pmd_ext.ethconfig cimport eth_node
from pmd_ext.state cimport eth_port, slot


cdef tuple eth_info(slot *s):
    cdef eth_port *eth = s.eth
    cdef rte_eth_dev_info info
    cdef rte_eth_link link
    cdef rte_ether_addr address
    cdef uint16_t mtu = 0
    cdef const char *bus_info = NULL
    memset(&link, 0, sizeof(link))
    memset(&address, 0, sizeof(address))
    if rte_eth_dev_info_get(eth.port_id, &info) != 0:
        memset(&info, 0, sizeof(info))
    if info.device != NULL:
        bus_info = rte_dev_bus_info(info.device)
    rte_eth_link_get_nowait(eth.port_id, &link)
    rte_eth_macaddr_get(eth.port_id, &address)
    rte_eth_dev_get_mtu(eth.port_id, &mtu)
    return (
        ("port_no", eth.port_id), ("numa_id", eth_node(eth)),
        ("driver_name", info.driver_name.decode() if info.driver_name != NULL else ""),
        ("bus_name", rte_bus_name(rte_dev_bus(info.device)).decode() if info.device != NULL else ""),
        ("bus_info", bus_info.decode() if bus_info != NULL else ""),
        ("min_rx_bufsize", info.min_rx_bufsize),
        ("max_rx_queues", info.max_rx_queues), ("max_tx_queues", info.max_tx_queues),
        ("max_mac_addrs", info.max_mac_addrs), ("max_hash_mac_addrs", info.max_hash_mac_addrs),
        ("max_vfs", info.max_vfs), ("max_vmdq_pools", info.max_vmdq_pools),
        ("n_rxq", eth.n_rxq), ("n_txq", eth.n_txq),
        ("n_rxq_desc", eth.n_rxq_desc), ("n_txq_desc", eth.n_txq_desc),
        ("mac", ":".join([f"{address.addr_bytes[i]:02x}" for i in range(6)])), ("mtu", mtu),
        ("lsc", bool(eth.lsc)), ("sender", eth.queue != NULL),
        ("link_up", bool(link.link_status)), ("full_duplex", bool(link.link_duplex)),
        ("link_speed_mbps", link.link_speed),
    )


cdef tuple eth_statistics(slot *s):
    cdef eth_port *eth = s.eth
    cdef rte_eth_stats stats
    cdef rte_eth_xstat_name *names
    cdef rte_eth_xstat *values
    cdef int i, n
    memset(&stats, 0, sizeof(stats))
    rte_eth_stats_get(eth.port_id, &stats)
    found = [("ipackets", stats.ipackets), ("opackets", stats.opackets), ("ibytes", stats.ibytes),
             ("obytes", stats.obytes), ("imissed", stats.imissed), ("ierrors", stats.ierrors),
             ("oerrors", stats.oerrors), ("rx_nombuf", stats.rx_nombuf),
             ("sender_drops", eth.drops)]
    n = max(0, rte_eth_xstats_get_names(eth.port_id, NULL, 0))
    names = <rte_eth_xstat_name *>calloc(n + 1, sizeof(rte_eth_xstat_name))
    values = <rte_eth_xstat *>calloc(n + 1, sizeof(rte_eth_xstat))
    if (names != NULL and values != NULL
            and rte_eth_xstats_get_names(eth.port_id, names, n) == n
            and rte_eth_xstats_get(eth.port_id, values, n) == n):
        for i in range(n):
            if values[i].id < <uint64_t>n:
                found.append(((<bytes>names[values[i].id].name).decode(), values[i].value))
    free(names)
    free(values)
    return tuple(found)
