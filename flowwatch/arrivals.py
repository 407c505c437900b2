"""What arrives: batches of messages become columns of flows that were not there before.

Here the books are kept about the streams themselves: what happened to them goes to the coverage ledger,
how far they came to the cursors, and what a server repeats is left out. One thread uses it; it knows no
socket and no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from flowwatch.counts import Counts
from flowwatch.coverage import ABSURD_LOSS, Coverage
from flowwatch.cursors import Cursors
from flowwatch.decode import Columns, Decoded, Decoder
from flowwatch.hubble import observer_pb2, relay_pb2
from flowwatch.keys import Keys, keys_of
from flowwatch.receive import Batch, Heard, Left
from flowwatch.replays import Replays

Ints = npt.NDArray[np.int64]

ABSURD_TIME = 86_400.0
"""Seconds by which the time of a loss is off that is not taken for one."""
FORGET_EVERY = 60.0
"""Seconds between two prunings of the stored keys."""


@dataclass(frozen=True, slots=True)
class RecentKeys:
    """Keys of flows for the store, with what they belong to."""

    node: Ints
    time: Ints
    key: Keys


@dataclass(slots=True)
class Arrivals:
    """Takes batches in. `number` gives a node, by (cluster, name), its number."""

    decoder: Decoder
    number: Callable[[str, str], int]
    coverage: Coverage = field(default_factory=Coverage)
    cursors: Cursors = field(default_factory=Cursors)
    _replays: Replays = field(default_factory=Replays)
    _keys: list[RecentKeys] = field(default_factory=list)
    _forgotten: float = 0.0

    def take(self, batch: Batch, counts: Counts, now: float) -> Iterator[Columns]:
        """The fresh flows of a batch, cut where something else than a flow stood among the messages."""
        for notice in batch.notices:
            self.cursors.begin(notice.at)
            counts.lost.update(self.coverage.note(batch.source, batch.cluster, notice))
            if isinstance(notice, Heard):
                for report in notice.nodes:
                    if report.max_flows:
                        self._replays.expect(self.number(batch.cluster, report.name), report.max_flows)
            elif isinstance(notice, Left):
                self.cursors.forget(batch.cluster, notice.node)
        if batch.messages:
            self.cursors.begin(now)
            decoded = self.decoder.decode(batch.messages)
            if not decoded.node_statuses and not decoded.losses:
                yield from self._flows(batch, decoded, counts, now)
            else:
                for run in _cut(batch.messages):
                    if not _is_flow(run[0]):
                        self._note(batch, run, counts, now)
                    # Also of what does not begin like a flow: fields may stand in any order, and nothing is left out.
                    yield from self._flows(batch, self.decoder.decode(run), counts, now)
        if batch.position:
            self.cursors.place(batch.source, batch.cluster, batch.position)

    def _flows(self, batch: Batch, decoded: Decoded, counts: Counts, now: float) -> Iterator[Columns]:
        counts.undecodable += decoded.undecodable
        if len(decoded.flows):
            yield self._fresh(batch, decoded.flows, counts, now)

    def _note(self, batch: Batch, messages: list[bytes], counts: Counts, now: float) -> None:
        """Tell the ledger what a relay says of its nodes, and what is said to be lost."""
        for message in messages:
            try:
                response = observer_pb2.GetFlowsResponse.FromString(message)
            except DecodeError:
                continue  # counted where it is decoded
            # A relay tells of an error some ten seconds late, with the time at which it happened.
            at = min(response.time.ToNanoseconds() / 1e9 or now, now)
            if response.HasField("node_status"):
                status = response.node_status
                connected = status.state_change == relay_pb2.NODE_CONNECTED
                for node in status.node_names:
                    self.coverage.node_is(batch.source, batch.cluster, node, connected, at, now)
            elif response.HasField("lost_events"):
                event = response.lost_events
                last = event.last.ToNanoseconds() / 1e9 if event.HasField("last") else at
                last = last if abs(now - last) < ABSURD_TIME else now
                events = min(event.num_events_lost, ABSURD_LOSS)
                who = self.coverage.lose(
                    batch.source, batch.cluster, response.node_name, event.source, events, last, now
                )
                if who:
                    counts.lost[who] += events
                else:
                    counts.lost_false += events

    def _fresh(self, batch: Batch, columns: Columns, counts: Counts, now: float) -> Columns:
        """Leave out flows that a server repeated; every flow, repeated or not, moves its node's books on."""
        if not self.coverage.live:
            now = int(columns.time.max()) / 1e9  # a capture has no time but that of its flows
        names = columns.node.dictionary.to_pylist()
        codes = columns.node.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        numbers = np.array([self.number(batch.cluster, name) for name in names], dtype=np.int64)
        key = keys_of(columns)
        first = _first_of(codes, len(names))
        for code in np.flatnonzero(first >= 0).tolist():
            time = int(columns.time[first[code]]) / 1e9
            self.coverage.first(batch.source, batch.cluster, names[code], time, now)
        fresh = self._replays.fresh(key, numbers[codes], columns.time)
        for code in np.unique(codes[~fresh]).tolist():
            self.coverage.repeats(batch.cluster, names[code], now)
        newest = np.full(max(len(names), 1), -1, dtype=np.int64)
        np.maximum.at(newest, codes, columns.time)
        seconds = _per_second(codes[fresh], columns.time[fresh], columns.weight[fresh])
        for code in np.flatnonzero(first >= 0).tolist():
            name, time = names[code], int(newest[code]) / 1e9
            self.cursors.move(batch.source, batch.cluster, name, time)
            verdict = self.coverage.received(batch.cluster, name, time, seconds.get(code, {}), now)
            counts.lost["unreported"] += verdict.unseen
            counts.lost_false += verdict.false
        self._keys.append(RecentKeys(numbers[codes[fresh]], columns.time[fresh], key[fresh]))
        if fresh.all():
            return columns
        counts.repeated += int(len(fresh) - fresh.sum())
        return columns.only(fresh)

    # ── to the store and back ────────────────────────────────────────────────────────────────────

    def drain(self, now: float) -> tuple[RecentKeys | None, dict[int, int]]:
        """Keys the store does not have yet; and now and then, for each node number the time (ns) before which its
        keys are of no use any more."""
        keys, self._keys = self._keys, []
        forget: dict[int, int] = {}
        if now - self._forgotten >= FORGET_EVERY:
            self._forgotten = now
            forget = self._replays.oldest()
        if not keys:
            return None, forget
        return RecentKeys(
            np.concatenate([each.node for each in keys]),
            np.concatenate([each.time for each in keys]),
            np.concatenate([each.key for each in keys]),
        ), forget

    def renew(self) -> None:
        """Forget what the store has: the next drain hands over everything known of the streams."""
        self.cursors.renew()
        self._keys = [RecentKeys(np.full(len(time), node), time, key) for node, time, key in self._replays.remembered()]

    def restore(self, recent: RecentKeys) -> None:
        """Recognise flows that an earlier run stored; they come ordered by node and time."""
        for node in np.unique(recent.node).tolist():
            rows = recent.node == node
            self._replays.restore(node, recent.key[rows], recent.time[rows])


