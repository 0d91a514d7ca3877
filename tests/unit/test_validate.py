"""Rows to what should be: every rejected value gets a sentence that names value and range."""
from __future__ import annotations

from uuid import UUID

import pytest

from agent.model import BridgeRow, Desired, InterfaceRow, Snapshot
from agent.validate import cpu_mask, desired, integer_option, pmd_cores, socket_dir

U = UUID(int=1)
CORES = ((0, 1), (2, 3))


def row(name: str, type_: str = "dpdkvhostuserclient", **kw: object) -> InterfaceRow:
    if type_ == "dpdkvhostuserclient":
        kw.setdefault("options", {"vhost-server-path": f"/tmp/{name}"})
    return InterfaceRow(U, name, type_, **kw)   # type: ignore[arg-type]


def wish(*rows: InterfaceRow, dpdk: bool = True, owners: dict[str, str] | None = None,
         bridge: dict[str, str] | None = None, **config: str) -> Desired:
    fields = {"datapath_type": "netdev", **(bridge or {})}
    br0 = BridgeRow(U, "br0", interfaces=rows, **fields)    # type: ignore[arg-type]
    other_config = {key.replace("_", "-"): value for key, value in config.items()}
    return desired(Snapshot(1, other_config, (br0,)), rundir="/run/ovs", numa_cores=CORES,
                   owners=owners or {}, dpdk_initialized=dpdk)


def test_client_port_takes_its_path_and_server_port_its_name() -> None:
    ports = wish(row("c", options={"vhost-server-path": "/tmp/x"}), row("s", "dpdkvhostuser")).ports
    assert [(p.client, p.path) for p in ports] == [(True, "/tmp/x"), (False, "/run/ovs/s")]


def test_client_port_without_path_exists_and_says_what_it_lacks() -> None:
    (port,) = wish(row("c", options={})).ports
    assert port.path is None
    assert "vhost-server-path is not set" in port.problems[0]


@pytest.mark.parametrize(("rows", "error", "reason"), [
    ([row("a/b", "dpdkvhostuser")],
     "could not open network device a/b (Invalid argument)", "'/'"),
    ([row("a\\b", "dpdkvhostuser")],
     "could not open network device a\\b (Invalid argument)", "'/'"),
    ([row("p", options={"vhost-server-path": "/" + "x" * 107})],
     "could not open network device p (File name too long)", "108 bytes"),
    ([row("p", "dpdk")],
     "could not open network device p (Address family not supported by protocol)", "'dpdk'"),
    ([row("p", port_interfaces=2)],
     "could not add network device p to ofproto (Invalid argument)", "bond"),
    ([row("p", vlan_columns=("tag",))],
     "could not add network device p to ofproto (Invalid argument)", "tag"),
])
def test_rows_that_cannot_be_served(rows: list[InterfaceRow], error: str, reason: str) -> None:
    result = wish(*rows)
    assert result.ports == ()
    text = result.errors[rows[0].name]
    assert text.startswith(error)
    assert reason in text.removeprefix(error)


def test_longest_path_is_served() -> None:
    path = "/" + "x" * 106
    assert wish(row("p", options={"vhost-server-path": path})).ports[0].path == path


def test_bridge_of_another_datapath_type() -> None:
    result = wish(row("p"), bridge={"datapath_type": "system"})
    assert "datapath_type system" in result.errors["p"]
    assert result.bridges == ()


def test_without_dpdk_the_error_says_how_to_start_it() -> None:
    assert "other_config:dpdk-init=true" in wish(row("p"), dpdk=False).errors["p"]


def test_of_two_ports_on_a_path_the_served_one_stays() -> None:
    rows = [row(n, options={"vhost-server-path": "/tmp/same"}) for n in ("a", "b")]
    assert wish(*rows).errors.keys() == {"b"}
    taken = wish(*rows, owners={"/tmp/same": "b"})
    assert [p.name for p in taken.ports] == ["b"]
    assert "port b has the socket /tmp/same" in taken.errors["a"]


def test_a_wrong_row_hurts_only_itself() -> None:
    result = wish(row("good"), row("a/b", "dpdkvhostuser"))
    assert [p.name for p in result.ports] == ["good"]
    assert result.bridges == (("br0", ("good",)),)


