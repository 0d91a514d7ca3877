"""The poll() that python-ovs's loop runs on."""
from __future__ import annotations

import select
import socket


class Poll:
    """As python-ovs uses it: register what to wait for, poll once.

    Its own one is select(), which fails on descriptors over 1023; select.poll() forgets what a
    descriptor was registered for when it is registered again, as it is by who sends and who
    receives on it.
    """

    def __init__(self) -> None:
        self._events: dict[int, int] = {}

    def register(self, fd: int | socket.socket, events: int) -> None:
        number = fd if isinstance(fd, int) else fd.fileno()
        self._events[number] = self._events.get(number, 0) | events

    def poll(self, timeout_ms: int) -> list[tuple[int, int]]:
        """(descriptor, events) of those that are ready; -1 waits for ever."""
        poll = select.poll()
        for fd, events in self._events.items():
            poll.register(fd, events)
        return poll.poll(timeout_ms)
