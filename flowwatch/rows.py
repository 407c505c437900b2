"""Rows for the store: what a stage knows, as Arrow tables in the order of the store's columns.

Pure. Every function here mirrors one `queries/schema` file and names its columns in its order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa

from flowwatch.allowlist.rules import Rule
from flowwatch.codes import Evidence, FlowClass, Verdict
from flowwatch.decode.columns import Columns
from flowwatch.edges import Activity, Edges, Ints
from flowwatch.hubble import flow_pb2
from flowwatch.intern import Interned, Interner, News
from flowwatch.model import Finding, Protocol, Side
from flowwatch.shapes import Classes

_TEXTS = pa.list_(pa.string())
_MS = pa.timestamp("ms")
_US = pa.timestamp("us")


def flow_rows(
    columns: Columns, interned: Interned, classes: Classes, client: Ints, server: Ints, edge: Ints
) -> pa.RecordBatch:
    """Rows of `flows`. `edge` is -1 where a flow proves nothing about one."""
    swapped = classes.swapped
    client_port = np.where(swapped, columns.destination_port, columns.source_port)
    server_port = np.where(swapped, columns.source_port, columns.destination_port)
    fields: dict[str, pa.Array] = {
        "time": pa.array(columns.time // 1_000_000, pa.int64()).cast(_MS),
        "node": _int32(interned.node),
        "event": _int32(columns.event),
        "sub_type": _int32(columns.sub_type),
        "verdict": _int32(columns.verdict),
        "drop_reason": _int32(columns.drop_reason),
        "direction": _int32(columns.direction),
        "point": _int32(columns.point),
        "reply": pa.array(columns.reply.astype(np.uint8)),
        "class": pa.array(classes.flow_class),
        "side": pa.array(classes.side),
        "client": _int32(client),
        "server": _int32(server),
        "protocol": pa.array(columns.protocol.astype(np.uint8)),
        "client_port": _int32(client_port),
        "server_port": _int32(server_port),
        "tcp_flags": pa.array(columns.tcp_flags.astype(np.uint16)),
        "weight": pa.array(np.minimum(columns.weight, 0xFFFFFFFF).astype(np.uint32)),
        "names": _text(columns.names),
        "l7_type": _int32(columns.l7_type),
        "l7_kind": pa.array(columns.l7_kind.astype(np.uint8)),
        "latency_us": pa.array((columns.latency // 1000).astype(np.uint64)),
        "dns_query": _text(columns.dns_query),
        "dns_rcode": _int32(columns.dns_rcode),
        "http_method": _text(columns.http_method),
        "http_url": _text(columns.http_url),
        "http_status": _int32(columns.http_status),
        "allowed_by": _int32(interned.allowed_by),
        "denied_by": _int32(interned.denied_by),
        "edge": pa.array(edge.astype(np.int32), mask=edge < 0),
    }
    return pa.RecordBatch.from_arrays(list(fields.values()), names=list(fields))


def evidence_rows(flows: pa.RecordBatch, rows: Ints, evidence: Ints, uuids: pa.Array) -> pa.Table:
    """Rows of `evidence`: some rows of `flow_rows`, with what each is evidence of, and its uuid."""
    taken = flows.take(pa.array(rows))
    names = ["uuid", "evidence", *taken.schema.names]
    return pa.table([uuids.take(pa.array(rows)), pa.array(evidence.astype(np.uint8)), *taken.columns], names=names)


def newest_evidence(evidence: pa.Table, most: int) -> pa.Table:
    """Of each edge and kind of evidence the last `most` rows."""
    counts: dict[tuple[int, int], int] = {}
    kept = []
    keys = list(zip(evidence["edge"].to_pylist(), evidence["evidence"].to_pylist(), strict=True))
    for row in range(len(keys) - 1, -1, -1):
        counts[keys[row]] = counts.get(keys[row], 0) + 1
        if counts[keys[row]] <= most:
            kept.append(row)
    return evidence.take(pa.array(kept[::-1], pa.int64()))


def news_rows(news: News, interner: Interner) -> dict[str, pa.Table]:
    """What was interned since the last commit, by the statement that appends it."""
    tables: dict[str, pa.Table] = {}
    if news.nodes:
        tables["append_nodes"] = table(news.nodes, node=pa.int32(), cluster=pa.string(), name=pa.string())
    if news.identities:
        rows = [
            (n, i.kind.value, i.cluster, i.namespace, list(i.labels), *interner.workloads[n])
            for n, i in news.identities
        ]
        tables["append_identities"] = table(
            rows, identity=pa.int32(), kind=pa.string(), cluster=pa.string(), namespace=pa.string(), labels=_TEXTS,
            workload=pa.string(), workload_kind=pa.string(),
        )  # fmt: skip
    born = {number for number, _ in news.identities}
    renamed = [(number, *workload) for number, workload in news.workloads.items() if number not in born]
    if renamed:
        tables["update_workloads"] = table(
            renamed, identity=pa.int32(), workload=pa.string(), workload_kind=pa.string()
        )
    if news.peers:
        tables["append_peers"] = table(
            news.peers, peer=pa.int32(), identity=pa.int32(), pod=pa.string(), ip=pa.string()
        )
    if news.policies:
        rows_ = [(number, list(names)) for number, names in news.policies]
        tables["append_policy_sets"] = table(rows_, policy_set=pa.int32(), policies=_TEXTS)
    return tables


def edge_rows(numbers: Iterable[int], edges: Edges, interner: Interner, standings: Mapping[int, str]) -> pa.Table:
    """Rows of `edges`; `standings` say how edges are carried whose rule asks for something."""
    rows = []
    for number in numbers:
        client = interner.parties.all[int(edges.client.values[number])]
        identity, ip, names = interner.parties.all[int(edges.server.values[number])]
        judgement = edges.judgement(number)
        rows.append(
            (
                number, client[0], client[1], identity, ip, list(names), int(edges.protocol.values[number]),
                int(edges.port.values[number]), int(edges.first_seen.values[number]) // 1000, judgement.declared.value,
                judgement.rule, judgement.nearest, list(judgement.differs), judgement.reason,
                standings.get(number, ""), [rule.title for rule in edges.declared_by[number]],
            )
        )  # fmt: skip
    return table(
        rows, edge=pa.int32(), client_identity=pa.int32(), client_ip=pa.string(), server_identity=pa.int32(),
        server_ip=pa.string(), server_names=_TEXTS, protocol=pa.int32(), port=pa.int32(), first_seen=_US,
        declared=pa.string(), rule=pa.string(), nearest_rule=pa.string(), differs=_TEXTS, reason=pa.string(),
        transport=pa.string(), declared_by=_TEXTS,
    )  # fmt: skip


def activity_rows(activity: Activity, first_time: int, last_time: int) -> pa.RecordBatch:
    """Rows of `edge_activity` for a batch whose oldest and newest flow have these times (nanoseconds)."""
    size = len(activity.edge)
    arrays = [
        pa.array(np.full(size, last_time // 1_000_000)).cast(_MS),
        pa.array(np.full(size, first_time // 1_000_000)).cast(_MS),
        _int32(activity.edge),
        pa.array(activity.evidence.astype(np.uint8)),
        pa.array(activity.side.astype(np.uint8)),
        pa.array(activity.flows),
        pa.array(activity.verdicts),
        pa.array(activity.openings),
    ]
    names = ["time", "first_time", "edge", "evidence", "side", "flows", "verdicts", "openings"]
    return pa.RecordBatch.from_arrays(arrays, names=names)


def finding_rows(findings: Sequence[Finding]) -> pa.Table:
    """Rows of `findings`."""
    rows = [
        (
            f.fingerprint, f.square.value, f.cluster, str(f.edge.source), str(f.edge.destination), f.edge.service,
            f.side.name.lower(), f.edge.source.identity.namespace, f.edge.destination.identity.namespace,
            f.judgement.rule, f.judgement.nearest, list(f.judgement.differs), f.judgement.reason, f.sentence,
            int(f.first_seen * 1e6), int(f.last_seen * 1e6), f.flows, f.connections, list(f.samples),
            list(f.drop_reasons), list(f.policies), f.coverage, True,
        )
        for f in findings
    ]  # fmt: skip
    text = pa.string()
    return table(
        rows, fingerprint=text, square=text, cluster=text, source=text, destination=text, service=text, direction=text,
        source_namespace=text, destination_namespace=text, rule=text, nearest_rule=text, differs=_TEXTS, reason=text,
        sentence=text, first_seen=_US, last_seen=_US, flows=pa.int64(), connections=pa.int64(), samples=_TEXTS,
        drop_reasons=_TEXTS, policies=_TEXTS, coverage=pa.float64(), active=pa.bool_(),
    )  # fmt: skip


def fingerprint_rows(findings: Sequence[Finding]) -> pa.Table:
    """The one column `retire_findings` asks for."""
    return table([(f.fingerprint,) for f in findings], fingerprint=pa.string())


def rule_rows(rules: Sequence[Rule]) -> pa.Table:
    """Rows of `rules`."""
    rows = [(rule.id, rule.title, rule.reason, rule.owner, rule.place) for rule in rules]
    return table(rows, rule=pa.int32(), title=pa.string(), reason=pa.string(), owner=pa.string(), position=pa.string())


def code_rows() -> pa.Table:
    """Rows of `codes`: the meaning of every number in `flows`."""
    enums: dict[str, Mapping[int, str]] = {
        "verdict": {int(v): v.name for v in Verdict},
        "drop_reason": _names(flow_pb2.DropReason.DESCRIPTOR),
        "direction": {int(side): side.name.lower() for side in Side},
        "point": _names(flow_pb2.TraceObservationPoint.DESCRIPTOR),
        "event": {1: "drop", 2: "debug", 3: "capture", 4: "trace", 5: "policy-verdict", 7: "socket", 129: "l7"},
        "class": {int(c): c.label for c in FlowClass},
        "side": {int(side): side.name.lower() for side in Side},
        "evidence": {int(e): e.name.lower() for e in Evidence},
        "protocol": {int(p): p.name for p in Protocol},
        "l7_type": _names(flow_pb2.L7FlowType.DESCRIPTOR),
        "l7_kind": {1: "dns", 2: "http", 3: "kafka"},
    }
    rows = [(kind, code, name) for kind, names in enums.items() for code, name in names.items()]
    return table(rows, kind=pa.string(), code=pa.int32(), name=pa.string())


def _names(descriptor: object) -> dict[int, str]:
    return {value.number: value.name for value in descriptor.values}  # type: ignore[attr-defined]  # EnumDescriptor


def table(rows: Sequence[Sequence[object]], **types: pa.DataType) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(types)
    arrays = [pa.array(list(column), kind) for column, kind in zip(columns, types.values(), strict=True)]
    return pa.table(dict(zip(types, arrays, strict=True)))


def _int32(values: Ints) -> pa.Array:
    return pa.array(np.clip(values, -(2**31), 2**31 - 1).astype(np.int32))


def _text(column: pa.DictionaryArray) -> pa.Array:
    return column.dictionary_decode()
