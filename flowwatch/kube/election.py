"""Who of several replicas leads: the life of one Lease as a state machine, without socket or clock.

Clocks of different machines are never compared. A replica measures with its own clock alone for how long a lease
did not change, and takes it over only after the time its holder asked for; a holder stops to lead well before that,
counted from when it began to ask for its last renewal. So two never lead at once, however late answers are.
"""

from __future__ import annotations

from dataclasses import dataclass

DURATION = 10.0
"""Seconds for which others wait for a holder to renew."""
GIVE_UP = 6.0
"""Seconds after which a holder that could not renew does not lead any more."""
RETRY = 1.5
"""Seconds between two turns, more or less."""


@dataclass(frozen=True, slots=True)
class Record:
    """A lease as it is stored: `version` is its resource version (empty: not stored yet), `renewed` whatever its holder
    wrote as the time, only ever compared with itself."""

    holder: str
    duration: float = DURATION
    transitions: int = 0
    version: str = ""
    renewed: str = ""
    acquired: str = ""


class Election:
    """One replica's part. `now` is always of one clock that never goes back, in seconds."""

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.record: Record | None = None
        """The lease as it was seen last; None: there is none, or nobody looked yet."""
        self._changed = 0.0
        self._until = float("-inf")

    def leads(self, now: float) -> bool:
        """Whether this replica leads."""
        return now < self._until

    def seen(self, record: Record | None, now: float) -> None:
        """The lease was read; None: there is none."""
        if record != self.record or record is None:
            self._changed = now
        self.record = record
        if record is None or record.holder != self.identity:
            self._until = float("-inf")

    def wants(self, now: float, moment: str) -> Record | None:
        """What to write now; None where somebody else leads. `moment` is the time of day, for people to read."""
        record = self.record
        if record is None:
            return Record(self.identity, renewed=moment, acquired=moment)
        if record.holder == self.identity:
            return Record(self.identity, DURATION, record.transitions, record.version, moment, record.acquired)
        if record.holder and now - self._changed < record.duration:
            return None
        return Record(self.identity, DURATION, record.transitions + 1, record.version, moment, moment)

    def written(self, record: Record, asked: float, now: float) -> None:
        """What was wanted is stored, as `record`; `asked` is when the request began."""
        self.record, self._changed = record, now
        self._until = asked + GIVE_UP

    def resigns(self) -> Record | None:
        """What to write at the end, so that others need not wait; None where this replica holds nothing."""
        self._until = float("-inf")
        record = self.record
        if record is None or record.holder != self.identity:
            return None
        return Record("", 1.0, record.transitions, record.version, record.renewed, record.acquired)
