"""When a rollout may go on: `/readyz` waits for the first stream, but not for ever."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from flowwatch import config
from flowwatch.assemble import running
from flowwatch.model import Snapshot
from flowwatch.status import readiness
from tests.support.feed import Feed, settings
from tests.support.patience import until

START = 1_780_000_000.0
GRACE = 120.0
DOWN = "waiting: connection refused"


def at(seconds: float, **changed: object) -> dict[str, str]:
    """What is said so many seconds after the start, of a daemon whose stream is down."""
    now = Snapshot(
        now=START + seconds,
        started=START,
        version="0",
        cluster="test",
        source="relay:80",
        stream="waiting",
        stream_error="connection refused",
        flows=0,
        flows_per_second=0.0,
    )
    return readiness(replace(now, **changed), START + seconds, GRACE)  # type: ignore[arg-type]


def test_the_first_stream_is_waited_for() -> None:
    """Until the grace is over, a daemon without a stream says what it waits for."""
    assert at(0.0) == {"store": "ok", "stream": DOWN}
    assert at(GRACE - 0.1) == {"store": "ok", "stream": DOWN}
    assert at(1.0, stream="connecting", stream_error="") == {"store": "ok", "stream": "connecting"}
    assert at(1.0, stream="streaming", stream_error="", streamed=True) == {"store": "ok", "stream": "ok"}


def test_a_hubble_that_is_down_holds_up_no_rollout() -> None:
    """After the grace it is ready without a stream, and says that it has none."""
    assert at(GRACE) == {"store": "ok", "stream": f"ok, although {DOWN}"}


def test_a_stream_that_breaks_takes_nothing_out_of_service() -> None:
    """Once there was a stream, the page that says that it is down stays in reach."""
    assert at(1.0, streamed=True) == {"store": "ok", "stream": f"ok, although {DOWN}"}


def test_a_store_that_refuses_is_never_ready() -> None:
    """Neither a stream nor time makes up for it."""
    assert at(GRACE * 9, store_error="disk full", streamed=True)["store"] == "disk full"


def test_the_endpoint_follows(tmp_path: Path) -> None:
    """The status code of /readyz: 503 before the first stream, 200 with it, and 200 when it broke."""
    feed = Feed()
    feed.status.state, feed.status.connects, feed.status.error = "waiting", 0, "connection refused"
    with running(settings(tmp_path), feed) as (daemon, service):
        with pytest.raises(urllib.error.HTTPError, match="503") as refused:
            urllib.request.urlopen(service.address + "/readyz")
        assert json.loads(refused.value.read())["stream"] == DOWN
        refused.value.close()
        feed.status.state, feed.status.connects, feed.status.error = "streaming", 1, ""
        until(lambda: daemon.snapshot.streamed)
        assert ask(service.address) == {"store": "ok", "stream": "ok"}
        feed.status.state, feed.status.error = "waiting", "connection refused"
        until(lambda: daemon.snapshot.stream == "waiting")
        assert ask(service.address)["stream"] == f"ok, although {DOWN}"


def test_the_grace_can_be_over_at_once(tmp_path: Path) -> None:
    """`web.ready_grace: 0` waits for no stream at all."""
    (tmp_path / "flowwatch.yaml").write_text("web: {ready_grace: 0}", encoding="utf-8")
    grace = config.load(tmp_path / "flowwatch.yaml", {}).web.ready_grace
    wanted = settings(tmp_path)
    feed = Feed()
    feed.status.state, feed.status.connects = "connecting", 0
    with running(replace(wanted, web=replace(wanted.web, ready_grace=grace)), feed) as (_, service):
        assert ask(service.address) == {"store": "ok", "stream": "ok, although connecting"}


def ask(address: str) -> dict[str, str]:
    """What /readyz says, which must be with status 200."""
    with urllib.request.urlopen(address + "/readyz") as answer:
        assert answer.status == 200
        said: dict[str, str] = json.loads(answer.read())
    return said
