"""A host whose database is edited, a second one that starts afresh on a copy of it, and what can be
seen of each: what the agent wrote, and what it answers."""
from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import schema
from agent import appctl
from agent.model import VHOST_TYPES
from agent.role import Role
from tests.agent.row_edits import EDITED, Edit, Transaction
from tests.agent.row_values import MARKED, TABLES
from tools.host import Host, HostError, wait_until
from tools.ovsdb_client import Client

State = dict[str, Any]
SETTLED_S = 20.0                # more than the longest pause between two tries at a port
# Devices of the host, for ports of type system and dpdk.
DEVICES = ("eth0", "eth1")
# A PMD thread polls eth0 while it is a port: it has not to do so all the time.
SETTINGS = {"dpdk-init": "true", "pmd-sleep-max": "1000"}
RESTART = [o.key for o in schema.options_of("Open_vSwitch", "other_config")
           if o.takes_effect == "restart"]
ROOTS = ("QoS", "Queue")        # rows that stay when nothing names them
COPIED = {table: [name for name, column in TABLES[table]["columns"].items()
                  if not column.get("ephemeral")] for table in (*EDITED, "Controller")}

ACCESS = ("vhost-sock-owner", "vhost-sock-group", "vhost-sock-mode")
POLICING = ("ingress_policing_rate", "ingress_policing_burst", "ingress_policing_kpkts_rate",
            "ingress_policing_kpkts_burst")
# In status:problems: limits are as they were before.
STAYS = re.compile("stays? in force|in force stay|stay as they were")
# In error: who came first has it.
TAKEN = re.compile("already in use|Address already in use|is taken by a tap")

NEXT = {"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": [["next_cfg", "+=", 1]]}

TOKENS = count()


def by(uuid: str) -> list[Any]:
    return [["_uuid", "==", ["uuid", uuid]]]


def members(value: Any) -> list[Any]:
    """Of a set in OVSDB's notation, where a single one stands for itself."""
    return list(value[1]) if value[0] == "set" else [value]


