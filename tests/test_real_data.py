"""Captures of real and simulated clusters, counted again by independent means."""

from __future__ import annotations

import json
import lzma
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flowwatch import allowlist, sql
from flowwatch.engine import Engine
from flowwatch.receive.capture import CaptureReceiver
from flowwatch.replay import FOR_EVER, replay
from flowwatch.store import Store
from tests.support import shared

HOMELAB = Path(__file__).parents[1] / "examples" / "homelab" / "allowlist.yaml"
WINDOW = {"since": datetime(1970, 1, 1), "until": datetime(2100, 1, 1)}
DUMP = sql.parse("-- All flows in the order received.\nSELECT * FROM flows", "dump", "test")
COUNTED = sql.parse(
    "-- Flows by what they say.\n"
    "SELECT v.name AS verdict, event, l.name AS l7_type, d.name AS direction, count(*) AS flows FROM flows "
    "JOIN codes v ON v.kind = 'verdict' AND v.code = verdict JOIN codes l ON l.kind = 'l7_type' AND l.code = l7_type "
    "JOIN codes d ON d.kind = 'direction' AND d.code = direction GROUP BY ALL",
    "counted",
    "test",
)


def stored(paths: list[Path], store: Store) -> None:
    """Take captures through the engine into a store."""
    replay(CaptureReceiver(paths), Engine(cluster="default"), 5.0, store)


def real_flows(folder: Path) -> Iterator[dict[str, Any]]:
    """The flows of all files, each once: 67 of them are in two."""
    lines = [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 1916
    for line in dict.fromkeys(lines):
        entry = json.loads(line)
        yield entry.get("flow", entry)


def test_every_real_flow_is_ingested(tmp_path: Path) -> None:
    """1,916 flows of a real cluster, 67 of them twice: counts per verdict, event type, L7 type and direction are
    those of the JSON."""
    folder = shared.folder("hubble-otel")
    expected = Counter(
        (
            flow.get("verdict", "UNKNOWN"),
            flow.get("event_type", {}).get("type", 0),
            flow.get("l7", {}).get("type", "UNKNOWN_L7_TYPE"),
            flow.get("traffic_direction", "unknown").lower(),
        )
        for flow in real_flows(folder)
    )
    assert sum(expected.values()) == 1849
    store = Store(tmp_path / "real.duckdb")
    stored(sorted(folder.glob("*.jsonl")), store)
    rows = store.query(COUNTED, {}).to_pylist()
    store.close()
    assert Counter({(r["verdict"], r["event"], r["l7_type"], r["direction"]): r["flows"] for r in rows}) == expected


def test_wire_and_file_give_the_same_rows(tmp_path: Path) -> None:
    """The same 40,000 flows as protobuf and as JSON lines become the same rows, byte for byte."""
    folder = shared.folder("simulated")
    dumps = []
    for name in ("dev.bin.xz", "dev.jsonl.xz"):
        store = Store(tmp_path / f"{name}.duckdb")
        stored([folder / name], store)
        sink = pa.BufferOutputStream()
        table = store.query(DUMP, {}).combine_chunks()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        dumps.append(sink.getvalue())
        store.close()
    assert len(dumps[0]) > 1_000_000
    assert dumps[0].equals(dumps[1])


def truth(folder: Path) -> Counter[tuple[str, str, str, str]]:
    """Connections per (square, source, destination, service), as the simulation says it made them."""
    topology = json.loads((folder / "dev.topology.json").read_text(encoding="utf-8"))
    workloads = {f"{c['namespace']}/{c['component']}": f"{c['namespace']}/{c['workload']}" for c in topology}
    expected: Counter[tuple[str, str, str, str]] = Counter()
    for line in (folder / "dev.truth-conns.jsonl").read_text(encoding="utf-8").splitlines():
        conn = json.loads(line)
        if conn["class"] == "trap":
            continue
        square = "unexpected" if conn["class"] == "undeclared_egress" else "denied"
        source = "world" if conn["src"].startswith("ip:") else workloads.get(conn["src"], conn["src"])
        destination = workloads.get(conn["dst"], conn["dst"]).removeprefix("fqdn:").removeprefix("ip:")
        expected[square, source, destination, f"{conn['port']}/{conn['proto']}"] += 1
    return expected


@pytest.mark.parametrize("name", ["dev.bin.xz", "dev.jsonl.xz"])
def test_every_violation_is_found_and_nothing_else(name: str) -> None:
    """Against the simulation's own truth: each violation once, in its square, with its number of connections."""
    folder = shared.folder("simulated")
    declared = allowlist.load([HOMELAB], 0.0)
    engine = Engine(cluster="default", allowlist=declared, settle=5.0, active_for=FOR_EVER)
    result = replay(CaptureReceiver([folder / name]), engine, 5.0)
    found = Counter(
        {
            (f.square.value, str(f.edge.source), str(f.edge.destination), f.edge.service): f.connections
            for f in result.findings
        }
    )
    assert found == truth(folder)
    assert result.flows == 40_000
    uuids = {
        uuid
        for line in (folder / "dev.truth-conns.jsonl").read_text(encoding="utf-8").splitlines()
        for uuid in json.loads(line)["uuids"]
    }
    for finding in result.findings:
        assert finding.samples
        assert set(finding.samples) <= uuids, finding.sentence


def test_classes_of_the_simulated_traps() -> None:
    """The traps of the simulation are what they are: would-be drops, replies, errors, neighbours, socket events."""
    folder = shared.folder("simulated")
    with lzma.open(folder / "dev.jsonl.xz", "rt") as lines:
        assert sum(1 for _ in lines) == 40_000
    result = replay(CaptureReceiver([folder / "dev.bin.xz"]), Engine(cluster="default"), 5.0)
    kinds = Counter(
        json.loads(line)["kind"]
        for line in (folder / "dev.truth.jsonl").read_text(encoding="utf-8").splitlines()
        if json.loads(line)["class"] == "trap"
    )
    assert result.classes["audited"] == kinds["policy_audit"]
    assert result.classes["icmp-error"] == kinds["icmp_error"]
    assert result.classes["neighbour"] == kinds["ipv6_ndp"]
    assert result.classes["socket"] == kinds["sock_xlate"]
    assert result.classes["infra-drop"] == kinds["non_policy_drop"]
    assert result.classes["stale-identity"] == kinds["stale_ipcache"]
