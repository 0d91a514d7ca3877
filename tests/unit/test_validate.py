"""Rows to what should be: every rejected value gets a sentence that names value and range."""
from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from agent.hostconfig import LOCKED, HostConfig, host_config
from agent.model import (
    CLIENT_TYPE,
    SERVER_TYPE,
    AutoBalance,
    BridgeRow,
    Desired,
    InterfaceRow,
    Memory,
    Placing,
    PmdSpec,
    PortRow,
    PortSpec,
    Registration,
    Snapshot,
)
from agent.validate import Memo, desired, room_bytes

U = UUID(int=1)
CONFIG = HostConfig("/run/ovs", pmds=(PmdSpec(0), PmdSpec(2, 1)), numa_nodes=2,
                    dpdk_initialized=True)
STANDARD = Memory(1500, 2048)
TYPES = (CLIENT_TYPE, SERVER_TYPE)


def row(name: str, type_: str = CLIENT_TYPE, on: dict[str, Any] | None = None, **kw: object
        ) -> InterfaceRow:
    """'on' is what its Port row says."""
    if type_ == CLIENT_TYPE:
        kw.setdefault("options", {"vhost-server-path": f"/tmp/{name}"})
    uuid = UUID(bytes=name.encode()[:16].rjust(16, b"\0"))
    return InterfaceRow(uuid, name, type_, port=PortRow(name, **(on or {})), **kw)   # type: ignore[arg-type]


def wish(*rows: InterfaceRow, config: HostConfig = CONFIG, owners: dict[str, str] | None = None,
         memo: Memo | None = None, name: str = "br0", **bridge: object) -> Desired:
    fields = {"datapath_type": "netdev", **bridge}
    row = BridgeRow(U, name, interfaces=rows, **fields)     # type: ignore[arg-type]
    return desired(Snapshot(1, {}, (row,)), config, lambda: owners or {}, memo)


def on_bridges(wanted: Desired) -> dict[str, tuple[str, ...]]:
    """{bridge: its ports}"""
    return {b.name: tuple(port for port, _ in b.members) for b in wanted.bridges}


def port(config: HostConfig = CONFIG, type_: str = CLIENT_TYPE, mtu: int | None = None,
         **options: str) -> PortSpec:
    """The one port of a row with these options; a client port has a path."""
    given = {key.replace("_", "-"): text for key, text in options.items()}
    if type_ == CLIENT_TYPE:
        given = {"vhost-server-path": "/tmp/p", **given}
    return wish(row("p", type_, options=given, mtu_request=mtu), config=config).ports["p"]


# --- both types in full ---------------------------------------------------------------------------

def test_client_port_in_full() -> None:
    assert port(tx_retries_max="3", vhost_iommu_support="true", vhost_postcopy_support="true",
                mtu=9000) == PortSpec(
        "p", "br0", CLIENT_TYPE, Registration("/tmp/p", True, iommu=True, postcopy=True), 3,
        Memory(9000, 9216))


def test_client_port_by_default() -> None:
    assert port() == PortSpec("p", "br0", CLIENT_TYPE, Registration("/tmp/p", True), 8, STANDARD)


def test_server_port_by_default_and_without_what_only_clients_have() -> None:
    everything = replace(CONFIG, socket_dir="/run/ovs/sub", iommu=True, postcopy=True)
    assert port(everything, SERVER_TYPE) == PortSpec(
        "p", "br0", SERVER_TYPE, Registration("/run/ovs/sub/p", False), 8, STANDARD)


@pytest.mark.parametrize(("key", "said"), [
    ("tx-retries-max", "not an option of type dpdkvhostuser"),
    ("colour", "not an option of type dpdkvhostuser"),
    ("vhost-sock-mod", "not an option of type dpdkvhostuser; did you mean vhost-sock-mode?"),
    ("tx-flow-ctrl", "has no effect: flow control is left as the device has it")])
def test_option_that_a_server_port_does_not_have_does_nothing_and_that_is_said(
        key: str, said: str) -> None:
    spec = wish(row("p", SERVER_TYPE, options={key: "1"})).ports["p"]
    assert replace(spec, asked=()) == replace(port(type_=SERVER_TYPE), problems=(f"{key}: {said}",))


