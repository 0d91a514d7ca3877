# What the threads of the data plane share. Every field names its writer and its readers;
# "callbacks" are librte_vhost's threads, "main" is the agent's one Python thread.
from libc.stdint cimport int16_t, int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from pmd_ext.capture cimport capture
from pmd_ext.dpdk.eal cimport rte_spinlock_t
from pmd_ext.dpdk.mbuf cimport rte_mempool
from pmd_ext.dpdk.rcu cimport rte_rcu_qsbr
from pmd_ext.dpdk.ring cimport rte_ring
from pmd_ext.duty cimport duty
from pmd_ext.front_end cimport front_end
from pmd_ext.groups cimport group_table
from pmd_ext.mactable cimport mac_table
from pmd_ext.meters cimport limits
from pmd_ext.slotsets cimport slot_set
from pmd_ext.waits cimport IOTLB_WAITS, iotlb_wait

cdef extern from "pthread.h" nogil:
    ctypedef unsigned long pthread_t

cdef enum:
    MAX_SLOTS = 1022            # librte_vhost: 1024 sockets a process; fence and arrivals take one
    MAX_VIDS = 1024             # librte_vhost: RTE_MAX_VHOST_DEVICE
    MAX_QUEUE_PAIRS = 128       # librte_vhost: VHOST_MAX_QUEUE_PAIRS
    MAX_VRINGS = 2 * MAX_QUEUE_PAIRS
    MAX_PMDS = 128              # RTE_MAX_LCORE
    MAX_POOLS = MAX_SLOTS + 1   # one a slot, and the one that a slot changes to
    MAIN_READER = MAX_PMDS      # QSBR thread id of main while it reads what the library may free
    HOST_READER = MAX_PMDS + 1  # that of the host thread
    BURST = 32                  # librte_vhost moves at most 32 packets a call
    PATH_BYTES = 108            # sun_path, with its final zero
    SIZE_BINS = 8               # below 64, 64, -127, -255, -511, -1023, -1518, larger (bytes)
    TXQ_NONE = -1
    PORT_COUNTERS = 21          # fields of port_counters
    PMD_COUNTERS = 10           # fields of pmd_counters
    RING_BYTES = 128            # two cache lines: neighbours are prefetched in pairs

# What a port is.
cdef enum:
    SLOT_VHOST
    SLOT_PATCH                  # what is sent to it comes in at its peer
    SLOT_HOST                   # a device of the host's kernel
    SLOT_ETH                    # an Ethernet device of DPDK's

# The device of a slot of kind SLOT_ETH. Main writes before any table names the slot and frees it
# after none does; PMDs and main read, where nothing else is said.
cdef struct eth_port:
    uint16_t port_id
    uint16_t n_rxq
    uint16_t n_txq              # the device's; PMDs see slot.n_pairs
    uint16_t n_rxq_desc
    uint16_t n_txq_desc
    bint lsc                    # main alone: the device interrupts when its link changes
    bint attached               # main alone: the agent probed it, and removes it
    # Where sending may block: PMDs put copies on the ring, the thread of the port sends them
    rte_ring *queue             # NULL: PMDs send themselves
    int wake_fd                 # eventfd: ends the thread's wait
    pthread_t thread            # main alone
    # main writes, the thread reads
    uint32_t stop
    # the thread writes, PMDs and main read
    uint32_t waiting            # for frames, or about to
    # the thread writes, main reads relaxed
    uint64_t drops              # frames that the device did not take

