# What the threads of the data plane share. Every field names its writer and its readers;
# "callbacks" are librte_vhost's threads, "main" is the agent's one Python thread.
from libc.stdint cimport int16_t, int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from posix.types cimport pid_t

from pmd_ext.dpdk.eal cimport rte_spinlock_t
from pmd_ext.dpdk.mbuf cimport rte_mempool
from pmd_ext.dpdk.rcu cimport rte_rcu_qsbr
from pmd_ext.mactable cimport mac_table


cdef extern from "pthread.h" nogil:
    ctypedef unsigned long pthread_t

cdef enum:
    MAX_SLOTS = 1024            # librte_vhost: 1024 sockets a process
    MAX_VIDS = 1024             # librte_vhost: RTE_MAX_VHOST_DEVICE
    MAX_QUEUE_PAIRS = 128       # librte_vhost: VHOST_MAX_QUEUE_PAIRS
    MAX_PMDS = 128              # RTE_MAX_LCORE
    BURST = 32                  # librte_vhost moves at most 32 packets a call
    PATH_BYTES = 108            # sun_path, with its final zero
    HISTOGRAM = 7               # 1-64, -127, -255, -511, -1023, -1522, larger (bytes)
    TXQ_NONE = -1

cdef struct slot:
    # main writes before the driver starts and after it is unregistered; callbacks, PMDs read
    char path[PATH_BYTES]
    bint used
    bint detached               # main: no table names this slot, so nobody needs to be waited for
    uint32_t max_frame_bytes    # MTU + 18; longer frames are not sent to this port
    # main writes at any time, PMDs read with the next full ring
    uint32_t tx_retries_max
    # callbacks write (main after unregister), vid last with release; PMDs and main read
    int32_t vid                 # -1: no guest may be touched
    int32_t connection          # vid of the connected front end, running or not; -1: none
    uint16_t n_pairs            # queue pairs of this connection
    int16_t tx_map[MAX_QUEUE_PAIRS]     # txq to use in place of each txq, or TXQ_NONE
    # callbacks write, main reads
    uint8_t rx_enabled[MAX_QUEUE_PAIRS]
    uint8_t tx_enabled[MAX_QUEUE_PAIRS]
    uint16_t vring_sizes[2 * MAX_QUEUE_PAIRS]
    uint16_t n_vrings
    int16_t numa                # node of the guest's rings; -1: not known
    uint64_t features           # negotiated virtio features
    uint32_t connects           # times a guest became ready since the port was added
    uint32_t generation         # bumped last, with release, after any change above
    # PMDs write: one owner at a time for each txq (the library does not serialise since 23.07)
    rte_spinlock_t tx_lock[MAX_QUEUE_PAIRS]

cdef struct direction_counters:
    uint64_t packets
    uint64_t bytes              # without FCS
    uint64_t histogram[HISTOGRAM]
    uint64_t multicast          # without broadcast
    uint64_t broadcast

# Written by the one PMD whose array it stands in, read relaxed by main.
cdef struct port_counters:
    direction_counters rx
    direction_counters tx
    uint64_t rx_malformed_drops     # shorter than an Ethernet (or VLAN) header
    uint64_t tx_retries
    uint64_t tx_failure_drops       # the guest's ring stayed full
    uint64_t tx_mtu_drops
    uint64_t tx_early_drops         # no guest, or none of its queues enabled

# One bridge as the PMDs see it; immutable once published, but for the table's contents.
cdef struct bridge_view:
    mac_table *macs
    uint32_t n_members
    uint16_t *members               # slots, ascending

# Which slot is on which bridge; immutable once published.
cdef struct forwarding:
    bridge_view *bridge_of[MAX_SLOTS]   # NULL: not on any bridge
    uint32_t n_bridges
    bridge_view *bridges

cdef struct rxq:
    uint16_t slot
    uint16_t queue
    # the PMD's own memory of its last learned source: skips the table while nothing changed
    uint64_t last_source
    uint64_t last_learned           # the table's change counter and the coarse time then

# The rxqs of one PMD; immutable once published, but for the rxqs' learning memory.
cdef struct poll_list:
    uint32_t n
    rxq *rxqs

cdef struct pmd:
    # main writes before the thread starts; the PMD reads
    dataplane *dp
    uint16_t index                  # QSBR thread id and static tx id
    int core
    # main
    bint running
    pthread_t thread
    port_counters *counters         # MAX_SLOTS of them; outlives the thread
    # main writes, the PMD reads
    poll_list *polls                # release/acquire, old one freed after quiescence
    uint32_t stop
    # the PMD writes, main reads
    pid_t tid

cdef struct dataplane:
    # main writes before the first PMD or callback exists; everybody reads
    rte_rcu_qsbr *qsbr
    rte_mempool *pool
    int wake_fd                     # eventfd, written by callbacks, read by main
    uint64_t tsc_hz
    uint64_t tsc_start
    # main writes (release), PMDs read (acquire), old one freed after quiescence
    forwarding *fwd
    # see the structs
    slot slots[MAX_SLOTS]
    pmd pmds[MAX_PMDS]
    # callbacks write and read; new_connection comes first for every vid
    int16_t vid_slot[MAX_VIDS]


# The process-wide instance: librte_vhost's callbacks get a vid and no user pointer.
cdef dataplane *dataplane_get() noexcept nogil
cdef int dataplane_init(rte_mempool *pool, int wake_fd) noexcept nogil
# Waits until every PMD has passed a quiescent point. Any thread but a PMD; may take a round.
cdef void synchronize() noexcept nogil
# Makes the slot's last changes visible to main. Callbacks only.
cdef void slot_changed(slot *s) noexcept nogil
# State of a slot that no guest is connected to.
cdef void slot_disconnected(slot *s) noexcept nogil

# The one place that maps queues to vrings (virtio: even rings are the guest's RX).
cdef inline uint16_t rxq_vring(uint16_t queue) noexcept nogil:
    return 2 * queue + 1

cdef inline uint16_t txq_vring(uint16_t queue) noexcept nogil:
    return 2 * queue
