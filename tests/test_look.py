"""`flowwatch findings`, `watch` and `conditions`, and the page's own queries, with a real daemon and a real database;
with a token and with certificates, where it asks for them."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import aiohttp
import pytest

import flowwatch
from flowwatch.assemble import running
from flowwatch.cli import main
from flowwatch.config import Config, WebTLSSettings
from flowwatch.errors import FlowwatchError, SourceError
from flowwatch.listing import Filter, wanted
from flowwatch.remote import Access, Remote
from flowwatch.store import owner_note
from flowwatch.web import serving as serving_module
from tests.support.feed import Feed, settings
from tests.support.flowtext import parse
from tests.support.patience import until
from tests.support.simulated import make_certificate

ALLOWLIST = """
apiVersion: flowwatch/v1
kind: Allowlist
workloads: {shop: {web: {app: web}, api: {app: api}, db: {app: db}}}
rules:
- {from: shop/web, to: shop/api, ports: 8080/TCP, reason: pages, condition: PagesWork}
- {from: shop/api, to: shop/db, ports: 5432/TCP, reason: data, condition: DataReachable}
"""
FLOWS = """
+0s verdict FORWARDED egress noreply shop/web* -> shop/api 8080/TCP SYN
+0.1s verdict FORWARDED ingress noreply node=node-2 shop/web -> shop/api* 8080/TCP SYN
+0.2s trace FORWARDED TO_NETWORK NEW noreply egress shop/web* -> world(203.0.113.7,evil.example) 443/TCP SYN
+0.3s verdict DROPPED egress POLICY_DENIED shop/api* -> world(203.0.113.8) 443/TCP SYN
+0.5s verdict DROPPED ingress POLICY_DENIED shop/api -> shop/db* 5432/TCP SYN
"""
EDGES = {
    "shop/web → evil.example:443/TCP": "unexpected",
    "shop/api → 203.0.113.8:443/TCP": "denied",
    "shop/api → shop/db:5432/TCP": "blocked",
}


def run(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command line, to its end, in this process."""
    out, err = io.StringIO(), io.StringIO()
    command = list(map(str, arguments))
    with (
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", ["flowwatch", *command]),
    ):
        try:
            main()
            code = 0
        except SystemExit as done:
            code = int(done.code or 0)
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())


def watched(config: Config) -> Iterator[tuple[Any, Any]]:
    feed = Feed()
    with running(config, feed) as (daemon, service):
        feed.give([line.message for line in parse(FLOWS, time.time() - 2)])
        until(lambda: len(daemon.snapshot.findings) == 3 and daemon.snapshot.rows_stored == 5, what="three findings")
        yield daemon, service


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[tuple[Any, Any]]:
    yield from watched(settings(tmp_path, ALLOWLIST))


def test_the_running_daemon_is_asked(tmp_path: Path, daemon: tuple[Any, Any]) -> None:
    """Found by the note beside its database, or by its address: the findings of its snapshot, filtered alike, exit 1;
    the conditions with their reasons; looks at it, live."""
    running_daemon, service = daemon
    for whom in (("--store", tmp_path / "test.duckdb"), ("--server", service.address)):
        done = run("findings", "--format", "json", *whom, cwd=tmp_path)
        assert done.returncode == 1, done.stderr
        assert {finding["edge"]: finding["square"] for finding in json.loads(done.stdout)} == EDGES
        done = run("findings", "--direction", "ingress", "--text", "db", "--namespace", "shop", *whom, cwd=tmp_path)
        assert "shop/api → shop/db:5432/TCP is declared by" in done.stdout
        assert "evil.example" not in done.stdout
        done = run("findings", "--square", "unknown", *whom, cwd=tmp_path)
        assert (done.returncode, done.stdout.strip()) == (0, "no findings")
        done = run("conditions", "--format", "json", *whom, cwd=tmp_path)
        told = {each["type"]: (each["status"], each["reason"]) for each in json.loads(done.stdout)}
        assert told == {"PagesWork": ("True", "PathsForwarded"), "DataReachable": ("False", "PathBlocked")}
        assert done.returncode == 1
        assert "DataReachable" in run("conditions", *whom, cwd=tmp_path).stdout
    done = run("watch", "--for", "1", "--every", "0.3", "--format", "json", "--server", service.address, cwd=tmp_path)
    looks = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(looks) >= 2
    assert {finding["edge"] for finding in looks[-1]["findings"]} == set(EDGES)
    assert done.returncode == 1
    done = run("watch", "--for", "0.1", "--server", service.address, cwd=tmp_path)
    assert "new unexpected" in done.stdout + done.stderr
    assert len(running_daemon.snapshot.findings) == 3


