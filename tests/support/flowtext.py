"""Flows as one readable line each, for scenarios and tests.

    +0s verdict FORWARDED egress  shop/web* -> shop/api  8080/TCP SYN
    +1s trace   FORWARDED TO_ENDPOINT NEW   world(203.0.113.7,api.example.com) -> shop/web*  443/TCP SYN

The words after the event may come in any order: a verdict, `egress`/`ingress` (traffic_direction as
the server says it), a trace point, a trace reason, `reply`/`noreply` (`is_reply`; absent if neither),
TCP flags, a drop reason, `encrypted`, and `key=value` (uuid, node, from (source port), names, drop (a number),
l7 (dns|http), code, query, ips, ttl, auth, policy, count). A star marks the endpoint that is local to the
reporting node. Ends: a pod as `namespace/workload` (or one of several, `namespace/workload#name`, and where it
matters its address, `namespace/workload#name@10.0.0.7`), `host`, `remote-node`, `kube-apiserver`, `health`, `ingress`,
`unknown`, or `world(address,name…)`; `world4(…)` and `world6(…)` are the labels of dual-stack clusters. A pod
has the label `app=<workload>`, or those given for its workload besides the ones Cilium gives to every pod.
"""

from __future__ import annotations

import re
import uuid as uuids
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from flowwatch.hubble import flow_pb2, observer_pb2

EVENTS = {"drop": 1, "trace": 4, "verdict": 5, "socket": 7, "l7": 129, "none": 0}
TCP_FLAGS = {"FIN", "SYN", "RST", "PSH", "ACK"}
_LINE = re.compile(
    r"\+(?P<at>[\d.]+)s\s+(?P<event>\S+)\s+(?P<words>.*?)\s*(?P<source>\S+)\s+->\s+(?P<destination>\S+)\s*(?P<rest>.*)$"
)
_SERVICE = re.compile(r"(\d+)/(TCP|UDP|SCTP)|ICMP/(\d+)|ICMPV6/(\d+)")
_RESERVED = {
    "host": 1,
    "remote-node": 6,
    "kube-apiserver": 7,
    "health": 4,
    "ingress": 8,
    "world": 2,
    "world-ipv4": 9,
    "world-ipv6": 10,
}

_PLACES: dict[str, tuple[str, Callable[[str], object]]] = {
    "uuid": ("uuid", str),
    "node": ("node_name", str),
    "drop": ("drop_reason", int),
    "query": ("l7.dns.query", str),
    "ttl": ("l7.dns.ttl", int),
    "code": ("l7.http.code", int),
    "auth": ("auth_type", flow_pb2.AuthType.Value),
    "count": ("aggregate.egress_flow_count", int),
}


@dataclass(frozen=True)
class Line:
    """A flow with the second at which it happens."""

    at: float
    message: bytes


Labels = Mapping[str, Sequence[str]]
"""The labels of workloads: `namespace/workload` → `key=value`."""


def parse(text: str, start: float = 1_780_000_000.0, labels: Labels | None = None) -> list[Line]:
    """All flows of a text, one a line; blank lines and comments are skipped."""
    lines = [line.strip() for line in text.splitlines()]
    numbered = [(number, line) for number, line in enumerate(lines) if line and not line.startswith("#")]
    return [flow(line, start, number, labels) for number, line in numbered]


def flow(line: str, start: float, number: int = 0, labels: Labels | None = None) -> Line:
    """One flow from its line."""
    match = _LINE.match(line)
    assert match, f"not a flow line: {line!r}"
    at = float(match["at"])
    words = f"{match['words']} {match['rest']}".split()
    result = flow_pb2.Flow(Type=flow_pb2.L3_L4, node_name="node-1", uuid=str(uuids.UUID(int=number + 1)))
    result.time.FromNanoseconds(int((start + at) * 1e9))
    if EVENTS[match["event"]]:
        result.event_type.type = EVENTS[match["event"]]
    names: list[str] = []
    source_ip, _ = _end(match["source"], result.source, labels or {})
    destination_ip, names = _end(match["destination"], result.destination, labels or {})
    result.IP.source, result.IP.destination = source_ip, destination_ip
    result.destination_names.extend(names)
    source_port = 40_000 + number
    flags: set[str] = set()
    service = ""
    for word in words:
        key, _, value = word.partition("=")
        if value:
            source_port = int(value) if key == "from" else source_port
            _option(result, key, value)
        elif _SERVICE.fullmatch(word):
            service = word
        elif set(word.split("+")) <= TCP_FLAGS:
            flags |= set(word.split("+"))
        else:
            _word(result, word)
    if service:
        _l4(result, service, source_port, flags)
    response = observer_pb2.GetFlowsResponse(flow=result, node_name=result.node_name, time=result.time)
    return Line(at, response.SerializeToString())


