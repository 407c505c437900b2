"""What nodes report of connections that pass Cilium's proxies: DNS lookups and HTTP requests.

A redirected connection is allowed so far; the proxy's own record (type 129) says what became of
the request, without TCP flags and without a drop reason. Its answer has the endpoints swapped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from flowwatch.hubble import flow_pb2
from flowwatch.model import Protocol
from flowwatch.simulate.beats import (
    BARE,
    DATAGRAM,
    FIN_ACK,
    L3_L4,
    MICROSECOND,
    MILLISECOND,
    PROXY_PORT,
    PSH_ACK,
    SYN,
    SYN_ACK,
    Beat,
    Flags,
    Narrator,
    Path,
    Way,
)
from flowwatch.simulate.cluster import Pod
from flowwatch.simulate.messages import EGRESS, INGRESS, L7, POLICY_VERDICT

_NXDOMAIN = 3
_NO_ANSWER_TTL = 4_294_967_295
_ALLOW_DNS = ("allow-dns", "")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a lookup of one name and type yields; no addresses: the name has none of this type."""

    name: str
    kind: str
    addresses: tuple[str, ...] = ()
    exists: bool = True


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request and the code of its answer."""

    method: str
    url: str
    code: int = 200


def lookup(narrator: Narrator, path: Path, answers: tuple[Answer, ...]) -> list[Beat]:
    """A pod asks the cluster's DNS for some names, through the DNS proxy of its node."""
    assert isinstance(path.client, Pod)
    assert isinstance(path.server, Pod)
    pod, resolver = path.client, path.server
    first = SYN if path.protocol is Protocol.TCP else DATAGRAM
    asking = narrator.beat(
        path, first, Way.FORWARD, pod.node, EGRESS, event=POLICY_VERDICT, verdict=flow_pb2.REDIRECTED,
        reply=False, match=L3_L4, policy=_ALLOW_DNS,
    )  # fmt: skip
    to_proxy = narrator.beat(
        path, first, Way.FORWARD, pod.node, EGRESS, reply=False, point=flow_pb2.TO_PROXY, reason=flow_pb2.NEW,
        proxy_port=PROXY_PORT,
    )  # fmt: skip
    at_resolver = [
        narrator.admission(path, first),
        narrator.beat(
            path, first, Way.FORWARD, resolver.node, EGRESS, reply=False, point=flow_pb2.TO_ENDPOINT,
            interface=resolver.interface, reason=flow_pb2.NEW,
        ),
    ]  # fmt: skip
    answered = narrator.answer(path, PSH_ACK if path.protocol is Protocol.TCP else DATAGRAM, 300 * MICROSECOND)
    story = [asking, to_proxy]
    story += [_dns(narrator, path, answer, response=False) for answer in answers]
    story += at_resolver + answered[:-1]
    story += [_after(_dns(narrator, path, answer, response=True), 900 * MICROSECOND) for answer in answers]
    return [*story, *answered[-1:]]


def _dns(narrator: Narrator, path: Path, answer: Answer, response: bool) -> Beat:
    record = flow_pb2.DNS(query=f"{answer.name}.", observation_source="proxy", qtypes=[answer.kind])
    layer = flow_pb2.Layer7(type=flow_pb2.RESPONSE if response else flow_pb2.REQUEST)
    summary = f"DNS Query {record.query} {answer.kind}"
    if response:
        record.ips.extend(answer.addresses)
        record.rcode = 0 if answer.exists else _NXDOMAIN
        record.ttl = 60 + len(answer.name) if answer.addresses else _NO_ANSWER_TTL
        if answer.addresses:
            record.rrtypes.append(answer.kind)
        layer.latency_ns = (1_000 + 37 * len(answer.name)) * MICROSECOND
        found = f'"{",".join(answer.addresses)}" TTL: {record.ttl}' if answer.addresses else f"TTL: {record.ttl}"
        what = found if answer.exists else f"RCode: Non-Existent Domain TTL: {record.ttl}"
        summary = f"DNS Answer {what} (Proxy {record.query} {answer.kind})"
    layer.dns.CopyFrom(record)
    return _record(narrator, path, layer, response, EGRESS, summary)


