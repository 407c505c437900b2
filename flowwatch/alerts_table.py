"""Every alert that flowwatch pushes, in one table: name, severity, what it says, and what it waits for."""

from __future__ import annotations

from flowwatch.alerts_own import OWN_SEVERITIES, OWN_SUMMARIES
from flowwatch.alerts_text import SEVERITIES, SUMMARIES

NAMES = (*SUMMARIES, *OWN_SUMMARIES)
"""Every alert name."""


def reference() -> str:
    """A Markdown table of all alerts, ending in a newline."""
    rows = ["| alert | severity | says |", "|---|---|---|"]
    for name, summary in (*SUMMARIES.items(), *OWN_SUMMARIES.items()):
        severity = SEVERITIES.get(name) or OWN_SEVERITIES[name]
        rows.append(f"| [{name}](#{name.lower()}) | {severity} | {summary} |")
    return "\n".join(rows) + "\n"
