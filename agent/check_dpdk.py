"""Whether DPDK is here as the extension was built against it, and what it can do: pure."""
from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from agent.dpdk_values import EXPERIMENTAL, DpdkFacts, Driver, Library
from agent.finding import ERROR, INFO, OK, WARNING, Finding, unseen

VHOST = "librte_vhost.so."
SONAME = re.compile(r"lib(rte_\w+)\.so\.(\d+)")
SOME = 8                            # of many symbols that a title repeats
REBUILD = "make clean setup"
# One that was made on this Debian.
REBUILT_PACKAGE = "make clean deb && apt-get install --reinstall ./build/ovs-vhost-agent_*.deb"
# What a librte_vhost can do, by a symbol that it exports then, and since which DPDK.
FEATURES = (
    ("statistics of rings", "rte_vhost_vring_stats_get", "22.07"),
    ("a look at a ring without a call", "rte_vhost_get_monitor_addr", "21.11"),
    ("interrupts of guests without waiting", "rte_vhost_vring_call_nonblock", "22.11"),
    ("interrupts of guests by another thread", "rte_vhost_notify_guest", "23.07"),
    ("limit of queue pairs (VDUSE)", "rte_vhost_driver_set_max_queue_num", "23.07"),
    ("copies by DMA engines", "rte_vhost_async_channel_register", "20.08"),
)


def check(facts: DpdkFacts, prefix: str = "") -> list[Finding]:
    """All there is to say of the extension and of DPDK's libraries. 'prefix' is where the program
    is installed."""
    mend = rebuild(prefix)
    found = list(extension(facts, mend))
    if not facts.needed:
        return found
    if facts.loaded.silence:
        return [*found, unseen("how DPDK's libraries are found", facts.loaded.silence)]
    bad = [*libraries_missing(facts, mend), *symbols_missing(facts, mend),
           *loader_complaints(facts, mend)]
    found += bad or [libraries(facts)]
    found += unreadable(facts)
    found += vhost(facts)
    found += drivers(facts)
    return found


def rebuild(prefix: str) -> str:
    """What makes the extension anew, for the DPDK that is here."""
    if not prefix:
        return REBUILD
    return REBUILT_PACKAGE if prefix == "/usr" else "make clean install"


def release(soname: str) -> str:
    """'DPDK 22.11' of 'librte_vhost.so.23': the ABI has the number of the year that it is for."""
    match = SONAME.fullmatch(soname)
    return f"DPDK {int(match[2]) - 1}.11" if match and int(match[2]) > 20 else "DPDK"


def extension(facts: DpdkFacts, mend: str) -> Iterator[Finding]:
    why = "the data plane is this extension; without it the agent does not start"
    if not facts.directory:
        yield Finding("extension-missing", ERROR, "the extension pmd_ext is not installed", why,
                      "make setup" if mend == REBUILD else mend)
    elif not facts.modules:
        title = f"{facts.directory} holds no module that this Python can import"
        if facts.others:
            title += f" ({len(facts.others)} are for another one)"
        yield Finding("extension-missing", ERROR, title, why, mend, facts.others[:SOME])


def libraries_missing(facts: DpdkFacts, mend: str) -> Iterator[Finding]:
    for soname in sorted(name for name, path in facts.loaded.found.items() if path is None):
        why = "the agent does not start without it"
        details = []
        if soname in facts.needed:
            why += f": {release(soname)} is what the extension was built against"
        if others := [name for name in facts.lookalikes.get(soname, ()) if name != soname]:
            details.append(f"here is {', '.join(others)}; for that the extension has to be built "
                           f"anew ({mend})")
        yield Finding("dpdk-library-missing", ERROR, f"the library {soname} is not found", why,
                      package(soname), tuple(details))


def package(soname: str) -> str:
    """Installs a library on Debian, whose packages are named like their libraries."""
    match = SONAME.fullmatch(soname)
    if match is None:
        return f"apt-file search {soname}"
    return f"apt-get install lib{match[1].replace('_', '-')}{match[2]}"


def symbols_missing(facts: DpdkFacts, mend: str) -> Iterator[Finding]:
    """Only where all libraries were found: else much would be missing."""
    if not facts.libraries or None in facts.loaded.found.values() or facts.unreadable:
        return
    there = {name for library in facts.libraries.values() for name in library.exports}
    if missing := sorted(facts.wants - there):
        more = ", ..." if len(missing) > SOME else ""
        yield Finding(
            "dpdk-symbols-missing", ERROR,
            f"DPDK's libraries lack {len(missing)} functions that the extension uses: "
            + ", ".join(missing[:SOME]) + more,
            "the agent does not start, or ends when it calls one: it was built against another "
            "DPDK", mend, tuple(missing[SOME:]))


