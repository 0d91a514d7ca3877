"""When ports are looked at by themselves for what keeps them down."""
from __future__ import annotations

from agent.model import (
    CLIENT_TYPE,
    BridgeSpec,
    Desired,
    Memory,
    Observed,
    PortSpec,
    PortState,
    Registration,
)
from agent.port_reasons import SETTLED_MS, PortReasons
from agent.reason_model import Handshake
from tests.unit.fake_datapath import FakeDatapath

DEVICE, MEMORY = Registration("/dev/null/p", True), Memory(1500, 2048)
SPEC = PortSpec("p", "br0", CLIENT_TYPE, DEVICE, 8, MEMORY)
DESIRED = Desired(ports={"p": SPEC}, bridges=(BridgeSpec("br0", (("p", SPEC.membership),)),))
ALONE = Observed({"p": PortState("p", DEVICE, 8, MEMORY)})
ATTACHED = Observed({"p": PortState("p", DEVICE, 8, MEMORY, connections=1, attached=True)})


def test_a_guest_that_comes_is_looked_at_until_it_is_quiet() -> None:
    """And no more then, nor before there is one, until statistics are due."""
    datapath = FakeDatapath()
    reasons = PortReasons({}, "", set)

    def look(observed: Observed, now_ms: int) -> tuple[str, int | None]:
        """The reason without what follows a colon, and when there is more to say."""
        text = reasons.look(DESIRED, observed, datapath, now_ms, False).get("p", "")
        return text.partition(":")[0], reasons.look_at_ms

    waits, heard = "the guest is connected, and waits for its driver", 100 + SETTLED_MS
    assert look(ALONE, 0)[1] is None
    assert look(ATTACHED, 100) == ("", heard)
    datapath.said["p"] = Handshake(heard=3, last_request=1)
    assert look(ATTACHED, heard - 1) == ("", heard)
    assert look(ATTACHED, heard) == (waits, heard + SETTLED_MS)
    assert look(ATTACHED, heard + SETTLED_MS) == (waits, None)
    datapath.said["p"] = Handshake(heard=9, last_request=5, regions=1)
    assert look(ATTACHED, heard + 9 * SETTLED_MS) == (waits, None)
    assert look(ALONE, heard + 10 * SETTLED_MS)[1] is None
