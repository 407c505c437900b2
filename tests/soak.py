"""Soak: the daemon against the simulated Hubble for an hour, and what it takes over time.

    python -m tests.soak --minutes 60 --rate 1000

Both run as processes of their own. Every interval a line tells the daemon's resident memory, the size of its
file and what of it is in use, flows and their rate, how late the newest flow is, and the coverage. At the end
the memory of the last half is held against that of the first quarter after warm-up; exit 1 where it grew by
more than `--allow` percent, or where coverage was not complete.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flowwatch.demo import homelab_allowlist, simulated_hubble

WARM_UP = 0.25
"""Part of the time after which memory should have settled."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The daemon at one moment."""

    seconds: float
    rss: float
    """MB."""
    file: float
    """MB."""
    flows: int
    late: float
    """Seconds since the time of the newest flow."""
    coverage: float
    lost: int
    findings: int

    def __str__(self) -> str:
        return (
            f"{self.seconds:7.0f} s  {self.rss:7.1f} MB memory  {self.file:8.1f} MB file  {self.flows:12,} flows  "
            f"{self.late * 1000:6.0f} ms late  {self.coverage:7.2%} covered  {self.lost} lost  {self.findings} findings"
        )


@contextlib.contextmanager
def daemon(directory: Path, server: str, retention: str) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon on the homelab's allowlist; it is asked to stop at the end, and must do so well."""
    environment = {
        **os.environ,
        "FLOWWATCH_HUBBLE_SERVER": server,
        "FLOWWATCH_ALLOWLIST": str(homelab_allowlist()),
        "FLOWWATCH_STORE_PATH": str(directory / "soak.duckdb"),
        "FLOWWATCH_STORE_RETENTION": retention,
        "FLOWWATCH_WEB_LISTEN": "127.0.0.1:0",
    }
    with (directory / "daemon.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "flowwatch", "run", "--no-live"], env=environment, stdout=log, stderr=log
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def sample(process: subprocess.Popen[bytes], store: Path, begun: float) -> Sample:
    """Look at the daemon."""
    api = json.loads(Path(f"{store}.owner").read_text(encoding="utf-8"))["api"]
    with urllib.request.urlopen(f"{api}/api/v1/status", timeout=30) as answer:
        status = json.load(answer)
    with urllib.request.urlopen(f"{api}/metrics", timeout=30) as answer:
        metrics = answer.read().decode()
    newest = next(
        float(line.split()[1])
        for line in metrics.splitlines()
        if line.startswith("flowwatch_last_flow_timestamp_seconds ")
    )
    resident = int(Path(f"/proc/{process.pid}/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf(
        "SC_PAGESIZE"
    )
    return Sample(
        time.monotonic() - begun, resident / 1e6, store.stat().st_size / 1e6, status["flows"],
        max(time.time() - newest, 0.0), status["coverage"], sum(status["lost"].values()), status["findings_total"],
    )  # fmt: skip


def verdict(samples: list[Sample], allowed: float) -> tuple[bool, str]:
    """Whether memory is flat after the warm-up and everything was seen, and the numbers that say so."""
    warm = [each for each in samples if each.seconds >= WARM_UP * samples[-1].seconds]
    early, late = warm[: max(len(warm) // 3, 1)], warm[len(warm) // 3 * 2 :]
    before, after = (statistics.median(each.rss for each in part) for part in (early, late))
    growth = after / before - 1
    rate = (samples[-1].flows - samples[0].flows) / (samples[-1].seconds - samples[0].seconds)
    covered = min(each.coverage for each in warm)
    lateness = statistics.median(each.late for each in warm)
    told = (
        f"memory {before:.1f} MB after warm-up, {after:.1f} MB at the end ({growth:+.1%}); {rate:,.0f} flows/s; "
        f"newest flow {lateness * 1000:.0f} ms old (median); least coverage {covered:.2%}; {samples[-1].lost} lost"
    )
    return growth <= allowed and covered >= 0.99, told


def main() -> int:
    """Run it; 0 where all held."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=1000.0, help="flows a second")
    parser.add_argument("--every", type=float, default=30.0, help="seconds between two lines")
    parser.add_argument("--retention", default="10m", help="store.retention: forgetting is part of the soak")
    parser.add_argument("--allow", type=float, default=5.0, help="percent by which memory may grow")
    options = parser.parse_args()
    samples: list[Sample] = []
    with tempfile.TemporaryDirectory(prefix="flowwatch-soak-") as name:
        directory = Path(name)
        with (
            simulated_hubble(directory, ["--rate", str(options.rate)]) as server,
            daemon(directory, server, options.retention) as process,
        ):
            begun = time.monotonic()
            while time.monotonic() - begun < options.minutes * 60:
                time.sleep(options.every)
                samples.append(sample(process, directory / "soak.duckdb", begun))
                print(samples[-1], flush=True)
        if process.returncode:
            print((directory / "daemon.log").read_text(errors="replace")[-3000:])
    held, told = verdict(samples, options.allow / 100)
    print(told if held else f"NOT HELD: {told}")
    return 0 if held and process.returncode == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
