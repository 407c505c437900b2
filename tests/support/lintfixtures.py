"""The files under tests/data/lint: what each check must find, and what comes close and must not be found.

`bad.yaml` marks the lines of findings with a comment `# here`. A first line `# options: {…}` says
what is known of the cluster (`cilium`, `pod-cidr`). `observed.yaml` beside them is what was seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from flowwatch.identity import kind_of
from flowwatch.lint import Checked, Observed, Options, Source, Sources, lint, observe, parse
from flowwatch.lint.peers import parse_network
from flowwatch.model import Edge, Identity, Peer, Protocol

FOLDER = Path(__file__).resolve().parents[1] / "data" / "lint"
NOW = 1_790_812_800.0
MARK = "# here"
_OPTIONS = "# options: "


@dataclass(frozen=True, slots=True)
class Fixture:
    """One file, with what is known beside it."""

    source: Source
    options: Options
    observed: Observed | None

    @property
    def marked(self) -> list[int]:
        """The lines that are marked."""
        return [number for number, line in enumerate(self.source.lines, start=1) if MARK in line]

    def checked(self) -> Checked:
        """What the checks find in it."""
        return lint(Sources((self.source,)), self.options, self.observed)

    def lines(self, check: str) -> list[int]:
        """The lines on which one check finds something, each once."""
        return sorted({each.problem.line for each in self.checked().findings if each.check == check})


def names() -> list[str]:
    """The checks that have a folder."""
    return sorted(path.name for path in FOLDER.iterdir())


def fixture(check: str, which: str) -> Fixture:
    """The file of a check: `bad` or `good`."""
    folder = FOLDER / check
    source = parse((folder / f"{which}.yaml").read_text(encoding="utf-8"), f"{check}/{which}.yaml")
    seen = folder / "observed.yaml"
    return Fixture(source, options(source.lines), observed(seen) if seen.exists() else None)


def options(lines: tuple[str, ...]) -> Options:
    """What the first line of a file says of the cluster."""
    given: dict[str, Any] = {}
    if lines and lines[0].startswith(_OPTIONS):
        given = yaml.safe_load(lines[0].removeprefix(_OPTIONS))
    ranges = tuple(network for text in given.get("pod-cidr", []) if (network := parse_network(text)) is not None)
    major, _, minor = str(given.get("cilium", "1.20")).partition(".")
    return Options(NOW, ranges, (int(major), int(minor)))


def observed(path: Path) -> Observed:
    """What a file says was seen: `peers` by name, `edges` between them, `policies` that decided."""
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    known = {name: _identity(each) for name, each in written["peers"].items()}
    passed: list[Edge] = []
    dropped: list[Edge] = []
    for each in written.get("edges", []):
        edge = Edge(
            Peer(known[each["from"]], each["from"]),
            Peer(known[each["to"]], each["to"], each.get("ip", ""), tuple(each.get("names", []))),
            Protocol[each.get("protocol", "TCP")],
            each["port"],
        )
        (dropped if each.get("dropped") else passed).append(edge)
    policies = [(name, verdict == "denied") for name, verdict in written.get("policies", {}).items()]
    return observe(known.values(), passed, dropped=dropped, policies=policies, where="seen.duckdb", window="so far")


def _identity(written: dict[str, Any] | str) -> Identity:
    if isinstance(written, str):
        labels: tuple[str, ...] = (f"reserved:{written}",)
        return Identity(kind_of(labels, ""), "", "", labels)
    namespace, cluster = written["namespace"], written.get("cluster", "default")
    own = [f"k8s:{key}={value}" for key, value in written.get("labels", {}).items()]
    own += [f"k8s:io.kubernetes.pod.namespace={namespace}", f"k8s:io.cilium.k8s.policy.cluster={cluster}"]
    labels = tuple(sorted(own))
    return Identity(kind_of(labels, namespace), cluster, namespace, labels)
