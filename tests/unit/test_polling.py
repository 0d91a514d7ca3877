"""poll() as python-ovs needs it."""
from __future__ import annotations

import select
import socket

from agent.polling import Poll


def test_both_directions_of_one_descriptor_are_waited_for() -> None:
    a, b = socket.socketpair()
    with a, b:
        for first, second in ((select.POLLIN, select.POLLOUT), (select.POLLOUT, select.POLLIN)):
            poll = Poll()
            poll.register(a, first)
            poll.register(a.fileno(), second)
            assert poll.poll(0) == [(a.fileno(), select.POLLOUT)]
        b.send(b"x")
        poll = Poll()
        poll.register(a, select.POLLIN)
        poll.register(a, select.POLLOUT)
        assert poll.poll(-1) == [(a.fileno(), select.POLLIN | select.POLLOUT)]


def test_nothing_ready_is_an_empty_list_when_the_time_is_over() -> None:
    a, b = socket.socketpair()
    with a, b:
        poll = Poll()
        poll.register(a, select.POLLIN)
        assert poll.poll(1) == []


def test_descriptor_above_1023_can_be_waited_for() -> None:
    import fcntl
    import os
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    high = None
    try:
        a, b = socket.socketpair()
        with a, b:
            high = fcntl.fcntl(a.fileno(), fcntl.F_DUPFD, 2000)
            poll = Poll()
            poll.register(high, select.POLLOUT)
            assert poll.poll(0) == [(high, select.POLLOUT)]
    finally:
        if high is not None:
            os.close(high)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
