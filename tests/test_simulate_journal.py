"""The journal of a run: what must, may and cannot have been received, held against real clients."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowwatch.errors import FlowwatchError
from flowwatch.simulate import Evidence, Fates, Fault, Mode, Script, SimulatedHubble, chaos
from flowwatch.simulate.journal import spans
from tests.support.hubbleclients import Follower, until

NODES = ["talos-cp-1", "talos-cp-2", "talos-cp-3", "talos-w-1", "talos-w-2", "talos-w-3"]


def told(*lines: dict[str, object]) -> Evidence:
    """What a journal of one node with the uuids a to f and these lines says."""
    evidence = Evidence()
    evidence.take({"what": "emitted", "node": "n", "uuids": list("abcdef"), "times": [1] * 6, "lost": {}})
    for line in lines:
        evidence.take(line)
    return evidence


def opened(number: int) -> dict[str, object]:
    """A stream begins."""
    return {"what": "opened", "stream": number, "server": "relay", "since": 0, "follow": True, "at": number * 100}


def yielded(number: int, *parts: tuple[int, int]) -> dict[str, object]:
    """A stream was given events."""
    return {"what": "yielded", "stream": number, "node": "n", "spans": [list(part) for part in parts]}


def ended(number: int, how: str) -> dict[str, object]:
    """A stream is over."""
    return {"what": "ended", "stream": number, "how": how, "at": number * 100 + 50}


def cut(number: int) -> dict[str, object]:
    """A stream was broken."""
    return {"what": "cut", "stream": number, "fault": "rst"}


def held(number: int, yes: bool) -> dict[str, object]:
    """A stream's connection is frozen, or goes on."""
    return {"what": "held", "stream": number, "held": yes}


@pytest.mark.parametrize(
    ("lines", "must", "may"),
    [
        ([], "", ""),
        ([opened(1), yielded(1, (0, 2))], "abc", ""),
        ([opened(1), yielded(1, (0, 1), (4, 4)), ended(1, "ok")], "abe", ""),
        ([opened(1), yielded(1, (0, 1)), ended(1, "status")], "ab", ""),
        ([opened(1), yielded(1, (0, 1)), ended(1, "client")], "", "ab"),
        ([opened(1), yielded(1, (0, 1)), ended(1, "stopped")], "", "ab"),
        ([opened(1), yielded(1, (0, 1)), cut(1)], "", "ab"),
        ([opened(1), yielded(1, (0, 1)), ended(1, "ok"), cut(1)], "", "ab"),
        ([opened(1), yielded(1, (0, 1)), held(1, True)], "", "ab"),
        ([opened(1), held(1, True), yielded(1, (0, 1)), held(1, False)], "ab", ""),
        ([opened(1), yielded(1, (0, 3)), cut(1), opened(2), yielded(2, (2, 4))], "cde", "ab"),
        ([opened(1), yielded(1, (0, 3)), opened(2), yielded(2, (2, 4)), cut(2)], "abcd", "e"),
    ],
)
def test_the_end_of_a_stream_decides(lines: list[dict[str, object]], must: str, may: str) -> None:
    """Clean or still up: must. Broken, held back, given up by the client: may. What was never yielded: cannot."""
    expected = Fates(frozenset(must), frozenset(may), frozenset("abcdef") - set(must) - set(may))

    assert told(*lines).fates("n") == expected


def test_a_client_that_was_killed_may_have_lost_all_it_was_given() -> None:
    """Streams opened later are judged as ever."""
    evidence = told(opened(1), yielded(1, (0, 1)), ended(1, "ok"), opened(2), yielded(2, (1, 2)))

    assert evidence.fates("n", killed=150) == Fates(frozenset("bc"), frozenset("a"), frozenset("def"))


def test_an_unknown_node_has_no_fates() -> None:
    """It has emitted nothing."""
    assert told().fates("m") == Fates(frozenset(), frozenset(), frozenset())


@given(st.lists(st.integers(0, 30), max_size=40))
def test_spans_say_the_same_numbers(numbers: list[int]) -> None:
    """In the same order, as few pairs as can be."""
    found = spans(numbers)

    assert [number for first, last in found for number in range(first, last + 1)] == numbers
    assert all(after[0] != before[1] + 1 for before, after in itertools.pairwise(found))


# ── as a file ────────────────────────────────────────────────────────────────────────────────────


