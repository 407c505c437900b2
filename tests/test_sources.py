"""Sources end to end: nodes with mutual TLS, several clusters at once, logs of the exporter through a restart."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict

from flowwatch import sql
from flowwatch.assemble import running
from flowwatch.config import Config, load
from flowwatch.daemon import Daemon
from flowwatch.demo import homelab_allowlist
from flowwatch.hubble import observer_pb2
from flowwatch.simulate import SimulatedHubble
from flowwatch.simulate.certificates import make_certificates, served_with
from flowwatch.simulate.cluster import make_cluster
from flowwatch.store import Store
from tests.support.feed import settings
from tests.support.flowtext import parse
from tests.support.patience import until


def configured(folder: Path, text: str) -> Config:
    """A configuration for tests with this section of sources."""
    (folder / "sources.yaml").write_text(text, encoding="utf-8")
    sources = load(folder / "sources.yaml", {})
    base = settings(folder, homelab_allowlist().read_text(encoding="utf-8"))
    return replace(base, hubble=sources.hubble, sources=sources.sources, cluster=sources.cluster)


def streaming(daemon: Daemon, nodes: int) -> bool:
    """Whether so many nodes are there, all of them bring flows, and nothing was missed."""
    snapshot = daemon.snapshot
    known = [node for node in snapshot.nodes if node.streaming and node.flows]
    return len(known) == len(snapshot.nodes) == nodes and snapshot.coverage > 0.99


def rows(folder: Path, statement: str) -> list[dict[str, Any]]:
    """What a statement gives of the database that was left."""
    store = Store(folder / "test.duckdb", read_only=True)
    try:
        return store.query(sql.parse(f"-- Asked by a test.\n{statement}", "asked", "test"), {}).to_pylist()
    finally:
        store.close()


def test_nodes_with_mutual_tls(tmp_path: Path) -> None:
    """Every agent shows its own name's certificate and asks for ours; a certificate of strangers gets nowhere."""
    cluster = make_cluster(name="prod")
    make_certificates(tmp_path / "pki", cluster)
    relay, nodes = served_with(tmp_path / "pki", cluster)
    with SimulatedHubble(rate=300, nodes=True, cluster=cluster, tls=relay, node_tls=nodes) as address:
        text = "cluster: prod\nhubble:\n  source: nodes\n  peer: {peer}\n  tls: {{enabled: true, ca: pki/ca.crt, "
        text += "cert: pki/{who}.crt, key: pki/{who}.key}}\n"
        config = configured(tmp_path, text.format(peer=address, who="client"))
        with running(config) as (daemon, _):
            until(lambda: streaming(daemon, len(cluster.nodes)), "every node's flows")
            assert {node.node for node in daemon.snapshot.nodes} == {node.known_as for node in cluster.nodes}
        config = configured(tmp_path, text.format(peer=address, who="stranger"))
        with running(config) as (daemon, _):
            until(lambda: daemon.snapshot.stream_error, "a refusal")
            assert daemon.snapshot.flows == 0
            assert daemon.snapshot.stream != "streaming"


def test_several_clusters_at_once(tmp_path: Path) -> None:
    """Two relays: flows, nodes, edges and findings are told apart by their cluster."""
    east, west = (make_cluster(name=name) for name in ("east", "west"))
    with SimulatedHubble(rate=300, cluster=east) as one, SimulatedHubble(rate=300, cluster=west, seed=2) as other:
        text = f"sources:\n- {{cluster: east, server: '{one}'}}\n- {{cluster: west, server: '{other}'}}\n"
        with running(configured(tmp_path, text)) as (daemon, _):
            until(lambda: streaming(daemon, len(east.nodes) + len(west.nodes)), "every node's flows")
            until(lambda: {found.cluster for found in daemon.snapshot.findings} == {"east", "west"}, "findings of both")
            assert {node.cluster for node in daemon.snapshot.nodes} == {"east", "west"}
    assert {row["cluster"] for row in rows(tmp_path, "SELECT DISTINCT cluster FROM flow_log")} == {"east", "west"}
    assert {row["cluster"] for row in rows(tmp_path, "SELECT DISTINCT cluster FROM coverage")} == {"east", "west"}
    assert {row["cluster"] for row in rows(tmp_path, "SELECT DISTINCT cluster FROM findings")} == {"east", "west"}


def logged(begin: float, count: int) -> bytes:
    """Lines as Hubble's exporter writes them."""
    text = "\n".join(
        f"+{at}s verdict FORWARDED egress noreply shop/web* -> shop/api 8080/TCP SYN from={40000 + at}"
        for at in range(count)
    )
    lines = []
    for flow in parse(text, begin):
        response = observer_pb2.GetFlowsResponse.FromString(flow.message)
        response.flow.uuid = f"00000000-0000-4000-8000-{int(flow.at + begin) % 10**12:012d}"
        told = MessageToDict(response, preserving_proto_field_name=True)
        lines.append(json.dumps(told).encode() + b"\n")
    return b"".join(lines)


def test_logs_are_read_on_after_a_restart(tmp_path: Path) -> None:
    """Rotated meanwhile: what was written while nobody ran is read, and nothing twice; no time is missing."""
    begin = time.time() - 600
    log = tmp_path / "events.log"
    log.write_bytes(logged(begin, 100))
    text = "cluster: prod\nhubble: {source: file, files: [events.log]}\n"
    config = configured(tmp_path, text)
    with running(config) as (daemon, _):
        until(lambda: daemon.snapshot.flows == 100, "a hundred flows")
    with log.open("ab") as more:
        more.write(logged(begin + 100, 50))
    log.rename(tmp_path / "events.log.1")
    log.write_bytes(logged(begin + 150, 50))
    with running(config) as (daemon, _):
        until(lambda: daemon.snapshot.flows == 100, "the hundred that were written meanwhile")
        assert daemon.snapshot.coverage_gaps == 0
        with log.open("ab") as more:
            more.write(logged(begin + 200, 1))
        until(lambda: daemon.snapshot.flows == 101, "one more")
    (told,) = rows(tmp_path, "SELECT count(*) AS flows, count(DISTINCT client_port) AS ports FROM flows")
    assert told["flows"] == 201
