"""The documentation lists every check, and every known fact about policies is checked or said not to be."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flowwatch.lint import CHECKS, Severity, report

ROOT = Path(__file__).resolve().parents[1]
FACTS = ROOT.parent / "shared" / "facts" / "policy-lint.md"

FOLLOWED = {
    "A01": ("no-rules",),
    "A02": ("two-peer-kinds",),
    "A03": ("icmp-with-ports",),
    "A04": ("l7-port", "l7-two-protocols", "l7-direction"),
    "A05": ("deny-with-l7",),
    "A06": ("sni-with-http",),
    "A07": ("cidr-invalid", "cidr-except-outside", "cidr-choice"),
    "A08": ("subject-choice",),
    "A09": ("node-labels-off",),
    "A10": ("fqdn-invalid",),
    "A11": ("port-invalid",),
    "A12": ("selector-invalid",),
    "A13": ("l7-field-removed", "requires-removed"),
    "A14": ("specs-rejected-together",),
    "A15": ("entity-unknown", "entity-version"),
    "A16": ("http-regex-too-big",),
    "A17": ("port-named-and-numbered",),
    "B01": ("subject-unseen",),
    "B02": ("peer-unseen",),
    "B03": ("label-not-in-identity",),
    "B04": ("subject-other-namespace",),
    "B05": ("peer-own-namespace-only",),
    "B06": ("label-misspelt",),
    "B07": ("empty-peer-list",),
    "B08": ("empty-ports",),
    "B09": ("cidr-group-missing",),
    "B10": ("named-port-undefined", "named-port-outside", "named-port-ambiguous"),
    "B11": ("entity-selects-nobody",),
    "B12": ("fqdn-in-cluster",),
    "B13": ("service-missing",),
    "B14": ("end-port-ignored",),
    "B15": ("direction-not-in-policy-types",),
    "B16": ("protocol-missing", "namespace-missing", "policy-types-missing"),
    "C01": ("empty-list-is-everyone", "service-missing"),
    "C02": ("rule-for-everyone",),
    "C03": ("l7-voided",),
    "C04": ("cluster-admits-nodes",),
    "C05": ("world-includes-metadata", "world-includes-private"),
    "C06": ("except-reopened",),
    "C07": ("fqdn-too-wide",),
    "C08": ("http-regex-dot",),
    "C09": ("negative-selector",),
    "C10": ("selectors-or-ed",),
    "C11": ("mesh-scope",),
    "C12": ("default-deny-off",),
    "C13": ("auth-off",),
    "C14": ("host-allowed-anyway",),
    "C15": ("duplicate-policy", "duplicate-rule", "redundant-rule"),
    "D01": ("fqdn-without-dns", "dns-without-tcp"),
    "D02": ("dns-names-too-narrow", "dns-search-refused"),
    "D03": ("fqdn-double-star", "fqdn-apex"),
    "D04": ("fqdn-huge-pool",),
    "D05": ("cidr-covers-pods", "cidr-may-cover-pods"),
    "D06": ("nodes-by-cidr",),
    "D07": ("deny-only",),
    "D08": ("cluster-in-ingress-deny",),
    "D09": ("allow-shadowed-by-deny",),
    "D10": ("host-without-remote-node",),
    "D11": ("webhook-from-apiserver",),
    "D12": ("host-network-subject", "host-network-peer"),
    "D13": ("service-port",),
    "D14": ("icmp-excluded",),
    "D15": ("protocol-missing", "dns-without-udp"),
    "D16": ("http-on-passthrough", "http-on-tls"),
    "D17": ("http-path",),
    "D18": ("http-on-other-protocol",),
    "D19": ("l7-default-deny-off",),
    "D20": ("default-deny-everywhere",),
    "D21": ("gateway-backend",),
    "D22": ("cidr-behind-service",),
    "D23": ("host-firewall-off", "host-policy-lockout"),
    "D24": ("egress-without-dns",),
    "D25": ("one-side-declared",),
    "D26": ("cluster-policy-hidden", "baseline-unreached"),
    "D27": ("always-mode-probes",),
    "E1": ("rule-unused",),
    "E4": ("fqdn-one-name",),
    "E5": ("cidr-few-addresses", "port-range-few"),
    "E6": ("pod-unselected",),
    "E7": ("policy-not-in-files",),
    "E8": ("status-invalid",),
    "E9": ("label-drift",),
}
"""The checks that follow each fact."""

NOT_CHECKED = {
    "E2": "only ever saw L3 traffic",
    "E3": "became more since the rule was written",
}
"""Facts that no check follows, with words of the reason given in the documentation."""

WORSE_THAN_SAID = {"entity-unknown"}
"""The engine rejects what the API server would reject anyway, so it is an error and no warning."""


def block(name: str) -> str:
    """A generated part of the documentation."""
    text = (ROOT / "docs" / "lint.md").read_text(encoding="utf-8")
    return text.split(f"<!-- generated: {name} -->")[1].split("<!-- /generated -->")[0].strip()


def facts() -> dict[str, str]:
    """The facts by number, with the severity they are given."""
    if not FACTS.exists():
        pytest.skip("there is no folder shared/facts beside the checkout")
    text = FACTS.read_text(encoding="utf-8")
    found = dict(re.findall(r"^\| ([A-D]\d\d) \| ([EWI/]+) \|", text, re.MULTILINE))
    (drift,) = re.findall(r"^## E\..*?(?=^## F)", text, re.MULTILINE | re.DOTALL)
    return found | {f"E{number}": "I" for number in re.findall(r"(\d)\. ", drift)}


def test_the_table_of_checks_is_current() -> None:
    """docs/lint.md says what the code does."""
    assert block("lint") == report.reference()


def test_the_table_of_what_is_not_checked_is_current() -> None:
    """docs/lint.md says what the code leaves out."""
    assert block("lint-unchecked") == report.unchecked()


def test_names_are_stable_and_plain() -> None:
    """Names are what people write into comments: lower case, words joined by hyphens."""
    assert all(re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", check.name) for check in CHECKS)
    assert all(check.says.endswith(".") and len(check.says) < 200 for check in CHECKS)


def test_every_fact_is_followed_or_said_not_to_be() -> None:
    """No fact is forgotten, and none is made up."""
    names = {check.name for check in CHECKS}
    assert set(facts()) == FOLLOWED.keys() | NOT_CHECKED.keys()
    assert {check for checks in FOLLOWED.values() for check in checks} <= names
    for words in NOT_CHECKED.values():
        assert words in block("lint-unchecked")


def test_severities_are_those_of_the_facts() -> None:
    """A check is as severe as its fact, or less where only part of the fact can be told: then it is a remark."""
    severities = {check.name: check.severity for check in CHECKS}
    known = {"E": Severity.ERROR, "W": Severity.WARNING, "I": Severity.INFO}
    for fact, letters in facts().items():
        allowed = {known[letter] for letter in letters.split("/")} | {Severity.INFO}
        for check in FOLLOWED.get(fact, ()):
            if fact.startswith("E") or check in WORSE_THAN_SAID:
                continue
            assert severities[check] in allowed, f"{check} follows {fact}"
