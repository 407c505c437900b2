"""A daemon whose disk fails it: it judges and alerts from memory, says so everywhere, and recovers by itself."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import urllib.error
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

import flowwatch
from flowwatch import writer as writer_module
from flowwatch.assemble import running
from flowwatch.errors import DamagedError, QueryError, StoreError
from flowwatch.metrics import Metrics
from flowwatch.store import Store
from flowwatch.writer import Writer
from tests.support.faults import flip, small_disk
from tests.support.feed import Feed, settings
from tests.support.patience import until
from tests.test_daemon import ALLOWLIST, fetch, messages, samples
from tests.test_store import START, fed


def metric(address: str, name: str) -> float:
    return samples(address, name)[name]


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_a_full_disk_under_a_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While there is no room findings are found and told; when there is, every row is stored once."""
    monkeypatch.setattr(writer_module, "RETRY", 0.1)
    with small_disk(tmp_path / "disk", 1) as disk:
        if disk is None:
            pytest.skip("needs to mount a file system")
        config = settings(tmp_path, ALLOWLIST)
        config = replace(config, store=replace(config.store, path=disk.path / "test.duckdb"))
        filler = disk.path / "filler"
        feed = Feed()
        with running(config, feed) as (daemon, service):
            fill(filler)
            feed.give(messages())
            until(lambda: "No space" in daemon.snapshot.store_error, what="the disk's refusal in the snapshot")
            until(lambda: len(daemon.snapshot.findings) == 2, what="findings from memory")
            assert daemon.snapshot.pending_rows == 5
            assert daemon.snapshot.rows_stored == 0
            until(lambda: metric(service.address, "flowwatch_store_up") == 0)
            assert metric(service.address, "flowwatch_store_errors_total") > 0
            with pytest.raises(urllib.error.HTTPError, match="503") as refused:
                fetch(service.address, "/readyz")
            assert "No space" in json.loads(refused.value.read())["store"]
            assert json.loads(fetch(service.address, "/healthz"))["writer"] == "ok"
            disk.resize(64)
            until(lambda: daemon.snapshot.rows_stored == 5 and not daemon.snapshot.store_error, what="recovery")
            until(lambda: metric(service.address, "flowwatch_store_up") == 1)
            assert fetch(service.address, "/readyz")
        store = Store(disk.path / "test.duckdb")
        assert store.count_flows() == 5
        store.close()


def damaged_inside(folder: Path) -> Path:
    """A file that opens and whose flows cannot be read."""
    path = folder / "test.duckdb"
    store = Store(path)
    store.commit(fed().drain(START))
    store.close()
    whole = path.read_bytes()
    for seed in range(2000):
        path.write_bytes(flip(whole, random.Random(seed)))
        try:
            store = Store(path)
            store.restore()
        except StoreError:
            continue
        try:
            store.commit({})
            store._read("count_flows")
            store.query(_ALL_FLOWS, {})
        except QueryError:
            return path
        finally:
            store.close()
    raise AssertionError("no flip that only a reader of flows comes upon")


_ALL_FLOWS = flowwatch.sql.parse("-- All.\nSELECT * FROM flows", "all", "test")


def test_damage_that_a_query_comes_upon(tmp_path: Path) -> None:
    """The file is set aside, the new one knows all edges and names, what is said tells where the old one is."""
    config = settings(tmp_path, ALLOWLIST)
    path = damaged_inside(tmp_path)
    broken = path.read_bytes()
    feed = Feed()
    with running(config, feed) as (daemon, service):
        feed.give(messages())
        # Whoever reads the flows first comes upon it: this query, or the daemon's own look for old ones.
        with contextlib.suppress(QueryError):
            daemon.store.query(_ALL_FLOWS, {})
        until(lambda: daemon.snapshot.store_set_aside, what="the old file set aside")
        feed.give(messages(FLOWS_LATER))
        until(lambda: not daemon.snapshot.store_error and daemon.snapshot.rows_stored in (1, 6), what="a new file")
        rows = daemon.snapshot.rows_stored
        until(lambda: metric(service.address, "flowwatch_store_set_aside_total") == 1)
        assert (
            json.loads(fetch(service.address, "/api/v1/status"))["store_set_aside"] == daemon.snapshot.store_set_aside
        )
        with flowwatch.open(path) as database:
            log = database.query("flows", since="1h")
            assert log[["source", "destination"]].to_numpy().tolist()[0] == ["shop/web", "shop/api"]
            assert len(log) == rows
            findings = {(f.square.value, str(f.edge.destination)) for f in daemon.snapshot.findings}
            until(
                lambda: len(database.query("findings", since="all")) == len(findings), what="findings in the new file"
            )
    assert Path(daemon.snapshot.store_set_aside).stat().st_size >= len(broken)
    with running(config, Feed()) as (daemon, _):
        assert daemon.snapshot.rows_stored == rows
        assert len(daemon._engine.edges) >= 3


