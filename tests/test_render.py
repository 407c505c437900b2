"""Findings and query results as text: one JSON form, and tables, CSV and Markdown that nothing can break out of."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import jsonschema
import pytest
from rich.cells import cell_len

from flowwatch import render
from flowwatch.model import Declared, Judgement, Square
from tests.support.samples import (
    HOSTILE,
    LOKI_SENTENCE,
    NOW,
    blocked_finding,
    denied_finding,
    four_findings,
    hostile_finding,
    loki_finding,
    ping_finding,
    pod,
)

FORMATS = ("table", "json", "csv", "markdown")
STRINGS = {"type": "array", "items": {"type": "string"}}
MOMENT = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"}


def closed(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    """The schema of an object with these keys and no others."""
    return {
        "type": "object",
        "properties": required | optional,
        "required": list(required),
        "additionalProperties": False,
    }


TEXT = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}
PEER = closed(
    {"name": TEXT, "kind": TEXT, "cluster": TEXT, "namespace": TEXT, "workload": TEXT, "labels": STRINGS},
    ip=TEXT,
    names=STRINGS,
)
FINDING = closed(
    {
        "fingerprint": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
        "square": {"enum": list(Square)},
        **dict.fromkeys(("sentence", "edge", "cluster", "protocol", "rule", "nearest_rule", "reason"), TEXT),
        "source": PEER,
        "destination": PEER,
        "port": COUNT,
        "direction": {"enum": ["egress", "ingress", "unknown"]},
        "declared": {"enum": list(Declared)},
        **dict.fromkeys(("differs", "samples", "drop_reasons", "policies"), STRINGS),
        "first_seen": MOMENT,
        "last_seen": MOMENT,
        "flows": COUNT,
        "connections": COUNT,
        "coverage": {"type": "number", "minimum": 0, "maximum": 1},
    }
)


def unknown_finding() -> Any:
    """An edge that cannot be judged."""
    return ping_finding(square=Square.UNKNOWN, judgement=Judgement(Declared.UNKNOWN, reason="its identity is unknown"))


# The JSON form


@pytest.mark.parametrize("finding", [*four_findings(), unknown_finding(), hostile_finding()])
def test_every_finding_has_the_same_json_form(finding: Any) -> None:
    """Whatever the finding, its JSON form has exactly the promised keys and types."""
    jsonschema.validate(render.finding_json(finding), FINDING)


def test_json_form_of_a_finding() -> None:
    """The JSON form carries the edge, the judgement and the evidence, with times in UTC."""
    body = render.finding_json(loki_finding())
    assert body["sentence"] == LOKI_SENTENCE
    assert (body["square"], body["declared"], body["direction"]) == ("unexpected", "no", "egress")
    assert (body["port"], body["protocol"], body["edge"]) == (443, "TCP", "monitoring/loki → 203.0.113.7:443/TCP")
    assert (body["nearest_rule"], body["differs"]) == (
        "monitoring/loki → seaweedfs/filer:8333/TCP",
        ["destination", "port"],
    )
    assert (body["first_seen"], body["last_seen"]) == ("2026-10-01T02:56:00.000Z", "2026-10-01T03:11:57.000Z")
    assert (body["flows"], body["connections"], body["coverage"]) == (42, 12, 0.9924)


def test_an_end_has_an_address_and_names_only_where_known() -> None:
    """`ip` and `names` are there for an address outside and absent for a pod."""
    body = render.finding_json(denied_finding())
    source, destination = body["source"], body["destination"]
    assert isinstance(source, dict)
    assert isinstance(destination, dict)
    assert "ip" not in source
    assert "names" not in source
    assert destination["ip"] == "198.51.100.24"
    assert destination["names"] == ["cdn.example.net", "releases.example.net"]


def test_findings_as_json_are_a_list_of_the_one_form() -> None:
    """The list has every finding in the order given, and holds no character that a terminal acts upon."""
    everything = [*four_findings(), hostile_finding()]
    text = render.findings(everything, "json")
    assert json.loads(text) == [render.finding_json(finding) for finding in everything]
    assert "\x1b" not in text
    assert "\u202e" not in text


# For people


def test_findings_are_grouped_by_square_in_order_of_urgency() -> None:
    """Gaps come first, then outages, attempts and what cannot be judged, however they were given."""
    text = render.findings([unknown_finding(), *reversed(four_findings())], "table")
    assert re.findall(r"^([A-Z]+)  ", text, re.M) == ["UNEXPECTED", "BLOCKED", "DENIED", "UNKNOWN"]
    assert "UNEXPECTED  2 edges are forwarded but not declared" in text
    assert "BLOCKED  1 declared edge is dropped by policy" in text
    assert text.index("203.0.113.7") > text.index("trident-controller")


def test_a_finding_is_told_with_its_evidence() -> None:
    """Beneath the sentence: flows, the window, the side, the share watched, policies, samples, the fingerprint."""
    text = render.findings([loki_finding()], "table")
    assert LOKI_SENTENCE in text
    assert "42 flows in 12 connections, 2026-10-01 02:56:00 to 2026-10-01 03:11:57 UTC" in text
    assert "by the egress side, 99.2 % of the window watched" in text
    for piece in ("no rule declares it", *loki_finding().samples, *loki_finding().policies, loki_finding().fingerprint):
        assert piece in text


def test_an_address_with_several_names_is_told_as_ambiguous() -> None:
    """Where an address was looked up by several names, all are told, and that the meant one is not known."""
    text = render.findings([denied_finding()], "table")
    assert "198.51.100.24 was looked up as cdn.example.net, releases.example.net (shared:" in text


@pytest.mark.parametrize("width", [32, 40, 60, 80, 120])
def test_findings_fit_the_width_and_lose_nothing(width: int) -> None:
    """Lines are wrapped at the width, not cut: every word of the unwrapped text is still there."""
    everything = [*four_findings(), loki_finding(edge=loki_finding().edge, samples=("x" * 300,))]
    wrapped = render.findings(everything, "table", width)
    assert max(map(cell_len, wrapped.splitlines())) <= width
    squeezed = re.sub(r"\s", "", render.findings(everything, "table"))
    assert re.sub(r"\s", "", wrapped) == squeezed


def test_wide_characters_count_twice() -> None:
    """East Asian text takes two columns a character, and is wrapped by that."""
    finding = loki_finding(policies=("名前" * 40,))
    text = render.findings([finding], "table", 60)
    assert max(map(cell_len, text.splitlines())) <= 60
    assert re.sub(r"\s", "", text).count("名前") == 40


def test_colour_is_only_there_when_asked_for() -> None:
    """Without colour there is no escape code at all; with it there is, and the words are the same."""
    plain = render.findings(four_findings(), "table", 80)
    coloured = render.findings(four_findings(), "table", 80, colour=True)
    assert "\x1b" not in plain
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


@pytest.mark.parametrize(
    ("terminal", "environment", "wanted"),
    [
        (True, {"TERM": "xterm-256color"}, True),
        (True, {}, True),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
        (False, {"TERM": "xterm"}, False),
    ],
)
def test_colour_is_for_terminals_that_want_it(terminal: bool, environment: dict[str, str], wanted: bool) -> None:
    """NO_COLOR, a dumb terminal and anything that is no terminal get none."""

    class Stream(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    assert render.colour_wanted(Stream(), environment) is wanted


@pytest.mark.parametrize("format", ["table", "csv", "json", "markdown"])
@pytest.mark.parametrize("colour", [True, False])
def test_hostile_text_cannot_act_on_a_terminal(format: render.FindingsFormat, colour: bool) -> None:
    """Escape sequences and direction overrides from outside are shown, never obeyed, in every format."""
    text = render.findings([hostile_finding()], format, 100, colour=colour)
    own = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert "\x1b" not in own
    assert "\u202e" not in own
    assert own.replace("\n", "").isprintable()


def test_no_findings() -> None:
    """Nothing found is said in each format's own way."""
    assert render.findings([], "table") == "no findings"
    assert render.findings([], "markdown") == "No findings."
    assert json.loads(render.findings([], "json")) == []
    assert render.findings([], "csv") == ",".join(render.FINDING_COLUMNS)


