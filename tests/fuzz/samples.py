"""Where fuzzing begins: real inputs of every kind, few enough to be read."""

from __future__ import annotations

import gzip
import json
import lzma
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from flowwatch.hubble import flow_pb2, observer_pb2, relay_pb2
from flowwatch.receive.jsonl import LineConverter
from tests.support import shared

UUID = "00000000-0000-4000-8000-000000000001"
ROOT = Path(__file__).parents[2]


def lines() -> list[bytes]:
    """Lines as Hubble's exporter prints them: captured ones where they are at hand, and one of each kind."""
    time = "2026-01-15T09:30:01.123456789Z"
    pod = '{"ID":7,"identity":51234,"namespace":"shop","labels":["k8s:app=web"],"workloads":[{"name":"web"}]}'
    flow = (
        f'{{"flow":{{"time":"{time}","uuid":"{UUID}","verdict":"DROPPED","drop_reason":133,"IP":{{"source":"10.0.0.1",'
        '"destination":"203.0.113.7","ipVersion":"IPv4"},"l4":{"TCP":{"source_port":40000,"destination_port":443,'
        f'"flags":{{"SYN":true}}}}}},"source":{pod},"destination":{{"identity":2,"labels":["reserved:world"]}},'
        '"Type":"L3_L4","node_name":"c/n1","destination_names":["b.example","a.example"],"event_type":{"type":5},'
        '"traffic_direction":"EGRESS","is_reply":false,"Summary":"TCP Flags: SYN","drop_reason_desc":"POLICY_DENIED",'
        f'"egress_denied_by":[{{"name":"p","namespace":"shop","revision":"42"}}]}},"node_name":"c/n1","time":"{time}"}}'
    )
    http = '"l7":{"type":"REQUEST","latency_ns":"1500","http":{"code":403,"method":"GET","url":"http://x/"}}'
    dns = '"l7":{"type":"RESPONSE","dns":{"query":"a.example.","ips":["203.0.113.7"],"ttl":30,"rcode":0}}'
    texts = [
        flow,
        flow.replace('"verdict"', f'{http},"verdict"'),
        flow.replace('"verdict"', f'{dns},"verdict"').replace('"type":5', '"type":129'),
        flow.replace('"TCP"', '"UDP"').replace(',"flags":{"SYN":true}', ""),
        f'{{"flow":{{"time":"{time}","verdict":"FORWARDED","aggregate":{{"egress_flow_count":17}}}}}}',
        '{"lost_events":{"source":"HUBBLE_RING_BUFFER","num_events_lost":"317","cpu":3},"node_name":"n"}',
        '{"node_status":{"state_change":"NODE_ERROR","node_names":["a","b"],"message":"m"}}',
        '{"agent_event":{"type":"AGENT_STARTED","agent_start":{"time":"2026-01-01T00:00:00Z"}},"node_name":"n"}',
    ]
    return [text.encode() for text in texts] + list(captured())


def captured() -> Iterator[bytes]:
    """Some lines of each capture."""
    for file in sorted((shared.FOLDER / "hubble-otel").glob("*.jsonl")):
        yield from file.read_bytes().splitlines()[:6]


def messages() -> list[bytes]:
    """What those lines are on the wire."""
    convert = LineConverter().convert
    extreme = flow_pb2.Flow(uuid="u", time={"seconds": 253402300799, "nanos": 999999999})
    extreme.l7.latency_ns = (1 << 64) - 1
    return [
        *(convert(line) for line in lines()),
        observer_pb2.GetFlowsResponse(flow=extreme).SerializeToString(),
    ]


def framed() -> list[bytes]:
    """Captures: JSON lines and messages with their lengths in front."""
    text = b"\n".join(lines()[:6]) + b"\n"
    frames = b"".join(bytes((len(m) & 0x7F | 0x80, len(m) >> 7)) + m for m in messages()[:6] if 128 <= len(m) < 16384)
    return [text, frames, b"\xef\xbb\xbf" + text, b"log line\n" + text]


def packed() -> list[bytes]:
    """Captures, compressed in every way that is read."""
    text = framed()[0]
    frame = pa.compress(text, "zstd", asbytes=True)
    return [gzip.compress(text, mtime=0), gzip.compress(text, mtime=0) * 2, lzma.compress(text), frame, text]


