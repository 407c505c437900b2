"""The messages of `proto/` are those of Cilium: the same names, numbers, types and paths, on the wire and in JSON."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, json_format, timestamp_pb2, unknown_fields, wrappers_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor
from google.protobuf.message import Message

from flowwatch.hubble import flow_pb2, observer_pb2, peer_pb2, projection_pb2, relay_pb2
from tests.support.patience import PATIENCE

ROOT = Path(__file__).resolve().parents[1]
FIXTURE = ROOT / "tests" / "data" / "hubble_schema.txt"
FACTS = ROOT.parent / "shared" / "facts"

PACKAGES = {"flow": flow_pb2, "observer": observer_pb2, "peer": peer_pb2, "relay": relay_pb2}
SCALARS = {
    FieldDescriptor.TYPE_DOUBLE: "double",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_UINT64: "uint64",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "bytes",
}

# Three messages of our own: the line as printed, and the same message on the wire.
OWN_EXAMPLES = [
    pytest.param(
        observer_pb2.GetFlowsResponse,
        '{"flow":{"verdict":"DROPPED","IP":{"source":"10.0.0.1","destination":"10.0.0.2","ipVersion":"IPv4"},'
        '"l4":{"TCP":{"source_port":40000,"destination_port":443,"flags":{"SYN":true}}},"Type":"L3_L4",'
        '"event_type":{"type":1,"sub_type":133},"drop_reason_desc":"POLICY_DENIED"},'
        '"node_name":"n1","time":"2026-01-01T00:00:00.000000001Z"}',
        "0a37"  # flow
        "1002"  # verdict
        "2a160a0831302e302e302e31120831302e302e302e321801"  # IP
        "320d0a0b08c0b80210bb031a021001"  # l4.TCP
        "5001"  # Type
        "9a010508011085 01".replace(" ", "")  # event_type
        + "c8018501"  # drop_reason_desc
        "c23e026e31"  # node_name, 1000
        "ca3e080880f2d6ca061001",  # time, 1001
        id="drop",
    ),
    pytest.param(
        observer_pb2.GetFlowsResponse,
        '{"flow":{"is_reply":false,"egress_denied_by":[{"name":"p","revision":"7"}],"aggregate":{"egress_flow_count":3}}}',
        "0a12"  # flow
        "d20100"  # is_reply: present and false
        "e2a00a050a01702007"  # egress_denied_by, 21004
        "faa00a021003",  # aggregate, 21007
        id="absent-is-not-false",
    ),
    pytest.param(
        observer_pb2.ExportEvent,
        '{"lost_events":{"source":"HUBBLE_RING_BUFFER","num_events_lost":"18446744073709551615","cpu":0}}',
        "1a0f080310ffffffffffffffffff011a00",
        id="lost",
    ),
]


def type_name(field: FieldDescriptor) -> str:
    if field.message_type is not None:
        return field.message_type.full_name
    if field.enum_type is not None:
        return field.enum_type.full_name
    return SCALARS[field.type]


def message_lines(message: Descriptor) -> Iterator[str]:
    proto = descriptor_pb2.DescriptorProto()
    message.CopyToProto(proto)
    yield f"message {message.full_name}" + (" deprecated" if proto.options.deprecated else "")
    for held in proto.reserved_range:
        for number in range(held.start, held.end):
            yield f"reserved {message.full_name} {number}"
    for field in message.fields:
        words = ["field", field.full_name, str(field.number), type_name(field)]
        words += ["repeated"] * field.is_repeated
        words += [f"oneof={field.containing_oneof.name}"] if field.containing_oneof else []
        words += ["deprecated"] * field.GetOptions().deprecated
        yield " ".join(words)
    for nested in message.nested_types:
        yield from message_lines(nested)
    for enum in message.enum_types:
        yield from enum_lines(enum)


def enum_lines(enum: EnumDescriptor) -> Iterator[str]:
    proto = descriptor_pb2.EnumDescriptorProto()
    enum.CopyToProto(proto)
    for held in proto.reserved_range:
        for number in range(held.start, held.end + 1):
            yield f"reserved {enum.full_name} {number}"
    for value in enum.values:
        words = ["value", enum.full_name, value.name, str(value.number)]
        words += ["deprecated"] * value.GetOptions().deprecated
        yield " ".join(words)


def file_lines(file: FileDescriptor) -> Iterator[str]:
    for message in file.message_types_by_name.values():
        yield from message_lines(message)
    for enum in file.enum_types_by_name.values():
        yield from enum_lines(enum)
    for service in file.services_by_name.values():
        for method in service.methods:
            assert not method.client_streaming
            stream = "stream " if method.server_streaming else ""
            answer = f"{stream}{method.output_type.full_name}"
            yield f"rpc /{service.full_name}/{method.name} {method.input_type.full_name} {answer}"


def schema_lines(schema: dict[str, Any]) -> Iterator[str]:
    """The same lines, made from the machine-readable facts instead of from our descriptors."""
    known = {f"{package}.{x['name']}" for package, file in schema.items() for x in file["messages"] + file["enums"]}

    def resolve(name: str, scope: str) -> str:
        while scope:
            if f"{scope}.{name}" in known:
                return f"{scope}.{name}"
            scope = scope.rpartition(".")[0]
        return name

    def reserved(full: str, ranges: list[str]) -> Iterator[str]:
        for part in ",".join(ranges).split(","):
            if part.strip():
                first, _, last = part.partition(" to ")
                for number in range(int(first), int(last or first) + 1):
                    yield f"reserved {full} {number}"

    for package, file in schema.items():
        for message in file["messages"]:
            full = f"{package}.{message['name']}"
            yield f"message {full}" + (" deprecated" if message["deprecated"] else "")
            yield from reserved(full, message["reserved"])
            for field in message["fields"]:
                words = ["field", f"{full}.{field['name']}", str(field["number"]), resolve(field["type"], full)]
                words += [field["label"]] if field["label"] else []
                words += [f"oneof={field['oneof']}"] if field["oneof"] else []
                words += ["deprecated"] if field["deprecated"] else []
                yield " ".join(words)
        for enum in file["enums"]:
            full = f"{package}.{enum['name']}"
            yield from reserved(full, enum["reserved"])
            for value in enum["values"]:
                tail = " deprecated" if value["deprecated"] else ""
                yield f"value {full} {value['name']} {value['number']}{tail}"
        for service in file["services"]:
            for rpc in service["rpcs"]:
                stream = "stream " if rpc["server_streaming"] else ""
                request, response = resolve(rpc["request"], package), resolve(rpc["response"], package)
                yield f"rpc /{package}.{service['name']}/{rpc['name']} {request} {stream}{response}"


def fixture_lines() -> set[str]:
    text = FIXTURE.read_text(encoding="utf-8")
    return {line for line in text.splitlines() if line and not line.startswith("#")}


@pytest.mark.parametrize("package", PACKAGES)
def test_compiled_messages_match_the_schema(package: str) -> None:
    """Every message, field, number, type, label, oneof, enum value and method path is Cilium's, and no more."""
    ours = set(file_lines(PACKAGES[package].DESCRIPTOR))
    names = (f" {package}.", f" /{package}.")
    theirs = {line for line in fixture_lines() if line[line.index(" ") :].startswith(names)}
    assert ours == theirs


