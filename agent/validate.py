"""From the database's rows to what should be: pure. Every rejected value gets a sentence."""
from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence

import schema
from agent.model import (
    CLIENT_TYPE,
    SERVER_TYPE,
    VHOST_TYPES,
    BridgeRow,
    Desired,
    InterfaceRow,
    PortSpec,
    Snapshot,
)

PATH_MAX_BYTES = 107            # sun_path less its final zero; the vhost library cuts silently
SOCK_DIR_MAX_CHARS = 255
NO_DEVICE = "could not open network device {} ({})"
NO_OFPORT = "could not add network device {} to ofproto ({})"


INTEGER = re.compile(r"[+-]?[0-9]+")
DATAPATH_ID = re.compile("[0-9a-fA-F]{16}|0[xX][0-9a-fA-F]{1,16}")
ETHERNET_ADDRESS = re.compile("[0-9a-fA-F]{1,2}(:[0-9a-fA-F]{1,2}){5}")


class PortError(Exception):
    """The row cannot be served; the text is for Interface.error."""


def integer_option(options: Mapping[str, str], table: str, column: str, key: str
                   ) -> tuple[int, tuple[str, ...]]:
    """Value of an integer option and, when it could not be used, why; then it is the default."""
    o = schema.option(table, column, key)
    assert isinstance(o.default, int)
    text = options.get(key)
    if text is None:
        return o.default, ()
    low = "" if o.minimum is None else str(o.minimum)
    high = "" if o.maximum is None else str(o.maximum)
    try:
        value = int(text) if INTEGER.fullmatch(text) else None
    except ValueError:          # more digits than Python converts
        value = None
    if value is None:
        return o.default, (f"{key}: '{text}' is not an integer, using {o.default}",)
    if (o.minimum is not None and value < o.minimum) or (
            o.maximum is not None and value > o.maximum):
        return o.default, (f"{key}: {value} is outside {low}..{high}, using {o.default}",)
    return value, ()


def datapath_id(text: str) -> str | None:
    """16 hexadecimal digits of other_config:datapath-id; None when it is none, or zero."""
    if not DATAPATH_ID.fullmatch(text) or not int(text, 16):
        return None
    return f"{int(text, 16):016x}"


def ethernet_address(text: str) -> bytes | None:
    """A unicast address that is not zero, or None."""
    if not ETHERNET_ADDRESS.fullmatch(text):
        return None
    octets = bytes(int(octet, 16) for octet in text.split(":"))
    return octets if any(octets) and not octets[0] & 1 else None


def bridge_problems(bridge: BridgeRow) -> Iterator[str]:
    """What of a Bridge row's other_config cannot be used."""
    text = bridge.other_config.get("datapath-id")
    if text is not None and datapath_id(text) is None:
        yield (f"bridge {bridge.name}: datapath-id: '{text}' is not 16 hexadecimal digits, not all "
               "zero; using an automatic one")
    text = bridge.other_config.get("hwaddr")
    if text is not None and ethernet_address(text) is None:
        yield (f"bridge {bridge.name}: hwaddr: '{text}' is not a unicast Ethernet address; using "
               "an automatic one")


def cpu_mask(key: str, text: str, online: Sequence[int]
             ) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Cores of a hexadecimal mask that exist here, and what is wrong with the rest of option
    'key'."""
    digits = text.lower().removeprefix("0x")
    if not digits or any(d not in "0123456789abcdef" for d in digits):
        return (), (f"{key}: '{text}' is not a hexadecimal mask",)
    mask = int(digits, 16)
    wanted = [core for core in range(mask.bit_length()) if mask >> core & 1]
    cores = tuple(core for core in wanted if core in online)
    missing = ", ".join(str(core) for core in wanted if core not in online)
    return cores, (f"{key}: no such core: {missing}",) if missing else ()


def pmd_cores(other_config: Mapping[str, str], numa_cores: Sequence[Sequence[int]]
              ) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Cores for PMD threads: those of pmd-cpu-mask, or the first one of each NUMA node."""
    mask = other_config.get("pmd-cpu-mask", "")
    if not mask:
        return tuple(sorted(min(cores) for cores in numa_cores if cores)), ()
    online = [core for cores in numa_cores for core in cores]
    cores, problems = cpu_mask("pmd-cpu-mask", mask, online)
    if not cores:
        problems += ("pmd-cpu-mask: names no core of this host: no rx queue is polled",)
    return cores, problems


def socket_dir(other_config: Mapping[str, str], rundir: str) -> tuple[str, tuple[str, ...]]:
    """Directory of the server ports' sockets (OVS: process_vhost_flags)."""
    sub = other_config.get("vhost-sock-dir", "")
    if not sub:
        return rundir, ()
    if ".." in sub or len(sub) > SOCK_DIR_MAX_CHARS:
        why = "contains '..'" if ".." in sub else f"is longer than {SOCK_DIR_MAX_CHARS} characters"
        return rundir, (f"vhost-sock-dir: '{sub}' {why}, using {rundir}",)
    return f"{rundir}/{sub}", ()


def unknown_keys(row: InterfaceRow) -> Iterator[str]:
    known = [o.key for o in schema.options()
             if (o.table, o.column) == ("Interface", "options") and row.type in o.port_types]
    for key in sorted(row.options):
        if key in known:
            continue
        if not known:
            yield f"{key}: ports of type {row.type} have no options"
            continue
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        yield f"{key}: not an option of type {row.type}{hint}"


