"""Descriptors of the host's devices that are ports, and how these devices are."""
from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from dataclasses import replace

import schema
from agent import netdev
from agent.host_model import SYSTEM, HostDevice
from agent.model import PortState
from agent.refusal import NO_DEVICE

# Who else takes up a tap that lasts (ovs-vswitchd, with the netdev datapath) reads its flags, adds
# one and writes them back: where we set it up in between, that takes it down.
TAKEN_UP_S = 10.0
DEFAULT_MTU = int(schema.columns()["Interface"]["mtu_request"]["default"])


class HostPorts:
    """For the main thread only."""

    def __init__(self) -> None:
        self._events = netdev.LinkEvents()
        self._changed = False
        self._fds: dict[str, int] = {}      # by port
        self._missed: dict[str, int] = {}
        self._tap_drops: dict[str, int] = {}        # when it was opened
        self._opened_s: dict[str, float] = {}

    @property
    def events_fd(self) -> int:
        return self._events.fileno()

    def open(self, port: str, device: HostDevice) -> tuple[int, tuple[str, ...]]:
        """A descriptor, kept until close(), and what the device does not take. OSError says in
        words why there is none."""
        fd = (netdev.open_packet if device.kind == SYSTEM else netdev.open_tap)(device.name)
        self._fds[port], self._missed[port] = fd, 0
        self._opened_s[port] = time.monotonic()
        self._tap_drops[port] = netdev.tap_drops(device.name) or 0
        return fd, self.set(port, device)

    def set(self, port: str, device: HostDevice, before: HostDevice | None = None
            ) -> tuple[str, ...]:
        """Gives the open device its address and MTU, and a tap its offloads; what it does not
        take. 'before' is what it was to be so far: an MTU of ours goes with the wish for it."""
        problems = []
        mtu = device.mtu
        if mtu is None and before is not None and before.mtu is not None:
            mtu = DEFAULT_MTU
        try:
            if device.kind != SYSTEM:
                netdev.set_tap_offloads(self._fds[port], device.tso)
        except OSError as e:
            problems.append(f"it does not take offloads: {e.strerror}")
        try:
            if device.mac is not None:
                netdev.set_mac(device.name, device.mac)
        except OSError as e:
            problems.append(str(e.strerror))
        try:
            if mtu is not None:
                netdev.set_mtu(device.name, mtu)
        except OSError as e:
            problems.append(str(e.strerror))
        try:
            if device.lasts:
                netdev.set_tap_lasting(self._fds[port], lasts=True)
                netdev.set_up(device.name)      # nobody else does after a reboot
        except OSError as e:
            problems.append(str(e.strerror))
        return tuple(problems)

    def driver(self, device: HostDevice) -> tuple[str, str, str]:
        return netdev.driver(device.name)

    def missed(self, port: str, device: HostDevice) -> int:
        """Frames that the kernel had for the agent and no room for, since the port was added."""
        with suppress(OSError):
            if device.kind == SYSTEM:
                self._missed[port] += netdev.packet_drops(self._fds[port])
            elif (drops := netdev.tap_drops(device.name)) is not None:
                self._missed[port] = max(self._missed[port], drops - self._tap_drops[port])
        return self._missed[port]

    def close(self, port: str) -> None:
        """The data plane uses the descriptor no more; a tap that we made goes with it, unless it
        lasts."""
        os.close(self._fds.pop(port))

    def remove(self, port: str, device: HostDevice, tap_stays: bool) -> None:
        """close(), for a port that is not wanted any more: a tap that lasts goes, too, unless it
        stays."""
        if device.lasts and not tap_stays:
            with suppress(OSError):     # it was deleted from outside
                netdev.set_tap_lasting(self._fds[port], lasts=False)
        self.close(port)

    def drain(self) -> bool:
        """Whether some device of the host changed since look_again()."""
        self._changed = self._events.drain() or self._changed
        return self._changed

    def look_again(self) -> bool:
        """Whether devices are to be looked at: forgets what drain() said."""
        changed = self.drain()
        self._changed = False
        return changed

    def look(self, state: PortState, failed: int, segmentable: bool) -> PortState:
        """The port as its device is now; the same object when nothing changed. 'failed' is the
        errno that the data plane has of it."""
        assert isinstance(state.device, HostDevice)
        link = netdev.look(state.device.name)
        if (link is not None and state.device.lasts and not link.up
                and time.monotonic() - self._opened_s[state.name] < TAKEN_UP_S):
            with suppress(OSError):
                netdev.set_up(state.device.name)
            link = netdev.look(state.device.name)
        if link is not None and state.device.lasts:
            link = replace(link, promiscuous=netdev.is_promiscuous(link.ifindex))
        before = state.host
        if (link is None and before.link is not None and not failed
                and netdev.has_tap(self._fds[state.name])):
            # It was moved to another namespace, from where no word of it comes: what is sent to it
            # while it is down there the kernel refuses.
            link = replace(before.link, up=True, running=True)
        known = before.link.ifindex if before.link is not None else None
        if link is None or failed or known not in (None, link.ifindex):
            lost = (NO_DEVICE.format(state.name, os.strerror(failed or errno.ENODEV))
                    + ": the device was deleted from outside; it is looked for again in a moment")
            now = replace(before, link=None, lost=before.lost or lost)
        else:
            now = replace(before, link=link, segmentable=segmentable)
        return state if now == before else replace(state, host=now)
