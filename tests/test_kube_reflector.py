"""The watch of the cluster: whatever the API server does, the cache ends up as what the server has."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowwatch.errors import ClusterError
from flowwatch.kube.access import Access, Place, place
from flowwatch.kube.live import trouble
from flowwatch.kube.reflector import PAGE, Ask, Reflector, UnreadableAnswerError, Want
from flowwatch.kube.resources import (
    CILIUM_POLICIES,
    NAMESPACES,
    NETWORK_POLICIES,
    PODS,
    WATCHED,
    Namespace,
    Pod,
    grants,
)
from flowwatch.kube.watching import Watching
from tests.support.apiserver import FAULTS, FakeCluster
from tests.support.certificates import Authority
from tests.support.patience import until

RESOURCES = (NETWORK_POLICIES, NAMESPACES)
NAMES = ("a", "b", "c")


def policy(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "shop", "managedFields": [{"x": 1}]}, "spec": spec}


def namespace(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels}}


def cache(watching: Watching) -> dict[str, dict[tuple[str, str], object]]:
    return {
        one.resource.plural: {key: item.value for key, item in dict(one.items).items()} for one in watching.reflectors
    }


def agree(cluster: FakeCluster, watching: Watching) -> bool:
    synced = all(one.synced for one in watching.reflectors)
    return synced and cache(watching) == {
        one.resource.plural: cluster.state(one.resource) for one in watching.reflectors
    }


STEP = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(NAMES), st.integers(0, 3)),
    st.tuples(st.just("delete"), st.sampled_from(NAMES), st.just(0)),
    st.tuples(st.just("name"), st.sampled_from(NAMES), st.integers(0, 3)),
    st.tuples(st.just("fault"), st.sampled_from(FAULTS), st.just(0)),
    st.tuples(st.just("agree"), st.just(""), st.just(0)),
)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(STEP, max_size=30), streaming=st.booleans(), seed=st.integers(0, 2**16))
def test_the_cache_is_what_the_server_has_after_every_schedule(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, int]], streaming: bool, seed: int
) -> None:
    """Closes, resets, 410 in both forms, slow and broken lists, bookmarks, events twice and out of order, silence,
    expired tokens: none leaves the cache otherwise than the server."""
    token = tmp_path_factory.mktemp("access") / "token"
    token.write_text("t\n")
    with FakeCluster(RESOURCES, streaming=streaming, token="t") as cluster:
        cluster.on_new_token = token.write_text
        cluster.put(NETWORK_POLICIES, policy("a"))
        where = Place(cluster.url, token)
        with Watching(where, resources=RESOURCES, pauses=(0.001, 0.01), silence=0.4, random=Random(seed)) as watching:
            for what, name, number in steps:
                match what:
                    case "put":
                        cluster.put(NETWORK_POLICIES, policy(name, podSelector={"matchLabels": {"n": str(number)}}))
                    case "delete":
                        cluster.delete(NETWORK_POLICIES, name, "shop")
                    case "name":
                        cluster.put(NAMESPACES, namespace(name, n=str(number)))
                    case "fault":
                        cluster.fault(name)
                    case _:
                        cluster.heal()
                        until(lambda: agree(cluster, watching), "the cache agrees on the way")
            cluster.heal()
            until(lambda: agree(cluster, watching), "the cache agrees in the end")
            until(lambda: not any(one.error for one in watching.standings()), "no error is left")


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_alone_is_survived_while_something_happens(tmp_path: Path, fault: str) -> None:
    """Each is met by a cache that was complete, with changes before and after."""
    token = tmp_path / "token"
    token.write_text("t")
    with FakeCluster(RESOURCES, streaming=False, token="t") as cluster:
        cluster.on_new_token = token.write_text
        with Watching(Place(cluster.url, token), resources=RESOURCES, pauses=(0.001, 0.01), silence=0.4) as watching:
            cluster.put(NETWORK_POLICIES, policy("a"))
            until(lambda: agree(cluster, watching), "first")
            cluster.fault(fault)
            cluster.put(NETWORK_POLICIES, policy("b"))
            cluster.delete(NETWORK_POLICIES, "a", "shop")
            cluster.put(NETWORK_POLICIES, policy("b", podSelector={}))
            cluster.fault("close")  # what waits for the next request has one
            until(lambda: agree(cluster, watching), fault)


def test_streaming_lists_are_used_where_they_are_served_and_not_asked_for_twice_where_not() -> None:
    """One stream replaces list and watch; a server that refuses is listed from then on."""
    for streaming in (True, False):
        with FakeCluster((NAMESPACES,), streaming=streaming) as cluster:
            for number in range(3):
                cluster.put(NAMESPACES, namespace(f"n{number}"))
            with Watching(Place(cluster.url), resources=(NAMESPACES,), pauses=(0.001, 0.01)) as watching:
                until(lambda: agree(cluster, watching), "synced")
                cluster.fault("compact")
                cluster.fault("gone-event")
                cluster.fault("close")
                until(lambda: watching.reflectors[0].lists >= 2, "listed anew")
                until(lambda: agree(cluster, watching), "and agrees")
        assert (cluster.asked["list"] == 0) is streaming
        assert cluster.asked["stream"] == (watching.reflectors[0].lists if streaming else 1)


def test_long_lists_come_in_pages_and_lost_pages_end_in_one_list() -> None:
    """A continue token that expired is not asked for again; the next list is asked for as a whole."""
    with FakeCluster((NAMESPACES,), streaming=False) as cluster:
        for number in range(PAGE + 1):
            cluster.put(NAMESPACES, namespace(f"n{number:04}"))
        cluster.fault("lost-page")
        with Watching(Place(cluster.url), resources=(NAMESPACES,), pauses=(0.001, 0.01)) as watching:
            until(lambda: agree(cluster, watching), "synced")
        assert (cluster.asked["list"], cluster.asked["page"]) == (2, 1)


def test_kinds_that_are_not_installed_are_none_and_others_are_an_error() -> None:
    """404 says of an optional kind that there is nothing of it, and of any other that something is wrong."""
    with (
        FakeCluster(()) as cluster,
        Watching(Place(cluster.url), resources=(CILIUM_POLICIES, NAMESPACES), pauses=(0.001, 0.01)) as watching,
    ):
        until(lambda: watching.reflectors[0].absent, "absent")
        until(lambda: watching.reflectors[1].error.startswith("404 "), "an error")
        optional, needed = watching.standings()
    assert (optional.synced, optional.error, needed.synced, needed.proof) == (True, "", False, 0)
    assert optional.proof > 0
    assert trouble((optional, needed), 0.0, 300.0).startswith("namespaces were not read yet: 404 the server could not")
    assert watching.live() is None


def reflector(**more: Any) -> Reflector:
    made = Reflector(NAMESPACES, streaming=False, **more)
    made.ask()
    made.page({"metadata": {"resourceVersion": "10"}, "items": [listed("a", 3)]}, 100.0)
    assert made.ask() == Ask(Want.WATCH, "10")
    return made


def listed(name: str, version: int, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": str(version), "labels": labels}}


def test_bookmarks_are_a_proof_of_life_and_move_the_place_to_go_on_from() -> None:
    """Nothing changes by them, and a stale watch is told from a quiet one."""
    one = reflector()
    before = one.generation
    assert one.event({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "40"}}}, 160.0)
    one.closed()
    assert (one.proof, one.generation, one.waits) == (160.0, before, False)
    assert one.ask() == Ask(Want.WATCH, "40")


def test_a_watch_that_ends_without_a_word_is_followed_by_a_list() -> None:
    """It proves nothing, however properly it ended."""
    one = reflector()
    one.closed()
    assert one.waits
    assert one.ask().want is Want.LIST
    assert one.proof == 100.0


def test_what_changes_nothing_that_is_kept_is_no_change() -> None:
    """Status fields of a busy pod wake nobody."""
    one = Reflector(PODS, streaming=False)
    pod = {"metadata": {"name": "p", "namespace": "shop", "resourceVersion": "4"}, "spec": {}, "status": {"podIP": "1"}}
    one.ask()
    one.page({"metadata": {"resourceVersion": "4"}, "items": [pod]}, 1.0)
    one.ask()
    before = one.generation
    again = {**pod, "metadata": {**pod["metadata"], "resourceVersion": "5"}, "status": {"podIP": "1", "qosClass": "x"}}
    assert one.event({"type": "MODIFIED", "object": again}, 2.0)
    assert one.generation == before
    assert one.event(
        {"type": "DELETED", "object": {**again, "metadata": {**again["metadata"], "resourceVersion": "6"}}}, 3
    )
    assert (one.generation, one.items) == (before + 1, {})


def test_events_out_of_order_end_in_a_list_and_repeated_ones_in_nothing() -> None:
    """A version older than what was heard is either known already, or the sign of a hole."""
    one = reflector()
    assert one.event({"type": "ADDED", "object": listed("b", 12)}, 101.0)
    assert one.event({"type": "ADDED", "object": listed("b", 12)}, 102.0)
    assert one.event({"type": "MODIFIED", "object": listed("a", 13)}, 103.0)
    assert one.event({"type": "ADDED", "object": listed("b", 12)}, 104.0)
    assert one.event({"type": "DELETED", "object": listed("zz", 11)}, 104.0)
    assert not one.event({"type": "ADDED", "object": listed("c", 11)}, 105.0)
    assert one.ask().want is Want.LIST
    assert set(one.items) == {("", "a"), ("", "b")}


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"type": "ADDED"},
        {"type": "ADDED", "object": {"metadata": {}}},
        {"type": "ADDED", "object": {"metadata": {"name": "x"}}},
        {"type": "BOOKMARK", "object": {"metadata": {}}},
        {"type": "ADDED", "object": {"metadata": {"name": "x", "resourceVersion": "11", "labels": "none"}}},
    ],
)
def test_what_is_no_event_is_told_as_such(event: dict[str, Any]) -> None:
    """It is never taken for an object."""
    one = reflector()
    with pytest.raises(UnreadableAnswerError):
        one.event(event, 101.0)
    assert set(one.items) == {("", "a")}


def test_a_stale_watch_is_told_with_its_age_and_its_reason() -> None:
    """Answers hang on the oldest proof of all resources."""
    with (
        FakeCluster(RESOURCES) as cluster,
        Watching(Place(cluster.url), resources=RESOURCES, pauses=(0.001, 0.01)) as watching,
    ):
        until(lambda: watching.live() is not None, "synced")
        now = time.time()
        assert trouble(watching.standings(), now, 300.0) == ""
        assert "for 1000 s" in trouble(watching.standings(), min(s.proof for s in watching.standings()) + 1000, 300.0)
    assert trouble((), now, 300.0) == ""


def test_only_what_is_used_of_a_pod_is_kept() -> None:
    """Labels, account, node, address, age and owner; of a ReplicaSet the Deployment."""
    found: dict[str, Any] = {
        "metadata": {
            "name": "web-6d4cf56db6-x2k5p",
            "namespace": "shop",
            "labels": {"app": "web"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "web-6d4cf56db6", "controller": True}],
        },
        "spec": {
            "serviceAccountName": "web",
            "nodeName": "n1",
            "hostNetwork": True,
            "containers": [{"env": ["x"] * 99}],
        },
        "status": {"phase": "Running", "podIP": "10.0.0.1", "startTime": "2026-11-01T00:00:00Z"},
    }
    assert PODS.keep(found) == Pod(
        "shop",
        found["metadata"]["name"],
        (("app", "web"),),
        "web",
        "n1",
        "10.0.0.1",
        1793491200.0,
        "web",
        host_network=True,
    )
    assert NAMESPACES.keep({"metadata": {"name": "x", "labels": None}}) == Namespace("x")


def test_rights_are_list_and_watch_of_what_is_watched_and_nothing_else() -> None:
    """No secret, no verb that changes anything."""
    rights = grants()
    assert {right.resource for right in rights} == {one.plural for one in WATCHED}
    assert {verb for right in rights for verb in right.verbs} == {"list", "watch"}


def test_where_the_api_server_is() -> None:
    """The configuration wins, then the cluster we run in; outside of one there is none."""
    assert place("http://x:1/", None, None, {}) == Place("http://x:1")
    inside = place("", None, None, {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"})
    assert inside.url == "https://[fd00::1]:6443"
    assert inside.token_file == Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
    with pytest.raises(ClusterError, match=r"^kubernetes\.api: "):
        place("", None, None, {})


def test_tokens_are_read_again_after_a_minute_and_when_refused(tmp_path: Path) -> None:
    """And a file without a token is an error that names it."""
    token = tmp_path / "token"
    token.write_text("one\n")
    now = [1000.0]
    access = Access(Place("http://x", token), lambda: now[0])
    assert access.headers()["Authorization"] == "Bearer one"
    token.write_text("two")
    assert access.headers()["Authorization"] == "Bearer one"
    access.refused()
    assert access.headers()["Authorization"] == "Bearer two"
    token.write_text("three")
    now[0] += 61
    assert access.headers()["Authorization"] == "Bearer three"
    token.write_text(" ")
    access.refused()
    with pytest.raises(ValueError, match="holds no token"):
        access.headers()


def test_authorities_are_read_again_when_they_change(tmp_path: Path) -> None:
    """A server whose certificate comes from a new authority is trusted as soon as the file names that one."""
    old, new = Authority(tmp_path / "old"), Authority(tmp_path / "new")
    trusted = tmp_path / "ca.crt"
    trusted.write_bytes(old.certificate.read_bytes())
    with FakeCluster((NAMESPACES,), tls=new.issue("localhost")) as cluster:
        cluster.put(NAMESPACES, namespace("a"))
        where = Place(cluster.url, ca_file=trusted)
        with Watching(where, resources=(NAMESPACES,), pauses=(0.001, 0.01)) as watching:
            until(lambda: "is not trusted" in watching.standings()[0].error, "an error that says so")
            assert not watching.standings()[0].synced
            trusted.write_text("no certificate")
            until(lambda: "holds no certificate authority" in watching.standings()[0].error, "another")
            trusted.write_bytes(new.certificate.read_bytes())
            until(lambda: agree(cluster, watching), "the new authority")
