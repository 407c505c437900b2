"""DNS names and patterns, as `toFQDNs` and `rules.dns` write them.

A pattern's `*` stands for any part of one label, a leading `**.` for one or more labels, and `*` alone for every
name. Patterns are matched by `selectors.NameTable`; this module only reads them.
"""

from __future__ import annotations

import re

from flowwatch.policy.nodes import Node
from flowwatch.policy.options import Options
from flowwatch.policy.reading import Reader
from flowwatch.selectors import normal_name

LONGEST = 255

_NAME = re.compile(r"[-A-Za-z0-9_.]+")
_PATTERN = re.compile(r"[-A-Za-z0-9_.*]+")


def read_fqdn(node: Node, read: Reader) -> str:
    """The name or pattern of `{matchName: …}` or `{matchPattern: …}`; empty where there is none, which stands for no
    name at all. Cilium lets that pass."""
    fields = read.fields(node, ("matchName", "matchPattern"))
    given = {key: read.text(value) for key, value in fields.items()}
    given = {key: text for key, text in given.items() if text}
    if len(given) != 1:
        if given or (node.is_mapping and read.strict):
            read.wrong(node, "expected one of `matchName` and `matchPattern`")
        return ""
    key, text = next(iter(given.items()))
    expression = _NAME if key == "matchName" else _PATTERN
    if not expression.fullmatch(text) or ".." in text or text.startswith(".") or len(text) > LONGEST:
        hint = ""
        if "*" in text:
            hint = "`matchPattern` takes wildcards"
        elif "/" in text or ":" in text:
            hint = "give the name alone, without scheme, port and path"
        what = "a DNS name" if key == "matchName" else "a pattern of DNS names"
        read.wrong(fields[key], f"expected {what}, not {fields[key].described}", hint)
        return ""
    return shallow(text, read.options)


def shallow(pattern: str, options: Options) -> str:
    """A pattern in lower case, without final dot, as the version at hand understands it."""
    pattern = normal_name(pattern) or "*"
    if not options.deep_wildcard and pattern.startswith("**."):
        return pattern[1:]
    return pattern
