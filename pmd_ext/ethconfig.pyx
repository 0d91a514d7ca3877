"""Ethernet devices: from the words that name one to a device that runs, and what is known of it.

All for main. Calls that may take long run without the GIL.
"""
import errno
import os

from libc.errno cimport ENODEV, ENOMEM
from libc.stdint cimport uint16_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free
from libc.string cimport memset, strcmp, strncmp

from pmd_ext.atomics cimport load_relaxed_u32, store_relaxed_u32, store_release_u32
from pmd_ext.dpdk.ethdev cimport (
    RING_F_EXACT_SZ, RING_F_SC_DEQ, RTE_ETH_DEV_INTR_LSC, RTE_ETH_EVENT_INTR_LSC,
    RTE_ETH_MQ_RX_RSS, RTE_ETH_RSS_IP, RTE_ETH_RSS_TCP, RTE_ETH_RSS_UDP, RTE_MAX_ETHPORTS,
    rte_bus_name, rte_dev_bus, rte_dev_iterator, rte_dev_probe, rte_dev_remove, rte_device,
    rte_eth_allmulticast_enable, rte_eth_conf, rte_eth_dev_adjust_nb_rx_tx_desc,
    rte_eth_dev_callback_register, rte_eth_dev_callback_unregister, rte_eth_dev_close,
    rte_eth_dev_configure, rte_eth_dev_get_mtu, rte_eth_dev_info, rte_eth_dev_info_get,
    rte_eth_dev_set_link_down, rte_eth_dev_set_link_up,
    rte_eth_dev_set_mtu, rte_eth_dev_socket_id, rte_eth_dev_start, rte_eth_dev_stop,
    rte_eth_event_type, rte_eth_iterator_cleanup, rte_eth_iterator_init, rte_eth_iterator_next,
    rte_eth_link, rte_eth_link_get_nowait, rte_eth_promiscuous_enable, rte_eth_rx_queue_setup,
    rte_eth_tx_queue_setup, rte_ring_create, rte_ring_free,
)
from pmd_ext.errors cimport check
from pmd_ext.errors import DatapathError
from pmd_ext.ethdev cimport eth_sender
from pmd_ext.state cimport (
    MAX_QUEUE_PAIRS, MAX_SLOTS, dataplane, eth_port, slot, slot_changed,
)


cdef extern from "shim.h" nogil:
    enum:
        RTE_ETHER_HDR_LEN
        RTE_ETHER_CRC_LEN

cdef extern from "sys/eventfd.h" nogil:
    enum:
        EFD_CLOEXEC
    int eventfd(unsigned value, int flags)
    int eventfd_write(int fd, uint64_t value)

cdef extern from * nogil:
    """
    #include <errno.h>
    #include <pthread.h>
    #include <signal.h>
    #include <time.h>
    #include <unistd.h>

    static void
    shim_nothing(int number)
    {
    }

    /* A thread that takes SIGURG alone, which ends a system call that it waits in. */
    static int
    shim_sender_start(pthread_t *thread, const char *name, void *(*run)(void *), void *arg)
    {
        struct sigaction action = { .sa_handler = shim_nothing };
        sigset_t others, before;
        int error;

        sigaction(SIGURG, &action, NULL);
        sigfillset(&others);
        sigdelset(&others, SIGURG);
        pthread_sigmask(SIG_SETMASK, &others, &before);
        error = pthread_create(thread, NULL, run, arg);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (error == 0) {
            pthread_setname_np(*thread, name);
        }
        return -error;
    }

    /* The signal may come just before the thread waits, hence again and again. */
    static void
    shim_sender_join(pthread_t thread)
    {
        struct timespec until;

        do {
            pthread_kill(thread, SIGURG);
            clock_gettime(CLOCK_REALTIME, &until);
            until.tv_nsec += 10 * 1000 * 1000;
            if (until.tv_nsec >= 1000 * 1000 * 1000) {
                until.tv_nsec -= 1000 * 1000 * 1000;
                until.tv_sec++;
            }
        } while (pthread_timedjoin_np(thread, NULL, &until) == ETIMEDOUT);
    }
    """
    ctypedef unsigned long pthread_t
    int shim_sender_start(pthread_t *thread, const char *name, void *(*run)(void *) noexcept nogil,
                          void *arg)
    void shim_sender_join(pthread_t thread)
    int errno_now "errno"
    int close(int fd)

cdef enum:
    SPARE_BUFFERS = 2048        # bursts under way and what caches of PMD threads hold



cdef int find(const char *devargs) noexcept nogil:
    """DPDK's number of the first device that the words name; -1: it has none."""
    cdef rte_dev_iterator iterator
    cdef uint16_t port_id
    if rte_eth_iterator_init(&iterator, devargs) != 0:
        return -1
    port_id = rte_eth_iterator_next(&iterator)
    if port_id >= RTE_MAX_ETHPORTS:
        return -1
    rte_eth_iterator_cleanup(&iterator)
    return port_id