@pytest.mark.parametrize("square", list(Square))
def test_headlines_agree_with_their_count(square: Square) -> None:
    """One edge is or was, several are or were, in every square."""
    one, two = render.headline(square, 1), render.headline(square, 2)
    assert one.startswith("1 ")
    assert two.startswith("2 ")
    assert " edges " not in one
    assert not re.search(r" (is|was) ", two)


# For spreadsheets


def read(text: str) -> list[dict[str, str]]:
    """CSV as a spreadsheet reads it."""
    return list(csv.DictReader(io.StringIO(text), strict=True))


def test_findings_as_csv_have_every_field() -> None:
    """Each finding is a row of `FINDING_COLUMNS`, with ends flattened and lists joined."""
    rows = read(render.findings(four_findings(), "csv"))
    assert [row["fingerprint"] for row in rows] == [finding.fingerprint for finding in four_findings()]
    assert tuple(rows[0]) == render.FINDING_COLUMNS
    assert rows[0]["sentence"] == LOKI_SENTENCE
    assert (rows[0]["source_name"], rows[0]["destination_ip"], rows[0]["port"]) == (
        "monitoring/loki",
        "203.0.113.7",
        "443",
    )
    assert rows[0]["differs"] == "destination; port"
    assert rows[3]["destination_names"] == "cdn.example.net; releases.example.net"
    assert (rows[0]["source_ip"], rows[0]["coverage"]) == ("", "0.9924")


