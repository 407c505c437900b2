"""`flowwatch alerts backtest` on a real database: what it prints, alone and beside a daemon."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from flowwatch import allowlist
from flowwatch.assemble import running
from flowwatch.decode import best_decoder
from flowwatch.engine import Engine
from flowwatch.receive import Batch
from flowwatch.store import Store
from tests.support.feed import Feed, settings
from tests.support.flowtext import parse
from tests.test_cli import flowwatch

ALLOWLIST = """\
apiVersion: flowwatch/v1
kind: Allowlist
workloads: {shop: {web: {app: web}, api: {app: api}, db: {app: db}}}
rules: [{from: shop/web, to: shop/api, ports: 8080/TCP, reason: pages}]
"""
HOUR = 3600
PASSED = "trace FORWARDED TO_NETWORK NEW noreply shop/web* -> world(203.0.113.7,paste.example) 443/TCP SYN"
BLOCKED = "verdict DROPPED ingress POLICY_DENIED shop/web -> shop/api* 8080/TCP SYN"
FINE = "verdict FORWARDED ingress noreply shop/web -> shop/api* 8080/TCP SYN"
HISTORY = [
    *((second, PASSED) for second in (0, 30, 600, 1400, 5 * HOUR, 9 * HOUR)),
    *((second, BLOCKED) for second in (2 * HOUR, 2 * HOUR + 60)),
    *((second, FINE) for second in range(0, 10 * HOUR, 600)),
]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Ten hours of yesterday: what passed undeclared came in three spells, what was blocked in one."""
    begin = time.time() - 24 * HOUR
    engine = Engine(cluster="test", allowlist=allowlist.parse(ALLOWLIST, "a.yaml", begin), decoder=best_decoder())
    store = Store(tmp_path / "test.duckdb")
    for line in sorted(parse("\n".join(f"+{at}s {flow}" for at, flow in HISTORY), begin), key=lambda one: one.at):
        engine.ingest(Batch("test", "test", [line.message]), begin + line.at)
        store.commit(engine.drain(begin + line.at))
    store.close()
    return tmp_path / "test.duckdb"


def fired(text: str) -> dict[str, tuple[int, int]]:
    """How often each alert would have fired and been pending only."""
    rows = json.loads(text)["rows"]
    return {name: (times, pending) for name, _, times, pending, *_ in rows if times or pending}


def test_a_database_by_itself(database: Path) -> None:
    """Each spell is one alert; with `for`, those that are too short are only pending."""
    folder = database.parent
    done = flowwatch("alerts", "backtest", "--store", database, "--since", "30d", "--format", "json", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert fired(done.stdout) == {"FlowwatchUnexpectedEgress": (3, 0), "FlowwatchDeclaredButDropped": (1, 0)}
    (row,) = [row for row in json.loads(done.stdout)["rows"] if row[0] == "FlowwatchUnexpectedEgress"]
    assert row[-1] == {"shop/web → paste.example:443/TCP": 3}
    done = flowwatch(
        "alerts", "backtest", "--store", database, "--format", "json", cwd=folder, FLOWWATCH_ALERTS_FOR="20m"
    )
    assert fired(done.stdout) == {"FlowwatchUnexpectedEgress": (1, 2), "FlowwatchDeclaredButDropped": (0, 1)}
    done = flowwatch("alerts", "backtest", "--store", database, "--since", "22h", "--format", "json", cwd=folder)
    assert fired(done.stdout) == {"FlowwatchUnexpectedEgress": (2, 0), "FlowwatchDeclaredButDropped": (1, 0)}


def test_the_table_says_what_it_covers(database: Path) -> None:
    """The window begins where history does, the rates follow from that, and the worst is named."""
    done = flowwatch("alerts", "backtest", "--store", database, "--since", "30d", cwd=database.parent)
    assert done.returncode == 0
    assert done.stdout.splitlines()[0].endswith(" UTC, 1.0 days")
    assert "FlowwatchUnexpectedEgress    warning                  3             0      3.0" in done.stdout
    assert "shop/web → paste.example:443/TCP" in done.stdout


def test_beside_a_daemon(database: Path) -> None:
    """While a daemon owns the database, it is asked, and says the same."""
    with running(settings(database.parent, ALLOWLIST), Feed()):
        done = flowwatch("alerts", "backtest", "--store", database, "--format", "json", cwd=database.parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert fired(done.stdout) == {"FlowwatchUnexpectedEgress": (3, 0), "FlowwatchDeclaredButDropped": (1, 0)}


def test_mistakes_are_told(tmp_path: Path) -> None:
    """A database that is not there, a time that is none."""
    done = flowwatch("alerts", "backtest", "--store", tmp_path / "no.duckdb", cwd=tmp_path)
    assert (done.returncode, "there is no such file" in done.stderr) == (2, True)
    done = flowwatch("alerts", "backtest", "--since", "soon", cwd=tmp_path)
    assert done.returncode == 2
