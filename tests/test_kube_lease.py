"""The election of the replica that pushes alerts: never two at once, and never none for long."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import groupby
from pathlib import Path
from random import Random
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from flowwatch.kube.access import Place
from flowwatch.kube.election import DURATION, RETRY, Election, Record
from flowwatch.kube.lease import Leading
from flowwatch.kube.resources import lease_grants
from tests.support.apiserver import FakeCluster
from tests.support.flowtext import parse
from tests.support.observer import Observer, sends
from tests.support.patience import until

TAKEOVER = 15.0
"""Seconds within which another replica leads after one died."""


class Stored:
    """The lease as an API server keeps it: a write of anything but the newest version is refused."""

    def __init__(self) -> None:
        self.record: Record | None = None
        self.version = 0

    def write(self, wanted: Record) -> Record | None:
        current = self.record.version if self.record else ""
        if wanted.version != current:
            return None
        self.version += 1
        self.record = replace(wanted, version=str(self.version))
        return self.record


@dataclass
class Replica:
    """A replica with a clock of its own that is ahead and runs fast or slow, and steps that take a while."""

    election: Election
    ahead: float
    rate: float
    wakes: float = 0.0
    alive: bool = True
    asking: tuple[str, Any] | None = None
    asked: float = 0.0

    def clock(self, now: float) -> float:
        return self.ahead + now * self.rate


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(2, 4),
    failing=st.floats(0, 0.6),
    slow=st.floats(0.01, 3.0),
    kills=st.lists(st.floats(20, 200), max_size=3),
)
def test_two_never_lead_at_once(seed: int, count: int, failing: float, slow: float, kills: list[float]) -> None:
    """Clocks that are hours apart and run 5 % fast or slow, lost requests, lost answers, late answers, kills: at no
    moment do two lead, and where requests do not fail somebody leads again within the time promised."""
    random, stored, now = Random(seed), Stored(), 0.0
    replicas = [
        Replica(Election(f"r{number}"), random.uniform(-9999, 9999), random.uniform(0.95, 1.05))
        for number in range(count)
    ]
    leaderless = 0.0
    while now < 300.0:
        step = min(one.wakes for one in replicas if one.alive) - now
        now += max(step, 0.001)
        for one in replicas:
            if one.alive and one.wakes <= now:
                _turn(one, stored, random, now, failing, slow)
        if kills and now >= min(kills) and sum(one.alive for one in replicas) > 1:
            kills.remove(min(kills))
            leader = next((one for one in replicas if one.alive and one.election.leads(one.clock(now))), None)
            if leader is not None:
                leader.alive = False
        leading = [one for one in replicas if one.alive and one.election.leads(one.clock(now))]
        assert len(leading) <= 1
        leaderless = 0.0 if leading else leaderless + max(step, 0.001)
        if failing == 0 and slow <= 1.0:
            assert leaderless <= TAKEOVER


def _turn(one: Replica, stored: Stored, random: Random, now: float, failing: float, slow: float) -> None:
    """What `Leading` does, one request at a time; an answer comes at the next wake."""
    election, clock = one.election, one.clock(now)
    if one.asking is not None:
        what, answer = one.asking
        one.asking = None
        if answer == "lost":
            one.wakes = now + RETRY
            return
        if what == "read":
            election.seen(answer, clock)
            wanted = election.wants(clock, f"{now}")
            if wanted is not None:
                _write(one, stored, random, now, wanted, failing, slow)
                return
        elif answer is None:
            election.seen(None, clock)
        else:
            election.written(answer, one.asked, clock)
        one.wakes = now + RETRY * random.uniform(0.8, 1.2)
    elif election.leads(clock):
        wanted = election.wants(clock, f"{now}")
        assert wanted is not None
        _write(one, stored, random, now, wanted, failing, slow)
    else:
        one.asking = ("read", "lost" if random.random() < failing else stored.record)
        one.wakes = now + random.uniform(0, slow / 2)


def _write(
    one: Replica, stored: Stored, random: Random, now: float, wanted: Record, failing: float, slow: float
) -> None:
    one.asked = one.clock(now)
    answer: Any = "lost"
    if random.random() >= failing:
        answer = stored.write(wanted)
        if random.random() < failing:
            answer = "lost"  # it was stored, and nobody heard
    one.asking = ("write", answer)
    one.wakes = now + random.uniform(0, slow / 2)


def test_a_lease_that_is_given_up_is_free_at_once() -> None:
    """And one that is held only after its holder's time, on the clock of who waits."""
    first, second = Election("a"), Election("b")
    wanted = first.wants(0.0, "t0")
    assert wanted is not None
    held = replace(wanted, version="1")
    first.written(held, 0.0, 0.1)
    second.seen(held, 5000.0)
    second.seen(held, 5000.0 + DURATION - 0.1)
    assert second.wants(5000.0 + DURATION - 0.1, "t1") is None
    assert first.leads(5.9)
    assert not first.leads(6.0)
    taken = second.wants(5000.0 + DURATION, "t1")
    assert taken is not None
    assert (taken.holder, taken.transitions, taken.version) == ("b", 1, "1")
    free = first.resigns()
    assert free is not None
    assert not first.leads(1.0)
    second.seen(replace(free, version="2"), 5001.0)
    assert second.wants(5001.0, "t2") is not None


