"""Whose message is this? The node's name of a serialised message, found without decoding it.

Messages that are given up unread are still counted by node, and counting must cost far less than
reading them would, or giving them up would not help. Only the outermost fields are looked at.
"""

from __future__ import annotations

_FLOW = 1 << 3 | 2
_RESPONSE_NODE = 1000 << 3 | 2
_FLOW_NODE = 11 << 3 | 2


def node_of(message: bytes) -> str:
    """The node that a `GetFlowsResponse` names; empty where it names none or cannot be read.

    The response's own name counts; a server that was asked for few fields may only give the flow's.
    """
    try:
        found = _last(message, 0, len(message), _RESPONSE_NODE)
        if found[0] == found[1]:
            flow = _last(message, 0, len(message), _FLOW)
            found = _last(message, *flow, _FLOW_NODE)
        return message[found[0] : found[1]].decode()
    except (IndexError, ValueError):
        return ""


def is_flow(message: bytes) -> bool:
    """Whether it holds a flow, as far as its first field tells; node states and losses are few and matter more."""
    return message[:1] == b"\x0a"


def _last(message: bytes, at: int, end: int, wanted: int) -> tuple[int, int]:
    """Where the last field with the tag `wanted` begins and ends; (0, 0) without one. ValueError, IndexError."""
    found, depth = (0, 0), 0
    while at < end:
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 2:
            length, at = _varint(message, at)
            if tag == wanted and not depth:
                found = (at, at + length)
            at += length
        elif kind == 0:
            _, at = _varint(message, at)
        elif kind == 1:
            at += 8
        elif kind == 5:
            at += 4
        elif kind in (3, 4):
            depth += 1 if kind == 3 else -1
        else:
            raise ValueError(f"wire type {kind}")
    if at != end or depth:
        raise ValueError("a field goes beyond the end")
    return found


def _varint(message: bytes, at: int) -> tuple[int, int]:
    byte = message[at]
    at += 1
    if byte < 0x80:
        return byte, at
    value, shift = byte & 0x7F, 7
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number without end")
