#!/bin/sh
# flowwatch on a simulated cluster: makes .venv the first time, then runs `flowwatch demo` with the arguments given.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
sh "$root/deploy/environment.sh" runtime
exec "$root/.venv/bin/flowwatch" demo "$@"
