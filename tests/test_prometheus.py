"""Against the real things: promtool, a Prometheus that scrapes, an Alertmanager that is pushed to."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web

from flowwatch.alerts import Alert, AlertSettings, due, payload, sent, step
from flowwatch.alerts_claims import claims_of
from flowwatch.alerts_text import SUMMARIES
from flowwatch.metrics import Metrics
from flowwatch.model import Finding, NodeCoverage, Snapshot, Square
from flowwatch.notify import Notifier, NotifySettings
from flowwatch.receive import ReceiverStatus
from tests.support.dashboards import filled, targets
from tests.support.drift import finding
from tests.support.patience import PATIENCE
from tests.support.servers import alertmanager, program, run, served, until

pytestmark = pytest.mark.prometheus

ROOT = Path(__file__).resolve().parents[1]
RULES = ROOT / "dashboards" / "alerts.yaml"
SNIPPETS = re.findall(r"```yaml\n(.*?)```", (ROOT / "dashboards" / "README.md").read_text(encoding="utf-8"), re.DOTALL)

AM = "http://alertmanager.example.com:9093"


def something_happens(metrics: Metrics, status: ReceiverStatus) -> None:
    """One round of everything that can be counted."""
    now = time.time()
    metrics.flows({("forwarded", "trace"): 90, ("dropped", "drop"): 7, ("audit", "policy-verdict"): 3}, now)
    metrics.classes({"allowed": 90, "denied": 10})
    metrics.square_flows({("expected", "egress", "shop"): 80, ("unexpected", "egress", "shop"): 5})
    metrics.policy_drops({("shop", "ingress", "POLICY_DENIED"): 5})
    metrics.undecodable(1)
    metrics.lost("hubble_ring_buffer", 2)
    metrics.opened(Square.UNEXPECTED)
    metrics.allowlist_loaded(now)
    for stage in ("decode", "judge", "store"):
        metrics.spent(stage, 0.001)
    metrics.committed(90, 0.004)
    metrics.store_failed()
    metrics.store_size(1 << 20)
    metrics.alertmanager_sent(AM, 3)
    metrics.alertmanager_failed(AM, 1)
    metrics.alertmanager_dropped(AM, 1)
    metrics.alertmanager_queued(AM, 2)
    metrics.alertmanager_answered(AM, 0.01)
    status.messages, status.bytes, status.connects = status.messages + 100, status.bytes + 40_000, status.connects + 1
    metrics.follow(status)
    metrics.observe(
        Snapshot(
            now=now,
            started=now - 60,
            version="0",
            cluster="homelab",
            source="relay:80",
            stream="streaming",
            stream_error="",
            flows=100,
            flows_per_second=5.0,
            squares={"expected": 40, "unexpected": 2},
            nodes=(NodeCoverage("homelab", "a", True, 5, 0, now), NodeCoverage("homelab", "b", False, 0, 0, 0.0)),
            coverage=0.97,
            findings=(finding(),),
            alerts={"firing": 1},
            rules=21,
            unused_rules=("a → b:1/TCP",),
        )
    )


def test_promtool_finds_nothing_wrong_with_the_metrics() -> None:
    """Names, types, units and help of everything exposed pass Prometheus' own linter."""
    metrics = Metrics()
    something_happens(metrics, ReceiverStatus())
    body, _ = metrics.exposition("")
    checked = run("promtool", "check", "metrics", stdin=body.decode())
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_promtool_finds_nothing_wrong_with_the_rules() -> None:
    """The rule file is valid and passes every lint."""
    checked = run("promtool", "check", "rules", "--lint=all", "--lint-fatal", RULES)
    assert checked.returncode == 0, checked.stderr
    assert re.search(r"SUCCESS: \d+ rules found", checked.stdout)


def test_the_rules_fire_when_they_should() -> None:
    """Every case in tests/data/alerts.test.yaml comes out as written there."""
    tested = run("promtool", "test", "rules", ROOT / "tests" / "data" / "alerts.test.yaml")
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_rule_has_a_case() -> None:
    """No rule goes without a case in which it fires."""
    cases = yaml.safe_load((ROOT / "tests" / "data" / "alerts.test.yaml").read_text(encoding="utf-8"))
    fired = {
        case["alertname"]
        for test in cases["tests"]
        for case in test.get("alert_rule_test", ())
        if case.get("exp_alerts")
    }
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert fired == {rule["alert"] for rule in rules if "alert" in rule}
    told = {case["expr"] for test in cases["tests"] for case in test.get("promql_expr_test", ())}
    assert told == {rule["record"] for rule in rules if "record" in rule}


