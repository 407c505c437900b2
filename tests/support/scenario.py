"""Scenario files: an allowlist and flows on a timeline, and what must come of them.

A file begins with one sentence as comment. Sections: `-- allowlist --` (native YAML), `-- flows --`
(see `flowtext`), `-- findings +60s --` (what is found then; more than one may follow), `-- classes --`
and `-- squares --` (name and count), `-- drops --` and `-- alerts +60s --`. A section that is not there
is not checked; an empty one says there is nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from flowwatch import alerts, allowlist
from flowwatch.decode import Decoder
from flowwatch.engine import Engine
from flowwatch.model import Finding
from tests.support.flowtext import parse as parse_flows

START = 1_780_000_000.0
SETTLE = 5.0
ACTIVE_FOR = 900.0
_SECTION = re.compile(r"^-- (?P<name>[a-z]+)(?: \+(?P<at>\d+)s)? --$")


@dataclass
class Scenario:
    """A parsed file."""

    sentence: str
    allowlist: str = ""
    flows: str = ""
    checks: list[tuple[str, float, str]] = field(default_factory=list)
    """(section, seconds, expected text)"""


def parse(text: str) -> Scenario:
    """Read a scenario file."""
    lines = text.splitlines()
    assert lines[0].startswith("# "), "a scenario begins with a sentence"
    scenario = Scenario(lines[0][2:])
    name, at, body = "", 0.0, []
    for line in [*lines[1:], "-- end --"]:
        section = _SECTION.match(line)
        if not section:
            body.append(line)
            continue
        content = "\n".join(body).strip()
        if name in ("allowlist", "flows"):
            setattr(scenario, name, content)
        elif name:
            scenario.checks.append((name, at, content))
        name, at, body = section["name"], float(section["at"] or 60), []
    return scenario


def run(path: Path, decoder: Callable[[], Decoder]) -> None:
    """Play a scenario one flow at a time and hold every check against it."""
    scenario = parse(path.read_text(encoding="utf-8"))
    declared = allowlist.parse(scenario.allowlist, "allowlist.yaml", START) if scenario.allowlist else None
    engine = Engine(
        cluster="test",
        allowlist=declared,
        settle=SETTLE,
        active_for=ACTIVE_FOR,
        decoder=decoder(),
    )
    waiting = sorted(parse_flows(scenario.flows, START), key=lambda line: line.at)
    classes: Counter[str] = Counter()
    drops: Counter[tuple[str, str, str]] = Counter()
    active: dict[str, alerts.Alert] = {}
    for name, at, expected in scenario.checks:
        while waiting and waiting[0].at <= at:
            line = waiting.pop(0)
            counts = engine.ingest([line.message], START + line.at)
            classes.update(counts.classes)
            drops.update(counts.drops)
        findings = engine.current(START + at)
        active, _ = alerts.step(active, findings, START + at, alerts.AlertSettings())
        actual = {
            "findings": lambda found=findings: [_finding(one) for one in found],
            "classes": lambda: [f"{label} {count}" for label, count in classes.items()],
            "squares": lambda now=at: [f"{s} {n}" for s, n in engine.findings.counts(START + now).items() if n],
            "drops": lambda: [f"{' '.join(key)} {count}" for key, count in drops.items()],
            "alerts": lambda now=active: [f"{alert.name} {alert.state}" for alert in now.values()],
        }[name]()
        assert sorted(actual) == sorted(line.strip() for line in expected.splitlines() if line.strip()), (
            f"{name} +{at:.0f}s"
        )


def _finding(finding: Finding) -> str:
    judgement = finding.judgement
    nearest = f" nearest={judgement.nearest} differs={','.join(judgement.differs)}" if judgement.nearest else ""
    drops = f" drops={','.join(finding.drop_reasons)}" if finding.drop_reasons else ""
    return (
        f"{finding.square} {finding.edge} {finding.side.name.lower()} flows={finding.flows} "
        f"connections={finding.connections}{drops}{nearest}"
    )
