"""The two patches that would end a finding: a line for the allowlist, and a network policy.

Pure functions of one finding, written to be pasted as they are. Pods are named by the labels people select
them by; what no rule could say is not said.
"""

from __future__ import annotations

import ipaddress
import json
import re

from flowwatch.model import Declared, Edge, Finding, Identity, Kind, Peer, Protocol
from flowwatch.words import clock

TELLING_LABELS = (
    ("app.kubernetes.io/name", "app.kubernetes.io/component"),
    ("k8s-app",),
    ("app",),
    ("name",),
    ("run",),
)
"""Labels by which people select pods; the first group of which a pod has a label is used."""

_CLUSTER = "k8s:io.cilium.k8s.policy.cluster="
EXPLICIT = "POLICY_DENY"
"""The drop reason of a rule that denies: against it, a rule that allows does not help."""

_ICMP = (Protocol.ICMP, Protocol.ICMPV6)
_WITH_PORTS = (Protocol.TCP, Protocol.UDP, Protocol.SCTP)
_DNS_NAME = re.compile(r"[A-Za-z0-9_]([-A-Za-z0-9_.]{0,253}[A-Za-z0-9_])?")
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,251}[A-Za-z0-9])?")
_PLAIN = re.compile(r"(?!(?:y|n|yes|no|on|off|true|false|null)\Z)[a-z][-a-z0-9]*([./][a-z0-9][-a-z0-9]*)*")
"""What YAML takes for text as it stands, whichever its version."""


def allowlist_line(finding: Finding) -> str:
    """The allowlist rule that would declare the edge, as one line of YAML to paste under `rules:`; empty
    where no rule could say it. It means what it says in any allowlist: pods are named by their labels."""
    # What is declared already would not be helped by declaring it again.
    if finding.judgement.declared is Declared.YES:
        return ""
    edge = finding.edge
    source, destination, ports = _source(edge.source), _destination(edge.destination), _ports(edge)
    if not (source and destination and ports):
        return ""
    reason = json.dumps(f"seen since {clock(finding.first_seen)} UTC")
    return f"- {{from: {source}, to: {destination}, ports: {ports}, reason: {reason}}}"


def policy(finding: Finding) -> str:
    """The CiliumNetworkPolicies that would let the edge pass, as YAML: one for each end that is a pod. Empty
    where no allowing rule could (a rule denies it, or an end cannot be selected).

    They add a permission and isolate nothing: with `enableDefaultDeny: false`, pods that no other policy
    isolates stay as open as they were.
    """
    edge, judgement = finding.edge, finding.judgement
    if judgement.denied_by or EXPLICIT in finding.drop_reasons:
        return ""
    ports, documents = _policy_ports(edge), []
    to, source = _policy_peer(edge.destination, edge.source, "to"), _policy_peer(edge.source, edge.destination, "from")
    if not (ports and to and source):
        return ""
    for subject, direction, peers in ((edge.source, "egress", to), (edge.destination, "ingress", source)):
        if subject.identity.kind is Kind.POD:
            documents.append(_document(finding, subject, direction, [*peers, *ports]))
    return "---\n".join(documents)


def _document(finding: Finding, subject: Peer, direction: str, rule: list[str]) -> str:
    first, *rest = rule
    told = f"{finding.edge}, seen since {clock(finding.first_seen)} UTC"
    lines = [
        "apiVersion: cilium.io/v2",
        "kind: CiliumNetworkPolicy",
        "metadata:",
        f"  name: flowwatch-{finding.fingerprint}-{direction}",
        f"  namespace: {_yaml(subject.identity.namespace)}",
        "spec:",
        f"  description: {json.dumps(told, ensure_ascii=False)}",
        f"  endpointSelector: {{matchLabels: {{{_telling(subject.identity)}}}}}",
        f"  enableDefaultDeny: {{{direction}: false}}",
        f"  {direction}:",
        f"    - {first}",
        *(f"      {line}" for line in rest),
    ]
    return "\n".join(lines) + "\n"


