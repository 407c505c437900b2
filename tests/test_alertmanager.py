"""From flows to people: the daemon, real Alertmanagers, and a receiver that keeps what it is told."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from flowwatch.alerts_table import NAMES
from flowwatch.assemble import running
from flowwatch.config import Config
from flowwatch.daemon import Daemon
from flowwatch.errors import StoreError
from flowwatch.hubble import flow_pb2, observer_pb2
from tests.support.feed import Feed, settings
from tests.support.flowtext import parse
from tests.support.patience import until
from tests.support.servers import alertmanager

pytestmark = pytest.mark.prometheus

ALLOWLIST = """\
apiVersion: flowwatch/v1
kind: Allowlist
workloads: {shop: {web: {app: web}, api: {app: api}, db: {app: db}, old: {app: old}}}
rules:
- {from: shop/web, to: shop/api, ports: 8080/TCP, reason: pages}
- {from: shop/api, to: shop/db, ports: 5432/TCP, reason: orders, condition: OrdersWork}
- {from: shop/web, to: shop/old, ports: 80/TCP, reason: nobody remembers}
"""
DRIFT = """\
+0s trace FORWARDED TO_ENDPOINT NEW noreply shop/web -> shop/api* 8080/TCP SYN
+1s trace FORWARDED TO_NETWORK NEW noreply shop/web* -> world(203.0.113.7,paste.example) 443/TCP SYN
+2s trace FORWARDED TO_ENDPOINT NEW noreply remote-node -> shop/web* 9999/TCP SYN
+3s verdict DROPPED ingress POLICY_DENIED policy=CiliumNetworkPolicy:shop/db shop/api -> shop/db* 5432/TCP SYN
+4s verdict DROPPED egress POLICY_DENIED shop/web* -> shop/db 5432/TCP SYN
+5s verdict AUDIT egress noreply shop/db* -> shop/api 8080/TCP SYN
"""
EDGES = {
    "FlowwatchUnexpectedEgress": "shop/web → paste.example:443/TCP is forwarded but not declared",
    "FlowwatchUnexpectedIngress": "remote-node → shop/web:9999/TCP is forwarded but not declared",
    "FlowwatchDeclaredButDropped": "shop/api → shop/db:5432/TCP is declared by `shop/api → shop/db:5432/TCP`",
    "FlowwatchDeniedAttempts": "shop/web → shop/db:5432/TCP is not declared and dropped by policy",
    "FlowwatchEnforcementGap": "shop/db → shop/api:8080/TCP is not declared and passes only because of audit mode",
}
LASTING, FLEETING = 600.0, 3.0
"""Seconds for which a finding lasts after its last flow: longer than a test takes, and shorter."""
PATIENCE = 90.0


class People:
    """A webhook receiver: everything it was told, in order."""

    def __init__(self) -> None:
        self.alerts: list[dict[str, Any]] = []
        told = self.alerts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["alerts"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    @contextmanager
    def listening(self) -> Iterator[People]:
        thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.server.shutdown()
            self.server.server_close()
            thread.join()

    def names(self, status: str) -> Counter[str]:
        """How often people were told of each alert in a status."""
        return Counter(one["labels"]["alertname"] for one in list(self.alerts) if one["status"] == status)

    @property
    def routing(self) -> str:
        """A configuration that tells people of every alert at once."""
        route = {
            "receiver": "people",
            "group_by": ["..."],
            "group_wait": "10ms",
            "group_interval": "100ms",
            "repeat_interval": "1h",
        }
        receivers = [{"name": "people", "webhook_configs": [{"url": self.url}]}]
        return yaml.safe_dump({"route": route, "receivers": receivers})


def alerting(folder: Path, *urls: str, lasting: float = LASTING) -> Config:
    """A configuration whose alerts come at once and go when their findings do."""
    config = settings(folder, ALLOWLIST, urls)
    return replace(
        config,
        judge=replace(config.judge, active_for=lasting, unused_after=0.5),
        alerts=replace(config.alerts, resend_interval=15.0, own_for=0.0, external_url="https://fw.example.org"),
    )


def flows() -> list[bytes]:
    return [line.message for line in parse(DRIFT, time.time() - 6)]


def lost(events: int) -> bytes:
    event = flow_pb2.LostEvent(source=flow_pb2.HUBBLE_RING_BUFFER, num_events_lost=events)
    return observer_pb2.GetFlowsResponse(lost_events=event, node_name="node-1").SerializeToString()


async def test_each_alert_fires_once_with_its_evidence_and_is_resolved(tmp_path: Path) -> None:
    """All eleven alerts, with flowwatch restarted in between: each is told once as firing and once as resolved."""
    people = People()
    with people.listening():
        async with alertmanager(tmp_path, people.routing) as address:
            await asyncio.to_thread(_all_of_them, alerting(tmp_path, f"http://{address}"), people)


def _all_of_them(config: Config, people: People) -> None:
    feed = Feed()
    told = {*EDGES, "FlowwatchConditionFailed", "FlowwatchAllowlistUnused"}
    with running(config, feed) as (daemon, _):
        feed.give(flows())
        _until(lambda: told <= people.names("firing").keys(), f"{told} fire", people)
        _evidence(people)
        _own_troubles(daemon, feed, config, people)
        states = dict(daemon.snapshot.alerts)
    before = list(people.alerts)
    with running(config, Feed()) as (daemon, _):
        _until(lambda: daemon.snapshot.alerts.get("firing", 0) >= len(told), f"{states} again", people)
        assert people.alerts == before  # what was lost before the restart is lost still
    # Nobody is told anything again, until the findings are over.
    with running(replace(config, judge=replace(config.judge, active_for=FLEETING)), Feed()):
        _until(lambda: people.names("resolved").keys() >= {*EDGES}, "the findings are over", people)
        firing, resolved = people.names("firing"), people.names("resolved")
    # Those about live policies need an API server; `tests/test_bypass.py` is about them.
    assert set(firing) == set(NAMES) - {"FlowwatchClusterWatchStale", "FlowwatchPolicyDrift"}
    assert set(firing.values()) == {1}, firing
    assert {resolved[name] for name in EDGES} == {1}, resolved
    starts = {one["fingerprint"]: one["startsAt"] for one in people.alerts if one["status"] == "firing"}
    assert all(starts[one["fingerprint"]] == one["startsAt"] for one in people.alerts)


def _evidence(people: People) -> None:
    """What each alert about an edge carries."""
    told = {one["labels"]["alertname"]: one for one in people.alerts if one["status"] == "firing"}
    for name, sentence in EDGES.items():
        annotations = told[name]["annotations"]
        assert annotations["description"].startswith(sentence)
        assert annotations["runbook_url"] == f"https://fw.example.org/runbook#{name.lower()}"
        assert told[name]["generatorURL"] == annotations["page_url"]
        assert " node-1 " in annotations["flows"]
        documents = list(yaml.safe_load_all(annotations["network_policy"]))
        assert {one["kind"] for one in documents} == {"CiliumNetworkPolicy"}
    egress = told["FlowwatchUnexpectedEgress"]["annotations"]
    assert egress["addresses"] == "203.0.113.7"
    assert "paste.example" in yaml.safe_load(egress["allowlist_line"])[0]["to"]["fqdn"]
    assert told["FlowwatchDeclaredButDropped"]["annotations"]["policies"] == "CiliumNetworkPolicy:shop/db"
    assert "nobody remembers" not in told["FlowwatchAllowlistUnused"]["annotations"]["description"]
    assert told["FlowwatchAllowlistUnused"]["annotations"]["rules"] == "shop/web → shop/old:80/TCP"
    assert told["FlowwatchConditionFailed"]["labels"]["condition"] == "OrdersWork"


def _own_troubles(daemon: Daemon, feed: Feed, config: Config, people: People) -> None:
    """flowwatch gets into every trouble there is, one after the other, and out of those it can."""

    def trouble(name: str, begin: Callable[[], object], end: Callable[[], object]) -> None:
        begin()
        _until(lambda: people.names("firing")[name], f"{name} fires", people)
        end()
        _until(lambda: people.names("resolved")[name], f"{name} is resolved", people)

    (file,) = config.allowlist
    trouble(
        "FlowwatchAllowlistInvalid",
        lambda: file.write_text("rules: [", encoding="utf-8"),
        lambda: file.write_text(ALLOWLIST, encoding="utf-8"),
    )
    trouble(
        "FlowwatchStreamDown",
        lambda: setattr(feed.status, "state", "waiting"),
        lambda: setattr(feed.status, "state", "streaming"),
    )
    commit = daemon.store.commit

    def refuse(tables: object) -> int:
        raise StoreError(f"no space left on device for {tables}"[:24])

    trouble(
        "FlowwatchStoreDegraded",
        lambda: setattr(daemon.store, "commit", refuse),
        lambda: setattr(daemon.store, "commit", commit),
    )
    feed.give([lost(1_000)])
    _until(lambda: people.names("firing")["FlowwatchCoverageLost"], "coverage is lost", people)


async def test_two_alertmanagers_one_notification(tmp_path: Path) -> None:
    """Both members of a cluster are told, and people hear of each alert once."""
    people = People()
    ports = [_free_port(), _free_port()]
    cluster = [f"127.0.0.1:{port}" for port in ports]
    options = (
        "--cluster.settle-timeout=2s",
        "--cluster.gossip-interval=50ms",
        "--cluster.pushpull-interval=1s",
        "--cluster.peer-timeout=3s",
    )
    with people.listening():
        async with AsyncExitStack() as stack:
            addresses = []
            for number, here in enumerate(cluster):
                folder = tmp_path / str(number)
                folder.mkdir()
                joined = (here, *cluster[:number])
                running_one = alertmanager(
                    folder, people.routing, *options, f"--cluster.advertise-address={here}", cluster=joined
                )
                addresses.append(await stack.enter_async_context(running_one))
            urls = [f"http://{address}" for address in addresses]
            await asyncio.to_thread(_told_once, alerting(tmp_path, *urls, lasting=20.0), urls, people)


def _told_once(config: Config, urls: list[str], people: People) -> None:
    feed = Feed()
    with running(config, feed) as (daemon, _):
        feed.give(flows())
        _until(lambda: people.names("firing").keys() >= EDGES.keys(), "the alerts fire", people)
        _until(lambda: people.names("resolved").keys() >= EDGES.keys(), "the alerts are resolved", people)
        for url in urls:
            labels = {"alertmanager": url}
            assert daemon.metrics.registry.get_sample_value("flowwatch_alertmanager_sent_total", labels)
    assert {people.names("firing")[name] for name in EDGES} == {1}, people.names("firing")
    assert {people.names("resolved")[name] for name in EDGES} == {1}, people.names("resolved")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _until(condition: Callable[[], object], what: str, people: People) -> None:
    try:
        until(condition, what, PATIENCE)
    except AssertionError as error:
        raise AssertionError(f"{error}; firing {people.names('firing')}, resolved {people.names('resolved')}") from None
