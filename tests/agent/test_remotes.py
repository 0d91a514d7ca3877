"""Databases behind every kind of remote, a cluster among them."""
from __future__ import annotations

import os
import re
import socket
import ssl
import subprocess
import threading
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import ovs.json
import ovs.jsonrpc
import ovs.stream
import ovs.util
import pytest

from agent import rpc
from tools.guest import is_listening
from tools.host import SCHEMA, Host, temporary_host, wait_until

TLS_FILES = ("--private-key={}/{}.key", "--certificate={}/{}.pem", "--ca-cert={}/ca.pem")


@pytest.fixture
def bare() -> Iterator[Host]:
    """A host on which nothing runs yet."""
    with temporary_host("vhost-test") as host:
        yield host


def port_of(host: Host) -> int:
    """The port that ovsdb-server was given for ptcp:0 or pssl:0."""
    log = host.directory / "ovsdb-server.log"
    found = wait_until(lambda: re.search(r"listening on port (\d+)", log.read_text()),
                       "ovsdb-server has a port")
    return int(found[1])


def serves(host: Host, name: str) -> bool:
    """A port of that name comes with the next command, not later."""
    host.vsctl("add-port", "br0", name, "--", "set", "Interface", name, "type=dpdkvhostuser")
    return host.interface(name, "error") is None and is_listening(host.directory / name)


def start(host: Host, remote: str, *options: str) -> None:
    """An agent on that remote, and an empty bridge."""
    host.enable_dpdk()
    host.start_agent(remote, *options)
    host.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")
    assert f"{remote}: connected" in host.output()


def certificates(host: Host, *names: str, expired: str = "") -> None:
    """An authority, and keys and certificates signed by it, in the host's directory. That of
    'expired' was good for the second in which it was made."""
    def openssl(*words: str) -> None:
        host.check("openssl", *words)

    where = host.directory
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *key, "-keyout", f"{where}/ca.key", "-out", f"{where}/ca.pem",
            "-subj", f"/CN={where.name}", "-days", "2")
    for name in names:
        openssl("req", *key, "-keyout", f"{where}/{name}.key", "-out", f"{where}/{name}.csr",
                "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", f"{where}/{name}.csr", "-CA", f"{where}/ca.pem", "-CAkey",
                f"{where}/ca.key", "-CAcreateserial", "-out", f"{where}/{name}.pem", "-days",
                "0" if name == expired else "2")
    if expired:
        wait_until(lambda: host.run("openssl", "verify", "-CAfile", f"{where}/ca.pem",
                                    f"{where}/{expired}.pem").returncode != 0, "it has expired")


def tls_files(directory: Path, name: str) -> list[str]:
    return [option.format(directory, name) for option in TLS_FILES]


def test_unix(bare: Host) -> None:
    bare.start_ovsdb()
    start(bare, f"unix:{bare.directory}/db.sock")
    assert serves(bare, "s0")


def test_tcp(bare: Host) -> None:
    bare.start_ovsdb("--remote=ptcp:0:127.0.0.1")
    start(bare, f"tcp:127.0.0.1:{port_of(bare)}")
    assert serves(bare, "s0")


def test_ssl(bare: Host) -> None:
    certificates(bare, "server", "agent")
    bare.start_ovsdb("--remote=pssl:0:127.0.0.1", *tls_files(bare.directory, "server"))
    start(bare, f"ssl:127.0.0.1:{port_of(bare)}", *tls_files(bare.directory, "agent"))
    assert serves(bare, "s0")


@pytest.mark.parametrize("stranger", ["server", "agent"])
def test_certificate_of_another_authority(bare: Host, stranger: str) -> None:
    """Nothing is served, the log says why, and the agent tries again."""
    other = bare.directory / "other"
    other.mkdir()
    certificates(Host(other), "server", "agent")
    certificates(bare, "server", "agent")
    files = {name: tls_files(other if name == stranger else bare.directory, name)
             for name in ("server", "agent")}
    files["agent"][2] = files["server"][2] = f"--ca-cert={bare.directory}/ca.pem"
    bare.start_ovsdb("--remote=pssl:0:127.0.0.1", *files["server"])
    remote = f"ssl:127.0.0.1:{port_of(bare)}"
    bare.start_agent(remote, *files["agent"])
    wait_until(lambda: bare.output().count(f"{remote}: connecting...") > 1, "it tries again")
    assert re.search(rf"{remote}: TLS: .*(certificate|unknown ca|UNKNOWN_CA)", bare.output())
    assert "Traceback" not in bare.output()


