"""Conformance suites: scenarios of policies, endpoints and probes, answered as Cilium's engine would answer them.

A scenario holds everything there is: objects that it does not hold do not exist, a policy that Cilium would reject
is not enforced, fields that the API server would drop are dropped. `answer` reads one scenario and answers each of
its probes; it knows nothing of files and of what was expected.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from flowwatch.errors import FlowwatchError
from flowwatch.model import Identity, Kind
from flowwatch.policy.compiled import PolicySet, Seen
from flowwatch.policy.judging import Implicit, Judged, Verdict
from flowwatch.policy.l7 import Request, headers_of
from flowwatch.policy.nodes import Plain
from flowwatch.policy.objects import CidrGroup, KubernetesService, Objects, read_objects, unpack
from flowwatch.policy.options import Enforcement, Options
from flowwatch.policy.parties import ContainerPort, Party, make_party
from flowwatch.policy.ports import ICMP, ICMPV6, SCTP, TCP, UDP, WITHOUT_PORTS
from flowwatch.selectors import CLUSTER_LABEL, NAMESPACE_LABEL, normal_name, parse_address
from flowwatch.yamlmarks import clip

CLUSTER = "default"
"""The name of the cluster, where a scenario gives none."""

PROTOCOLS = {
    "tcp": TCP,
    "udp": UDP,
    "sctp": SCTP,
    "icmp": ICMP,
    "icmpv6": ICMPV6,
    **{name.lower(): number for name, number in WITHOUT_PORTS.items()},
}
_PREFIX = "labels:[reserved:io.cilium.policy.derived-from="
_SWITCHES = {
    "host_firewall": "host_firewall",
    "node_selector_labels": "node_selector_labels",
    "ipv6": "dual_stack",
}
_REVERSED = {"no_localhost": "allow_localhost", "non_default_deny_off": "non_default_deny"}
_KINDS = {str(kind): kind for kind in Kind}
_WORLD = frozenset({"world", "world-ipv4", "world-ipv6"})


class ScenarioError(FlowwatchError):
    """A scenario is not written as it should be."""


@dataclass(frozen=True, slots=True)
class _Scenario:
    policies: PolicySet
    ends: dict[str, Seen]


def answer(scenario: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One answer for each probe: `id`, `verdict` (allow, deny, unknown), `egress` and `ingress` (also deny-l7, where
    only the request is denied), `by` (who decided: `Kind:namespace/name` or the implicit allow), `egress_by`,
    `ingress_by`, and `reason` where the verdict is unknown.

    Raises ScenarioError where the scenario cannot be read.
    """
    return study(scenario)[0]


