"""The names an allowlist may use for peers: its workloads and externals, and the reserved words.

Reads definitions and peers as they are written and turns them into selectors. Whatever
cannot be understood is added to the problems and left out; nothing here raises.
"""

from __future__ import annotations

import re

from flowwatch.allowlist.peerfields import read_external, read_list, read_requirements, read_workload
from flowwatch.allowlist.rules import ENTITIES, Entity, External, Pods, Same, Selector, listed
from flowwatch.errors import Problem
from flowwatch.yamlmarks import Marked, clip, did_you_mean

_WORDS: dict[str, Selector] = {"pods": Pods("pods"), "self": Same(), **{name: Entity(name) for name in ENTITIES}}
RESERVED = tuple(_WORDS)
"""Words that always mean the same, wherever a peer is named."""

NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,251}[A-Za-z0-9])?")

LONGEST_ALIAS = 200

NAMESPACE_EXPECTED = "expected the name of a namespace (lower-case letters, digits and `-`)"
_JOINT = re.compile(r"[\s-]+")
_NAME_EXPECTED = "expected a name of letters, digits, `-`, `_` and `.`"
_PEER_EXPECTED = "expected a peer: a name, or a mapping such as `{fqdn: [...]}`, `{cidr: [...]}` or `{namespace: ...}`"
_POD_KEYS = ("namespace", "labels", "expressions")
_EXTERNAL_KEYS = ("fqdn", "cidr", "except")


def normal(name: str) -> str:
    """A name as people's names are compared: lower case, words joined by single hyphens."""
    return _JOINT.sub("-", name.strip().casefold())