def test_client_port_without_path_exists_and_says_what_it_lacks() -> None:
    spec = port(vhost_server_path="")
    assert spec.device is None
    assert spec.problems == ("vhost-server-path is not set: the port has no socket yet",)
    assert wish(row("p", options={})).ports["p"] == spec


def test_client_port_without_path_says_what_else_is_wrong() -> None:
    said = port(vhost_server_path="", vhost_iommu_support="x", vhost_max_queue_pairs="0",
                tx_retries_max="99").problems
    assert [p.partition(":")[0] for p in said] == [
        "tx-retries-max", "vhost-iommu-support", "vhost-max-queue-pairs",
        "vhost-server-path is not set"]


def test_options_that_are_none_are_said_each_in_its_way() -> None:
    options = {"vhost-server-path": "/x", "tx-retries-mx": "1", "n_rxq": "4", "colour": "red"}
    assert wish(row("p", options=options)).ports["p"].problems == (
        "colour: not an option of type dpdkvhostuserclient",
        "tx-retries-mx: not an option of type dpdkvhostuserclient; did you mean tx-retries-max?")


@pytest.mark.parametrize("type_", TYPES)
def test_what_the_row_sets_in_vain_is_said(type_: str) -> None:
    spec = wish(row("p", type_, other_config={"emc-enable": "true", "neutron": "x"},
                    on={"other_config": {"stp-enable": "true"}})).ports["p"]
    assert spec.problems == (
        "emc-enable: has no effect: there is no flow cache",
        "stp-enable: has no effect: spanning trees are not served")


@pytest.mark.parametrize("type_", TYPES)
def test_problems_of_the_whole_are_told_to_the_ports_they_concern(type_: str) -> None:
    config = replace(CONFIG, port_problems={SERVER_TYPE: ("s",), CLIENT_TYPE: ("c",)})
    assert port(config, type_).problems == ({SERVER_TYPE: "s", CLIENT_TYPE: "c"}[type_],)


# --- rows that cannot be served -------------------------------------------------------------------

NO_DEVICE = "could not open network device {} ({}): "
NO_OFPORT = "could not add network device {} to ofproto (Invalid argument): "


@pytest.mark.parametrize(("bad", "error"), [
    (row("a/b", SERVER_TYPE), NO_DEVICE.format("a/b", "Invalid argument")
     + "the name of a dpdkvhostuser port names its socket: no '/', no '\\'"),
    (row("a\\b", SERVER_TYPE), NO_DEVICE.format("a\\b", "Invalid argument")
     + "the name of a dpdkvhostuser port names its socket: no '/', no '\\'"),
    (row("p", options={"vhost-server-path": "/" + "x" * 107}),
     NO_DEVICE.format("p", "File name too long") + f"socket path '/{'x' * 107}' has 108 bytes, a "
     "UNIX socket can have 107"),
    (row("p", "gre"), NO_DEVICE.format("p", "Address family not supported by protocol")
     + "type 'gre' is not served, only dpdk, dpdkvhostuser, dpdkvhostuserclient, internal, patch, "
     "system, tap"),
    (row("x" * 16, "tap"), NO_DEVICE.format("x" * 16, "File name too long")
     + "the name of a device of the host has 15 bytes at most"),
    (row("a b", ""), NO_DEVICE.format("a b", "Invalid argument")
     + "the name of a device of the host has no '/', ':' and blanks"),
    (row("p", on={"interfaces": 2}),
     NO_OFPORT.format("p") + "port p is a bond, which is not served"),
])
def test_row_that_cannot_be_served_hurts_only_itself(bad: InterfaceRow, error: str) -> None:
    result = wish(bad, row("good"))
    assert result.errors == {bad.name: error}
    assert result.ports.keys() == {"good"}
    assert on_bridges(result) == {"br0": ("good",)}


@pytest.mark.parametrize("type_", [*TYPES, "internal", "dpdk"])
@pytest.mark.parametrize("name", ["ovs-netdev", "ovs-system", "vxlan_sys", "vxlan_sys_4789",
                                  "genev_sys_6081", "gre_sys", "erspan_sys"])
