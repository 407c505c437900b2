"""The command line as people and pipelines use it: what it prints, and how it exits."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.support.flowtext import parse

ROOT = Path(__file__).parents[1]
START = 1_780_000_000.0
ALLOWLIST = """\
apiVersion: flowwatch/v1
kind: Allowlist
workloads: {shop: {web: {app: web}, api: {app: api}}}
rules: [{from: shop/web, to: shop/api, ports: 8080/TCP, reason: pages}]
"""
EXPECTED = "+0s verdict FORWARDED egress noreply shop/web* -> shop/api 8080/TCP SYN"
DRIFT = (
    f"{EXPECTED}\n+1s trace FORWARDED TO_NETWORK NEW noreply shop/web* -> world(203.0.113.7,=evil.example) 443/TCP SYN"
)


def flowwatch(
    *arguments: str | Path, cwd: Path, stdin: bytes = b"", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "flowwatch", *map(str, arguments)],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **environment},
    )
    result = subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())
    assert "Traceback" not in result.stderr, result.stderr
    return result


def frames(text: str) -> bytes:
    """A capture of length-delimited messages."""
    return b"".join(_varint(len(line.message)) + line.message for line in parse(text, START))


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An allowlist and two captures."""
    (tmp_path / "a.yaml").write_text(ALLOWLIST, encoding="utf-8")
    (tmp_path / "good.bin").write_bytes(frames(EXPECTED))
    (tmp_path / "drift.bin").write_bytes(frames(DRIFT))
    return tmp_path


def test_no_drift_exits_0(folder: Path) -> None:
    """Declared traffic only: no findings on standard output, the conclusion on standard error."""
    done = flowwatch("replay", "good.bin", "--allowlist", "a.yaml", cwd=folder)
    assert (done.returncode, done.stdout.strip()) == (0, "no findings")
    assert "edges: 1 expected; no drift" in done.stderr


def test_drift_exits_1(folder: Path) -> None:
    """One undeclared edge: told as a sentence."""
    done = flowwatch("replay", "drift.bin", "--allowlist", "a.yaml", cwd=folder)
    assert done.returncode == 1
    assert "shop/web → =evil.example:443/TCP is forwarded but not declared" in done.stdout
    assert "drift" in done.stderr


def test_formats_for_machines(folder: Path) -> None:
    """JSON parses, CSV parses and starts no formula, Markdown is a table."""
    told = json.loads(flowwatch("replay", "drift.bin", "--allowlist", "a.yaml", "--format", "json", cwd=folder).stdout)
    assert [finding["square"] for finding in told] == ["unexpected"]
    rows = list(
        csv.reader(
            io.StringIO(flowwatch("replay", "drift.bin", "--allowlist", "a.yaml", "--format", "csv", cwd=folder).stdout)
        )
    )
    assert len(rows) == 2
    assert not any(cell.startswith("=") for cell in rows[1])
    markdown = flowwatch("replay", "drift.bin", "--allowlist", "a.yaml", "--format", "markdown", cwd=folder).stdout
    assert "|---" in markdown.replace(" ", "")


def test_standard_input_and_broken_lines(folder: Path) -> None:
    """Lines that cannot be read are told with their number and do not stop the rest; `--strict` stops."""
    line = b'{"flow":{"verdict":"DROPPED","drop_reason_desc":"POLICY_DENIED","event_type":{"type":5},"uuid":"u"}}\n'
    done = flowwatch("replay", "-", cwd=folder, stdin=line + b'{"flow": nonsense\n' + line.replace(b'"u"', b'"v"'))
    assert done.returncode == 0
    assert "2 flows; 1 broken line" in done.stderr
    assert ":2: " in done.stderr
    assert "nothing was judged" in done.stderr
    strict = flowwatch("replay", "-", "--strict", cwd=folder, stdin=line + b'{"flow": nonsense\n')
    assert strict.returncode == 2


