"""Debian's own ovs-vswitchd on a Host, beside the agent or in its place."""
from __future__ import annotations

import signal
import subprocess
from types import TracebackType

from tools.guest import DIE_WITH_PARENT, OWN_GROUP
from tools.host import Host, wait_until

PROGRAM = "/usr/sbin/ovs-vswitchd"
WITH_DPDK = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"


class Vswitchd:
    """ovs-vswitchd in the host's network namespace, without the kernel's datapath: bridges have
    datapath_type=netdev. Runs until it is closed."""

    def __init__(self, host: Host, program: str = PROGRAM) -> None:
        self._host = host
        self._program = program
        self._control = host.directory / "ovs-vswitchd.ctl"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Starts it; returns when it has configured all that is in the database."""
        assert self._process is None
        host = self._host
        self._process = subprocess.Popen(
            [*DIE_WITH_PARENT, *host.netns.command(self._program), host.remote, "--disable-system",
             "-vconsole:off", f"--unixctl={self._control}",
             f"--log-file={host.directory}/ovs-vswitchd.log"],
            env=host.env, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            process_group=OWN_GROUP)
        wait_until(lambda: host.run("ovs-appctl", "-t", str(self._control), "version").stdout,
                   "ovs-vswitchd answers")
        host.vsctl("set", "Open_vSwitch", ".", "external_ids:test=1")    # waits for it
        host.vsctl("--no-wait", "remove", "Open_vSwitch", ".", "external_ids", "test")

    def log(self) -> str:
        return (self._host.directory / "ovs-vswitchd.log").read_text(errors="replace")

    def stop(self, number: int = signal.SIGKILL) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait()
        self._process = None

    def close(self) -> None:
        if self._process is not None:
            self.stop(signal.SIGTERM)

    def __enter__(self) -> Vswitchd:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()
