"""Checks of L7 rules of any protocol: where they are possible, and whether anything is left of them."""

from __future__ import annotations

from collections.abc import Iterator

from flowwatch.errors import Problem
from flowwatch.lint.check import Check
from flowwatch.lint.context import Context
from flowwatch.lint.found import Severity
from flowwatch.lint.objects import fields_of
from flowwatch.lint.peers import covers
from flowwatch.lint.portsets import ANY, TCP, UDP
from flowwatch.lint.views import CILIUM, Action, Direction, Grant, Rule, Spec
from flowwatch.yamlmarks import Marked

_REMOVED = ("kafka", "l7", "l7proto")
_NOT_IN_DENY = ("toFQDNs", "authentication")
_DNS_PROTOCOLS = (TCP, UDP, ANY)


def l7_port(context: Context) -> Iterator[Problem]:
    """L7 rules on ports where the proxy cannot listen."""
    for _, grant in _with_l7(context):
        is_dns = "dns" in grant.l7
        for port in grant.written:
            if port.number == 0:
                yield port.at.problem("L7 rules need a port, not `0` for all of them", "name the port")
            elif is_dns and port.protocol not in _DNS_PROTOCOLS:
                yield port.at.problem(f"DNS rules apply to UDP and TCP, not to {port.protocol}")
            elif is_dns and port.end > port.number >= 0:
                yield port.at.problem("DNS rules do not apply to a range of ports", "write each port")
            elif not is_dns and port.protocol != TCP:
                said = f"`{port.protocol}`" if port.says_protocol else "no protocol, which means any"
                yield port.at.problem(f"HTTP rules need `protocol: TCP`, and this says {said}", "write `protocol: TCP`")


def l7_two_protocols(context: Context) -> Iterator[Problem]:
    """L7 rules of two protocols for one list of ports."""
    for _, grant in _with_l7(context):
        if len(grant.l7) > 1:
            names = " and ".join(f"`{name}`" for name in grant.l7)
            yield grant.fields["rules"].problem(
                f"{names} exclude each other for one list of ports, so the policy is rejected", "make two items of it"
            )


def l7_direction(context: Context) -> Iterator[Problem]:
    """L7 rules in a direction, or on a node, where there is no proxy for them."""
    for rule, grant in _with_l7(context):
        where = "host ingress" if rule.direction is Direction.INGRESS else "host egress"
        if rule.spec.selects_nodes and (rule.direction is Direction.INGRESS or "http" in grant.l7):
            yield grant.fields["rules"].problem(
                f"L7 rules are not possible on {where}, so the policy is rejected", "leave out `rules`"
            )
        elif rule.direction is Direction.INGRESS and "dns" in grant.l7:
            yield grant.l7["dns"].problem(
                "DNS rules are possible on egress only, so the policy is rejected", "put them into the client's policy"
            )


def l7_field_removed(context: Context) -> Iterator[Problem]:
    """L7 rules that newer versions do not know."""
    if not context.since((1, 20)):
        return
    for _, grant in _grants(context):
        rules = fields_of(grant.fields.get("rules"))
        for key in _REMOVED:
            if key in rules:
                yield rules[key].problem(
                    f"`{key}` is no longer known since Cilium 1.20: it is dropped, and every request is allowed",
                    "remove it, and let the application check its requests",
                )


def deny_with_l7(context: Context) -> Iterator[Problem]:
    """Deny rules with conditions they cannot have."""
    for rule in context.rules:
        if rule.spec.policy.kind not in CILIUM or rule.action is not Action.DENY:
            continue
        conditions: list[tuple[str, Marked]] = [(key, rule.fields[key]) for key in _NOT_IN_DENY if key in rule.fields]
        conditions += [("rules", grant.fields["rules"]) for grant in rule.grants if "rules" in grant.fields]
        for key, at in conditions:
            yield at.problem(
                f"`{key}` is not possible in a deny rule: it is dropped, and more is denied than is written here",
                "deny by address and port, or allow only what is wanted",
            )


def sni_with_http(context: Context) -> Iterator[Problem]:
    """Server names beside HTTP rules without anything that could look into TLS."""
    for _, grant in _grants(context):
        names = grant.fields.get("serverNames")
        if names is None:
            continue
        if "http" in grant.l7 and "terminatingTLS" not in grant.fields:
            yield names.problem(
                "`serverNames` beside HTTP rules needs `terminatingTLS`, so the policy is rejected",
                "leave out the HTTP rules, or let Cilium terminate TLS",
            )
        for name in names.elements():
            if not name.raw:
                yield name.problem("a server name is empty, so the policy is rejected", "name the server")


