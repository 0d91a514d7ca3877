"""Removing a client port while its guest goes, and while the library's event thread is stuck."""
from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

from tests.ext.conftest import Switch
from tools.host import wait_until

ROOT = Path(__file__).parents[2]
HEADER = struct.Struct("<III")          # of a vhost-user message: request, flags, payload bytes
GET_FEATURES, SET_FEATURES = 1, 2

# What happens within nanoseconds of an unlock happens in 0.3 ms, for the thread that says so.
SLOW_UNLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>

static __thread int slow;

void slow_down(int on) { slow = on; }

int pthread_mutex_unlock(pthread_mutex_t *m)
{
    static int (*unlock)(pthread_mutex_t *);
    int rc;

    if (!unlock)
        unlock = (int (*)(pthread_mutex_t *))dlsym(RTLD_NEXT, "pthread_mutex_unlock");
    rc = unlock(m);
    if (slow)
        usleep(300);
    return rc;
}
"""

# What is left of a socket that is not registered any more tries to connect, with a descriptor of
# its own, until the process crashes or a new socket gets the old one's memory.
REMOVALS = """
import ctypes, os, sys, threading
from tests.ext.conftest import EAL, PORT
from tests.ext.test_fence import guest_on
from pmd_ext.runtime import Runtime, open_log

def files():
    return len(os.listdir("/proc/self/fd"))

slow_down = ctypes.CDLL(sys.argv[1]).slow_down
open_log()
runtime = Runtime(EAL)
before, left = files(), 0
for i in range(150):
    path = f"{sys.argv[2]}/{i}"
    slot, guest = guest_on(path, lambda: runtime.ports.add_vhost(
        "p", path, **{**PORT, "client": True}))
    going = threading.Timer(i % 30 * 1e-4, guest.close)
    going.start()
    slow_down(1)
    runtime.ports.remove(slot)
    slow_down(0)
    going.join()
    left += files() > before
print(left, flush=True)
os._exit(0)
"""


def guest_on(path: str, add: object) -> tuple[int, socket.socket]:
    """A client port that is added by 'add', and its front end, once the event thread knows it."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1)
        slot = add()                                # type: ignore[operator]
        guest, _ = listener.accept()
    os.unlink(path)
    guest.send(HEADER.pack(GET_FEATURES, 1, 0))
    assert len(guest.recv(64)) == HEADER.size + 8
    return slot, guest


def client(switch: Switch, name: str) -> socket.socket:
    return guest_on(switch.path(name), lambda: switch.add_port(name, client=True))[1]


def unread(sender: socket.socket) -> int:
    """Bytes in the kernel of what was sent and not yet received."""
    return int.from_bytes(fcntl.ioctl(sender, termios.TIOCOUTQ, b"1234"), sys.byteorder)


def open_files() -> dict[str, str]:
    """Descriptor -> what it is of. The one that lists them is gone by the time it would be named;
    those that PMDs wait with come and go as they do."""
    names = {}
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            names[fd] = os.readlink(f"/proc/self/fd/{fd}")
    return {fd: name for fd, name in names.items() if name != "anon_inode:[eventpoll]"}


def seconds_to_remove(switch: Switch, name: str) -> float:
    begun = time.monotonic()
    switch.remove(name)
    return time.monotonic() - begun


def test_guest_that_goes_while_its_port_is_removed_leaves_nothing(tmp_path: Path) -> None:
    library = tmp_path / "slow_unlock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, "-x", "c", "-"], input=SLOW_UNLOCK,
                   text=True, check=True)
    done = subprocess.run(
        [sys.executable, "-c", REMOVALS, library, tmp_path], cwd=ROOT, text=True,
        env={**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": str(ROOT)},
        capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


def test_removals_leave_neither_a_descriptor_nor_a_thread(switch: Switch) -> None:
    with client(switch, "c"):
        switch.remove("c")
    files, threads = open_files(), len(os.listdir("/proc/self/task"))
    for _ in range(50):
        with client(switch, "c"):
            switch.remove("c")
    assert open_files() == files
    assert len(os.listdir("/proc/self/task")) <= threads


def test_event_thread_that_waits_for_a_message_delays_removals_for_a_moment(switch: Switch) -> None:
    for _ in range(2):
        switch.add("s")
        guests = [client(switch, name) for name in ("c0", "c1")]
        with socket.socket(socket.AF_UNIX) as hostile:
            hostile.connect(switch.path("s"))
            hostile.send(HEADER.pack(SET_FEATURES, 1, 8))           # and never the 8 bytes
            wait_until(lambda: unread(hostile) == 0, "the event thread waits for them")
            assert seconds_to_remove(switch, "c0") < 0.9
            wait_until(lambda: switch.state("s")["offences"] == 1, "its connection is ended")
        assert seconds_to_remove(switch, "c1") < 0.9
        with client(switch, "c2"):                                  # handled again
            switch.remove("c2")
        switch.remove("s")
        for guest in guests:
            guest.close()
