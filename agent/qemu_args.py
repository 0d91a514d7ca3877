"""QEMU's arguments for a guest on vhost-user ports, in the words of OVS's document: pure."""
from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from agent.guest_nic import RECONNECT_S, Nic

Option = tuple[str, ...]            # its name, and its value if it has one


def arguments(nics: Sequence[Nic], memory_mib: int, hugepages: str | None) -> list[Option]:
    """What QEMU is to be given; 'hugepages' is the directory of a hugetlbfs."""
    return [*memory(memory_mib, hugepages),
            *(option for number, nic in enumerate(nics, 1) for option in device(number, nic))]


def memory(mib: int, hugepages: str | None) -> Iterator[Option]:
    """Memory that the switch can map: shared, and all of the guest's."""
    kind, where = (("memfd", "") if hugepages is None
                   else ("file", f",mem-path={value(hugepages)}"))
    yield "-m", f"{mib}M"           # the default would not be the size of the NUMA node
    yield "-object", f"memory-backend-{kind},id=mem,size={mib}M{where},share=on"
    yield "-numa", "node,memdev=mem"
    yield ("-mem-prealloc",)


def device(number: int, nic: Nic) -> Iterator[Option]:
    """One device; 'number' keeps the names of several apart, from 1."""
    char, net = f"char{number}", f"mynet{number}"
    # 'wait' would stop QEMU at the chardev already; the netdev waits for the switch anyway
    how = "server=on,wait=off" if nic.listens else f"reconnect={RECONNECT_S}"
    yield "-chardev", f"socket,id={char},path={value(nic.path)},{how}"
    several = nic.queues > 1
    yield "-netdev", (f"type=vhost-user,id={net},chardev={char},vhostforce=on"
                      + (f",queues={nic.queues}" if several else ""))
    properties = [f"virtio-net-pci,mac={nic.mac},netdev={net},mrg_rxbuf=on"]
    if several:
        # for each queue, for the control queue and for configuration
        properties.append(f"mq=on,vectors={2 * nic.queues + 2}")
    properties += [f"{name}={number}" for name, number in (
        ("rx_queue_size", nic.rx_queue_size), ("tx_queue_size", nic.tx_queue_size),
        ("host_mtu", nic.mtu)) if number is not None]
    if nic.iommu:
        properties.append("disable-legacy=on,iommu_platform=on,ats=on")
    yield "-device", ",".join(properties)


def value(text: str) -> str:
    """A text as the value of a key: QEMU takes two commas for one."""
    return text.replace(",", ",,")


def command_line(options: Sequence[Option], to_terminal: bool) -> str:
    """The options in a shell's words, a line each. On a terminal the lines are continued, so that
    they can be pasted; elsewhere not, for what a shell substitutes is not read as a command."""
    return (" \\\n" if to_terminal else "\n").join(map(shlex.join, options)) + "\n"
