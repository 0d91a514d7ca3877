"""Serves metrics over HTTP, from threads that share nothing with the agent: they ask its control
socket, as everybody does.

What HTTP clients do costs the agent at most one answer a second; there are never more than
CONNECTIONS of them, and none keeps its place longer than it has to ask, the agent to answer, and it
to take the answer.
"""
from __future__ import annotations

import ipaddress
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric

from agent import log
from agent.metrics import families
from agent.picture import Picture
from agent.remotes import Listen

ANSWER_S = 5.0                  # an agent that says nothing for so long hangs
ASK_S = 2.0                     # for a client to ask
TAKE_S = 5.0                    # for it to take the answer
LOOK_S = 0.25                   # how often is looked for clients whose time is over
FRESH_S = 1.0                   # an answer serves all who ask within this time
CONNECTIONS = 16
RECEIVE_BYTES = 1 << 18
PATH = "/metrics"
INDEX = f"This is vhost-agent; metrics are at {PATH}\n".encode()


class MetricsError(Exception):
    """Metrics cannot be served; the text says why."""


class UnansweredError(Exception):
    """The agent gives no picture; the text says why."""


def ask(control: str, timeout_s: float) -> Picture:
    """The agent's picture. Plain sockets: python-ovs's streams are the main thread's. Raises
    UnansweredError."""
    due = time.monotonic() + timeout_s
    data = bytearray()
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout_s)
            connection.connect(control)
            connection.sendall(b'{"id":0,"method":"vhost/state","params":[]}')
            while True:
                connection.settimeout(max(0.001, due - time.monotonic()))
                piece = connection.recv(RECEIVE_BYTES)
                data += piece
                if not piece:
                    raise UnansweredError(f"{control}: the agent closed the connection")
                if piece.endswith(b"}"):
                    with suppress(json.JSONDecodeError):
                        return result(json.loads(data))
    except TimeoutError as e:
        raise UnansweredError(f"{control}: the agent does not answer within {timeout_s:g} s") from e
    except OSError as e:
        raise UnansweredError(f"{control}: {e.strerror}") from e


def result(reply: Any) -> Picture:
    if reply.get("error") is not None:
        raise UnansweredError(f"the agent refuses: {str(reply['error']).strip()}")
    return dict(json.loads(reply["result"]))


class Source:
    """The picture for all threads: asked for by one at a time, and kept for a moment."""

    def __init__(self, control: str) -> None:
        self._control = control
        self._lock = threading.Lock()
        self._picture: Picture | None = None
        self._answer_s = 0.0
        self._at = 0.0

    def picture(self) -> tuple[Picture, float]:
        """With how long it took to come. Raises UnansweredError."""
        if not self._lock.acquire(timeout=ANSWER_S):
            raise UnansweredError("others wait for the agent's answer")
        try:
            now = time.monotonic()
            if self._picture is None or now >= self._at + FRESH_S:
                self._picture = None
                self._picture = ask(self._control, ANSWER_S)
                self._at = time.monotonic()
                self._answer_s = self._at - now
            return self._picture, self._answer_s
        finally:
            self._lock.release()


class Collector:
    """What prometheus-client asks for one answer."""

    def __init__(self, picture: Picture, answer_s: float) -> None:
        self._picture, self._answer_s = picture, answer_s

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        return families(self._picture, self._answer_s)


class Handler(BaseHTTPRequestHandler):
    """One client, one request."""

    server: MetricsServer

    def do_GET(self) -> None:
        self.server.due[self.request] = time.monotonic() + ANSWER_S + TAKE_S
        path = self.path.partition("?")[0]
        if path == "/":
            self._send(HTTPStatus.OK, "text/plain; charset=utf-8", INDEX)
            return
        if path != PATH:
            self._say(HTTPStatus.NOT_FOUND, f"metrics are at {PATH}")
            return
        # Not where the polling threads are: DPDK gave the main thread a core of its own.
        os.sched_setaffinity(0, os.sched_getaffinity(os.getpid()))
        try:
            picture, answer_s = self.server.source.picture()
        except UnansweredError as e:
            self._say(HTTPStatus.SERVICE_UNAVAILABLE, str(e))
            return
        registry = CollectorRegistry()
        registry.register(Collector(picture, answer_s))
        ProcessCollector(registry=registry)
        encode, content_type = choose_encoder(self.headers.get("Accept", ""))
        body = encode(registry)
        self.server.due[self.request] = time.monotonic() + TAKE_S
        self._send(HTTPStatus.OK, content_type, body)

    def do_HEAD(self) -> None:
        self.do_GET()               # _send() leaves the body out

    def _say(self, status: HTTPStatus, text: str) -> None:
        self._send(status, "text/plain; charset=utf-8", f"{text}\n".encode())

    def _send(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        return "vhost-agent"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: each scrape would be a line."""


class MetricsServer(ThreadingMixIn, TCPServer):
    """Listens from the start, answers from start() on."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = CONNECTIONS

    def __init__(self, listen: Listen, control: str) -> None:
        """Raises MetricsError when the address cannot be had."""
        self.source = Source(control)
        self.address_family = (socket.AF_INET6 if ipaddress.ip_address(listen.address).version == 6
                               else socket.AF_INET)
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        self.due: dict[socket.socket, float] = {}   # when a client's time is over (monotonic, s)
        try:
            super().__init__((listen.address, listen.port), Handler)
        except OSError as e:
            raise MetricsError(f"--metrics={listen}: cannot listen there: {e.strerror}") from e

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, args=(LOOK_S,), name="metrics",
                         daemon=True).start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether there is room for one more client."""
        return self._free.acquire(blocking=False)

    def process_request(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request(request, client_address)
        except BaseException:           # no thread to be had
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        self.due[request] = time.monotonic() + ASK_S
        try:
            super().process_request_thread(request, client_address)
        finally:
            del self.due[request]
            self._free.release()

    def service_actions(self) -> None:
        """Shows clients out whose time is over. A time limit for each read or write would let one
        stay that sends a byte now and then."""
        now = time.monotonic()
        for connection, due in list(self.due.items()):
            if now >= due:
                with suppress(OSError):     # it has just gone
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went, or never said what it wanted, is no news."""
        error = sys.exception()
        if not isinstance(error, OSError):
            log.main.exception("answering a scrape failed")