def study(scenario: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """The answers, and what should be known about them: policies that were rejected, settings unheard of."""
    if not isinstance(scenario, Mapping):
        raise ScenarioError(f"expected a mapping with `policies`, `endpoints` and `probes`, not {_kind(scenario)}")
    notes: list[str] = []
    config = _mapping(scenario.get("config") or {}, "config")
    options = _options(config, notes)
    cluster = _text(scenario.get("cluster") or config.get("cluster") or CLUSTER, "cluster")
    objects = _objects(scenario, options, notes)
    policies = PolicySet(objects, cluster=cluster, complete=True)
    ends: dict[str, Seen] = {}
    for number, endpoint in enumerate(_list(scenario.get("endpoints"), "endpoints")):
        at = f"endpoints[{number}]"
        known = _mapping(endpoint, at)
        ends[_text(known.get("id"), f"{at}.id")] = policies.see(_party(known, at, cluster))
    read = _Scenario(policies, ends)
    probes = _list(scenario.get("probes"), "probes")
    return [_answer(_mapping(probe, f"probes[{number}]"), number, read) for number, probe in enumerate(probes)], notes


def _answer(probe: Mapping[str, Any], number: int, scenario: _Scenario) -> dict[str, Any]:
    at = f"probes[{number}]"
    source, destination = (_end(probe, key, at, scenario) for key in ("src", "dst"))
    word = _text(probe.get("proto"), f"{at}.proto").lower()
    if word not in PROTOCOLS:
        raise ScenarioError(f"{at}.proto: expected one of {', '.join(PROTOCOLS)}, not `{clip(word)}`")
    port = _whole(probe.get("port") or 0, f"{at}.port", 65_535)
    request = _request(probe["l7"], f"{at}.l7") if probe.get("l7") else None
    if source is destination:
        # A pod reaches itself, whatever its policies say.
        egress = ingress = Judged(Verdict.ALLOW, False, implicit=Implicit.UNPOLICED)
    else:
        looked_up = probe.get("fqdn")
        if looked_up and destination.party.is_world:
            destination = _also_named(destination, _text(looked_up, f"{at}.fqdn"), scenario)
        egress, ingress = scenario.policies.answer(source, destination, PROTOCOLS[word], port, request)
    egress_by, ingress_by = _by(egress, "egress"), _by(ingress, "ingress")
    answered: dict[str, Any] = {
        "id": probe.get("id", number),
        "verdict": str(_both(egress.verdict, ingress.verdict)),
        "egress": str(egress.verdict),
        "ingress": str(ingress.verdict),
        "by": list(dict.fromkeys((*egress_by, *ingress_by))),
        "egress_by": egress_by,
        "ingress_by": ingress_by,
    }
    reasons = [judged.reason for judged in (egress, ingress) if judged.verdict is Verdict.UNKNOWN and judged.reason]
    if reasons:
        answered["reason"] = "; ".join(dict.fromkeys(reasons))
    return answered


def _both(egress: Verdict, ingress: Verdict) -> Verdict:
    if {Verdict.DENY, Verdict.DENY_L7} & {egress, ingress}:
        return Verdict.DENY
    return Verdict.UNKNOWN if Verdict.UNKNOWN in (egress, ingress) else Verdict.ALLOW


def _by(judged: Judged, direction: str) -> list[str]:
    if judged.entries:
        return list(dict.fromkeys(entry.policy.ref for entry in judged.entries))
    if judged.implicit is Implicit.UNISOLATED:
        return [f"{_PREFIX}allow-any-{direction}]"]
    return [f"{_PREFIX}allow-localhost-{direction}]"] if judged.implicit is Implicit.LOCALHOST else []


# ── reading a scenario ───────────────────────────────────────────────────────────────────────────────


def _options(config: Mapping[str, Any], notes: list[str]) -> Options:
    chosen: dict[str, Any] = {"dual_stack": False}
    known = {field.name for field in fields(Options)} - {"enforcement"}
    for key, value in config.items():
        if key == "enforcement":
            if value not in list(Enforcement):
                raise ScenarioError(f"config.enforcement: expected default, always or never, not `{clip(str(value))}`")
            chosen[key] = Enforcement(value)
        elif key == "cidr_match_mode":
            modes = value if isinstance(value, list) else str(value or "").replace(",", " ").split()
            chosen |= {"cidr_nodes": "nodes" in modes, "cidr_pods": "pods" in modes}
        elif key in _SWITCHES or key in known:
            chosen[_SWITCHES.get(key, key)] = _flag(value, f"config.{key}")
        elif key in _REVERSED:
            chosen[_REVERSED[key]] = not _flag(value, f"config.{key}")
        elif key != "cluster":
            notes.append(f"config.{key}: no such setting is known; it is left out")
    return Options(**chosen)


def _objects(scenario: Mapping[str, Any], options: Options, notes: list[str]) -> Objects:
    documents = [
        Plain(_mapping(document, f"policies[{number}]"), "policies", 0, f"[{number}]")
        for number, document in enumerate(_list(scenario.get("policies"), "policies"))
    ]
    objects = read_objects((one for document in documents for one in unpack(document)), options, strict=False)
    notes += [f"{kind}: {count} not read, for this is no kind of policy" for kind, count in objects.ignored.items()]
    notes += [f"{policy.ref} is rejected: {problem}" for policy, problem in objects.rejected]
    for number, group in enumerate(_list(scenario.get("cidrgroups") or [], "cidrgroups")):
        at = f"cidrgroups[{number}]"
        known = _mapping(group, at)
        cidrs = tuple(_text(cidr, f"{at}.cidrs") for cidr in _list(known.get("cidrs") or [], f"{at}.cidrs"))
        usable = tuple(cidr for cidr in cidrs if _is_range(cidr))
        labels = _pairs(known.get("labels"), f"{at}.labels")
        objects.groups.append(CidrGroup(_text(known.get("name"), f"{at}.name"), labels, usable))
    for number, service in enumerate(_list(scenario.get("services") or [], "services")):
        at = f"services[{number}]"
        objects.services.append(_service(_mapping(service, at), at))
    return objects


def _is_range(cidr: str) -> bool:
    address, slash, bits = cidr.partition("/")
    parsed = parse_address(address)
    return bool(parsed and slash and bits.isdecimal() and int(bits) <= (32 if parsed[0] == 4 else 128))


def _service(known: Mapping[str, Any], at: str) -> KubernetesService:
    given = {str(key).lower(): value for key, value in known.items()}
    backends = _list(given.get("backends") or [], f"{at}.Backends")
    return KubernetesService(
        _text(given.get("namespace") or "default", f"{at}.Namespace"),
        _text(given.get("name"), f"{at}.Name"),
        _pairs(given.get("labels"), f"{at}.Labels"),
        _pairs(given.get("selector"), f"{at}.Selector"),
        tuple(_text(backend, f"{at}.Backends") for backend in backends),
    )


def _party(known: Mapping[str, Any], at: str, cluster: str) -> Party:
    ip = _text(known.get("ip") or "", f"{at}.ip")
    address = parse_address(ip) if ip else None
    if ip and address is None:
        raise ScenarioError(f"{at}.ip: expected an address, not `{clip(ip)}`")
    labels = [_label(key, value) for key, value in _pairs(known.get("labels"), f"{at}.labels")]
    own = _text(known.get("cluster") or cluster, f"{at}.cluster")
    namespace = _text(known.get("namespace") or "", f"{at}.namespace")
    reserved = _reserved(known, at)
    if not reserved and not namespace and not labels:
        reserved = ("world",)
    if reserved:
        kind = _kind_of(reserved, at)
        if kind is Kind.KUBE_APISERVER:
            reserved = (*dict.fromkeys((*reserved, "remote-node")),)
        labels += [f"reserved:{name}" for name in reserved]
        namespace = ""
    else:
        kind = Kind.POD
        namespace = namespace or "default"
        labels += _pod_labels(known, at, namespace, own)
    names = [normal_name(_text(name, f"{at}.fqdns")) for name in _list(known.get("fqdns") or [], f"{at}.fqdns")]
    node = known.get("node_labels")
    return make_party(
        _text(known.get("id"), f"{at}.id"),
        Identity(kind, own if kind is Kind.POD or known.get("cluster") else "", namespace, tuple(sorted(labels))),
        cluster,
        address=address,
        names=names,
        ports=_ports(known, at),
        node_labels=[f"{key}={value}" for key, value in _pairs(node, f"{at}.node_labels")],
    )


def _reserved(known: Mapping[str, Any], at: str) -> tuple[str, ...]:
    several = known.get("entities")
    found = _list(several, f"{at}.entities") if several else [known["entity"]] if known.get("entity") else []
    return tuple(_text(name, f"{at}.entity").removeprefix("reserved:") for name in found)


def _kind_of(reserved: tuple[str, ...], at: str) -> Kind:
    for name in ("host", "kube-apiserver", "remote-node"):
        if name in reserved:
            return Kind.WORLD if name == "kube-apiserver" and _WORLD & set(reserved) else _KINDS[name]
    if _WORLD & set(reserved):
        return Kind.WORLD
    kind = _KINDS.get(reserved[0])
    if kind is None or kind in (Kind.POD, Kind.UNKNOWN):
        expected = ", ".join(name for name in _KINDS if name not in ("pod", "unknown"))
        raise ScenarioError(f"{at}.entity: expected one of {expected}, not `{clip(reserved[0])}`")
    return kind


def _pod_labels(known: Mapping[str, Any], at: str, namespace: str, cluster: str) -> Iterable[str]:
    yield f"k8s:{NAMESPACE_LABEL}={namespace}"
    yield f"k8s:{CLUSTER_LABEL}={cluster}"
    if known.get("service_account"):
        account = _text(known["service_account"], f"{at}.service_account")
        yield f"k8s:io.cilium.k8s.policy.serviceaccount={account}"
    labels = {"kubernetes.io/metadata.name": namespace} | dict(
        _pairs(known.get("namespace_labels"), f"{at}.namespace_labels")
    )
    for key, value in labels.items():
        yield f"k8s:io.cilium.k8s.namespace.labels.{key}={value}"


def _label(key: str, value: str) -> str:
    # A key of Kubernetes has no colon: what has one names its source.
    return f"{key}={value}" if ":" in key else f"k8s:{key}={value}"


def _ports(known: Mapping[str, Any], at: str) -> tuple[ContainerPort, ...]:
    found = []
    for number, port in enumerate(_list(known.get("ports") or [], f"{at}.ports")):
        place = f"{at}.ports[{number}]"
        one = _mapping(port, place)
        word = str(one.get("proto") or one.get("protocol") or "TCP").lower()
        name = str(one.get("name") or "").lower()
        found.append(ContainerPort(name, PROTOCOLS.get(word, TCP), _whole(one.get("port"), f"{place}.port", 65_535)))
    return tuple(found)


def _end(probe: Mapping[str, Any], key: str, at: str, scenario: _Scenario) -> Seen:
    name = probe.get(key)
    found = scenario.ends.get(name) if isinstance(name, str) else None
    if found is None:
        raise ScenarioError(f"{at}.{key}: there is no endpoint `{clip(str(name))}`")
    return found


def _also_named(seen: Seen, name: str, scenario: _Scenario) -> Seen:
    party = seen.party
    if normal_name(name) in party.names:
        return seen
    known = {field.name: getattr(party, field.name) for field in fields(Party)}
    return scenario.policies.see(Party(**(known | {"names": party.names | {normal_name(name)}})))


def _request(l7: object, at: str) -> Request:
    known = _mapping(l7, at)
    if known.get("dns") is not None:
        name = known["dns"]
        if isinstance(name, Mapping):
            name = name.get("name") or name.get("query")
        return Request(name=_text(name, f"{at}.dns"))
    http = _mapping(known.get("http"), f"{at}.http")
    headers = http.get("headers") or {}
    if isinstance(headers, list):
        pairs = [str(header).partition(":")[::2] for header in headers]
        headers = {name: value.strip() for name, value in pairs}
    method, path, host = (_text(http.get(key) or "", f"{at}.http.{key}") for key in ("method", "path", "host"))
    return Request(None, method, path, host, headers_of(_pairs(headers, f"{at}.http.headers")))


# ── values ───────────────────────────────────────────────────────────────────────────────────────────


def _kind(value: object) -> str:
    return Plain(value, "").described


def _mapping(value: object, at: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ScenarioError(f"{at}: expected a mapping, not {_kind(value)}")
    return value


def _list(value: object, at: str) -> list[Any]:
    if not isinstance(value, list):
        raise ScenarioError(f"{at}: expected a list, not {_kind(value)}")
    return value


def _text(value: object, at: str) -> str:
    if not isinstance(value, str):
        raise ScenarioError(f"{at}: expected text, not {_kind(value)}")
    return value


def _flag(value: object, at: str) -> bool:
    if not isinstance(value, bool):
        raise ScenarioError(f"{at}: expected true or false, not {_kind(value)}")
    return value


def _whole(value: object, at: str, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise ScenarioError(f"{at}: expected a number from 0 to {most}, not {_kind(value)}")
    return value


def _pairs(value: object, at: str) -> tuple[tuple[str, str], ...]:
    pairs = _mapping(value or {}, at).items()
    return tuple((str(key), _text(one if one is not None else "", f"{at}.{key}")) for key, one in pairs)
