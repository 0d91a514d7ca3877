"""What other users of this host could get at of the sockets that server ports are given."""
from __future__ import annotations

import os
from collections.abc import Iterator

from agent.exposure import open_to_all
from agent.model import PortSpec, Registration


class SocketDirectories:
    """Directories below the run directory that sockets of server ports are made in."""

    def __init__(self, rundir: str) -> None:
        self._seen = {rundir}

    def exposures(self, spec: PortSpec) -> Iterator[str]:
        """Of those of a port that was added, once of each."""
        if not isinstance(spec.device, Registration) or spec.device.client:
            return
        directory = os.path.dirname(spec.device.path)
        while directory not in self._seen and directory != "/":
            self._seen.add(directory)
            yield from open_to_all("vhost-sock-dir", directory)
            directory = os.path.dirname(directory)
