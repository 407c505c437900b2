"""What of the meaning of policies depends on how Cilium is set up, or on its version.

Every switch is a field, and its default is what Cilium 1.20 does as installed. Nothing else in this package
depends on a version.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


class Enforcement(StrEnum):
    """Cilium's `policy-enforcement-mode`."""

    DEFAULT = "default"
    """An end is isolated once a policy selects it."""
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Options:
    """How policies are meant. Where a version changed its mind, the newer one is the default."""

    enforcement: Enforcement = Enforcement.DEFAULT
    host_firewall: bool = False
    """Policies with a `nodeSelector` are enforced on the local host."""
    node_selector_labels: bool = False
    """`fromNodes` and `toNodes` are accepted; otherwise an object that uses them is rejected."""
    allow_localhost: bool = True
    """What comes from a pod's own node is allowed at the very end (`allow-localhost: auto` or `always`)."""
    always_drops_localhost: bool = False
    """With enforcement `always`, localhost is not allowed where no ingress policy selects the pod: a bug of 1.20.0
    and 1.20.1."""
    non_default_deny: bool = True
    """`enableDefaultDeny: false` is honoured."""
    dual_stack: bool = True
    """IPv4 and IPv6 are both on, so that `world-ipv4` and `world-ipv6` select something."""
    cidr_nodes: bool = False
    """Ranges of addresses also select nodes (`policy-cidr-match-mode: nodes`)."""
    cidr_pods: bool = False
    """Ranges of addresses also select pods (`policy-cidr-match-mode: pods`, from 1.20 on)."""
    cidr_zero_selects_nodes: bool = False
    """A range of prefix length 0 selects nodes too in `nodes` mode, as until 1.17."""
    default_local_cluster: bool = True
    """Peers are those of the local cluster unless a cluster is named; until 1.18 those of all clusters."""
    deep_wildcard: bool = True
    """A leading `**.` stands for one or more labels of a DNS name; until 1.18 for one."""
    legacy_l7: bool = False
    """`kafka`, `l7` and `l7proto` rules are enforced, as until 1.19; from then on they are dropped unread."""
    requires: bool = False
    """`fromRequires` and `toRequires` may hold something, as until 1.18. They cannot be decided here."""
    bare_addresses: bool = False
    """An address without prefix length is a range of one, as until 1.19; now it is rejected."""
    empty_rules: bool = False
    """An object without a single rule is accepted and does nothing, as until 1.17; now it is rejected."""
    l7_default_deny_only: bool = True
    """Where no policy isolates an end, L7 rules let every request pass, as from 1.18 on."""
    services_with_selectors: bool = True
    """`toServices` also means services that select pods, as from 1.18 on."""
    services_with_ports: bool = True
    """`toServices` may come with `toPorts`, as from 1.18 on."""
    mesh_auth: bool = False
    """Mutual authentication is enforced; from 1.19 on it is off by default, and `authentication` has no effect."""
    strict_policy_types: bool = False
    """A NetworkPolicy's rules of a direction that `policyTypes` leaves out are ignored, as the Kubernetes API says.
    Cilium up to 1.20.1 enforces them."""
    baseline_overrides_isolation: bool = True
    """What the Baseline tier accepts is allowed even where a NetworkPolicy isolates the pod, as Cilium 1.20 has it.
    The API says that isolation comes first."""


DECLARED = Options(host_firewall=True, node_selector_labels=True)
"""What a declaration is read with: whoever declares host policies and node selectors has them switched on."""

VERSIONS = ("1.17", "1.18", "1.19", "1.20", "1.21")
"""The versions of Cilium whose differences are known, oldest first."""


def for_cilium(version: str, base: Options = DECLARED) -> Options:
    """`base` with the meaning that a version of Cilium (one of `VERSIONS`) gives to policies."""
    age = VERSIONS.index(version)
    until_17, until_18, until_19 = (age <= VERSIONS.index(last) for last in ("1.17", "1.18", "1.19"))
    return replace(
        base,
        cidr_zero_selects_nodes=until_17,
        empty_rules=until_17,
        l7_default_deny_only=not until_17,
        services_with_selectors=not until_17,
        services_with_ports=not until_17,
        default_local_cluster=not until_18,
        deep_wildcard=not until_18,
        requires=until_18,
        mesh_auth=until_18,
        bare_addresses=until_19,
        legacy_l7=until_19,
    )