def test_reserved_name(name: str, type_: str) -> None:
    assert wish(row(name, type_)).errors == {
        name: f"could not create interface {name}, name is reserved"}


@pytest.mark.parametrize("name", ["ovs-netdev2", "vxlan", "my-vxlan_sys"])
def test_name_that_only_resembles_a_reserved_one(name: str) -> None:
    assert wish(row(name)).errors == {}


def test_name_of_a_client_port_may_have_a_slash() -> None:
    assert wish(row("a/b", options={"vhost-server-path": "/x"})).errors == {}


@pytest.mark.parametrize(("type_", "kw"), [
    (CLIENT_TYPE, {"options": {"vhost-server-path": "/" + "é" * 53}}),
    (SERVER_TYPE, {})])
def test_longest_path_is_served_and_bytes_count(type_: str, kw: dict[str, object]) -> None:
    directory = "/" + "x" * (107 - len("//p"))
    config = replace(CONFIG, socket_dir=directory)
    assert wish(row("p", type_, **kw), config=config).errors == {}
    more = {"options": {"vhost-server-path": "/" + "é" * 53 + "x"}} if kw else {}
    assert "has 108 bytes" in wish(
        row("p" if kw else "pp", type_, **more), config=config).errors["p" if kw else "pp"]


@pytest.mark.parametrize(("datapath_type", "shown"), [("system", "system"), ("", "system"),
                                                      ("x", "x")])
def test_bridge_of_another_datapath_type(datapath_type: str, shown: str) -> None:
    result = wish(row("p"), row("br0", "internal"), datapath_type=datapath_type)
    assert result.errors == {name: NO_OFPORT.format(name) + (
        f"bridge br0 has datapath_type {shown}, only netdev is served here "
        "(ovs-vsctl set Bridge br0 datapath_type=netdev)") for name in ("p", "br0")}
    assert (result.ports, result.bridges) == ({}, ())


@pytest.mark.parametrize("type_", TYPES)
def test_without_dpdk_the_error_says_how_to_start_it(type_: str) -> None:
    assert wish(row("p", type_), config=replace(CONFIG, dpdk_initialized=False)).errors == {
        "p": NO_DEVICE.format("p", "Address family not supported by protocol")
        + "DPDK is not started (ovs-vsctl set Open_vSwitch . other_config:dpdk-init=true)"}


@pytest.mark.parametrize("name", ["a/b", "a\\b"])
def test_bridge_with_an_unusable_name_is_ignored_and_its_ports_say_so(name: str) -> None:
    said = f"ignoring bridge with invalid name '{name}': no '/', no '\\'"
    result = wish(row("p"), row(name, "internal"), name=name)
    assert result.problems == (said,)
    assert result.errors == {port: NO_OFPORT.format(port) + said for port in ("p", name)}
    assert (result.ports, result.bridges, result.pmds) == ({}, (), ())


# --- one port on a path ---------------------------------------------------------------------------

IN_USE = ("could not open network device {} (Address already in use): port {} has the socket {} "
          "already")


def test_of_two_ports_on_a_path_the_served_one_stays() -> None:
    rows = [row(n, options={"vhost-server-path": "/tmp/same"}) for n in ("a", "b", "c")]
    assert wish(*rows).errors == {n: IN_USE.format(n, "a", "/tmp/same") for n in ("b", "c")}
    taken = wish(*rows, owners={"/tmp/same": "b"})
    assert taken.errors == {n: IN_USE.format(n, "b", "/tmp/same") for n in ("a", "c")}
    assert (taken.ports.keys(), on_bridges(taken)) == ({"b"}, {"br0": ("b",)})


def test_path_whose_owner_wants_it_no_more_goes_to_the_first_by_name() -> None:
    rows = [row(n, options={"vhost-server-path": "/tmp/same"}) for n in ("a", "b")]
    assert wish(*rows, row("x"), owners={"/tmp/same": "x"}).ports.keys() == {"a", "x"}


def test_client_port_on_the_socket_of_a_server_port() -> None:
    rows = row("s", SERVER_TYPE), row("c", options={"vhost-server-path": "/run/ovs/s"})
    assert wish(*rows).errors == {"s": IN_USE.format("s", "c", "/run/ovs/s")}
    assert wish(*rows, owners={"/run/ovs/s": "s"}).errors.keys() == {"c"}