def test_the_schema_fixture_matches_the_facts() -> None:
    """The checked-in list of names and numbers is the one that was verified against Cilium's own code."""
    facts = FACTS / "hubble-schema.json"
    if not facts.is_file():
        pytest.skip(f"no {FACTS}")
    assert fixture_lines() == set(schema_lines(json.loads(facts.read_text(encoding="utf-8"))))


@pytest.mark.parametrize("package", [*PACKAGES, "flowwatch.projection"])
def test_files_are_importable_under_flowwatch(package: str) -> None:
    """Files are registered under flowwatch/hubble, so that they collide with nobody's flow.proto."""
    module = PACKAGES.get(package, projection_pb2)
    assert module.DESCRIPTOR.package == package
    assert module.DESCRIPTOR.name == f"flowwatch/hubble/{package.rpartition('.')[2]}.proto"


@pytest.mark.parametrize(("kind", "line", "wire"), OWN_EXAMPLES)
def test_own_examples_read_alike_from_wire_and_json(kind: type[Message], line: str, wire: str) -> None:
    """A message reads the same from the wire and from the printed line, and is written as it came."""
    message = kind.FromString(bytes.fromhex(wire))
    assert json_format.Parse(line, kind()) == message
    assert message.SerializeToString(deterministic=True) == bytes.fromhex(wire)
    assert not len(unknown_fields.UnknownFieldSet(message))


def test_official_examples_read_alike_from_wire_and_json() -> None:
    """What Cilium's own encoders print and send is understood without a rest, and means the same in both forms."""
    path = FACTS / "hubble-examples.jsonl"
    if not path.is_file():
        pytest.skip(f"no {FACTS}")
    examples = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(examples) == 15
    for example in examples:
        kind = getattr(observer_pb2, example["message"].removeprefix("observer."))
        message = kind.FromString(bytes.fromhex(example["wire_hex"]))
        assert json_format.Parse(example["printed_line"], kind()) == message, example["id"]
        assert kind.FromString(message.SerializeToString()) == message, example["id"]
        printed = json_format.MessageToDict(message, preserving_proto_field_name=True)
        assert printed == json.loads(example["printed_line"]), example["id"]