def loader_complaints(facts: DpdkFacts, mend: str) -> Iterator[Finding]:
    if said := facts.loaded.complaints:
        yield Finding("dpdk-not-loadable", ERROR,
                      f"the dynamic loader does not take the extension: {said[0]}",
                      "the agent does not start", mend, said[1:])


def libraries(facts: DpdkFacts) -> Finding:
    return Finding(
        "dpdk-libraries", OK,
        f"{release(facts.needed[0])}: all {len(facts.libraries)} of its libraries are found, as "
        "the extension was built against them",
        details=tuple(f"{soname}: {library.path}"
                      for soname, library in sorted(facts.libraries.items())))


def unreadable(facts: DpdkFacts) -> Iterator[Finding]:
    for text in facts.unreadable:
        yield Finding("file-unreadable", WARNING, text,
                      "a damaged library or driver is not loaded, or ends the agent",
                      "dpkg --verify 'librte-*'")


def vhost_library(facts: DpdkFacts) -> Library | None:
    return next((library for soname, library in facts.libraries.items()
                 if soname.startswith(VHOST)), None)


def vhost(facts: DpdkFacts) -> Iterator[Finding]:
    """What the librte_vhost that is found can do."""
    library = vhost_library(facts)
    if library is None:
        return
    details = [library.path]
    has = []
    for what, symbol, since in FEATURES:
        version = library.exports.get(symbol)
        if version is None:
            details.append(f"no {what}: {symbol}, of DPDK {since}")
        else:
            has.append(what)
            state = ", experimental" if version == EXPERIMENTAL else ""
            details.append(f"{what}: {symbol}{state}")
    vduse = "VDUSE" if library.serves_vduse else "no VDUSE, which DPDK 24.11 has"
    details.append(vduse)
    fast = "compiled for this CPU's vector unit" if "glibc-hwcaps" in library.path else (
        "the distribution's, which copies long frames more slowly")
    yield Finding("vhost-library", OK, f"{library.soname}: {fast}; {vduse}", details=tuple(details))


def drivers(facts: DpdkFacts) -> Iterator[Finding]:
    if facts.plugins is None:
        if any(soname.startswith("librte_eal.so.") for soname in facts.libraries):
            yield Finding("dpdk-drivers", INFO, "DPDK's drivers are part of its libraries",
                          "which there are is not known here")
        return
    if not facts.plugin_files:
        yield Finding(
            "dpdk-drivers-missing", ERROR, f"no driver of DPDK's is in {facts.plugins}",
            "packet buffers need one of them (librte_mempool_ring): DPDK does not start",
            "apt-get install --reinstall 'librte-mempool-ring*'")
        return
    ethernet = [d for d in facts.drivers if d.name.startswith("net_")]
    yield Finding(
        "dpdk-drivers", OK, f"{len(facts.drivers)} drivers of DPDK's, {len(ethernet)} for network "
        f"devices, in {facts.plugins}", details=tuple(map(line, facts.drivers)))


def line(driver: Driver) -> str:
    """A driver, for the eye."""
    said = [driver.name]
    if driver.pci_ids:
        said.append(f"{len(driver.pci_ids)} PCI devices")
    if driver.kmod:
        said.append(f"kernel modules {driver.kmod}")
    if driver.params:
        said.append(f"arguments {' '.join(driver.params.split())}")
    return ": ".join((said[0], "; ".join(said[1:]))) if said[1:] else said[0]


# --- which modules of the kernel a driver needs ---------------------------------------------------

def modules_asked(kmod: str) -> tuple[tuple[str, ...], ...]:
    """Alternatives of modules that are needed together, of DPDK's own notation (KMOD_DEP of
    drivers: '*' is any device, '|' stands between alternatives, '&' between what is needed
    together)."""
    words = re.sub(r"[*()]", " ", kmod)
    return tuple(tuple(filter(None, (module.strip() for module in part.split("&"))))
                 for part in words.split("|") if part.strip(" &"))


def drivers_of(ids: Sequence[int], known: Sequence[Driver]) -> list[Driver]:
    """Drivers for a PCI device: (vendor, device, subsystem's vendor, its device)."""
    return [driver for driver in known
            if any(all(want in (0xffff, has) for want, has in zip(row, ids, strict=True))
                   for row in driver.pci_ids)]