def _word(result: flow_pb2.Flow, word: str) -> None:
    if word in ("reply", "noreply"):
        result.is_reply.value = word == "reply"
    elif word == "encrypted":
        result.IP.encrypted = True
    elif word in ("egress", "ingress"):
        result.traffic_direction = flow_pb2.TrafficDirection.Value(word.upper())
    elif word in ("request", "response"):
        result.Type = flow_pb2.L7
        result.l7.type = flow_pb2.L7FlowType.Value(word.upper())
    elif word in flow_pb2.Verdict.keys():  # noqa: SIM118
        result.verdict = flow_pb2.Verdict.Value(word)
    elif word in flow_pb2.TraceObservationPoint.keys():  # noqa: SIM118
        result.trace_observation_point = flow_pb2.TraceObservationPoint.Value(word)
    elif word in flow_pb2.TraceReason.keys():  # noqa: SIM118
        result.trace_reason = flow_pb2.TraceReason.Value(word)
    elif word in flow_pb2.DropReason.keys():  # noqa: SIM118
        result.drop_reason_desc = flow_pb2.DropReason.Value(word)
        result.drop_reason = result.drop_reason_desc
    else:
        raise AssertionError(f"not a word of a flow line: {word!r}")


def _option(result: flow_pb2.Flow, key: str, value: str) -> None:
    if key in _PLACES:
        place, convert = _PLACES[key]
        *parents, name = place.split(".")
        setattr(reduce(getattr, parents, result), name, convert(value))
    elif key == "names":
        result.destination_names.extend(value.split(","))
    elif key == "l7":
        getattr(result.l7, value).SetInParent()
    elif key == "ips":
        result.l7.dns.ips.extend(value.split(","))
    elif key == "policy":
        kind, _, place = value.partition(":")
        namespace, _, name = place.rpartition("/")
        listed = result.ingress_denied_by if result.traffic_direction == flow_pb2.INGRESS else result.egress_denied_by
        listed.add(kind=kind, namespace=namespace, name=name)
    elif key != "from":
        raise AssertionError(f"not an option of a flow line: {key}={value}")


def _l4(result: flow_pb2.Flow, service: str, source_port: int, flags: set[str]) -> None:
    match = _SERVICE.fullmatch(service)
    assert match
    if match[3]:
        result.l4.ICMPv4.type = int(match[3])
    elif match[4]:
        result.l4.ICMPv6.type = int(match[4])
    else:
        part = getattr(result.l4, match[2])
        part.source_port, part.destination_port = source_port, int(match[1])
        for flag in flags:
            setattr(part.flags, flag, True)


def _end(text: str, endpoint: flow_pb2.Endpoint, labels: Labels) -> tuple[str, list[str]]:
    """Fill an endpoint; give its address and the names that go with it."""
    local, text = text.endswith("*"), text.rstrip("*")
    world = re.fullmatch(r"world([46]?)\((.*)\)", text)
    if world:
        label = {"": "world", "4": "world-ipv4", "6": "world-ipv6"}[world[1]]
        endpoint.identity = _RESERVED[label]
        endpoint.labels.append(f"reserved:{label}")
        address, *names = world[2].split(",")
        return address, names
    if text == "unknown":
        return "10.9.9.9", []
    if text in _RESERVED:
        endpoint.identity = _RESERVED[text]
        endpoint.labels.append(f"reserved:{text}")
        if text == "kube-apiserver":
            endpoint.labels.append("reserved:remote-node")
        return "192.168.0.1", []
    text, _, address = text.partition("@")
    whole = text
    text, _, instance = text.partition("#")
    namespace, _, workload = text.partition("/")
    assert workload, f"not an end of a flow: {text!r}"
    # A stable number per name: the same identity and address on every line.
    digest = uuids.uuid5(uuids.NAMESPACE_DNS, text).int
    endpoint.identity = 1000 + digest % 60_000
    endpoint.namespace = namespace
    endpoint.labels.append(f"k8s:io.kubernetes.pod.namespace={namespace}")
    if text in labels:
        endpoint.labels.extend(f"k8s:{label}" for label in labels[text])
        endpoint.labels.append("k8s:io.cilium.k8s.policy.cluster=default")
        endpoint.labels.append(f"k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name={namespace}")
    else:
        endpoint.labels.append(f"k8s:app={workload}")
    endpoint.pod_name = f"{workload}-{instance or '0'}"
    if local:
        endpoint.ID = 1 + digest % 4000
        endpoint.workloads.add(name=workload, kind="StatefulSet")
    if instance:
        digest = uuids.uuid5(uuids.NAMESPACE_DNS, whole).int
    return address or f"10.0.{digest % 250}.{digest // 250 % 250}", []
