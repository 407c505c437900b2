"""Checks of DNS names: are they valid, how wide are they, and can anybody look them up?"""

from __future__ import annotations

import re
from collections.abc import Iterator

from flowwatch.errors import Problem
from flowwatch.lint.check import Check
from flowwatch.lint.context import Context
from flowwatch.lint.dns import Lookups
from flowwatch.lint.found import Severity
from flowwatch.lint.objects import fields_of
from flowwatch.lint.observed import Seen, means
from flowwatch.lint.peers import EVERY_NAME, Name, name_covers, name_fits, normal_name
from flowwatch.lint.views import CILIUM, Action, Direction, Peer, Rule, Spec
from flowwatch.yamlmarks import Marked, clip

LONGEST = 255

_LITERAL = re.compile(r"[-a-zA-Z0-9_.]+")
_PATTERN = re.compile(r"[-a-zA-Z0-9_.*]+")
_IN_CLUSTER = re.compile(r"(^|\.)svc$|(^|\.)cluster\.local$")
_HUGE = re.compile(r"(^|\.)(\*\*?|s3[^.]*|sns[^.]*)(\.[^.]+)*\.amazonaws\.com(\.cn)?$")


def fqdn_invalid(context: Context) -> Iterator[Problem]:
    """Names that cannot be names."""
    for entry in _entries(context):
        fields = fields_of(entry)
        if "matchName" in fields and "matchPattern" in fields:
            yield fields["matchPattern"].problem(
                "`matchName` and `matchPattern` exclude each other, so the policy is rejected", "make two entries"
            )
        for key, valid in (("matchName", _LITERAL), ("matchPattern", _PATTERN)):
            if key in fields:
                yield from _invalid(fields[key], valid)


def _invalid(at: Marked, valid: re.Pattern[str]) -> Iterator[Problem]:
    text = at.raw
    if not at.is_scalar or not text:
        yield at.problem(f"expected a DNS name, not {at.described}")
    elif len(text) > LONGEST:
        yield at.problem(f"a DNS name has at most {LONGEST} characters, and this has {len(text)}")
    elif not valid.fullmatch(text) or ".." in text:
        if "/" in text:
            hint = "leave out the scheme and the path"
        elif ":" in text:
            hint = "give the port under `toPorts`"
        else:
            hint = "write `matchPattern`" if "*" in text else ""
        yield at.problem(f"`{clip(text)}` is no DNS name, so the policy is rejected", hint)


def fqdn_too_wide(context: Context) -> Iterator[Problem]:
    """Patterns that mean far more names than they seem to."""
    for at, text in _names(context):
        pattern = normal_name(text)
        rest = pattern.lstrip("*")
        if pattern in EVERY_NAME:
            yield at.problem(
                "this means every name outside the cluster that was ever looked up",
                "name what is needed, or say `world`",
            )
        elif rest.startswith(".") and "." not in rest[1:] and rest != pattern:
            yield at.problem(f"this means names of everyone under `{clip(rest)}`", "name the domain that is needed")
        elif pattern.startswith("*") and rest[:1] not in (".", "") and "*" not in rest:
            yield at.problem(
                f"without a dot after `*` this also means names that only end alike, such as `evil{clip(rest)}`",
                f"write `*.{clip(rest)}`, and `{clip(rest)}` itself if it is meant",
            )


def fqdn_in_cluster(context: Context) -> Iterator[Problem]:
    """Names of Services."""
    for at, text in _names(context):
        if _IN_CLUSTER.search(normal_name(text)):
            yield at.problem(
                "a name inside the cluster leads to pods, which are never meant by their names",
                "name the pods by their labels, or the Service under `toServices`",
            )


def fqdn_huge_pool(context: Context) -> Iterator[Problem]:
    """Names whose addresses change faster than they are learnt."""
    for at, text in _enforced(context):
        if _HUGE.search(normal_name(text)):
            yield at.problem(
                "the addresses behind this change with every lookup, so connections are dropped now and then",
                "raise `tofqdns-endpoint-max-ip-per-hostname` and `tofqdns-min-ttl`, or allow the ranges by CIDR",
            )