cdef struct slot:
    # main writes before any table names the slot, everybody reads
    uint32_t kind               # SLOT_VHOST ...; the vid of all others is always -1
    # main writes (release), PMDs read (acquire) for each burst; the old one is freed after quiescence
    rte_mempool *pool           # that the port receives into
    limits *limits              # of what it receives, sends and floods; NULL: none
    capture *capture            # of what it receives and sends; NULL: there is none
    eth_port *eth               # of kind SLOT_ETH, else NULL
    # main and DPDK's interrupt thread write, main reads
    uint32_t link_up            # of kind SLOT_ETH: as it was last found
    # callbacks write (main after unregister), vid last with release; PMDs and main read. Of kind
    # SLOT_ETH main does as with 'eth': n_pairs are its txqs. 'tx_map', shield.pyx's threads, too.
    int32_t vid                 # -1: no guest may be touched
    uint32_t connects           # times a guest became ready since the port was added
    uint16_t n_pairs            # queue pairs of this connection
    int16_t tx_map[MAX_QUEUE_PAIRS]     # txq to use in place of each txq, or TXQ_NONE
    # main writes at any time, PMDs read with the next burst, or the next full ring
    uint32_t max_frame_bytes    # MTU + 18; longer frames are not sent to this port
    uint32_t tx_retries_max
    uint32_t tx_hash            # frames of one flow take one txq, whoever sends them
    uint32_t down               # administratively: nothing is received or sent
    # PMDs write, new_device sets anew, under the lock
    rte_spinlock_t txq_lock
    uint32_t txq_guest          # number of the guest that they are of; unlike 'connects' never reset
    uint16_t txq_users[MAX_QUEUE_PAIRS]     # PMDs that hold each txq while there are too few
    # PMDs write, main reads; of two that write at once one stays
    uint32_t tx_oversize_bytes  # length of the last frame that was longer than max_frame_bytes
    # main writes before the driver starts and after it is unregistered; callbacks read
    char path[PATH_BYTES]
    int32_t used                # with release, after path: a port is here
    bint client                 # main alone: the library connects, and connects again
    bint iotlb                  # main alone: the library counts how often it translated addresses
    int32_t detached            # main, with release: no table names it, nobody is to be waited for
    # callbacks write (main after unregister; 'rx_enabled', shield.pyx's threads, too), main reads
    int32_t connection          # vid of the connected front end, running or not; -1: none
    uint32_t connections        # front ends accepted since the port was added
    uint8_t rx_enabled[MAX_QUEUE_PAIRS]
    uint8_t tx_enabled[MAX_QUEUE_PAIRS]
    uint16_t vring_sizes[MAX_VRINGS]
    uint16_t n_vrings
    uint16_t n_counted          # vrings whose counters were set to 0 for this connection
    uint16_t n_kicks            # rxqs that may have a kick descriptor
    uint16_t guest_mtu          # VIRTIO_NET_F_MTU's; 0: not negotiated
    int16_t numa                # node of the guest's rings; -1: not known
    uint64_t features           # negotiated virtio features
    front_end said              # callbacks write, main reads

# What one ring moved since its front end connected; sizes are without FCS.
cdef struct ring_counters:
    uint64_t packets
    uint64_t bytes
    uint64_t multicast              # without broadcast
    uint64_t broadcast
    uint64_t sizes[SIZE_BINS]
    uint64_t notifications          # interrupts raised in the guest
    uint64_t oversize_drops         # what the library took from the ring and could not deliver

# One vring of one slot; RING_BYTES long, so that no two share a cache line.
cdef struct ring:
    # The one PMD that polls an rxq, or that holds the lock of a txq, writes; callbacks set to 0
    # while no PMD may touch the guest; main reads relaxed.
    ring_counters counts
    # PMDs: one owner at a time for each txq (the library does not serialise since 23.07). Of an
    # rxq nobody needs it.
    rte_spinlock_t lock
    # callbacks write; PMDs read. Of an rxq: 1 + descriptor of the guest's kicks, 0 without one,
    # negative while it is out of use. It is the slot's own copy, closed after quiescence, so that
    # its number means nothing else.
    int32_t kick
    # The one PMD that polls an rxq writes, main reads relaxed: TSC cycles since the port was added
    uint64_t cycles

