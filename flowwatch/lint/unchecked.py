"""What the checks leave out, and why: what cannot be told from files and flows is not guessed at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unchecked:
    """Something worth knowing that no check looks for."""

    what: str
    why: str


UNCHECKED = (
    Unchecked(
        "`fromNodes` and `toNodes` without `enable-node-selector-labels`, policies for nodes without the host "
        "firewall, `enable-policy: always`, where the ConfigMap `cilium-config` is not among the files",
        "the agent's configuration decides; give the ConfigMap along with the policies",
    ),
    Unchecked(
        "selectors of clusters in a mesh, from the files alone",
        "whether clusters are meshed is written in no policy; connections between clusters tell (`--store`)",
    ),
    Unchecked(
        "a `NotIn` or `DoesNotExist` that is meant to include pods without the label",
        "the intention cannot be read; `DoesNotExist` is told where a cluster-wide subject asks for nothing else",
    ),
    Unchecked(
        "`namespaceSelector` and `podSelector` in one item where two were meant",
        "one item is what most people mean",
    ),
    Unchecked(
        "`*.example.com` where `example.com` was meant as well, unless a DNS rule or a lookup names it",
        "the intention cannot be read from the pattern",
    ),
    Unchecked(
        "names that are aliases of others, and names that resolve to a node or a load balancer of the cluster",
        "names are never resolved here",
    ),
    Unchecked(
        "DNS rules for the wrong DNS server or its Service port (node-local caches, OpenShift's 5353, Gardener's 8053)",
        "which pods answer DNS is only known where their Service is among the files; then its port is checked",
    ),
    Unchecked(
        "ICMP left out by rules with ports, from the files alone",
        "most workloads need none; told where ICMP was dropped (`--store`)",
    ),
    Unchecked(
        "`fromEntities: [host]` where other nodes connect, from the files alone",
        "probes come from the local node only; told where another node was seen (`--store`)",
    ),
    Unchecked(
        "selectors without Endpoints: `toServices` of a Service without a selector",
        "who is behind it is written by somebody else, at run time",
    ),
    Unchecked(
        "`path` or `method` that leave out a request somebody needs (`HEAD` beside `GET`)",
        "what is requested is not in a policy",
    ),
    Unchecked(
        "L7 rules that only ever saw L3 traffic, and rules that only replies passed",
        "connections are judged, not the requests and replies in them",
    ),
    Unchecked(
        "peers that became more since the rule was written",
        "nobody wrote down who they were at that time",
    ),
    Unchecked(
        "`exclude` and precedence of policies of other products (Calico, OpenShift, cloud firewalls)",
        "only Kubernetes' and Cilium's own policies are read",
    ),
)
