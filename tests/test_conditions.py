"""Status conditions say of the paths of a name what was seen of them, and Unknown where nothing was."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowwatch.allowlist import parse
from flowwatch.conditions import Condition, Observed, Reason, Status, declared, evaluate, observe

NOW = 1_790_812_800.0
"""2026-10-01T00:00:00Z"""
RECENT, LONG_AGO = NOW - 60, NOW - 2 * 86_400

ALLOWLIST = """\
apiVersion: flowwatch/v1
kind: Allowlist
workloads:
  vault:
    vault: {app: vault}
    backup: {app: backup}
externals:
  storage: {fqdn: ["*.storage.example"]}
rules:
  - {from: vault, to: kube-apiserver, ports: 6443, reason: registration, condition: APIServerNetworkReady}
  - {from: backup, to: vault, ports: 8200, reason: snapshots, condition: BackupConfigurationReady}
  - {from: backup, to: storage, ports: 443, reason: copies, condition: [BackupConfigurationReady, StorageReady]}
  - {from: vault, to: world, ports: 123/UDP, reason: time}
  - {from: ingress, to: vault, ports: 8200, reason: the gateway, condition: Expired, expires: 2026-09-01}
"""
RULES = parse(ALLOWLIST, "allowlist.yaml", NOW).rules
CONDITIONS = declared(RULES)
SNAPSHOTS, COPIES = RULES[1].title, RULES[2].title
BACKUP = {"BackupConfigurationReady": CONDITIONS["BackupConfigurationReady"]}


def backup(observed: dict[int, Observed], coverage: float = 1.0, now: float = NOW) -> Condition:
    """The condition whose two paths are rules 1 and 2."""
    (condition,) = evaluate(BACKUP, observed, coverage, now)
    return condition


def test_conditions_are_the_names_that_rules_bear() -> None:
    """Each with its rules, in the order written; rules without one belong to none."""
    assert {name: [rule.id for rule in rules] for name, rules in CONDITIONS.items()} == {
        "APIServerNetworkReady": [0],
        "BackupConfigurationReady": [1, 2],
        "StorageReady": [2],
        "Expired": [4],
    }


def test_true_when_every_path_was_seen_forwarded() -> None:
    """And only then."""
    condition = backup({1: Observed(RECENT), 2: Observed(RECENT)})

    assert condition == Condition(
        "BackupConfigurationReady", Status.TRUE, Reason.PATHS_FORWARDED, "all 2 paths were seen forwarded", NOW
    )


def test_false_when_a_path_is_blocked() -> None:
    """The message names the path; that the other one works does not help."""
    condition = backup({1: Observed(RECENT), 2: Observed(0.0, RECENT)})

    assert (condition.status, condition.reason) == (Status.FALSE, Reason.PATH_BLOCKED)
    assert condition.message == f"declared but dropped by policy: {COPIES}"


@pytest.mark.parametrize(
    ("observed", "coverage", "reason", "message"),
    [
        ({}, 1.0, Reason.NOT_OBSERVED, f"not seen so far: {SNAPSHOTS}; {COPIES}"),
        ({1: Observed(RECENT)}, 1.0, Reason.NOT_OBSERVED, f"not seen so far: {COPIES}"),
        (
            {1: Observed(RECENT), 2: Observed(LONG_AGO)},
            1.0,
            Reason.NOT_OBSERVED_RECENTLY,
            f"not seen for 24h: {COPIES}",
        ),
        (
            {1: Observed(RECENT), 2: Observed(RECENT)},
            0.5,
            Reason.COVERAGE_TOO_LOW,
            "only 50.0% of the traffic was seen, which is less than 99.0%",
        ),
    ],
)
def test_unknown_says_why(observed: dict[int, Observed], coverage: float, reason: Reason, message: str) -> None:
    """Not seen, not seen lately, or not enough seen of anything."""
    condition = backup(observed, coverage)

    assert (condition.status, condition.reason, condition.message) == (Status.UNKNOWN, reason, message)


def test_a_block_is_one_however_little_was_seen() -> None:
    """What was seen dropped was dropped."""
    assert backup({2: Observed(0.0, RECENT)}, coverage=0.1).status is Status.FALSE


def test_an_old_block_is_forgotten() -> None:
    """Nobody tried since, so nobody knows whether it would pass."""
    assert backup({1: Observed(RECENT), 2: Observed(0.0, LONG_AGO)}).reason is Reason.NOT_OBSERVED


def test_an_expired_rule_declares_no_path() -> None:
    """A condition that rests on one is Unknown, and names the rule."""
    (condition,) = evaluate({"Expired": CONDITIONS["Expired"]}, {4: Observed(RECENT)}, 1.0, NOW)

    assert (condition.status, condition.reason) == (Status.UNKNOWN, Reason.DECLARATION_EXPIRED)
    assert condition.message == "no longer declared: ingress → vault/vault:8200/TCP"


def test_a_condition_keeps_its_time_while_its_status_stays() -> None:
    """Reason and message may change without a transition."""
    first = evaluate(BACKUP, {}, 1.0, NOW)
    second = evaluate(BACKUP, {1: Observed(NOW + 1)}, 1.0, NOW + 10, before=first)
    third = evaluate(BACKUP, {1: Observed(NOW + 1), 2: Observed(NOW + 15)}, 1.0, NOW + 20, before=second)

    assert [(one.status, one.last_transition) for (one,) in (first, second, third)] == [
        (Status.UNKNOWN, NOW),
        (Status.UNKNOWN, NOW),
        (Status.TRUE, NOW + 20),
    ]
    assert first[0].message != second[0].message


def test_a_condition_reads_like_one_of_kubernetes() -> None:
    """The keys and the form of the time are those of an object's status."""
    assert backup({}).manifest == {
        "type": "BackupConfigurationReady",
        "status": "Unknown",
        "reason": "NotObserved",
        "message": f"not seen so far: {SNAPSHOTS}; {COPIES}",
        "lastTransitionTime": "2026-10-01T00:00:00Z",
    }


def test_edges_are_summed_up_by_their_rule() -> None:
    """A rule's newest forward is that of any of its edges; an edge that recovered is not blocked."""
    second = 1_000_000_000
    rule = np.array([0, 0, 1, 1, -1, 2])
    forwarded = np.array([5, 7, 9, 0, 100, 0]) * second
    dropped = np.array([3, 0, 4, 6, 100, 0]) * second

    assert observe(rule, forwarded, dropped) == {0: Observed(7.0), 1: Observed(9.0, 6.0), 2: Observed()}
    assert observe(rule[:0], forwarded[:0], dropped[:0]) == {}
    assert Observed(7.0, 6.0).last_seen == 7.0


times = st.one_of(st.just(0.0), st.floats(min_value=NOW - 3 * 86_400, max_value=NOW))


@given(
    st.dictionaries(st.sampled_from([1, 2]), st.builds(Observed, times, times)),
    st.floats(min_value=0, max_value=1),
)
def test_true_only_on_evidence_of_everything(observed: dict[int, Observed], coverage: float) -> None:
    """Whatever was seen: True means all paths seen lately, none blocked and enough coverage; False, a block."""
    condition = backup(observed, coverage)

    seen = [observed.get(number, Observed()) for number in (1, 2)]
    blocked = any(one.dropped >= NOW - 86_400 for one in seen)
    assert (condition.status is Status.FALSE) is blocked
    assert (condition.status is Status.TRUE) is (
        not blocked and coverage >= 0.99 and all(one.forwarded >= NOW - 86_400 for one in seen)
    )
