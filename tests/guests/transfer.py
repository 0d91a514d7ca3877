"""One TCP connection, one way: `receive PORT` to stdout, `send ADDRESS PORT` of stdin."""
from __future__ import annotations

import socket
import sys

if sys.argv[1] == "receive":
    with socket.create_server(("", int(sys.argv[2]))) as server:
        connection, _ = server.accept()
        while piece := connection.recv(1 << 16):
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
else:
    with socket.create_connection((sys.argv[2], int(sys.argv[3])), timeout=60) as connection:
        connection.settimeout(None)
        while piece := sys.stdin.buffer.read1(1 << 16):
            connection.sendall(piece)