# Written by the one PMD whose array it stands in, read relaxed by main as an array of numbers.
cdef struct port_counters:
    uint64_t rx_malformed_drops     # shorter than an Ethernet (or VLAN) header
    uint64_t rx_oversize_drops      # as in ring_counters, of all the port's rxqs
    uint64_t rx_reserved_drops      # to an address that bridges never forward
    uint64_t rx_no_bridge_drops     # the port is on no bridge
    uint64_t rx_vlan_drops          # of a VLAN that the port does not carry
    uint64_t rx_same_port_drops     # the destination is behind the port it came from
    uint64_t rx_protected_drops     # the destination is behind another protected port
    uint64_t rx_no_output_drops     # to be flooded, and no other port takes it
    uint64_t rx_mirror_drops        # from a port that a mirror outputs to, or to one
    uint64_t tx_retries
    uint64_t tx_failure_drops       # the guest's ring stayed full
    uint64_t tx_mtu_drops
    uint64_t tx_disconnected_drops  # no guest
    uint64_t tx_disabled_drops      # none of its queues is enabled
    uint64_t tx_loop_drops          # came through too many patch ports
    uint64_t rx_qos_drops           # over ingress_policing_rate or -kpkts_rate
    uint64_t tx_qos_drops           # over what its QoS allows
    uint64_t rx_storm_drops         # to be flooded, over the port's storm-rate
    uint64_t tx_offload_drops       # what the sender left to the switch makes no sense
    uint64_t tx_no_buffer_drops     # no packet buffer was left for a copy or a segment
    uint64_t tx_busy_drops          # the host thread's queue was full

cdef enum:
    VLAN_WORDS = 64             # of 64 VLANs each

# vlan_mode of a port, as its effective value is
cdef enum:
    VLAN_TRUNK
    VLAN_ACCESS
    VLAN_NATIVE_TAGGED
    VLAN_NATIVE_UNTAGGED
    VLAN_TUNNEL                 # dot1q-tunnel

# priority-tags of a port
cdef enum:
    PRIORITY_NEVER
    PRIORITY_IF_NONZERO
    PRIORITY_ALWAYS

cdef struct vlan_set:
    uint64_t bits[VLAN_WORDS]

# A port as its bridge sees it; immutable once published.
cdef struct member:
    bridge_view *bridge
    uint16_t slot
    uint16_t mode               # VLAN_TRUNK ...
    uint16_t vlan               # of an access, native or tunnel port; 0 for a trunk
    uint16_t tpid               # of the tag that a tunnel port adds
    uint16_t priority_tags      # PRIORITY_NEVER ...
    bint protected
    bint patch                  # a patch port
    vlan_set *trunks            # VLANs of a trunk or native port; NULL: all
    vlan_set *cvlans            # VLANs that a tunnel port takes; NULL: all
    # bits of the bridge's mirrors
    uint32_t src_mirrors        # that select what comes in here
    uint32_t dst_mirrors        # that select what goes out here
    bint mirror_output          # a mirror outputs here: nothing else is sent, nothing received

# What a mirror selected, a cache line for each PMD, which alone writes it; main reads relaxed.
cdef struct mirror_counts:
    uint64_t packets
    uint64_t bytes              # as received
    uint64_t unused[6]

# A mirror of a bridge; immutable once published, but for its counters.
cdef struct mirror:
    mirror_counts *counts       # MAX_PMDS of them; outlive the table while the mirror stays
    vlan_set *vlans             # that it selects; NULL: all
    const member *out           # NULL: a VLAN
    uint16_t out_vlan
    uint32_t same_output        # bits of the mirrors with that output, its own among them
    uint32_t snaplen            # bytes of a frame that are copied; 0: all

# Multicast snooping of a bridge; immutable once published, but for the table's contents.
cdef struct snooping:
    group_table *groups
    slot_set flood              # ports that get all multicast, and join nothing
    slot_set reports            # ports that get all reports
    bint flood_unregistered     # what nobody joined is flooded; else 'flood' and routers get it