def refused(host: Host, remote: str) -> str:
    """What is logged by an agent that tries that remote again and again. Where the server is wrong
    it is never connected; that of the client is looked at after TLS's handshake."""
    host.start_agent(remote, *tls_files(host.directory, "agent"))
    wait_until(lambda: host.output().count(f"{remote}: connecting...") > 1, "it tries again")
    assert "Traceback" not in host.output()
    return host.output()


@pytest.mark.parametrize("expired", ["server", "agent"])
def test_certificate_that_has_expired(bare: Host, expired: str) -> None:
    certificates(bare, "server", "agent", expired=expired)
    bare.start_ovsdb("--remote=pssl:0:127.0.0.1", *tls_files(bare.directory, "server"))
    remote = f"ssl:127.0.0.1:{port_of(bare)}"
    said = refused(bare, remote)
    assert f"{remote}: TLS: " in said
    assert f"{remote}: connected" not in said or expired == "agent"


def test_server_without_tls_learns_nothing(bare: Host) -> None:
    """A database that would be served without TLS."""
    certificates(bare, "agent")
    bare.start_ovsdb("--remote=ptcp:0:127.0.0.1")
    remote = f"ssl:127.0.0.1:{port_of(bare)}"
    assert f"{remote}: connected" not in refused(bare, remote)


@pytest.mark.parametrize(("newest", "works"), [(ssl.TLSVersion.TLSv1_1, False),
                                               (ssl.TLSVersion.TLSv1_2, True)])
