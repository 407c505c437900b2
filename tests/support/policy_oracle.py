"""A second opinion on network policies: simple, slow, and written from the semantics document alone.

`answer` takes one scenario of the conformance suites (policies, endpoints, probes) and judges each probe by walking
every rule of every policy. It shares no code and no idea with the engine it is compared to; where the two differ, the
section a function quotes says who is right.
"""

from __future__ import annotations

import ipaddress
from itertools import product
from typing import Any

from tests.support.policy_oracle_labels import entities_of, identity_labels, is_pod, selector_matches
from tests.support.policy_oracle_peers import is_local_pod, peer_matches
from tests.support.policy_oracle_ports import l7_allows, port_matches
from tests.support.policy_oracle_rules import Entry, entries_of

Side = tuple[str, list[str] | None]


def answer(scenario: dict[str, Any]) -> list[dict[str, Any]]:
    """One answer per probe: id, verdict (allow, deny, unknown), egress, ingress (or `deny-l7`), by.

    `by` holds every policy that decides: for a denial those of the sides that deny, else those of both.
    """
    return [
        {key: verdict[key] for key in ("id", "verdict", "egress", "ingress", "by")} for verdict in explain(scenario)
    ]


def explain(scenario: dict[str, Any]) -> list[dict[str, Any]]:
    """The answers with what decided each side: `egress_by`, `ingress_by`; None where that is unknown."""
    entries = entries_of(scenario)
    config = scenario.get("config") or {}
    endpoints = {}
    for endpoint in scenario["endpoints"]:
        endpoints[endpoint["id"]] = {**endpoint, "_address": ipaddress.ip_address(endpoint["ip"])}
    result = []
    for probe in scenario["probes"]:
        source, destination = endpoints[probe["src"]], endpoints[probe["dst"]]
        egress = judge(source, destination, "egress", probe, entries, config)
        ingress = judge(destination, source, "ingress", probe, entries, config)
        result.append(
            {
                "id": probe["id"],
                "verdict": both(egress[0], ingress[0]),
                "egress": egress[0],
                "ingress": ingress[0],
                "by": deciders(egress, ingress),
                "egress_by": egress[1],
                "ingress_by": ingress[1],
            }
        )
    return result


def both(egress: str, ingress: str) -> str:
    """§1, a connection is allowed iff the source's egress and the destination's ingress verdict are allow."""
    if egress.startswith("deny") or ingress.startswith("deny"):
        return "deny"
    return "unknown" if "unknown" in {egress, ingress} else "allow"


def deciders(egress: Side, ingress: Side) -> list[str]:
    """The policies behind the verdict: of the denying sides if there is one, else of both."""
    sides = [side for side in (egress, ingress) if side[0].startswith("deny")] or [egress, ingress]
    return sorted({name for side in sides for name in side[1] or []})


def has_verdict(endpoint: dict[str, Any]) -> bool:
    """§1, a side that is no Cilium endpoint of this cluster has no verdict: treat it as allow."""
    if is_pod(endpoint):
        return is_local_pod(endpoint)
    return bool({"host", "health", "ingress", "init"} & set(entities_of(endpoint)))


def judge(
    subject: dict[str, Any],
    peer: dict[str, Any],
    direction: str,
    probe: dict[str, Any],
    entries: list[Entry],
    config: dict[str, Any],
) -> Side:
    """§1, the decision procedure for one subject and one direction."""
    if subject["id"] == peer["id"] or not has_verdict(subject):
        return "allow", []
    if config.get("enforcement") == "never":
        return "allow", []
    if "host" in entities_of(subject) and not config.get("host_firewall"):
        return "allow", []
    mine = [entry for entry in entries if entry.direction == direction and selects(entry, subject)]
    destination = subject if direction == "ingress" else peer
    matches = [matches_probe(entry, peer, destination, probe, config) for entry in mine]
    open_questions = [place for place, match in enumerate(matches) if match is None]
    outcomes = []
    for guess in product([True, False], repeat=len(open_questions)):
        for place, value in zip(open_questions, guess, strict=True):
            matches[place] = value
        matching = [entry for entry, match in zip(mine, matches, strict=True) if match]
        outcomes.append(decide(subject, peer, direction, probe, destination, mine, matching, config))
    verdicts = {verdict for verdict, _ in outcomes}
    if len(verdicts) == 1:
        return outcomes[0][0], outcomes[0][1] if all(item == outcomes[0] for item in outcomes) else None
    return ("deny" if verdicts == {"deny", "deny-l7"} else "unknown"), None


