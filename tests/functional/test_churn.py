"""A hundred random changes under traffic: no loss on an untouched pair, no deadlock, no leak."""
from __future__ import annotations

import contextlib
import os
import random
from pathlib import Path

from tests.functional.conftest import Site
from tools.host import Host, wait_until
from tools.soak_churn import Churn

CYCLES = 100


def threads_and_files(host: Host) -> tuple[int, int]:
    """But for the hugepages of DPDK's heap, each of which is a file: `make soak` looks at these."""
    process = Path(f"/proc/{host.agents[-1].pid}")
    files = 0
    for file in (process / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            files += not os.readlink(file).startswith("/memfd:seg_")
    return len(os.listdir(process / "task")), files


def test_hundred_cycles(site: Site) -> None:
    site.guest("a")
    site.guest("b")
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    churn = Churn(site.host, seed, "a")
    churn.add()                                     # the library's threads start with the first,
    churn.set_device("tap")                         # the one that serves devices, too
    churn.rest()
    assert site.ping("a", "b")
    for name in ("a", "b"):     # the agent keeps files of a guest's memory until it saw it used
        wait_until(lambda n=name: site.host.counted(n, "rx_packets") > 2, f"{name} was looked at")
    before = threads_and_files(site.host)
    in_use = site.host.appctl("memory/show")
    assert "packet-buffers-in-use:0 " in in_use
    with site.probe("a", "b") as probe:
        for _ in range(CYCLES):
            churn.step()
        churn.rest()
        report = probe.stop()
    print(dict(churn.done))
    assert churn.done["come_again"] > 5
    assert report.sent > 1000
    assert report.lossless, f"{report}\n{site.drops()}"

    def left_nothing() -> bool:
        site.host.look()
        return threads_and_files(site.host) == before
    wait_until(left_nothing, f"threads, files back at {before}")
    assert site.ping("a", "b")
    wait_until(lambda: site.host.appctl("memory/show") == in_use,
               f"slots, PMDs and packet buffers back at {in_use}")
    assert site.host.vsctl("list-ports", "br0").split() == ["a", "b"]