cdef int attach(const char *devargs, bint *attached) noexcept nogil:
    """As find(), of a device that DPDK may have to take first; -errno without."""
    cdef int port_id = find(devargs), rc
    attached[0] = False
    if port_id >= 0:
        return port_id
    if strncmp(devargs, b"class=", 6) == 0:
        return -ENODEV          # that names no device which could be taken
    rc = rte_dev_probe(devargs)
    if rc < 0:
        return rc
    attached[0] = True
    port_id = find(devargs)
    return port_id if port_id >= 0 else -ENODEV


cdef int user_of(dataplane *dp, int port_id) noexcept nogil:
    """The slot that has the device; -1: none."""
    cdef int i
    for i in range(MAX_SLOTS):
        if dp.slots[i].eth != NULL and dp.slots[i].eth.port_id == port_id:
            return i
    return -1


cdef bint may_block(const rte_eth_dev_info *info) noexcept nogil:
    """Whether sending may make a system call that waits: drivers of hardware never do, those of
    virtual devices are not trusted until they are known."""
    if strcmp(rte_bus_name(rte_dev_bus(info.device)), b"vdev") != 0:
        return False
    return (strcmp(info.driver_name, b"net_null") != 0
            and strcmp(info.driver_name, b"net_ring") != 0)


cdef eth_port *eth_open(dataplane *dp, dict names, str name, devargs, int n_rxq, int n_txq,
                        int n_rxq_desc, int n_txq_desc) except NULL:
    cdef rte_eth_dev_info info
    cdef bint attached = False
    cdef int port_id, rc, user
    cdef eth_port *eth
    raw = os.fsencode(devargs)
    cdef const char *words = raw
    with nogil:
        port_id = attach(words, &attached)
    if port_id < 0:
        check(port_id, "rte_dev_probe", name)
    user = user_of(dp, port_id)
    if user >= 0:
        raise DatapathError(errno.EADDRINUSE, "rte_dev_probe", names[user])
    rc = rte_eth_dev_info_get(port_id, &info)
    if rc != 0:
        check(rc, "rte_eth_dev_info_get", name)
    eth = <eth_port *>calloc(1, sizeof(eth_port))
    if eth == NULL:
        raise DatapathError(errno.ENOMEM, "calloc", name)
    eth.port_id = port_id
    eth.attached = attached
    eth.wake_fd = -1
    eth.n_rxq = max(1, min(n_rxq, info.max_rx_queues, MAX_QUEUE_PAIRS))
    eth.n_txq = 1 if may_block(&info) else max(1, min(n_txq, info.max_tx_queues, MAX_QUEUE_PAIRS))
    eth.n_rxq_desc, eth.n_txq_desc = n_rxq_desc, n_txq_desc
    rte_eth_dev_adjust_nb_rx_tx_desc(port_id, &eth.n_rxq_desc, &eth.n_txq_desc)
    return eth


cdef unsigned eth_buffers(const eth_port *eth) noexcept nogil:
    return eth.n_rxq * eth.n_rxq_desc + eth.n_txq * eth.n_txq_desc + SPARE_BUFFERS


cdef int eth_node(const eth_port *eth) noexcept nogil:
    return rte_eth_dev_socket_id(eth.port_id)


cdef int link_changed(uint16_t port_id, rte_eth_event_type event, void *arg, void *unused
                      ) noexcept nogil:
    """DPDK's interrupt thread."""
    eth_look_at_link(<slot *>arg)
    return 0


cdef void eth_look_at_link(slot *s) noexcept nogil:
    cdef rte_eth_link link
    cdef bint up
    memset(&link, 0, sizeof(link))
    up = rte_eth_link_get_nowait(s.eth.port_id, &link) == 0 and link.link_status
    if up != load_relaxed_u32(&s.link_up):
        store_relaxed_u32(&s.link_up, up)
        slot_changed(s)


cdef void eth_set_link(slot *s, bint up) noexcept nogil:
    if up:
        rte_eth_dev_set_link_up(s.eth.port_id)
    else:
        rte_eth_dev_set_link_down(s.eth.port_id)
    eth_look_at_link(s)


cdef int set_up_queues(slot *s, uint16_t mtu, bint lsc, const char **call) noexcept nogil:
    cdef eth_port *eth = s.eth
    cdef rte_eth_dev_info info
    cdef rte_eth_conf conf
    cdef int rc, q, node = max(0, rte_eth_dev_socket_id(eth.port_id))
    call[0] = b"rte_eth_dev_info_get"
    rc = rte_eth_dev_info_get(eth.port_id, &info)
    if rc != 0:
        return rc
    memset(&conf, 0, sizeof(conf))
    conf.rxmode.mtu = min(mtu, info.max_mtu)
    eth.lsc = lsc and info.dev_flags[0] & RTE_ETH_DEV_INTR_LSC
    conf.intr_conf.lsc = eth.lsc
    if eth.n_rxq > 1:
        conf.rx_adv_conf.rss_conf.rss_hf = (
            (RTE_ETH_RSS_IP | RTE_ETH_RSS_UDP | RTE_ETH_RSS_TCP) & info.flow_type_rss_offloads)
        if conf.rx_adv_conf.rss_conf.rss_hf:
            conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS
    call[0] = b"rte_eth_dev_configure"
    rc = rte_eth_dev_configure(eth.port_id, eth.n_rxq, eth.n_txq, &conf)
    if rc != 0:
        return rc
    # a device that cannot keeps the MTU that it has
    rte_eth_dev_set_mtu(eth.port_id, conf.rxmode.mtu)
    call[0] = b"rte_eth_tx_queue_setup"
    for q in range(eth.n_txq):
        rc = rte_eth_tx_queue_setup(eth.port_id, q, eth.n_txq_desc, node, NULL)
        if rc != 0:
            return rc
    call[0] = b"rte_eth_rx_queue_setup"
    for q in range(eth.n_rxq):
        rc = rte_eth_rx_queue_setup(eth.port_id, q, eth.n_rxq_desc, node, NULL, s.pool)
        if rc != 0:
            return rc
    return 0


