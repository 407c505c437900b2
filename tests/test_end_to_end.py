"""The whole path on a simulated cluster: every process real, only the cluster played."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

import flowwatch
from flowwatch import demo as demo_module
from flowwatch.assemble import running
from flowwatch.config import HubbleSettings
from flowwatch.demo import homelab_allowlist, simulated_hubble
from flowwatch.store import Store
from tests.support.feed import settings
from tests.support.patience import PATIENCE, until
from tests.support.servers import alertmanager

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
FLOWS = 11_000


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulated Hubble may take its time to start."""
    monkeypatch.setattr(demo_module, "STARTUP", PATIENCE)


class Alertmanager:
    """A server that accepts alerts as Alertmanager does, and keeps the newest of each."""

    def __init__(self) -> None:
        self.alerts: dict[str, dict[str, Any]] = {}
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                for alert in json.loads(body):
                    owner.alerts[alert["labels"]["fingerprint"]] = alert
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self) -> Alertmanager:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


def truth(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The violations of a simulation and its totals, as it last wrote them."""
    try:
        lines = [json.loads(line) for line in (folder / "truth.jsonl").read_text(encoding="utf-8").splitlines()]
    except (FileNotFoundError, json.JSONDecodeError):
        return [], {}
    return [line for line in lines if line["class"] == "violation"], next(
        (line for line in lines if line["class"] == "totals"), {}
    )


def get(address: str, path: str) -> Any:
    with urllib.request.urlopen(f"{address}{path}", timeout=PATIENCE) as answer:
        return json.loads(answer.read())


def test_every_violation_once_and_all_numbers_agree(tmp_path: Path) -> None:
    """Against the simulated cluster: every violation is found once, in its square, and nothing else; the
    terminal's snapshot, /metrics, the queries and Alertmanager say the same numbers as the simulation."""
    with (
        Alertmanager() as alertmanager,
        simulated_hubble(tmp_path, ["--rate", "500", "--seed", "7", "--flows", str(FLOWS)]) as server,
    ):
        config = settings(tmp_path, homelab_allowlist().read_text(encoding="utf-8"), (alertmanager.url,))
        object.__setattr__(config.alerts, "group_above", 100)
        object.__setattr__(config.alerts, "own", False)
        object.__setattr__(config, "hubble", HubbleSettings(server=server))
        with running(config) as (daemon, service):
            until(lambda: truth(tmp_path)[1].get("flows") == FLOWS, "the end of the simulated traffic", 3 * PATIENCE)
            violations, totals = truth(tmp_path)
            until(lambda: daemon.snapshot.flows == totals["flows"], "all flows received")
            until(lambda: daemon.snapshot.rows_stored == totals["flows"], "all flows stored")
            until(lambda: len(daemon.snapshot.findings) >= len(violations), "all findings")
            snapshot = daemon.snapshot
            expected = {(v["square"], v["edge"]): v["connections"] for v in violations}
            assert {(f.square.value, str(f.edge)): f.connections for f in snapshot.findings} == expected
            assert {v.upper(): n for v, n in snapshot.verdicts.items()} == totals["verdicts"]
            assert sum(snapshot.lost.values()) == totals["lost"]
            squares = Counter(square for square, _ in expected)
            assert {s: n for s, n in snapshot.squares.items() if s in ("unexpected", "blocked", "denied")} == squares
            _metrics_agree(service.address, totals, squares)
            with flowwatch.open(tmp_path / "test.duckdb") as database:
                _queries_agree(database, expected, totals)
            # What passes only because of audit mode is no violation of the simulation, and yet a gap to be told.
            gaps = {gap.fingerprint for gap in snapshot.gaps}
            assert len(gaps) == 2
            until(lambda: len(alertmanager.alerts) == len(expected) + len(gaps), "all alerts")
            assert set(alertmanager.alerts) == gaps | {f.fingerprint for f in snapshot.findings}
            told = [alert["labels"] for key, alert in alertmanager.alerts.items() if key not in gaps]
            assert {labels["square"] for labels in told} == set(squares)
            status = get(service.address, "/api/v1/status")
            assert status["flows"] == totals["flows"]


def _metrics_agree(address: str, totals: dict[str, Any], squares: Counter[str]) -> None:
    with urllib.request.urlopen(f"{address}/metrics", timeout=PATIENCE) as answer:
        text = answer.read().decode()
    verdicts: Counter[str] = Counter()
    for verdict, value in re.findall(r'^flowwatch_flows_total\{.*verdict="(\w+)"\} (\S+)', text, re.MULTILINE):
        verdicts[verdict.upper()] += int(float(value))
    assert {verdict: count for verdict, count in verdicts.items() if count} == totals["verdicts"]
    found = dict(re.findall(r'^flowwatch_findings\{square="(\w+)"\} (\S+)', text, re.MULTILINE))
    assert {square: int(float(count)) for square, count in found.items() if float(count)} == squares
    lost = sum(float(value) for value in re.findall(r"^flowwatch_lost_events_total\{.*\} (\S+)", text, re.MULTILINE))
    assert lost == totals["lost"]


def _queries_agree(database: Any, expected: dict[tuple[str, str], int], totals: dict[str, Any]) -> None:
    verdicts = database.query("verdicts", since="1h").groupby("verdict")["flows"].sum()
    assert verdicts.to_dict() == totals["verdicts"]
    until(lambda: len(database.query("findings", since="1h")) == len(expected), "findings in the store")
    findings = database.query("findings", since="1h")
    rows = zip(
        findings["square"],
        findings["source"],
        findings["destination"],
        findings["service"],
        findings["connections"],
        strict=True,
    )
    assert {(s, f"{a} → {b}:{c}"): n for s, a, b, c, n in rows} == expected
    edges = database.query("edges", since="1h")
    drift = edges[edges["square"].isin(["unexpected", "blocked", "denied"])]
    rows = zip(drift["square"], drift["source"], drift["destination"], drift["service"], strict=True)
    assert {(s, f"{a} → {b}:{c}") for s, a, b, c in rows} == set(expected)
    # Minutes are written down a little later than flows.
    until(lambda: database.query("coverage", since="1h")["flows"].sum() == totals["flows"], "all flows in the ledger")
    coverage = database.query("coverage", since="1h")
    assert coverage[["lost_perf", "lost_queue", "lost_ring", "lost_other"]].to_numpy().sum() == totals["lost"]


@contextmanager
def process(
    arguments: list[str], folder: Path, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A flowwatch process; whatever happens, it is gone afterwards."""
    with (folder / "log").open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "flowwatch", *arguments],
            cwd=folder, env={**ENVIRONMENT, **(environment or {})}, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield child
        finally:
            if child.poll() is None:
                child.kill()
            child.wait()


def _api(folder: Path) -> str:
    try:
        return str(json.loads((folder / "flows.duckdb.owner").read_text(encoding="utf-8"))["api"])
    except (FileNotFoundError, json.JSONDecodeError):
        return ""


def _status(folder: Path) -> dict[str, Any]:
    try:
        answer = get(_api(folder), "/api/v1/status") if _api(folder) else {}
    except OSError:
        return {}
    return dict(answer)


def test_killed_while_streaming(tmp_path: Path) -> None:
    """After kill -9 every row that was reported as stored is there, and the daemon goes on with the same file."""
    environment = {"FLOWWATCH_STORE_PATH": "flows.duckdb", "FLOWWATCH_WEB_LISTEN": "127.0.0.1:0"}
    with simulated_hubble(tmp_path, ["--rate", "1000"]) as server:
        environment["FLOWWATCH_HUBBLE_SERVER"] = server
        with process(["run"], tmp_path, environment) as daemon:
            until(lambda: _stored(tmp_path) > 1500, "some rows")
            acknowledged = _stored(tmp_path)
            os.kill(daemon.pid, signal.SIGKILL)
        (tmp_path / "flows.duckdb.owner").unlink()
        store = Store(tmp_path / "flows.duckdb")
        assert store.count_flows() >= acknowledged
        store.close()
        with process(["run"], tmp_path, environment) as daemon:
            until(lambda: _stored(tmp_path) > acknowledged + 1000, "more rows")
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(PATIENCE) == 0
    assert not (tmp_path / "flows.duckdb.owner").exists()


def _stored(folder: Path) -> int:
    status = _status(folder)
    return int(status["rows_stored"]) if status else 0


def test_the_demo(tmp_path: Path) -> None:
    """The demo tells its addresses and findings as they come, and Ctrl-C ends it and all it started."""
    with process(["demo", "--directory", str(tmp_path), "--listen", "127.0.0.1:0", "--no-live"], tmp_path) as demo:
        log = tmp_path / "log"
        until(lambda: " new unexpected " in log.read_text(encoding="utf-8"), "a finding")
        text = log.read_text(encoding="utf-8")
        address = re.search(r"metrics (http://\S+)/metrics", text)
        assert address
        with urllib.request.urlopen(f"{address[1]}/", timeout=PATIENCE) as page:
            assert b"flowwatch" in page.read()
        demo.send_signal(signal.SIGINT)
        assert demo.wait(PATIENCE) == 0
        assert "Traceback" not in log.read_text(encoding="utf-8")
    assert not (tmp_path / "demo.duckdb.owner").exists()


@pytest.mark.prometheus
async def test_alertmanager_is_told_and_told_again_when_it_is_over(tmp_path: Path) -> None:
    """A real Alertmanager receives the alerts of real findings and sees them resolved once the violations stop."""
    quiet = yaml.safe_dump({"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]})
    async with alertmanager(tmp_path, quiet) as address:
        url = f"http://{address}"
        await asyncio.to_thread(_fire_and_resolve, tmp_path, url)


def _fire_and_resolve(folder: Path, url: str) -> None:
    """Run the daemon on violations that stop after some seconds."""
    with simulated_hubble(folder, ["--rate", "200", "--violations-for", "4s"]) as server:
        config = settings(folder, homelab_allowlist().read_text(encoding="utf-8"), (url,))
        object.__setattr__(config, "hubble", HubbleSettings(server=server))
        object.__setattr__(config.judge, "active_for", 30.0)
        with running(config) as (daemon, _):
            until(lambda: get(url, "/api/v2/alerts?active=true"), "active alerts")
            names = {alert["labels"]["alertname"] for alert in get(url, "/api/v2/alerts?active=true")}
            assert names <= {
                "FlowwatchUnexpectedEgress",
                "FlowwatchDeclaredButDropped",
                "FlowwatchDeniedAttempts",
                "FlowwatchEnforcementGap",
            }

            def active() -> list[str]:
                """What is told still."""
                return [alert["labels"]["alertname"] for alert in get(url, "/api/v2/alerts?active=true")]

            # What audit mode lets through goes on.
            until(lambda: not {*active()} - {"FlowwatchEnforcementGap"}, "resolved alerts", 3 * PATIENCE)
            until(lambda: daemon.snapshot.alerts.get("resolved", 0) > 0, "alerts known as resolved")
            assert not daemon.snapshot.findings
