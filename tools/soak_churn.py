"""What is done to a switch in a long run: random changes, each by the means of an operator or a
guest, on ports that nobody else uses.

A seed gives the same choices again; what they meet depends on the time, too.
"""
from __future__ import annotations

import http.client
import itertools
import random
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from subprocess import SubprocessError

from tools.frontend import FrontEnd, ethernet
from tools.host import Host, HostError, wait_until

NAMES = tuple(f"x{number}" for number in range(6))
ATTACH_S = 60.0                 # how long anything may take on a busy machine
SERVER_SHARE = 0.4              # of the ports have the socket, in the others the guest has it
RING_SIZES = (64, 128, 256, 512)
SIDE = "side"                   # the bridge that comes and goes
DEVICE, DEAD, WRONG = "churntap", "dead", "wrong"
DEVICES = {"tap": ["type=tap"], "internal": ["type=internal"],
           "dpdk": ["type=dpdk", 'options:dpdk-devargs="net_null0,no-rx=1"']}
NO_QOS = ("--", "--all", "destroy", "QoS", "--", "--all", "destroy", "Queue")
QUESTIONS = (
    ("memory/show",), ("coverage/show",), ("vhost/show",), ("vhost/state",), ("vhost/observed",),
    ("vhost/explain", "{port}"), ("dpif/show",), ("dpctl/show", "-s"), ("ofproto/list",),
    ("fdb/show",), ("fdb/stats-show", "br0"), ("fdb/flush", "br0"), ("fdb/stats-clear",),
    ("mdb/show", "br0"), ("mdb/flush",), ("dpif-netdev/pmd-rxq-show",),
    ("dpif-netdev/pmd-rxq-rebalance",), ("dpif-netdev/pmd-sleep-show",),
    ("dpif-netdev/pmd-stats-show",), ("dpif-netdev/pmd-perf-show",),
    ("dpif-netdev/pmd-stats-clear",), ("netdev-dpdk/get-mempool-info", "{port}"),
    ("qos/show", "{port}"), ("version",), ("list-commands",), ("dpdk/log-list",),
    ("dpdk/lcore-list",), ("vlog/list",), ("vlog/reopen",))
PORT_COLUMNS = (
    ("Interface", "options:tx-retries-max", ("0", "8", "32")),
    ("Interface", "mtu_request", ("1500", "1400", "9000")),
    ("Interface", "ingress_policing_rate", ("0", "1000", "100000")),
    ("Interface", "ingress_policing_burst", ("0", "100")),
    ("Interface", "other_config:tx-steering", ("hash", "thread")),
    ("Interface", "other_config:storm-rate", ("10", "100:20")),
    ("Interface", "options:no-such-option", ("1",)),
    ("Port", "tag", ("5", "[]")), ("Port", "trunks", ("1,2,3", "[]")),
    ("Port", "other_config:priority-tags", ("always", "never")))
SETTINGS = (
    ("Open_vSwitch .", "other_config:pmd-idle-mode", ("block", "poll")),
    ("Open_vSwitch .", "other_config:pmd-sleep-max", ("0", "50", "500")),
    ("Open_vSwitch .", "other_config:pmd-rxq-assign", ("cycles", "roundrobin", "group")),
    ("Open_vSwitch .", "other_config:per-port-memory", ("true", "false")),
    ("Open_vSwitch .", "other_config:vhost-iommu-support", ("true", "false")),
    ("Bridge br0", "other_config:mac-aging-time", ("15", "300")),
    ("Bridge br0", "other_config:mac-table-size", ("100", "8192")),
    ("Bridge br0", "mcast_snooping_enable", ("true", "false")))


class Guest:
    """A port that comes and goes, and the front end on it."""

    def __init__(self, directory: Path, name: str, number: int, choose: random.Random) -> None:
        """'number' is its own: the socket of a guest stays where it is when its port is renamed."""
        self.name, self.server = name, choose.random() < SERVER_SHARE
        self.path = directory / (name if self.server else f"guest{number}")
        self.queues = choose.choice((1, 1, 2, 4))
        self.front_end = FrontEnd(
            str(self.path), listen=not self.server, queues=self.queues, timeout_s=ATTACH_S,
            queue_size=choose.choice(RING_SIZES), mtu=choose.choice((0, 0, 1500)))

    @property
    def words(self) -> list[str]:
        kind = "dpdkvhostuser" if self.server else "dpdkvhostuserclient"
        words = ["--", "add-port", "br0", self.name, "--", "set", "Interface", self.name,
                 f"type={kind}"]
        return words if self.server else [*words, f"options:vhost-server-path={self.path}"]


