"""The policies of the simulated cluster as the declaration: every violation is found, and nothing else."""

from __future__ import annotations

from collections import Counter

import pytest

from flowwatch import allowlist
from flowwatch.engine import Engine
from flowwatch.model import Declared
from flowwatch.receive.capture import CaptureReceiver
from flowwatch.replay import FOR_EVER, Replayed, replay
from tests.support import shared
from tests.test_real_data import truth


@pytest.fixture(scope="module")
def replayed() -> tuple[Engine, allowlist.Allowlist, Replayed]:
    folder = shared.folder("simulated")
    declared = allowlist.load([folder / "dev.cnp.yaml"], 0.0)
    engine = Engine(cluster="default", allowlist=declared, settle=5.0, active_for=FOR_EVER)
    return engine, declared, replay(CaptureReceiver([folder / "dev.bin.xz"]), engine, 5.0)


def test_every_violation_is_found_and_nothing_else(
    replayed: tuple[Engine, allowlist.Allowlist, Replayed],
) -> None:
    """Each once, in its square, with its number of connections."""
    found = Counter(
        {
            (f.square.value, str(f.edge.source), str(f.edge.destination), f.edge.service): f.connections
            for f in replayed[2].findings
        }
    )
    assert sum(found.values()) > 60
    assert found == truth(shared.folder("simulated"))


def test_every_violation_says_why(replayed: tuple[Engine, allowlist.Allowlist, Replayed]) -> None:
    """Who isolates the end or denies the way, by policy and line, and which rule comes nearest."""
    for finding in replayed[2].findings:
        judged = finding.judgement
        assert "CiliumNetworkPolicy:" in judged.reason or "CiliumClusterwideNetworkPolicy:" in judged.reason
        assert "dev.cnp.yaml:" in judged.reason
        assert bool(judged.nearest) is bool(judged.differs)
    assert any(finding.judgement.nearest for finding in replayed[2].findings)


def test_expected_edges_name_policies_that_declare_them(
    replayed: tuple[Engine, allowlist.Allowlist, Replayed],
) -> None:
    """Hundreds of them, each by rules that exist; nearly every policy is in use."""
    engine, declared, _ = replayed
    used = set()
    for number in range(len(engine.edges)):
        if engine.edges.judgement(number).declared is Declared.YES:
            used |= {rule.title for rule in declared.declaring(engine.edges.edge(number), 0.0)}
    assert len(used) > 50
    assert used <= {rule.title for rule in declared.rules}