def test_loss_is_not_no_drift(folder: Path) -> None:
    """A capture that says events were lost cannot show that there was no drift."""
    lost = (
        b'{"lost_events":{"source":"HUBBLE_RING_BUFFER","num_events_lost":"5"},'
        b'"node_name":"n","time":"2026-01-15T09:30:04Z"}\n'
    )
    flow = b'{"flow":{"verdict":"FORWARDED","event_type":{"type":4},"node_name":"n"},"node_name":"n"}\n'
    done = flowwatch("replay", "-", "--allowlist", "a.yaml", cwd=folder, stdin=flow + lost)
    assert done.returncode == 0
    assert "5 events lost before they were captured" in done.stderr
    assert "unknown: we did not see everything" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["replay", "missing.bin"], "missing.bin"),
        (["replay", "a.yaml"], "a.yaml"),
        (["replay", "good.bin", "--allowlist", "broken.yaml"], "broken.yaml:3: rules[0].from"),
        (["query", "edges"], "there is no such file"),
        (["query", "nonsense", "--store", "kept.duckdb"], "there is no query 'nonsense'"),
        (["query", "edges", "--store", "kept.duckdb", "--since", "soon"], "since: 'soon' is not a time"),
        (["config", "check", "--config", "config.yaml"], "did you mean"),
        (["run", "--config", "nowhere.yaml"], "nowhere.yaml"),
        (["frobnicate"], "frobnicate"),
    ],
)  # fmt: skip
def test_mistakes_exit_2(folder: Path, arguments: list[str], told: str) -> None:
    """Whatever the user got wrong is told in words, with its place, and exits 2."""
    (folder / "broken.yaml").write_text(
        "apiVersion: flowwatch/v1\nkind: Allowlist\nrules: [{from: nobody, to: world, ports: any, reason: x}]\n"
    )
    (folder / "config.yaml").write_text("hubbel: {server: localhost:4245}\n")
    assert flowwatch("replay", "good.bin", "--store", "kept.duckdb", cwd=folder).returncode == 0
    done = flowwatch(*arguments, cwd=folder)
    assert done.returncode == 2, done.stderr
    assert told in done.stderr


def test_queries_of_a_kept_replay(folder: Path) -> None:
    """A replay kept in a database can be asked, in every format."""
    assert (
        flowwatch("replay", "drift.bin", "--allowlist", "a.yaml", "--store", "kept.duckdb", cwd=folder).returncode == 1
    )
    ask = ["query", "edges", "--since", "all", "--store", "kept.duckdb"]
    table = flowwatch(*ask, cwd=folder).stdout
    assert "unexpected" in table
    assert "expected" in table
    answer = json.loads(flowwatch(*ask, "--format", "json", cwd=folder).stdout)
    assert len(answer["rows"]) == 2
    assert flowwatch(*ask, "--format", "parquet", "--output", "e.parquet", cwd=folder).returncode == 0
    assert pq.read_table(folder / "e.parquet").num_rows == 2
    listed = flowwatch("query", "--list", cwd=folder).stdout
    assert "drops_by_reason" in listed


def test_the_configuration_can_be_looked_at(folder: Path) -> None:
    """`config check` counts the rules; `config show` says where values come from and can be read again."""
    (folder / "config.yaml").write_text("allowlist: [a.yaml]\ncluster: prod\n")
    done = flowwatch("config", "check", "--config", "config.yaml", cwd=folder)
    assert (done.returncode, done.stdout) == (0, "config.yaml: ok, 1 rule\n")
    shown = flowwatch("config", "show", "--config", "config.yaml", cwd=folder, FLOWWATCH_LOG_LEVEL="debug").stdout
    assert "cluster: prod" in shown
    assert "config.yaml:2" in shown
    assert "FLOWWATCH_LOG_LEVEL" in shown
    (folder / "again.yaml").write_text(shown)
    assert flowwatch("config", "check", "--config", "again.yaml", cwd=folder).returncode == 0


def test_allowlists_can_be_checked(folder: Path) -> None:
    """A good one is counted."""
    assert flowwatch("allowlist", "check", "a.yaml", cwd=folder).stdout == "a.yaml: ok, 1 rule\n"
