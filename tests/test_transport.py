"""Whether an edge is carried as its rule asks, and that silence never counts as yes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowwatch.allowlist.rules import Transport
from flowwatch.codes import Event, Point, Verdict
from flowwatch.transport import Answer, Carriage, Carried, Standing, carried, judge, together

NOW = 1_780_000_000.0
RECENT, EARLIER, LONG_AGO = NOW - 10, NOW - 3600, NOW - 10 * 86_400
SATISFIED, VIOLATED, UNKNOWN = Standing.SATISFIED, Standing.VIOLATED, Standing.UNKNOWN

TRACE, POLICY_VERDICT, DROP = Event.TRACE, Event.POLICY_VERDICT, Event.DROP
FORWARDED = Verdict.FORWARDED

times = st.one_of(st.just(0.0), st.floats(min_value=NOW - 2 * 86_400, max_value=NOW))


def of(event: int, point: int = 0, verdict: int = FORWARDED, encrypted: bool = False, auth_type: int = 0) -> Carried:
    """What one flow says."""
    columns = [np.array([value], dtype=np.int64) for value in (event, point, verdict)]
    return Carried(int(carried(*columns, np.array([encrypted]), np.array([auth_type], dtype=np.int64))[0]))


@pytest.mark.parametrize("point", [Point.TO_NETWORK, Point.TO_STACK, Point.TO_OVERLAY, Point.FROM_NETWORK])
def test_a_trace_that_is_marked_is_encrypted(point: Point) -> None:
    """Wherever Hubble sees an encrypted packet, that is what it is."""
    assert of(TRACE, point, encrypted=True) == Carried.ENCRYPTED


@pytest.mark.parametrize("point", [Point.TO_CRYPTO, Point.FROM_CRYPTO])
def test_a_packet_on_its_way_into_or_out_of_encryption_is_encrypted(point: Point) -> None:
    """There it is seen in the clear, and travels encrypted."""
    assert of(TRACE, point) == Carried.ENCRYPTED


def test_a_packet_that_leaves_a_node_without_the_mark_is_plain() -> None:
    """After that point nobody encrypts it any more."""
    assert of(TRACE, Point.TO_NETWORK) == Carried.PLAIN


@pytest.mark.parametrize(
    "point", [point for point in Point if point not in (Point.TO_NETWORK, Point.TO_CRYPTO, Point.FROM_CRYPTO)]
)
def test_elsewhere_a_missing_mark_says_nothing(point: Point) -> None:
    """A packet may be encrypted later on its way out, and on its own node it never is."""
    assert of(TRACE, point) == Carried(0)


def test_only_verdicts_that_let_pass_know_about_authentication() -> None:
    """A connection that was let through was authenticated or was not; a drop was neither."""
    assert of(POLICY_VERDICT, auth_type=1) == Carried.AUTHENTICATED
    assert of(POLICY_VERDICT, verdict=Verdict.REDIRECTED, auth_type=1) == Carried.AUTHENTICATED
    assert of(POLICY_VERDICT) == Carried.UNAUTHENTICATED
    assert of(POLICY_VERDICT, verdict=Verdict.DROPPED, auth_type=1) == Carried(0)
    assert of(DROP, verdict=Verdict.DROPPED) == Carried(0)
    assert of(POLICY_VERDICT, Point.TO_NETWORK, encrypted=True) == Carried.UNAUTHENTICATED


@pytest.mark.parametrize(
    ("seen", "standing"),
    [
        (Carriage(), UNKNOWN),
        (Carriage(encrypted=RECENT), SATISFIED),
        (Carriage(plain=RECENT), VIOLATED),
        (Carriage(encrypted=RECENT, plain=EARLIER), VIOLATED),
        (Carriage(encrypted=RECENT, plain=LONG_AGO), SATISFIED),
        (Carriage(encrypted=LONG_AGO), UNKNOWN),
        (Carriage(plain=LONG_AGO), UNKNOWN),
        (Carriage(authenticated=RECENT), UNKNOWN),
    ],
)
def test_encryption(seen: Carriage, standing: Standing) -> None:
    """One packet in the clear is one too many; nothing seen is nothing known."""
    assert judge(Transport.ENCRYPTED, seen, NOW).standing is standing


@pytest.mark.parametrize(
    ("seen", "standing"),
    [
        (Carriage(), UNKNOWN),
        (Carriage(unauthenticated=RECENT), UNKNOWN),
        (Carriage(authenticated=RECENT), SATISFIED),
        (Carriage(authenticated=RECENT, unauthenticated=EARLIER), SATISFIED),
        (Carriage(authenticated=EARLIER, unauthenticated=RECENT), VIOLATED),
        (Carriage(authenticated=LONG_AGO), UNKNOWN),
        (Carriage(authenticated=LONG_AGO, unauthenticated=LONG_AGO + 1), UNKNOWN),
        (Carriage(encrypted=RECENT), UNKNOWN),
    ],
)
def test_authentication(seen: Carriage, standing: Standing) -> None:
    """A server that never reports authentication cannot be told from one where it is off: unknown."""
    assert judge(Transport.AUTHENTICATED, seen, NOW).standing is standing


@given(st.sampled_from(Transport), st.builds(Carriage, times, times, times, times))
def test_nothing_is_satisfied_without_evidence_for_it(asked: Transport, seen: Carriage) -> None:
    """Every yes and every no rests on something that was seen within the window."""
    answer = judge(asked, seen, NOW)

    proof = seen.encrypted if asked is Transport.ENCRYPTED else seen.authenticated
    breach = seen.plain if asked is Transport.ENCRYPTED else seen.unauthenticated
    if answer.standing is SATISFIED:
        assert proof >= NOW - 86_400
    if answer.standing is VIOLATED:
        assert breach >= NOW - 86_400
    if not any((seen.encrypted, seen.plain, seen.authenticated, seen.unauthenticated)):
        assert answer.standing is UNKNOWN
    assert answer.reason


def test_of_several_edges_the_worst_counts() -> None:
    """A rule whose paths are many is violated where one of them is, and satisfied by any that is known."""
    yes, no, unknown = (Answer(standing, str(standing)) for standing in (SATISFIED, VIOLATED, UNKNOWN))

    assert together((unknown, yes, no)) == no
    assert together((unknown, yes)) == yes
    assert together((unknown, unknown)) == unknown
    assert together(()).standing is UNKNOWN
