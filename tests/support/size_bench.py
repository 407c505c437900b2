"""Measure what a daemon needs: `python -m tests.support.size_bench [--seconds 60] [--rate 1000 …] [--memory 128MB …]`.

Runs the real daemon against a simulated Hubble, each in a process of its own, and prints for each rate and each
`store.memory_limit` what the daemon took: cores, peak memory, bytes on disk for a flow, and how long it took to stop.
The sizing table of `docs/kubernetes.md` stands on it. Absolutes drift with the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from flowwatch.demo import homelab_allowlist, simulated_hubble
from flowwatch.store import owner_of
from flowwatch.words import number

WARM_UP = 5.0
"""Seconds that are left out: parsing what is met for the first time is not what lasts."""
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(process: int) -> float:
    """What a process has used of the CPU, in seconds."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_bytes(process: int) -> int:
    """The most memory that a process has held."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


def ask(address: str) -> dict[str, float]:
    """The daemon's own account of itself."""
    with urllib.request.urlopen(f"{address}/api/v1/status") as answer:
        status: dict[str, float] = json.loads(answer.read())
    return status


def measure(folder: Path, rate: int, memory: str, seconds: float) -> str:
    """One line of the table."""
    with simulated_hubble(folder, ["--rate", str(rate), "--lost", "0"]) as server:
        settings = {
            "FLOWWATCH_HUBBLE_SERVER": server,
            "FLOWWATCH_STORE_PATH": str(folder / "size.duckdb"),
            "FLOWWATCH_STORE_MEMORY_LIMIT": memory,
            "FLOWWATCH_ALLOWLIST": str(homelab_allowlist()),
            "FLOWWATCH_WEB_LISTEN": "127.0.0.1:0",
        }
        command = [sys.executable, "-m", "flowwatch", "run", "--no-live"]
        daemon = subprocess.Popen(command, env=os.environ | settings, stderr=subprocess.DEVNULL)
        try:
            while (owner := owner_of(folder / "size.duckdb")) is None:
                if daemon.poll() is not None:
                    raise SystemExit("the daemon did not start")
                time.sleep(0.05)
            time.sleep(WARM_UP)
            begun, used, flows = time.monotonic(), cpu_seconds(daemon.pid), ask(owner.api)["flows"]
            while time.monotonic() - begun < seconds:
                time.sleep(1.0)
                urllib.request.urlopen(f"{owner.api}/metrics").read()
            took = time.monotonic() - begun
            cores = (cpu_seconds(daemon.pid) - used) / took
            received = (ask(owner.api)["flows"] - flows) / took
            peak = peak_bytes(daemon.pid)
            rows = flows + received * took
            begun = time.monotonic()
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait()
        stopped = time.monotonic() - begun
    disk = (folder / "size.duckdb").stat().st_size
    return (
        f"{number(rate):>9} {memory:>8} {number(round(received)):>9} {cores:>6.2f} {peak / 1e6:>8.0f} MB"
        f" {disk / rows:>7.0f} B {stopped:>6.1f} s"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=int, nargs="+", default=[500, 2_000, 10_000, 25_000])
    parser.add_argument("--memory", nargs="+", default=["128MB", "256MB", "512MB"])
    wanted = parser.parse_args()
    print("  flows/s    limit  received  cores     peak  per flow    stop")
    for rate in wanted.rate:
        for memory in wanted.memory:
            with tempfile.TemporaryDirectory() as folder:
                print(measure(Path(folder), rate, memory, wanted.seconds), flush=True)


if __name__ == "__main__":
    main()
