"""What a snapshot amounts to: drift, no drift, or that nothing can be said.

Pure, and shared by every surface, so that the terminal, the page and the HTTP API draw the same
conclusion. The promise kept here: "no drift" is said only when everything was watched. Where a
node did not stream, the stream is down or events were lost in the window, the answer is
"unknown", with what we were blind to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from flowwatch.model import Difference, Enforced, Finding, NodeCoverage, Snapshot, Square
from flowwatch.render import finding_json, headline
from flowwatch.words import Json, age, number, percent, plain, plural, rfc3339

DRIFT = (Square.UNEXPECTED, Square.BLOCKED)
"""The squares in which the network does not do what was declared."""

MOST_DIFFERENCES = 500
"""Differences in one status; `differences_total` counts all."""


class State(StrEnum):
    """The answer to the one question: does the network do what was declared?"""

    DRIFT = "drift"
    NO_DRIFT = "no drift"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The answer, the sentence that says it, and what we were blind to (empty: nothing)."""

    state: State
    sentence: str
    blind: tuple[str, ...]


def conclude(snapshot: Snapshot) -> Conclusion:
    """What the snapshot amounts to. What was seen is said even when we were blind; that nothing
    was there is said only when we were not."""
    blind = tuple(_blind(snapshot))
    counts = {square: sum(finding.square is square for finding in snapshot.findings) for square in Square}
    told = [headline(square, counts[square]) for square in (*DRIFT, Square.DENIED, Square.UNKNOWN) if counts[square]]
    apart = len(_apart(snapshot))
    if apart:
        told.insert(0, f"{plural(apart, 'network policy is', 'network policies are')} not as declared")
    if apart or any(counts[square] for square in DRIFT):
        return Conclusion(State.DRIFT, "; ".join(told), blind)
    if not snapshot.rules:
        return Conclusion(State.UNKNOWN, "; ".join(["no rule is declared, so nothing can be judged", *told]), blind)
    if blind:
        return Conclusion(State.UNKNOWN, "; ".join(["no gap was seen, but not everything was watched", *told]), blind)
    if counts[Square.UNKNOWN]:
        return Conclusion(State.UNKNOWN, "; ".join(["no gap was seen, but not every edge can be judged", *told]), blind)
    expected = headline(Square.EXPECTED, snapshot.squares.get(Square.EXPECTED, 0))
    return Conclusion(State.NO_DRIFT, "; ".join([expected, *told]), blind)


def _apart(snapshot: Snapshot) -> Sequence[Difference]:
    """The live policies that are not as declared, as far as that is known now."""
    if snapshot.enforced is None or snapshot.enforced.trouble:
        return ()
    return [one for one in snapshot.enforced.differences if one.deviation.is_grave]


def _blind(snapshot: Snapshot) -> Iterator[str]:
    match snapshot.stream:
        case "streaming":
            pass
        case "ended":
            if snapshot.stream_error:
                yield "the source ended early"
        case "connecting":
            yield "there is no stream yet"
        case _:
            yield "the stream is down"
    if not snapshot.flows:
        yield "no flow has been received"
    silent = [node for node in snapshot.nodes if not node.streaming]
    if silent and snapshot.stream != "ended":
        yield f"{_nodes(silent)} {'is' if len(silent) == 1 else 'are'} not streaming"
    if snapshot.enforced is not None and snapshot.enforced.trouble:
        yield f"what the cluster enforces is not known ({snapshot.enforced.trouble})"
    if not snapshot.coverage >= snapshot.min_coverage:
        lost = sum(snapshot.lost.values())
        because = f" ({plural(lost, 'event')} lost since the start)" if lost else ""
        yield f"only {percent(snapshot.coverage)} of what happened was seen{because}"


def _enforced(enforced: Enforced | None) -> dict[str, Json] | None:
    if enforced is None:
        return None
    return {
        "policies": enforced.policies,
        "pods": enforced.pods,
        "proven": rfc3339(enforced.proven),
        "trouble": enforced.trouble,
        "differences_total": len(enforced.differences),
        "differences": [difference_json(one) for one in enforced.differences[:MOST_DIFFERENCES]],
    }


def difference_json(one: Difference) -> dict[str, Json]:
    """The JSON form of a difference."""
    return {
        "difference": str(one.deviation),
        "of": one.what,
        "reason": one.reason,
        "declared_at": one.place,
        "fields": list(one.fields),
    }


def _nodes(nodes: Sequence[NodeCoverage], shown: int = 3) -> str:
    names = ", ".join(node.node for node in nodes[:shown])
    more = f" and {number(len(nodes) - shown)} more" if len(nodes) > shown else ""
    return f"{'node' if len(nodes) == 1 else 'nodes'} {names}{more}"


