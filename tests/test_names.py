"""Names learnt from DNS answers: whose they are, how long they hold, and that memory is bounded."""

from __future__ import annotations

from flowwatch.names import LEEWAY, Names


def test_an_answer_is_its_own_workloads() -> None:
    """What one workload was answered says nothing about another."""
    names = Names()
    names.learn(1, "API.example.", ["203.0.113.7"], ttl=30, now=100)
    assert names.of(1, "203.0.113.7", 100) == ("api.example",)
    assert names.of(2, "203.0.113.7", 100) == ()
    assert names.of(1, "203.0.113.8", 100) == ()


def test_shared_addresses_keep_every_name() -> None:
    """Two names of one address are both given, sorted: which was meant cannot be told."""
    names = Names()
    names.learn(1, "b.example", ["203.0.113.7", "203.0.113.8"], ttl=30, now=100)
    names.learn(1, "a.example", ["203.0.113.7"], ttl=30, now=100)
    assert names.of(1, "203.0.113.7", 100) == ("a.example", "b.example")


def test_answers_age() -> None:
    """Beyond its TTL and the leeway for long connections, an answer no longer counts; a new answer renews it."""
    names = Names()
    names.learn(1, "a.example", ["203.0.113.7"], ttl=30, now=100)
    assert names.of(1, "203.0.113.7", 130 + LEEWAY) == ("a.example",)
    names.learn(1, "b.example", ["203.0.113.7"], ttl=30, now=200)
    assert names.of(1, "203.0.113.7", 140 + LEEWAY) == ("b.example",)
    assert names.of(1, "203.0.113.7", 240 + LEEWAY) == ()


def test_memory_is_bounded() -> None:
    """The answers not heard for longest go first."""
    names = Names(limit=2)
    for number in range(3):
        names.learn(1, "a.example", [f"203.0.113.{number}"], ttl=30, now=100)
    assert len(names) == 2
    assert names.of(1, "203.0.113.0", 100) == ()
    names.learn(1, ".", ["203.0.113.9"], ttl=30, now=100)
    assert names.of(1, "203.0.113.9", 100) == ()
