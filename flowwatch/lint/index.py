"""Finding selectors and peers that cover or meet another one without comparing it with all there are.

Entries are kept by namespace and by one label they ask for. Both questions are answered exactly as
`labels.covers` and `labels.apart` (or `disjoint`) would: the index only leaves out what cannot be an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from flowwatch.lint.labels import CLUSTER, NAME_KEYS, NAMESPACE, Labels, apart, covers
from flowwatch.lint.peers import Atom, Entity, Everyone, Name, Network, Pods, Range, normal_name
from flowwatch.lint.peers import covers as peer_covers

T = TypeVar("T")

_NOT_HANDLES = frozenset({NAMESPACE, CLUSTER})


class LabelIndex(Generic[T]):
    """Things by the endpoints they mean."""

    def __init__(self, entries: Iterable[tuple[Labels, T]] = ()) -> None:
        self._entries: dict[str | None, dict[str, dict[str, list[tuple[Labels, T]]]]] = {}
        self._met: dict[tuple[Labels, Callable[[Labels, Labels], bool]], tuple[T, ...]] = {}
        for labels, thing in entries:
            self.add(labels, thing)

    def add(self, labels: Labels, thing: T) -> None:
        """Take in a thing."""
        self._met.clear()
        key, value = _handle(labels)
        keys = self._entries.setdefault(labels.namespace, {})
        keys.setdefault(key, {}).setdefault(value, []).append((labels, thing))

    def covering(self, narrow: Labels) -> Iterator[T]:
        """Everything that certainly means all that `narrow` means."""
        pairs = (("", ""), *narrow.pairs)
        for namespace in dict.fromkeys((narrow.namespace, None)):
            keys = self._entries.get(namespace, {})
            for key, value in pairs:
                for labels, thing in keys.get(key, {}).get(value, ()):
                    if covers(labels, narrow):
                        yield thing

    def meeting(self, other: Labels, unless: Callable[[Labels, Labels], bool] = apart) -> tuple[T, ...]:
        """Everything that may mean something of what `other` means: `unless` says where it does not.
        Remembered, for many rules are about the same pods."""
        found = self._met.get((other, unless))
        if found is None:
            found = self._met[other, unless] = tuple(self._meet(other, unless))
        return found

    def _meet(self, other: Labels, unless: Callable[[Labels, Labels], bool]) -> Iterator[T]:
        wanted = other.namespace
        for namespace, keys in self._entries.items():
            if wanted is None or namespace is None or namespace == wanted:
                for labels, thing in _alike(keys, other):
                    if not unless(labels, other):
                        yield thing


class AtomIndex(Generic[T]):
    """Things by the peers they mean."""

    def __init__(self) -> None:
        self._exact: dict[Atom, list[T]] = {}
        self._entities: dict[Entity, list[T]] = {}
        self._pods: LabelIndex[T] = LabelIndex()
        self._ranges: dict[tuple[int, int], dict[Network, list[tuple[Range, T]]]] = {}
        self._patterns: dict[tuple[str, str], list[tuple[Name, T]]] = {}

    def add(self, atom: Atom, thing: T) -> None:
        """Take in a thing that means a peer."""
        if isinstance(atom, Pods):
            self._pods.add(atom.labels, thing)
        elif isinstance(atom, Range):
            networks = self._ranges.setdefault((atom.network.version, atom.network.prefixlen), {})
            networks.setdefault(atom.network, []).append((atom, thing))
        elif isinstance(atom, Entity):
            self._entities.setdefault(atom, []).append(thing)
        elif isinstance(atom, Name) and "*" in atom.pattern:
            self._patterns.setdefault(_ending(atom.pattern), []).append((atom, thing))
        else:
            self._exact.setdefault(atom, []).append(thing)

    def covering(self, narrow: Atom) -> Iterator[T]:
        """Everything that certainly means all that `narrow` means."""
        for atom in dict.fromkeys((Everyone(), narrow)):
            yield from self._exact.get(atom, ())
        for entity, things in self._entities.items():
            if peer_covers(entity, narrow):
                yield from things
        if isinstance(narrow, Pods):
            yield from self._pods.covering(narrow.labels)
        elif isinstance(narrow, Range):
            yield from self._around(narrow)
        elif isinstance(narrow, Name):
            above, last = _ending(narrow.pattern)
            for ending in dict.fromkeys(((above, last), ("", last), ("", ""))):
                yield from (thing for wide, thing in self._patterns.get(ending, ()) if peer_covers(wide, narrow))

    def _around(self, narrow: Range) -> Iterator[T]:
        for (version, bits), networks in self._ranges.items():
            if version == narrow.network.version and bits <= narrow.network.prefixlen:
                for wide, thing in networks.get(narrow.network.supernet(new_prefix=bits), ()):
                    if peer_covers(wide, narrow):
                        yield thing


def _ending(pattern: str) -> tuple[str, str]:
    """The last two labels of a name, where they hold no `*`: a pattern only covers what ends alike."""
    labels = ["", "", *normal_name(pattern).split(".")]
    last = "" if "*" in labels[-1] else labels[-1]
    return "" if "*" in labels[-2] or not last else labels[-2], last


def _alike(keys: dict[str, dict[str, list[tuple[Labels, T]]]], other: Labels) -> Iterator[tuple[Labels, T]]:
    for key, values in keys.items():
        asked = other.allowed.get(key)
        if asked is None:
            for entries in values.values():
                yield from entries
        else:
            for value in asked:
                yield from values.get(value, ())


def _handle(labels: Labels) -> tuple[str, str]:
    """One label by which to find it, the most telling first; empty where there is none."""
    pairs = dict(labels.pairs)
    for key in NAME_KEYS:
        if key in pairs:
            return key, pairs[key]
    return next((pair for pair in labels.pairs if pair[0] not in _NOT_HANDLES), ("", ""))
