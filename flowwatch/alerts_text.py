"""What an alert about edges says: its name, its labels, its annotations.

Pure functions of findings. Labels identify an alert to Alertmanager and so hold nothing that changes from
one evaluation to the next; whatever counts or moves is an annotation. How an alert lives is decided in
`flowwatch.alerts`, which findings become alerts in `flowwatch.alerts_claims`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flowwatch.alerts_patch import allowlist_line, policy
from flowwatch.alerts_settings import AlertSettings
from flowwatch.model import Declared, Finding, Kind, Protocol, Side, Square
from flowwatch.words import clock, percent, plural, printable

SUMMARIES: Mapping[str, str] = {
    "FlowwatchUnexpectedEgress": "A workload reaches something the allowlist does not declare.",
    "FlowwatchUnexpectedIngress": "A workload is reached by something the allowlist does not declare.",
    "FlowwatchDeclaredButDropped": "Declared traffic is dropped by network policy.",
    "FlowwatchDeniedAttempts": "Network policy drops attempts that the allowlist does not declare.",
    "FlowwatchEnforcementGap": "Traffic that network policy denies is forwarded.",
}
"""Every name of an alert about edges, with the sentence that is its summary."""

SEVERITIES: Mapping[str, str] = {
    "FlowwatchUnexpectedEgress": "warning",
    "FlowwatchUnexpectedIngress": "warning",
    "FlowwatchDeclaredButDropped": "critical",
    "FlowwatchDeniedAttempts": "info",
    "FlowwatchEnforcementGap": "warning",
}
"""How urgent each is."""

FORWARDED = (Square.UNEXPECTED, Square.EXPECTED)
"""The squares of what passes."""
NAMED = 20
"""Edges that the annotations of a group spell out; the rest is counted."""
_ICMP = (Protocol.ICMP, Protocol.ICMPV6)


def alert_name(finding: Finding) -> str:
    """The name a finding alerts under, empty for one that is as declared. An edge whose side is unknown is
    told from its source's side."""
    if finding.enforcement:
        return "FlowwatchEnforcementGap"
    match finding.square:
        case Square.BLOCKED:
            return "FlowwatchDeclaredButDropped"
        case Square.DENIED:
            return "FlowwatchDeniedAttempts"
        case Square.UNEXPECTED:
            judgement = finding.judgement
            if judgement.declared is Declared.NO and (judgement.denied_by or judgement.isolated_by):
                return "FlowwatchEnforcementGap"
            return "FlowwatchUnexpectedIngress" if finding.side is Side.INGRESS else "FlowwatchUnexpectedEgress"
        case _:
            return ""


