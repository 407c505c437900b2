"""Scenario files: an allowlist and flows on a timeline, and what must come of them.

A file begins with one sentence as comment. Sections: `-- allowlist --` (native YAML), `-- flows --`
(see `flowtext`), `-- findings +60s --` (what is found then; more than one may follow), `-- classes --`
and `-- squares --` (name and count), `-- drops --`, `-- alerts +60s --` and `-- conditions +60s --`. A
section that is not there is not checked; an empty one says there is nothing.

Among the flows, `+90s stream down` and `+120s stream up` interrupt the stream as a whole, and `{1..40}` makes forty
flows of one line, with the numbers in its place (everywhere in the line at once). Alerts are written as
`FlowwatchDeniedAttempts firing`, those of many edges with the end they share: `… firing shared=source`.

`-- allowlist from ../allowlist.yaml ../more.yaml --` reads files beside the scenario instead, and
`-- workloads --` gives workloads the labels their pods have, one a line (`shop/web: app=web, tier=front`);
it, too, may be read `from` a file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from flowwatch import alerts, allowlist, conditions
from flowwatch.alerts_claims import claims
from flowwatch.decode import Decoder
from flowwatch.engine import Engine
from flowwatch.model import Finding, Snapshot
from flowwatch.receive import Batch, Closed, Opened
from tests.support.flowtext import parse as parse_flows

START = 1_780_000_000.0
SETTLE = 5.0
ACTIVE_FOR = 900.0
ALERTING = alerts.AlertSettings(active_for=ACTIVE_FOR)
_STREAM = re.compile(r"\+(\d+)s\s+stream (up|down)")
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_SECTION = re.compile(r"^-- (?P<name>[a-z]+)(?: from (?P<files>\S+(?: \S+)*?))?(?: \+(?P<at>\d+)s)? --$")


@dataclass
class Scenario:
    """A parsed file."""

    sentence: str
    allowlist: str = ""
    flows: str = ""
    workloads: str = ""
    files: dict[str, list[str]] = field(default_factory=dict)
    """Names of the files of a section, relative to the scenario."""
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
        if name in ("allowlist", "flows", "workloads"):
            setattr(scenario, name, content)
        elif name:
            scenario.checks.append((name, at, content))
        name, at, body = section["name"], float(section["at"] or 60), []
        if section["files"]:
            scenario.files[name] = section["files"].split()
    return scenario


def run(path: Path, decoder: Callable[[], Decoder]) -> None:
    """Play a scenario one flow at a time and hold every check against it."""
    for name, at, expected, actual in outcomes(path, decoder):
        assert sorted(actual) == sorted(expected), f"{name} +{at:.0f}s"


def outcomes(path: Path, decoder: Callable[[], Decoder]) -> Iterator[tuple[str, float, list[str], list[str]]]:
    """Play a scenario; for each of its checks what should be and what is: (section, seconds, expected, actual)."""
    scenario = parse(path.read_text(encoding="utf-8"))
    declared = _declared(scenario, path.parent)
    labels = labels_of(_text_of(scenario, path.parent))
    engine = Engine(
        cluster="test",
        allowlist=declared,
        settle=SETTLE,
        active_for=ACTIVE_FOR,
        decoder=decoder(),
    )
    flows, stream = _events(scenario.flows)
    waiting = sorted(parse_flows(flows, START, labels), key=lambda line: line.at)
    watched_since: float | None = START
    is_down = False
    classes: Counter[str] = Counter()
    drops: Counter[tuple[str, str, str]] = Counter()
    active: dict[str, alerts.Alert] = {}
    for name, at, expected in scenario.checks:
        while waiting and waiting[0].at <= at:
            line = waiting.pop(0)
            counts = engine.ingest(Batch("test", "test", [line.message]), START + line.at)
            classes.update(counts.classes)
            drops.update(counts.drops)
        while stream and stream[0][0] <= at:
            moment, is_up = stream.pop(0)
            is_down = not is_up
            notice = Opened(START + moment, None) if is_up else Closed(START + moment, START + moment, "cut")
            engine.ingest(Batch("test", "test", notices=(notice,)), START + moment)
            watched_since = START + moment if is_up else None
        findings = engine.current(START + at)
        firing = {key: one.claim for key, one in active.items() if one.state is not alerts.State.RESOLVED}
        said = claims(_snapshot(engine, is_down, START + at), ALERTING, firing)
        active, _ = alerts.step(active, said, START + at, ALERTING, watched_since=watched_since)
        actual = {
            "findings": lambda found=findings: [_finding(one) for one in found],
            "classes": lambda: [f"{label} {count}" for label, count in classes.items()],
            "squares": lambda now=at: [f"{s} {n}" for s, n in engine.findings.counts(START + now).items() if n],
            "drops": lambda: [f"{' '.join(key)} {count}" for key, count in drops.items()],
            "conditions": lambda now=at: _conditions(engine, declared, START + now),
            "alerts": lambda now=active: [_alert(alert) for alert in now.values()],
        }[name]()
        yield name, at, [line.strip() for line in expected.splitlines() if line.strip()], actual


def _events(text: str) -> tuple[str, list[tuple[float, bool]]]:
    """Flow lines, ranges spelled out, and when the stream goes down and comes up."""
    flows: list[str] = []
    stream: list[tuple[float, bool]] = []
    for line in text.splitlines():
        if match := _STREAM.fullmatch(line.strip()):
            stream.append((float(match[1]), match[2] == "up"))
        elif match := _RANGE.search(line):
            numbers = range(int(match[1]), int(match[2]) + 1)
            flows += [_RANGE.sub(lambda found, n=step: str(int(found[1]) + n), line) for step in range(len(numbers))]
        else:
            flows.append(line)
    return "\n".join(flows), sorted(stream)


def _snapshot(engine: Engine, is_down: bool, now: float) -> Snapshot:
    """As much of a daemon's snapshot as alerts rest on."""
    return Snapshot(
        now=now,
        started=START,
        version="0",
        cluster="test",
        source="scenario",
        stream="connecting" if is_down else "streaming",
        stream_error="",
        flows=0,
        flows_per_second=0.0,
        nodes=engine.coverage.nodes(),
        coverage=engine.coverage.delivered(),
        findings=tuple(engine.current(now)),
        gaps=tuple(engine.gaps(now)),
        conditions=tuple(condition.manifest for condition in engine.conditions(now)),
    )