# One bridge as the PMDs see it; immutable once published, but for the tables' contents.
cdef struct bridge_view:
    mac_table *macs
    vlan_set *flood_vlans       # where nothing is learned; NULL: none
    bint forward_bpdu           # reserved addresses are forwarded like others
    snooping *snoop             # NULL: multicast is flooded
    bint plain                  # every port is a trunk of all VLANs with no other setting, no snooping
    uint32_t tags               # how many VLAN tags of a frame are looked at: 1 or 2
    uint32_t n_members
    member *members             # slots ascending
    uint32_t n_mirrors          # up to 32, as in OVS: bits of a word
    mirror *mirrors

# Which slot is on which bridge; immutable once published.
cdef struct forwarding:
    member *member_of[MAX_SLOTS]        # NULL: not on any bridge
    uint16_t peer_of[MAX_SLOTS]         # of a patch port: 1 + slot; 0: it has none
    uint32_t n_bridges
    bridge_view *bridges

# What was learned last from one source of bursts: skips the table while nothing changed.
cdef struct lesson:
    uint64_t source             # mac_key()
    uint64_t when               # the port's change counter in the table and the coarse time then

# What a port of the host's kernel has besides its slot.
cdef struct host_port:
    # main writes before any table names the slot; PMDs and the host thread read
    rte_ring *queue                 # frames to be sent, in buffers of the port's pool
    bint packet                     # the descriptor is an AF_PACKET socket's, else a tap's
    # main writes before a list of the host thread names the slot, and after; the host thread reads
    int32_t fd                      # -1: none
    # main writes, PMDs and the host thread read
    uint32_t offloads               # checksums and segmentation may be left to the kernel
    # the host thread writes, main reads
    uint32_t error                  # errno of a device that can be read no more; 0: it can
    uint32_t segmentable            # frames came that somebody has to cut into segments
    uint32_t taken                  # frames taken from the queue so far
    # the host thread alone
    lesson learned

cdef struct rxq:
    uint16_t slot
    uint16_t queue
    # the PMD's own memory of one connection of the guest, by its number
    uint32_t connects
    bint packed                     # its rings are
    uint16_t available              # how far the library has read the ring, as far as is known
    # the PMD's own memory
    lesson learned

# The rxqs of one PMD; immutable once published, but for the PMD's own memory.
cdef struct poll_list:
    uint32_t n
    rxq *rxqs
    # the PMD's own memory: which of them can be polled, and what that was concluded from
    uint32_t n_active
    rxq **active
    uint32_t seen                   # dataplane.queue_changes then
    bint watched                    # the epoll instance has the active ones' kicks
    bint armed                      # guests were asked to kick

# What one PMD did since it was started, in TSC cycles and pieces; read relaxed by main as an array
# of numbers.
cdef struct pmd_counters:
    uint64_t started                # TSC when it was
    uint64_t busy_cycles            # of rounds in which packets were received
    uint64_t sleep_cycles           # in the kernel
    uint64_t iterations
    uint64_t busy_iterations
    uint64_t sleep_iterations
    uint64_t rx_packets
    uint64_t tx_packets
    uint64_t tx_batches
    uint64_t tx_contentions         # times another PMD held the lock of a txq

# The txq that a PMD holds while a port has fewer of them than there are threads.
cdef struct txq_hold:
    uint64_t used                   # TSC of the last burst
    uint32_t guest                  # slot.txq_guest then
    uint32_t txq                    # 1 + number; 0: none is held

# What a PMD writes with every burst: pages of its own.
cdef struct pmd_work:
    pmd_counters counts
    # the PMD alone
    ring_counters *calling          # of the ring that the library works on: read in its callback
    uint64_t now                    # TSC, of this round
    uint64_t idle_poll_cycles       # what a poll takes that finds nothing, about
    uint32_t depth                  # patch ports that the frames at hand came through
    uint32_t crossings              # bursts through patch ports that the first of them caused
    uint32_t n_held
    txq_hold held[MAX_SLOTS]
    uint32_t n_waits
    iotlb_wait waits[IOTLB_WAITS]
    duty duty
    # the PMD writes, main reads
    uint64_t sleeps_since           # TSC; 0: it does not
    # the PMD when it starts, main reads
    int32_t tid
    int lcore                       # DPDK's number of the thread; -1: it has none