def labels_of(name: str, finding: Finding, settings: AlertSettings) -> dict[str, str]:
    """The labels of a finding's alert, none of them empty."""
    edge = finding.edge
    own = {
        **_common(name, finding),
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
    return _filled({**_added(finding, settings), **_filled(own)})


def labels_of_group(
    name: str, fingerprint: str, first: Finding, shared: str, settings: AlertSettings
) -> dict[str, str]:
    """The labels of the alert of many findings that share an end: that end, and nothing of the others."""
    edge = first.edge
    own = {**_common(name, first), "shared": shared, "fingerprint": fingerprint}
    del own["square"]  # of a gap it may differ from one edge to the next
    if shared == "source":
        own |= {
            "source": str(edge.source),
            "source_namespace": edge.source.identity.namespace,
            "source_workload": edge.source.workload,
        }
    else:
        own |= {
            "destination": str(edge.destination),
            "destination_namespace": edge.destination.identity.namespace,
            "port": str(edge.port) if edge.port or edge.protocol in _ICMP else "",
            "protocol": edge.protocol.name,
        }
    namespace = own.get("source_namespace") or own.get("destination_namespace") or ""
    return _filled({**settings.added(namespace, first.judgement.owner), **_filled(own)})


def annotations_of(name: str, finding: Finding, settings: AlertSettings) -> dict[str, str]:
    """The annotations of a finding's alert, none of them empty: everything a person would ask."""
    judgement = finding.judgement
    return _filled(
        {
            "summary": SUMMARIES[name],
            "description": _description(finding),
            "addresses": ", ".join(finding.addresses),
            "since": f"{clock(finding.first_seen)} UTC",
            "coverage": percent(finding.coverage),
            "reason": judgement.reason,
            "rule": judgement.rule,
            "nearest_rule": judgement.nearest,
            "owner": judgement.owner,
            "policies": ", ".join(finding.policies),
            "denied_by": ", ".join(judgement.denied_by or judgement.isolated_by),
            "drop_reasons": ", ".join(finding.drop_reasons),
            "allowlist_line": allowlist_line(finding),
            "network_policy": policy(finding),
            "flows": "\n".join(finding.lines),
            "samples": " ".join(finding.samples),
            "page_url": settings.page(finding.fingerprint),
            "dashboard_url": settings.dashboard(finding.cluster, _namespace(finding)),
            "runbook_url": settings.runbook(name),
        }
    )


def annotations_of_group(
    name: str, findings: Sequence[Finding], shared: str, settings: AlertSettings
) -> dict[str, str]:
    """The annotations of the alert of many findings that share an end."""
    newest = max(findings, key=lambda finding: finding.last_seen)
    first = min(finding.first_seen for finding in findings)
    shown, more = findings[:NAMED], len(findings) - NAMED
    edges = [finding.sentence for finding in shown] + ([f"and {plural(more, 'other')}"] if more > 0 else [])
    end = newest.edge.source if shared == "source" else f"{newest.edge.destination}:{newest.edge.service}"
    flows, attempts = sum(one.flows for one in findings), sum(one.connections for one in findings)
    return _filled(
        {
            "summary": SUMMARIES[name],
            "description": (
                f"{plural(len(findings), 'further edge')} with the {shared} {end}: {plural(flows, 'flow')} in "
                f"{plural(attempts, 'connection attempt')} since {clock(first)} UTC, last at "
                f"{clock(newest.last_seen)} UTC; flowwatch vouches for "
                f"{percent(min(one.coverage for one in findings))} of what happened in that time."
            ),
            "edges": "\n".join(edges),
            "since": f"{clock(first)} UTC",
            "coverage": percent(min(one.coverage for one in findings)),
            "allowlist_line": "\n".join(line for line in map(allowlist_line, shown) if line),
            "flows": "\n".join(one.lines[-1] for one in shown[:5] if one.lines),
            "page_url": settings.external_url,
            "dashboard_url": settings.dashboard(newest.cluster, _namespace(newest)),
            "runbook_url": settings.runbook(name),
        }
    )


def _common(name: str, finding: Finding) -> dict[str, str]:
    return {
        "alertname": name,
        "severity": SEVERITIES[name],
        "cluster": finding.cluster,
        "square": str(finding.square),
    }


def _added(finding: Finding, settings: AlertSettings) -> dict[str, str]:
    return settings.added(_namespace(finding), finding.judgement.owner)


def _namespace(finding: Finding) -> str:
    """The namespace of whoever can do something about it."""
    ends = [finding.edge.source, finding.edge.destination]
    if finding.side is Side.INGRESS:
        ends.reverse()
    return next((end.identity.namespace for end in ends if end.identity.kind is Kind.POD), "")


def _description(finding: Finding) -> str:
    seen = f"{plural(finding.flows, 'flow')} in {plural(finding.connections, 'connection attempt')}"
    since = f"since {clock(finding.first_seen)} UTC, last at {clock(finding.last_seen)} UTC"
    coverage = f"flowwatch vouches for {percent(finding.coverage)} of what happened in that time"
    return f"{finding.sentence}. {seen} {since}; {coverage}."


def _filled(texts: Mapping[str, str]) -> dict[str, str]:
    """Those that say something, made safe to print line by line."""
    lines = {name: "\n".join(map(printable, text.split("\n"))) for name, text in texts.items() if text}
    return {name: text.rstrip("\n") for name, text in lines.items()}
