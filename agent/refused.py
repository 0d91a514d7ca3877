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
from agent.vduse import is_vduse
from agent.vduse import reason as vduse_reason

# What a number of an error means when a socket is registered; for the others the system's words do.
REASONS = {
    errno.ENFILE: "DPDK serves at most 1024 vhost sockets in one process, two are the agent's",
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
            why = REASONS.get(e.errno or 0) or e.strerror or ""
            match spec.device:
                case Registration(path) if is_vduse(path):
                    why = vduse_reason(e.errno or 0, path, spec.device.max_queue_pairs,
                                       dpdk_version) or why
                    return f"{head}: VDUSE device {path}: {why}"
                case Registration(path):
                    return f"{head}: socket {path}: {why}"
            return f"{head}: {why}"
        case StartPmd(spec) if e.errno == errno.EINVAL:
            return f"this process may not use core {spec.core} (cpuset, container)"
        case _:
            return str(e.strerror)
