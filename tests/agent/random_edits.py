"""Random edits of a database, and what a person begins with."""
from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.agent.row_edits import (
    DropBridge,
    DropPort,
    Edit,
    PutBridge,
    PutController,
    PutMirror,
    PutPort,
    PutQos,
    PutQueue,
    Renumber,
    ReplacePort,
    ReplaceRoot,
    SetColumn,
    SetOptions,
    ShareInterface,
    ShareMirror,
    SharePort,
    Wipe,
)
from tests.agent.row_values import (
    COLUMN_VALUES,
    MAPS,
    MARKED,
    SET_COLUMNS,
    column_value,
    settings_of,
)

BRIDGES = ("br0", "br1", "brücke", "b/r", "x" * 16)
PORTS = ("p0", "p1", "p2", "p3", "eth0", "eth1", "ünïcode", "a b", "x/y", "..", "%s{0}", "p" * 16,
         "ovs-netdev", "vxlan_sys_4789", "br0", "br1", "p" * 200)
INDEX = st.integers(0, 7)
GOOD_NUMBERS = {"cir": "1000000", "cbs": "20000", "eir": "500000", "ebs": "15000"}


def weighted(*choices: tuple[int, SearchStrategy[Any]]) -> SearchStrategy[Any]:
    """As st.one_of(), but that takes a strategy given twice as one."""
    return st.sampled_from([choice for weight, choice in choices for _ in range(weight)]).flatmap(
        lambda choice: choice)


@st.composite
def interface_columns(draw: st.DrawFn) -> dict[str, Any]:
    """A new interface, mostly one that can be served."""
    kind = draw(st.sampled_from((*COLUMN_VALUES["Interface.type"][:6] * 3,
                                 *COLUMN_VALUES["Interface.type"], "")))
    options = draw(settings_of("Interface", "options", 2))
    if kind == "dpdkvhostuserclient" and draw(st.integers(0, 3)):
        options["vhost-server-path"] = MARKED + draw(st.sampled_from(
            ("/v0", "/v1", "/v2", "/v3", "/p1")))
    if kind == "dpdk" and draw(st.booleans()):
        options["dpdk-devargs"] = "net_af_packet0,iface=eth0"
    if kind == "patch" and draw(st.integers(0, 3)):
        options["peer"] = draw(st.sampled_from(PORTS[:4]))
    columns: dict[str, Any] = {
        "type": kind, "options": ["map", [[k, v] for k, v in options.items()]]}
    for table, name in draw(st.lists(st.sampled_from(
            [c for c in SET_COLUMNS if c[0] == "Interface" and c[1] != "type"]), max_size=2)):
        columns[name] = draw(column_value(table, name))
    return columns


def port_names() -> SearchStrategy[str]:
    return st.sampled_from((*PORTS[:6] * 3, *PORTS))


def policed() -> SearchStrategy[dict[str, str]]:
    return st.one_of(st.just(GOOD_NUMBERS), settings_of("QoS", "other_config"))


@st.composite
def put_ports(draw: st.DrawFn) -> PutPort:
    name = draw(port_names())
    interfaces = draw(weighted((14, st.just((name,))), (1, st.tuples(port_names())),
                               (1, st.tuples(port_names(), port_names()))))
    return PutPort(draw(INDEX), name, interfaces, draw(interface_columns()))


@st.composite
def set_columns(draw: st.DrawFn) -> SetColumn:
    table, column = draw(st.sampled_from(SET_COLUMNS))
    if column == "datapath_type" and draw(st.integers(0, 3)):
        return SetColumn(table, draw(INDEX), column, "netdev")      # else nothing is served soon
    return SetColumn(table, draw(INDEX), column, draw(column_value(table, column)))


@st.composite
def set_options(draw: st.DrawFn) -> SetOptions:
    table, column = draw(st.sampled_from((*MAPS, ("Interface", "options"),
                                          ("Open_vSwitch", "other_config"))))
    return SetOptions(table, draw(INDEX), column, draw(settings_of(table, column)),
                      draw(st.booleans()))


@st.composite
def put_mirrors(draw: st.DrawFn) -> PutMirror:
    columns = {name: draw(column_value("Mirror", name)) for name in draw(st.lists(
        st.sampled_from([c for t, c in SET_COLUMNS if t == "Mirror"]), max_size=3, unique=True))}
    ports = {column: draw(st.lists(INDEX, max_size=3)) for column in
             ("select_src_port", "select_dst_port")}
    return PutMirror(draw(INDEX), draw(st.sampled_from(("m0", "m1", "", "ü"))), columns,
                     {**ports, "output_port": draw(st.lists(INDEX, max_size=1))})


PUT_BRIDGE = st.builds(
    PutBridge, st.sampled_from((*BRIDGES[:2] * 3, *BRIDGES)), st.fixed_dictionaries({
        "datapath_type": st.sampled_from(("netdev",) * 16 + ("", "system", "vhost", "ünk"))}),
    st.booleans())
EDITS: SearchStrategy[Edit] = weighted(
    (24, put_ports()), (16, set_columns()), (20, set_options()), (8, PUT_BRIDGE),
    (6, st.builds(ReplacePort, INDEX, port_names(), interface_columns())),
    (6, st.builds(DropPort, INDEX, INDEX)), (3, st.builds(SharePort, INDEX, INDEX)),
    (3, st.builds(ShareInterface, INDEX, INDEX, st.booleans())),
    (8, put_mirrors()), (4, st.builds(ShareMirror, INDEX, INDEX, st.booleans())),
    (6, st.builds(PutQos, INDEX, st.sampled_from(COLUMN_VALUES["QoS.type"]), policed(),
                  st.one_of(st.none(), INDEX))),
    (6, st.builds(PutQueue, INDEX, st.sampled_from((0, 1, 7, 4294967295)), policed(),
                  st.one_of(st.none(), INDEX))),
    (2, st.builds(ReplaceRoot)), (2, st.builds(PutController, INDEX, st.booleans())),
    (2, st.builds(Renumber, st.sampled_from((-5, 0, 1 << 40)))),
    (1, st.builds(DropBridge, INDEX)), (1, st.builds(Wipe)))
# What a person begins with, so that edits have something to be of.
START: tuple[Edit, ...] = (
    PutBridge("br0", {"datapath_type": "netdev"}, local=True),
    PutBridge("br1", {"datapath_type": "netdev"}, local=False),
    PutPort(0, "p0", ("p0",), {"type": "dpdkvhostuser"}),
    PutPort(0, "p1", ("p1",), {"type": "dpdkvhostuserclient", "options": [
        "map", [["vhost-server-path", f"{MARKED}/v1"]]]}))
# Edits of one transaction, and whether the agent has handled it before the next one comes.
Step = tuple[list[Edit], bool]
STEP = st.tuples(st.lists(EDITS, min_size=1, max_size=6), st.booleans())
# A start takes as long as a hundred edits: most cases are long, and short ones are for the reader.
STEPS = weighted((1, st.lists(STEP, min_size=1, max_size=6)),
                 (3, st.lists(STEP, min_size=16, max_size=32)))
