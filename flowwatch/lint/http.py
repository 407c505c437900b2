"""Checks of HTTP rules: what their patterns mean, and whether the port carries HTTP at all."""

from __future__ import annotations

import re
from collections.abc import Iterator

from flowwatch.errors import Problem
from flowwatch.lint.check import Check
from flowwatch.lint.context import Context
from flowwatch.lint.found import Severity
from flowwatch.lint.objects import fields_of
from flowwatch.lint.regexes import PROGRAM_LIMIT, is_plain, least_instructions, loose_dots
from flowwatch.lint.tls import TLS_PORTS, is_plain_http, passthrough_of, tls_reason
from flowwatch.lint.views import CILIUM, Grant, Rule
from flowwatch.yamlmarks import Marked, clip

_PATTERNS = ("host", "path")
_QUERY = re.compile(r"[A-Za-z0-9]\?[A-Za-z0-9_]+=")
_ESCAPED = "\\?"
_OTHER_PROTOCOLS = {
    22: "SSH",
    25: "SMTP",
    53: "DNS",
    389: "LDAP",
    636: "LDAP",
    2049: "NFS",
    3306: "MySQL",
    4222: "NATS",
    5432: "PostgreSQL",
    5672: "AMQP",
    6379: "Redis",
    9092: "Kafka",
    11211: "memcached",
    27017: "MongoDB",
}


def http_regex_too_big(context: Context) -> Iterator[Problem]:
    """Patterns that Envoy refuses for their size."""
    for at in _values(context, *_PATTERNS):
        least = least_instructions(at.raw)
        if least > PROGRAM_LIMIT:
            yield at.problem(
                f"this pattern takes at least {least} instructions and Envoy allows {PROGRAM_LIMIT}: "
                "every policy of the endpoint is refused",
                "shorten it, with `.*` for the parts that need not be told apart",
            )


def http_regex_dot(context: Context) -> Iterator[Problem]:
    """Dots that stand for any character."""
    for at in _values(context, *_PATTERNS):
        if loose_dots(at.raw):
            escaped = clip(at.raw.replace(".", "\\."))
            yield at.problem("a dot in this pattern stands for any character", f"write `{escaped}` if a dot is meant")


def http_path(context: Context) -> Iterator[Problem]:
    """Paths and methods that match less than they seem to."""
    for at in _values(context, "path"):
        path = at.raw
        if path[:1] and path[0].isalnum():
            yield at.problem("a path begins with `/`, so this never matches", f"write `/{clip(path)}`")
        elif path.endswith("/*") or "/*/" in path:
            yield at.problem(
                "`*` repeats the character before it: `/*` stands for slashes, not for whatever follows",
                f"write `{clip(path.replace('/*', '/.*'))}`",
            )
        elif _QUERY.search(path):
            yield at.problem(
                "`?` makes the character before it optional; the path with its query string is matched as a whole",
                f"write `{clip(_QUERY.sub(lambda found: found[0].replace('?', _ESCAPED), path))}`",
            )
        elif len(path) > 1 and path.endswith("/") and is_plain(path):
            yield at.problem(
                "the whole path is matched, so nothing below this one is meant", f"write `{clip(path)}.*` for all below"
            )
    for at in _values(context, "method"):
        if at.raw.isalpha() and at.raw != at.raw.upper():
            yield at.problem("methods are upper case, so this never matches", f"write `{clip(at.raw.upper())}`")


def http_on_passthrough(context: Context) -> Iterator[Problem]:
    """HTTP rules where a route passes TLS through to the pods."""
    for rule, grant in _http(context):
        route = passthrough_of(context, rule, grant)
        if route is not None:
            yield grant.l7["http"].problem(
                f"{route.thing.title} passes TLS through to these pods: taken for HTTP by Cilium, connections break",
                "leave out the HTTP rules; a server name can be required with `serverNames`",
            )


def http_on_tls(context: Context) -> Iterator[Problem]:
    """HTTP rules on ports that carry TLS."""
    for rule, grant in _http(context):
        if "terminatingTLS" in grant.fields or passthrough_of(context, rule, grant) is not None:
            continue
        for port in grant.written:
            reason = tls_reason(context, rule, port)
            if not reason and port.number in TLS_PORTS and not is_plain_http(context, rule, port):
                reason = f"port {port.number} usually carries TLS"
            if reason:
                yield grant.l7["http"].problem(
                    f"{reason}: Cilium cannot read HTTP in it, and the connection breaks",
                    "leave out the HTTP rules, require a server name with `serverNames`, or let Cilium terminate TLS",
                )
                break


def http_on_other_protocol(context: Context) -> Iterator[Problem]:
    """HTTP rules on ports that are known for something else."""
    for rule, grant in _http(context):
        for port in grant.written:
            if port.number in _OTHER_PROTOCOLS and not is_plain_http(context, rule, port):
                yield port.at.problem(
                    f"port {port.number} usually carries {_OTHER_PROTOCOLS[port.number]}: what is no HTTP is reset",
                    "leave out the HTTP rules",
                )


def _http(context: Context) -> Iterator[tuple[Rule, Grant]]:
    for rule in context.rules:
        if rule.spec.policy.kind in CILIUM:
            for grant in rule.grants:
                if "http" in grant.l7:
                    yield rule, grant


def _values(context: Context, *keys: str) -> Iterator[Marked]:
    for _, grant in _http(context):
        for each in grant.l7["http"].elements():
            fields = fields_of(each)
            yield from (fields[key] for key in keys if key in fields and fields[key].is_scalar)


CHECKS = (
    Check(
        "http-regex-too-big",
        Severity.WARNING,
        "Envoy refuses patterns whose program has more than 100 instructions, and with them all policies of the pod.",
        http_regex_too_big,
    ),
    Check(
        "http-regex-dot",
        Severity.WARNING,
        "`host` and `path` are regular expressions: an unescaped dot is any character.",
        http_regex_dot,
    ),
    Check(
        "http-path",
        Severity.WARNING,
        "`path` matches as a whole, query string and all, and `method` with its case.",
        http_path,
    ),
    Check(
        "http-on-passthrough",
        Severity.WARNING,
        "HTTP rules on the ingress of a service behind TLS passthrough break every connection: TLS is no HTTP.",
        http_on_passthrough,
    ),
    Check(
        "http-on-tls",
        Severity.WARNING,
        "HTTP rules on a port that carries TLS never match without `terminatingTLS`.",
        http_on_tls,
    ),
    Check(
        "http-on-other-protocol",
        Severity.WARNING,
        "The proxy resets what it cannot read as HTTP.",
        http_on_other_protocol,
    ),
)