def test_the_lease_is_created_renewed_and_given_up(tmp_path: Path) -> None:
    """Against a server: another takes over when the holder resigns, and a token that was renewed is read."""
    token = tmp_path / "token"
    token.write_text("t")
    with FakeCluster(token="t") as cluster:
        cluster.on_new_token = token.write_text
        where = Place(cluster.url, token)
        with Leading(where, "flowwatch", "alerts", "a") as first:
            until(first.leads, "the first leads")
            with Leading(where, "flowwatch", "alerts", "b") as second:
                cluster.fault("new-token")
                before = cluster.leases["alerts"]["metadata"]["resourceVersion"]
                until(lambda: cluster.leases["alerts"]["metadata"]["resourceVersion"] != before, "renewed")
                assert (first.leads(), second.leads()) == (True, False)
                first.__exit__(None, None, None)
                assert cluster.leases["alerts"]["spec"]["holderIdentity"] in ("", "b")
                until(second.leads, "the second leads")
                assert not first.leads()
        assert cluster.leases["alerts"]["spec"]["holderIdentity"] == ""
        assert cluster.leases["alerts"]["spec"]["leaseTransitions"] == 1
        verbs = {"GET": "get", "POST": "create", "PUT": "update"}
        used = {verbs[name.removeprefix("lease ")] for name in cluster.asked if name.startswith("lease ")}
        assert used == {verb for right in lease_grants("alerts") for verb in right.verbs}


# ── two processes ────────────────────────────────────────────────────────────────────────────────────

FLOWS = """\
+0s trace FORWARDED TO_NETWORK NEW noreply shop/web* -> world(203.0.113.7,paste.example) 443/TCP SYN
+1s verdict DROPPED egress POLICY_DENIED shop/web* -> shop/db 5432/TCP SYN
"""
ALLOWLIST = """\
apiVersion: flowwatch/v1
kind: Allowlist
workloads: {shop: {web: {app: web}, db: {app: db}}}
rules: [{from: shop/db, to: shop/web, ports: 1/TCP, reason: none}]
"""
TOLD = {"FlowwatchUnexpectedEgress", "FlowwatchDeniedAttempts"}


class Pushes:
    """An Alertmanager that only listens: who pushed what, in order."""

    def __init__(self) -> None:
        self.all: list[tuple[str, frozenset[tuple[str, str]], bool]] = []
        taken = self.all

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                for alert in json.loads(self.rfile.read(int(self.headers["Content-Length"]))):
                    replica = alert["generatorURL"].split("/")[2]
                    ended = alert["endsAt"] < time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
                    taken.append((replica, frozenset(alert["labels"].items()), ended))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @contextmanager
    def listening(self) -> Iterator[Pushes]:
        thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.server.shutdown()
            self.server.server_close()
            thread.join()

    def by(self, replica: str, since: int = 0) -> list[frozenset[tuple[str, str]]]:
        return [labels for who, labels, _ in self.all[since:] if who == replica]


