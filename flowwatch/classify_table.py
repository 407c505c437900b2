"""Every class of flow in words: what it is, why it accuses nobody, and whether it can be switched off."""

from __future__ import annotations

from collections.abc import Mapping

from flowwatch.codes import NOISE, FlowClass

EXPLAINED: Mapping[FlowClass, str] = {
    FlowClass.UNKNOWN: "Too many fields are missing to say what it is, as in exports that mask them.",
    FlowClass.ALLOWED: "Evidence. A policy verdict let the first packet of a connection through.",
    FlowClass.CARRIED: "Evidence. A packet passed an end of its connection after any policy.",
    FlowClass.DENIED: "Evidence. Policy dropped a packet, or an L7 rule refused a request.",
    FlowClass.AUDITED: "Evidence of a gap. Policy would have dropped it; audit mode let it pass.",
    FlowClass.REPLY: "The way back of a connection, which is judged by its way there.",
    FlowClass.STALE_REPLY: (
        "A reply dropped by policy because conntrack had forgotten its connection: it comes from a service's port, "
        "goes to an ephemeral one and opens nothing. Taken for an attempt, it would accuse the server of attacking its "
        "client."
    ),
    FlowClass.REPLY_UNKNOWN: "The datapath does not say whether it is a reply, and ports and flags say it may be.",
    FlowClass.L7_REQUEST: "The proxy forwarded a request; its connection is counted by the flows below it.",
    FlowClass.L7_RESPONSE: "The answer to such a request.",
    FlowClass.L7_ERROR: "The proxy could not forward a request, for other reasons than policy.",
    FlowClass.SOCKET: "Address translation in the socket: no packet exists yet, and the address is a service's.",
    FlowClass.INFRA_DROP: "Dropped for a reason that is not policy: routing, conntrack, fragments, a full queue.",
    FlowClass.HANDLED: "Reported as a drop although nothing was lost: IGMP, multicast, a packet handed to the proxy.",
    FlowClass.ICMP_ERROR: (
        "An ICMP error about another connection, as they come by the thousand when a pod is gone: `unreachable`, "
        "`time exceeded`."
    ),
    FlowClass.NEIGHBOUR: "IPv6 neighbour discovery and multicast membership: how a link works, not who talks to whom.",
    FlowClass.HEALTH: "To or from Cilium's own health endpoints.",
    FlowClass.SELF: "A pod talking to itself; policy has no say in it.",
    FlowClass.BEFORE_POLICY: "Seen before policy decided; says nothing about what passed.",
    FlowClass.TRANSIT: "Passing a node that hosts neither end; the ends report it themselves.",
    FlowClass.DEBUG: "Debug and capture events.",
    FlowClass.STALE_IDENTITY: (
        "An end is labelled as the world although its address is known to be a pod's: the node's address cache lagged "
        "behind, so the identity that was judged is not who it was."
    ),
    FlowClass.KUBELET_PROBE: (
        "From a pod's own node to the pod, forwarded, and nothing declares it: kubelet's probes, and everything on the "
        "host's network. Cilium lets it in whatever policies say (`allow-localhost`), so no policy could end the "
        "finding. Where a rule with the peer `host` declares it, it is counted as usual; where "
        "`policy.allow_localhost` is false, it is judged."
    ),
    FlowClass.IDENTITY_RACE: (
        "A declared path was dropped by policy within `judge.start_window` after a pod of it was first heard of: the "
        "datapath did not have its policy yet. What is dropped for longer is judged. Needs five minutes of flows of "
        "the node before it, or every pod would seem to be new."
    ),
    FlowClass.ROLLOUT: (
        "A packet from the middle or the end of a connection of a declared path was dropped by policy within "
        "`judge.rollout_window` after the newest pod of either workload was first heard of: connections to pods that "
        "are replaced die. New connections (SYN) are judged."
    ),
    FlowClass.IP_REUSE: (
        "An address went from one pod to another less than a minute ago, and the pod before had this very conversation "
        "(same other end, same port): somebody still means the one before."
    ),
}


def reference() -> str:
    """A Markdown table of all classes, those that can be switched off first."""
    rows = ["| class | can be switched off | what it is |", "|---|---|---|"]
    for flow_class in sorted(FlowClass, key=lambda one: (one not in NOISE, one)):
        switch = "yes" if flow_class in NOISE else ""
        rows.append(f"| `{flow_class.label}` | {switch} | {EXPLAINED[flow_class]} |")
    return "\n".join(rows) + "\n"