def test_ports_without_a_path_are_no_rivals() -> None:
    assert wish(row("a", options={}), row("b", options={})).errors == {}


# --- what is registered ---------------------------------------------------------------------------

@pytest.mark.parametrize("key", ["iommu", "postcopy"])
@pytest.mark.parametrize(("everywhere", "own", "expected"), [
    (False, None, False), (True, None, True), (False, "true", True), (True, "false", False),
    (True, "FALSE", False)])
def test_own_option_of_a_port_wins_over_the_one_for_all(key: str, everywhere: bool, own: str | None,
                                                        expected: bool) -> None:
    options = {} if own is None else {f"vhost-{key}-support": own}
    spec = port(replace(CONFIG, **{key: everywhere}), **options)    # type: ignore[arg-type]
    assert spec.device == replace(
        Registration("/tmp/p", True), **{key: expected})            # type: ignore[arg-type]
    assert spec.problems == ()


def test_own_option_for_postcopy_is_refused_where_memory_is_filled_at_once() -> None:
    config = replace(CONFIG, fills_memory=True)
    assert port(config, vhost_postcopy_support="false").problems == ()
    spec = port(config, vhost_postcopy_support="true")
    assert spec.device == Registration("/tmp/p", True)
    assert spec.problems == (LOCKED,)


@pytest.mark.parametrize("key", ["iommu", "postcopy"])
def test_unusable_own_option_leaves_the_one_for_all_in_force(key: str) -> None:
    spec = port(replace(CONFIG, **{key: True}),                     # type: ignore[arg-type]
                **{f"vhost-{key}-support": "yes"})
    assert spec.device is not None
    assert getattr(spec.device, key)
    assert spec.problems == (f"vhost-{key}-support: 'yes' is neither true nor false; the value for "
                             "all ports is used",)


NOT_VDUSE = ("vhost-max-queue-pairs: only a VDUSE device (a path under /dev/vduse/) has it; here "
             "the guest decides")


@pytest.mark.parametrize(("path", "text", "pairs", "said"), [
    ("/dev/vduse/p", None, 1, ()), ("/dev/vduse/p", "1", 1, ()), ("/dev/vduse/p", "128", 128, ()),
    ("/dev/vduse/p", "129", 1, ("vhost-max-queue-pairs: 129 is outside 1..128, using 1",)),
    ("/dev/vduse/p", "0", 1, ("vhost-max-queue-pairs: 0 is outside 1..128, using 1",)),
    ("/tmp/p", None, 1, ()), ("/tmp/p", "4", 1, (NOT_VDUSE,)),
    ("/dev/vduse", "4", 1, (NOT_VDUSE,)), ("/tmp/dev/vduse/p", "4", 1, (NOT_VDUSE,)),
])
def test_queue_pairs_are_those_of_a_vduse_device(path: str, text: str | None, pairs: int,
                                                 said: tuple[str, ...]) -> None:
    options = {"vhost-server-path": path}
    if text is not None:
        options["vhost-max-queue-pairs"] = text
    spec = wish(row("p", options=options)).ports["p"]
    assert spec.device == Registration(path, True, max_queue_pairs=pairs)
    assert spec.problems == said


# --- MTU and packet buffers -----------------------------------------------------------------------

@pytest.mark.parametrize("type_", TYPES)
@pytest.mark.parametrize(("request_", "mtu"), [
    (None, 1500), (68, 68), (1500, 1500), (9702, 9702), (67, None), (9703, None), (1, None)])
def test_mtu_request(type_: str, request_: int | None, mtu: int | None) -> None:
    spec = port(type_=type_, mtu=request_)
    assert spec.memory.mtu == (mtu or 1500)
    assert spec.problems == (() if mtu else (
        f"unsupported MTU {request_}: mtu_request is outside 68..9702, using 1500",))