def test_every_expression_is_promql(tmp_path: Path) -> None:
    """Each expression of a dashboard can be parsed, told panel by panel."""
    rules = [
        {"record": f"panel:{number}", "expr": filled(target["expr"])}
        for number, (_, _, target) in enumerate(targets("prometheus"))
    ]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")
    checked = run("promtool", "check", "rules", file)
    assert checked.returncode == 0, checked.stderr


def test_the_examples_of_the_runbook_are_valid(tmp_path: Path) -> None:
    """The scrape configuration and the route that people will copy are accepted by the programs they are for."""
    scrape, source, provisioning, route, _ = (yaml.safe_load(snippet) for snippet in SNIPPETS)
    file = tmp_path / "config.yml"
    file.write_text(yaml.safe_dump({**scrape, "rule_files": [str(RULES)]}), encoding="utf-8")
    checked = run("promtool", "check", "config", file)
    assert checked.returncode == 0, checked.stderr
    route["route"]["receiver"] = "others"
    receivers = [{"name": "network"}, {"name": "others"}]
    file.write_text(yaml.safe_dump({**route, "receivers": receivers}), encoding="utf-8")
    checked = run("amtool", "check-config", file)
    assert checked.returncode == 0, checked.stderr
    assert provisioning["providers"][0]["type"] == "file"
    assert source["datasources"][0]["type"] == "loki"
    for name in SUMMARIES:
        tested = run("amtool", "config", "routes", "test", f"--config.file={file}", f"alertname={name}")
        assert tested.stdout.split() == ["network"]
    tested = run("amtool", "config", "routes", "test", f"--config.file={file}", "alertname=FlowwatchDown")
    assert tested.stdout.split() == ["others"]


@dataclass
class Desk:
    """flowwatch's side of alerting and the people's side of Alertmanager: evaluate here, read there."""

    url: str
    session: aiohttp.ClientSession
    settings: AlertSettings
    notify: NotifySettings = field(default_factory=lambda: NotifySettings(timeout=PATIENCE))
    metrics: Metrics = field(default_factory=Metrics)
    active: dict[str, Alert] = field(default_factory=dict)
    notices: list[dict[str, Any]] = field(default_factory=list)

    @asynccontextmanager
    async def notifying(self) -> AsyncIterator[Notifier]:
        notifier = Notifier([self.url], self.notify, self.metrics, self.session)
        notifier.start()
        try:
            yield notifier
        finally:
            await notifier.close(PATIENCE)

    async def evaluate(self, *findings: Finding) -> None:
        """One evaluation with everything it sends, to the end."""
        now = time.time()
        self.active, _ = step(self.active, claims_of(findings, self.settings, self.active), now, self.settings)
        told = due(self.active, now, self.settings)
        async with self.notifying() as notifier:
            notifier.enqueue(payload(told, now, self.settings))
        self.active = sent(self.active, told, now)

    async def known(self) -> list[dict[str, Any]]:
        """What Alertmanager holds as active."""
        async with self.session.get(f"{self.url}/api/v2/alerts", params={"active": "true"}) as response:
            assert response.status == 200
            return await response.json()

    async def noticed(self, status: str) -> list[dict[str, Any]]:
        """The alerts of one status that the receiver was told of."""
        return [alert for notice in self.notices for alert in notice["alerts"] if alert["status"] == status]

    def count(self, what: str) -> float | None:
        labels = {"alertmanager": self.url}
        return self.metrics.registry.get_sample_value(f"flowwatch_alertmanager_{what}_total", labels)


@asynccontextmanager
async def desk(directory: Path, settings: AlertSettings, *more: str, prefix: str = "") -> AsyncIterator[Desk]:
    """An Alertmanager that passes everything on to a receiver at once."""
    program("prometheus-alertmanager")
    notices: list[dict[str, Any]] = []

    async def receive(request: web.Request) -> web.Response:
        notices.append(await request.json())
        return web.Response()

    async with served(web.post("/", receive)) as receiver, aiohttp.ClientSession() as session:
        config = {
            "route": {
                "receiver": "people",
                "group_by": ["fingerprint"],
                "group_wait": "10ms",
                "group_interval": "100ms",
                "repeat_interval": "1h",
            },
            "receivers": [{"name": "people", "webhook_configs": [{"url": f"http://{receiver}/"}]}],
        }
        async with alertmanager(directory, yaml.safe_dump(config), *more) as address:
            yield Desk(f"http://{address}{prefix}", session, settings, notices=notices)