def tried(front_end: FrontEnd) -> bool:
    """A guest comes again when the switch hangs up: a setting that waited for the guest before to
    go makes the port's socket anew."""
    try:
        front_end.connect()
    except ConnectionError:
        return False
    return True


class Churn:
    """Ports that come and go, guests that come and go on them, and what else people do."""

    def __init__(self, host: Host, seed: int, steady: str, metrics_port: int | None = None
                 ) -> None:
        """'steady' is a port of br0 that is looked at and not touched."""
        self.host, self._steady = host, steady
        self.choose = random.Random(seed)
        self.guests: dict[str, Guest] = {}
        self.done: Counter[str] = Counter()
        self.slowest = (0.0, "")                # seconds, kind of change
        self._numbers = itertools.count()
        self._metrics_port = metrics_port
        self._kinds: tuple[tuple[int, Callable[[], None]], ...] = (
            (12, self.add), (24, self.come_again), (8, self.remove), (10, self.change),
            (4, self.rename), (2, self.side_bridge), (2, self.mirror), (2, self.qos),
            (3, self.device), (2, self.wrong_row), (2, self.dead_path), (4, self.hang_up),
            (3, self.setting), (12, self.ask), (1, self.capture),
            (2 if metrics_port else 0, self.scrape))

    @property
    def steps(self) -> int:
        return self.done.total()

    def step(self) -> None:
        """One change. HostError where it did not work."""
        weights, kinds = zip(*self._kinds, strict=True)
        self._do(self.choose.choices(kinds, weights)[0])

    def every_kind(self) -> None:
        """Each kind of change, three times: what the first of a kind makes and leaves for the next
        is there then; so are the 4 MiB of a capture, which glibc keeps from the third one on."""
        for weight, kind in self._kinds * 3:
            if weight:
                self._do(kind)

    def _do(self, kind: Callable[[], None]) -> None:
        began = time.monotonic()
        try:
            kind()
        except (OSError, HostError, SubprocessError) as e:
            raise HostError(f"{kind.__name__}: {e}") from e
        self.done[kind.__name__] += 1
        self.slowest = max(self.slowest, (time.monotonic() - began, kind.__name__))

    def rest(self) -> None:
        """Takes away all that steps left behind."""
        words = [word for name in (*self.guests, DEVICE, DEAD, WRONG)
                 for word in ("--", "--if-exists", "del-port", "br0", name)]
        self.host.vsctl("--", "clear", "Bridge", "br0", "mirrors", *words,
                        "--", "--if-exists", "del-br", SIDE,
                        "--", "--if-exists", "del-port", "br0", f"to-{SIDE}",
                        "--", "remove", "Open_vSwitch", ".", "other_config",
                        *(key.partition(":")[2] for row, key, _ in SETTINGS
                          if row.startswith("Open")),
                        "--", "remove", "Bridge", "br0", "other_config",
                        "mac-aging-time", "mac-table-size",
                        "--", "set", "Bridge", "br0", "mcast_snooping_enable=false")
        self.host.vsctl(*NO_QOS)                # that of a port can only go after the port
        for guest in self.guests.values():
            guest.front_end.close()
            if not guest.server:
                guest.path.unlink()
        self.guests.clear()

    # --- guests and their ports -------------------------------------------------------------------

    def add(self) -> None:
        free = [name for name in NAMES if name not in self.guests]
        if not free:
            return self.remove()
        guest = Guest(self.host.directory, self.choose.choice(free), next(self._numbers),
                      self.choose)
        self.guests[guest.name] = guest
        self.host.vsctl(*guest.words)
        self.attach(guest)

    def come_again(self) -> None:
        guest = self.some_guest()
        if not guest:
            return self.add()
        if self.choose.random() < 0.5 and guest.front_end.features:
            with suppress(ConnectionError):     # the switch went first: another socket, by a change
                guest.front_end.stop()
        guest.front_end.close()
        self.attach(guest)

    def attach(self, guest: Guest) -> None:
        wait_until(partial(tried, guest.front_end), f"{guest.name} has attached", ATTACH_S)
        if self.choose.random() < 0.3:          # the next step may find it before the switch does
            wait_until(partial(self.is_up, guest), f"{guest.name} is connected", ATTACH_S)
        own = f"02:00:00:00:0c:{NAMES.index(guest.name):02x}"
        for queue in range(guest.queues):
            for to in ("ff:ff:ff:ff:ff:ff", "02:00:00:00:0c:00", "02:00:00:00:0d:0d"):
                guest.front_end.send([ethernet(to, own, b"churn")] * 8, queue)

    def is_up(self, guest: Guest) -> bool:
        """The switch may also hang up once the guest runs: it had not seen yet that the guest
        before had gone, for which a setting waited."""
        if self.host.connected(guest.name):
            return True
        try:
            guest.front_end.enable(0, True)     # it is, but an answer is waited for
        except OSError:
            tried(guest.front_end)
        return False

    def remove(self) -> None:
        guest = self.some_guest()
        if not guest:
            return self.add()
        if self.choose.random() < 0.5:
            guest.front_end.close()             # the guest goes first, or finds out
        self.host.vsctl("del-port", guest.name)
        self.forget(guest)

    def rename(self) -> None:
        """As it is done where names cannot be changed: another port on the same socket, at once."""
        free = [name for name in NAMES if name not in self.guests]
        guest = self.some_guest()
        if not guest or guest.server or not free:
            return self.come_again()
        old = guest.name
        del self.guests[old]
        guest.name = self.choose.choice(free)
        self.guests[guest.name] = guest
        self.host.vsctl("del-port", old, *guest.words)
        guest.front_end.close()
        self.attach(guest)

    def change(self) -> None:
        guest = self.some_guest()
        if not guest:
            return self.add()
        if self.choose.random() < 0.15:
            for state in ("down", "up"):
                self.host.appctl("netdev-dpdk/set-admin-state", guest.name, state)
            return
        table, column, values = self.choose.choice(PORT_COLUMNS)
        self.host.vsctl("set", table, guest.name, f"{column}={self.choose.choice(values)}")

    def hang_up(self) -> None:
        """Callers that say nothing, and one that goes before it asked for anything."""
        guest = self.some_guest()
        if guest and guest.server:
            callers = [socket.socket(socket.AF_UNIX) for _ in range(self.choose.randrange(1, 8))]
            for caller in callers:
                with suppress(BlockingIOError):
                    caller.setblocking(False)
                    caller.connect(str(guest.path))
            for caller in callers:
                caller.close()
        elif guest:
            guest.front_end.close()

    def some_guest(self) -> Guest | None:
        return self.choose.choice(list(self.guests.values())) if self.guests else None

    def forget(self, guest: Guest) -> None:
        del self.guests[guest.name]
        guest.front_end.close()
        if not guest.server:
            guest.path.unlink(missing_ok=True)

    # --- other rows -------------------------------------------------------------------------------

    def side_bridge(self) -> None:
        """A second bridge, joined by patch ports, with a port of its own: there, or gone again."""
        if SIDE in self.host.vsctl("list-br").split():
            self.host.vsctl("del-br", SIDE, "--", "del-port", "br0", f"to-{SIDE}")
            return
        words = ["add-br", SIDE, "--", "set", "Bridge", SIDE, "datapath_type=netdev"]
        for bridge, port, peer in (("br0", f"to-{SIDE}", "to-br0"), (SIDE, "to-br0", f"to-{SIDE}")):
            words += ["--", "add-port", bridge, port, "--", "set", "Interface", port,
                      "type=patch", f"options:peer={peer}"]
        self.host.vsctl(*words)

    def mirror(self) -> None:
        guest = self.some_guest()
        if not guest or self.host.get("Bridge", "br0", "mirrors"):
            self.host.vsctl("clear", "Bridge", "br0", "mirrors")
            return
        self.host.vsctl(
            "--", "--id=@out", "get", "Port", guest.name, "--", "--id=@m", "create", "Mirror",
            "name=churn", "select_all=true", "output-port=@out",
            "--", "set", "Bridge", "br0", "mirrors=@m")

    def qos(self) -> None:
        guest = self.some_guest()
        if not guest or self.choose.random() < 0.3:
            for name in self.guests:
                self.host.vsctl("clear", "Port", name, "qos")
            self.host.vsctl(*NO_QOS)
            return
        self.host.vsctl(
            "--", "set", "Port", guest.name, "qos=@q", "--", "--id=@q", "create", "QoS",
            "type=egress-policer", "other_config:cir=1000000", "other_config:cbs=10000")

    def device(self) -> None:
        """A port that is no guest's, another one of the same name, or none any more."""
        self.set_device(self.choose.choice((*DEVICES, None)))

    def set_device(self, kind: str | None) -> None:
        words = ["--if-exists", "del-port", DEVICE]
        if kind:
            words += ["--", "add-port", "br0", DEVICE, "--", "set", "Interface", DEVICE,
                      *DEVICES[kind]]
        self.host.vsctl(*words)

    def wrong_row(self) -> None:
        columns = self.choose.choice((
            ("type=no-such-type",), ("type=dpdkvhostuserclient",), ("type=dpdk",),
            ("type=dpdkvhostuserclient", "options:vhost-server-path=not/absolute"),
            ("type=dpdkvhostuserclient", "options:vhost-server-path=/nowhere/at/all"),
            ("type=patch", "options:peer=nobody")))
        self.host.vsctl("--if-exists", "del-port", WRONG, "--", "add-port", "br0", WRONG,
                        "--", "set", "Interface", WRONG, *columns)

    def dead_path(self) -> None:
        """A port whose guest never comes: no socket, one without a listener, one that hangs up."""
        path = self.host.directory / DEAD
        path.unlink(missing_ok=True)
        self.host.vsctl("--if-exists", "del-port", DEAD, "--", "add-port", "br0", DEAD,
                        "--", "set", "Interface", DEAD, "type=dpdkvhostuserclient",
                        f"options:vhost-server-path={path}")
        if self.choose.random() < 0.5:
            with socket.socket(socket.AF_UNIX) as listener:
                listener.settimeout(ATTACH_S)
                listener.bind(str(path))
                listener.listen()
                for _ in range(self.choose.randrange(3)):
                    listener.accept()[0].close()
            path.unlink()

    def setting(self) -> None:
        row, column, values = self.choose.choice(SETTINGS)
        self.host.vsctl("set", *row.split(), f"{column}={self.choose.choice(values)}")

    # --- looking ----------------------------------------------------------------------------------

    def ask(self) -> None:
        guest = self.some_guest()
        name = guest.name if guest else self._steady
        command = [word.replace("{port}", name) for word in self.choose.choice(QUESTIONS)]
        self.answered(*command)                 # or not, where the port has gone

    def capture(self) -> None:
        """A capture of a steady neighbour that reads nothing and goes without a word."""
        path = self.host.directory / "capture"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.settimeout(ATTACH_S)
            listener.bind(str(path))
            listener.listen()
            wait_until(lambda: self.answered("capture/start", self._steady, str(path), "64",
                                             "both"), "the capture before has gone", ATTACH_S)
            listener.accept()[0].close()
        path.unlink()

    def answered(self, *command: str) -> bool:
        """False where the agent had an error to say."""
        try:
            self.host.appctl(*command)
        except HostError:
            return False
        return True

    def scrape(self) -> None:
        assert self._metrics_port is not None
        port = self._metrics_port

        def get() -> int:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ATTACH_S)
            try:
                connection.request("GET", "/metrics")
                response = connection.getresponse()
                return response.status if response.read() else 0
            finally:
                connection.close()
        if (status := self.host.netns.call(get)) != http.HTTPStatus.OK:
            raise HostError(f"metrics: HTTP status {status}")
