"""The daemon with its real store, HTTP surface and threads; only the source of flows is a test's own."""

from __future__ import annotations

import itertools
import json
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pytest

import flowwatch
from flowwatch import daemon as daemon_module
from flowwatch import writer as writer_module
from flowwatch.assemble import running, watch
from flowwatch.errors import FlowwatchError, QueryError, SourceError, StoreError
from flowwatch.model import Snapshot
from flowwatch.receive import Closed
from flowwatch.status import State, conclude
from flowwatch.store import Store
from tests.support.feed import Feed, settings
from tests.support.flowtext import parse
from tests.support.patience import PATIENCE, until

ALLOWLIST = """
apiVersion: flowwatch/v1
kind: Allowlist
workloads: {shop: {web: {app: web}, api: {app: api}}}
rules: [{from: shop/web, to: shop/api, ports: 8080/TCP, reason: pages}]
"""
FLOWS = """
+0s verdict FORWARDED egress noreply shop/web* -> shop/api 8080/TCP SYN
+0.1s verdict FORWARDED ingress noreply node=node-2 shop/web -> shop/api* 8080/TCP SYN
+0.2s trace FORWARDED TO_NETWORK NEW noreply egress shop/web* -> world(203.0.113.7) 443/TCP SYN
+0.3s verdict DROPPED egress POLICY_DENIED shop/api* -> world(203.0.113.8) 443/TCP SYN
+0.4s drop DROPPED egress POLICY_DENIED from=40004 shop/api* -> world(203.0.113.8) 443/TCP SYN
"""


def messages(text: str = FLOWS) -> list[bytes]:
    return [line.message for line in parse(text, time.time() - 1)]


def fetch(address: str, path: str) -> bytes:
    with urllib.request.urlopen(f"{address}{path}", timeout=PATIENCE) as answer:
        return answer.read()


def samples(address: str, pattern: str) -> dict[str, float]:
    """The metrics whose line begins with the pattern, by labels."""
    lines = fetch(address, "/metrics").decode().splitlines()
    found = (re.match(rf"({pattern}[^ ]*) (\S+)$", line) for line in lines)
    return {match[1]: float(match[2]) for match in found if match}


def test_terminal_metrics_queries_and_api_agree(tmp_path: Path) -> None:
    """One set of flows, told by every surface with the same numbers."""
    feed = Feed()
    with running(settings(tmp_path, ALLOWLIST), feed) as (daemon, service):
        feed.give(messages())
        until(lambda: daemon.snapshot.rows_stored == 5 and len(daemon.snapshot.findings) == 2, what="two findings")
        snapshot = daemon.snapshot
        assert {str(f.edge): f.square.value for f in snapshot.findings} == {
            "shop/web → 203.0.113.7:443/TCP": "unexpected",
            "shop/api → 203.0.113.8:443/TCP": "denied",
        }
        assert dict(snapshot.squares) == {"unexpected": 1, "blocked": 0, "denied": 1, "expected": 1, "unknown": 0}
        assert (snapshot.flows, dict(snapshot.verdicts)) == (5, {"forwarded": 3, "dropped": 2})
        address = service.address
        until(lambda: samples(address, "flowwatch_findings{").get('flowwatch_findings{square="denied"}') == 1)
        assert (
            samples(address, "flowwatch_findings_opened_total")['flowwatch_findings_opened_total{square="unexpected"}']
            == 1
        )
        assert samples(address, "flowwatch_store_rows_total") == {"flowwatch_store_rows_total": 5}
        drops = samples(address, "flowwatch_policy_drops_total")
        assert sum(drops.values()) == 1
        squares = samples(address, "flowwatch_square_flows_total")
        assert squares['flowwatch_square_flows_total{direction="egress",namespace="shop",square="unexpected"}'] == 1
        listed = json.loads(fetch(address, "/api/v1/findings"))
        assert {f["fingerprint"] for f in listed["findings"]} == {f.fingerprint for f in snapshot.findings}
        with flowwatch.open(tmp_path / "test.duckdb") as database:
            until(lambda: len(database.query("findings", since="1h")) == 2, what="findings in the store")
            assert set(database.query("findings", since="1h")["sentence"]) == {f.sentence for f in snapshot.findings}
            assert database.query("unexpected_egress", since="1h")["destination"].tolist() == ["203.0.113.7"]
            drops_table = database.query("drops_by_reason", since="1h")
            assert drops_table[["reason", "packets"]].to_numpy().tolist() == [["POLICY_DENIED", 1]]
            edges = database.query("edges", since="1h")
            assert sorted(edges["square"]) == ["denied", "expected", "unexpected"]
            with pytest.raises(QueryError, match="is not a time"):
                database.query("edges", since="soon")
        assert fetch(address, "/healthz")
        assert json.loads(fetch(address, "/readyz"))
    assert not Path(f"{tmp_path}/test.duckdb.owner").exists()