def http(narrator: Narrator, path: Path, request: Request, refused: bool = False) -> list[Beat]:
    """The gateway relays a request to a pod whose policy reads HTTP; `refused`: it answers 403 itself."""
    assert isinstance(path.server, Pod)
    pod = path.server
    to_proxy: dict[str, Any] = {"reply": False, "point": flow_pb2.TO_PROXY, "proxy_port": PROXY_PORT}
    story = [
        narrator.admission(path, SYN, flow_pb2.REDIRECTED),
        narrator.beat(path, SYN, Way.FORWARD, pod.node, EGRESS, reason=flow_pb2.NEW, **to_proxy),
        *narrator.answer(path, SYN_ACK, 300 * MICROSECOND),
        narrator.beat(path, PSH_ACK, Way.FORWARD, pod.node, EGRESS, reason=flow_pb2.ESTABLISHED, **to_proxy),
        _http(narrator, path, request, refused, response=False),
    ]
    if not refused:
        story.append(_to_pod(narrator, path, PSH_ACK))
    story.append(_after(_http(narrator, path, request, refused, response=True), 12 * MILLISECOND))
    return [*story, *narrator.answer(path, PSH_ACK, 200 * MICROSECOND), *narrator.answer(path, FIN_ACK, MILLISECOND)]


def _to_pod(narrator: Narrator, path: Path, flags: Flags) -> Beat:
    assert isinstance(path.server, Pod)
    return narrator.beat(
        path, flags, Way.FORWARD, path.server.node, EGRESS, reply=False, point=flow_pb2.TO_ENDPOINT,
        interface=path.server.interface, reason=flow_pb2.ESTABLISHED,
    )  # fmt: skip


def _http(narrator: Narrator, path: Path, request: Request, refused: bool, response: bool) -> Beat:
    code = 403 if refused else request.code
    latency = 1 if refused else 11 + len(request.url) % 90
    agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    record = flow_pb2.HTTP(
        code=code if response else 0,
        method=request.method,
        url=request.url,
        protocol="HTTP/1.1",
        headers=[
            flow_pb2.HTTPHeader(key=":scheme", value="http"),
            flow_pb2.HTTPHeader(key="User-Agent", value=agent),
            flow_pb2.HTTPHeader(key="X-Forwarded-Proto", value="https"),
        ],
    )
    layer = flow_pb2.Layer7(
        type=flow_pb2.RESPONSE if response else flow_pb2.REQUEST,
        latency_ns=latency * MILLISECOND if response else 0,
        http=record,
    )
    said = f"{request.method} {request.url}"
    summary = f"HTTP/1.1 {code} {latency}ms ({said})" if response else f"HTTP/1.1 {said}"
    verdict = flow_pb2.DROPPED if refused and not response else flow_pb2.FORWARDED
    return _record(narrator, path, layer, response, INGRESS, summary, verdict)


def _record(
    narrator: Narrator,
    path: Path,
    layer: flow_pb2.Layer7,
    response: bool,
    direction: flow_pb2.TrafficDirection,
    summary: str,
    verdict: flow_pb2.Verdict = flow_pb2.FORWARDED,
) -> Beat:
    """An entry of the proxy's access log, made on the node whose pod has the proxy."""
    pod = path.client if direction == EGRESS else path.server
    assert isinstance(pod, Pod)
    return narrator.beat(
        path, BARE, Way.REPLY if response else Way.FORWARD, pod.node, direction, event=L7, verdict=verdict,
        reply=response, l7=layer.SerializeToString(), summary=summary,
    )  # fmt: skip


def _after(beat: Beat, gap: int) -> Beat:
    return replace(beat, gap=gap, jitter=gap // 2)