class Half:
    """One of the two hosts."""

    def __init__(self, host: Host, role: Role) -> None:
        self.host = host
        self.role = role
        host.start_ovsdb()
        host.netns.run("sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1",
                       "net.ipv6.conf.all.disable_ipv6=1")     # the kernel says nothing of its own
        for name in ("sub", "süb"):
            (host.directory / name).mkdir()
        self.client = Client(host.directory / "db.sock")
        self.devices()

    def devices(self) -> None:
        """As at the start: a port may have changed them for good."""
        links = json.loads(self.host.netns.run("ip", "-j", "link"))
        names = {link["ifname"] for link in links if link["ifname"] != "lo"}
        if any(link["mtu"] != 1500 for link in links if link["ifname"] != "lo") or names != {
                *DEVICES, *(f"{name}~" for name in DEVICES)}:
            # the other end of a pair goes with the first
            words = [f"ip link del {name}" for name in sorted(names) if not name.endswith("~")]
            words += [f"ip link add {name} type veth peer name {name}~ && ip link set {name} up "
                      f"&& ip link set {name}~ up" for name in DEVICES]
            self.host.netns.run("sh", "-c", "; ".join(words))

    def rows(self) -> dict[str, dict[str, dict[str, Any]]]:
        """{table: {uuid: columns}}"""
        found = self.client.transact(*({"op": "select", "table": table, "where": []}
                                       for table in (*EDITED, "Controller")))
        return {table: {row["_uuid"][1]: row for row in result["rows"]}
                for table, result in zip((*EDITED, "Controller"), found, strict=True)}

    def apply(self, edits: list[Edit]) -> bool:
        """All edits in one transaction, and a new next_cfg; whether the server takes it."""
        to = Transaction(self.rows(), str(self.host.directory), self.role)
        for edit in edits:
            edit.apply(to)
        to.mutate("Open_vSwitch", to.root(), ["next_cfg", "+=", 1])
        try:
            self.client.transact(*to.operations)
        except OSError:
            return False
        return True

    def clear(self) -> None:
        """No row but an Open_vSwitch one: what names others goes first."""
        self.client.transact({"op": "delete", "table": "Open_vSwitch", "where": []},
                             {"op": "insert", "table": "Open_vSwitch", "row": {}})
        self.client.transact(*({"op": "delete", "table": table, "where": []} for table in ROOTS))

    def configure(self, tso: bool) -> None:
        """What takes effect at a start alone is as it was then; 'tso' lasts once it was set. And
        statistics of mirrors, which are written with the next ones of all, are not hours away."""
        prefix = self.role.prefix
        pairs = {f"{prefix}{key}": text for key, text in (
            *SETTINGS.items(), *([("userspace-tso-enable", "true")] if tso else ()))}
        keys = [*(f"{prefix}{key}" for key in (*RESTART, "stats-update-interval")), *pairs]
        self.client.transact({
            "op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": [
                ["other_config", "delete", ["set", keys]],
                ["other_config", "insert", ["map", [list(pair) for pair in pairs.items()]]]]}, NEXT)

    def start_agent(self) -> None:
        self.host.start_agent("--role", self.role.name)

    def is_up_to_date(self) -> bool:
        (root,) = self.rows()["Open_vSwitch"].values()
        if not self.role.beside:
            return bool(root["cur_cfg"] == root["next_cfg"])
        # a companion does not write that; it says what it cannot use, so is given something new
        return self.token in self.ask("vhost/state")

    def wait(self) -> None:
        if self.role.beside:
            self.token = f"no number {next(TOKENS)}"
            key = f"{self.role.prefix}stats-update-interval"
            self.client.transact({
                "op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": [
                    ["other_config", "delete", ["set", [key]]],
                    ["other_config", "insert", ["map", [[key, self.token]]]]]})
        wait_until(self.is_up_to_date, "the agent handles the last transaction", SETTLED_S)

    def ask(self, command: str, *words: str) -> str:
        control = self.host.directory / f"vhost-agent.{self.host.agents[-1].pid}.ctl"
        try:
            return appctl.call(str(control), command, words)
        except appctl.RefusedError as e:
            return f"refused: {e}"
        except appctl.NoAgentError as e:
            raise HostError(f"{e}; it said: {self.host.output()[-2000:]}") from e

    def call(self, command: str, *words: str) -> str:
        """An answer, without what is this host's own."""
        answer = self.ask(command, *words).replace(str(self.host.directory), MARKED)
        return re.sub(r"no number \d+", "no number", answer)

    def answers(self) -> None:
        """Commands whose answers are of the moment: they only have to be given."""
        for words in (["vhost/show"], ["dpctl/show", "-s"], ["dpif-netdev/pmd-rxq-show"],
                      ["dpif-netdev/pmd-perf-show"], ["coverage/show"], ["memory/show"],
                      ["netdev-dpdk/get-mempool-info"], ["fdb/stats-show"], ["list-commands"]):
            self.call(*words)

    def done(self) -> int:
        """What the data plane was told to do, and did."""
        reconciler = json.loads(self.call("vhost/state"))["reconciler"]
        return int(reconciler["actions"] - reconciler["refusals"])

    def rests(self) -> bool:
        """Whether there is nothing to do where nothing changed but next_cfg."""
        before = self.done()
        self.client.transact(NEXT)
        self.wait()
        return self.done() == before

    # --- what depends on the past -----------------------------------------------------------------

    def undecided(self) -> Iterator[dict[str, Any]]:
        """Operations that take away what depends on what was there before."""
        rows = self.rows()
        picture = json.loads(self.call("vhost/state"))
        said = " ".join([*picture["problems"], *(
            port["status"].get("problems", "") for port in picture["ports"])])
        if any(key in said for key in ACCESS):      # the agent's own for all ports, or a port's
            yield self.without("Open_vSwitch", next(iter(rows["Open_vSwitch"])), "other_config",
                               [f"{self.role.prefix}{key}" for key in ACCESS])
        # of ports that are not served, too
        if STAYS.search(" ".join(json.loads(self.call("vhost/observed"))["said"])):
            for uuid, row in rows["Port"].items():
                if members(row["qos"]):
                    yield {"op": "update", "table": "Port", "where": by(uuid),
                           "row": {"qos": ["set", []]}}
        uuids = {row["name"]: uuid for uuid, row in rows["Interface"].items()}
        for port in picture["ports"]:
            uuid, problems = uuids[port["name"]], port["status"].get("problems", "")
            if any(key in problems for key in ACCESS):
                yield self.without("Interface", uuid, "options", ACCESS)
            if STAYS.search(problems):
                yield self.without("Interface", uuid, "other_config", ["storm-rate"])
                yield {"op": "update", "table": "Interface", "where": by(uuid),
                       "row": dict.fromkeys(POLICING, 0)}
                for on, row in rows["Port"].items():
                    if ["uuid", uuid] in members(row["interfaces"]):
                        yield {"op": "update", "table": "Port", "where": by(on),
                               "row": {"qos": ["set", []]}}
            if TAKEN.search(port["error"] or ""):
                for on, row in rows["Port"].items():
                    if ["uuid", uuid] in members(row["interfaces"]):
                        yield {"op": "mutate", "table": "Bridge", "where": [],
                               "mutations": [["ports", "delete", ["set", [["uuid", on]]]]]}

    @staticmethod
    def without(table: str, uuid: str, column: str, keys: Sequence[str]) -> dict[str, Any]:
        return {"op": "mutate", "table": table, "where": by(uuid),
                "mutations": [[column, "delete", ["set", list(keys)]]]}

    # --- what can be seen -------------------------------------------------------------------------

    def state(self) -> State:
        picture = json.loads(self.call("vhost/state"))
        ports = sorted({port["name"] for port in picture["ports"]})
        bridges = [bridge["name"] for bridge in picture["bridges"]]
        observed = json.loads(self.call("vhost/observed"))
        return {
            "columns": self.columns(set(ports), set(bridges)),
            "problems": picture["problems"],
            "bridges": picture["bridges"],
            "ports": [known(port) for port in picture["ports"]],
            "pmds": [{key: pmd[key] for key in ("core", "node", "sleep_max_us", "block")}
                     for pmd in picture["pmds"]],
            "observed": seen(observed["observed"]),
            "placed": observed["placed"],
            "said": observed["said"],
            # the number of a port in the datapath is the lowest that was free
            "dpif/show": re.sub(r"/\d+: ", "/N: ", self.call("dpif/show")),
            "ofproto/list": self.call("ofproto/list"),
            "pmd-sleep-show": self.call("dpif-netdev/pmd-sleep-show"),
            **{f"{command} {name}": self.call(command, name) for name in bridges
               for command in ("fdb/show", "mdb/show")},
            **{f"qos/show {name}": self.call("qos/show", name) for name in ports},
            # of two PMDs, which has a queue goes by the ports' numbers in the datapath
            **{f"vhost/explain {name}": re.sub(r"by core \d+", "by core", self.call(
                "vhost/explain", name)) for name in ports},
        }

    def columns(self, ports: set[str], bridges: set[str]) -> dict[str, dict[str, Any]]:
        """What the agent wrote into rows that are its own, {row: {column: value}}. Others stay as
        they were when it left them."""
        rows = self.rows()
        mirrors = {ref[1] for row in rows["Bridge"].values() if row["name"] in bridges
                   for ref in members(row["mirrors"])}
        found: dict[str, dict[str, Any]] = {}
        for table, names in schema.columns_written().items():
            for uuid, row in rows[table].items():
                own = {"Interface": row.get("name") in ports, "Mirror": uuid in mirrors,
                       "Bridge": row.get("name") in bridges, "Open_vSwitch": not self.role.beside}
                if not own.get(table):
                    continue
                columns = {name: json.loads(json.dumps(row[name], ensure_ascii=False).replace(
                    str(self.host.directory), MARKED)) for name in names if name in row}
                columns.pop("link_resets", None)    # stays 0 when a port fails, as on ovs-vswitchd
                if "statistics" in columns:         # of counters, what is counted
                    columns["statistics"] = sorted(key for key, _ in columns["statistics"][1])
                if table == "Interface" and row["type"] not in VHOST_TYPES:
                    for name in ("ifindex", "mac_in_use"):      # are the kernel's to choose
                        columns[name] = columns.get(name) != ["set", []]
                found[f"{table} {row.get('name', '')} {uuid}"] = columns
        return found


