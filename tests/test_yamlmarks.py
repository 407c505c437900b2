"""YAML with its lines: every value knows its place, and nothing a file may hold raises."""

from __future__ import annotations

import datetime
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowwatch.errors import Problem
from flowwatch.yamlmarks import Marked, did_you_mean, load_documents
from flowwatch.yamlnodes import MAX_CHARACTERS, MAX_DEPTH, MAX_VALUES

TEXT = """\
# a comment
name: loki
ports:
  - 8333
  - 53/UDP
labels:
  app.kubernetes.io/name: loki
  on: 007
since: 2026-10-01
nothing:
"""


def only(text: str) -> Marked:
    """The single document of a text without problems."""
    loaded = load_documents(text, "file.yaml")
    assert loaded.problems == []
    (document,) = loaded.documents
    return document


def at(document: Marked, *path: str | int) -> Marked:
    """The value at a path."""
    for step in path:
        found = document.elements()[step] if isinstance(step, int) else document.get(step)
        assert found is not None
        document = found
    return document


@pytest.mark.parametrize(
    ("path", "place", "line", "column", "source_line"),
    [
        (("name",), "name", 2, 7, "name: loki"),
        (("ports", 1), "ports[1]", 5, 5, "  - 53/UDP"),
        (
            ("labels", "app.kubernetes.io/name"),
            'labels["app.kubernetes.io/name"]',
            7,
            27,
            "  app.kubernetes.io/name: loki",
        ),
        (("nothing",), "nothing", 10, 9, "nothing:"),
    ],
)
def test_a_value_knows_where_it_is_written(
    path: tuple[str | int, ...], place: str, line: int, column: int, source_line: str
) -> None:
    """Path, line, column and the line's text lead back to the file."""
    value = at(only(TEXT), *path)

    assert (value.path, value.line, value.column, value.source_line) == (place, line, column, source_line)
    assert value.file == "file.yaml"


def test_a_value_is_plain_data_and_what_was_written() -> None:
    """`value` is what YAML makes of it, `raw` is the text itself."""
    document = only(TEXT)

    assert document.value == {
        "name": "loki",
        "ports": [8333, "53/UDP"],
        "labels": {"app.kubernetes.io/name": "loki", "on": 7},
        "since": datetime.date(2026, 10, 1),
        "nothing": None,
    }
    assert at(document, "labels", "on").raw == "007"
    assert at(document, "nothing").is_null


@pytest.mark.parametrize(
    ("text", "kind", "described"),
    [
        ("a: {b: 1}", "a mapping", "a mapping"),
        ("a: [1]", "a list", "a list"),
        ("a: x", "text", "text (`x`)"),
        ("a: 1.5", "a number", "a number (`1.5`)"),
        ("a: yes", "true or false", "true or false (`yes`)"),
        ("a: 2026-10-01", "a date", "a date (`2026-10-01`)"),
        ("a:", "nothing", "nothing"),
        ("a: null", "nothing", "nothing"),
        ("a: ''", "text", "text"),
    ],
)
def test_a_value_can_be_described(text: str, kind: str, described: str) -> None:
    """Error messages can say what was found instead of what was expected."""
    value = at(only(text), "a")

    assert (value.kind, value.described) == (kind, described)


def test_a_problem_is_at_the_very_place() -> None:
    """A problem carries the file, the line, the path and the line's text."""
    problem = at(only(TEXT), "ports", 1).problem("expected a number", "such as 53")

    assert problem == Problem("file.yaml", 5, "ports[1]", "expected a number", "  - 53/UDP", "such as 53")


def test_merge_keys_are_resolved() -> None:
    """`<<` adds keys; what the mapping says itself wins, and an earlier merge over a later one."""
    document = only("""\
base: &base {a: 1, b: 1}
more: &more {b: 2, c: 2}
all: {<<: [*base, *more], a: 0}
""")

    assert at(document, "all").value == {"a": 0, "b": 1, "c": 2}


def test_fields_checks_the_keys_of_a_mapping() -> None:
    """Known keys are handed out; unknown and missing ones are problems with a hint."""
    problems: list[Problem] = []

    fields = only("from: a\nprots: 80\n").fields(("from", "to", "ports"), ("from", "to"), problems)

    assert {name: value.raw for name, value in fields.items()} == {"from": "a"}
    assert [(problem.line, problem.field, problem.message, problem.hint) for problem in problems] == [
        (2, "prots", "unknown key `prots`", "did you mean `ports`?"),
        (1, "", "`to` is missing", ""),
    ]


def test_several_documents_keep_their_lines() -> None:
    """Lines are those of the file, and documents without content are left out."""
    loaded = load_documents("---\na: 1\n---\n# nothing\n---\nb: 2\n", "file.yaml")

    assert [(document.value, document.line) for document in loaded.documents] == [({"a": 1}, 2), ({"b": 2}, 6)]


