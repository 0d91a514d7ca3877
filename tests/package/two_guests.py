"""Two guests in miniature on sockets of their own; prints what the second got of the first.

    two_guests.py SOCKET SOCKET     from a directory that has tools/, as who QEMU would run as
"""
import os
import sys

sys.path.insert(0, ".")

from tools.frontend import FrontEnd, ethernet

A, B = "02:00:00:00:00:01", "02:00:00:00:00:02"
SLOW_S = 120.0

os.umask(0o002)             # as libvirt has it for QEMU: who is in its group may connect
with FrontEnd(sys.argv[1], listen=True, timeout_s=SLOW_S) as first, \
        FrontEnd(sys.argv[2], listen=True, timeout_s=SLOW_S) as second:
    first.connect()
    second.connect()
    first.send([ethernet(B, A, b"hello")])
    (frame,) = second.recv_wait(1, SLOW_S)
    print(frame[14:19].decode())