def _alert(alert: alerts.Alert) -> str:
    shared = alert.labels.get("shared")
    return f"{alert.name} {alert.state}{f' shared={shared}' if shared else ''}"


def labels_of(text: str) -> dict[str, tuple[str, ...]]:
    """The labels of workloads, from lines such as `shop/web: app=web, tier=front`."""
    lines = [line.strip() for line in text.splitlines()]
    pairs = [line.partition(":") for line in lines if line and not line.startswith("#")]
    return {name.strip(): tuple(one.strip() for one in rest.split(",")) for name, _, rest in pairs}


def _text_of(scenario: Scenario, beside: Path) -> str:
    files = [(beside / name).read_text(encoding="utf-8") for name in scenario.files.get("workloads", [])]
    return "\n".join([*files, scenario.workloads])


def _declared(scenario: Scenario, beside: Path) -> allowlist.Allowlist | None:
    if files := scenario.files.get("allowlist"):
        assert not scenario.allowlist, "an allowlist is written out or read from files"
        return allowlist.load([beside / name for name in files], START)
    return allowlist.parse(scenario.allowlist, "allowlist.yaml", START) if scenario.allowlist else None


def _conditions(engine: Engine, declared: allowlist.Allowlist | None, now: float) -> list[str]:
    edges = engine.edges
    observed = conditions.observe(edges.rule.values, edges.last_forwarded.values, edges.last_dropped.values)
    wanted = conditions.declared(declared.rules if declared else ())
    found = conditions.evaluate(wanted, observed, engine.coverage.delivered(), now)
    return [f"{one.name} {one.status} {one.reason}" for one in found]


def _finding(finding: Finding) -> str:
    judgement = finding.judgement
    nearest = f" nearest={judgement.nearest} differs={','.join(judgement.differs)}" if judgement.nearest else ""
    drops = f" drops={','.join(finding.drop_reasons)}" if finding.drop_reasons else ""
    return (
        f"{finding.square} {finding.edge} {finding.side.name.lower()} flows={finding.flows} "
        f"connections={finding.connections}{drops}{nearest}"
    )
