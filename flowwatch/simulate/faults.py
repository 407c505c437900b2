"""What can go wrong with a simulated server: the kinds of fault, how they are written, seeded chaos.

Pure: nothing here is done to anything. `schedule.py` says when, `hubble.py` does it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from flowwatch.config_values import UnreadableValue, format_duration, parse_duration
from flowwatch.errors import FlowwatchError


class Mode(StrEnum):
    """What happens. The words are those of `--fault`."""

    RST = "rst"
    FIN = "fin"
    GARBAGE = "garbage"
    FREEZE = "freeze"
    HALF_OPEN = "half-open"
    DELAY = "delay"
    UNAVAILABLE = "unavailable"
    RESOURCE_EXHAUSTED = "resource-exhausted"
    EOF = "eof"
    STALL = "stall"
    CORRUPT = "corrupt"
    GOAWAY = "goaway"
    RESTART = "restart"
    LEAVE = "leave"
    MOVE = "move"


MEANINGS = {
    Mode.RST: "connections are reset; new ones are refused",
    Mode.FIN: "connections are closed; new ones are refused",
    Mode.GARBAGE: "bytes that are no HTTP/2 appear on the connections",
    Mode.FREEZE: "connections stay open and carry nothing, in neither direction; what waits arrives at the end",
    Mode.HALF_OPEN: "as if the host had vanished: connections stay open and silent, new ones too; reset at the end",
    Mode.DELAY: "what the server sends arrives 200 ms late",
    Mode.UNAVAILABLE: "calls fail with UNAVAILABLE",
    Mode.RESOURCE_EXHAUSTED: "calls fail with RESOURCE_EXHAUSTED",
    Mode.EOF: "streams end with status OK, as do new ones at once",
    Mode.STALL: "streams stay open and silent, while ServerStatus is answered",
    Mode.CORRUPT: "each stream carries one message that cannot be decoded",
    Mode.GOAWAY: "the server stops gracefully: GOAWAY, and new connections are refused",
    Mode.RESTART: "the agent starts anew: connections reset, ring empty, counters and uptime from 0",
    Mode.LEAVE: "the node leaves the cluster, and joins it again at the end as a new machine",
    Mode.MOVE: "the agent is reset and returns at another address",
}
"""One line for each mode."""

REFUSING = frozenset({Mode.RST, Mode.FIN, Mode.GOAWAY, Mode.RESTART, Mode.LEAVE})
"""No connection can be made while it lasts."""
BREAKING = REFUSING | {Mode.GARBAGE, Mode.MOVE}
"""Breaks the connections there are."""
REFUSING_CALLS = frozenset({Mode.UNAVAILABLE, Mode.RESOURCE_EXHAUSTED})
"""Ends streams, and fails calls while it lasts."""
SILENT = frozenset({Mode.STALL, Mode.FREEZE, Mode.HALF_OPEN})
"""Streams carry nothing while it lasts."""
LASTING = SILENT | {Mode.DELAY, Mode.LEAVE}
"""Without `for` it lasts to the end of the run; the others are over at once."""
OF_NODES = frozenset({Mode.LEAVE, Mode.MOVE})
"""Cannot happen to a relay."""
OF_STREAMS = frozenset(
    {Mode.RST, Mode.FIN, Mode.GARBAGE, Mode.FREEZE, Mode.DELAY, Mode.STALL, Mode.CORRUPT, Mode.EOF} | REFUSING_CALLS
)
"""Can happen to one stream alone."""

_WORD = re.compile(r"(node|at|for|stream)=(.+)")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `node` names a node, or counts them from 1; empty: the relay; `*`: all nodes and the relay.

    `stream`: only the stream with this number (as the journal counts them) and its connection.
    `at`: seconds after the beginning of the run. `duration`: seconds; None: until the end where the
    mode lasts by nature, else over at once.
    """

    mode: Mode
    node: str = ""
    stream: int = 0
    at: float = 0.0
    duration: float | None = None

    def __str__(self) -> str:
        words = [
            str(self.mode),
            f"node={self.node}" if self.node else "",
            f"stream={self.stream}" if self.stream else "",
        ]
        words.append(f"at={format_duration(self.at)}" if self.at else "")
        words.append("" if self.duration is None else f"for={format_duration(self.duration)}")
        return " ".join(word for word in words if word)

    def check(self, nodes: Sequence[str]) -> Fault:
        """The fault with its node by name. Raises FlowwatchError if it cannot happen."""
        if self.mode in OF_NODES and not self.node:
            raise FlowwatchError(f"fault {str(self)!r}: a relay cannot {self.mode}; name a node")
        if self.stream and self.mode not in OF_STREAMS:
            raise FlowwatchError(f"fault {str(self)!r}: {self.mode} cannot happen to one stream alone")
        name = self.node
        if name.isdigit() and 1 <= int(name) <= len(nodes):
            name = nodes[int(name) - 1]
        if name not in ("", "*", *nodes):
            raise FlowwatchError(f"fault {str(self)!r}: there is no node {name!r}; the nodes are {', '.join(nodes)}")
        return Fault(self.mode, name, self.stream, self.at, self.duration)


def parse_fault(text: str) -> Fault:
    """A fault as written on the command line: `rst node=2 at=20s for=10s`. Raises FlowwatchError."""
    mode, *words = text.split() or [""]
    if mode not in list(Mode):
        raise FlowwatchError(f"fault {text!r}: {mode!r} is none of {', '.join(Mode)}")
    said: dict[str, str] = {}
    for word in words:
        match = _WORD.fullmatch(word)
        if match is None or match[1] in said:
            raise FlowwatchError(f"fault {text!r}: {word!r} is none of node=, stream=, at=, for=, or there twice")
        said[match[1]] = match[2]
    try:
        at = parse_duration(said["at"]) if "at" in said else 0.0
        duration = parse_duration(said["for"]) if "for" in said else None
    except UnreadableValue as error:
        raise FlowwatchError(f"fault {text!r}: {error}") from error
    if not said.get("stream", "1").isdigit():
        raise FlowwatchError(f"fault {text!r}: stream= takes the number of a stream")
    return Fault(Mode(mode), said.get("node", ""), int(said.get("stream", "0")), at, duration)


def chaos(seed: int, nodes: Sequence[str], *, every: float = 5.0, longest: float = 10.0) -> Iterator[Fault]:
    """Faults without end, in the order of their times: of relay and nodes, `every` seconds on average.

    Each ends by itself, `longest` seconds at most after it began. The same seed, the same faults.
    """
    random = Random(f"chaos {seed}")
    at = 0.0
    while True:
        at += random.expovariate(1 / every)
        node = random.choice(("", *nodes))
        modes = [mode for mode in Mode if node or mode not in OF_NODES]
        yield Fault(random.choice(modes), node, 0, round(at, 3), round(random.uniform(0.1, longest), 3))
