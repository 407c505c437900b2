#!/bin/sh
# Makes or refreshes .venv in this checkout, from the locks in deploy/lock:
#
#   sh deploy/environment.sh runtime   what `.venv/bin/flowwatch` needs
#   sh deploy/environment.sh dev       that, and what the tests and checks need
#   sh deploy/environment.sh ci        that, and the tools of .ci/run
#
# Needs CPython 3.11 to 3.14 with venv; PYTHON names one, otherwise the newest on PATH is taken. Costs nothing
# when the locks have not changed since the last time. Writes to .venv alone. Exits 1, saying why, when it cannot.
set -eu

say() { printf 'environment.sh: %s\n' "$*" >&2; }
fail() {
    say "$@"
    exit 1
}

case ${1:-} in
runtime) wanted='runtime' ;;
dev) wanted='runtime dev' ;;
ci) wanted='runtime dev ci' ;;
*)
    echo 'usage: sh deploy/environment.sh runtime|dev|ci' >&2
    exit 2
    ;;
esac

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
locks=$root/deploy/lock
venv=$root/.venv
python=$venv/bin/python
made=$venv/made-from # what is there: the interpreter's version, and a copy of each lock and of this script
export TMPDIR="$venv/tmp" PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

# Two of these at once, as in two terminals of a fresh clone: the second waits for the first.
if command -v flock >/dev/null 2>&1; then
    exec 9<"$root/deploy"
    flock -n 9 || { say 'waiting for another run of this script' && flock 9; }
fi

suits() { # suits <python>: is this an interpreter that the locks have packages for?
    "$1" -c '
import sys, sysconfig
good = (3, 11) <= sys.version_info < (3, 15) and sys.implementation.name == "cpython"
sys.exit(not good or bool(sysconfig.get_config_var("Py_GIL_DISABLED")))' >/dev/null 2>&1
}

has_venv() { # has_venv <python>: Debian ships venv and ensurepip in a package of their own
    "$1" -c 'import ensurepip, venv' >/dev/null 2>&1
}

find_python() { # prints the interpreter to make the environment with
    if [ -n "${PYTHON:-}" ]; then
        suits "$PYTHON" || fail "PYTHON=$PYTHON is not a CPython 3.11, 3.12, 3.13 or 3.14"
        has_venv "$PYTHON" || fail "PYTHON=$PYTHON has no venv and ensurepip; on Debian: apt-get install python3-venv"
        echo "$PYTHON"
        return
    fi
    bare=
    for candidate in python3.14 python3.13 python3.12 python3.11 python3; do
        suits "$candidate" || continue
        if has_venv "$candidate"; then
            echo "$candidate"
            return
        fi
        bare=${bare:-$candidate}
    done
    [ -z "$bare" ] || fail "$bare has no venv and ensurepip; on Debian: apt-get install python3-venv"
    found=$(python3 --version 2>/dev/null) || found='no python3 at all'
    fail "flowwatch needs CPython 3.11, 3.12, 3.13 or 3.14; on PATH there is $found"
}

installed() { # installed <lock>: is exactly this lock in the environment?
    cmp -s "$locks/$1.txt" "$made/$1.txt"
}

stale() { # is the environment missing, half made, of another interpreter, or of other locks?
    [ -f "$made/version" ] && suits "$python" || return 0
    [ -z "${PYTHON:-}" ] || [ "$("$PYTHON" --version)" = "$(cat "$made/version")" ] || return 0
    for copy in "$made"/*.txt; do
        [ -e "$copy" ] || continue
        cmp -s "$copy" "$locks/${copy##*/}" || return 0
    done
    return 1
}

create() {
    base=$(find_python) || exit 1
    if [ -e "$venv" ]; then
        [ -d "$made" ] || fail "$venv is there and was not made by this script; move it away first"
        say 'the locks or the interpreter have changed: making .venv again'
        rm -rf "$venv"
    fi
    say "making .venv with $("$base" --version)"
    mkdir -p "$made" "$TMPDIR"
    "$base" -m venv "$venv" || fail "$base -m venv failed"
    "$base" --version >"$made/version"
}

install() { # install <lock>
    say "installing deploy/lock/$1.txt"
    rm -f "$made/$1.txt"
    # The lock is complete and each file is checked against it, so nothing is left to resolve or to build.
    "$python" -m pip install --quiet --require-hashes --no-deps --only-binary :all: \
        --requirement "$locks/$1.txt" || fail "installing deploy/lock/$1.txt failed, see above; run this again to retry"
    cp "$locks/$1.txt" "$made/$1.txt"
}

launch() { # puts this checkout's package on the environment's path, by relative paths: a moved checkout still runs
    packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    case $packages in "$venv"/*) ;; *) fail "$python installs to $packages, which is outside $venv" ;; esac
    "$python" -c 'import os, sys; print(os.path.relpath(sys.argv[1], sys.argv[2]))' "$root" "$packages" \
        >"$packages/flowwatch.pth"
    cat >"$venv/bin/.flowwatch" <<'LAUNCHER'
#!/bin/sh
bin=$(dirname -- "$(readlink -f -- "$0")")
exec "$bin/python" -P -c '
import sys
from flowwatch.cli import main
sys.argv[0] = "flowwatch"
sys.exit(main())' "$@"
LAUNCHER
    chmod +x "$venv/bin/.flowwatch"
    mv "$venv/bin/.flowwatch" "$venv/bin/flowwatch"
    cp "$root/deploy/environment.sh" "$made/"
}

if stale; then
    create
fi
mkdir -p "$TMPDIR"
for lock in $wanted; do
    installed "$lock" || install "$lock"
done
cmp -s "$root/deploy/environment.sh" "$made/environment.sh" || launch
rm -rf "$TMPDIR"
