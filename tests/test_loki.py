"""Loki's API over real HTTP, in the forms that Grafana and logcli send, against the real daemon."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from flowwatch.assemble import running
from tests.support.feed import Feed, settings
from tests.support.flowtext import parse
from tests.support.patience import until

FLOWS = """
+0s verdict FORWARDED egress noreply shop/web* -> shop/api 8080/TCP SYN
+1s verdict FORWARDED ingress noreply node=node-2 shop/web -> shop/api* 8080/TCP SYN
+2s verdict DROPPED egress POLICY_DENIED policy=CiliumNetworkPolicy:shop/web shop/web* -> world(203.0.113.7) 443/TCP SYN
+3s drop DROPPED egress POLICY_DENIED from=40001 shop/web* -> world(203.0.113.7) 443/TCP SYN
+4s verdict AUDIT egress noreply media/bar* -> shop/api 9090/TCP SYN
"""
BEGAN = float(int(time.time()) - 60)
START, END = int(BEGAN) * 10**9, int(BEGAN + 30) * 10**9


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A daemon that has stored five flows."""
    feed = Feed()
    with running(settings(tmp_path_factory.mktemp("loki")), feed) as (daemon, service):
        feed.give([line.message for line in parse(FLOWS, BEGAN)])
        until(lambda: daemon.snapshot.rows_stored == 5, what="five rows stored")
        yield service.address


def ask(address: str, path: str, **params: Any) -> tuple[int, str, Any]:
    """Status, content type and body, as JSON where it is."""
    query = urllib.parse.urlencode({name.rstrip("_"): value for name, value in params.items()}, doseq=True)
    try:
        with urllib.request.urlopen(f"{address}/loki/api/v1/{path}?{query}", timeout=30) as answer:
            status, kind, body = answer.status, answer.headers.get_content_type(), answer.read().decode()
    except urllib.error.HTTPError as error:
        status, kind, body = error.code, error.headers.get_content_type(), error.read().decode()
    return status, kind, json.loads(body) if kind == "application/json" else body


def answered(address: str, path: str, **params: Any) -> Any:
    """The `data` of an answer that is one."""
    status, kind, body = ask(address, path, **params)
    assert (status, kind) == (200, "application/json"), body
    assert body["status"] == "success"
    return body["data"]