def fqdn_double_star(context: Context) -> Iterator[Problem]:
    """Patterns that older versions read differently."""
    if context.since((1, 19)):
        return
    for at, text in _enforced(context):
        if text.startswith("**."):
            yield at.problem(
                "before Cilium 1.19 `**.` means one label, as `*.` does",
                "add a pattern for every further level: `*.*.`",
            )


def fqdn_without_dns(context: Context) -> Iterator[Problem]:
    """Names for pods whose lookups nobody sees."""
    lookups = Lookups(context)
    for spec, peers in _by_name(context):
        if spec.subject is None or lookups.are_seen(spec.scope):
            continue
        others = "no policy here has a DNS rule" if not lookups.rules else "the DNS rules here are for other pods"
        yield peers[0].at.problem(
            f"names are learnt from lookups that pass a DNS rule (`rules.dns`), and {others}: this allows nothing",
            'allow egress to the DNS server with `rules: {dns: [{matchPattern: "*"}]}` for the same pods',
        )


def dns_names_too_narrow(context: Context) -> Iterator[Problem]:
    """Names that may be connected to and not looked up."""
    lookups = Lookups(context)
    for spec, peers in _by_name(context):
        patterns = {pattern for rule in lookups.meeting(spec.scope) for pattern in rule.patterns}
        for peer in peers if patterns else ():
            name = str(peer.atom)
            if not any(name_covers(pattern, name) for pattern in patterns):
                yield peer.at.problem(
                    f"the DNS rules of these pods do not let them look up `{clip(name)}`: they are refused",
                    f"add `{clip(name)}` to `rules.dns`",
                )


def dns_search_refused(context: Context) -> Iterator[Problem]:
    """DNS rules that do not let names of the cluster be looked up."""
    lookups = Lookups(context)
    for rule in lookups.rules:
        patterns = {pattern for other in lookups.meeting(rule.spec.scope) for pattern in other.patterns}
        normal = {normal_name(pattern) for pattern in patterns}
        if not normal & set(EVERY_NAME) and not any(pattern.endswith("cluster.local") for pattern in normal):
            yield rule.at.problem(
                "lookups with the search list of a pod (`name.namespace.svc.cluster.local`) are refused, and Alpine's "
                "resolver gives up there",
                'add `{matchPattern: "**.cluster.local"}`, or write names with a final dot in the application',
            )


def fqdn_apex(context: Context) -> Iterator[Problem]:
    """Patterns that leave out the domain itself, or what is two levels below it, although that is used."""
    lookups = Lookups(context)
    for spec, peers in _by_name(context):
        asked = {pattern for rule in lookups.meeting(spec.scope) if rule.spec is spec for pattern in rule.patterns}
        literal = {name for name in asked if "*" not in name}
        seen = _connected(context, spec)
        if not literal and not seen:
            continue
        atoms = [peer.atom for rule in _of_the_same(context, spec) for peer in rule.peers]
        others = [atom for atom in atoms if not isinstance(atom, Name)]
        for each in seen:
            if not any(means(atom, each.destination, each.ip) for atom in others):
                literal.update(each.names)
        allowed = [atom.pattern for atom in atoms if isinstance(atom, Name)]
        missed = [name for name in sorted(literal) if not any(name_fits(pattern, name) for pattern in allowed)]
        for peer in peers:
            domain = normal_name(str(peer.atom)).removeprefix("*").removeprefix("*")
            near = [name for name in missed if f".{normal_name(name)}".endswith(domain)] if domain[:1] == "." else []
            if near and "*" not in domain:
                yield peer.at.problem(
                    f"`{peer.atom}` means one label before `{domain}` and so not `{clip(near[0])}`, which is used",
                    f"add `matchName: {clip(near[0])}`",
                )


