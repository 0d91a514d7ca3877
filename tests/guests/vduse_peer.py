"""A guest on a vhost-user port of a switch in the same machine, until this is killed.

    python -m tests.guests.vduse_peer NAME SOCKET MAC ADDRESS/24

It makes the socket, as QEMU does for dpdkvhostuserclient ports; network namespace NAME is its
inside. Says "ready" once the switch has connected.
"""
from __future__ import annotations

import signal
import sys
from pathlib import Path

from tools.guest import Guest, Namespace

name, path, mac, address = sys.argv[1:]
with (Namespace(name=name, mac=mac, address=address) as namespace,
      Guest(name=name, socket=Path(path), log=Path(f"{path}.log"), server=True,
            namespace=namespace) as guest):
    guest.wait_ready(300)
    print("ready", flush=True)
    signal.pause()