def lines(data: Any) -> list[tuple[int, dict[str, Any], dict[str, str]]]:
    """Seconds since the beginning, the line, and the labels of its stream, newest first."""
    assert data["resultType"] == "streams"
    found = [
        ((int(moment) - START) // 10**9, json.loads(line), stream["stream"])
        for stream in data["result"]
        for moment, line in stream["values"]
    ]
    return sorted(found, key=lambda one: -one[0])


def test_the_health_check_of_the_data_source(address: str) -> None:
    """The question Grafana asks when a data source is saved, at a moment of ten digits."""
    data = answered(address, "query", query="vector(1)+vector(1)", time=4_000_000_000, limit=1, direction="backward")
    assert data["resultType"] == "vector"
    assert data["result"] == [{"metric": {}, "value": [4_000_000_000, "2"]}]


def test_lines_as_explore_asks_for_them(address: str) -> None:
    """Newest first, with labels, fields in the line, and nothing in it that is empty."""
    data = answered(
        address, "query_range", query='{namespace=~".+"}', start=START, end=END, limit=1000, direction="backward",
        step="15000ms",
    )  # fmt: skip
    found = lines(data)
    assert [at for at, _, _ in found] == [4, 3, 2, 1, 0]
    _, line, labels = found[2]
    assert labels == {
        "cluster": "test",
        "namespace": "shop",
        "direction": "egress",
        "verdict": "DROPPED",
        "class": "denied",
        "drop_reason": "POLICY_DENIED",
        "level": "error",
    }
    assert line["source"] == "shop/web"
    assert (line["destination"], line["service"]) == ("203.0.113.7", "443/TCP")
    assert line["denied_by"] == "CiliumNetworkPolicy:shop/web"
    assert "" not in line.values()
    assert None not in line.values()
    assert found[0][2]["level"] == "warning"
    for stream in data["result"]:
        times = [int(moment) for moment, _ in stream["values"]]
        assert times == sorted(times, reverse=True)


def test_limit_and_direction(address: str) -> None:
    """As logcli pages: so many, from either end, `end` not included."""
    ask_for = {"query": '{namespace=~".+"}', "start": START, "end": END, "limit": 2}
    assert [at for at, _, _ in lines(answered(address, "query_range", **ask_for))] == [4, 3]
    forward = answered(address, "query_range", **ask_for, direction="FORWARD")
    assert sorted(at for at, _, _ in lines(forward)) == [0, 1]
    page = answered(address, "query_range", **{**ask_for, "end": START + 3 * 10**9})
    assert [at for at, _, _ in lines(page)] == [2, 1]


@pytest.mark.parametrize(
    ("query", "at"),
    [
        ('{verdict="DROPPED"}', [3, 2]),
        ('{verdict=~"DROP.*|AUDIT", namespace!="media"}', [3, 2]),
        ('{namespace="shop"} |= "8080/TCP"', [1, 0]),
        ('{namespace="shop"} |= `"source":"shop/web"` != "443/TCP"', [1, 0]),
        ('{cluster="test"} |~ "(?i)policy_denied" !~ "40001"', [2]),
        ('{cluster="test"} | json | server_port >= 8080 and server_port < 9000', [1, 0]),
        ('{cluster="test"} | json | client_port == 40001 or source="media/bar"', [4, 3, 0]),
        ('{cluster="test", unheard_of="x"}', []),
        ('{cluster="elsewhere"}', []),
    ],
)
def test_searches(address: str, query: str, at: list[int]) -> None:
    """Matchers, line filters, fields; a label that nothing has is empty, as with Loki."""
    assert [one for one, _, _ in lines(answered(address, "query_range", query=query, start=START, end=END))] == at


def test_the_log_volume_of_explore(address: str) -> None:
    """Samples at every step, none where there is nothing, by labels of which some are nowhere."""
    data = answered(
        address, "query_range", query='sum by (level, detected_level) (count_over_time({namespace=~".+"} | drop '
        "__error__[2s]))", start=START, end=START + 6 * 10**9, step="2000ms", direction="backward", limit=10,
    )  # fmt: skip
    assert data["resultType"] == "matrix"
    began = int(BEGAN)
    assert {series["metric"]["level"]: series["values"] for series in data["result"]} == {
        "info": [[began, "1"], [began + 2, "1"]],
        "error": [[began + 2, "1"], [began + 4, "1"]],
        "warning": [[began + 4, "1"]],
    }


def test_instant_queries(address: str) -> None:
    """A vector, the greatest first; rates are by the second of the range."""
    query = 'topk(2, sum by (verdict) (rate({cluster="test"} | json [20s])))'
    data = answered(address, "query", query=query, time=START + 10 * 10**9)
    assert data["resultType"] == "vector"
    assert [(one["metric"], one["value"][1]) for one in data["result"]] == [
        ({"verdict": "DROPPED"}, "0.1"),
        ({"verdict": "FORWARDED"}, "0.1"),
    ]


def test_labels_values_and_series(address: str) -> None:
    """What the editor completes: in the time asked for, under both names and both pairs of parameters."""
    window = {"start": START, "end": END}
    names = ["class", "cluster", "direction", "drop_reason", "level", "namespace", "verdict"]
    assert answered(address, "labels", **window) == names
    assert answered(address, "label", **window) == names
    assert answered(address, "label/namespace/values", **window) == ["media", "shop"]
    assert answered(address, "label/verdict/values", from_=START, to=START + 1) == ["FORWARDED"]
    assert answered(address, "label/verdict/values", **window, query='{namespace="media"}') == ["AUDIT"]
    assert answered(address, "label/nothing/values", **window) == []
    assert answered(address, "labels", start=1000, end=2000) == []
    series = answered(address, "series", **window, **{"match[]": ['{namespace="media"}', '{verdict="AUDIT"}']})
    assert [one["verdict"] for one in series] == ["AUDIT"]


def test_index_stats(address: str) -> None:
    """How much a selector means."""
    query = '{verdict="DROPPED"}'
    status, _, body = ask(address, "index/stats", query=query, start=START, end=END)
    found = lines(answered(address, "query_range", query=query, start=START, end=END))
    size = sum(len(json.dumps(line, separators=(",", ":"))) for _, line, _ in found)
    assert (status, body) == (200, {"streams": 1, "chunks": 1, "entries": 2, "bytes": size})


@pytest.mark.parametrize(
    ("path", "params", "status", "told"),
    [
        ("query_range", {"query": "{"}, 400, "parse error at line 1, col 2: syntax error"),
        ("query_range", {"query": '{a="b"} | pattern "<x>"'}, 400, "unsupported: the stage `pattern`"),
        ("query_range", {}, 400, "parse error"),
        ("query_range", {"query": '{a="b"}', "limit": "6000"}, 400, "max entries limit per query exceeded"),
        ("query_range", {"query": '{a="b"}', "limit": "-1"}, 400, "limit:"),
        ("query_range", {"query": '{a="b"}', "direction": "up"}, 400, "invalid direction"),
        ("query_range", {"query": '{a="b"}', "interval": "5s"}, 400, "unsupported: `interval`"),
        ("query_range", {"query": '{a="b"}', "start": "2", "end": "1"}, 400, "must not be before"),
        ("query_range", {"query": 'rate({a="b"}[1m])', "step": "0"}, 400, "step"),
        ("query", {"query": '{a="b"}'}, 400, "not supported as an instant query type"),
        ("series", {}, 400, "match[]"),
        ("tail", {}, 404, "query_range, query, labels"),
        ("push", {}, 404, "query_range, query, labels"),
    ],
)
def test_refusals(address: str, path: str, params: dict[str, str], status: int, told: str) -> None:
    """As plain text, with what is wrong and where."""
    found, kind, body = ask(address, path, **params)
    assert (found, kind) == (status, "text/plain")
    assert told in body


def test_hostile_names_stay_text(address: str) -> None:
    """What would end a string in SQL is one more text that no line holds."""
    for text in ("' OR 1=1 --", "\\'; DROP TABLE flows; --", "\x00", "\U0001f600", "%' UNION SELECT 1 --"):
        quoted = json.dumps(text, ensure_ascii=False)
        all_ = '{cluster="test"}'
        for query in (f"{{namespace={quoted}}}", f"{all_} |= {quoted}", f"{all_} | json | names={quoted}"):
            assert answered(address, "query_range", query=query, start=START, end=END)["result"] == []
    assert len(lines(answered(address, "query_range", query='{cluster="test"}', start=START, end=END))) == 5
