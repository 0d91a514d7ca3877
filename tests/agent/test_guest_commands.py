"""vhost-agent qemu-args and libvirt-xml, as a person types them."""
from __future__ import annotations

import os
import pty
import shlex
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.test_remotes import certificates, port_of, tls_files
from tests.unit.test_libvirt_xml import attributes
from tests.unit.test_libvirt_xml import parse as parse_xml
from tests.unit.test_qemu_args import Options, parse
from tools.host import AGENT, Host, temporary_host


@pytest.fixture(scope="module")
def database() -> Iterator[Host]:
    """A database that nobody serves: the commands need no agent."""
    with temporary_host("vhost-guest") as host:
        host.start_ovsdb()
        yield host


@pytest.fixture
def bare(database: Host) -> Host:
    """Bridge br0 without ports."""
    database.vsctl("--no-wait", "clear", "Open_vSwitch", ".", "bridges", "other_config")
    database.vsctl("--no-wait", "add-br", "br0", "--", "set", "Bridge", "br0",
                   "datapath_type=netdev")
    return database


def add(host: Host, name: str, *settings: str) -> None:
    host.vsctl("--no-wait", "add-port", "br0", name, "--", "set", "Interface", name, *settings)


def client(host: Host, name: str, path: str, *settings: str) -> None:
    add(host, name, "type=dpdkvhostuserclient", f'options:vhost-server-path="{path}"', *settings)