def _policy_ports(edge: Edge) -> list[str]:
    if edge.protocol in _ICMP:
        family = "IPv4" if edge.protocol is Protocol.ICMP else "IPv6"
        return [f"icmps: [{{fields: [{{type: {edge.port}, family: {family}}}]}}]"]
    if edge.protocol in _WITH_PORTS and edge.port:
        return [f'toPorts: [{{ports: [{{port: "{edge.port}", protocol: {edge.protocol.name}}}]}}]']
    return []


def _policy_peer(peer: Peer, other: Peer, way: str) -> list[str]:
    """One end as the peer of a rule for the other; `way` is `to` or `from`."""
    kind = peer.identity.kind
    if kind is Kind.POD:
        selected = _policy_pods(peer.identity, other.identity)
        return [f"{way}Endpoints: [{{matchLabels: {{{selected}}}}}]"] if selected else []
    if kind is Kind.WORLD:
        return _policy_outside(peer, way)
    return [] if kind is Kind.UNKNOWN else [f"{way}Entities: [{kind}]"]


def _policy_pods(identity: Identity, other: Identity) -> str:
    telling = _telling(identity)
    if not telling or not identity.namespace:
        return ""
    labels = [telling]
    if identity.namespace != other.namespace:
        labels.insert(0, f"k8s:io.kubernetes.pod.namespace: {_yaml(identity.namespace)}")
    cluster = next((one for one in identity.labels if one.startswith(_CLUSTER)), "")
    if cluster and identity.cluster != other.cluster and other.kind is Kind.POD:
        labels.insert(0, f"{_CLUSTER[:-1]}: {_yaml(cluster.removeprefix(_CLUSTER))}")
    return ", ".join(labels)


def _policy_outside(peer: Peer, way: str) -> list[str]:
    if way == "to" and peer.names and _DNS_NAME.fullmatch(peer.names[0]):
        return [f"toFQDNs: [{{matchName: {_yaml(peer.names[0])}}}]"]
    if peer.ip:
        try:
            return [f'{way}CIDR: ["{ipaddress.ip_network(peer.ip)}"]']
        except ValueError:
            return []
    return ["fromEntities: [world]"] if way == "from" else []


def _ports(edge: Edge) -> str:
    if edge.protocol in _ICMP or (edge.protocol in _WITH_PORTS and edge.port):
        return edge.service
    return ""


def _destination(peer: Peer) -> str:
    # A name as it was looked up could be a pattern, and declare more than was seen.
    if peer.identity.kind is Kind.WORLD and peer.names and _DNS_NAME.fullmatch(peer.names[0]):
        return f"{{fqdn: [{_yaml(peer.names[0])}]}}"
    return _source(peer)


def _source(peer: Peer) -> str:
    match peer.identity.kind:
        case Kind.POD:
            return _pods(peer.identity) or (
                _yaml(f"{peer.identity.namespace}/{peer.workload}") if _NAME.fullmatch(peer.workload) else ""
            )
        case Kind.WORLD if peer.ip:
            try:
                return f'{{cidr: ["{ipaddress.ip_network(peer.ip)}"]}}'
            except ValueError:
                return ""
        case Kind.UNKNOWN:
            return ""
        case kind:
            return str(kind)


def _pods(identity: Identity) -> str:
    telling = _telling(identity)
    return f"{{namespace: {_yaml(identity.namespace)}, labels: {{{telling}}}}}" if telling else ""


def _telling(identity: Identity) -> str:
    known = dict(label.removeprefix("k8s:").split("=", 1) for label in identity.labels if "=" in label)
    for group in TELLING_LABELS:
        if telling := ", ".join(f"{_yaml(key)}: {_yaml(known[key])}" for key in group if known.get(key)):
            return telling
    return ""


def _yaml(text: str) -> str:
    # JSON's strings are YAML's too, and never run over the end of a line.
    return text if _PLAIN.fullmatch(text) else json.dumps(text)