def test_the_file_says_what_the_simulator_knows(tmp_path: Path) -> None:
    """While the run goes on: lines of JSON, in full; an unfinished last line is left out."""
    path = tmp_path / "journal.jsonl"
    hubble = SimulatedHubble(rate=2000.0, flows=1500, nodes=True, journal_file=path, script=Script(lost=8))
    with hubble as address, Follower(address) as relay, Follower(hubble.node_addresses["talos-w-1"]) as agent:
        until(lambda: relay.flows and agent.flows)
        hubble.inject(Fault(Mode.RST, "talos-w-1"))
        until(lambda: hubble.truth().totals.flows == 1500)
        until(lambda: relay.uuids.keys() >= hubble.evidence().fates("talos-w-3").must and relay.flows > 500)
        known = hubble.evidence()
        with path.open("a", encoding="utf-8") as file:
            file.write('{"what":"emit')
        read = Evidence.read(path)

        assert read.emitted == known.emitted
        assert read.faults == known.faults
        assert {each.server: each.cut for each in read.streams.values()} == {"relay": "", "talos-w-1": "rst"}
        assert {node: read.fates(node) for node in NODES} == {node: known.fates(node) for node in NODES}
        assert sum(map(len, (each.uuids for each in known.emitted.values()))) >= 1500


@pytest.mark.parametrize("line", ["nothing", "[]", '{"what":"party"}', '{"what":"yielded","stream":3}'])
def test_what_is_no_journal_is_refused(tmp_path: Path, line: str) -> None:
    """With file and line."""
    path = tmp_path / "journal.jsonl"
    path.write_text(f"{json.dumps(opened(1))}\n{line}\n")

    with pytest.raises(FlowwatchError, match=r"journal.jsonl:2: this is not a line of a journal"):
        Evidence.read(path)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """To read and to write."""
    with pytest.raises(FlowwatchError, match=r"cannot read .*none"):
        Evidence.read(tmp_path / "none")
    with pytest.raises(FlowwatchError, match=r"cannot write .*none"):
        SimulatedHubble(journal_file=tmp_path / "none" / "none").start()


def test_without_a_journal_nothing_is_kept() -> None:
    """However long it runs."""
    hubble = SimulatedHubble(rate=2000.0, nodes=True)
    with hubble as address, Follower(address) as follower:
        until(lambda: follower.flows > 100)

        assert hubble.evidence().nodes() == []
        assert hubble.evidence().streams == {}


# ── against clients ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", range(6))
def test_clients_receive_what_they_must_and_nothing_they_cannot(seed: int) -> None:
    """To the last flow, whatever breaks: clients of the relay and of each node, some of which go away themselves."""
    script = Script(lost=0, skew=(("talos-w-2", -3.0), ("talos-cp-1", 2.5)))
    hubble = SimulatedHubble(
        rate=1500.0, seed=seed, flows=6000, nodes=True, journal=True, capacity=255, sort_buffer=20, script=script
    )
    with hubble:
        relay = Follower(lambda: hubble.relay_address, again=True, number=1)
        agents = [Follower(lambda node=node: hubble.node_addresses[node], again=True) for node in NODES]
        passing = Follower(hubble.relay_address)
        clients = [relay, *agents, passing]
        until(lambda: relay.flows > 100)
        passing.stop()
        for fault in itertools.islice(chaos(seed, NODES, longest=0.3), 14):
            hubble.inject(fault)
            flows = hubble.truth().totals.flows
            until(lambda flows=flows: hubble.truth().totals.flows >= min(flows + 200, 5000))
        until(lambda: len(hubble.evidence().faults) == 28)

        def arrived() -> Evidence | None:
            """What is known once nothing is under way: all that must be received was."""
            evidence = hubble.evidence()
            got = set[str]().union(*(client.received() for client in clients))
            owed = [uuid for node in NODES for uuid in evidence.fates(node).must - got]
            return None if owed else evidence

        until(lambda: hubble.evidence().emitted.keys() == set(NODES))
        until(lambda: all(each.uuids[-1] == "" for each in hubble.evidence().emitted.values()))
        evidence = until(arrived, "what must be received")
        got = set[str]().union(*(client.received() for client in clients))
        for client in clients:
            client.stop()
        # Later than what was received, so that nothing was yielded in between.
        later = hubble.evidence()

    fates = [evidence.fates(node) for node in NODES]
    must, may, never = (frozenset[str]().union(*(getattr(each, name) for each in fates)) for name in Fates.__slots__)
    never_yielded = frozenset[str]().union(*(later.fates(node).never for node in NODES))
    emitted = {uuid for each in evidence.emitted.values() for uuid in each.uuids if uuid}
    assert must | may | never == emitted
    assert len(must) > 1000
    assert must <= got <= emitted - never_yielded