def printed(host: Host, *words: str) -> str:
    """What a command prints that has nothing to complain about."""
    done = host.run(AGENT, *words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def qemu_args(host: Host, *words: str) -> Options:
    return parse(printed(host, "qemu-args", *words))


def refusal(host: Host, *words: str) -> str:
    done = host.run(AGENT, *words)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    return done.stderr.removeprefix("vhost-agent: ").rstrip("\n")


def test_arguments_are_those_of_the_rows(bare: Host) -> None:
    client(bare, "c0", "/tmp/c0", "mtu_request=9000", "options:n_rxq=2",
           'external_ids:attached-mac="52:54:00:00:00:01"')
    add(bare, "s0", "type=dpdkvhostuser")
    bare.vsctl("--no-wait", "set", "Open_vSwitch", ".", "other_config:vhost-sock-dir=sub")
    found = qemu_args(bare, "--memory=2G", "--hugepages=/dev/hugepages", "--tx-queue-size=1024",
                      "c0", "s0")
    assert found["-m"] == [{"": "2048M"}]
    assert found["-object"][0]["mem-path"] == "/dev/hugepages"
    assert [c["path"] for c in found["-chardev"]] == ["/tmp/c0", f"{bare.directory}/sub/s0"]
    assert ["server" in c for c in found["-chardev"]] == [True, False]
    assert [n.get("queues") for n in found["-netdev"]] == ["2", None]
    c0, s0 = found["-device"]
    assert (c0["mac"], c0["vectors"], c0["host_mtu"], c0["tx_queue_size"]) == (
        "52:54:00:00:00:01", "6", "9000", "1024")
    assert s0["mac"].replace(":", "")[2:] == bare.vsctl(
        "get", "Interface", "s0", "_uuid").replace("-", "")[2:12]


def test_xml_is_that_of_the_rows(bare: Host) -> None:
    client(bare, "c0", "/tmp/c0", 'external_ids:attached-mac="52:54:00:00:00:01"')
    add(bare, "s0", "type=dpdkvhostuser")
    domain, (s0, c0) = parse_xml(printed(
        bare, "libvirt-xml", "s0", "c0", "--queues=2", "--rx-queue-size=512", "--vcpus=4",
        "--memory=512"))
    assert attributes(domain, "cpu/numa/cell")["cpus"] == "0-3"
    assert domain.findtext("memory") == "512"
    assert attributes(c0, "mac") == {"address": "52:54:00:00:00:01"}
    assert attributes(c0, "driver") == {"queues": "2", "rx_queue_size": "512"}
    assert attributes(c0, "source") == {"type": "unix", "path": "/tmp/c0", "mode": "server"}
    assert attributes(s0, "source")["path"] == f"{bare.directory}/s0"


def test_iommu_of_all_ports(bare: Host) -> None:
    bare.vsctl("--no-wait", "set", "Open_vSwitch", ".", "other_config:vhost-iommu-support=true")
    client(bare, "c0", "/tmp/c0")
    done = bare.run(AGENT, "qemu-args", "c0")
    assert done.returncode == 0
    assert parse(done.stdout)["-device"][0]["iommu_platform"] == "on"
    assert done.stderr.startswith("vhost-agent: port c0: vhost-iommu-support: the guest needs")


# --- in a shell -----------------------------------------------------------------------------------

def shell(host: Host, text: str) -> list[str]:
    """The words that a command named 'show' gets."""
    return host.check("bash", "-c", f"show() {{ printf '%s\\0' \"$@\"; }}; {text}").split("\0")[:-1]


def test_words_reach_qemu_by_substitution_and_odd_ones_by_eval(bare: Host) -> None:
    client(bare, "c0", "/tmp/c0")
    client(bare, "c1", "/tmp/it's $HOME, c1")
    program = shlex.quote(AGENT)
    words = shell(bare, f"show $({program} qemu-args c0)")
    assert words == shlex.split(printed(bare, "qemu-args", "c0"))
    odd = shell(bare, f'eval "show $({program} qemu-args c1 | tr "\\n" " ")"')
    assert odd == shlex.split(printed(bare, "qemu-args", "c1"))
    assert "socket,id=char1,path=/tmp/it's $HOME,, c1,server=on,wait=off" in odd


def test_what_stands_on_a_terminal_can_be_pasted(bare: Host) -> None:
    client(bare, "c0", "/tmp/c0")
    ours, theirs = pty.openpty()
    try:
        subprocess.run([AGENT, "qemu-args", "c0"], env=bare.env, stdout=theirs, check=True)
        shown = os.read(ours, 1 << 16).decode().replace("\r\n", "\n")
    finally:
        os.close(ours)
        os.close(theirs)
    assert shell(bare, f"show {shown}") == shlex.split(printed(bare, "qemu-args", "c0"))


# --- where the database is ------------------------------------------------------------------------

def test_first_server_that_answers_is_asked_over_tls() -> None:
    with temporary_host("vhost-guest-tls") as host:
        certificates(host, "server", "user")
        host.start_ovsdb("--remote=pssl:0:127.0.0.1", *tls_files(host.directory, "server"))
        host.vsctl("--no-wait", "add-br", "br0")
        client(host, "t0", "/tmp/t0")
        remote = f"ssl:127.0.0.1:{port_of(host)}"
        files = tls_files(host.directory, "user")
        inside = [*host.agent_command(), "qemu-args", "t0"]     # where the port is
        found = parse(host.check(*inside, f"--db=unix:/nowhere,{remote}", *files))
        assert found["-chardev"][0]["path"] == "/tmp/t0"
        assert refusal(host, "qemu-args", "t0", f"--db={remote}").startswith(
            f"remote '{remote}' needs the options --private-key")
        assert refusal(host, "qemu-args", "t0", f"--db={remote}", *files) == (
            f"{remote}: database connection failed (Connection refused)")


def test_database_that_is_not_there(bare: Host) -> None:
    assert refusal(bare, "libvirt-xml", "c0", "--db=unix:/nowhere") == (
        "unix:/nowhere: database connection failed (No such file or directory)")
    assert refusal(bare, "qemu-args", "c0", "--db=nowhere").startswith("remote 'nowhere': unknown")


@pytest.mark.parametrize(("answer", "said"), [
    (b"", "no answer (End of file)"),
    (b'{"id":0,"result":null,"error":{"error":"unknown database"}}',
     "the server refuses: unknown database"),
    (b'{"id":0,"error":null,"result":[{"error":"not owner","details":"why"}]}',
     "the server refuses: not owner: why")])
def test_server_that_is_none(bare: Host, tmp_path: Path, answer: bytes, said: str) -> None:
    path = tmp_path / "odd.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(answer)

        server = threading.Thread(target=serve)
        server.start()
        assert refusal(bare, "qemu-args", "c0", f"--db=unix:{path}") == f"unix:{path}: {said}"
        server.join()


# --- what cannot be -------------------------------------------------------------------------------

def test_port_that_is_not_there_or_has_no_guest(bare: Host) -> None:
    client(bare, "c0", "/tmp/c0")
    assert refusal(bare, "qemu-args", "c0", "nope") == (
        "no port nope is in the database: 'ovs-vsctl show' lists ports")
    assert refusal(bare, "libvirt-xml", "br0") == (
        "port br0 is of type 'internal': only ports of type dpdkvhostuserclient and dpdkvhostuser "
        "have a guest")
    assert refusal(bare, "qemu-args", "c0", "c0") == (
        "port c0 is named twice: it has one guest, with one device")


def test_port_that_is_not_served_is_named(bare: Host) -> None:
    client(bare, "c0", "/tmp/c0")
    bare.vsctl("--no-wait", "set", "Interface", "c0", 'error="no DPDK"')
    done = bare.run(AGENT, "qemu-args", "c0")
    assert done.returncode == 0
    assert parse(done.stdout)["-chardev"][0]["path"] == "/tmp/c0"
    assert done.stderr == "vhost-agent: port c0: it is not served: no DPDK\n"


@pytest.mark.parametrize(("words", "said"), [
    (["--memory=12x"], "'12x' is no size of 1M to 16T: a number of MiB, or a number and M, G or T"),
    (["--memory=0"], "'0' is no size of 1M to 16T"),
    (["--memory=17T"], "'17T' is no size of 1M to 16T"),
    (["--queues=0"], "0 is not in the range 1<=x<=128"),
    (["--queues=129"], "129 is not in the range 1<=x<=128"),
    (["--rx-queue-size=300"], "'300' is not one of '256', '512', '1024'"),
    (["--tx-queue-size=2048"], "'2048' is not one of '256', '512', '1024'"),
    (["--hugepages=huge"], "'huge' is no absolute path, as /dev/hugepages is")])
def test_option_that_cannot_be_is_said(bare: Host, words: list[str], said: str) -> None:
    done = bare.run(AGENT, "qemu-args", "c0", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_ports_of_a_companion_have_its_settings(bare: Host) -> None:
    bare.vsctl("--no-wait", "add-br", "brv", "--", "set", "Bridge", "brv", "datapath_type=vhost",
               "--", "set", "Open_vSwitch", ".", "other_config:vhost-agent-vhost-sock-dir=guests",
               "other_config:vhost-sock-dir=elsewhere")
    (bare.directory / "guests").mkdir(exist_ok=True)
    (bare.directory / "elsewhere").mkdir(exist_ok=True)
    add(bare, "ours", "type=dpdkvhostuser")
    bare.vsctl("--no-wait", "add-port", "brv", "theirs", "--", "set", "Interface", "theirs",
               "type=dpdkvhostuser")
    said = printed(bare, "qemu-args", "ours", "theirs")
    assert f"{bare.directory}/elsewhere/ours" in said
    assert f"{bare.directory}/guests/theirs" in said
    bare.vsctl("--no-wait", "del-br", "brv")
