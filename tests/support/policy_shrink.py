"""Makes a scenario on which two judges differ as small as it gets while they differ in the same way."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from tests.support.policy_oracle_rejects import rejected

Judge = Callable[[dict[str, Any]], list[dict[str, Any]]]
Path = tuple[Any, ...]
KEPT = {"metadata", "kind", "apiVersion", "id", "ip", "namespace", "entity", "entities", "cluster"}


def shrink(scenario: dict[str, Any], probe_id: str, one: Judge, other: Judge) -> dict[str, Any]:
    """The scenario with this probe alone, and without whatever does not change how the judges differ."""

    def difference(candidate: dict[str, Any]) -> Any:
        try:
            if any(rejected(policy, candidate.get("config") or {}) for policy in candidate["policies"]):
                return None
            return one(candidate), other(candidate)
        except Exception:  # a candidate that is no scenario any more, which either judge may refuse in its own way
            return None

    probe = next(item for item in scenario["probes"] if item["id"] == probe_id)
    wanted = {probe["src"], probe["dst"]}
    small = {key: value for key, value in scenario.items() if key in {"policies", "config", "cidrgroups", "services"}}
    small["endpoints"] = [item for item in scenario["endpoints"] if item["id"] in wanted]
    small = copy.deepcopy({**small, "probes": [probe]})
    target = difference(small)
    shrunk = True
    while shrunk:
        shrunk = False
        for path in list(paths(small)):
            candidate = without(small, path)
            if candidate is not None and difference(candidate) == target:
                small = candidate
                shrunk = True
                break
    return small


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """Every place inside the policies, the configuration and the endpoints, the outer ones first."""
    children: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        children = list(value.items())
    elif isinstance(value, list):
        children = list(enumerate(value))
    for key, child in children:
        if len(path) == 0 and key == "probes":
            yield from ((*path, "probes", 0, name) for name in ("l7", "fqdn") if name in child[0])
            continue
        if len(path) >= 1 and key not in KEPT:
            yield (*path, key)
        if key not in {"metadata", "entities"}:
            yield from paths(child, (*path, key))


def without(scenario: dict[str, Any], path: Path) -> dict[str, Any] | None:
    """A copy without what is at a path."""
    result = copy.deepcopy(scenario)
    inner: Any = result
    for key in path[:-1]:
        inner = inner[key]
    if path[0] == "endpoints" and len(path) == 2:
        return None
    del inner[path[-1]]
    return result
