"""What the answers of the JSON API look like, as JSON Schema. Tested against what the handlers answer."""

from __future__ import annotations

from collections.abc import Mapping

from flowwatch.listing import DIRECTIONS
from flowwatch.model import Deviation, Protocol, Square
from flowwatch.words import Json

Schema = dict[str, Json]


def closed(**fields: Json) -> Schema:
    """An object with these keys, all of them, and no others."""
    return {
        "type": "object",
        "properties": dict(fields),
        "required": list(fields),
        "additionalProperties": False,
    }


def listed(items: Json) -> Schema:
    """An array of such items."""
    return {"type": "array", "items": items}


def counted(names: str = "") -> Schema:
    """A number for each name."""
    return {"type": "object", "description": names, "additionalProperties": COUNT}


def ref(name: str) -> Schema:
    """A schema that the document names."""
    return {"$ref": f"#/components/schemas/{name}"}


TEXT: Schema = {"type": "string"}
TEXTS = listed(TEXT)
COUNT: Schema = {"type": "integer", "minimum": 0}
TRUTH: Schema = {"type": "boolean"}
SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
MOMENT: Schema = {"type": ["string", "null"], "format": "date-time", "description": "RFC 3339 in UTC; null: never."}
NEXT: Schema = {"type": ["string", "null"], "description": "The `cursor` of the next page; null: there is none."}
STATE: Schema = {"type": "string", "enum": ["drift", "no drift", "unknown"]}

PEER = closed(name=TEXT, kind=TEXT, cluster=TEXT, namespace=TEXT, workload=TEXT, labels=TEXTS) | {
    "additionalProperties": {"anyOf": [TEXT, TEXTS]},
    "description": "One end of an edge; `ip` and `names` where they are known.",
}

FINDING: Schema = {
    "fingerprint": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
    "square": {"type": "string", "enum": [str(square) for square in Square]},
    "sentence": TEXT,
    "edge": TEXT,
    "cluster": TEXT,
    "source": ref("peer"),
    "destination": ref("peer"),
    "port": COUNT,
    "protocol": {"type": "string", "enum": [protocol.name for protocol in Protocol]},
    "direction": {"type": "string", "enum": [*DIRECTIONS, "unknown"]},
    "declared": {"type": "string", "enum": ["yes", "no", "unknown", "ungoverned"]},
    "rule": TEXT,
    "nearest_rule": TEXT,
    "differs": TEXTS,
    "reason": TEXT,
    "first_seen": MOMENT,
    "last_seen": MOMENT,
    "flows": COUNT,
    "connections": COUNT,
    "samples": TEXTS,
    "drop_reasons": TEXTS,
    "policies": TEXTS,
    "coverage": SHARE,
}
EDGE_SQUARES = ("unexpected", "blocked", "denied", "expected", "unknown", "audited", "ungoverned")
"""What the named query `edges` calls an edge."""

NODE = closed(cluster=TEXT, node=TEXT, streaming=TRUTH, flows=COUNT, lost=COUNT, last_flow=MOMENT, reason=TEXT)
MINUTE = closed(
    cluster=TEXT,
    node=TEXT,
    minute=MOMENT,
    covered={"type": "number", "description": "Seconds of the minute in which nothing was missed."},
    recovered={"type": "number", "description": "Seconds of these without a stream, whose flows came later."},
    flows=COUNT,
    lost=COUNT,
    lost_false=COUNT,
)
CONDITION = closed(
    type=TEXT,
    status={"type": "string", "enum": ["True", "False", "Unknown"]},
    reason=TEXT,
    message=TEXT,
    lastTransitionTime=TEXT,
)
DIFFERENCE = closed(
    difference={"type": "string", "enum": [str(deviation) for deviation in Deviation]},
    of=TEXT,
    reason=TEXT,
    declared_at=TEXT,
    fields=TEXTS,
)
ENFORCED = closed(
    policies=COUNT, pods=COUNT, proven=MOMENT, trouble=TEXT, differences_total=COUNT, differences=listed(DIFFERENCE)
)
"""What is live in the cluster; null where nobody looks."""
EDGE = closed(
    square={"type": "string", "enum": [*EDGE_SQUARES]},
    source=TEXT,
    destination=TEXT,
    service=TEXT,
    declared=TEXT,
    rule=TEXT,
    forwarded=COUNT,
    dropped=COUNT,
    audited=COUNT,
    flows=COUNT,
    last_seen=MOMENT,
)
FLOW: Schema = {
    "type": "object",
    "description": "As the view `flow_log`: names instead of Hubble's numbers.",
    "properties": {"time": MOMENT, "source": {"type": ["string", "null"]}, "destination": {"type": ["string", "null"]}},
    "required": ["time", "node", "verdict", "source", "destination", "server_port"],
}

SCHEMAS: Mapping[str, Schema] = {
    "error": closed(error=TEXT),
    "peer": PEER,
    "listed_finding": closed(**FINDING),
    "finding": closed(**FINDING, active=TRUTH, allowlist_patch=TEXT, policy_patch=TEXT),
    "findings": closed(
        state=STATE, blind=TEXTS, coverage=SHARE, total=COUNT, next=NEXT, findings=listed(ref("listed_finding"))
    ),
    "edges": closed(total=COUNT, next=NEXT, edges=listed(EDGE)),
    "flows": closed(next=NEXT, flows=listed(FLOW)),
    "coverage": closed(coverage=SHARE, blind=TEXTS, nodes=listed(NODE), next=NEXT, minutes=listed(MINUTE)),
    "conditions": closed(conditions=listed(CONDITION)),
    "queries": closed(queries=listed(closed(name=TEXT, doc=TEXT, params=TEXTS, columns=TEXT))),
    "query": closed(total=COUNT, next=NEXT, columns=TEXTS, rows=listed({"type": "array"})),
    "status": closed(
        now=MOMENT,
        started=MOMENT,
        version=TEXT,
        cluster=TEXT,
        source=TEXT,
        stream={"type": "string", "enum": ["connecting", "streaming", "waiting", "ended"]},
        conclusion=closed(state=STATE, sentence=TEXT, blind=TEXTS),
        flows=COUNT,
        flows_per_second={"type": ["number", "null"]},
        verdicts=counted("Flows by verdict."),
        classes=counted("Flows by class."),
        squares=counted("Distinct edges by square."),
        lost=counted("Events lost, by who lost them."),
        nodes=listed(NODE),
        coverage=SHARE,
        watched_since=MOMENT,
        coverage_gaps=COUNT,
        lost_false=COUNT,
        rules=COUNT,
        unused_rules=TEXTS,
        alerts=counted("Alerts by state."),
        enforced={"anyOf": [{"type": "null"}, ENFORCED]},
        conditions=listed(CONDITION),
        rows_stored=COUNT,
        pending_rows=COUNT,
        store_path=TEXT,
        stream_error=TEXT,
        allowlist_error=TEXT,
        store_error=TEXT,
        store_set_aside=TEXT,
        findings_total=COUNT,
        findings=listed(ref("listed_finding")),
    ),
}