def selects(entry: Entry, subject: dict[str, Any]) -> bool:
    """§2, row endpointSelector: endpoints but never the host; §7, nodeSelector is about the host alone."""
    if entry.on_node != ("host" in entities_of(subject)):
        return False
    return selector_matches(entry.subject, identity_labels(subject))


def matches_probe(
    entry: Entry, peer: dict[str, Any], destination: dict[str, Any], probe: dict[str, Any], config: dict[str, Any]
) -> bool | None:
    """§4, peers are ORed, and ANDed with the ports; None where only a cloud group could match."""
    if entry.ports is not None and not any(port_matches(port, probe, destination) for port in entry.ports):
        return False
    found = [peer_matches(member, peer, probe, config) for member in entry.peers]
    if True in found:
        return True
    return None if None in found else False


def decide(
    subject: dict[str, Any],
    peer: dict[str, Any],
    direction: str,
    probe: dict[str, Any],
    destination: dict[str, Any],
    mine: list[Entry],
    matching: list[Entry],
    config: dict[str, Any],
) -> Side:
    """§1, walk the tiers, inside a tier by priority; then default deny; then the localhost rule."""
    left_tiers = set()
    for tier, priority in sorted({(entry.tier, entry.priority) for entry in matching}):
        if tier in left_tiers:
            continue
        here = [entry for entry in matching if (entry.tier, entry.priority) == (tier, priority)]
        denies = [entry.by for entry in here if entry.action == "deny"]
        if denies:
            return "deny", sorted(set(denies))
        if any(entry.action == "pass" for entry in here):
            left_tiers.add(tier)
            continue
        names = sorted({entry.by for entry in here})
        lifted = not is_default_deny(subject, mine, config) or is_own_node(subject, peer, direction, config)
        return ("allow" if lifted or l7_passes(here, probe, destination) else "deny-l7"), names
    return without_match(subject, peer, direction, mine, config)


def is_default_deny(subject: dict[str, Any], mine: list[Entry], config: dict[str, Any]) -> bool:
    """§1, one policy asking for it is enough; so is enforcement `always` or an endpoint without labels yet."""
    if config.get("enforcement") == "always" or "init" in entities_of(subject):
        return True
    return any(entry.default_deny for entry in mine)


def without_match(
    subject: dict[str, Any], peer: dict[str, Any], direction: str, mine: list[Entry], config: dict[str, Any]
) -> Side:
    """§1, the last lines: nothing matched, so default deny and the localhost rule decide."""
    if not is_default_deny(subject, mine, config):
        return "allow", []
    return ("allow" if is_own_node(subject, peer, direction, config) else "deny"), []


def is_own_node(subject: dict[str, Any], peer: dict[str, Any], direction: str, config: dict[str, Any]) -> bool:
    """§1, localhost: an allow at the very end, without L7 rules, so that it lifts those of others too (§8, union)."""
    if direction != "ingress" or config.get("no_localhost"):
        return False
    return "host" in entities_of(peer) and "host" not in entities_of(subject)


def l7_passes(allows: list[Entry], probe: dict[str, Any], destination: dict[str, Any]) -> bool:
    """§8, only after an L4 allow; one matching allow without L7 rules lifts those of all others.

    `enableDefaultDeny: false` with L7 rules adds an L7 wildcard since 1.18; Cilium does so where the endpoint as a
    whole has no default deny in this direction, which the caller asks first.
    """
    request = probe.get("l7")
    if not request:
        return True
    for entry in allows:
        if entry.ports is None:
            return True
        for port in entry.ports:
            if port_matches(port, probe, destination) and l7_allows(port.l7, request):
                return True
    return False
