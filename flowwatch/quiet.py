"""The stage between classifying and judging: flows that time explains get their class and accuse nobody.

`flowwatch.noise` decides; here it is given what it asks for, and its answers are written back.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from flowwatch.codes import Evidence
from flowwatch.decode import Columns
from flowwatch.edges import Allowlist, Edges
from flowwatch.intern import Interned, Interner
from flowwatch.model import Declared, Edge, Protocol
from flowwatch.noise import Newborn, Noise, NoiseSettings, Suspects
from flowwatch.shapes import Classes

Ints = npt.NDArray[np.int64]


class Quiet:
    """The stage, with what it remembers. One thread uses it."""

    def __init__(self, settings: NoiseSettings, interner: Interner, edges: Edges) -> None:
        self._noise = Noise(settings)
        self._interner, self._edges = interner, edges

    def learn(self, columns: Columns, interned: Interned, client: Ints, server: Ints) -> None:
        """Take note of the pods that a batch brought."""
        identities = self._interner.identities
        born = [Newborn(peer, who, identities[who].kind, ip) for peer, who, ip in self._interner.newborn]
        self._interner.newborn.clear()
        self._noise.learn(born, interned.node, columns.time, (client, server))

    def leave(
        self, columns: Columns, classes: Classes, peers: tuple[Ints, Ints], parties: tuple[Ints, Ints],
        rows: Ints, allowlist: Allowlist, now: float,
    ) -> Ints:  # fmt: skip
        """Of the rows that are evidence those that nothing explains; the others get the class that does."""
        port = np.where(classes.swapped, columns.source_port, columns.destination_port)
        suspects = Suspects(
            client=peers[0][rows],
            server=peers[1][rows],
            client_party=parties[0][rows],
            server_party=parties[1][rows],
            protocol=columns.protocol[rows],
            port=port[rows],
            evidence=classes.evidence[rows].astype(np.int64),
            side=classes.side[rows].astype(np.int64),
            tcp_flags=columns.tcp_flags[rows],
            time=columns.time[rows],
        )
        explained = self._noise.explain(suspects, _Ledger(self._edges, self._interner, allowlist, now))
        quiet = explained > 0
        classes.flow_class[rows[quiet]] = explained[quiet]
        classes.evidence[rows[quiet]] = Evidence.NONE
        return rows[~quiet]


class _Ledger:
    """What `noise` asks of edges, those included that were never seen."""

    def __init__(self, edges: Edges, interner: Interner, allowlist: Allowlist, now: float) -> None:
        self._interner, self._allowlist, self._now = interner, allowlist, now
        self.knows = edges.knows
        self.inside = interner.parties.inside

    def declares(self, client: int, server: int, protocol: int, port: int) -> Declared:
        ends = (self._interner.party(client), self._interner.party(server))
        return self._allowlist.judge(Edge(*ends, Protocol(protocol), port), self._now).declared
