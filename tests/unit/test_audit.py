"""`make audit`: pip-audit itself, at a server of ours that answers as OSV does."""
from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tools import audit

ENTRY = "{}==1.0 \\\n    --hash=sha256:" + "0" * 64 + "\n"
KNOWN = {"vulns": [{"id": "GHSA-0", "summary": "lets everybody in", "affected": [
    {"package": {"name": "bad", "ecosystem": "PyPI"},
     "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.1"}]}]}]}]}


@contextmanager
def knowing(*vulnerable: str) -> Iterator[tuple[str, ...]]:
    """A service that knows a vulnerability of these packages; what to ask it with."""
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps(KNOWN if asked["package"]["name"] in vulnerable else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield osv(f"http://127.0.0.1:{server.server_address[1]}")
        server.shutdown()


def osv(url: str) -> tuple[str, ...]:
    return ("--vulnerability-service", "osv", "--osv-url", url)


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "x.lock"
    path.write_text(ENTRY.format("good") + ENTRY.format("bad"))
    return path


def test_known_vulnerability_fails(lock: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with knowing("bad") as service:
        assert audit.main(lock, [service]) == 1
    assert capsys.readouterr().out == (
        "audit: bad 1.0: GHSA-0 (corrected in 1.1): lets everybody in\n"
        "audit: 2 packages were asked about: 1 known vulnerabilities\n")


def test_nothing_known_passes(lock: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with knowing() as service:
        assert audit.main(lock, [service]) == 0
    assert capsys.readouterr().out == (
        "audit: 2 packages were asked about: no known vulnerabilities\n")


def test_service_that_cannot_be_reached_is_said_and_the_next_is_asked(
        lock: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nobody = osv("http://127.0.0.1:1/")
    assert audit.main(lock, [nobody]) == 0
    said = capsys.readouterr().out
    assert said.startswith("audit: WARNING: nobody could be asked about vulnerabilities, so")
    assert "Connection refused" in said
    with knowing("bad") as service:
        assert audit.main(lock, [nobody, service]) == 1


def test_package_that_nobody_answers_for_is_no_package_without_vulnerabilities() -> None:
    """pip-audit itself says that there are none then."""
    one = audit.answers(json.dumps({"dependencies": [
        {"name": "a", "version": "1", "vulns": []},
        {"name": "b", "skip_reason": "b is not found"}]}), "")
    said, status = audit.verdict([one])
    assert (said[0], status) == ("WARNING: nobody answered for these packages, so nothing is known "
                                 "of them: b: b is not found", 0)
    two = audit.answers('{"dependencies": [{"name": "b", "version": "1", "vulns": []}]}', "")
    assert audit.verdict([one, two]) == (
        ["2 packages were asked about: no known vulnerabilities"], 0)
    none = audit.answers('{"dependencies": [{"name": "b", "skip_reason": "not found"}]}', "")
    assert audit.verdict([none])[0] == ["WARNING: nobody could be asked about vulnerabilities, so "
                                        "nothing is known of them: not found"]
