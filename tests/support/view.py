"""A daemon as the HTTP surface sees it, with everything at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from flowwatch import report, sql, web
from flowwatch.errors import QueryError
from flowwatch.model import Finding, Snapshot
from flowwatch.rows import finding_rows
from tests.support.samples import HOSTILE, NOW, denied_finding, snapshot

WHEN = datetime.fromtimestamp(NOW, UTC).replace(tzinfo=None)
PATCH = "# allow it\n- {from: monitoring/loki, to: outside, ports: 443/TCP}\n"

EDGE = {
    "square": "unexpected",
    "source": "monitoring/loki",
    "destination": "203.0.113.7",
    "service": "443/TCP",
    "declared": "no",
    "rule": "monitoring/loki → seaweedfs/filer:8333/TCP",
    "forwarded": 12,
    "dropped": 0,
    "audited": 0,
    "flows": 42,
    "last_seen": WHEN,
}
FLOW = {
    "time": WHEN,
    "node": "talos-w-1",
    "verdict": "DROPPED",
    "event": "drop",
    "class": "denied",
    "side": "egress",
    "drop_reason": "POLICY_DENIED",
    "direction": "egress",
    "source": "monitoring/loki",
    "destination": HOSTILE,
    "client_pod": "loki-0",
    "server_pod": "",
    "client_ip": "10.0.0.7",
    "server_ip": "203.0.113.9",
    "protocol": "TCP",
    "client_port": 40001,
    "server_port": 443,
    "names": HOSTILE,
    "l7": "http",
    "dns_query": HOSTILE,
    "http_method": "GET",
    "http_url": f"javascript:alert(1)//{HOSTILE}",
    "http_status": 200,
    "latency_us": 0,
    "allowed_by": [HOSTILE],
    "denied_by": [HOSTILE],
    "weight": 1,
    "edge": 3,
}


def result(rows: Sequence[Mapping[str, object]]) -> web.QueryResult:
    """Rows as a query gives them."""
    table = pa.Table.from_pylist([dict(row) for row in rows])

    def arrow() -> bytes:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return bytes(sink.getvalue())

    return web.QueryResult(tuple(rows[0]) if rows else (), [tuple(row.values()) for row in rows], arrow)


def minutes() -> list[Mapping[str, object]]:
    """A node that was watched whole, and one that lost events, then fell silent."""
    found: list[Mapping[str, object]] = []
    for ago in range(1, 50):
        minute = WHEN - timedelta(minutes=ago)
        rest = {"minute": minute, "recovered": 0.0, "flows": 100, "lost_false": 0}
        lost, covered = (7 if ago == 30 else 0), 60.0 if ago > 20 else 0.0
        found.append({"cluster": "homelab", "node": "talos-w-1", "covered": 60.0, "lost": 0, **rest})
        found.append({"cluster": "homelab", "node": "talos-w-3", "covered": covered, "lost": lost, **rest})
    return found


def spans() -> list[Mapping[str, object]]:
    """The same, as spans of a minute."""
    names = ("cluster", "node", "minute", "covered", "flows", "lost")
    return [{name: row[name] for name in names} | {"expected": 60.0} for row in minutes()]


@dataclass
class View:
    """What each question is answered; tests change what they are about."""

    now: Snapshot = field(default_factory=snapshot)
    unready: str = ""
    edges: list[Mapping[str, object]] = field(default_factory=lambda: [EDGE])
    flows: list[Mapping[str, object]] = field(default_factory=lambda: [FLOW])
    patch: str = PATCH
    trouble: Exception | None = None

    def snapshot(self) -> Snapshot:
        return self.now

    def metrics(self, accept: str) -> tuple[bytes, str]:
        return f"# accept {accept}\n".encode(), "text/plain; version=0.0.4; charset=utf-8"

    def health(self) -> Mapping[str, str]:
        return {"ingest": "ok", "writer": "ok"}

    def ready(self) -> Mapping[str, str]:
        return {"store": self.unready or "ok", "stream": "ok"}

    async def query(self, name: str, params: Mapping[str, str]) -> web.QueryResult:
        if self.trouble:
            raise self.trouble
        report.parameters(sql.report(name), params, NOW)
        if name == "edges":
            return result(self.edges)
        if name != "verdicts":
            raise QueryError(f"there is no query {name!r}")
        return result([{"verdict": "DROPPED", "flows": 3}, {"verdict": "=cmd()", "flows": 1}])

    async def select(self, name: str, values: Mapping[str, object]) -> web.QueryResult:
        assert set(values) == set(sql.queries("page")[name].params)
        if self.trouble:
            raise self.trouble
        match name:
            case "flows":
                skip, limit = values["skip"], values["limit"]
                assert isinstance(skip, int)
                assert isinstance(limit, int)
                return result(self.flows[skip : skip + limit])
            case "edge_flows":
                return result(self.flows[:5])
            case "coverage_minutes":
                return result(minutes())
            case "coverage_spans":
                return result(spans())
            case "square_over_time":
                start = WHEN - timedelta(minutes=5)
                return result([{"start": start, "square": "unexpected", "edges": 2}])
            case "finding":
                over = denied_finding()
                rows = finding_rows([over]).to_pylist() if values["fingerprint"] == over.fingerprint else []
                return result(rows)
        raise AssertionError(name)

    def queries(self) -> Sequence[Mapping[str, object]]:
        return [{"name": "verdicts", "doc": "How many?", "params": ["since"], "columns": "verdict, flows"}]

    def patches(self, finding: Finding) -> web.Patches:
        return web.Patches(self.patch, self.patch.replace("#", "# rule:")) if finding.edge else web.Patches("", "")
