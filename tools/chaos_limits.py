"""Faults of what the agent needs of the machine: hugepages, descriptors, the clock, cores."""
from __future__ import annotations

import mmap
import resource
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

from tools.borrow import POOL
from tools.chaos_check import HUGEPAGE_KIB
from tools.chaos_fault import BOTH, Fault
from tools.chaos_site import NEIGHBOURS, REAL_TIME, SPARE, Site, WrongError
from tools.host import wait_until

HUGE_MTU = 9000                 # its packet buffers need memory that no port has yet
EXHAUSTED_S = (1.0, 4.0)        # how long there is nothing left
STEPS = ("+1d", "-400d", "+10y")        # as libfaketime writes them
MAP_HUGETLB = 0x40000           # which the mmap module does not name
MASKS = ("0x2", "0x3", "0x1", "")       # of pmd-cpu-mask; "": the default


def hugepages_exhausted(site: Site, _: Random) -> None:
    """A port that needs more has an error that says so, and is served once there are some."""
    with hugepages_taken(site) as taken:
        site.vsctl("--no-wait", *site.port_words(SPARE), f"mtu_request={HUGE_MTU}")
        site.ports[SPARE] = None
        if taken:
            wait_until(lambda: says_why(site.rows()[SPARE]),
                       "a port that there is no memory for says so")
    site.wait_agreed("with hugepages again")
    site.del_port(SPARE)


def says_why(row: Mapping[str, Any]) -> bool:
    """Whether a row has an error, or says what of it could not be done."""
    return bool(row["error"] or (row["status"] or {}).get("problems"))


@contextmanager
def hugepages_taken(site: Site) -> Iterator[bool]:
    """All free ones are reserved for this process meanwhile, which does not touch them; False where
    the agent has none anyway. Other programs miss them too; the pool stays as large as it is."""
    free = (int((POOL / "free_hugepages").read_text())
            - int((POOL / "resv_hugepages").read_text()))
    if not (site.huge and free):
        yield False
        return
    with mmap.mmap(-1, free * HUGEPAGE_KIB << 10,
                   mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | MAP_HUGETLB):
        yield True


def descriptors_exhausted(site: Site, random: Random) -> None:
    """The agent can open nothing more; a guest comes again meanwhile, and a port is added."""
    pid = site.agent.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    most = max(int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()) + 1
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, before[1]))
    try:
        site.guests["c"].kill()
        site.guests["c"].start()
        site.vsctl("--no-wait", *site.port_words(SPARE))
        site.ports[SPARE] = None
        time.sleep(random.uniform(*EXHAUSTED_S))
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    # testpmd does not start its device a second time when the first was cut short
    site.guests["c"].kill()
    site.guests["c"].start()
    site.wait_agreed("with descriptors again")
    site.del_port(SPARE)


def clock_stepped(site: Site, random: Random) -> None:
    """The agent's own clock alone, by libfaketime; other processes' and the monotonic one go on."""
    step = random.choice(STEPS)
    site.clock.write_text(step)
    try:
        site.add_port(SPARE)
        site.del_port(SPARE)
        off = datetime.now(UTC) - last_logged(site.directory / "vhost-agent.log")
        if abs(off.total_seconds()) < 3600:
            raise WrongError(f"the agent's clock was not stepped by {step}")
    finally:
        site.clock.write_text(REAL_TIME)


def last_logged(log: Path) -> datetime:
    """The time of a log's last line."""
    line = log.read_text().splitlines()[-1]
    return datetime.fromisoformat(line.partition("|")[0])


def cores_masked(site: Site, random: Random) -> None:
    """PMD threads are taken off their cores and put on others, several times."""
    for mask in (*random.sample(MASKS, len(MASKS)), ""):
        words = [f"other_config:pmd-cpu-mask={mask}"] if mask else []
        site.vsctl("remove", "Open_vSwitch", ".", "other_config", "pmd-cpu-mask",
                   *(["--", "set", "Open_vSwitch", ".", *words] if words else []))
        site.wait_agreed(f"pmd-cpu-mask={mask}")
        cores = {pmd["core"] for pmd in site.picture()["pmds"]}
        wanted = {core for core in (0, 1) if int(mask or "0x1", 16) >> core & 1}
        if cores != wanted:
            raise WrongError(f"pmd-cpu-mask={mask}: PMD threads on cores {sorted(cores)}")


FAULTS = (
    Fault("hugepages exhausted", hugepages_exhausted, BOTH, "nothing"),
    Fault("descriptors exhausted", descriptors_exhausted, (NEIGHBOURS,),
          "c to s, until there are some again"),
    Fault("clock stepped", clock_stepped, BOTH, "nothing"),
    Fault("cores taken by the mask", cores_masked, BOTH, "nothing"),
)
