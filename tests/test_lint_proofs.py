"""What is claimed of selectors, peers and ports holds for everything there could be."""

from __future__ import annotations

import ipaddress
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from flowwatch.lint.index import AtomIndex, LabelIndex
from flowwatch.lint.labels import (
    CLUSTER,
    DOES_NOT_EXIST,
    EXISTS,
    IN,
    NAMESPACE,
    NOT_IN,
    Labels,
    Term,
    apart,
    covers,
    disjoint,
    facts,
    matches,
    term,
)
from flowwatch.lint.observed import in_range
from flowwatch.lint.peers import (
    Atom,
    Entity,
    Everyone,
    Name,
    Pods,
    Range,
    name_covers,
    name_fits,
    range_covers,
)
from flowwatch.lint.peers import covers as peer_covers
from flowwatch.lint.portsets import ANY, EVERYTHING, PortSet, Span, spans
from flowwatch.lint.regexes import least_instructions, loose_dots

KEYS = ("app", "tier", NAMESPACE)
VALUES = ("a", "b", "c")

_values = st.frozensets(st.sampled_from(VALUES), min_size=1)
_terms = st.one_of(
    st.builds(Term, st.sampled_from(KEYS), st.sampled_from((IN, NOT_IN)), _values),
    st.builds(Term, st.sampled_from(KEYS), st.sampled_from((EXISTS, DOES_NOT_EXIST))),
)
_labels = st.builds(Labels, st.lists(_terms, max_size=4))
_endpoints = st.dictionaries(st.sampled_from(KEYS), st.sampled_from((*VALUES, "d")))


@settings(max_examples=500)
@given(_labels, _labels, _endpoints)
def test_what_covers_means_all_the_other_means(wide: Labels, narrow: Labels, endpoint: dict[str, str]) -> None:
    """No endpoint is meant by the narrow selector and not by the wide one."""
    if covers(wide, narrow) and matches(narrow, endpoint):
        assert matches(wide, endpoint)


@settings(max_examples=500)
@given(_labels, _labels, _endpoints)
def test_disjoint_selectors_share_nothing(one: Labels, other: Labels, endpoint: dict[str, str]) -> None:
    """No endpoint is meant by both, whichever way round they are asked about."""
    if disjoint(one, other) or disjoint(other, one):
        assert not (matches(one, endpoint) and matches(other, endpoint))


@settings(max_examples=300)
@given(st.lists(_labels, max_size=8), _labels)
def test_the_index_answers_as_asking_everyone_does(entries: list[Labels], asked: Labels) -> None:
    """What covers and what meets a selector, by index and one by one."""
    index = LabelIndex((labels, number) for number, labels in enumerate(entries))
    assert sorted(index.covering(asked)) == [n for n, labels in enumerate(entries) if covers(labels, asked)]
    assert sorted(index.meeting(asked)) == [n for n, labels in enumerate(entries) if not apart(labels, asked)]
    assert sorted(index.meeting(asked, disjoint)) == [
        n for n, labels in enumerate(entries) if not disjoint(labels, asked)
    ]


def test_labels_nobody_told_us_leave_it_open() -> None:
    """A condition on a label of the namespace is neither met nor missed where that is not known."""
    labels = Labels([term("io.cilium.k8s.namespace.labels.team", IN, ["a"]), term("app", IN, ["web"])])
    assert matches(labels, {"app": "web"}, ("io.cilium.",)) is None
    assert matches(labels, {"app": "api"}, ("io.cilium.",)) is False
    assert matches(labels, {"app": "web"}) is False


def test_a_namespace_by_its_name_label_is_that_namespace() -> None:
    """Sources that say nothing are left out, and both ways of naming a namespace are one."""
    assert term("io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name", IN, ["a"]) == term(
        f"k8s:{NAMESPACE}", IN, ["a"]
    )
    assert facts(["k8s:app=x", "reserved:host"], "shop") == {NAMESPACE: "shop", "app": "x", "reserved:host": ""}


_patterns = st.lists(st.sampled_from(["*", "a", "b-c9", "x*", "*x", "a*b", "com"]), min_size=1, max_size=4).map(
    ".".join
)
_deep = st.builds(lambda pattern, deep: f"**.{pattern}" if deep else pattern, _patterns, st.booleans())
_names = st.lists(st.sampled_from(["a", "b-c9", "x", "xx", "ab", "a1b", "com", "q"]), min_size=1, max_size=5).map(
    ".".join
)


def _reference(pattern: str) -> re.Pattern[str]:
    """Cilium's grammar as a regular expression."""
    if pattern in ("*", "**"):
        return re.compile(".*")
    prefix = r"([-a-z0-9_]+\.)+" if pattern.startswith("**.") else ""
    body = pattern.removeprefix("**.") if prefix else pattern
    return re.compile(prefix + "[-a-z0-9_]*".join(re.escape(part) for part in re.split(r"\*+", body)))


@settings(max_examples=500)
@given(_deep, _names)
def test_a_pattern_fits_what_cilium_says(pattern: str, name: str) -> None:
    """Label by label gives the same answer as the whole as one expression."""
    assert name_fits(pattern, name) is bool(_reference(pattern).fullmatch(name))


