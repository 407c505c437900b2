"""The stage a run is played on: the cast, the randomness, and the flows that are still to come.

Everything random comes from one seed, and nothing is read from a clock: the caller says up to
when flows are due. Two stages made from equal clusters and the same seed, played alike, yield the
same bytes.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import NamedTuple, TypeAlias

from flowwatch.model import Protocol
from flowwatch.simulate.beats import MILLISECOND, SECOND, Beat, Narrator, Path
from flowwatch.simulate.cases import Case
from flowwatch.simulate.cluster import Cluster, Names, Node, Outside, Pod
from flowwatch.simulate.messages import Press, Template, layer4, varint
from flowwatch.simulate.proxied import Answer, lookup
from flowwatch.simulate.views import Views

COREDNS = "kube-system/coredns"
_REMEMBERED = 30 * SECOND
"""How long a pod uses an answer before it asks again."""
_FIRST_CLIENT_PORT, _CLIENT_PORTS, _PORT_STEP = 32_768, 28_229, 10_007
_SEARCHED = 0.15
"""Share of lookups that try the cluster's search list first."""
_STORIES = 8192


class Event(NamedTuple):
    """One message: when (ns since the epoch), from which node, its bytes, and why it exists.

    `template` is None for anything but a flow. `opens`: it is the first flow of a connection.
    `lost` is what a LostEvent counts. `due` is when it happens; `time` is that by the node's clock.
    """

    time: int
    node: str
    message: bytes
    template: Template | None = None
    uuid: str = ""
    case: Case | None = None
    opens: bool = False
    lost: int = 0
    due: int = 0


Ports: TypeAlias = tuple[bytes, bytes, bytes, bytes]
_Due: TypeAlias = tuple[int, int, Beat, Ports, Case | None, bool]


