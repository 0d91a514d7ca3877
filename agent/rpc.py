"""What we replace in python-ovs's JSON-RPC: its decoding, and its TLS where that hides errors.

Its own parser is C only where it was built from source with Open vSwitch's library; the one in
Python takes a second for the database of a large host, in which the agent is deaf.
"""
from __future__ import annotations

import errno
import os
import socket
import ssl

import ovs.jsonrpc
import ovs.poller
import ovs.stream
import ovs.util

from agent.json_stream import JsonStream, MalformedError

READ_BYTES = 1 << 16            # more than a TLS record, so that OpenSSL keeps nothing back

vlog = ovs.jsonrpc.vlog


class FastConnection(ovs.jsonrpc.Connection):    # type: ignore[misc]
    """A Connection with another recv()."""

    def __init__(self, stream: ovs.stream.Stream) -> None:
        super().__init__(stream)
        self._json = JsonStream()

    def recv(self) -> tuple[int, ovs.jsonrpc.Message | None]:
        """(0, message), or a positive errno, EAGAIN among them, or EOF, and None."""
        while not self.status:
            try:
                value = self._json.next()
                if value is not None:
                    return self._message(value)
                error, data = self.stream.recv(READ_BYTES)
                if error == errno.EAGAIN:
                    return error, None
                if not error and not data:
                    self.error(ovs.util.EOF)
                elif not error:
                    self.received_bytes += len(data)
                    self._json.feed(data)
            except UnicodeDecodeError:
                error = errno.EILSEQ
            except MalformedError as e:
                return self._refuse(f"error parsing stream: {e}")
            if error:
                vlog.warn(f"{self.name}: receive error: {os.strerror(error)}")
                self.error(error)
        return self.status, None

    def _message(self, value: object) -> tuple[int, ovs.jsonrpc.Message | None]:
        message = ovs.jsonrpc.Message.from_json(value)
        if not isinstance(message, ovs.jsonrpc.Message):
            return self._refuse(f"received bad JSON-RPC message: {message}")
        if vlog.dbg_is_enabled():
            vlog.dbg(f"{self.name}: received {message}")
        return 0, message

    def _refuse(self, why: str) -> tuple[int, None]:
        vlog.warn(f"{self.name}: {why}")
        self.error(errno.EPROTO)
        return self.status, None

    def recv_wait(self, poller: ovs.poller.Poller) -> None:
        if self.status or self._json.is_ready:
            poller.immediate_wake()
        else:
            self.stream.recv_wait(poller)


class TlsStream(ovs.stream.SSLStream):      # type: ignore[misc]
    """An ssl: stream that says why TLS failed, and sleeps while the other side takes its time."""

    _poll_for = ovs.poller.POLLOUT      # what the handshake waits for: first to begin
    _is_secure = False

    @staticmethod
    def _open(suffix: str, dscp: int) -> tuple[int, ssl.SSLSocket | None]:
        try:
            error, sock = ovs.stream.SSLStream._open(suffix, dscp)
        except OSError as e:            # files that were good at the start
            return tls_error(f"ssl:{suffix}", e), None
        return error, sock

    @staticmethod
    def check_connection_completion(sock: ssl.SSLSocket) -> int:
        """The kernel's errno first: what sending before the handshake fails with is a number of
        TLS's."""
        refused = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return refused or int(ovs.stream.SSLStream.check_connection_completion(sock))

    def connect(self) -> int:
        error = int(ovs.stream.Stream.connect(self))
        if error or self._is_secure:
            return error
        try:
            self.socket.do_handshake()
        except ssl.SSLWantReadError:
            self._poll_for = ovs.poller.POLLIN
            return errno.EAGAIN
        except ssl.SSLWantWriteError:
            self._poll_for = ovs.poller.POLLOUT
            return errno.EAGAIN
        except OSError as e:
            return tls_error(self.name, e)
        self._is_secure = True
        return 0

    def recv(self, n: int) -> tuple[int, bytes | str]:
        try:
            return tuple(self._recv(n))
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return errno.EAGAIN, ""
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return 0, ""
        except OSError as e:
            return tls_error(self.name, e), ""

    def send(self, buf: str) -> int:
        try:
            return int(self._send(buf))
        except OSError:         # recv() tells what the other side said before it closed
            return -errno.EAGAIN

    def wait(self, poller: ovs.poller.Poller, wait: int) -> None:
        if self._is_secure or ovs.stream.Stream.connect(self):
            super().wait(poller, wait)
        else:
            poller.fd_wait(self.socket, self._poll_for)


def tls_error(name: str, error: OSError) -> int:
    """The errno of an error of TLS; what it has no number for is logged in words."""
    if isinstance(error, ssl.SSLError):
        said = getattr(error, "verify_message", None) or error.reason or error.strerror
        vlog.warn(f"{name}: TLS: {said}")
        return errno.EPROTO
    return error.errno or errno.EPROTO


def install() -> None:
    """From now on python-ovs makes its connections of these kinds."""
    ovs.jsonrpc.Connection = FastConnection
    ovs.stream.Stream.register_method("ssl", TlsStream)
