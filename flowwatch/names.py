"""Which DNS names an address was looked up by, learnt from the DNS answers a workload was given.

Cilium says so itself where its DNS proxy saw the lookup (`destination_names`, `fqdn:` labels), and what
it says is preferred. Where a flow carries no name, the answers seen for the same workload fill in.
Names are never resolved here: an answer somebody else got proves nothing.
"""

from __future__ import annotations

from collections import OrderedDict

LEEWAY = 3600.0
"""Seconds for which an answer is believed beyond its TTL: connections outlive lookups."""
MAX_ANSWERS = 100_000


class Names:
    """Remembers answers by (workload's identity number, address). One thread uses it."""

    def __init__(self, limit: int = MAX_ANSWERS) -> None:
        self._limit = limit
        self._answers: OrderedDict[tuple[int, str], dict[str, float]] = OrderedDict()

    def learn(self, identity: int, name: str, addresses: list[str], ttl: float, now: float) -> None:
        """An endpoint of this identity was answered: the name is at these addresses for `ttl` seconds."""
        plain = name.rstrip(".").lower()
        if not plain:
            return
        for address in addresses:
            key = (identity, address)
            known = self._answers.setdefault(key, {})
            known[plain] = max(known.get(plain, 0.0), now + ttl)
            self._answers.move_to_end(key)
            if len(self._answers) > self._limit:
                self._answers.popitem(last=False)

    def of(self, identity: int, address: str, now: float) -> tuple[str, ...]:
        """The names this identity looked the address up by, sorted. Several: the address is shared, and
        which of them was meant cannot be told."""
        known = self._answers.get((identity, address))
        if not known:
            return ()
        for name in [name for name, until in known.items() if until + LEEWAY < now]:
            del known[name]
        return tuple(sorted(known))

    def __len__(self) -> int:
        return len(self._answers)
