#!/bin/sh
# Every test: makes .venv the first time, then runs pytest with the arguments given.
#
#   sh tests/run.sh                       everything
#   sh tests/run.sh tests/test_edges.py   one file
#   sh tests/run.sh -n 0 -x               one after the other, up to the first failure
#
# Nothing is left out: a test that needs what this machine lacks is skipped, and the summary says why.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
sh "$root/deploy/environment.sh" dev
cd "$root"
exec .venv/bin/python -m pytest -n auto --maxprocesses 8 --dist loadgroup "$@"
