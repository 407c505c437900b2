"""Ends of edges: what of an endpoint matters to an edge, as small numbers.

A pod or node is its identity. A server outside the cluster is the name it was looked up by, or its
address where there is no name; clients out there are one party for each class of addresses that the
allowlist tells apart, so that whoever scans a public address does not make an edge each.
"""

from __future__ import annotations

from collections.abc import Callable

from flowwatch.identity import any_world, names_in
from flowwatch.model import Identity

MAX_PARTIES = 2_000_000
"""Distinct ends of edges; beyond it further addresses and names fold into plain `world`."""

AddressClass = Callable[[str], tuple[int, int]]
Party = tuple[int, str, tuple[str, ...]]
"""(identity number, address where it matters, names)."""


def one_class(ip: str) -> tuple[int, int]:  # noqa: ARG001
    """No address is told from another."""
    return 0, 0


class Parties:
    """Hands out the numbers of ends of edges. `number_identity` numbers an identity; `address_class` says
    which addresses the allowlist tells apart (see `Allowlist.address_class`)."""

    def __init__(self, number_identity: Callable[[Identity], int], address_class: AddressClass) -> None:
        self.address_class = address_class
        self.all: list[Party] = []
        self._number_identity = number_identity
        self._numbers: dict[tuple[int, int, str, tuple[str, ...]], int] = {}

    def inside(self, identity: int) -> int:
        """An end that is its identity."""
        return self._party(identity, 0, "", ())

    def client_outside(self, ip: str) -> int:
        """Whoever connects from outside the cluster."""
        address_class = self.address_class(ip)[0]
        return self._party(self._world(), address_class, ip if address_class else "", ())

    def server_outside(self, ip: str, names: tuple[str, ...]) -> int:
        """A server outside the cluster: by its names and the class of its address, or by its address
        where it has no name."""
        if not names:
            return self._party(self._world(), 0, ip, ())
        address_class = self.address_class(ip)[1]
        return self._party(self._world(), address_class, ip if address_class else "", names)

    def named(self, identity: Identity, ip: str, told: tuple[str, ...]) -> int:
        """A server outside the cluster with names told by a flow, besides those in its labels."""
        names = sorted({name.rstrip(".").lower() for name in told} | set(names_in(identity)))
        return self.server_outside(ip, tuple(names))

    def stored(self, identity: int, ip: str, names: tuple[str, ...], outside: bool, server: bool) -> int:
        """The end of an edge that an earlier run stored."""
        if not outside:
            return self.inside(identity)
        return self.server_outside(ip, names) if server else self.client_outside(ip)

    def _world(self) -> int:
        return self._number_identity(any_world())

    def _party(self, identity: int, address_class: int, ip: str, names: tuple[str, ...]) -> int:
        # Within a class one address stands for all.
        key = (identity, address_class, "" if address_class else ip, names)
        number = self._numbers.get(key)
        if number is None:
            if len(self.all) >= MAX_PARTIES and (ip or names):
                return self.inside(identity)
            number = self._numbers[key] = len(self.all)
            self.all.append((identity, ip, names))
        return number