def test_the_database_tells_where_nobody_runs(tmp_path: Path) -> None:
    """The findings as last reported, saying so; conditions by what was stored; nothing to watch."""
    for _ in watched(settings(tmp_path, ALLOWLIST)):
        pass
    store = tmp_path / "test.duckdb"
    done = run("findings", "--format", "json", "--store", store, cwd=tmp_path)
    assert {finding["edge"]: finding["square"] for finding in json.loads(done.stdout)} == EDGES
    assert "no flowwatch runs" in done.stderr
    assert done.returncode == 1
    (tmp_path / "flowwatch.yaml").write_text("allowlist: [allowlist.yaml]\n", encoding="utf-8")
    done = run("conditions", "--store", store, "--config", "flowwatch.yaml", cwd=tmp_path)
    assert "DataReachable" in done.stdout
    assert done.returncode == 1
    nowhere = (("watch", "--store", store), ("findings", "--store", "no.duckdb"), ("conditions", "--server", "x"))
    for arguments in nowhere:
        done = run(*arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, ""), done
        assert done.stderr


async def ask(address: str, path: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(f"{address}{path}") as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json() if answer.content_type == "application/json" else await answer.text()


async def test_the_page_and_the_api_of_a_real_daemon_agree(daemon: tuple[Any, Any]) -> None:
    """What each view and each list says, from a real database."""
    running_daemon, service = daemon
    address = service.address
    listed = await ask(address, "/api/v1/findings")
    assert {finding["edge"]: finding["square"] for finding in listed["findings"]} == EDGES
    edges = (await ask(address, "/api/v1/edges?since=1h"))["edges"]
    assert {f"{e['source']} → {e['destination']}:{e['service']}": e["square"] for e in edges} == EDGES | {
        "shop/web → shop/api:8080/TCP": "expected"
    }
    found, cursor = [], ""
    while cursor is not None:
        page = await ask(address, f"/api/v1/flows?limit=2&cursor={cursor}")
        found += page["flows"]
        cursor = page["next"]
    assert [flow["time"] for flow in found] == sorted((flow["time"] for flow in found), reverse=True)
    assert len(found) == 5
    for query, count in {
        "verdict=DROPPED": 2,
        "source=shop/web": 3,
        "destination=evil.example": 1,
        "text=POLICY_denied%205432": 1,
        "text=nothing": 0,
    }.items():
        assert len((await ask(address, f"/api/v1/flows?{query}"))["flows"]) == count, query
    minutes = (await ask(address, "/api/v1/coverage"))["minutes"]
    assert {minute["node"] for minute in minutes} == {node.node for node in running_daemon.snapshot.nodes}
    assert sum(minute["flows"] for minute in minutes) == 5
    for window in ("1h", "6h", "24h", "7d"):
        page = await ask(address, f"/coverage?window={window}")
        drawn = re.findall(r'aria-label="(?:(\d+) of 60 watched whole, )?(\d+) of 60 not expected"', page)
        assert len(drawn) == len(running_daemon.snapshot.nodes)
        # A run may begin in one span and end in the next, and the flows given here prove no time at all.
        assert all(int(whole or 0) in (0, 1, 2) and int(whole or 0) + int(rest) == 60 for whole, rest in drawn)
    evil = next(f for f in running_daemon.snapshot.findings if f.square == "unexpected")
    page = await ask(address, f"/findings/{evil.fingerprint}")
    assert page.count('<span class="verdict FORWARDED">') == 1
    dropped = next(f for f in running_daemon.snapshot.findings if f.square == "blocked")
    page = await ask(address, f"/findings/{dropped.fingerprint}")
    assert page.count('<span class="verdict DROPPED">') == 1
    overview = await ask(address, "/")
    for square in ("unexpected", "blocked", "denied", "expected"):
        assert f'aria-label="{square}: seen in ' in overview
    assert "1 blocked" in await ask(address, "/matrix")
    assert len(wanted(running_daemon.snapshot.findings, Filter(namespace="shop"))) == 3


async def test_a_query_is_given_up_in_time(daemon: tuple[Any, Any]) -> None:
    """And the next one is answered."""
    running_daemon, _ = daemon
    endless = replace(
        flowwatch.sql.queries("page")["findings"],
        sql="SELECT count(*) FROM range(100000) AS a, range(100000) AS b, range(100000) AS c",
    )
    with pytest.raises(flowwatch.errors.QueryTimeoutError, match="given up"):
        await asyncio.to_thread(running_daemon.store.query, endless, {}, 0.2)
    assert running_daemon.store.count_flows() == 5


def test_a_token_and_a_certificate(tmp_path: Path) -> None:
    """Those beside the daemon show and trust what its note names; others are turned away, and probes are not."""
    if shutil.which("openssl") is None:
        pytest.skip("the openssl command is not installed")
    make_certificate(tmp_path, "ca")
    make_certificate(tmp_path, "server", "ca")
    token = tmp_path / "token"
    token.write_text("hunter2\n", encoding="utf-8")
    base = settings(tmp_path, ALLOWLIST)
    tls = WebTLSSettings(cert=tmp_path / "server.crt", key=tmp_path / "server.key")
    secured = replace(base, web=replace(base.web, token_file=token, tls=tls, prefix="/net"))
    for _, service in watched(secured):
        assert service.address.startswith("https://127.0.0.1:")
        assert service.address.endswith("/net")
        assert "hunter2" not in owner_note(secured.store.path).read_text(encoding="utf-8")
        with flowwatch.open(secured.store.path) as database:
            assert sum(database.table("verdicts").column("flows").to_pylist()) == 5
        assert run("findings", "--store", secured.store.path, cwd=tmp_path).returncode == 1
        done = run("findings", "--server", service.address, "--ca", "ca.crt", cwd=tmp_path)
        assert done.returncode == 2
        whom = Access(token, certificate=tls.cert)
        assert Remote(service.address, whom).json("/api/v1/status")["findings_total"] == 3
        with pytest.raises(SourceError, match="a token is asked for"):
            Remote(service.address, Access(certificate=tls.cert)).json("/api/v1/status")
        with pytest.raises(SourceError, match="does not answer"):
            Remote(service.address, Access(token)).json("/api/v1/status")
        context = ssl._create_unverified_context()
        with urllib.request.urlopen(service.address.removesuffix("/net") + "/healthz", context=context) as answer:
            assert answer.status == 200


def test_mutual_tls(tmp_path: Path) -> None:
    """Who shows no certificate is told so; who shows one of the authority is answered."""
    if shutil.which("openssl") is None:
        pytest.skip("the openssl command is not installed")
    for name, signer in (("ca", None), ("server", "ca"), ("client", "ca"), ("other", None)):
        make_certificate(tmp_path, name, signer)
    base = settings(tmp_path, ALLOWLIST)
    tls = WebTLSSettings(tmp_path / "server.crt", tmp_path / "server.key", tmp_path / "ca.crt")
    for _, service in watched(replace(base, web=replace(base.web, tls=tls))):
        ours = Access(certificate=tls.cert, cert=tmp_path / "client.crt", key=tmp_path / "client.key")
        assert Remote(service.address, ours).json("/api/v1/status")["findings_total"] == 3
        with pytest.raises(SourceError, match="client certificate is asked for"):
            Remote(service.address, Access(certificate=tls.cert)).json("/api/v1/status")
        with pytest.raises(SourceError, match="does not answer"):
            Remote(service.address, replace(ours, cert=tmp_path / "other.crt", key=tmp_path / "other.key")).json("/")
        assert Remote(service.address, Access(certificate=tls.cert)).json("/readyz") == {"store": "ok", "stream": "ok"}


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    """Before anything is served."""
    base = settings(tmp_path)
    (tmp_path / "empty").write_text("\n", encoding="utf-8")
    for web, told in (
        (replace(base.web, token_file=tmp_path / "nowhere"), "web.token_file.*nowhere"),
        (replace(base.web, token_file=tmp_path / "empty"), "web.token_file.*is empty"),
        (replace(base.web, tls=WebTLSSettings(tmp_path / "empty", tmp_path / "empty")), "web.tls.*cannot be used"),
    ):
        with pytest.raises(FlowwatchError, match=told), running(replace(base, web=web), Feed()):
            pass


async def test_a_renewed_certificate_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it serves, without a restart; one that is broken leaves the old one in force."""
    if shutil.which("openssl") is None:
        pytest.skip("the openssl command is not installed")
    make_certificate(tmp_path, "first")
    make_certificate(tmp_path, "second")
    monkeypatch.setattr(serving_module, "RENEW_EVERY", 0.05)
    cert, key = tmp_path / "used.crt", tmp_path / "used.key"

    def put(name: str, moment: float) -> None:
        for source, target in ((f"{name}.key", key), (f"{name}.crt", cert)):
            content = (tmp_path / source).read_bytes()
            target.write_bytes(content)
            os.utime(target, (moment, moment))

    put("first", 1e9)
    base = settings(tmp_path)
    web = replace(base.web, tls=WebTLSSettings(cert, key))
    from tests.support.view import View  # noqa: PLC0415 - only here

    async with serving_module.serving(View(), web) as address:
        port = int(address.rpartition(":")[2])

        async def served() -> str:
            return await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))

        first, second = ((tmp_path / f"{name}.crt").read_text(encoding="utf-8").strip() for name in ("first", "second"))
        assert (await served()).strip() in first
        cert.write_text("broken", encoding="utf-8")
        await asyncio.sleep(0)
        assert (await served()).strip() in first
        put("second", 2e9)
        end = time.monotonic() + 30
        while (await served()).strip() not in second:
            assert time.monotonic() < end