def test_stopping_commits_what_was_received(tmp_path: Path) -> None:
    """Flows received just before the end are in the file after it."""
    feed = Feed()
    with running(settings(tmp_path), feed):
        feed.give(messages())
    store = Store(tmp_path / "test.duckdb")
    assert store.count_flows() == 5
    store.close()


def test_a_restart_keeps_findings_and_totals(tmp_path: Path) -> None:
    """A second run on the same file knows what the first one found, under the same fingerprints."""
    config = settings(tmp_path, ALLOWLIST)
    feed = Feed()
    with running(config, feed) as (daemon, _):
        feed.give(messages())
        until(lambda: len(daemon.snapshot.findings) == 2)
        before = {f.fingerprint: (f.flows, f.connections, f.first_seen) for f in daemon.snapshot.findings}
    with running(config, Feed()) as (daemon, _):
        until(lambda: len(daemon.snapshot.findings) == 2, what="findings after the restart")
        after = {
            f.fingerprint: (f.flows, f.connections, pytest.approx(f.first_seen, abs=0.5))
            for f in daemon.snapshot.findings
        }
    assert after == before


def test_a_store_that_refuses_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While commits fail, judging goes on and the error is shown; when the disk recovers, nothing is missing."""
    broken = threading.Event()
    broken.set()
    commit = Store.commit

    def refuse(self: Store, tables: Mapping[str, pa.Table]) -> int:
        if broken.is_set():
            raise StoreError("disk full")
        return commit(self, tables)

    monkeypatch.setattr(Store, "commit", refuse)
    monkeypatch.setattr(writer_module, "RETRY", 0.02)
    feed = Feed()
    with running(settings(tmp_path, ALLOWLIST), feed) as (daemon, service):
        feed.give(messages())
        until(lambda: daemon.snapshot.store_error == "disk full" and len(daemon.snapshot.findings) == 2)
        with pytest.raises(urllib.error.HTTPError, match="503"):
            fetch(service.address, "/readyz")
        assert samples(service.address, "flowwatch_store_errors_total")["flowwatch_store_errors_total"] > 0
        broken.clear()
        until(lambda: daemon.snapshot.rows_stored == 5 and not daemon.snapshot.store_error)
    store = Store(tmp_path / "test.duckdb")
    assert store.count_flows() == 5
    store.close()


def test_rows_nobody_can_store_are_given_up_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory stays bounded: beyond the limit the oldest rows go, are counted as lost, and edges stay counted."""
    monkeypatch.setattr(Store, "commit", _refuse_always)
    monkeypatch.setattr(writer_module, "RETRY", 0.02)
    monkeypatch.setattr(daemon_module, "MAX_PENDING_ROWS", 7)
    feed = Feed()
    with running(settings(tmp_path, ALLOWLIST), feed) as (daemon, _):
        given = itertools.count()

        def lost() -> int:
            """Flows that were given up after five more."""
            begin = time.time() - 3600 + 60 * next(given)
            feed.give([line.message for line in parse(FLOWS.replace("from=40004", ""), begin)])
            return daemon.snapshot.lost["flowwatch"]

        until(lost, "a counted loss")
        until(lambda: not feed._queue.qsize() and _accounted(daemon.snapshot), "every row accounted")
        assert len(daemon.snapshot.findings) == 2