def test_csv_columns_are_the_json_fields() -> None:
    """No field of the JSON form is forgotten in CSV but `edge`, which the sentence begins with."""
    body = render.finding_json(denied_finding())
    fields = set(body) - {"edge", "source", "destination"}
    ends = {f"{end}_{key}" for end in ("source", "destination") for key in dict(body["destination"])}  # type: ignore[arg-type, call-overload]
    assert fields | (ends - {"source_cluster", "destination_cluster"}) == set(render.FINDING_COLUMNS)


@pytest.mark.parametrize(
    "formula",
    ["=cmd()", "+1", "-1", "@SUM(A1)", "＝cmd()", "  =cmd()", "\t=cmd()", "\r=cmd()", "\n=cmd()", "\xa0=cmd()", "\tx"],
)
def test_a_cell_is_never_a_formula(formula: str) -> None:
    """What a spreadsheet would run is led by an apostrophe, or its white space made visible."""
    rows = read(render.table(["cell", "n"], [[formula, 1]], "csv"))
    assert rows[0]["cell"].startswith(("'", "\\"))


def test_formulas_in_findings_are_guarded() -> None:
    """Text of a finding that begins like a formula is guarded, too; numbers stay numbers."""
    rows = read(render.findings([loki_finding(policies=("=1+1",), judgement=Judgement(Declared.NO, "@x"))], "csv"))
    assert (rows[0]["policies"], rows[0]["reason"], rows[0]["flows"]) == ("'=1+1", "'@x", "42")


# For reviews


def test_markdown_is_a_section_per_square() -> None:
    """Each square has a heading with what it means and a table with a row per finding."""
    text = render.findings(four_findings(), "markdown")
    assert re.findall(r"^### (\w+): ", text, re.M) == ["Unexpected", "Blocked", "Denied"]
    assert "`monitoring/loki → seaweedfs/filer:8333/TCP`" in text
    assert "| 1,318 | 659 | 2026-10-01 01:07:00 | 2026-10-01 03:11:19 | 100 % |" in text


HOSTILE_CELLS = [HOSTILE, "a|b", "``x `<b>``` y", "`\\|`", "`<b>", "``` <b>", "# [x](javascript:1) ![y](z) *b* _c_"]