@pytest.mark.parametrize(
    ("text", "readable", "expected"),
    [
        ("a: 1\na: 2\n", True, "file.yaml:2: a: `a` is already given on line 1\n       2 | a: 2"),
        ("a: {b: 1, b: 2}", True, "file.yaml:1: a.b: `b` is already given on line 1\n       1 | a: {b: 1, b: 2}"),
        ("a: [1\n", False, "this is not valid YAML: expected ',' or ']', but got '<stream end>'"),
        (
            "a:\n\t- b\n",
            False,
            "file.yaml:2: this is not valid YAML: found character '\\t' that cannot start any token",
        ),
        ("a:\n\t- b\n", False, "indent with spaces, not with tabs"),
        ("a: *b\n", False, "found undefined alias 'b'"),
        ("a: \0", False, "file.yaml:1: this is not valid YAML: the character U+0000 is not allowed"),
        ("? [a]\n: 1\n", True, "expected plain text as the key, not a list or mapping"),
        ("a: !!python/object:os.system x", True, "a: the tag `!!python/object:os.system` means nothing here"),
        ("!!set {a}", True, "the tag `!!set` means nothing here"),
        ("a: !!binary zzz", True, "the tag `!!binary` means nothing here"),
        ("a: !!bool maybe", True, "`maybe` looks like true or false but cannot be read as one"),
        ("a: !!timestamp x", True, "`x` looks like a date but cannot be read as one"),
        ("a: 2026-13-45", True, "`2026-13-45` looks like a date but cannot be read as one"),
        ("a: " + "9" * 5000, True, "looks like a number but cannot be read as one"),
        ("a: {<<: 5}", True, 'a["<<"]: expected a mapping to merge, or a list of mappings'),
        ("&a [*a]", False, "[0]: an alias refers to the very value it is part of"),
        ("&a {<<: *a}", False, "an alias refers to the very value it is part of"),
        ('"\\UFFFFFFFF"', False, "this is not valid YAML"),
        ("%YAML 9" + "9" * 5000 + ".1\n---\na", False, "this is not valid YAML"),
        ("[" * 5000, False, f"lists and mappings are nested deeper than {MAX_DEPTH} levels"),
        ("{a: " * 5000, False, f"lists and mappings are nested deeper than {MAX_DEPTH} levels"),
        ("[" + "1," * MAX_VALUES + "]", False, f"the file holds more than {MAX_VALUES} values"),
        ("a" * (MAX_CHARACTERS + 1), False, f"the file is longer than {MAX_CHARACTERS} characters"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_bad_yaml_is_a_problem(text: str, readable: bool, expected: str) -> None:
    """Whatever is wrong is said in words, with its line; nothing raises, and nothing takes long."""
    loaded = load_documents(text, "file.yaml")

    assert expected in "\n".join(str(problem) for problem in loaded.problems)
    assert loaded.readable is readable
    assert len(loaded.documents) == (1 if readable else 0)


def test_an_alias_bomb_is_a_problem() -> None:
    """A few lines that stand for a billion values are turned down before they are written out."""
    levels = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 10)}]" for level in range(1, 10)]

    loaded = load_documents("\n".join(levels), "bomb.yaml")

    assert "more than 100000 values once its aliases are written out" in str(loaded.problems[0])
    assert (loaded.readable, loaded.documents) == (False, [])


def test_aliases_cannot_nest_deeper_than_text() -> None:
    """Nesting that only aliases bring about is bounded like any other."""
    levels = ["- &l0 [[[[[[[[[[x]]]]]]]]]]"]
    levels += [f"- &l{level} [[[[[[[[[[*l{level - 1}]]]]]]]]]]" for level in range(1, 20)]

    loaded = load_documents("\n".join(levels), "deep.yaml")

    assert f"nested deeper than {MAX_DEPTH} levels" in str(loaded.problems[0])
    assert loaded.documents == []


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=string.printable + "é\x85\u2028\ud800", max_size=200))
def test_any_text_is_read_or_explained(text: str) -> None:
    """Arbitrary text gives documents whose values can be had, or problems that can be printed."""
    loaded = load_documents(text, "file.yaml")

    assert loaded.readable or loaded.problems
    for document in loaded.documents:
        assert document.value is not None or document.problem("x")
    for problem in loaded.problems:
        assert str(problem).startswith("file.yaml")


def test_did_you_mean_names_what_looks_alike() -> None:
    """Close words are offered, and none where there is none."""
    assert did_you_mean("prots", ["ports", "reason"]) == "did you mean `ports`?"
    assert did_you_mean("loki", ["loki-a", "loki-b"]) == "did you mean `loki-b` or `loki-a`?"
    assert did_you_mean("monitoring/grafna", ["monitoring/grafana", "monitoring/loki"]).count("`") == 2
    assert did_you_mean("zzz", ["ports"]) == ""