def test_secure_bridge_without_controller_forwards_nothing() -> None:
    assert wish(row("p"), bridge={"fail_mode": "secure"}).bridges == (("br0", ()),)


def test_local_port_is_not_a_port_of_ours() -> None:
    result = wish(InterfaceRow(U, "br0", "internal"))
    assert (result.ports, result.errors) == ((), {})


@pytest.mark.parametrize(("text", "value", "said"), [
    ("0", 0, ""), ("32", 32, ""), ("33", 8, "33 is outside 0..32, using 8"),
    ("-1", 8, "-1 is outside"), ("x", 8, "'x' is not an integer, using 8"), ("", 8, "not an int"),
    ("1_6", 8, "not an integer"), (" 5 ", 8, "not an integer"), ("9" * 5000, 8, "not an integer"),
])
def test_integer_option(text: str, value: int, said: str) -> None:
    got, problems = integer_option({"tx-retries-max": text}, "Interface", "options",
                                   "tx-retries-max")
    assert got == value
    assert said in "".join(problems)
    assert bool(problems) == bool(said)


def test_bad_retries_are_said_and_the_port_works_on() -> None:
    (port,) = wish(row("p", options={"vhost-server-path": "/x", "tx-retries-max": "99"})).ports
    assert port.tx_retries_max == 8
    assert port.problems == ("tx-retries-max: 99 is outside 0..32, using 8",)


def test_misspelt_key_gets_a_hint_and_server_ports_have_no_options() -> None:
    client = row("c", options={"vhost-server-path": "/x", "tx-retries-mx": "1"})
    server = row("s", "dpdkvhostuser", options={"tx-retries-max": "1"})
    by_name = {p.name: p for p in wish(client, server).ports}
    assert "did you mean tx-retries-max?" in by_name["c"].problems[0]
    assert "have no options" in by_name["s"].problems[0]
    assert by_name["s"].tx_retries_max == 8


@pytest.mark.parametrize(("mask", "cores", "said"), [
    ("0x3", (0, 1), ""), ("C", (2, 3), ""), ("11", (0,), "no such core: 4"),
    ("g", (), "not a hexadecimal mask"), ("0x", (), "not a hexadecimal mask"),
])
def test_cpu_mask(mask: str, cores: tuple[int, ...], said: str) -> None:
    got, problems = cpu_mask("pmd-cpu-mask", mask, [0, 1, 2, 3])
    assert got == cores
    assert said in "".join(problems)


def test_pmd_cores_default_to_the_first_of_each_node() -> None:
    assert pmd_cores({}, CORES) == ((0, 2), ())
    cores, problems = pmd_cores({"pmd-cpu-mask": "100"}, CORES)
    assert cores == ()
    assert "no rx queue is polled" in problems[-1]


def test_no_pmd_without_a_port_to_poll() -> None:
    assert wish().cores == ()
    assert wish(row("p", options={})).cores == ()
    assert wish(row("p")).cores == (0, 2)


@pytest.mark.parametrize(("value", "directory"), [
    ("", "/run/ovs"), ("sub", "/run/ovs/sub"), ("/abs", "/run/ovs//abs"),
    ("../up", "/run/ovs"), ("x" * 256, "/run/ovs"),
])
def test_socket_dir(value: str, directory: str) -> None:
    got, problems = socket_dir({"vhost-sock-dir": value}, "/run/ovs")
    assert got == directory
    assert bool(problems) == (value in ("../up", "x" * 256))


@pytest.mark.parametrize(("key", "value", "said"), [
    ("datapath-id", "0x1", False), ("datapath-id", "xyz", True), ("datapath-id", "0" * 16, True),
    ("hwaddr", "02:00:00:00:00:01", False), ("hwaddr", "03:00:00:00:00:01", True),
    ("hwaddr", "-2:00:00:00:00:01", True)])
def test_unusable_bridge_options_are_said(key: str, value: str, said: bool) -> None:
    br0 = BridgeRow(U, "br0", "netdev", other_config={key: value})
    problems = desired(Snapshot(bridges=(br0,)), rundir="/r", numa_cores=CORES, owners={},
                       dpdk_initialized=True).problems
    assert bool(problems) == said
    assert all(p.startswith(f"bridge br0: {key}: '{value}'") for p in problems)