FLOWS_LATER = "+0.7s verdict FORWARDED egress noreply from=40909 shop/web* -> shop/api 8080/TCP SYN"


def test_a_file_damaged_before_the_start(tmp_path: Path) -> None:
    """The daemon starts all the same, and says what it did."""
    path = damaged_inside(tmp_path)
    path.write_bytes(flip(path.read_bytes(), random.Random(1), 50, 3 * 4096))
    changed = path.read_bytes()
    with running(settings(tmp_path, ALLOWLIST), Feed()) as (daemon, service):
        assert Path(daemon.snapshot.store_set_aside).read_bytes() == changed
        assert metric(service.address, "flowwatch_store_set_aside_total") == 1
        assert daemon.snapshot.rows_stored == 0


# ── the writer by itself ─────────────────────────────────────────────────────────────────────────


class Scripted(Store):
    """A real store that refuses when the test says so."""

    refuse: Exception | None = None
    wait: threading.Event | None = None

    def commit(self, tables: Mapping[str, pa.Table]) -> int:
        if self.wait:
            self.wait.wait()
        if self.refuse:
            raise self.refuse
        return super().commit(tables)


def test_what_was_drained_for_a_damaged_file_comes_into_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flows that waited are not lost with the file they were meant for; names come with the next drain."""
    monkeypatch.setattr(writer_module, "RETRY", 0.01)
    store = Scripted(tmp_path / "a.duckdb")
    writer = Writer(store, settings(tmp_path).store, Metrics())
    engine = fed()
    store.refuse = DamagedError("damaged")
    thread = threading.Thread(target=writer.run)
    thread.start()
    writer.put(engine.drain(START), writer.generation)
    until(lambda: writer.generation > 0)
    store.refuse = None
    late = fed()
    writer.put({"append_flows": late.drain(START)["append_flows"]}, 0)
    generation = writer.generation
    engine.renew()
    writer.put(engine.drain(START), generation)
    writer.finish()
    thread.join(30)
    assert not thread.is_alive()
    assert (writer.rows_stored, writer.pending_rows, writer.error) == (10, 0, "")
    assert store.count_flows() == 10
    assert len(store.restore().identities) == len(engine.interner.identities)
    assert len(list(tmp_path.glob("a.duckdb.damaged-*"))) == generation
    store.close()


def test_a_slow_disk_is_told_and_is_no_dead_thread(tmp_path: Path) -> None:
    """A commit that takes its time is said to be slow; the thread counts as alive, because it waits for the disk."""
    moment = [1000.0]
    store = Scripted(tmp_path / "a.duckdb")
    store.wait = threading.Event()
    writer = Writer(store, settings(tmp_path).store, Metrics(), clock=lambda: moment[0])
    thread = threading.Thread(target=writer.run)
    thread.start()
    writer.put(fed().drain(START), 0)
    until(lambda: writer._begun is not None)
    assert not writer.error
    moment[0] += 100.0
    assert writer.error == "slow: the commit under way takes longer than 10 s"
    assert writer.beat == moment[0]
    assert writer.pending_rows == 5
    store.wait.set()
    until(lambda: not writer.error and writer.pending_rows == 0)
    writer.finish()
    thread.join(30)
    store.close()