@settings(max_examples=500)
@given(_deep, _deep, _names)
def test_a_pattern_that_covers_another_fits_all_its_names(wide: str, narrow: str, name: str) -> None:
    """Made-up names stand for all of them."""
    if name_covers(wide, narrow) and name_fits(narrow, name):
        assert name_fits(wide, name)


def test_no_pattern_is_slow() -> None:
    """Hundreds of stars cost nothing."""
    assert not name_fits("*a" * 120 + "*b.io", "a" * 250 + ".io")


_networks = st.builds(
    lambda start, bits: ipaddress.ip_network((start << 24, bits), strict=False),
    st.integers(8, 11),
    st.integers(4, 12),
)
_ranges = st.builds(Range, _networks, st.frozensets(_networks, max_size=2))


@settings(max_examples=400)
@given(_ranges, _ranges, st.integers(7 << 24, (12 << 24) - 1))
def test_a_range_that_covers_another_holds_its_addresses(wide: Range, narrow: Range, number: int) -> None:
    """Exceptions of either side included."""
    address = str(ipaddress.IPv4Address(number))
    if range_covers(wide, narrow) and in_range(narrow, address):
        assert in_range(wide, address)


_atoms = st.one_of(
    st.just(Everyone()),
    st.sampled_from([Entity(name) for name in ("all", "world", "cluster", "host", "ingress")]),
    _labels.map(Pods),
    _ranges,
    _deep.map(Name),
)


@settings(max_examples=300)
@given(st.lists(_atoms, max_size=8), _atoms)
def test_the_index_of_peers_answers_as_asking_everyone_does(entries: list[Atom], asked: Atom) -> None:
    """By index and one by one."""
    index: AtomIndex[int] = AtomIndex()
    for number, atom in enumerate(entries):
        index.add(atom, number)
    assert sorted(index.covering(asked)) == [n for n, atom in enumerate(entries) if peer_covers(atom, asked)]


def test_what_entities_contain() -> None:
    """As Cilium documents it."""
    pods = Pods(Labels([term(NAMESPACE, IN, ["shop"])]))
    assert peer_covers(Entity("cluster"), pods)
    assert peer_covers(Entity("cluster"), Entity("remote-node"))
    assert not peer_covers(Entity("cluster"), Entity("world"))
    assert not peer_covers(Entity("cluster"), Pods(Labels([term(NAMESPACE, EXISTS), term(CLUSTER, IN, ["b"])])))
    assert not peer_covers(Entity("cluster"), Pods(Labels([])))
    assert peer_covers(Entity("world"), Range(ipaddress.ip_network("0.0.0.0/0")))
    assert not peer_covers(Range(ipaddress.ip_network("0.0.0.0/0")), Entity("world"))
    assert not peer_covers(Range(ipaddress.ip_network("0.0.0.0/0")), pods)
    assert peer_covers(Entity("world"), Name("example.com"))
    assert not peer_covers(Entity("host"), Entity("remote-node"))


_spans = st.builds(
    lambda protocol, first, size, name: Span(protocol, 0, 65535, name) if name else Span(protocol, first, first + size),
    st.sampled_from(["TCP", "UDP"]),
    st.integers(1, 10),
    st.integers(0, 5),
    st.sampled_from(["", "", "http"]),
)
_port_sets = st.one_of(st.builds(PortSet, st.frozensets(_spans, max_size=3)), st.just(EVERYTHING))


@settings(max_examples=400)
@given(_port_sets, _port_sets, st.sampled_from(["TCP", "UDP"]), st.integers(1, 16))
def test_ports_that_hold_others_have_them(wide: PortSet, narrow: PortSet, protocol: str, port: int) -> None:
    """Whatever the names may stand for."""
    if wide.holds(narrow) and narrow.has(protocol, port):
        assert wide.has(protocol, port)
    if wide.has(protocol, port) and narrow.has(protocol, port):
        assert wide.meets(narrow)


def test_any_is_three_protocols() -> None:
    """`ANY` never means ICMP."""
    assert {span.protocol for span in spans(ANY, 53, 53)} == {"TCP", "UDP", "SCTP"}
    assert not PortSet(frozenset(spans(ANY, 0, 65535))).holds(EVERYTHING)


def test_how_big_a_pattern_is_at_least() -> None:
    """Each character counts once, repetitions as often as they repeat, alternatives by the longest."""
    cases = {
        "abc": 3,
        "a{10}": 10,
        "(ab){3}": 6,
        "a|bcd": 3,
        "[a-z]{4}x": 5,
        r"\d\.": 2,
        "(?:ab|c)d": 3,
        "^" + "a" * 200: 0,
        "a{1000}{1000}": 10_000,
        "((((": 0,
        "[": 1,
        "": 0,
    }
    assert {pattern: least_instructions(pattern) for pattern in cases} == cases


def test_which_dots_are_loose() -> None:
    """Between literal characters only."""
    assert [loose_dots(pattern) for pattern in ("a.b", r"a\.b", "a.*", "[a.b]", ".a", "a.b.c", r"\..")] == [
        1,
        0,
        0,
        0,
        0,
        2,
        0,
    ]


@given(st.text(alphabet="ab.*+?{}()[]|\\^$,0123456789", max_size=60))
def test_no_pattern_breaks_the_reader(pattern: str) -> None:
    """Anything may stand in a policy."""
    assert least_instructions(pattern) >= 0
    assert loose_dots(pattern) >= 0