def test_unknown_fields_survive() -> None:
    """A field of a newer Cilium is passed on untouched."""
    newer = bytes.fromhex("1002") + bytes.fromhex("fa7d03616263")  # verdict, and a string in field 2015
    flow = flow_pb2.Flow.FromString(newer)
    assert flow.verdict == flow_pb2.DROPPED
    assert flow.SerializeToString() == newer


def test_unknown_enum_values_survive() -> None:
    """A drop reason without a name, such as 206, keeps its number, in the full message and in the projection."""
    wire = bytes.fromhex("0a04c801ce01")  # flow.drop_reason_desc
    full = observer_pb2.GetFlowsResponse.FromString(wire)
    assert full.flow.drop_reason_desc == 206
    assert full.SerializeToString() == wire
    assert projection_pb2.Response.FromString(wire).flow.drop_reason_desc == 206


COUNTERPARTS: dict[str, type[Message]] = {
    "Response": observer_pb2.GetFlowsResponse,
    "EventType": flow_pb2.CiliumEventType,
    "ICMP": flow_pb2.ICMPv4,
    "Time": timestamp_pb2.Timestamp,
    "Bool": wrappers_pb2.BoolValue,
}


@pytest.mark.parametrize("name", sorted(projection_pb2.DESCRIPTOR.message_types_by_name))
def test_projection_has_the_numbers_of_the_full_message(name: str) -> None:
    """Each field of the projection has the number and the wire type of the field it stands for."""
    slim = projection_pb2.DESCRIPTOR.message_types_by_name[name]
    full = (COUNTERPARTS.get(name) or getattr(flow_pb2, name)).DESCRIPTOR
    for field in slim.fields:
        other = full.fields_by_name[field.name]
        assert (field.number, field.is_repeated) == (other.number, other.is_repeated), field.full_name
        if other.type == FieldDescriptor.TYPE_ENUM:
            assert field.type == FieldDescriptor.TYPE_INT32, field.full_name
        elif other.type == FieldDescriptor.TYPE_MESSAGE:
            assert field.type in (FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_BYTES), field.full_name
        else:
            assert field.type == other.type, field.full_name


def test_projection_reads_what_the_full_message_says() -> None:
    """Opaque parts are the very bytes of the full schema's messages; absent stays apart from false."""
    full = observer_pb2.GetFlowsResponse(node_name="n")
    full.time.FromJsonString("2026-01-01T00:00:00.123456789Z")
    flow = full.flow
    flow.source.labels.extend(["k8s:a=b", "k8s:c=d"])
    flow.l4.TCP.flags.SYN = True
    flow.is_reply.value = False
    flow.egress_allowed_by.add(name="p")
    slim = projection_pb2.Response.FromString(full.SerializeToString())
    assert flow_pb2.Endpoint.FromString(slim.flow.source) == flow.source
    assert flow_pb2.TCPFlags.FromString(slim.flow.l4.TCP.flags) == flow.l4.TCP.flags
    assert [flow_pb2.Policy.FromString(policy) for policy in slim.flow.egress_allowed_by] == [*flow.egress_allowed_by]
    assert slim.flow.HasField("is_reply")
    assert not slim.flow.is_reply.value
    assert not slim.flow.destination
    assert (slim.time.seconds, slim.time.nanos) == (full.time.seconds, 123456789)
    assert not projection_pb2.Response.FromString(b"").flow.HasField("is_reply")


def generate(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    if importlib.util.find_spec("grpc_tools") is None:
        pytest.skip("no grpcio-tools in this environment")
    command = [str(root / "proto" / "generate.sh"), *arguments]
    environment = {**os.environ, "PYTHON": sys.executable}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE)


def test_generated_code_is_up_to_date() -> None:
    """What is checked in is what `proto/` compiles to."""
    result = generate(ROOT, "--check")
    assert result.returncode == 0, result.stderr


def test_outdated_generated_code_is_noticed(tmp_path: Path) -> None:
    """`--check` names the file that differs or belongs to nothing, and writing puts it right."""
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    shutil.copytree(ROOT / "flowwatch" / "hubble", tmp_path / "flowwatch" / "hubble")
    changed = tmp_path / "flowwatch" / "hubble" / "peer_pb2.py"
    changed.write_text(changed.read_text() + "# by hand\n")
    result = generate(tmp_path, "--check")
    assert (result.returncode, "peer_pb2.py is out of date" in result.stderr) == (1, True)

    assert generate(tmp_path).returncode == 0
    orphan = changed.with_name("orphan_pb2.pyi")
    orphan.touch()
    result = generate(tmp_path, "--check")
    assert (result.returncode, "orphan_pb2.pyi belongs to no file" in result.stderr) == (1, True)
    assert generate(tmp_path, "--nonsense").returncode == 2
