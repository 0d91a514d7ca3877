"""Metrics over HTTP: what clients and the agent may do to each other."""
from __future__ import annotations

import json
import select
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from agent import metrics_server
from agent.daemon import serve_metrics
from agent.metrics_server import MetricsError, MetricsServer
from agent.remotes import Listen
from tests.agent.conftest import Contract
from tests.unit.pictures import seen, taken
from tools.host import AGENT, Host, temporary_host, wait_until

GET = b"GET /metrics HTTP/1.0\r\n\r\n"


class FakeAgent:
    """A control socket that answers with a picture, or says nothing."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.asked = 0
        self.answer: str | None = json.dumps(
            {"id": 0, "error": None, "result": json.dumps(taken(seen("a")))})
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                connection.recv(4096)
                self.asked += 1
                self._open.append(connection)
                if self.answer is not None:
                    half = len(self.answer) // 2
                    connection.sendall(self.answer[:half].encode())
                    connection.sendall(self.answer[half:].encode())

    def close(self) -> None:
        self._listener.close()
        for connection in self._open:
            connection.close()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server ends, and looks for clients whose time is over, within a moment."""
    monkeypatch.setattr(metrics_server, "LOOK_S", 0.02)


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeAgent]:
    agent = FakeAgent(str(tmp_path / "x.ctl"))
    yield agent
    agent.close()


@contextmanager
def serving(control: str, address: str = "127.0.0.1") -> Iterator[MetricsServer]:
    server = MetricsServer(Listen(address, 0), control)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def server(fake: FakeAgent) -> Iterator[MetricsServer]:
    with serving(fake.path) as server:
        yield server


def get(server: MetricsServer, path: str = "/metrics") -> tuple[int, str, str]:
    """Status, content type, text."""
    host, port = server.server_address[:2]
    host = f"[{host!s}]" if ":" in str(host) else str(host)
    try:
        with urlopen(f"http://{host}:{port}{path}", timeout=20) as reply:
            return reply.status, reply.headers["Content-Type"], reply.read().decode()
    except HTTPError as e:
        return e.code, e.headers["Content-Type"], e.read().decode()


def connect(server: MetricsServer) -> socket.socket:
    connection = socket.create_connection(server.server_address[:2], timeout=20)
    return connection


def threads() -> int:
    return threading.active_count()


# --- what is served -------------------------------------------------------------------------------

def test_scrape_has_the_agents_and_the_process_metrics(server: MetricsServer) -> None:
    status, kind, text = get(server)
    assert (status, kind.partition(";")[0]) == (200, "text/plain")
    assert 'vhost_agent_port_up{bridge="br0",port="a"} 1.0' in text
    assert "process_resident_memory_bytes" in text


def test_other_pages(server: MetricsServer) -> None:
    assert get(server, "/")[:2] == (200, "text/plain; charset=utf-8")
    assert get(server, "/x") == (404, "text/plain; charset=utf-8", "metrics are at /metrics\n")


def test_head_has_what_get_has_but_the_text(server: MetricsServer) -> None:
    client = HTTPConnection(*server.server_address[:2], timeout=20)     # type: ignore[arg-type]
    for path, status in (("/metrics", 200), ("/", 200), ("/x", 404)):
        client.request("HEAD", path)
        reply = client.getresponse()
        assert (reply.status, reply.read()) == (status, b"")
        assert int(reply.headers["Content-Length"]) > 0
        client.close()


def test_scrapes_within_a_second_ask_once(server: MetricsServer, fake: FakeAgent,
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "FRESH_S", 3600)
    for _ in range(5):
        assert get(server)[0] == 200
    assert fake.asked == 1
    monkeypatch.setattr(metrics_server, "FRESH_S", 0)
    assert get(server)[0] == 200
    assert fake.asked == 2


def test_ipv6(fake: FakeAgent) -> None:
    with serving(fake.path, "::1") as server:
        assert get(server)[0] == 200


# --- an agent that does not answer ----------------------------------------------------------------

def test_agent_that_hangs_is_said_and_asked_again(server: MetricsServer, fake: FakeAgent,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "ANSWER_S", 0.2)
    answer, fake.answer = fake.answer, None
    assert get(server) == (503, "text/plain; charset=utf-8",
                           f"{fake.path}: the agent does not answer within 0.2 s\n")
    monkeypatch.setattr(metrics_server, "ANSWER_S", 20)
    fake.answer = answer
    assert get(server)[0] == 200


def test_agent_that_is_not_there_or_refuses(server: MetricsServer, fake: FakeAgent) -> None:
    fake.answer = json.dumps({"id": 0, "result": None, "error": "vhost/state failed: x\n"})
    assert get(server)[::2] == (503, "the agent refuses: vhost/state failed: x\n")
    fake.close()
    Path(fake.path).unlink()
    assert get(server)[::2] == (503, f"{fake.path}: No such file or directory\n")


# --- clients --------------------------------------------------------------------------------------