def answers() -> list[bytes]:
    """What servers answer when they are asked for their state."""
    status = observer_pb2.ServerStatusResponse(num_flows=4095, max_flows=4095, seen_flows=1 << 40, version="1.19.4")
    status.num_connected_nodes.value = 3
    status.unavailable_nodes.append("n9")
    event = relay_pb2.NodeStatusEvent(state_change=relay_pb2.NODE_CONNECTED, node_names=["a", "b"], message="m")
    lost = flow_pb2.LostEvent(source=flow_pb2.HUBBLE_RING_BUFFER, num_events_lost=(1 << 64) - 1)
    return [each.SerializeToString() for each in (status, event, lost)]


def documents(*folders: str, suffix: str) -> list[bytes]:
    """The files of the examples."""
    files = [file for folder in folders for file in sorted((ROOT / folder).rglob(f"*{suffix}"))]
    return [data for file in files if len(data := file.read_bytes()) < 16_384]


def declarations() -> list[bytes]:
    """Allowlists and network policies."""
    return documents("examples", "tests/fixtures", suffix=".yaml")


def configurations() -> list[bytes]:
    """Configuration files."""
    return [
        b"cluster: prod\nhubble:\n  server: relay:80\n  tls: {enabled: true, ca: ca.crt, server_name: x}\n"
        b"allowlist: [a.yaml]\nstore: {path: x.duckdb, memory_limit: 256MB, retention: 7d}\n"
        b'alerts: {alertmanagers: ["http://a:9093"], labels: {team: x}}\nweb: {listen: "0.0.0.0:9950"}\n',
        b"judge: {settle: 5s, min_coverage: 99%}\npolicy: {cilium: '1.19', cidr_nodes: [10.0.0.0/8]}\n",
        b"x: &a {b: 1}\ny: *a\n<<: *a\n",
        b"log: {level: info, format: json}\n--- \ncluster: two\n",
    ]


NAMES = b"""apiVersion: flowwatch/v1
kind: Allowlist
workloads:
  monitoring: {loki: {app: loki}, grafana: {app: grafana}}
  seaweedfs: {filer: {app: filer}}
"""


def tables() -> list[bytes]:
    """Markdown with tables of what is allowed, between those that `NAMES` defines."""
    table = (
        "# Network\n\n| From (namespace) | To (namespace) | Port | Purpose |\n|---|:-:|--:|---|\n"
        "| loki (monitoring) | filer (seaweedfs) | 8333/TCP | S3 |\n"
        "| grafana (monitoring) | loki (monitoring) | 3100/TCP, 9095/TCP | \\| |\n"
    )
    return [table.encode(), *documents("examples", "docs", suffix=".md")]


def requests() -> list[bytes]:
    """HTTP requests to the API."""
    paths = (
        "/",
        "/metrics",
        "/healthz",
        "/readyz",
        "/static/page.js",
        "/api/v1/status",
        "/api/v1/findings?square=denied",
    )
    paths += ("/api/v1/findings/0123456789abcdef", "/api/v1/queries", "/api/v1/query/verdicts?since=1h&format=csv")
    heads = "Host: localhost\r\nAccept: application/json\r\nAccept-Encoding: gzip\r\nConnection: keep-alive\r\n"
    plain = [f"GET {path} HTTP/1.1\r\n{heads}\r\n".encode() for path in paths]
    return [
        *plain,
        plain[0] + plain[1],
        b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\n\r\n",
    ]


def words(seeds: list[bytes]) -> list[bytes]:
    """The words that occur in these, and some that never should."""
    found = {word for seed in seeds for word in seed.replace(b'"', b" ").replace(b":", b" ").split() if len(word) < 40}
    odd = (b"null", b"true", b"-1", b"1e999", b"NaN", b"18446744073709551616", b'"\\ud800"', b"\xff", b"\x00", b"{}")
    wicked = (json.dumps("\u202e").encode(), b"9" * 5_000, b"&a", b"*a", b"!!python/none", b"<<", b"[]")
    return [*sorted(found)[:2_000], *odd, *wicked]
