"""What an alert says: its name, its labels, its annotations, and the rule that would end it.

Pure functions of one finding. Labels identify an alert to Alertmanager and so hold nothing that
changes from one evaluation to the next; whatever counts or moves is an annotation. How an alert
lives is decided in `flowwatch.alerts`.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping

from flowwatch.model import Edge, Finding, Identity, Kind, Peer, Protocol, Side, Square
from flowwatch.words import clock, percent, plural, printable

SEVERITIES: Mapping[Square, str] = {
    Square.BLOCKED: "critical",
    Square.UNEXPECTED: "warning",
    Square.DENIED: "info",
}
"""The squares that alert, and how urgently."""

SUMMARIES: Mapping[str, str] = {
    "FlowwatchUnexpectedEgress": "A workload reaches something the allowlist does not declare.",
    "FlowwatchUnexpectedIngress": "A workload is reached by something the allowlist does not declare.",
    "FlowwatchDeclaredButDropped": "Declared traffic is dropped by network policy.",
    "FlowwatchDeniedAttempts": "Network policy drops attempts that the allowlist does not declare.",
}
"""Every alert name, with the sentence that is its summary."""

TELLING_LABELS = (
    ("app.kubernetes.io/name", "app.kubernetes.io/component"),
    ("k8s-app",),
    ("app",),
    ("name",),
    ("run",),
)
"""Labels by which people select pods; the first group of which a pod has a label is used."""

_ICMP = (Protocol.ICMP, Protocol.ICMPV6)
_WITH_PORTS = (Protocol.TCP, Protocol.UDP, Protocol.SCTP)
_DNS_NAME = re.compile(r"[A-Za-z0-9_]([-A-Za-z0-9_.]{0,253}[A-Za-z0-9_])?")
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,251}[A-Za-z0-9])?")
_PLAIN = re.compile(r"(?!(?:y|n|yes|no|on|off|true|false|null)\Z)[a-z][-a-z0-9]*([./][a-z0-9][-a-z0-9]*)*")
"""What YAML takes for text as it stands, whichever its version."""


def alert_name(finding: Finding) -> str:
    """The name a finding alerts under. An edge whose side is unknown is told from its source's side."""
    match finding.square:
        case Square.BLOCKED:
            return "FlowwatchDeclaredButDropped"
        case Square.DENIED:
            return "FlowwatchDeniedAttempts"
        case _:
            return "FlowwatchUnexpectedIngress" if finding.side is Side.INGRESS else "FlowwatchUnexpectedEgress"


def labels_of(finding: Finding, more: Mapping[str, str]) -> dict[str, str]:
    """The labels of a finding's alert, none of them empty. `more` adds to them and replaces none."""
    edge = finding.edge
    own = {
        "alertname": alert_name(finding),
        "severity": SEVERITIES[finding.square],
        "cluster": finding.cluster,
        "square": str(finding.square),
        "direction": finding.side.name.lower(),
        "source": str(edge.source),
        "source_namespace": edge.source.identity.namespace,
        "source_workload": edge.source.workload,
        "destination": str(edge.destination),
        "destination_namespace": edge.destination.identity.namespace,
        "port": str(edge.port) if edge.port or edge.protocol in _ICMP else "",
        "protocol": edge.protocol.name,
        "fingerprint": finding.fingerprint,
    }
    return _filled({**more, **_filled(own)})


def annotations_of(finding: Finding, runbook_url: str) -> dict[str, str]:
    """The annotations of a finding's alert, none of them empty."""
    name = alert_name(finding)
    judgement = finding.judgement
    return _filled(
        {
            "summary": SUMMARIES[name],
            "description": _description(finding),
            "runbook_url": f"{runbook_url}#{name.lower()}" if runbook_url else "",
            "reason": judgement.reason,
            "rule": judgement.rule,
            "nearest_rule": judgement.nearest,
            "policies": ", ".join(finding.policies),
            # A blocked edge is declared already; declaring it again would not help.
            "allowlist_line": "" if finding.square is Square.BLOCKED else allowlist_line(finding),
            "samples": " ".join(finding.samples),
        }
    )


def allowlist_line(finding: Finding) -> str:
    """The allowlist rule that would declare the edge, as one line of YAML to paste under `rules:`; empty
    where no rule could say it. It means what it says in any allowlist: pods are named by their labels."""
    edge = finding.edge
    source, destination, ports = _source(edge.source), _destination(edge.destination), _ports(edge)
    if not (source and destination and ports):
        return ""
    reason = json.dumps(f"seen since {clock(finding.first_seen)} UTC")
    return f"- {{from: {source}, to: {destination}, ports: {ports}, reason: {reason}}}"


def _description(finding: Finding) -> str:
    seen = f"{plural(finding.flows, 'flow')} in {plural(finding.connections, 'connection attempt')}"
    since = f"since {clock(finding.first_seen)} UTC, last at {clock(finding.last_seen)} UTC"
    coverage = f"flowwatch vouches for {percent(finding.coverage)} of what happened in that time"
    samples = f" Sample flows: {', '.join(finding.samples)}." if finding.samples else ""
    return f"{finding.sentence}. {seen} {since}; {coverage}.{samples}"


def _filled(texts: Mapping[str, str]) -> dict[str, str]:
    return {name: printable(text) for name, text in texts.items() if text}


def _ports(edge: Edge) -> str:
    if edge.protocol in _ICMP or (edge.protocol in _WITH_PORTS and edge.port):
        return edge.service
    return ""


def _destination(peer: Peer) -> str:
    # A name as it was looked up could be a pattern, and declare more than was seen.
    if peer.identity.kind is Kind.WORLD and peer.names and _DNS_NAME.fullmatch(peer.names[0]):
        return f"{{fqdn: [{_yaml(peer.names[0])}]}}"
    return _source(peer)


def _source(peer: Peer) -> str:
    match peer.identity.kind:
        case Kind.POD:
            return _pods(peer.identity) or (
                _yaml(f"{peer.identity.namespace}/{peer.workload}") if _NAME.fullmatch(peer.workload) else ""
            )
        case Kind.WORLD if peer.ip:
            try:
                return f'{{cidr: ["{ipaddress.ip_network(peer.ip)}"]}}'
            except ValueError:
                return ""
        case Kind.UNKNOWN:
            return ""
        case kind:
            return str(kind)


def _pods(identity: Identity) -> str:
    known = dict(label.removeprefix("k8s:").split("=", 1) for label in identity.labels if "=" in label)
    for group in TELLING_LABELS:
        telling = ", ".join(f"{_yaml(key)}: {_yaml(known[key])}" for key in group if known.get(key))
        if telling:
            return f"{{namespace: {_yaml(identity.namespace)}, labels: {{{telling}}}}}"
    return ""


def _yaml(text: str) -> str:
    # JSON's strings are YAML's too, and never run over the end of a line.
    return text if _PLAIN.fullmatch(text) else json.dumps(text)