def replica(folder: Path, name: str, hubble: str, api: str, alertmanager: str) -> subprocess.Popen[bytes]:
    """A real daemon with its own database, in a process of its own."""
    home = folder / name
    home.mkdir(exist_ok=True)
    (home / "allowlist.yaml").write_text(ALLOWLIST, encoding="utf-8")
    written = {
        "cluster": "test",
        "hubble": {"server": hubble},
        "allowlist": ["allowlist.yaml"],
        "store": {"path": "flows.duckdb"},
        "judge": {"active_for": "1h"},
        "kubernetes": {"api": api, "lease": "alerts", "namespace": "flowwatch"},
        "alerts": {
            "alertmanagers": [alertmanager],
            "resend_interval": "1s",
            "external_url": f"http://{name}",
            "own": False,
        },
        "web": {"listen": "127.0.0.1:0"},
    }
    (home / "flowwatch.yaml").write_text(yaml.safe_dump(written), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "POD_NAME": name}
    command = [sys.executable, "-m", "flowwatch", "run", "--config", str(home / "flowwatch.yaml"), "--no-live"]
    with (home / "log").open("ab") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


def test_two_replicas_push_every_alert_and_none_twice(tmp_path: Path) -> None:
    """Two processes: who leads pushes; killed, the other goes on with the same alerts; told to end, it hands over."""
    messages = [line.message for line in parse(FLOWS, time.time() - 5)]
    pushes = Pushes()
    with FakeCluster() as cluster, Observer(*[sends(*messages)] * 20) as hubble, pushes.listening():
        where = (hubble.address, cluster.url, pushes.url)
        running = {name: replica(tmp_path, name, *where) for name in ("a", "b")}

        def holder() -> str:
            until(lambda: cluster.leases.get("alerts", {}).get("spec", {}).get("holderIdentity"), "a holder")
            return str(cluster.leases["alerts"]["spec"]["holderIdentity"]).partition("_")[0]

        try:
            for name in running:
                until(lambda: b"alert: " in (tmp_path / name / "log").read_bytes(), "both know the alerts")  # noqa: B023
            until(lambda: len({labels for _, labels, _ in pushes.all}) == 2, "one pushes both alerts")
            mark = len(pushes.all)
            until(lambda: len(pushes.all) >= mark + 8, "and goes on")

            killed = holder()
            running[killed].send_signal(signal.SIGKILL)
            running[killed].wait()
            (other,) = running.keys() - {killed}
            mark = len(pushes.all)
            until(lambda: len(set(pushes.by(other, mark))) == 2, "the other takes over")

            running[killed] = replica(tmp_path, killed, *where)
            log = tmp_path / killed / "log"
            until(lambda: log.read_bytes().count(b"serving: ") == 2, "the first is back")
            mark = len(pushes.all)
            until(lambda: len(pushes.all) >= mark + 8, "one goes on")
            ended = holder()
            running[ended].send_signal(signal.SIGTERM)
            assert running[ended].wait(60) == 0
            (other,) = running.keys() - {ended}
            mark = len(pushes.all)
            until(lambda: len(set(pushes.by(other, mark))) == 2, "the last one takes over")
        finally:
            for process in running.values():
                process.kill()
                process.wait()
        # Whoever pushed held the lease then: the order of those who pushed is the order of those who held it.
        order = [who for who, _ in groupby(who for who, _, _ in pushes.all)]
        held = iter([identity.partition("_")[0] for identity in cluster.holders])
        assert all(who in held for who in order), (order, cluster.holders)
        # To Alertmanager an alert is its labels: both replicas gave it the same, and nobody said that one was over.
        assert {dict(labels)["alertname"] for _, labels, _ in pushes.all} == TOLD
        assert len({labels for _, labels, _ in pushes.all}) == len(TOLD)
        assert not any(over for _, _, over in pushes.all)
