"""The fields of policies as the API knows them: whatever is not here is dropped when it is applied.

A tree of names; lists are seen through. None: nothing below is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from flowwatch.lint.views import Direction, Kind

Fields: TypeAlias = "Mapping[str, Fields | None]"

_EXPRESSION: Fields = dict.fromkeys(("key", "operator", "values"))
SELECTOR: Fields = {"matchLabels": None, "matchExpressions": _EXPRESSION}
_PORT: Fields = dict.fromkeys(("port", "endPort", "protocol"))
_HTTP: Fields = dict.fromkeys(("path", "method", "host", "headers", "headerMatches"))
_NAME: Fields = dict.fromkeys(("matchName", "matchPattern"))
_L7: Fields = {"http": _HTTP, "dns": _NAME, "kafka": None, "l7": None, "l7proto": None}
_TO_PORTS: Fields = {
    "ports": _PORT,
    "rules": _L7,
    **dict.fromkeys(("terminatingTLS", "originatingTLS", "serverNames", "listener")),
}
_CIDR_SET: Fields = {"cidr": None, "cidrGroupRef": None, "cidrGroupSelector": SELECTOR, "except": None}
_ICMPS: Fields = {"fields": dict.fromkeys(("family", "type"))}


def _cilium_rule(way: str) -> Fields:
    peers: dict[str, Fields | None] = {
        f"{way}Endpoints": SELECTOR,
        f"{way}Nodes": SELECTOR,
        f"{way}CIDRSet": _CIDR_SET,
        **dict.fromkeys((f"{way}Entities", f"{way}CIDR", f"{way}Groups", f"{way}Requires")),
    }
    if way == "to":
        peers |= {"toServices": None, "toFQDNs": _NAME}
    return {**peers, "toPorts": _TO_PORTS, "icmps": _ICMPS, "authentication": {"mode": None}}


_CILIUM: Fields = {
    "endpointSelector": SELECTOR,
    "nodeSelector": SELECTOR,
    "ingress": _cilium_rule("from"),
    "ingressDeny": _cilium_rule("from"),
    "egress": _cilium_rule("to"),
    "egressDeny": _cilium_rule("to"),
    "enableDefaultDeny": dict.fromkeys(map(str, Direction)),
    **dict.fromkeys(("labels", "description", "log")),
}

_KNP_PEER: Fields = {
    "podSelector": SELECTOR,
    "namespaceSelector": SELECTOR,
    "ipBlock": dict.fromkeys(("cidr", "except")),
}
_KNP: Fields = {
    "podSelector": SELECTOR,
    "policyTypes": None,
    "ingress": {"from": _KNP_PEER, "ports": _PORT},
    "egress": {"to": _KNP_PEER, "ports": _PORT},
}

_CLUSTER_PODS: Fields = {"namespaceSelector": SELECTOR, "podSelector": SELECTOR}
_CLUSTER_PEER: Fields = {
    "namespaces": {**SELECTOR, "namespaceSelector": SELECTOR},
    "pods": _CLUSTER_PODS,
    "nodes": SELECTOR,
    **dict.fromkeys(("networks", "domainNames")),
}
_CLUSTER_RULE: Fields = {
    "from": _CLUSTER_PEER,
    "to": _CLUSTER_PEER,
    **dict.fromkeys(("name", "action", "protocols", "ports")),
}
_CLUSTER: Fields = {
    "subject": {"namespaces": SELECTOR, "pods": _CLUSTER_PODS},
    "ingress": _CLUSTER_RULE,
    "egress": _CLUSTER_RULE,
    **dict.fromkeys(("tier", "priority")),
}

SPEC_FIELDS: Mapping[Kind, Fields] = {
    Kind.CNP: _CILIUM,
    Kind.CCNP: _CILIUM,
    Kind.KNP: _KNP,
    Kind.KCNP: _CLUSTER,
    Kind.ANP: _CLUSTER,
    Kind.BANP: _CLUSTER,
}
"""What a `spec` of each kind may hold."""