def known(port: Mapping[str, Any]) -> dict[str, Any]:
    """Of a port of the picture, what does not count and is not counted."""
    return {key: value for key, value in port.items()
            if key not in ("number", "connections", "connects", "traffic", "rxqs", "txqs")}


def seen(observed: Any) -> Any:
    """The data plane without what it chose by itself, or in the order things came."""
    if isinstance(observed, list):
        return [seen(value) for value in observed]
    if not isinstance(observed, dict):
        return observed
    if "map" in observed:
        return {"map": sorted((seen(pair) for pair in observed["map"]), key=json.dumps)}
    if "of" in observed:
        of = {key: seen(value) for key, value in observed["of"].items()}
        match observed["is"]:
            case "PortState":
                of.pop("number", None)
            case "Link":                    # the kernel's
                of.pop("ifindex", None)
                of.pop("mac", None)
            case "EthInfo":
                of.pop("port_no", None)
                of.pop("mac", None)
            case "Observed":                # queues of one load go to PMDs as their ports came
                of["polls"] = {"cores": [core for core, _ in of.get("polls", ())],
                               "rxqs": sorted(rxq for _, rxqs in of.get("polls", ())
                                              for rxq in rxqs)}
        return {"is": observed["is"], "of": of}
    return observed


class Twins:
    """The host that lives through all edits, and the one that is started anew."""

    def __init__(self, edited: Host, fresh: Host, role: Role) -> None:
        self.edited, self.fresh = Half(edited, role), Half(fresh, role)
        self.start_edited()

    def start_edited(self) -> None:
        """An agent without a past."""
        half = self.edited
        if half.host.agents:
            half.host.kill_agent()
        half.clear()
        half.configure(tso=False)
        half.devices()
        half.start_agent()
        self.tso = False                # was enabled, which lasts as long as the agent
        self.mark = len(half.host.output())

    def begin(self, edits: tuple[Edit, ...]) -> None:
        """Back to a database where nothing but these edits happened."""
        half = self.edited
        half.clear()
        half.configure(self.tso)
        half.wait()
        half.devices()
        assert half.apply(list(edits))
        half.wait()

    def edit(self, edits: list[Edit]) -> bool:
        done = self.edited.apply(edits)
        (root,) = self.edited.rows()["Open_vSwitch"].values()
        config = dict(root["other_config"][1])
        tso = config.get(f"{self.edited.role.prefix}userspace-tso-enable", "").lower() == "true"
        if tso and not self.tso:        # it is seen to be, and counts for ports from now on
            self.edited.wait()
            self.tso = True
        return done

    def forget_the_past(self) -> None:
        """Takes out of the database what an agent handles by what was there before, as it says of
        each: settings of a start; limits that stay in force where new ones cannot be used; who of
        two has a socket or a device."""
        half = self.edited
        half.configure(self.tso)
        half.wait()
        for _ in range(4):
            if not (operations := list(half.undecided())):
                return
            half.client.transact(*operations, NEXT)
            half.wait()

    def start_fresh(self) -> None:
        """An agent without a past on a copy of the database."""
        half, here = self.fresh, str(self.edited.host.directory)
        if half.host.agents:
            half.host.kill_agent()
        half.devices()
        for left in half.host.directory.rglob("*"):
            if left.is_socket() and left.name not in ("db.sock", "ovsdb-server.ctl"):
                left.unlink()
        for name in DEVICES:        # are the kernel's, and stay as a port has left them
            link, = json.loads(self.edited.host.netns.run("ip", "-j", "link", "show", name))
            half.host.netns.run("ip", "link", "set", name, "mtu", str(link["mtu"]))
        rows = json.loads(json.dumps(self.edited.rows(), ensure_ascii=False).replace(
            here, str(half.host.directory)))
        half.clear()
        half.client.transact({"op": "delete", "table": "Open_vSwitch", "where": []})
        half.client.transact(*({"op": "insert", "table": table, "uuid": uuid, "row": {
            name: row[name] for name in COPIED[table]}}
            for table, members in rows.items() for uuid, row in members.items()))
        half.start_agent()
        half.wait()
