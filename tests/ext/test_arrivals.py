"""Guests that are gone before the library is done with their coming."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

# What is between a connection being watched and its being on its socket's list lasts a while: both
# are there when a lock is taken. For who says so, and for the thread that connects again.
SLOW_LOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

static __thread int slow, known;

void slow_down(int on) { slow = on; }

int pthread_mutex_lock(pthread_mutex_t *m)
{
    static int (*lock)(pthread_mutex_t *);
    char name[16] = "";

    if (!lock)
        lock = (int (*)(pthread_mutex_t *))dlsym(RTLD_NEXT, "pthread_mutex_lock");
    if (!known) {
        known = 1;
        pthread_getname_np(pthread_self(), name, sizeof name);
        slow |= strstr(name, "reco") != NULL;
    }
    if (slow)
        usleep(5000);
    return lock(m);
}
"""

# A socket of the process that hangs up on each who comes, and asks another port something at the
# same time: that wakes the event thread where a new connection does not (DPDK 22.11).
GOING = """
import ctypes, os, socket, sys, threading
from tests.ext.conftest import EAL, PORT
from tests.ext.test_fence import GET_FEATURES, HEADER, guest_on
from tools.host import wait_until
from pmd_ext.runtime import Runtime, open_log

slow_down = ctypes.CDLL(sys.argv[1]).slow_down
directory, early = sys.argv[2], sys.argv[3] == "early"
open_log()
runtime = Runtime(EAL)
_, asking = guest_on(f"{directory}/asking", lambda: runtime.ports.add_vhost(
    "asking", f"{directory}/asking", **{**PORT, "client": True}))
asked = threading.Lock()
came = {}

def hang_up(listener, name):
    while True:
        guest, _ = listener.accept()
        guest.close()
        with asked:
            asking.send(HEADER.pack(GET_FEATURES, 1, 0))
            asking.recv(64)
        came[name] = came.get(name, 0) + 1

def listen(name):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{directory}/{name}")
    listener.listen(8)
    threading.Thread(target=hang_up, args=(listener, name), daemon=True).start()

def files():
    return len(os.listdir("/proc/self/fd"))

names, slots, before = [str(i) for i in range(8)], [], files()
for name in names:
    if early:
        listen(name)
        slow_down(1)
    slots.append(runtime.ports.add_vhost(name, f"{directory}/{name}", **{**PORT, "client": True}))
    slow_down(0)
if not early:
    for name in names:
        listen(name)
wait_until(lambda: len(came) == 8 and min(came.values()) > 3, "all went several times")
for slot in slots:
    runtime.ports.remove(slot)
wait_until(lambda: files() == before + 8, "descriptors are those of the listeners")
os._exit(0)
"""


def go_at_once(tmp_path: Path, when: str) -> None:
    library = tmp_path / "slow_lock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, "-x", "c", "-"], input=SLOW_LOCK,
                   text=True, check=True)
    done = subprocess.run(
        [sys.executable, "-c", GOING, library, tmp_path, when], cwd=ROOT, text=True,
        env={**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": str(ROOT)},
        capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_guests_that_listen_before_their_ports_come_and_go_at_once(tmp_path: Path) -> None:
    go_at_once(tmp_path, "early")


def test_guests_that_listen_after_their_ports_come_and_go_at_once(tmp_path: Path) -> None:
    go_at_once(tmp_path, "late")
