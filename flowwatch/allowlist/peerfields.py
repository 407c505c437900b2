"""How a peer is described: labels and expressions of pods, names and addresses of what is outside.

Reads one description and adds what is wrong with it to the problems. What is left after a
problem is still a selector, so that reading can go on and report everything at once.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import TypeVar

from flowwatch.allowlist.rules import External, Operator, Pods, Requirement, listed
from flowwatch.errors import Problem
from flowwatch.yamlmarks import Marked, clip, did_you_mean

LABEL_KEY = re.compile(r"([a-z][a-z0-9-]*:)?[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
DNS_PATTERN = re.compile(r"([-A-Za-z0-9_*]+\.)*[-A-Za-z0-9_*]+\.?")
LONGEST_DNS_NAME = 255
CIDR = re.compile(r"[0-9A-Fa-f.:]+/[0-9]{1,3}")

_LABELS_EXPECTED = "expected labels, such as `{app: web}`"
_EXTERNAL_KEYS = ("fqdn", "cidr", "except")
_EXPRESSION_KEYS = ("key", "operator", "values")
_ANY_SOURCE = "any"

T = TypeVar("T")


def read_workload(name: str, namespace: str, marked: Marked, problems: list[Problem]) -> Pods:
    """The pods a workload's definition stands for: labels alone, or `labels` and `expressions`."""
    if not marked.is_mapping:
        problems.append(marked.problem(f"{_LABELS_EXPECTED}, not {marked.described}"))
        return Pods(name, namespace)
    labels, expressions = marked.get("labels"), marked.get("expressions")
    if any(part is not None and not part.is_scalar for part in (labels, expressions)):
        marked.fields(("labels", "expressions"), (), problems)
        requirements = read_requirements(labels, expressions, problems)
    else:
        requirements = read_requirements(marked, None, problems)
    return Pods(name, namespace, requirements)


def read_requirements(
    labels: Marked | None, expressions: Marked | None, problems: list[Problem]
) -> tuple[Requirement, ...]:
    """The conditions that labels and expressions put on a pod, in an order of their own."""
    found = [] if labels is None else _read_labels(labels, problems)
    if expressions is not None:
        found.extend(read_list(expressions, _read_expression, problems))
    return tuple(sorted(found, key=str))


def read_external(name: str, marked: Marked, problems: list[Problem]) -> External:
    """What an external's definition or an inline peer stands for. An empty `name` is made up
    from the names and addresses."""
    fields = marked.fields(_EXTERNAL_KEYS, (), problems)
    patterns = read_list(fields["fqdn"], _read_pattern, problems) if "fqdn" in fields else []
    cidrs = read_list(fields["cidr"], _read_cidr, problems) if "cidr" in fields else []
    exceptions = read_list(fields["except"], _read_cidr, problems) if "except" in fields else []
    if marked.is_mapping and len(fields) == len(marked.items()) and not {"fqdn", "cidr"} & fields.keys():
        problems.append(marked.problem("expected `fqdn` or `cidr`"))
    elif "except" in fields and "cidr" not in fields:
        problems.append(fields["except"].problem("`except` takes addresses out of `cidr`, and there is none"))
    for exception in exceptions:
        if cidrs and not any(_contains(cidr, exception) for cidr in cidrs):
            problems.append(fields["except"].problem(f"`{exception}` lies in none of {listed(cidrs, ', ')}"))
    return External(name or listed((*patterns, *cidrs), ", "), tuple(patterns), tuple(cidrs), tuple(exceptions))


def read_list(marked: Marked, read: Callable[[Marked, list[Problem]], T | None], problems: list[Problem]) -> list[T]:
    """What `read` makes of one value or of every element of a list, without repetitions."""
    elements = marked.elements() if marked.is_list else [marked]
    if not elements:
        problems.append(marked.problem("the list is empty; expected at least one element"))
    found = (read(element, problems) for element in elements)
    return list(dict.fromkeys(value for value in found if value is not None))