class Vocabulary:
    """The names defined so far. Every document adds its own before any rule is read."""

    def __init__(self, problems: list[Problem]) -> None:
        self._problems = problems
        self._workloads: dict[str, tuple[Pods, str]] = {}
        self._externals: dict[str, tuple[External, str]] = {}
        self._aliases: dict[str, tuple[str, tuple[Selector, ...], str]] = {}

    @property
    def workloads(self) -> dict[str, Pods]:
        """The workloads defined so far, by namespace and name: `monitoring/loki`."""
        return {name: pods for name, (pods, _) in self._workloads.items()}

    @property
    def externals(self) -> dict[str, External]:
        """The externals defined so far, by name."""
        return {name: external for name, (external, _) in self._externals.items()}

    @property
    def aliases(self) -> dict[str, tuple[Selector, ...]]:
        """What each alias defined so far stands for, by the alias as it is written."""
        return {alias: selectors for alias, selectors, _ in self._aliases.values()}

    def define_workloads(self, marked: Marked) -> None:
        """Take in a `workloads` mapping: namespace, name, labels."""
        for namespace, workloads in self._items(marked, "expected a mapping of namespaces"):
            if not NAMESPACE.fullmatch(namespace.raw):
                self._problems.append(namespace.problem(f"{NAMESPACE_EXPECTED}, not {namespace.described}"))
                continue
            for name, definition in self._items(workloads, "expected a mapping of workload names"):
                if self._is_name(name):
                    full = f"{namespace.raw}/{name.raw}"
                    pods = read_workload(full, namespace.raw, definition, self._problems)
                    known = self._workloads.setdefault(full, (pods, f"{name.file}:{name.line}"))
                    self._check_unchanged(name, pods, known)

    def define_externals(self, marked: Marked) -> None:
        """Take in an `externals` mapping: name, what it stands for."""
        for name, definition in self._items(marked, "expected a mapping of names"):
            if name.raw in RESERVED:
                self._problems.append(name.problem(f"`{name.raw}` is a reserved word and cannot be defined anew"))
            elif self._is_name(name):
                external = read_external(name.raw, definition, self._problems)
                known = self._externals.setdefault(name.raw, (external, f"{name.file}:{name.line}"))
                self._check_unchanged(name, external, known)

    def define_aliases(self, marked: Marked) -> None:
        """Take in an `aliases` mapping: what tables call peers, the peers. Every name must be defined by now."""
        for alias, peers in self._items(marked, "expected a mapping of aliases"):
            text = " ".join(alias.raw.split())
            if not text or len(text) > LONGEST_ALIAS:
                expected = f"expected an alias of at most {LONGEST_ALIAS} characters"
                self._problems.append(alias.problem(f"{expected}, not {alias.described}"))
                continue
            if normal(text) in RESERVED:
                self._problems.append(alias.problem(f"`{text}` is a reserved word and cannot be defined anew"))
                continue
            selectors: tuple[Selector, ...] = tuple(read_list(peers, self.peer, self._problems))
            if any(isinstance(selector, Same) for selector in selectors):
                self._problems.append(peers.problem("`self` has no meaning outside a rule"))
            new = (text, selectors, f"{alias.file}:{alias.line}")
            _, before, where = self._aliases.setdefault(normal(text), new)
            if set(before) != set(selectors):
                self._problems.append(alias.problem(f"`{clip(text)}` is already defined differently at {where}"))

    def peer(self, marked: Marked, problems: list[Problem]) -> Selector | None:
        """The selector that one peer of a rule stands for; None where that cannot be told."""
        if marked.is_mapping:
            return _inline(marked, problems)
        if not marked.is_scalar or not marked.raw or marked.is_null:
            problems.append(marked.problem(f"{_PEER_EXPECTED}, not {marked.described}"))
            return None
        return self._named(marked, problems)

    def _items(self, marked: Marked, expected: str) -> list[tuple[Marked, Marked]]:
        if not marked.is_mapping:
            self._problems.append(marked.problem(f"{expected}, not {marked.described}"))
        return marked.items()

    def _is_name(self, marked: Marked) -> bool:
        if NAME.fullmatch(marked.raw):
            return True
        self._problems.append(marked.problem(f"{_NAME_EXPECTED}, not {marked.described}"))
        return False

    def _check_unchanged(self, place: Marked, now: Pods | External, known: tuple[Pods | External, str]) -> None:
        before, where = known
        if before != now:
            self._problems.append(place.problem(f"`{now.name}` is already defined differently at {where}"))

    def _named(self, marked: Marked, problems: list[Problem]) -> Selector | None:
        name = marked.raw
        if name in _WORDS:
            return _WORDS[name]
        namespace, slash, rest = name.partition("/")
        if rest == "*":
            if NAMESPACE.fullmatch(namespace):
                return Pods(name, namespace)
            problems.append(marked.problem(f"{NAMESPACE_EXPECTED} before `/*`, not `{clip(namespace)}`"))
            return None
        if slash:
            found: list[Pods | External] = [self._workloads[name][0]] if name in self._workloads else []
        else:
            found = [pods for full, (pods, _) in self._workloads.items() if full.endswith(f"/{name}")]
            found += [self._externals[name][0]] if name in self._externals else []
        if len(found) == 1:
            return found[0]
        problems.append(self._ambiguous(marked, found) if found else self._unknown(marked))
        return None

    def _ambiguous(self, marked: Marked, found: list[Pods | External]) -> Problem:
        every = [
            f"the external `{selector.name}`" if isinstance(selector, External) else f"`{selector.name}`"
            for selector in found
        ]
        what = f"`{clip(marked.raw)}` may mean {listed(every, ' or ', most=8)}"
        return marked.problem(what, "write the workload with its namespace")

    def _unknown(self, marked: Marked) -> Problem:
        bare = (full.partition("/")[2] for full in self._workloads)
        known = dict.fromkeys((*RESERVED, *self._externals, *self._workloads, *bare))
        hint = did_you_mean(marked.raw, known) or "define it under `workloads` or `externals`"
        return marked.problem(f"nothing is named `{clip(marked.raw)}`", hint)


def _inline(marked: Marked, problems: list[Problem]) -> Selector | None:
    keys = {key.raw for key, _ in marked.items()}
    if keys.intersection(_EXTERNAL_KEYS) and keys.intersection(_POD_KEYS):
        what = "a peer is either outside (`fqdn`, `cidr`) or a pod (`namespace`, `labels`)"
        problems.append(marked.problem(what, "write two peers"))
        return None
    if keys.intersection(_EXTERNAL_KEYS):
        return read_external("", marked, problems)
    fields = marked.fields(_POD_KEYS, (), problems)
    namespace = fields.get("namespace")
    if namespace is None:
        hint = "write `pods` for every pod, `world` for everything outside"
        problems.append(marked.problem("expected `namespace`, `fqdn` or `cidr`", hint))
        return None
    if not NAMESPACE.fullmatch(namespace.raw):
        problems.append(namespace.problem(f"{NAMESPACE_EXPECTED}, not {namespace.described}"))
        return None
    requirements = read_requirements(fields.get("labels"), fields.get("expressions"), problems)
    if not requirements:
        return Pods(f"{namespace.raw}/*", namespace.raw)
    labels = listed([str(requirement) for requirement in requirements], ", ")
    return Pods(f"{namespace.raw}/{{{labels}}}", namespace.raw, requirements)
