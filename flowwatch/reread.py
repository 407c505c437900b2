"""Findings and snapshots read back: from their JSON form, as a daemon answers it, and from rows of the store.

The inverse of `finding_json` and `status_json` as far as they go: times lose what is below a millisecond, and
rows of the store hold the ends of an edge as people read them, without their labels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from flowwatch.listing import is_address
from flowwatch.model import (
    Declared,
    Edge,
    Finding,
    Identity,
    Judgement,
    Kind,
    NodeCoverage,
    Peer,
    Protocol,
    Side,
    Snapshot,
    Square,
)

_SERVICE = re.compile(r"(?:(?P<port>\d+)/(?P<name>\w+)|(?P<icmp>\w+)/(?P<type>\d+)|(?P<alone>\w+))")


def finding_of_json(fields: Mapping[str, Any]) -> Finding:
    """The finding that `finding_json` wrote. Raises `KeyError` and `ValueError` where it did not."""
    return Finding(
        square=Square(fields["square"]),
        cluster=fields["cluster"],
        edge=Edge(
            _peer(fields["source"]), _peer(fields["destination"]), Protocol[fields["protocol"]], int(fields["port"])
        ),
        side=Side[fields["direction"].upper()],
        judgement=Judgement(
            Declared(fields["declared"]),
            fields["reason"],
            fields["rule"],
            nearest=fields["nearest_rule"],
            differs=tuple(fields["differs"]),
        ),
        first_seen=seconds(fields["first_seen"]),
        last_seen=seconds(fields["last_seen"]),
        flows=fields["flows"],
        connections=fields["connections"],
        samples=tuple(fields["samples"]),
        drop_reasons=tuple(fields["drop_reasons"]),
        policies=tuple(fields["policies"]),
        coverage=float(fields["coverage"]),
    )


def snapshot_of_json(fields: Mapping[str, Any]) -> Snapshot:
    """The snapshot that `status_json` wrote, with the findings it holds."""
    plain = {
        name: fields[name]
        for name in (
            *("version", "cluster", "source", "stream", "stream_error", "flows", "verdicts", "classes", "squares"),
            *("lost", "coverage", "alerts", "rules", "rows_stored", "pending_rows", "store_path", "store_error"),
            *("allowlist_error", "coverage_gaps", "lost_false"),
        )
    }
    nodes = (
        NodeCoverage(
            n["cluster"], n["node"], n["streaming"], n["flows"], n["lost"], seconds(n["last_flow"]), n["reason"]
        )
        for n in fields["nodes"]
    )
    return Snapshot(
        now=seconds(fields["now"]),
        started=seconds(fields["started"]),
        watched_since=seconds(fields["watched_since"]),
        flows_per_second=float(fields["flows_per_second"] or 0.0),
        nodes=tuple(nodes),
        findings=tuple(map(finding_of_json, fields["findings"])),
        unused_rules=tuple(fields["unused_rules"]),
        conditions=tuple(fields["conditions"]),
        **plain,
    )


def finding_of_row(row: Mapping[str, Any]) -> Finding:
    """The finding of a row of the table `findings`, by the names of its columns."""
    square = Square(row["square"])
    declared = Declared.YES if row["rule"] else Declared.NO
    protocol, port = _service(row["service"])
    return Finding(
        square=square,
        cluster=row["cluster"],
        edge=Edge(_end(row["source"], row["cluster"]), _end(row["destination"], row["cluster"]), protocol, port),
        side=Side[row["direction"].upper()],
        judgement=Judgement(
            declared, row["reason"], row["rule"], nearest=row["nearest_rule"], differs=tuple(row["differs"])
        ),
        first_seen=_utc(row["first_seen"]),
        last_seen=_utc(row["last_seen"]),
        flows=row["flows"],
        connections=row["connections"],
        samples=tuple(row["samples"]),
        drop_reasons=tuple(row["drop_reasons"]),
        policies=tuple(row["policies"]),
        coverage=row["coverage"],
    )


def findings_of_rows(rows: Sequence[Mapping[str, Any]]) -> tuple[Finding, ...]:
    """The findings of several rows."""
    return tuple(map(finding_of_row, rows))


def seconds(text: str | None) -> float:
    """An RFC 3339 time as seconds since the epoch; 0 for null, which stands for never."""
    return datetime.fromisoformat(text).timestamp() if text else 0.0


def _peer(fields: Mapping[str, Any]) -> Peer:
    identity = Identity(Kind(fields["kind"]), fields["cluster"], fields["namespace"], tuple(fields["labels"]))
    return Peer(identity, fields["workload"], fields.get("ip", ""), tuple(fields.get("names", ())))


def _end(text: str, cluster: str) -> Peer:
    namespace, slash, workload = text.partition("/")
    if slash:
        return Peer(Identity(Kind.POD, cluster, namespace, ()), "" if workload == "?" else workload)
    if text in frozenset(Kind) - {Kind.POD, Kind.WORLD}:
        return Peer(Identity(Kind(text), cluster, "", ()))
    world = Identity(Kind.WORLD, cluster, "", ())
    if text == Kind.WORLD:
        return Peer(world)
    return Peer(world, ip=text) if is_address(text) else Peer(world, names=(text,))


def _service(text: str) -> tuple[Protocol, int]:
    match = _SERVICE.fullmatch(text)
    if match is None:
        return Protocol.NONE, 0
    if match["port"]:
        return Protocol[match["name"]], int(match["port"])
    return (Protocol[match["icmp"]], int(match["type"])) if match["icmp"] else (Protocol[match["alone"]], 0)


def _utc(moment: datetime) -> float:
    return moment.replace(tzinfo=UTC).timestamp()