def _read_labels(marked: Marked, problems: list[Problem]) -> list[Requirement]:
    if not marked.is_mapping:
        problems.append(marked.problem(f"{_LABELS_EXPECTED}, not {marked.described}"))
        return []
    if not marked.items():
        problems.append(
            marked.problem("expected at least one label", "write `namespace/*` for every pod of a namespace")
        )
    found = []
    for key, value in marked.items():
        source, name = _read_key(key, problems)
        text = _read_value(value, problems)
        if name and text is not None:
            found.append(Requirement(name, Operator.IN, (text,), source))
    return found


def _read_expression(marked: Marked, problems: list[Problem]) -> Requirement | None:
    fields = marked.fields(_EXPRESSION_KEYS, ("key", "operator"), problems)
    if "key" not in fields or "operator" not in fields:
        return None
    source, name = _read_key(fields["key"], problems)
    at_operator = fields["operator"]
    if at_operator.raw not in list(Operator):
        expected = ", ".join(f"`{operator}`" for operator in Operator)
        hint = did_you_mean(at_operator.raw, list(Operator))
        problems.append(at_operator.problem(f"expected one of {expected}, not {at_operator.described}", hint))
        return None
    operator = Operator(at_operator.raw)
    values = read_list(fields["values"], _read_value, problems) if "values" in fields else []
    if operator in (Operator.IN, Operator.NOT_IN) and "values" not in fields:
        problems.append(marked.problem(f"`values` is missing; `{operator}` compares with them"))
    elif operator in (Operator.EXISTS, Operator.DOES_NOT_EXIST) and "values" in fields:
        problems.append(fields["values"].problem(f"`{operator}` takes no `values`"))
    return Requirement(name, operator, tuple(sorted(values)), source) if name else None


def _read_key(marked: Marked, problems: list[Problem]) -> tuple[str, str]:
    """The source and the name of a label key; both empty where it is none."""
    if not LABEL_KEY.fullmatch(marked.raw):
        problems.append(marked.problem(f"expected a label key such as `app` or `k8s:app`, not {marked.described}"))
        return "", ""
    source, colon, name = marked.raw.rpartition(":")
    return ("" if not colon or source == _ANY_SOURCE else source), name


def _read_value(marked: Marked, problems: list[Problem]) -> str | None:
    if not marked.is_scalar or marked.is_null:
        problems.append(marked.problem(f"expected the value of a label, not {marked.described}"))
        return None
    if not LABEL_VALUE.fullmatch(marked.raw):
        what = "at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at either end"
        problems.append(marked.problem(f"`{clip(marked.raw)}` cannot be the value of a label: expected {what}"))
        return None
    return marked.raw


def _read_pattern(marked: Marked, problems: list[Problem]) -> str | None:
    text = marked.raw
    if DNS_PATTERN.fullmatch(text) and len(text) <= LONGEST_DNS_NAME and not _is_address(text):
        return text.lower().removesuffix(".")
    hint = ""
    if _is_address(text) or CIDR.fullmatch(text):
        hint = "give addresses under `cidr`"
    elif "/" in text:
        hint = "leave out the scheme and the path"
    elif ":" in text:
        hint = "give the port under `ports`"
    problems.append(
        marked.problem(f"expected a DNS name such as `github.com` or `*.github.com`, not {marked.described}", hint)
    )
    return None


def _read_cidr(marked: Marked, problems: list[Problem]) -> str | None:
    text = marked.raw
    if CIDR.fullmatch(text):
        try:
            return str(ipaddress.ip_network(text, strict=False))
        except ValueError:
            pass
    hint = ""
    if _is_address(text):
        hint = f"write `{text}/{ipaddress.ip_address(text).max_prefixlen}`"
    elif DNS_PATTERN.fullmatch(text) and re.search("[A-Za-z]", text):
        hint = "give names under `fqdn`"
    problems.append(marked.problem(f"expected a range of addresses such as `10.0.0.0/8`, not {marked.described}", hint))
    return None


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _contains(outer: str, inner: str) -> bool:
    one, other = ipaddress.ip_network(outer), ipaddress.ip_network(inner)
    if isinstance(one, ipaddress.IPv4Network) and isinstance(other, ipaddress.IPv4Network):
        return other.subnet_of(one)
    if isinstance(one, ipaddress.IPv6Network) and isinstance(other, ipaddress.IPv6Network):
        return other.subnet_of(one)
    return False
