"""What `vhost-agent doctor` finds: pure. Imports nothing of ours; all frozen."""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

OK, INFO, WARNING, ERROR = SEVERITIES = "ok", "info", "warning", "error"    # ascending
EXIT_STATUS = {OK: 0, INFO: 0, WARNING: 1, ERROR: 2}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, and how it is."""

    id: str                         # of its kind, for programs: stays what it is
    severity: str                   # one of SEVERITIES
    title: str                      # what
    why: str = ""                   # why it matters
    fix: str | None = None          # the command that mends it
    details: tuple[str, ...] = ()


def exit_status(findings: Iterable[Finding]) -> int:
    """That of the worst finding: 0 fine, 1 warnings, 2 errors."""
    return max((EXIT_STATUS[finding.severity] for finding in findings), default=0)


def numbers(findings: Iterable[Finding]) -> dict[str, int]:
    """How many there are of each severity, the worst first."""
    severities = [finding.severity for finding in findings]
    return {severity: severities.count(severity) for severity in reversed(SEVERITIES)}


def unseen(what: str, reason: str) -> Finding:
    """Something that could not be looked at, which says nothing about how it is."""
    return Finding("not-seen", INFO, f"{what} could not be looked at: {reason}",
                   "nothing is said of it here")
