"""Two texts of one policy: whether they mean the same, and where they differ if they do not.

The API server fills in defaults, sorts keys and leaves out what is empty, so texts are never compared as they are. What
counts is what the policy engine reads from them, and what it does not read but Cilium does; the fields are only
looked for to tell people where.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from flowwatch.policy.entries import Entry
from flowwatch.yamlmarks import clip

MOST_FIELDS = 10
"""Fields that one difference names; the rest is counted."""

_NOT_MEANT = ("policy", "line", "field")
_SETS = ("values", "exceptions", "protocols")
"""Fields whose order says nothing, although they hold plain texts."""
_UNREAD = ("terminatingTLS", "originatingTLS", "listener", "serverNames")
"""What Cilium enforces and the policy engine does not read."""
_SAYS_NOTHING = ("description", "log")
_EMPTY_IS_NOTHING = frozenset({"matchLabels", "matchExpressions", "except", "values"})
_EMPTY_RULES_ARE_NOTHING = frozenset({"ingress", "egress", "from", "to", "ports"})


def meaning(entries: Iterable[Entry]) -> tuple[object, ...]:
    """What entries say together, so that two policies that do the same are equal."""
    return tuple(sorted((_canonical(entry) for entry in entries), key=repr))


def normal(kind: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """The `spec` and `specs` of a policy with the defaults of the API server, and without what says nothing."""
    found = {name: _cleaned(document[name], kind) for name in ("spec", "specs") if document.get(name) is not None}
    if kind == "NetworkPolicy":
        spec = found.setdefault("spec", {})
        spec.setdefault("podSelector", {})
        if not spec.get("policyTypes"):
            spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    return found


def same(
    kind: str, texts: tuple[Mapping[str, Any], Mapping[str, Any]], entries: tuple[Iterable[Entry], Iterable[Entry]]
) -> bool:
    """Whether two texts, with what the engine reads from each, are the same policy."""
    left, right = (normal(kind, text) for text in texts)
    if left == right:
        return True
    return meaning(entries[0]) == meaning(entries[1]) and _unread(left) == _unread(right)


def fields(kind: str, declared: Mapping[str, Any], live: Mapping[str, Any]) -> tuple[str, ...]:
    """Where two texts differ, a line for each field: `spec.ingress[0].from[0]: declared {…}, not in the cluster`."""
    found = list(_differing("", normal(kind, declared), normal(kind, live)))
    more = len(found) - MOST_FIELDS
    return (*found[:MOST_FIELDS], *([f"and {more} more"] if more > 0 else []))


def _canonical(value: object, name: str = "") -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value) if field.name not in _NOT_MEANT]
        return (type(value).__name__, *((each, _canonical(getattr(value, each), each)) for each in names))
    if isinstance(value, tuple):
        found = tuple(_canonical(each) for each in value)
        unordered = name in _SETS or any(dataclasses.is_dataclass(each) for each in value)
        return tuple(sorted(found, key=repr)) if unordered else found
    return value


def _cleaned(value: Any, kind: str) -> Any:
    if isinstance(value, Mapping):
        found = {str(key): _cleaned(each, kind) for key, each in value.items() if key not in _SAYS_NOTHING}
        dropped = _EMPTY_IS_NOTHING | (_EMPTY_RULES_ARE_NOTHING if kind == "NetworkPolicy" else frozenset())
        kept = {
            key: each for key, each in found.items() if each is not None and (each or key not in dropped or each == 0)
        }
        if "port" in kept and "protocol" not in kept and not {"type", "family"} & kept.keys():
            kept["protocol"] = "TCP" if kind == "NetworkPolicy" else "ANY"
        return kept
    if isinstance(value, list):
        return [_cleaned(each, kind) for each in value]
    return value


def _unread(value: object) -> list[str]:
    """Everything below the keys that the engine does not read, in any order."""
    found: list[str] = []
    if isinstance(value, Mapping):
        for key, each in value.items():
            found += [f"{key} {_text(each)}"] if key in _UNREAD else _unread(each)
    elif isinstance(value, list):
        for each in value:
            found += _unread(each)
    return sorted(found)


def _differing(path: str, declared: Any, live: Any) -> Iterator[str]:
    if isinstance(declared, Mapping) and isinstance(live, Mapping):
        for key in sorted({*declared, *live}):
            at = f"{path}.{key}" if path else key
            if key not in live:
                yield f"{at}: declared {_shown(declared[key])}, not in the cluster"
            elif key not in declared:
                yield f"{at}: not declared, in the cluster {_shown(live[key])}"
            else:
                yield from _differing(at, declared[key], live[key])
    elif isinstance(declared, list) and isinstance(live, list):
        yield from _differing_lists(path, declared, live)
    elif _text(declared) != _text(live):
        yield f"{path}: declared {_shown(declared)}, in the cluster {_shown(live)}"


def _differing_lists(path: str, declared: list[Any], live: list[Any]) -> Iterator[str]:
    """Lists of rules, peers and ports are sets: equal elements are left aside first, wherever they stand."""
    left = {number: _text(each) for number, each in enumerate(live)}
    alone: list[int] = []
    for number, each in enumerate(declared):
        twin = next((other for other, text in left.items() if text == _text(each)), None)
        if twin is None:
            alone.append(number)
        else:
            del left[twin]
    others = list(left)
    for number, other in zip(alone, others, strict=False):
        yield from _differing(f"{path}[{number}]", declared[number], live[other])
    for number in alone[len(others) :]:
        yield f"{path}[{number}]: declared {_shown(declared[number])}, not in the cluster"
    for other in others[len(alone) :]:
        yield f"{path}[{other}]: not declared, in the cluster {_shown(live[other])}"


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _shown(value: object) -> str:
    return clip(_text(value), 100)