cdef struct pmd:
    # main writes before the thread starts; the PMD reads
    dataplane *dp
    uint16_t index                  # QSBR thread id
    int core
    int32_t wake_fd                 # eventfd: ends a wait in the kernel
    port_counters *counters         # MAX_SLOTS of them; outlives the thread
    pmd_work *work                  # outlives the thread, too
    # main
    bint running
    pthread_t thread
    # main writes, the PMD reads
    poll_list *polls                # release/acquire, old one freed after quiescence
    uint32_t stop
    uint32_t tx_id                  # 0..n_pmds - 1, no two alike: its txq where there are enough
    uint32_t sleep_max_us
    uint32_t block
    # the PMD writes; main and callbacks read
    uint32_t waiting                # in the kernel, or about to: what changes has to wake it
    uint32_t ready                  # it runs: work.tid and work.lcore are known
    # the PMD alone
    int epoll_fd                    # of wake_fd and kicks; -1: not made yet

cdef struct dataplane:
    # main writes before the first PMD or callback exists; everybody reads
    rte_rcu_qsbr *qsbr
    ring *rings                     # MAX_VRINGS for each slot
    # main writes (release), PMDs read while a port with an IOMMU has a guest
    rte_mempool *waiting_pool       # of frames that wait for a translation
    int wake_fd                     # eventfd, written by callbacks, read by main
    uint64_t tsc_hz
    uint64_t tsc_start
    # main writes (release), PMDs read (acquire), old one freed after quiescence
    forwarding *fwd
    # main writes (release), PMDs read (acquire) before their tx_id, which is below it
    uint32_t n_pmds
    # callbacks and main add after each change of what may be polled, PMDs read (acquire)
    uint32_t queue_changes
    # main writes; a PMD that ends reads, which main waits for
    rte_mempool *pools[MAX_POOLS]   # NULL: not in use
    # callbacks add, last and with release, after a change of the slot; main reads (acquire)
    uint32_t generations[MAX_SLOTS]
    # main alone: the generation that was reported last
    uint32_t reported[MAX_SLOTS]
    # see the structs
    slot slots[MAX_SLOTS]
    pmd pmds[MAX_PMDS]
    host_port host_ports[MAX_SLOTS]
    pmd host                        # the host thread: no PMD, but it forwards like one
    # callbacks write and read; new_connection comes first for every vid
    int16_t vid_slot[MAX_VIDS]

# librte_vhost's callbacks get a vid and no user pointer.
cdef dataplane *dataplane_get() noexcept nogil
cdef int dataplane_init(int wake_fd) noexcept nogil
# Memory of zeros that is there once touched, aligned to a page, never freed; NULL without memory.
cdef void *zeroed(size_t bytes) noexcept nogil
# Waits until every PMD has passed a quiescent point. Any thread but a PMD; may take a round.
cdef void synchronize() noexcept nogil
# Has every PMD look at its queues anew, one that waits in the kernel at once. Any thread but a PMD.
cdef void queues_changed() noexcept nogil
# Makes the slot's last changes visible to main and to PMDs. Any thread but a PMD.
cdef void slot_changed(slot *s) noexcept nogil
# Ends a PMD's wait in the kernel, after what it is to see was changed. Any thread.
cdef void pmd_wake(pmd *p) noexcept nogil
# State of a slot that no guest is connected to.
cdef void slot_disconnected(slot *s) noexcept nogil

# The one place that maps queues to vrings (virtio: even rings are the guest's RX).
cdef inline uint16_t rxq_vring(uint16_t queue) noexcept nogil:
    return 2 * queue + 1

cdef inline uint16_t txq_vring(uint16_t queue) noexcept nogil:
    return 2 * queue

cdef inline ring *ring_of(const dataplane *dp, size_t slot_id, uint16_t vring) noexcept nogil:
    return &dp.rings[slot_id * MAX_VRINGS + vring]
