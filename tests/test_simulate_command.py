"""`flowwatch simulate` from the command line, as a process of its own and as captures."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner

from flowwatch.hubble import observer_pb2
from flowwatch.receive.capture import CaptureReceiver
from flowwatch.simulate import Evidence
from flowwatch.simulate.command import simulate
from tests.support.hubbleclients import until
from tests.support.patience import PATIENCE
from tests.support.simulated import get_flows

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
AT = ("--start", "2026-10-01T00:00:00Z")


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command as a process, and the address from its first line."""
    command = [sys.executable, "-W", "error", "-m", "flowwatch.simulate", "--listen", "127.0.0.1:0", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, cwd=ROOT
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert re.fullmatch(r"listening on 127\.0\.0\.1:\d+\n", line), line
            yield process, line.split()[-1]
        finally:
            process.kill()


def run(*arguments: str) -> str:
    """The command within this process; its output."""
    result = CliRunner().invoke(simulate, arguments)
    assert result.exit_code == 0, result.output
    return result.output


def refused(*arguments: str) -> str:
    """What the command says when it cannot do what it is told; never a traceback."""
    result = CliRunner().invoke(simulate, arguments)
    assert result.exit_code in (1, 2)
    assert isinstance(result.exception, SystemExit)
    return result.output


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_stop(which: signal.Signals, tmp_path: Path) -> None:
    """One line on standard output, none on standard error; although a client listens, and leaving the truth behind."""
    truth = tmp_path / "truth.jsonl"
    with serving("--rate", "2000", "--truth", str(truth)) as (process, address):
        planned = [json.loads(line) for line in truth.read_text().splitlines()]
        with grpc.insecure_channel(address) as channel:
            stream = get_flows(channel, follow=True)
            received = list(itertools.islice(stream, 200))
            process.send_signal(which)
            out, err = process.communicate(timeout=PATIENCE)
            stream.cancel()

    assert (process.returncode, out, err) == (0, "", "")
    assert all(row["flows"] == 0 for row in planned)
    rows = [json.loads(line) for line in truth.read_text().splitlines()]
    assert rows[-1]["flows"] >= sum(message.HasField("flow") for message in received)
    assert [row["id"] for row in rows[:-1]] == [row["id"] for row in planned[:-1]]


def test_the_truth_is_kept_up_to_date_while_it_serves(tmp_path: Path) -> None:
    """The file is rewritten every second."""
    truth = tmp_path / "truth.jsonl"
    with serving("--rate", "1000", "--at-once", "--truth", str(truth)):
        until(lambda: json.loads(truth.read_text().splitlines()[-1]).get("flows"), "flows in the file")


def test_the_truth_can_be_read_by_people(tmp_path: Path) -> None:
    """The plan when it starts, the outcome when it stops."""
    with serving("--print-truth", "--at-once", "--rate", "500") as (process, _):
        assert process.stdout is not None
        plan = list(itertools.takewhile(lambda line: not line.startswith("and "), process.stdout))
        process.send_signal(signal.SIGTERM)
        outcome, _ = process.communicate(timeout=PATIENCE)

    assert "0.8 s  unexpected  monitoring/loki → 203.0.113.7:443/TCP" in plan[1]
    assert re.match(r"sent \d+ flows in \d+ messages", outcome)
    assert "expected edges seen:" in outcome
    assert list(tmp_path.iterdir()) == []


def test_captures_hold_the_same_run_in_both_formats(tmp_path: Path) -> None:
    """Read back by what reads real captures, message by message; without clock or chance."""
    lines, frames, again = tmp_path / "run.jsonl", tmp_path / "run.bin", tmp_path / "again.bin"
    for path in (lines, frames, again):
        run("--as-capture", str(path), "--flows", "1500", "--seed", "5", *AT)

    assert frames.read_bytes() == again.read_bytes()
    read = {
        path: [
            observer_pb2.GetFlowsResponse.FromString(message)
            for batch in CaptureReceiver([path]).batches()
            for message in batch.messages
        ]
        for path in (lines, frames)
    }
    assert len(read[frames]) >= 1500
    assert sum(message.HasField("flow") for message in read[frames]) == 1500
    assert read[lines] == read[frames]
    assert read[frames][0].time.ToJsonString().startswith("2026-10-01T00:00:00")


def test_a_capture_comes_with_its_truth(tmp_path: Path) -> None:
    """The totals are those of the file."""
    capture, truth = tmp_path / "run.jsonl", tmp_path / "truth.jsonl"

    output = run("--as-capture", str(capture), "--flows", "1200", "--truth", str(truth), "--print-truth", *AT)

    totals = json.loads(truth.read_text().splitlines()[-1])
    assert f"wrote {totals['messages']} messages to {capture}" in output
    assert totals["flows"] == 1200
    assert len(capture.read_text().splitlines()) == totals["messages"]


def test_lines_are_as_hubble_prints_them(tmp_path: Path) -> None:
    """Names of the protocol, numbers of 64 bits as text, bare booleans, nothing that is empty."""
    capture = tmp_path / "run.jsonl"
    run("--as-capture", str(capture), "--flows", "600", *AT)

    rows = [json.loads(line) for line in capture.read_text().splitlines()]
    flows = [row["flow"] for row in rows if "flow" in row]

    assert all(set(row) == {"flow", "node_name", "time"} for row in rows if "flow" in row)
    assert any(flow.get("is_reply") is False for flow in flows)
    assert any(flow["l7"].get("latency_ns", "").isdigit() for flow in flows if "l7" in flow)
    assert {flow["verdict"] for flow in flows} >= {"FORWARDED", "REDIRECTED"}


def test_a_failing_node_and_an_end_of_violations_are_options(tmp_path: Path) -> None:
    """With durations as people write them."""
    capture = tmp_path / "run.jsonl"
    run("--as-capture", str(capture), "--flows", "3000", "--fail-node", "talos-w-1", "--fail-after", "2s",
        "--violations-for", "5s", "--lost", "0", *AT)  # fmt: skip

    rows = [json.loads(line) for line in capture.read_text().splitlines()]
    status = next(row["node_status"] for row in rows if "node_status" in row)

    assert status["node_names"] == ["talos-w-1"]
    assert not any("lost_events" in row for row in rows)
    assert not any(
        row["node_name"] == "talos-w-1" for row in rows[rows.index(next(r for r in rows if "node_status" in r)) :]
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--as-capture", "run.pcap"], "cannot tell the format of run.pcap: its name must end in .jsonl or .bin"),
        (["--as-capture", "/nowhere/run.bin"], "cannot write /nowhere/run.bin: No such file or directory"),
        (["--truth", "/nowhere/truth.jsonl"], "cannot write /nowhere/truth.jsonl: No such file or directory"),
        (["--fail-node", "mars"], "there is no node 'mars'; the nodes are talos-cp-1"),
        (["--as-capture", "run.bin", "--fail-node", "mars"], "there is no node 'mars'; the nodes are talos-cp-1"),
        (["--violations-for", "soon"], "'soon' is not a duration"),
        (["--rate", "-1"], "-1.0 is not in the range 0<=x<=1000000"),
        (["--start", "2026-10-01T00:00:00Z"], "--start needs --as-capture"),
        (["--listen", "mars:1"], "cannot listen on mars:1"),
        (["--listen", "4245"], "cannot listen on 4245"),
        (["--tls-key", __file__], "TLS needs both --tls-cert and --tls-key"),
        (["--tls-cert", "nowhere.pem"], "File 'nowhere.pem' does not exist"),
    ],
)
def test_what_cannot_be_done_is_said(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the words that were wrong."""
    monkeypatch.chdir(tmp_path)

    assert words in refused(*arguments)
    assert list(tmp_path.iterdir()) == []


def test_nodes_are_served_with_their_addresses(tmp_path: Path) -> None:
    """A line for each behind the first, and one for the socket; the journal can be read while it runs."""
    journal, path = tmp_path / "journal.jsonl", tmp_path / "hubble.sock"
    with serving("--serve", "nodes", "--peer-socket", str(path), "--cluster", "prod", "--journal", str(journal),
                 "--rate", "1000") as (process, _):  # fmt: skip
        assert process.stdout is not None
        lines = [process.stdout.readline().split() for _ in range(7)]
        nodes = {line[1]: line[3] for line in lines[:6]}
        with grpc.insecure_channel(nodes["talos-w-1"]) as channel:
            flows = list(itertools.islice(get_flows(channel, follow=True), 20))
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)

    assert (out, err) == ("", "")
    assert lines[6] == ["peers", "at", f"unix:{path}"]
    assert len(set(nodes.values())) == 6
    assert {flow.node_name for flow in flows} == {"prod/talos-w-1"}
    evidence = Evidence.read(journal)
    assert {flow.flow.uuid for flow in flows} <= set(evidence.emitted["prod/talos-w-1"].uuids)
    assert [stream.server for stream in evidence.streams.values()] == ["prod/talos-w-1"]


def test_faults_are_options(tmp_path: Path) -> None:
    """In any order, and chaos among them; each is in the journal when it happened."""
    journal = tmp_path / "journal.jsonl"
    with serving("--fault", "eof node=2 at=300ms for=50ms", "--fault", "rst at=100ms", "--chaos", "1", "--at-once",
                 "--journal", str(journal)):  # fmt: skip
        until(lambda: journal.exists() and len(Evidence.read(journal).faults) >= 4)
        faults = [(text, on) for _, text, on in Evidence.read(journal).faults]

    assert faults[0] == ("rst at=100ms", True)
    assert ("eof node=talos-cp-2 at=300ms for=50ms", True) in faults


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--fault", "explode"], "'explode' is none of rst, fin"),
        (["--fault", "rst node=mars"], "there is no node 'mars'; the nodes are talos-cp-1"),
        (["--skew", "talos-w-1"], "'talos-w-1' is not a name and a number"),
        (["--skew", "mars=2"], "there is no node 'mars'"),
        (["--lose", "disk=2"], "'disk' loses no events; it is one of ring, perf, queue"),
        (["--journal", "/nowhere/journal"], "cannot write /nowhere/journal"),
        (["--certificates", "x", "--tls-cert", __file__, "--tls-key", __file__], "--certificates brings all that"),
        (["--serve", "mars"], "'mars' is not one of 'relay', 'nodes'"),
    ],
)
def test_what_cannot_be_broken_is_said(arguments: list[str], words: str) -> None:
    """With the words that were wrong."""
    assert words in refused(*arguments)