def refuse_row(bridge: BridgeRow, row: InterfaceRow, dpdk_initialized: bool) -> None:
    """Raises PortError for rows that no vhost port can be made of."""
    if bridge.datapath_type != "netdev":
        shown = bridge.datapath_type or "system"
        raise PortError(
            NO_OFPORT.format(row.name, "Invalid argument")
            + f": bridge {bridge.name} has datapath_type {shown}, only netdev is served here "
            f"(ovs-vsctl set Bridge {bridge.name} datapath_type=netdev)")
    if row.type not in VHOST_TYPES:
        raise PortError(
            NO_DEVICE.format(row.name, "Address family not supported by protocol")
            + f": type '{row.type or 'system'}' is not served, only {' and '.join(VHOST_TYPES)}")
    if not dpdk_initialized:
        raise PortError(
            NO_DEVICE.format(row.name, "Address family not supported by protocol")
            + ": DPDK is not started (ovs-vsctl set Open_vSwitch . other_config:dpdk-init=true)")
    if row.port_interfaces != 1:
        raise PortError(NO_OFPORT.format(row.name, "Invalid argument")
                        + f": port {row.port_name} is a bond, which is not served")
    if row.vlan_columns:
        raise PortError(
            NO_OFPORT.format(row.name, "Invalid argument")
            + f": VLAN settings ({', '.join(row.vlan_columns)}) are not served yet; "
            "without them the port is a trunk of all VLANs")


def socket_path(row: InterfaceRow, directory: str) -> str | None:
    """Path of the port's socket; None for a client port that has none yet."""
    if row.type == CLIENT_TYPE:
        path = row.options.get("vhost-server-path", "")
        if not path:
            return None
    elif "/" in row.name or "\\" in row.name:
        raise PortError(NO_DEVICE.format(row.name, "Invalid argument")
                        + f": the name of a {SERVER_TYPE} port names its socket: no '/', no '\\'")
    else:
        path = f"{directory}/{row.name}"
    size = len(path.encode())
    if size > PATH_MAX_BYTES:
        raise PortError(
            NO_DEVICE.format(row.name, "File name too long")
            + f": socket path '{path}' has {size} bytes, a UNIX socket can have {PATH_MAX_BYTES}")
    return path


def port_spec(bridge: BridgeRow, row: InterfaceRow, directory: str, dpdk_initialized: bool
              ) -> PortSpec:
    """The port that a row asks for; raises PortError when it cannot be served."""
    refuse_row(bridge, row, dpdk_initialized)
    path = socket_path(row, directory)
    client = row.type == CLIENT_TYPE
    retries, problems = integer_option(row.options if client else {}, "Interface", "options",
                                       "tx-retries-max")
    problems += tuple(unknown_keys(row))
    if client and path is None:
        problems += ("vhost-server-path is not set: the port has no socket yet",)
    return PortSpec(row.name, bridge.name, client, path, retries, problems)


def one_port_per_path(specs: Sequence[PortSpec], owners: Mapping[str, str]
                      ) -> tuple[tuple[PortSpec, ...], dict[str, str]]:
    """Of ports on one path the one that has it already stays, else the first by name."""
    winners: dict[str, PortSpec] = {}
    for spec in sorted(specs, key=lambda s: (owners.get(s.path or "") != s.name, s.name)):
        if spec.path is not None:
            winners.setdefault(spec.path, spec)
    kept, errors = [], {}
    for spec in specs:
        winner = winners.get(spec.path or "", spec)
        if winner is spec:
            kept.append(spec)
        else:
            errors[spec.name] = (NO_DEVICE.format(spec.name, "Address already in use")
                                 + f": port {winner.name} has the socket {spec.path} already")
    return tuple(kept), errors


def is_local(bridge: BridgeRow, row: InterfaceRow) -> bool:
    """Whether the row is the bridge's own (LOCAL) port, which ovs-vsctl add-br makes."""
    return row.name == bridge.name and row.type in ("internal", "")


def desired(snapshot: Snapshot, *, rundir: str, numa_cores: Sequence[Sequence[int]],
            owners: Mapping[str, str], dpdk_initialized: bool) -> Desired:
    """What should be. 'owners' maps the paths in use to the ports that have them."""
    directory, problems = socket_dir(snapshot.other_config, rundir)
    specs, errors = [], {}
    for bridge in snapshot.bridges:
        for row in bridge.interfaces:
            if is_local(bridge, row) and bridge.datapath_type == "netdev":
                continue
            try:
                specs.append(port_spec(bridge, row, directory, dpdk_initialized))
            except PortError as e:
                errors[row.name] = str(e)
    ports, duplicates = one_port_per_path(specs, owners)
    cores, core_problems = pmd_cores(snapshot.other_config, numa_cores)
    _, interval_problems = integer_option(snapshot.other_config, "Open_vSwitch", "other_config",
                                          "stats-update-interval")
    return Desired(
        ports=ports,
        bridges=tuple(
            (bridge.name, () if bridge.fail_mode == "secure" else tuple(
                sorted(p.name for p in ports if p.bridge == bridge.name)))
            for bridge in snapshot.bridges if bridge.datapath_type == "netdev"),
        cores=cores if any(p.path for p in ports) else (),
        errors={**errors, **duplicates},
        problems=(*problems, *core_problems, *interval_problems,
                  *(p for bridge in snapshot.bridges for p in bridge_problems(bridge))),
    )