def _accounted(snapshot: Snapshot) -> bool:
    return snapshot.pending_rows + snapshot.lost["flowwatch"] == snapshot.flows


def _refuse_always(self: Store, tables: Mapping[str, pa.Table]) -> int:  # noqa: ARG001
    raise StoreError("disk full")


def test_a_dead_source_ends_the_daemon_with_its_reason(tmp_path: Path) -> None:
    """Half a pipeline must not look alive: what killed a thread reaches the caller."""
    feed = Feed()
    with running(settings(tmp_path), feed) as (daemon, _):
        feed.give(SourceError("the file is gone"))
        with pytest.raises(SourceError, match="the file is gone"):
            watch(daemon, threading.Event(), every=0.02)


def test_blindness_is_said(tmp_path: Path) -> None:
    """While the stream is down no node counts as streaming, and the coverage is nothing."""
    feed = Feed()
    with running(settings(tmp_path, ALLOWLIST), feed) as (daemon, service):
        feed.give(messages())
        until(lambda: len(daemon.snapshot.nodes) == 2)
        feed.note(Closed(time.time(), time.time(), "cut"))
        until(lambda: not any(node.streaming for node in daemon.snapshot.nodes))
        assert {node.reason for node in daemon.snapshot.nodes} == {"cut"}
        until(lambda: samples(service.address, "flowwatch_coverage_ratio")["flowwatch_coverage_ratio"] < 1)
        assert conclude(daemon.snapshot).state is not State.NO_DRIFT


def test_an_address_in_use_is_an_error_in_words(tmp_path: Path) -> None:
    """Two daemons on one port: the second says so, and leaves its file usable."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    with running(settings(first), Feed()) as (_, service):
        taken = settings(second)
        port = service.address.rpartition(":")[2]
        object.__setattr__(taken, "web", type(taken.web)(listen=f"127.0.0.1:{port}"))
        with pytest.raises(FlowwatchError, match=r"web\.listen: cannot listen on"), running(taken, Feed()):
            pass
    Store(second / "test.duckdb").close()


def test_a_changed_allowlist_is_taken_into_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Edges are judged anew when the file changes; a broken file keeps the last good one and is told with its line."""
    monkeypatch.setattr(daemon_module, "RELOAD_EVERY", 0.05)
    feed = Feed()
    file = tmp_path / "allowlist.yaml"
    with running(settings(tmp_path, ALLOWLIST), feed) as (daemon, service):
        feed.give(messages())
        until(lambda: len(daemon.snapshot.findings) == 2)
        file.write_text(ALLOWLIST + "  nonsense: true\n", encoding="utf-8")
        until(lambda: daemon.snapshot.allowlist_error, what="an allowlist error")
        assert "allowlist.yaml:6" in daemon.snapshot.allowlist_error
        until(lambda: samples(service.address, "flowwatch_allowlist_valid")["flowwatch_allowlist_valid"] == 0)
        assert len(daemon.snapshot.findings) == 2
        wider = ALLOWLIST + '  - {from: shop/web, to: {cidr: ["203.0.113.7/32"]}, ports: 443/TCP, reason: found}\n'
        file.write_text(wider.replace("rules: [{", "rules:\n  - {").replace("pages}]", "pages}"), encoding="utf-8")
        until(lambda: len(daemon.snapshot.findings) == 1, what="one finding less")
        assert not daemon.snapshot.allowlist_error
        assert daemon.snapshot.rules == 2
        assert daemon.snapshot.squares["expected"] == 2
        until(lambda: samples(service.address, "flowwatch_allowlist_rules")["flowwatch_allowlist_rules"] == 2)
        with flowwatch.open(tmp_path / "test.duckdb") as database:
            until(lambda: sorted(database.query("edges", since="1h")["square"]) == ["denied", "expected", "expected"])
