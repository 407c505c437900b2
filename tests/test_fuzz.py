"""Every decoder of outside bytes keeps its promises on inputs that are nearly right.

The same targets for hours, guided by coverage where atheris is installed: `python -m tests.fuzz --seconds N`.
"""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowwatch.decode import best_decoder
from flowwatch.engine import Engine
from flowwatch.hubble import flow_pb2, observer_pb2
from flowwatch.receive import Batch
from flowwatch.receive.framing import Content
from flowwatch.receive.jsonl import LineConverter
from tests.fuzz.mutate import mutated
from tests.fuzz.samples import words
from tests.fuzz.targets import NOW, TARGETS

RUNS = {"http": 40, "wire": 200, "engine": 60, "answers": 60, "yaml": 100, "markdown": 100, "config": 60}


@cache
def beginnings(name: str) -> tuple[list[bytes], list[bytes]]:
    seeds = TARGETS[name].seeds()
    return seeds, words(seeds)


@pytest.mark.parametrize("name", TARGETS)
def test_the_samples_themselves(name: str) -> None:
    """Where fuzzing begins, nothing is broken; and at least one sample is taken, so that it begins with sense."""
    outcomes = [TARGETS[name].run(seed) for seed in beginnings(name)[0]]
    assert "" in outcomes, outcomes


@pytest.mark.parametrize("name", TARGETS)
def test_samples_after_changes(name: str) -> None:
    """Cut, spliced, repeated, nested, with other numbers and other words."""
    target = TARGETS[name]

    @settings(
        max_examples=RUNS.get(name, 120), deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(st.randoms(use_true_random=False))
    def holds(random: object) -> None:
        target.run(mutated(*beginnings(name), random))  # type: ignore[arg-type]

    holds()


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes(name: str) -> None:
    """What is nothing like a sample."""
    target = TARGETS[name]

    @settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=300))
    def holds(data: bytes) -> None:
        target.run(data)

    holds()


# ---- What fuzzing found


def flow(**fields: object) -> bytes:
    return observer_pb2.GetFlowsResponse(flow=flow_pb2.Flow(**fields)).SerializeToString()  # type: ignore[arg-type]


def test_a_time_beyond_64_bits_of_nanoseconds_is_no_time() -> None:
    """Year 9999 is a timestamp; it neither ends the ingest nor becomes a year that nobody wrote."""
    decoded = best_decoder().decode([flow(time={"seconds": 253402300799})])
    assert decoded.flows.time.tolist() == [0]


def test_a_latency_beyond_63_bits_is_as_large_as_can_be() -> None:
    """It does not turn negative."""
    decoded = best_decoder().decode([flow(l7={"latency_ns": (1 << 64) - 1})])
    assert decoded.flows.latency.tolist() == [(1 << 63) - 1]


def test_a_malformed_endpoint_costs_its_message_only() -> None:
    """It is counted as undecodable, where it used to end the ingest thread."""
    good = flow(uuid="00000000-0000-4000-8000-000000000001", source={"labels": ["k8s:app=web"]})
    bad = good.replace(b"k8s:app=web", b"k8s:app=\xff\xff\xff")
    counts = Engine(cluster="c").ingest(Batch("test", "test", [good, bad, good.replace(b"0001", b"0002")]), NOW)
    assert (counts.flows, counts.undecodable) == (2, 1)


def test_a_malformed_loss_or_status_is_counted() -> None:
    """As is a number of lost events that no column can hold."""
    messages = [b"\x12\x02\x0a\x7f", b"\x1a\x02\x10\xff"]
    lost = flow_pb2.LostEvent(num_events_lost=(1 << 64) - 1)
    messages.append(observer_pb2.GetFlowsResponse(lost_events=lost).SerializeToString())
    engine = Engine(cluster="c")
    assert engine.ingest(Batch("test", "test", messages), NOW).undecodable == 3
    engine.drain(NOW, ())


def test_a_message_that_breaks_off_is_no_flow() -> None:
    """The native decoder would make one of what came before the break."""
    whole = flow(uuid="00000000-0000-4000-8000-000000000001", time={"seconds": 1}, node_name="n", Summary="x" * 50)
    for cut in range(2, len(whole)):
        damaged = whole[:cut] + b"\xff" * (len(whole) - cut)
        decoded = best_decoder().decode([whole, damaged])
        assert len(decoded.flows) + decoded.undecodable + decoded.other == 2
        assert decoded.flows.uuid.to_pylist()[0] == "00000000-0000-4000-8000-000000000001"


def test_a_message_that_holds_a_line_of_json_is_a_message_however_it_is_read() -> None:
    """What a capture is does not depend on how much of it was read at once."""
    message = flow(uuid="u", Summary="x\n{}\n")
    frame = bytes((len(message),)) + message
    for at in range(len(frame)):
        content = Content(LineConverter())
        assert [*content.feed(frame[:at]), *content.feed(frame[at:]), *content.finish()] == [message]