def lost_events(snapshot: Snapshot) -> str:
    """Lost events with who lost them, `1,204 events lost (hubble_ring_buffer 1,204)`; empty for none."""
    losers = {who: count for who, count in sorted(snapshot.lost.items()) if count}
    if not losers:
        return ""
    return (
        f"{plural(sum(losers.values()), 'event')} lost ({', '.join(f'{who} {number(n)}' for who, n in losers.items())})"
    )


def node_share(snapshot: Snapshot) -> str:
    """`5/6 nodes streaming`, or that none has reported."""
    if not snapshot.nodes:
        return "no node has reported"
    streaming = sum(node.streaming for node in snapshot.nodes)
    return f"{streaming}/{plural(len(snapshot.nodes), 'node')} streaming"


def errors(snapshot: Snapshot) -> list[tuple[str, str]]:
    """What is wrong with flowwatch itself, as pairs of a place and its text."""
    places = {"stream": snapshot.stream_error, "allowlist": snapshot.allowlist_error, "store": snapshot.store_error}
    places["cluster"] = snapshot.enforced.trouble if snapshot.enforced else ""
    return [(place, text.strip()) for place, text in places.items() if text.strip()]


def readiness(snapshot: Snapshot, now: float, grace: float) -> dict[str, str]:
    """Whether a rollout may go on, by component: `ok`, `ok, although …`, or why not.

    A stream is waited for once, for `grace` seconds after the start at most: a Hubble that is down, then or later,
    is told by the page, the metrics and the alerts, and none of those gets better by being taken out of service.
    """
    stream = "ok"
    if snapshot.stream != "streaming":
        down = f"{snapshot.stream}{f': {snapshot.stream_error}' if snapshot.stream_error else ''}"
        stream = f"ok, although {down}" if snapshot.streamed or now - snapshot.started >= grace else down
    return {"store": snapshot.store_error or "ok", "stream": stream}


def status_json(snapshot: Snapshot, limit: int | None = None) -> dict[str, Json]:
    """The JSON form of a snapshot with its conclusion. At most `limit` findings, newest first
    (`findings_total` counts all); times are RFC 3339 in UTC, `last_flow` null for never."""
    conclusion = conclude(snapshot)
    shown: Sequence[Finding] = snapshot.findings[:limit]
    return {
        "now": rfc3339(snapshot.now),
        "started": rfc3339(snapshot.started),
        "version": snapshot.version,
        "cluster": snapshot.cluster,
        "source": snapshot.source,
        "stream": snapshot.stream,
        "conclusion": {
            "state": str(conclusion.state),
            "sentence": conclusion.sentence,
            "blind": list(conclusion.blind),
        },
        "flows": snapshot.flows,
        "flows_per_second": plain(snapshot.flows_per_second),
        "verdicts": plain(snapshot.verdicts),
        "classes": plain(snapshot.classes),
        "squares": {str(square): snapshot.squares.get(square, 0) for square in Square},
        "lost": plain(snapshot.lost),
        "nodes": nodes_json(snapshot),
        "coverage": plain(snapshot.coverage),
        "watched_since": rfc3339(snapshot.watched_since),
        "coverage_gaps": snapshot.coverage_gaps,
        "lost_false": snapshot.lost_false,
        "rules": snapshot.rules,
        "unused_rules": list(snapshot.unused_rules),
        "alerts": plain(snapshot.alerts),
        "enforced": _enforced(snapshot.enforced),
        "conditions": [dict(condition) for condition in snapshot.conditions],
        "rows_stored": snapshot.rows_stored,
        "pending_rows": snapshot.pending_rows,
        "store_path": snapshot.store_path,
        "stream_error": snapshot.stream_error,
        "allowlist_error": snapshot.allowlist_error,
        "store_error": snapshot.store_error,
        "store_set_aside": snapshot.store_set_aside,
        "findings_total": len(snapshot.findings),
        "findings": [finding_json(finding) for finding in shown],
    }


def nodes_json(snapshot: Snapshot) -> list[Json]:
    """The JSON form of what is known of each node's stream."""
    return [_node_json(node) for node in snapshot.nodes]


def _node_json(node: NodeCoverage) -> dict[str, Json]:
    return {
        "cluster": node.cluster,
        "node": node.node,
        "streaming": node.streaming,
        "flows": node.flows,
        "lost": node.lost,
        "last_flow": rfc3339(node.last_flow),
        "reason": node.reason,
    }


def uptime(snapshot: Snapshot) -> str:
    """How long flowwatch has run."""
    return age(snapshot.now - snapshot.started)