def test_tls_is_1_2_or_later(bare: Host, newest: ssl.TLSVersion, works: bool) -> None:
    certificates(bare, "server", "agent")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with warnings.catch_warnings():         # of old versions, which are the matter here
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, newest
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.load_cert_chain(bare.directory / "server.pem", bare.directory / "server.key")
    shaken: list[bool] = []

    def serve(server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client = server.accept()[0]
                try:
                    context.wrap_socket(client, server_side=True)
                    shaken.append(True)
                except ssl.SSLError:
                    shaken.append(False)

    with bare.netns.call(lambda: socket.create_server(("127.0.0.1", 0))) as server:
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        bare.start_agent(f"ssl:127.0.0.1:{server.getsockname()[1]}",
                         *tls_files(bare.directory, "agent"))
        wait_until(lambda: shaken, "the server has an answer")
    assert shaken[0] == works


def echo(server: socket.socket, context: ssl.SSLContext, size: int, begin: threading.Event
         ) -> None:
    """Sends back what one client says, when it has said all of it, a little at a time; listens to
    nothing before it is to begin."""
    with context.wrap_socket(server.accept()[0], server_side=True) as client:
        data = bytearray()
        begin.wait()
        while len(data) < size:
            data += client.recv(4096)
        client.sendall(data)


def test_large_messages_cross_tls_both_ways(bare: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many records each, more than the sockets hold, one written while another waits."""
    certificates(bare, "server", "agent")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(bare.directory / "server.pem", bare.directory / "server.key")
    monkeypatch.setattr(ovs.stream.Stream, "_SOCKET_METHODS", {"ssl:": rpc.TlsStream})
    for file, suffix in (("private_key", "agent.key"), ("certificate", "agent.pem"),
                         ("ca_cert", "ca.pem")):
        monkeypatch.setattr(ovs.stream.Stream, f"_SSL_{file}_file", f"{bare.directory}/{suffix}")
    messages = [ovs.jsonrpc.Message.create_notify("x", [n, "é" * (1 << 20)]) for n in range(3)]
    size = sum(len(ovs.json.to_string(message.to_json())) for message in messages)
    with bare.netns.call(lambda: socket.create_server(("127.0.0.1", 0))) as server:
        begin = threading.Event()
        thread = threading.Thread(target=echo, args=(server, context, size, begin), daemon=True)
        thread.start()
        name = f"ssl:127.0.0.1:{server.getsockname()[1]}"
        error, stream = ovs.stream.Stream.open_block(
            bare.netns.call(lambda: ovs.stream.Stream.open(name)), 10_000)
        assert error == 0
        connection = rpc.FastConnection(stream)
        for message in messages:
            assert connection.send(message) == 0
        assert connection.get_backlog() > 0
        begin.set()
        for message in messages:
            error, got = connection.recv_block()
            assert error == 0
            assert got.to_json() == message.to_json()
        thread.join()
        assert connection.recv_block() == (ovs.util.EOF, None)


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_server_that_does_not_speak_tls_is_waited_for_asleep(bare: Host) -> None:
    certificates(bare, "agent")
    with bare.netns.call(lambda: socket.create_server(("127.0.0.1", 0))) as server:
        remote = f"ssl:127.0.0.1:{server.getsockname()[1]}"
        agent = bare.start_agent(remote, *tls_files(bare.directory, "agent"))
        before = cpu_s(agent.pid)
        wait_until(lambda: f"{remote}: connection attempt timed out" in bare.output(), "a timeout")
        assert cpu_s(agent.pid) - before < 0.3


@pytest.mark.parametrize(("words", "said"), [
    (["foo"], "remote 'foo'"), (["tcp:"], "remote 'tcp:'"),
    (["ssl:1.2.3.4"], "remote 'ssl:1.2.3.4'"),
    (["unix:/a,tcp:1.2.3.4"], "remote 'tcp:1.2.3.4'"),
    (["ssl:127.0.0.1:6640"], "missing: --private-key, --certificate, --ca-cert"),
    (["ssl:127.0.0.1:6640", "-p", "/nowhere/k", "-c", "/nowhere/c", "-C", "/nowhere/a"],
     "--private-key=/nowhere/k: No such file or directory"),
    (["--ca-cert=/"], "--ca-cert=/: Is a directory")])
def test_unusable_remote_ends_the_start_in_words(bare: Host, words: list[str], said: str) -> None:
    done = bare.run(*bare.agent_command(), "run", *words)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.startswith("vhost-agent: ")
    assert done.stderr.count("\n") == 1


# --- a cluster of three ---------------------------------------------------------------------------

class Cluster:
    """Three ovsdb-servers that hold one database together."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._servers: dict[int, subprocess.Popen[bytes]] = {}
        for n in (1, 2, 3):
            database = f"{host.directory}/{n}.db"
            here, first = (f"unix:{host.directory}/{i}.raft" for i in (n, 1))
            if n == 1:
                host.check("ovsdb-tool", "create-cluster", database, str(SCHEMA), here)
            else:
                host.check("ovsdb-tool", "join-cluster", database, "Open_vSwitch", here, first)
            self._servers[n] = host.spawn_ovsdb(f"server{n}", Path(database), f"{n}.sock")
        host.remote = ",".join(f"unix:{host.directory}/{n}.sock" for n in (1, 2, 3))
        wait_until(lambda: all("Status: cluster member" in self._status(n) for n in (1, 2, 3)),
                   "the cluster is complete")
        host.vsctl("--no-wait", "init")

    def _status(self, n: int) -> str:
        control = self._host.directory / f"server{n}.ctl"
        return self._host.run("ovs-appctl", "-t", str(control), "cluster/status",
                              "Open_vSwitch").stdout

    def kill_leader(self) -> None:
        n = wait_until(lambda: next((n for n in self._servers
                                     if "Role: leader" in self._status(n)), 0), "there is a leader")
        server = self._servers.pop(n)
        server.kill()
        server.wait()

    def close(self) -> None:
        for server in self._servers.values():
            server.kill()
            server.wait()


@pytest.fixture
def cluster(bare: Host) -> Iterator[Cluster]:
    cluster = Cluster(bare)
    yield cluster
    cluster.close()


def test_cluster_loses_its_leader(bare: Host, cluster: Cluster) -> None:
    bare.enable_dpdk()
    bare.start_agent(bare.remote)
    bare.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")
    assert serves(bare, "s0")
    before = (bare.directory / "s0").stat()
    cluster.kill_leader()
    assert is_listening(bare.directory / "s0")
    assert serves(bare, "s1")
    after = (bare.directory / "s0").stat()
    assert (after.st_ino, after.st_ctime_ns) == (before.st_ino, before.st_ctime_ns)
    assert is_listening(bare.directory / "s0")
    assert bare.interface("s0", "ofport") == 1
