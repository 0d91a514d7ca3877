"""Findings for a person and for a program: pure."""
from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import click

from agent import VERSION
from agent.finding import ERROR, INFO, OK, SEVERITIES, WARNING, Finding, exit_status, numbers
from agent.table import printable

MARKS = {ERROR: "✗", WARNING: "!", INFO: "i", OK: "✓"}
COLOURS = {ERROR: "red", WARNING: "yellow", INFO: "blue", OK: "green"}
COUNTED = {ERROR: ("error", "errors"), WARNING: ("warning", "warnings"),
           INFO: ("remark", "remarks"), OK: ("thing is fine", "things are fine")}
DETAILS_MOST = 20               # that are shown without --verbose
INDENT = "    "


def ordered(findings: Sequence[Finding]) -> list[Finding]:
    """The worst first; else as they were found."""
    return sorted(findings, key=lambda finding: -SEVERITIES.index(finding.severity))


def text(findings: Sequence[Finding], verbose: bool, eyes: bool) -> str:
    """'verbose' shows all details; 'eyes': colours and marks in place of words. click takes the
    colours away where no terminal is."""
    lines = [line for finding in ordered(findings) for line in paragraph(finding, verbose, eyes)]
    return "\n".join([*lines, "", summary(findings)])


def paragraph(finding: Finding, verbose: bool, eyes: bool) -> Iterator[str]:
    head = MARKS[finding.severity] if eyes else f"{finding.severity}:"
    if eyes:
        head = click.style(head, fg=COLOURS[finding.severity], bold=True)
    bad = finding.severity != OK
    title = printable(finding.title)
    yield f"{head} {title} [{finding.id}]" if bad else f"{head} {title}"
    if bad and finding.why:
        yield f"{INDENT}why: {printable(finding.why)}"
    if bad and finding.fix:
        for i, part in enumerate(finding.fix.splitlines()):
            yield f"{INDENT}{'fix: ' if not i else '     '}{printable(part)}"
    shown = finding.details if verbose else finding.details[:DETAILS_MOST] if bad else ()
    for detail in shown:
        yield f"{INDENT}{printable(detail)}"
    if bad and len(shown) < len(finding.details):
        yield f"{INDENT}... {len(finding.details) - len(shown)} more (--verbose)"


def summary(findings: Sequence[Finding]) -> str:
    """'1 error, 14 things are fine'"""
    return ", ".join(f"{number} {COUNTED[severity][number != 1]}"
                     for severity, number in numbers(findings).items() if number)


def json_text(findings: Sequence[Finding]) -> str:
    return json.dumps({
        "version": VERSION, "status": exit_status(findings), "summary": numbers(findings),
        "findings": [asdict(finding) for finding in ordered(findings)]}, indent=2)
