"""How a port that cannot be served is refused."""
from __future__ import annotations

# As ovs-vswitchd begins Interface.error; what is wrong follows.
NO_DEVICE = "could not open network device {} ({})"
NO_OFPORT = "could not add network device {} to ofproto ({})"


class PortError(Exception):
    """The row cannot be served; the text is for Interface.error."""
