"""The third side, beside what is declared and what is observed: what is enforced, as the cluster's own objects say.

Whatever follows from them is only told while the watch of the cluster is alive; otherwise it says why it is not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol as Interface

from flowwatch.bypass import Bypasses
from flowwatch.config import KubernetesSettings
from flowwatch.edges import Edges
from flowwatch.findings import Findings
from flowwatch.kube.differences import differences, enforced, grave
from flowwatch.kube.live import Live, Standing, stale_since, trouble
from flowwatch.model import Enforced, Finding
from flowwatch.policy.objects import Objects
from flowwatch.policy.options import Options

log = logging.getLogger("flowwatch.enforced")

COMPARE_EVERY = 10.0
"""Seconds between two comparisons, where something changes all the time."""


class Watch(Interface):
    """What is asked of whoever follows the cluster."""

    def live(self) -> Live | None:
        """The cluster as it was known last; None before it was known at all."""

    def standings(self) -> Sequence[Standing]:
        """How the watch of each kind of object stands."""


class EnforcedPolicies:
    """The live policies beside one ledger of edges. One thread uses it."""

    def __init__(
        self,
        watch: Watch,
        edges: Edges,
        findings: Findings,
        settings: KubernetesSettings,
        options: Options,
        *,
        cluster: str = "",
        active_for: float = 900.0,
    ) -> None:
        """`options` and `cluster` (Cilium's own name of it, empty: clusters are not told apart) say how policies are
        meant."""
        self._watch = watch
        self._findings = findings
        self._settings = settings
        self._options = options
        self._cluster = cluster
        self._bypasses = Bypasses(edges, settings.gap_grace, active_for)
        self._live: Live | None = None
        self._declared: Objects | None = None
        self._compared = float("-inf")
        self._policies = enforced(Live(), options, cluster)
        self._known = Enforced(trouble="the cluster was not read yet")

    def advance(self, declared: Objects | None, now: float) -> Enforced:
        """Take what changed into account; what is known at `now`. `declared` are the policies that should be there."""
        live, standings = self._watch.live(), self._watch.standings()
        changed = live is not self._live or declared is not self._declared
        if live is not None and changed and not 0 <= now - self._compared < COMPARE_EVERY:
            self._compared = now
            if not live.says_the_same(self._live):
                self._policies = enforced(live, self._options, self._cluster)
                self._bypasses.enforce(self._policies, now)
                log.info("live policies: policies=%d pods=%d", len(live.policies), len(live.pods))
            self._live, self._declared = live, declared
            found = differences(declared, live, self._policies, exempt=self._settings.exempt)
            if news := set(grave(found)) - set(grave(self._known.differences)):
                for one in sorted(news, key=lambda one: one.what):
                    log.info("difference: %s of=%s %s", one.deviation, one.what, one.reason)
            self._known = Enforced(found, policies=len(live.policies), pods=len(live.pods))
        why = trouble(standings, now, self._settings.stale_after)
        if not why and self._live is None:
            why = "the cluster was not read yet"
        return Enforced(self._known.differences, why, stale_since(standings), self._known.policies, self._known.pods)

    def gaps(self, now: float, coverage: Callable[[float], float]) -> list[Finding]:
        """What passed lately although a live policy denies it, newest first; nothing while the watch is not alive,
        for the policies may have changed since."""
        if trouble(self._watch.standings(), now, self._settings.stale_after):
            return []
        denied = {number: self._bypasses.policies(number) for number in self._bypasses.current(now)}
        since = {number: self._bypasses.since(number) for number in denied}
        return self._findings.bypassed(denied, since, coverage)
