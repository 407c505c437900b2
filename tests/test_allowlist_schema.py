"""The published JSON Schema describes what the parser takes, and never turns down what it takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flowwatch.allowlist import parse
from flowwatch.allowlist.schema import schema, text
from flowwatch.errors import AllowlistError
from flowwatch.yamlmarks import load_documents
from tests.test_allowlist_errors import BROKEN, GOOD, anything

ROOT = Path(__file__).resolve().parents[1]
NOW = 1_790_812_800.0

VALIDATOR = jsonschema.Draft202012Validator(schema(), format_checker=jsonschema.FormatChecker(["date"]))

# Mistakes of meaning, which no schema can see: names, dates and ranges that have the right shape.
ONLY_THE_PARSER = {
    "from: graphana", "from: monitoring/graphana", "from: kube-api-server", "from: xyzzy", "from: loki", "from: self",
    "from: Monitoring/*", "except: [11.0.0.0/8]", "{cidr: [10.0.0.0/33]", "{fqdn: [1.1.1.1]}", "65536/TCP",
    "90-80", "70000-80/TCP", "icmp/256",
    "    reason: alerts\n    transport: encrypted\n",
    # Numbers that YAML reads and the parser takes as they are written.
    "0x50", "80.0", "1:30",
}  # fmt: skip


def documents(written: str) -> list[Any]:
    """The documents of a text as an editor sees them: JSON, dates being text."""
    return [json.loads(json.dumps(one.value, default=str)) for one in load_documents(written, "f").documents]


def is_valid(written: str) -> bool:
    """Whether the schema takes every document of a text."""
    return all(VALIDATOR.is_valid(one) for one in documents(written))


def is_taken(written: str) -> bool:
    """Whether the parser takes a text."""
    try:
        parse(written, "f", NOW)
    except AllowlistError:
        return False
    return True


def test_the_published_schema_is_the_generated_one() -> None:
    """docs/allowlist.schema.json is what `python -m flowwatch.allowlist.schema` prints."""
    printed = subprocess.run(
        [sys.executable, "-m", "flowwatch.allowlist.schema"], capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert (ROOT / "docs" / "allowlist.schema.json").read_text() == text() == printed.stdout


def test_the_schema_is_a_schema() -> None:
    """It is valid JSON Schema itself."""
    jsonschema.Draft202012Validator.check_schema(schema())


def test_good_allowlists_are_valid() -> None:
    """The shipped examples, the documented one and the one the error tests break."""
    (page,) = [one for one in (ROOT / "docs" / "allowlist.md").read_text().split("```") if one.startswith("yaml\napi")]
    shipped = [path.read_text() for path in sorted((ROOT / "examples").glob("*/*.yaml"))]
    for written in (GOOD, page.removeprefix("yaml\n"), *shipped):
        for one in documents(written):
            VALIDATOR.validate(one)


@pytest.mark.parametrize(("what", "by"), [(what, by) for what, by, _ in BROKEN], ids=[by for _, by, _ in BROKEN])
def test_mistakes_of_shape_are_invalid(what: str, by: str) -> None:
    """Of the mistakes the parser complains about, the schema finds all but those of meaning."""
    assert is_valid(GOOD.replace(what, by)) is (by in ONLY_THE_PARSER)


LENIENT = """\
apiVersion: flowwatch/v1
kind: Allowlist
governs: no
workloads:
  no:
    "on": {app: true, version: 1.50, since: 2026-10-01, empty: "", k8s:x: y}
    123: {labels: {labels: x}, expressions: {key: y, operator: In, values: 1}}
externals:
  1.5: {fqdn: on, cidr: ["::/0"], except: 2001:db8::/32}
rules:
  - {from: on, to: [123, 1.5, {namespace: no, labels: {a: 1}}], ports: ["8080", 80, icmp/Echo-Request], reason: 5}
  - {from: no/*, to: self, ports: Any, reason: yes, ticket: 117, owner: true, expires: 2027-03-31}
  - {from: no/*, to: host, ports: 80, reason: a, transport: "encrypted", condition: [Yes, null1]}
"""


def test_what_yaml_takes_for_something_else_is_valid() -> None:
    """Unquoted texts that YAML reads as numbers, truth values or dates are fine for both."""
    assert is_taken(LENIENT)
    assert is_valid(LENIENT)


def paths(value: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    """Every place in a document below its root."""
    inner: list[tuple[object, object]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [found for key, one in inner for found in ((*path, key), *paths(one, (*path, key)))]


PLACES = paths(yaml.safe_load(GOOD))


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(PLACES), anything)
def test_what_the_schema_turns_down_the_parser_turns_down(place: tuple[Any, ...], value: object) -> None:
    """Anything at all, at any place of a good allowlist: the schema is never the stricter one."""
    document = yaml.safe_load(GOOD)
    inner = document
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    written = yaml.safe_dump(document)
    assume(load_documents(written, "f").problems == [])

    assert is_valid(written) or not is_taken(written)
