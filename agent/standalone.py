"""A database of the agent's own: creates it, runs its ovsdb-server, keeps that alive."""
from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from agent import log

START_TIMEOUT_S = 10
RESTART_WAIT_MS = 1000
OWN_UMASK = 0o077                       # ovsdb-server would let its group at the database


class StandaloneError(Exception):
    """The database cannot be had; the text says why and what to do."""


def program(name: str) -> str:
    """Path of an Open vSwitch program; it may stand where an unprivileged PATH does not look."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if path is None:
        raise StandaloneError(f"{name} is not installed (Debian: apt install openvswitch-switch)")
    return path


def run(*command: str) -> str:
    """Output of a program; StandaloneError with its own words when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=START_TIMEOUT_S * 3,
                          check=False, umask=OWN_UMASK)
    if done.returncode != 0:
        said = done.stderr.strip() or f"exit status {done.returncode}"
        raise StandaloneError(f"{' '.join(command)}: {said}")
    return done.stdout.strip()


class OwnDatabase:
    """ovsdb-server on DIR/conf.db, listening on DIR/db.sock. DIR must exist. For the main thread
    only."""

    def __init__(self, directory: Path, schema_file: Path) -> None:
        self._directory = directory
        self._schema_file = schema_file
        self._server: subprocess.Popen[bytes] | None = None
        self._restart_at_ms = 0

    @property
    def remote(self) -> str:
        return f"unix:{self._directory}/db.sock"

    def start(self) -> None:
        """Creates the database when it is missing, starts the server, asks for DPDK.

        Raises StandaloneError.
        """
        if self._listens():
            raise StandaloneError(f"{self._directory} is in use: an ovsdb-server listens on "
                                  f"{self._directory}/db.sock")
        file = self._directory / "conf.db"
        tool = program("ovsdb-tool")
        if not self._schema_file.exists():
            raise StandaloneError(f"{self._schema_file} is missing (Debian: apt install "
                                  "openvswitch-switch; elsewhere set OVS_PKGDATADIR)")
        if not file.exists():
            run(tool, "create", str(file), str(self._schema_file))
        elif run(tool, "needs-conversion", str(file), str(self._schema_file)) == "yes":
            run(tool, "convert", str(file), str(self._schema_file))
        self.serve()
        run(program("ovs-vsctl"), f"--db={self.remote}", "--no-wait",
            f"--timeout={START_TIMEOUT_S}", "init", "--",
            "set", "Open_vSwitch", ".", "other_config:dpdk-init=true")

    def serve(self) -> None:
        """Starts the server on the database that is there. Raises StandaloneError."""
        self._spawn()
        self._wait_listening()

    def _spawn(self) -> None:
        directory = self._directory
        # The server must not outlive us, whatever ends us, nor get our terminal's Ctrl-C, nor keep
        # a pipe open that our caller reads until --detach has closed it.
        self._server = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", program("ovsdb-server"), f"{directory}/conf.db",
             "-vconsole:off", "-vsyslog:off", f"--log-file={directory}/ovsdb-server.log",
             f"--remote=punix:{directory}/db.sock", f"--unixctl={directory}/ovsdb-server.ctl"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, umask=OWN_UMASK)

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                return probe.connect_ex(f"{self._directory}/db.sock") == 0
            except OSError as e:
                raise StandaloneError(f"{self._directory}/db.sock: {e}") from e

    def _wait_listening(self) -> None:
        assert self._server is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._server.poll() is None:
            if self._listens():
                return
            time.sleep(0.01)
        self.stop()
        raise StandaloneError(f"ovsdb-server does not start; see {self._directory}/"
                              "ovsdb-server.log")

    def run(self, now_ms: int) -> None:
        """Starts the server again when it died, at most once a second."""
        if self._server is None:
            if now_ms >= self._restart_at_ms:
                self._spawn()
        elif self._server.poll() is not None:
            log.main.err(f"ovsdb-server died ({self._server.returncode}), starting it again; see "
                         f"{self._directory}/ovsdb-server.log")
            self._server = None
            self._restart_at_ms = now_ms + RESTART_WAIT_MS

    def restart_at_ms(self) -> int | None:
        return self._restart_at_ms if self._server is None else None

    def stop(self) -> None:
        if self._server is not None:
            self._server.terminate()
            self._server.wait()