def _connected(context: Context, spec: Spec) -> list[Seen]:
    """The connections of pods of a spec to what was looked up by a name."""
    pods = context.endpoints_of(spec.scope) if spec.subject is not None else ()
    return [seen for pod in pods for seen in context.sent_by(pod) if seen.names]


def _of_the_same(context: Context, spec: Spec) -> Iterator[Rule]:
    """The rules that may allow egress to pods of a spec, whoever wrote them."""
    for other in context.selecting.meeting(spec.scope) if spec.subject is not None else (spec,):
        yield from _egress(other)


def _egress(spec: Spec) -> Iterator[Rule]:
    return (rule for rule in spec.towards(Direction.EGRESS) if rule.is_allow)


def _by_name(context: Context) -> Iterator[tuple[Spec, list[Peer]]]:
    """Every spec that allows peers by name, with these peers."""
    for spec in context.specs:
        if spec.policy.kind in CILIUM:
            peers = [peer for rule in _egress(spec) for peer in rule.peers if isinstance(peer.atom, Name)]
            if peers:
                yield spec, peers


def _names(context: Context) -> Iterator[tuple[Marked, str]]:
    """Every name that a policy allows or an allowlist declares."""
    yield from _enforced(context)
    yield from ((at, at.raw) for at in context.native.patterns if at.is_scalar)


def _enforced(context: Context) -> Iterator[tuple[Marked, str]]:
    """Every name that a policy allows."""
    for rule in context.rules:
        if rule.action is Action.ALLOW:
            yield from ((peer.at, peer.atom.pattern) for peer in rule.peers if isinstance(peer.atom, Name))


def _entries(context: Context) -> Iterator[Marked]:
    """Every entry of `toFQDNs` and of `rules.dns`."""
    for rule in context.rules:
        if rule.spec.policy.kind in CILIUM:
            yield from rule.fields["toFQDNs"].elements() if "toFQDNs" in rule.fields else ()
            for grant in rule.grants:
                yield from grant.l7["dns"].elements() if "dns" in grant.l7 else ()


CHECKS = (
    Check(
        "fqdn-invalid",
        Severity.ERROR,
        "An entry has `matchName` or `matchPattern`, with the characters of a DNS name, 255 at most.",
        fqdn_invalid,
        rejects=True,
    ),
    Check(
        "fqdn-too-wide",
        Severity.WARNING,
        "`*` means every name ever looked up, `*.com` everyone's, and `*x.io` also `evilx.io`.",
        fqdn_too_wide,
    ),
    Check(
        "fqdn-in-cluster",
        Severity.WARNING,
        "Names never mean what is inside the cluster.",
        fqdn_in_cluster,
    ),
    Check(
        "fqdn-huge-pool",
        Severity.WARNING,
        "Huge rotating pools of addresses (S3, SNS) are learnt too late, which drops connections now and then.",
        fqdn_huge_pool,
    ),
    Check(
        "fqdn-double-star",
        Severity.WARNING,
        "Before Cilium 1.19, `**.` means the same as `*.`.",
        fqdn_double_star,
    ),
    Check(
        "fqdn-without-dns",
        Severity.WARNING,
        "`toFQDNs` allows nothing unless a DNS rule of some policy sees the lookups of the same pods.",
        fqdn_without_dns,
    ),
    Check(
        "dns-names-too-narrow",
        Severity.WARNING,
        "A name that the DNS rules do not let pass is refused, whatever `toFQDNs` says.",
        dns_names_too_narrow,
    ),
    Check(
        "dns-search-refused",
        Severity.INFO,
        "DNS rules that name single domains refuse the lookups a pod's search list makes of every name.",
        dns_search_refused,
    ),
    Check(
        "fqdn-apex",
        Severity.WARNING,
        "`*.example.com` means neither `example.com` nor `a.b.example.com`; found where those are asked for.",
        fqdn_apex,
    ),
)
