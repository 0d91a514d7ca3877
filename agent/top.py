"""One screen of 'vhost-agent top', from rates to lines: pure."""
from __future__ import annotations

from collections.abc import Iterator, Sequence

from agent.amounts import duration, short
from agent.drops import blame
from agent.picture import Picture
from agent.rates import PmdRates, PortRates, Rates
from agent.show import Line, Style, database_line, natural
from agent.sorts import SORTS
from agent.table import Column, cut, layout, printable

COLUMNS = (
    Column("PORT"), Column("BRIDGE", goes=6), Column("LINK", goes=4),
    Column("RX pps", right=True), Column("RX bit/s", right=True, goes=3),
    Column("TX pps", right=True), Column("TX bit/s", right=True, goes=3),
    Column("DROPS/s", right=True), Column("PMD%", right=True, goes=1),
    Column("CYC/PKT", right=True, goes=5), Column("CORES", goes=7),
    Column("WHY DROPPED", goes=2),
)
REASONS_SAID = 2
SUFFIX = "_drops"


def lines(picture: Picture, rates: Rates | None, sort: str, width: int | None = None,
          height: int | None = None) -> list[Line]:
    """Within 'height' lines if there is such a limit: the ports that sort last are left out."""
    head = [(style, cut(text, width)) for style, text in heading(picture, rates)]
    if rates is None:
        return head
    ports = sorted(rates.ports, key=lambda port: (
        -SORTS[sort](port), natural({"name": port.name})))
    room = len(ports) if height is None else max(1, height - len(head) - 2)
    more = [(Style.QUIET, f"  and {len(ports) - room} more ports")] if len(ports) > room else []
    ports = ports[:room]
    texts = layout(COLUMNS, [cells(port) for port in ports], width)
    return [*head, (Style.HEAD, texts[0]),
            *((style(port), text) for port, text in zip(ports, texts[1:], strict=True)), *more]


def heading(picture: Picture, rates: Rates | None) -> Iterator[Line]:
    agent = picture["agent"]
    up = duration((picture["taken_ms"] - agent["started_ms"]) / 1000)
    counted = sum(port["link_state"] == "up" for port in picture["ports"])
    over = f", over {rates.seconds:.1f} s" if rates is not None else ""
    yield Style.HEAD, (f"{agent['name']} {agent['version']}, pid {agent['pid']}, up {up}; "
                       f"{len(picture['ports'])} ports, {counted} up{over}")
    database = database_line(picture["database"])
    if database[0] is Style.BAD:
        yield database
    if rates is None:
        yield Style.QUIET, "counting"
        return
    rx, tx = (sum(getattr(port, key) for port in rates.ports) for key in (
        "rx_packets", "tx_packets"))
    bits = sum(port.rx_bits for port in rates.ports)
    lost = sum(port.dropped for port in rates.ports)
    yield (Style.BAD if lost else Style.PLAIN), (
        f"received {short(rx)} packets/s, {short(bits)} bit/s; sent {short(tx)} packets/s; dropped "
        f"{short(lost)} packets/s")
    for pmd in rates.pmds:
        yield (Style.BAD if pmd.busy >= 95 else Style.PLAIN), pmd_line(pmd)


def pmd_line(pmd: PmdRates) -> str:
    rest = f", sleeping {pmd.sleeping:.0f} %" if pmd.sleeping >= 0.5 else ""
    return (f"PMD on core {pmd.core} (node {pmd.node}): busy {pmd.busy:.0f} %{rest}, "
            f"{pmd.rxqs} rx queue{'s' * (pmd.rxqs != 1)}, received {short(pmd.rx_packets)}/s, sent "
            f"{short(pmd.tx_packets)}/s")


def style(port: PortRates) -> Style:
    if port.dropped or port.link == "error":
        return Style.BAD
    return Style.PLAIN if port.link == "up" else Style.QUIET


def cells(port: PortRates) -> Sequence[str]:
    return (printable(port.name), printable(port.bridge), port.link,
            short(port.rx_packets), short(port.rx_bits), short(port.tx_packets),
            short(port.tx_bits), short(port.dropped),
            "-" if port.pmd_percent is None else f"{port.pmd_percent:.1f}",
            "-" if port.cycles_per_packet is None else f"{port.cycles_per_packet:.0f}",
            ",".join(map(str, port.cores)) or "-", why(port))


def why(port: PortRates) -> str:
    """Reasons of drops, the worst first, each with whose fault it is."""
    worst = sorted(port.drops.items(), key=lambda drop: -drop[1])
    said = [f"{reason.removesuffix(SUFFIX)} {short(rate)}"
            + (f" ({blame(reason)})" if blame(reason) else "")
            for reason, rate in worst[:REASONS_SAID]]
    more = len(worst) - REASONS_SAID
    return ", ".join(said) + (f" and {more} more" if more > 0 else "")