# data room = roundup(mtu + 26, 1024), contract 3.8; the smallest configured room that is enough
@pytest.mark.parametrize(("mtu", "shared", "room"), [
    (68, (), 1024), (998, (), 1024), (999, (), 2048), (1500, (), 2048), (2022, (), 2048),
    (2023, (), 3072), (9000, (), 9216), (9702, (), 10240),
    (1500, (9000,), 9216), (1500, (9000, 4000), 4096), (1500, (1500, 9000), 2048),
    (9000, (1500,), 9216), (9000, (9000,), 9216), (9001, (9000,), 9216),
    # rooms are compared, not the MTUs they were made for
    (1500, (1400, 9000), 2048), (2022, (999, 9000), 2048), (2023, (999, 9000), 9216),
])
def test_room_of_the_packet_buffers(mtu: int, shared: tuple[int, ...], room: int) -> None:
    for order in (shared, shared[::-1]):
        assert room_bytes(mtu, order) == room
    config = replace(CONFIG, shared_mtus=shared, own_memory=True)
    assert port(config, mtu=mtu).memory == Memory(mtu, room, own=True)


# --- bridges and the whole ------------------------------------------------------------------------

def test_secure_bridge_without_controller_forwards_nothing() -> None:
    assert on_bridges(wish(row("p"), fail_mode="secure")) == {"br0": ()}
    assert on_bridges(wish(row("p"), fail_mode="standalone")) == {"br0": ("p",)}


def test_port_with_the_name_of_its_bridge_is_served() -> None:
    assert wish(row("br0")).ports.keys() == {"br0"}


def test_no_pmd_without_a_port_to_poll() -> None:
    for result in (wish(), wish(row("p", options={})), wish(row("p", "dpdk"))):
        assert result.pmds == ()
    for result in (wish(row("p")), wish(row("p", SERVER_TYPE))):
        assert result.pmds == CONFIG.pmds


@pytest.mark.parametrize(("key", "value", "said"), [
    ("datapath-id", "0x1", None),
    *(("datapath-id", text, f"datapath-id: '{text}' is neither 16 hexadecimal digits nor 0x and up "
       "to 16, or is zero; using an automatic one") for text in ("xyz", "0" * 16)),
    ("hwaddr", "02:00:00:00:00:01", None),
    ("hwaddr", "03:00:00:00:00:01", "hwaddr: '03:00:00:00:00:01' is not a unicast Ethernet "
     "address; using an automatic one"),
    ("datapath-ids", "1", "datapath-ids: not an option; did you mean datapath-id?"),
    ("mac-table-size", "1", "mac-table-size: 1 is outside 10..1000000, using 10"),
    ("colour", "red", None),
])
def test_unusable_bridge_options_are_said(key: str, value: str, said: str | None) -> None:
    assert wish(other_config={key: value}).problems == ((f"bridge br0: {said}",) if said else ())


def test_settings_of_the_whole_are_handed_on() -> None:
    config = host_config(
        {"stats-update-interval": "7000", "pmd-cpu-mask": "9", "pmd-rxq-assign": "group",
         "pmd-auto-lb": "true", "pmd-sleep-max": "50", "pmd-idle-mode": "block"},
        rundir="/r", numa_cores={0: (0, 1), 1: (2, 3)}, dpdk_initialized=True)
    result = wish(row("p"), config=replace(config, problems=("bad",)))
    assert (result.stats_interval_ms, result.numa_nodes, result.problems) == (7000, 2, ("bad",))
    assert (result.pmds, result.placing, result.auto_balance) == (
        (PmdSpec(0, 0, 50, block=True), PmdSpec(3, 1, 50, block=True)), Placing("group"),
        AutoBalance())


@pytest.mark.parametrize("type_", TYPES)
def test_what_the_guest_decides_is_asked_for_once_and_in_range(type_: str) -> None:
    options = {"vhost-server-path": "/x"} if type_ == CLIENT_TYPE else {}
    spec = wish(row("p", type_, options={**options, "n_rxq": "4", "n_txq_desc": "512"})).ports["p"]
    assert (spec.asked, spec.problems) == ((("n_rxq", 4), ("n_txq_desc", 512)), ())
    spec = wish(row("p", type_, options={**options, "n_rxq": "129", "n_rxq_desc": "x"})).ports["p"]
    assert (spec.asked, spec.problems) == (
        (), ("n_rxq: 129 is outside 1..128", "n_rxq_desc: 'x' is not an integer"))