def l7_voided(context: Context) -> Iterator[Problem]:
    """L7 rules beside which the same traffic is allowed without any."""
    for rule, grant in _with_l7(context):
        if not rule.is_allow or rule.spec.subject is None or _is_unrestricted(grant):
            continue
        wider = _wider(context, rule, grant)
        if wider is not None:
            rules = grant.fields["rules"]
            yield rules.problem(
                f"{wider.place} allows the same peers on the same port without L7 rules, which voids these",
                "remove the other rule, or give it the same L7 rules",
            )


def _wider(context: Context, rule: Rule, grant: Grant) -> Rule | None:
    for spec in context.selecting.covering(rule.spec.scope):
        for other in spec.towards(rule.direction):
            if other is rule or not other.is_allow or not _voids(other, rule, grant):
                continue
            return other
    return None


def _voids(other: Rule, rule: Rule, grant: Grant) -> bool:
    if not any(not each.demands and each.ports.holds(grant.ports) for each in other.grants):
        return False
    return any(covers(wide.atom, narrow.atom) for narrow in rule.peers for wide in other.peers)


def _is_unrestricted(grant: Grant) -> bool:
    """Whether the L7 rules let everything pass: they are there for what the proxy sees."""
    for key, rules in grant.l7.items():
        for each in rules.elements():
            fields = fields_of(each)
            if key == "http" and not fields:
                return True
            if key == "dns" and "matchPattern" in fields and set(fields["matchPattern"].raw) <= {"*", "."}:
                return True
    return False


def l7_default_deny_off(context: Context) -> Iterator[Problem]:
    """L7 rules in a policy that is not meant to isolate."""
    if context.since((1, 18)):
        return
    for rule, grant in _with_l7(context):
        if rule.is_allow and _is_off(rule.spec, rule.direction) and not _is_unrestricted(grant):
            yield grant.fields["rules"].problem(
                "before Cilium 1.18 these rules block every other request, although default deny is switched off",
                "add a rule that allows every request: `http: [{}]`",
            )


def _is_off(spec: Spec, direction: Direction) -> bool:
    asked = fields_of(spec.fields.get("enableDefaultDeny")).get(direction.value)
    return asked is not None and asked.value is False


def _grants(context: Context) -> Iterator[tuple[Rule, Grant]]:
    for rule in context.rules:
        if rule.spec.policy.kind in CILIUM:
            for grant in rule.grants:
                yield rule, grant


def _with_l7(context: Context) -> Iterator[tuple[Rule, Grant]]:
    return ((rule, grant) for rule, grant in _grants(context) if grant.l7)


CHECKS = (
    Check(
        "l7-port",
        Severity.ERROR,
        "L7 rules need a TCP port that is not 0; DNS rules a TCP or UDP port that is no range.",
        l7_port,
        rejects=True,
    ),
    Check(
        "l7-two-protocols",
        Severity.ERROR,
        "One list of ports takes L7 rules of one protocol.",
        l7_two_protocols,
        rejects=True,
    ),
    Check(
        "l7-direction",
        Severity.ERROR,
        "DNS rules are for egress, and host policies take no L7 rules but DNS on egress.",
        l7_direction,
        rejects=True,
    ),
    Check(
        "l7-field-removed",
        Severity.WARNING,
        "`kafka`, `l7` and `l7proto` are unknown since Cilium 1.20 and dropped, which leaves a plain allow.",
        l7_field_removed,
    ),
    Check(
        "deny-with-l7",
        Severity.ERROR,
        "Deny rules know no L7 rules, no `toFQDNs` and no authentication; dropped, they make the deny wider.",
        deny_with_l7,
    ),
    Check(
        "sni-with-http",
        Severity.ERROR,
        "`serverNames` and HTTP rules together need `terminatingTLS`; a server name cannot be empty.",
        sni_with_http,
        rejects=True,
    ),
    Check(
        "l7-voided",
        Severity.WARNING,
        "Allows add up: one that has no L7 rules for the same peer and port voids those of another.",
        l7_voided,
    ),
    Check(
        "l7-default-deny-off",
        Severity.WARNING,
        "Before Cilium 1.18, L7 rules of a policy with `enableDefaultDeny: false` block what they do not name.",
        l7_default_deny_off,
    ),
)