@pytest.mark.parametrize("text", HOSTILE_CELLS)
def test_markdown_cells_cannot_be_broken_out_of(text: str) -> None:
    """A row keeps its six cells, and markup outside of code is escaped."""
    finding = loki_finding(judgement=Judgement(Declared.NO, nearest=text, differs=("port",)))
    (row,) = [line for line in render.findings([finding], "markdown").splitlines() if "203.0.113.7" in line]
    unescaped = re.sub(r"\\[!-/:-@\[-`{-~]", "", row)
    assert unescaped.count("|") == 7
    assert "``" not in unescaped
    outside = re.sub(r"`[^`]*`", "", unescaped)
    assert not re.search(r"[<>`*_\[\]#&!]", outside)


# Results of queries

COLUMNS = ("who", "when", "flows")
ROWS = [("loki", None, 1_200), ("a|b\x1b[31m", "2026-10-01", 7), ("名前", True, 12)]


def test_a_result_as_json() -> None:
    """Columns and rows, each cell a JSON value."""
    assert json.loads(render.table(COLUMNS, ROWS, "json")) == {
        "columns": list(COLUMNS),
        "rows": [list(row) for row in ROWS],
    }


def test_a_result_as_csv() -> None:
    """A header and a row each; nothing is empty, what is true is `true`, what is nested is JSON."""
    text = render.table(("a", "b", "c"), [(None, True, {"k": [1]}), (1.5, 'say "x", y', float("nan"))], "csv")
    assert list(csv.reader(io.StringIO(text)))[1:2] == [["", "true", '{"k":[1]}']]
    assert '"say ""x"", y"' in text


def test_a_csv_cell_keeps_its_lines() -> None:
    """A line break inside of a cell is data; a quoted cell may hold it."""
    assert read(render.table(["a"], [["one\ntwo"]], "csv")) == [{"a": "one\ntwo"}]


def test_a_result_as_an_aligned_table() -> None:
    """Columns line up, numbers to the right, wide characters counted twice, control characters shown."""
    lines = render.table(COLUMNS, ROWS, "table").splitlines()
    assert lines[0].split() == ["who", "when", "flows"]
    assert set(lines[1]) == {"─", " "}
    assert lines[2].endswith(" 1200")
    assert lines[3].endswith("    7")
    assert "\\x1b[31m" in lines[3]
    assert len({cell_len(line) for line in lines[:5]}) == 1
    assert lines[-1] == "3 rows"


@pytest.mark.parametrize("width", [40, 60, 100])
def test_a_table_fits_the_width_and_loses_nothing(width: int) -> None:
    """Wide columns are wrapped; every character of every cell is still there."""
    rows = [("monitoring/loki", "word " * 30, 5), ("x" * 90, "short", 123_456)]
    text = render.table(COLUMNS, rows, "table", width)
    assert max(map(cell_len, text.splitlines())) <= width
    assert text.count("x") == 90
    assert text.count("word") == 30
    assert "123456" in text


@pytest.mark.parametrize("format", ["table", "json", "csv"])
def test_an_empty_result_still_names_its_columns(format: render.TableFormat) -> None:
    """No rows is an answer, too."""
    text = render.table(COLUMNS, [], format, 20)
    assert all(column in text for column in COLUMNS)


def test_a_result_without_columns() -> None:
    """Even a result without columns is written."""
    assert render.table([], [], "table", 10).endswith("0 rows")


def test_an_end_without_a_workload_is_told_as_such() -> None:
    """A pod nobody knows the workload of is written with a question mark."""
    peer = pod("monitoring/loki")
    edge = loki_finding().edge
    nameless = type(edge)(type(peer)(peer.identity), edge.destination, edge.protocol, edge.port)
    assert "monitoring/? → " in render.findings([loki_finding(edge=nameless)], "table")


def test_times_are_told_in_utc() -> None:
    """A moment never seen is told as never."""
    assert "never to 2026-10-01 03:12:00 UTC" in render.findings(
        [blocked_finding(first_seen=0, last_seen=NOW)], "table"
    )
