"""`make audit`: asks who knows of vulnerabilities about every version in requirements.lock.

Exit status: 1 when one is known. 0 when none is, and also when nobody could be asked, which is
said: a machine without a way to them is no fault of the packages.
"""
from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOCK = Path(__file__).parents[1] / "requirements.lock"
# What each is asked with, until one has answered for every package.
SERVICES = (("--vulnerability-service", "pypi"), ("--vulnerability-service", "osv"))
TIMEOUT_S = 15                  # for one answer
WHOLE_S = 240


@dataclass(frozen=True, slots=True)
class Answers:
    """What came of asking."""

    known: frozenset[str]               # vulnerabilities, each a line
    answered: frozenset[str]            # packages that somebody knows
    unanswered: frozenset[str]          # packages that nobody answered for
    why: tuple[str, ...] = ()           # of those


def answers(report: str, said: str) -> Answers:
    """What pip-audit's output says; 'said' is what it wrote for people."""
    try:
        packages = json.loads(report)["dependencies"]
    except ValueError:
        last = said.strip().splitlines() or ["no answer"]
        return Answers(frozenset(), frozenset(), frozenset(), (last[-1],))
    skipped = [p for p in packages if "skip_reason" in p]
    return Answers(
        frozenset(line for p in packages for line in vulnerabilities(p)),
        frozenset(p["name"] for p in packages if "skip_reason" not in p),
        frozenset(p["name"] for p in skipped),
        tuple(p["skip_reason"] for p in skipped[:1]))


def vulnerabilities(package: dict[str, Any]) -> Iterable[str]:
    for found in package.get("vulns", ()):
        fixed = ", ".join(found["fix_versions"])
        yield (f"{package['name']} {package['version']}: {found['id']}"
               f"{f' (corrected in {fixed})' if fixed else ''}: {found['description'][:200]}")


def ask(lock: Path, service: Sequence[str]) -> Answers:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "pip-audit"), "--requirement", str(lock),
         "--require-hashes", "--disable-pip", "--progress-spinner", "off", "--format", "json",
         "--timeout", str(TIMEOUT_S), *service],
        capture_output=True, text=True, check=False, timeout=WHOLE_S)
    return answers(done.stdout, done.stderr)


def verdict(all_answers: Sequence[Answers]) -> tuple[list[str], int]:
    """What to say, and the exit status."""
    known = sorted(frozenset().union(*(a.known for a in all_answers)))
    answered = frozenset().union(*(a.answered for a in all_answers))
    unanswered = frozenset().union(*(a.unanswered for a in all_answers)) - answered
    why = "; ".join(dict.fromkeys(w for a in all_answers for w in a.why))
    said = list(known)
    if not answered:
        said.append(f"WARNING: nobody could be asked about vulnerabilities, so nothing is known of "
                    f"them: {why}")
    elif unanswered:
        said.append("WARNING: nobody answered for these packages, so nothing is known of them: "
                    f"{', '.join(sorted(unanswered))}: {why}")
    if answered:
        said.append(f"{len(answered)} packages were asked about: {len(known) or 'no'} known "
                    "vulnerabilities")
    return said, 1 if known else 0


def main(lock: Path = LOCK, services: Sequence[Sequence[str]] = SERVICES) -> int:
    found: list[Answers] = []
    for service in services:
        found.append(ask(lock, service))
        if found[-1].answered and not found[-1].unanswered:
            break
    said, status = verdict(found)
    print(*(f"audit: {line}" for line in said), sep="\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
