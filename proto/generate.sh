#!/bin/sh
# Writes flowwatch/hubble/*_pb2.py and *_pb2.pyi from proto/*.proto.
#
#   proto/generate.sh           write them
#   proto/generate.sh --check   write nothing; exit 1 if what is there differs
#
# PYTHON names an interpreter that has grpcio-tools (default: python3). Methods are called by
# path, so there are no service stubs.
set -eu

cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
target=flowwatch/hubble
check=

case ${1:-} in
'') ;;
--check) check=yes ;;
*)
    echo "usage: proto/generate.sh [--check]" >&2
    exit 2
    ;;
esac

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# The virtual path makes the generated modules import each other as flowwatch.hubble.*.
set --
for file in proto/*.proto; do
    set -- "$@" "$target/$(basename "$file")"
done
"$python" - "$out" "$@" <<'PYTHON'
import pathlib
import sys

try:
    import grpc_tools
    from grpc_tools import protoc
except ImportError:
    sys.exit("proto/generate.sh: this Python has no grpcio-tools; set PYTHON, or install the dev group")

out, *files = sys.argv[1:]
google = pathlib.Path(grpc_tools.__file__).parent / "_proto"
options = ["-Iflowwatch/hubble=proto", f"-I{google}", f"--python_out={out}", f"--pyi_out={out}"]
sys.exit(protoc.main(["protoc", *options, *files]))
PYTHON

if [ -n "$check" ]; then
    for file in "$out/$target"/*; do
        cmp -s "$file" "$target/$(basename "$file")" || {
            echo "proto/generate.sh: $target/$(basename "$file") is out of date" >&2
            exit 1
        }
    done
    for file in "$target"/*_pb2.py "$target"/*_pb2.pyi; do
        [ -e "$out/$target/$(basename "$file")" ] || {
            echo "proto/generate.sh: $file belongs to no file in proto/" >&2
            exit 1
        }
    done
else
    rm -f "$target"/*_pb2.py "$target"/*_pb2.pyi
    cp "$out/$target"/* "$target/"
fi
