"""One flow as a line that a person can read without looking anything up: evidence, not a summary.

Pure; made only for the few flows that are kept as samples of a finding.
"""

from __future__ import annotations

from flowwatch.codes import drop_name, event_name, verdict_name
from flowwatch.decode import Columns
from flowwatch.hubble import flow_pb2
from flowwatch.model import Protocol, service
from flowwatch.words import printable, rfc3339


def describe(columns: Columns, row: int) -> str:
    """`2026-09-21T14:03:20.123Z node-1 shop/web-0 10.0.1.5:40312 → 203.0.113.7 443/TCP dropped (policy-verdict,
    POLICY_DENIED)`: when, where it was seen, who, to whom, and what became of it."""
    verdict, code = int(columns.verdict[row]), int(columns.drop_reason[row])
    how = [event_name(int(columns.event[row]))]
    if code or verdict_name(verdict) == "dropped":
        how.append(drop_name(code))
    protocol, port = int(columns.protocol[row]), int(columns.destination_port[row])
    known = Protocol(protocol) if protocol in Protocol.__members__.values() else Protocol.NONE
    with_ports = known in (Protocol.TCP, Protocol.UDP, Protocol.SCTP)
    source = _end(columns.source[row].as_py(), columns.source_ip[row].as_py(), "")
    if with_ports:
        source += f":{int(columns.source_port[row])}"
    names = columns.names[row].as_py()
    destination = _end(columns.destination[row].as_py(), columns.destination_ip[row].as_py(), names)
    parts = (
        rfc3339(int(columns.time[row]) / 1e9) or "?",
        columns.node[row].as_py() or "?",
        f"{source} → {destination}",
        service(known, port),
        f"{verdict_name(verdict)} ({', '.join(how)})",
    )
    return printable(" ".join(parts))


def _end(encoding: bytes, ip: str, names: str) -> str:
    endpoint = flow_pb2.Endpoint.FromString(encoding)
    if endpoint.pod_name:
        name = f"{endpoint.namespace}/{endpoint.pod_name}"
    else:
        reserved = [label.removeprefix("reserved:") for label in endpoint.labels if label.startswith("reserved:")]
        name = names.partition(",")[0] or (reserved[0] if reserved and not reserved[0].startswith("world") else "")
    return " ".join(part for part in (name, ip) if part) or "?"