cdef int start_sender(eth_port *eth) noexcept nogil:
    cdef char name[16]
    snprintf(name, sizeof(name), b"eth-tx-%u", <unsigned>eth.port_id)
    eth.queue = rte_ring_create(name, eth.n_txq_desc, max(0, rte_eth_dev_socket_id(eth.port_id)),
                                RING_F_SC_DEQ | RING_F_EXACT_SZ)
    if eth.queue == NULL:
        return -ENOMEM
    eth.wake_fd = eventfd(0, EFD_CLOEXEC)
    cdef int rc = -errno_now if eth.wake_fd < 0 else shim_sender_start(
        &eth.thread, name, eth_sender, eth)
    if rc != 0:
        free_queue(eth)
    return rc


cdef void free_queue(eth_port *eth) noexcept nogil:
    if eth.wake_fd >= 0:
        close(eth.wake_fd)
    eth.wake_fd = -1
    rte_ring_free(eth.queue)
    eth.queue = NULL


cdef int start(slot *s, uint16_t mtu, bint lsc, const char **call) noexcept nogil:
    cdef eth_port *eth = s.eth
    cdef rte_eth_dev_info info
    cdef uint16_t has = 0
    cdef int q, rc = set_up_queues(s, mtu, lsc, call)
    if rc != 0:
        return rc
    call[0] = b"rte_eth_dev_start"
    rc = rte_eth_dev_start(eth.port_id)
    if rc != 0:
        return rc
    call[0] = b"rte_eth_dev_info_get"
    rc = rte_eth_dev_info_get(eth.port_id, &info)
    if rc == 0 and may_block(&info):
        call[0] = b"pthread_create"
        rc = start_sender(eth)
    if rc != 0:
        return rc
    rte_eth_promiscuous_enable(eth.port_id)
    rte_eth_allmulticast_enable(eth.port_id)
    rte_eth_dev_get_mtu(eth.port_id, &has)
    s.max_frame_bytes = min(mtu, has) + RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN
    s.n_pairs = eth.n_txq
    s.numa = rte_eth_dev_socket_id(eth.port_id)
    for q in range(eth.n_txq):
        s.tx_map[q] = q
        s.tx_enabled[q] = 1
    for q in range(eth.n_rxq):
        s.rx_enabled[q] = 1
    if eth.lsc:
        rte_eth_dev_callback_register(eth.port_id, RTE_ETH_EVENT_INTR_LSC, link_changed, s)
    eth_look_at_link(s)
    return 0


cdef eth_start(slot *s, str name, uint16_t mtu, bint lsc):
    cdef const char *call = NULL
    cdef int rc
    with nogil:
        rc = start(s, mtu, lsc, &call)
    if rc != 0:
        check(rc, call.decode(), name)


cdef slot *sibling(dataplane *dp, slot *s, rte_device *device) noexcept nogil:
    """Another slot with a port of the same device, or NULL."""
    cdef rte_eth_dev_info info
    cdef slot *other
    cdef int i
    for i in range(MAX_SLOTS):
        other = &dp.slots[i]
        if (other != s and other.eth != NULL
                and rte_eth_dev_info_get(other.eth.port_id, &info) == 0
                and info.device == device):
            return other
    return NULL


cdef void eth_close(dataplane *dp, slot *s) noexcept nogil:
    cdef eth_port *eth = s.eth
    cdef rte_eth_dev_info info
    cdef slot *other
    cdef bint known
    if eth.lsc:
        rte_eth_dev_callback_unregister(eth.port_id, RTE_ETH_EVENT_INTR_LSC, link_changed, s)
    if eth.queue != NULL:
        store_release_u32(&eth.stop, 1)
        eventfd_write(eth.wake_fd, 1)
        shim_sender_join(eth.thread)
        free_queue(eth)
    rte_eth_dev_stop(eth.port_id)
    if eth.attached:
        known = rte_eth_dev_info_get(eth.port_id, &info) == 0
        other = sibling(dp, s, info.device) if known else NULL
        rte_eth_dev_close(eth.port_id)
        if other != NULL:
            other.eth.attached = True       # the last one of the device removes it
        elif known:
            rte_dev_remove(info.device)
    s.eth = NULL
    free(eth)
