"""What a batch held, added up for counters: the numbers behind /metrics and the live view.

Pure; a handful of vector operations a batch, and Python once per distinct combination.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from flowwatch.codes import Evidence, FlowClass, drop_name, event_name, verdict_name
from flowwatch.decode import Columns
from flowwatch.edges import Ints, Observations
from flowwatch.judge import DeclaredCode
from flowwatch.model import Identity, Side, Square
from flowwatch.shapes import Classes

_SQUARES = {
    (DeclaredCode.YES, Evidence.FORWARDED): Square.EXPECTED,
    (DeclaredCode.YES, Evidence.DROPPED): Square.BLOCKED,
    (DeclaredCode.NO, Evidence.FORWARDED): Square.UNEXPECTED,
    (DeclaredCode.NO, Evidence.DROPPED): Square.DENIED,
}


@dataclass(slots=True)
class Counts:
    """What one batch held."""

    messages: int = 0
    undecodable: int = 0
    repeated: int = 0
    """Flows that were there before: a server repeated them."""
    flows: int = 0
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By (verdict, event)."""
    classes: Counter[str] = field(default_factory=Counter)
    squares: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Evidence flows by (square, direction, namespace of the policed or sending side)."""
    drops: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Denied connection attempts by (namespace, direction, reason)."""
    square_samples: dict[tuple[str, str, str], str] = field(default_factory=dict)
    """The uuid of one flow behind each of `squares` that is not as declared."""
    drop_samples: dict[tuple[str, str, str], str] = field(default_factory=dict)
    """The same for `drops`."""
    lost: Counter[str] = field(default_factory=Counter)
    lost_false: int = 0
    """Events reported as lost that were not."""
    seconds: dict[str, float] = field(default_factory=dict)
    last_flow: float = 0.0
    """Time of the newest flow, seconds."""

    def add_flows(self, columns: Columns, classes: Classes) -> None:
        """Count flows of the batch by verdict, event and class."""
        self.flows += int(columns.weight.sum())
        pairs, inverse = np.unique(columns.verdict << 32 | columns.event, return_inverse=True)
        for pair, flows in zip(pairs.tolist(), np.bincount(inverse, weights=columns.weight).tolist(), strict=True):
            self.verdicts[verdict_name(pair >> 32), event_name(pair & 0xFFFFFFFF)] += int(flows)
        per_class = np.bincount(classes.flow_class, weights=columns.weight)
        for code in np.flatnonzero(per_class).tolist():
            self.classes[FlowClass(code).label] += int(per_class[code])
        self.last_flow = max(self.last_flow, int(columns.time.max()) / 1e9)

    def add_evidence(
        self,
        seen: Observations,
        declared: Ints,
        drop_reason: Ints,
        attempts: Ints,
        owner: Ints,
        identities: list[Identity],
        uuid: Callable[[int], str] = lambda _: "",
    ) -> None:
        """Count flows that are evidence by square, and denied attempts by reason. `declared` is of each flow's
        edge, `owner` the identity of the side that spoke, whose namespace it is; `uuid` is asked for a few."""
        keys = (((owner << 4 | declared) << 4 | seen.evidence) << 4 | seen.side) << 20 | np.clip(
            drop_reason, 0, 0xFFFFF
        )
        distinct, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        weights = np.bincount(inverse, weights=seen.weight).astype(np.int64)
        begun = np.bincount(inverse, weights=attempts).astype(np.int64)
        found = zip(distinct.tolist(), weights.tolist(), begun.tolist(), first.tolist(), strict=True)
        for key, flows, tries, at in found:
            evidence, code, side = Evidence(key >> 24 & 15), DeclaredCode(key >> 28 & 15), Side(key >> 20 & 15)
            namespace, direction = identities[key >> 32].namespace, side.name.lower()
            square = _SQUARES.get((code, evidence))
            if square:
                self.squares[square.value, direction, namespace] += flows
                if square is not Square.EXPECTED:
                    self.square_samples[square.value, direction, namespace] = uuid(at)
            if tries and evidence is Evidence.DROPPED:
                reason = drop_name(key & 0xFFFFF)
                self.drops[namespace, direction, reason] += tries
                self.drop_samples[namespace, direction, reason] = uuid(at)