class Stage:
    """Plays connections and yields their flows when they are due. One thread uses it."""

    def __init__(self, cluster: Cluster, seed: int, skews: Mapping[str, int] | None = None) -> None:
        self.cluster = cluster
        self._skews = skews or {}
        self.random = Random(f"traffic {seed}")
        self.narrator = Narrator(Press(Views(cluster)))
        self.names = Names()
        self.played = 0
        """Flows played so far, those still to come included."""
        self.lookups: dict[str, Case] = {}
        """By `namespace/component`: the expected case a pod's lookups belong to."""
        self._uuids = Random(f"uuids {seed}")
        self._client_port = self.random.randrange(_CLIENT_PORTS)
        self._due: list[_Due] = []
        self._serial = 0
        self._stories: dict[object, list[Beat]] = {}
        self._asked: dict[tuple[Pod, str], int] = {}
        self._known: dict[tuple[Pod, str], tuple[str, ...]] = {}

    # ── the cast ─────────────────────────────────────────────────────────────────────────────────

    def pod(self, ref: str) -> Pod:
        """Any pod of a component."""
        return self.random.choice(self.cluster.pods[ref])

    def other_pod(self, ref: str, than: Pod) -> Pod:
        """Any pod of a component but one, if there is another."""
        others = [pod for pod in self.cluster.pods[ref] if pod != than]
        return self.random.choice(others or [than])

    def other_node(self, nodes: tuple[Node, ...], than: Node) -> Node:
        """Any of some nodes but one."""
        return self.random.choice([node for node in nodes if node != than])

    # ── playing ──────────────────────────────────────────────────────────────────────────────────

    def story(self, key: object, tell: Callable[[], list[Beat]]) -> list[Beat]:
        """What is told under a key, told once."""
        told = self._stories.get(key)
        if told is None:
            if len(self._stories) >= _STORIES:
                self._stories.clear()
            told = self._stories[key] = tell()
        return told

    def play(self, at: int, story: list[Beat], case: Case | None, port: int) -> int:
        """Let one connection's flows come due from `at` on; return when the last of them is."""
        # Every port in turn, so that two connections in reach of each other never look like one.
        self._client_port = (self._client_port + _PORT_STEP) % _CLIENT_PORTS
        source, server = varint(_FIRST_CLIENT_PORT + self._client_port), varint(port)
        ports = (
            b"\x08" + source + b"\x10" + server,
            b"\x08" + server + b"\x10" + source,
            b"",
            b"\x10" + server,
        )
        chance, push, due = self.random.random, heapq.heappush, self._due
        serial, opens = self._serial, True
        for beat in story:
            at += beat.gap + int(chance() * beat.jitter)
            serial += 1
            push(due, (at, serial, beat, ports, case, opens))
            opens = False
        self._serial = serial
        self.played += len(story)
        return at

    def talk(self, at: int, path: Path, case: Case | None) -> int:
        """A connection that works, with none to three exchanges of data."""
        rounds = self.random.choice((0, 1, 1, 2))
        story = self.story((path, rounds), lambda: self.narrator.forwarded(path, rounds))
        return self.play(at, story, case, path.port)

    def ask(self, at: int, pod: Pod, name: str, case: Case | None, protocol: Protocol = Protocol.UDP) -> int:
        """A pod looks a name up; return when it has the addresses."""
        self._asked[pod, name] = at
        for address in self.addresses(name, v6=False) + self.addresses(name, v6=True):
            self._known[pod, address] = tuple(sorted({*self._known.get((pod, address), ()), name}))
        path = Path(pod, self.pod(COREDNS), 53, protocol)
        searched = self.random.random() < _SEARCHED
        story = self.story(
            (path, name, searched), lambda: lookup(self.narrator, path, self._answers(pod, name, searched))
        )
        return self.play(at, story, case, 53) + MILLISECOND

    def reach(self, at: int, pod: Pod, name: str) -> tuple[int, Outside, tuple[str, ...]]:
        """Look a name up: when the pod can go on, the address it chose, and by which names it knows it."""
        if at - self._asked.get((pod, name), -_REMEMBERED) >= _REMEMBERED:
            at = self.ask(at, pod, name, self.lookups.get(pod.component.ref))
        v6 = self.addresses(name, v6=True)
        chosen = v6 if v6 and self.random.random() < 0.12 else self.addresses(name, v6=False)
        address = self.random.choice(chosen)
        return at, Outside(address), self._known.get((pod, address), (name,))

    def addresses(self, name: str, v6: bool) -> tuple[str, ...]:
        """What a name resolves to: names of the cluster to what has no place in flows."""
        return () if name.endswith(".cluster.local") else self.names.addresses(name, v6)

    def _answers(self, pod: Pod, name: str, searched: bool) -> tuple[Answer, ...]:
        """The answers to a lookup; some resolvers try the cluster's search list first."""
        if name.endswith(".cluster.local"):
            return (Answer(name, "A", ("10.96.0.1",)),)
        wrong = f"{name}.{pod.component.namespace}.svc.cluster.local"
        return (
            *((Answer(wrong, "A", exists=False),) if searched else ()),
            Answer(name, "A", self.addresses(name, v6=False)),
            Answer(name, "AAAA", self.addresses(name, v6=True)),
        )

    # ── yielding ─────────────────────────────────────────────────────────────────────────────────

    def due(self, now: int) -> Iterator[Event]:
        """The flows that are due up to `now`, oldest first."""
        heap, bits, skews = self._due, self._uuids.getrandbits, self._skews
        while heap and heap[0][0] <= now:
            time, _, beat, ports, case, opens = heapq.heappop(heap)
            uuid = _uuid(bits(128))
            template = beat.template
            l4 = layer4(beat.kind, ports[beat.way] + beat.inside)
            node = template.report.node.name
            told = time + skews[node] if node in skews else time
            message = template.stamp(told, uuid, l4)
            yield Event(told, node, message, template, uuid, case, opens, due=time)


def _uuid(bits: int) -> str:
    """A random (version 4) uuid."""
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{'89ab'[bits >> 60 & 3]}{text[17:20]}-{text[20:]}"


Act: TypeAlias = Callable[[Stage, int, Case], None]
"""Plays a case once on a stage, beginning at a time in nanoseconds."""


@dataclass(frozen=True, slots=True)
class Scene:
    """How a case is played. `first` and `every` in seconds since the start; `weight` for choosing at random."""

    case: Case
    act: Act
    first: float = 0.0
    every: float = 0.0
    weight: float = 1.0
