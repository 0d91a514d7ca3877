"""What a refusal of the data plane is called, in Interface.error or the log: pure."""
from __future__ import annotations

import errno
import os

from agent import eth_device
from agent.actions import Action, AddPort, StartPmd
from agent.eth_values import EthDevice
from agent.host_model import HostDevice
from agent.model import Registration
from agent.refusal import NO_DEVICE, NO_OFPORT

# What a number of an error means when a socket is registered with DPDK of version {}; for the
# others the system's words do.
REASONS = {
    errno.ENFILE: "DPDK serves at most 1024 vhost sockets in one process, two are the agent's",
    errno.EOPNOTSUPP: "VDUSE needs DPDK 24.11, this is {}",
}


def sentence(action: Action, e: OSError, dpdk_version: str) -> str:
    """Why 'action' failed with 'e', which is a DatapathError where DPDK refused."""
    match action:
        case AddPort(spec) if isinstance(spec.device, HostDevice):
            return NO_DEVICE.format(spec.name, os.strerror(e.errno or 0)) + f": {e.strerror}"
        case AddPort(spec) if isinstance(spec.device, EthDevice):
            call, port = getattr(e, "call", ""), getattr(e, "port", "")
            if e.errno == errno.EADDRINUSE and port:
                return eth_device.IN_USE.format(spec.name, spec.device.devargs, port)
            return eth_device.not_attached(spec.device.devargs, e.errno or 0, call)
        case AddPort(spec):
            head = (NO_OFPORT.format(spec.name, "Invalid argument") if spec.client
                    else NO_DEVICE.format(spec.name, "Unknown error -1"))
            why = (REASONS[e.errno].format(dpdk_version) if e.errno in REASONS
                   else e.strerror or "")
            if not isinstance(spec.device, Registration):
                return f"{head}: {why}"
            return f"{head}: socket {spec.device.path}: {why}"
        case StartPmd(spec) if e.errno == errno.EINVAL:
            return f"this process may not use core {spec.core} (cpuset, container)"
        case _:
            return str(e.strerror)