def _cut(messages: list[bytes]) -> Iterator[list[bytes]]:
    """The messages in runs of flows and of anything else: what is said between flows holds from there on."""
    start = 0
    for at in range(1, len(messages) + 1):
        if at == len(messages) or _is_flow(messages[at]) != _is_flow(messages[start]):
            yield messages[start:at]
            start = at


def _is_flow(message: bytes) -> bool:
    """By its first byte, the tag of the flow: servers write fields in the order of their numbers."""
    return message[:1] == b"\x0a"


def _first_of(codes: Ints, size: int) -> Ints:
    """For each code the first row that has it, -1 for none."""
    first = np.full(size, -1, dtype=np.int64)
    present, at = np.unique(codes, return_index=True)
    first[present] = at
    return first


def _per_second(codes: Ints, time: Ints, weight: Ints) -> dict[int, dict[int, int]]:
    """How many flows each code has in each second."""
    if not len(codes):
        return {}
    second = time // 1_000_000_000
    oldest = int(second.min())
    width = int(second.max()) - oldest + 1
    distinct, inverse = np.unique(codes * width + (second - oldest), return_inverse=True)
    flows = np.bincount(inverse, weights=weight).astype(np.int64)
    found: dict[int, dict[int, int]] = {}
    for each, count in zip(distinct.tolist(), flows.tolist(), strict=True):
        found.setdefault(each // width, {})[each % width + oldest] = count
    return found
