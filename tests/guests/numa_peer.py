"""A guest in miniature on a dpdkvhostuserclient port of a switch in the same machine, until this is
killed: python -m tests.guests.numa_peer SOCKET. Its memory is on the NUMA node that it runs on."""
from __future__ import annotations

import signal
import sys

from tools.frontend import FrontEnd

with FrontEnd(sys.argv[1], listen=True, timeout_s=300) as guest:
    guest.connect()
    signal.pause()