def test_so_many_clients_are_listened_to_and_no_more(server: MetricsServer,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "ASK_S", 3600)
    most, before = metrics_server.CONNECTIONS, threads()
    clients = [connect(server) for _ in range(3 * most)]
    # there is something to read where the server has closed
    wait_until(lambda: len(select.select(clients, [], [], 0)[0]) == 2 * most,
               "the others are shown out")
    assert threads() <= before + 2 * most
    for client in clients:
        client.close()
    wait_until(lambda: threads() == before, "all are gone")
    assert get(server)[0] == 200


def test_client_that_says_nothing_is_shown_out(server: MetricsServer,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "ASK_S", 0.5)
    with connect(server) as connection, suppress(ConnectionError):
        assert connection.recv(1) == b""


def test_clients_that_take_all_places_keep_a_scrape_away_for_a_moment(
        server: MetricsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prometheus tries again, after a minute by default; it finds a place."""
    monkeypatch.setattr(metrics_server, "ASK_S", 1)
    clients = [connect(server) for _ in range(metrics_server.CONNECTIONS)]
    begin = time.monotonic()
    wait_until(lambda: len(select.select(clients, [], [], 0)[0]) == len(clients), "all are out")
    assert get(server)[0] == 200
    assert time.monotonic() - begin < 2 * metrics_server.ASK_S
    for client in clients:
        client.close()


def test_client_that_drips_is_shown_out_in_time(server: MetricsServer,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "ASK_S", 0.5)
    with connect(server) as connection:
        connection.settimeout(0.05)
        connection.sendall(b"GET /metrics HTTP/1.0\r\n")
        until = time.monotonic() + 20
        while time.monotonic() < until:
            try:
                connection.sendall(b"X")
                if connection.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        assert time.monotonic() < until


def test_client_that_takes_nothing_is_shown_out(server: MetricsServer, fake: FakeAgent,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "TAKE_S", 0.5)
    fake.answer = json.dumps({"id": 0, "error": None, "result": json.dumps(
        taken(seen(*(f"p{i}" for i in range(3000)))))})
    before = threads()
    with connect(server) as connection:
        connection.sendall(GET)
        wait_until(lambda: threads() > before, "it is answered")
        wait_until(lambda: threads() == before, "it is shown out", 60)
    monkeypatch.setattr(metrics_server, "TAKE_S", 60)
    assert get(server)[0] == 200


@pytest.mark.parametrize("request_", [
    b"\0" * 70_000, b"GET /" + b"a" * 100_000 + b" HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.0\r\n" + b"A: b\r\n" * 10_000 + b"\r\n", b"POST /metrics HTTP/1.1\r\n\r\n",
    b"GET\r\n\r\n", b"GET /metrics HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\xfc\r\n\r\n"])
def test_request_that_is_none(server: MetricsServer, fake: FakeAgent, request_: bytes) -> None:
    with connect(server) as connection, suppress(OSError):
        connection.sendall(request_)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 16):
            pass
    assert fake.asked == 0
    assert get(server)[0] == 200


def test_address_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = Listen("127.0.0.1", other.getsockname()[1])
        with pytest.raises(MetricsError) as info:
            MetricsServer(listen, "/x")
        assert str(info.value) == (
            f"--metrics={listen}: cannot listen there: Address already in use")
        # who took it while an agent was started again does not keep guests from their switch
        assert serve_metrics(listen, "/x", again=True) is None


# --- the agent ------------------------------------------------------------------------------------

def fetch(host: Host, url: str) -> str:
    """What is there for who is where the agent is."""
    return host.inside(sys.executable, "-c", "import sys, urllib.request as r; "
                       "sys.stdout.write(r.urlopen(sys.argv[1], timeout=20).read().decode())", url)


def test_agent_serves_metrics_where_it_is_told(host: Host) -> None:
    host.start_agent("--metrics=[::1]:9945")
    host.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")
    text = fetch(host, "http://[::1]:9945/metrics")
    assert 'vhost_agent_port_up{bridge="br0",port="br0"} 0.0' in text
    assert host.stop_agent() == 0
    host.start_agent("--metrics=[::1]:9945")        # the address is free at once


def test_start_fails_in_words_where_metrics_cannot_be_served() -> None:
    with temporary_host("vhost-metrics") as host:
        host.start_ovsdb("--remote=ptcp:9945:127.0.0.1")
        command = [*host.agent_command(), "run", "--metrics=9945"]
        done = host.run(*command, "--detach", "--pidfile")
        assert done.returncode == 1
        assert done.stderr.endswith("\n--metrics=127.0.0.1:9945: cannot listen there: Address "
                                    "already in use\n")
        assert not list(host.directory.glob("vhost-agent*.ctl"))
        done = host.run(AGENT, "run", "--metrics=localhost:1")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("vhost-agent: --metrics=localhost:1: 'localhost' is no IP")


def test_agent_without_the_option_listens_nowhere(contract: Contract) -> None:
    pid = contract.host.agents[-1].pid
    tcp = Path(f"/proc/{pid}/net/tcp").read_text() + Path(f"/proc/{pid}/net/tcp6").read_text()
    listening = {line.split()[9] for line in tcp.splitlines()[1:] if line.split()[3:4] == ["0A"]}
    sockets = {link.readlink().name for link in Path(f"/proc/{pid}/fd").iterdir()
               if link.is_symlink()}
    assert not {f"socket:[{inode}]" for inode in listening} & sockets
