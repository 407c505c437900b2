"""Which nodes a cluster has, as the Peer service tells it: pure bookkeeping of notifications.

Every stream of notifications begins with all nodes known by then and no mark after the last of them.
So a stream that was opened anew counts as told completely once it has been quiet for a while; nodes
that it did not name by then have left.
"""

from __future__ import annotations

from dataclasses import dataclass

SETTLED = 10.0
"""Seconds without a notification after which a new stream has named every node."""


@dataclass(frozen=True, slots=True)
class Node:
    """One node's Hubble server. `server_name` is None where it speaks plain text."""

    name: str
    address: str
    server_name: str | None


@dataclass(frozen=True, slots=True)
class Changes:
    """What became of the nodes: come or moved, and left (by name)."""

    present: tuple[Node, ...] = ()
    left: tuple[str, ...] = ()
    complete: bool = False
    """Every node has now been named."""


class Roster:
    """The nodes of one cluster. `now` is monotonic."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._named: set[str] | None = None
        self._last = 0.0

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Every node, by name."""
        return tuple(self._nodes[name] for name in sorted(self._nodes))

    def begin(self, now: float) -> None:
        """A new stream of notifications was opened."""
        self._named = set()
        self._last = now

    def add(self, node: Node, now: float) -> Changes:
        """A node came, or is not as it was."""
        self._last = now
        if self._named is not None:
            self._named.add(node.name)
        if self._nodes.get(node.name) == node:
            return Changes()
        self._nodes[node.name] = node
        return Changes(present=(node,))

    def remove(self, name: str, now: float) -> Changes:
        """A node left."""
        self._last = now
        return Changes(left=(name,)) if self._nodes.pop(name, None) else Changes()

    def settle(self, now: float) -> Changes:
        """Forget the nodes that a new stream did not name, once it had the time to name them."""
        if not self._named or now - self._last < SETTLED:
            # An agent knows at least itself: a stream that named nobody has not begun.
            return Changes()
        missing = tuple(name for name in self._nodes if name not in self._named)
        for name in missing:
            del self._nodes[name]
        self._named = None
        return Changes(left=missing, complete=True)
