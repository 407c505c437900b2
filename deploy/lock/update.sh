#!/bin/sh
# Writes the locks beside this script from pyproject.toml, for CPython 3.11 to 3.14:
#
#   runtime.txt  what the daemon needs: [project.dependencies]
#   dev.txt      runtime.txt and what the tests and checks need: the group "dev"
#   build.txt    what builds the wheel, and nothing else: the group "build"
#   ci.txt       tools of .ci/run and of this script that the tests do without: the group "ci"
#
# Versions already locked stay as they are as long as pyproject.toml allows them. To move them:
#
#   sh deploy/lock/update.sh --upgrade                   everything
#   sh deploy/lock/update.sh --upgrade-package duckdb    one of them
#
# The locks hold versions and hashes and name no index: the packages come from wherever the machine that
# installs them is told to look, and are refused when they are not the very files that were locked.
set -eu

lock=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$lock/../.." && pwd)
cd "$root"

if [ -x .venv/bin/uv ]; then
    uv=.venv/bin/uv
elif command -v uv >/dev/null 2>&1; then
    uv=uv
else
    echo "update.sh: uv is needed to write the locks; 'sh deploy/environment.sh ci' installs it" >&2
    exit 1
fi

compile() { # compile <lock> <arguments of uv>...
    output=$1
    shift
    "$uv" pip compile --quiet --universal --python-version 3.11 --only-binary :all: --generate-hashes \
        --no-emit-index-url --no-emit-find-links --no-annotate --no-header --output-file "deploy/lock/$output" "$@"
    echo "deploy/lock/$output: $(grep -c '==' "deploy/lock/$output") packages"
}

# Both of the others are held to what the daemon runs with.
compile runtime.txt pyproject.toml "$@"
compile dev.txt pyproject.toml --group dev --constraints deploy/lock/runtime.txt "$@"
compile build.txt --group build --constraints deploy/lock/dev.txt "$@"
compile ci.txt --group ci "$@"
