"""Messages within messages: are the parts that stay bytes until `intern` what they are taken for?

Endpoints, policies, node statuses and losses are kept as they came, because a pod's endpoint is the same bytes in
thousands of flows. Here each distinct one is parsed once, so that a malformed part makes its message undecodable,
counted like any other, and no later stage meets it.
"""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pyarrow as pa
from google.protobuf.message import DecodeError, Message

from flowwatch.decode.columns import Columns, Decoded, split_policies
from flowwatch.hubble import flow_pb2, relay_pb2

REMEMBERED = 100_000
"""Distinct encodings of each kind that are known to be sound."""
MOST_LOST = 1 << 48
"""Events that one message can say are lost: more than a node sees in a thousand years."""


class Inside:
    """Takes out of a batch what is malformed inside, remembering what is not."""

    def __init__(self) -> None:
        self._endpoints: set[bytes] = set()
        self._policies: set[bytes] = set()

    def checked(self, decoded: Decoded) -> Decoded:
        """The batch without such messages; they are added to `undecodable`."""
        flows = decoded.flows
        broken = flows.tcp_flags < 0
        for column in (flows.source, flows.destination):
            broken |= among(column, [not self._endpoint(value) for value in column.dictionary.to_pylist()])
        for column in (flows.allowed_by, flows.denied_by):
            broken |= among(column, [not self._policy_set(value) for value in column.dictionary.to_pylist()])
        statuses = [one for one in decoded.node_statuses if is_message(relay_pb2.NodeStatusEvent, one)]
        losses = [(node, one) for node, one in decoded.losses if is_loss(one)]
        taken_out = len(decoded.node_statuses) - len(statuses) + len(decoded.losses) - len(losses)
        left: Columns = flows
        if broken.any():
            left, taken_out = compact(flows.only(~broken)), taken_out + int(broken.sum())
        return Decoded(left, statuses, losses, decoded.undecodable + taken_out, decoded.other)

    def _endpoint(self, value: bytes) -> bool:
        return value in self._endpoints or self._remember(self._endpoints, value, is_message(flow_pb2.Endpoint, value))

    def _policy_set(self, value: bytes) -> bool:
        return value in self._policies or self._remember(
            self._policies, value, all(is_message(flow_pb2.Policy, one) for one in split_policies(value))
        )

    @staticmethod
    def _remember(known: set[bytes], value: bytes, sound: bool) -> bool:
        if sound:
            if len(known) >= REMEMBERED:
                known.clear()
            known.add(value)
        return sound


def among(column: pa.DictionaryArray, wanted: list[bool]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """The rows whose value is one of those wanted."""
    if not any(wanted):
        return np.zeros(len(column), np.bool_)
    codes = column.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    rows: np.ndarray[tuple[int], np.dtype[np.bool_]] = np.array(wanted, np.bool_)[codes]
    return rows


def compact(columns: Columns) -> Columns:
    """The same flows, with no value left in a dictionary that none of them has."""
    values = {field.name: getattr(columns, field.name) for field in fields(columns)}
    encoded = {name: value for name, value in values.items() if isinstance(value, pa.DictionaryArray)}
    return replace(columns, **{name: value.dictionary_decode().dictionary_encode() for name, value in encoded.items()})


def is_loss(serialised: bytes) -> bool:
    """Whether these bytes say how many events were lost, and a number that can be."""
    try:
        return flow_pb2.LostEvent.FromString(serialised).num_events_lost < MOST_LOST
    except DecodeError:
        return False


def is_message(kind: type[Message], serialised: bytes) -> bool:
    """Whether these bytes are a message of that kind."""
    try:
        kind.FromString(serialised)
    except DecodeError:
        return False
    return True
