"""`python -m tests.fuzz --seconds N [--target NAME]`: look for inputs that break a promise, for as long as you like.

Guided by coverage where atheris is installed (`pip install atheris`; it is optional and in no lock), with mutations of
our own otherwise. An input that breaks a promise is written to `--keep` and given on the command line to be tried
again. The exit code is 1 if there was one.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from random import Random

from tests.fuzz.mutate import LARGEST, mutated
from tests.fuzz.samples import words
from tests.fuzz.targets import TARGETS, Target

HANG = 30
"""Seconds that no input may take."""


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target (default 60)")
    parser.add_argument("--target", choices=sorted(TARGETS), action="append", help="may be repeated; default: all")
    parser.add_argument("--seed", type=int, default=None, help="of our own mutations; default: another each time")
    parser.add_argument("--keep", type=Path, default=Path(".fuzz"), help="folder of inputs that were found (.fuzz)")
    parser.add_argument("--plain", action="store_true", help="our own mutations even where atheris is installed")
    parser.add_argument("input", type=Path, nargs="*", help="only try these files, with the first --target")
    return parser.parse_args()


def main() -> int:
    """Fuzz one target after the other."""
    args = arguments()
    names = args.target or list(TARGETS)
    if args.input:
        for path in args.input:
            print(f"{path}: {TARGETS[names[0]].run(path.read_bytes()) or 'taken'}")
        return 0
    guided = not args.plain and importlib.util.find_spec("atheris") is not None
    failed = [name for name in names if not (with_atheris if guided else plainly)(TARGETS[name], args)]
    if failed:
        print(f"broken: {', '.join(failed)}; the inputs are in {args.keep}")
    return 1 if failed else 0


def plainly(target: Target, args: argparse.Namespace) -> bool:
    """Mutations at random, from one seed, until the time is up or a promise is broken."""
    seed = Random().randrange(1 << 32) if args.seed is None else args.seed
    random, seeds = Random(seed), target.seeds()
    known, outcomes, runs, end = words(seeds), Counter[str](), 0, time.monotonic() + args.seconds
    while time.monotonic() < end:
        data = mutated(seeds, known, random) if runs >= len(seeds) else seeds[runs]
        runs += 1
        faulthandler.dump_traceback_later(HANG, exit=True)
        try:
            outcomes[target.run(data) or "taken"] += 1
        except Exception:
            traceback.print_exc()
            print(f"{target.name}: broken by {kept(data, target, args.keep)}, seed {seed}")
            return False
        finally:
            faulthandler.cancel_dump_traceback_later()
    told = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common(6))
    print(f"{target.name}: {runs} inputs from seed {seed}: {told}", flush=True)
    return True


def kept(data: bytes, target: Target, folder: Path) -> Path:
    """Where the input is now."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{target.name}-{hashlib.sha256(data).hexdigest()[:16]}"
    path.write_bytes(data)
    return path


def with_atheris(target: Target, args: argparse.Namespace) -> bool:
    """libFuzzer ends its process, so each target has one of its own."""
    args.keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder)
        for data in target.seeds():
            (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
        limits = [
            f"-max_total_time={int(args.seconds)}",
            f"-max_len={LARGEST}",
            f"-timeout={HANG}",
            "-print_final_stats=1",
        ]
        code = f"from tests.fuzz.guided import run; run({target.name!r})"
        command = [sys.executable, "-c", code, folder, *limits, f"-artifact_prefix={args.keep}/{target.name}-"]
        print(f"{target.name}: guided by coverage", flush=True)
        return subprocess.run(command, env=os.environ, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
