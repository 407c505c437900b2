"""Checks of declarations: what do they do that nobody meant?

Reads policies of Kubernetes and Cilium and allowlists of flowwatch's own as documents, with the
line of everything, and runs a table of checks over them, some of them against what was observed.
Claims only what follows from the files and from what Cilium documents; it enforces and judges
nothing, and knows nothing of the engine that does.
"""

from __future__ import annotations

from flowwatch.lint.context import Options
from flowwatch.lint.found import Lint, Severity
from flowwatch.lint.observed import Observed, observe
from flowwatch.lint.sources import Source, Sources, parse, read
from flowwatch.lint.table import CHECKS, Checked, lint

__all__ = [
    "CHECKS",
    "Checked",
    "Lint",
    "Observed",
    "Options",
    "Severity",
    "Source",
    "Sources",
    "lint",
    "observe",
    "parse",
    "read",
]