async def test_an_alert_fires_and_is_resolved(tmp_path: Path) -> None:
    """From a finding to the receiver and back: the alert arrives once however often it is repeated, with its labels,
    evidence and link, below a path prefix; when the finding is over it is resolved under the same identity."""
    settings = AlertSettings(external_url="https://flowwatch.example.com", labels={"team": "net"})
    prefix = ("--web.route-prefix=/prefix", "--web.external-url=http://127.0.0.1/prefix")
    found = finding()
    async with desk(tmp_path, settings, *prefix, prefix="/prefix") as here:
        await here.evaluate(found)
        (known,) = await here.known()
        alert = here.active[found.fingerprint]
        assert known["labels"] == alert.labels
        assert known["annotations"] == alert.annotations(settings)
        assert known["generatorURL"] == f"https://flowwatch.example.com/findings/{found.fingerprint}"
        assert known["status"]["state"] == "active"
        (told,) = await until(lambda: here.noticed("firing"), "the receiver hears of it")
        assert told["labels"] == alert.labels
        for _ in range(3):
            here.active = sent(here.active, here.active.values(), 0.0)
            await here.evaluate(found)
        assert here.count("sent") == 4
        await here.evaluate()
        (told,) = await until(lambda: here.noticed("resolved"), "the receiver hears of its end")
        assert told["labels"] == alert.labels
        assert len(await here.noticed("firing")) == 1
        assert await here.known() == []
        assert (here.count("sent"), here.count("errors"), here.count("dropped")) == (5, 0, 0)


async def test_an_alert_ends_when_flowwatch_does(tmp_path: Path) -> None:
    """An alert that nobody repeats any more is resolved by Alertmanager after four intervals."""
    async with desk(tmp_path, AlertSettings(resend_interval=2.5)) as here:
        await here.evaluate(finding())
        await until(lambda: here.noticed("firing"), "the receiver hears of it")
        await until(lambda: here.noticed("resolved"), "it ends by itself")


async def test_one_bad_alert_does_not_stop_the_others(tmp_path: Path) -> None:
    """Alertmanager refuses a batch with one alert it cannot take and keeps the rest; so does flowwatch go on."""
    async with desk(tmp_path, AlertSettings()) as here:
        async with here.notifying() as notifier:
            notifier.enqueue([{"labels": {}}, {"labels": {"alertname": "Good"}}])
        assert [alert["labels"] for alert in await here.known()] == [{"alertname": "Good"}]
        assert (here.count("sent"), here.count("errors")) == (0, 2)
        await here.evaluate(finding())
        assert here.count("sent") == 1


async def test_many_alerts_of_every_kind_are_accepted(tmp_path: Path) -> None:
    """Whatever kind of edge: a thousand alerts with every square, protocol and odd name are all taken."""
    squares = (Square.UNEXPECTED, Square.BLOCKED, Square.DENIED)
    findings = [finding(destination=f"shop/web-{number}", square=squares[number % 3]) for number in range(996)]
    findings += [
        finding("host", "kube-apiserver", port=0),
        finding("2001:db8::1", "shop/web", port=0),
        finding(destination='quote"back\\slash\x1b\n.example.com=203.0.113.7'),
        finding(destination=f"{'long.' * 50}example.com=203.0.113.7"),
    ]
    settings = AlertSettings(external_url="https://flowwatch.example.com/a%20b", group_above=1000)
    async with desk(tmp_path, settings) as here:
        await here.evaluate(*findings)
        assert (here.count("sent"), here.count("errors")) == (1000, 0)
        assert {alert["labels"]["fingerprint"] for alert in await here.known()} == {one.fingerprint for one in findings}


async def test_basic_authentication(tmp_path: Path) -> None:
    """The password in the file opens a real Alertmanager; a wrong one is an error that is logged and counted."""
    users = {"basic_auth_users": {"flowwatch": "$2b$04$abcdefghijklmnopqrstuuk9qi.6/LoCq8pxgpOcfE/XATupz2cO2"}}
    (tmp_path / "web.yml").write_text(yaml.safe_dump(users), encoding="utf-8")
    password = tmp_path / "password"
    async with desk(tmp_path, AlertSettings(), f"--web.config.file={tmp_path / 'web.yml'}") as here:
        here.notify = NotifySettings(timeout=PATIENCE, username="flowwatch", password_file=password)
        password.write_text("wrong\n", encoding="utf-8")
        await here.evaluate(finding())
        assert (here.count("sent"), here.count("errors")) == (0, 1)
        password.write_text("s3cr:t\n", encoding="utf-8")
        await here.evaluate(finding(), finding("shop/web"))
        assert (here.count("sent"), here.count("errors")) == (1, 1)
