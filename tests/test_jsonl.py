"""One line of JSON becomes the message it prints, whatever wrote it; what is no such line is explained."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from flowwatch.hubble import flow_pb2, observer_pb2
from flowwatch.receive.jsoncare import CarefulEncoder, Field
from flowwatch.receive.jsonl import EVENT, FLOW, LineConverter, LineError
from flowwatch.receive.jsonwire import UNUSUAL, FastEncoder, names, timestamp

SHARED = Path(__file__).resolve().parents[2] / "shared"
ENDPOINT = '{"ID":7,"identity":900,"namespace":"ns","labels":["k8s:app=a","k8s:x=y"],"pod_name":"a-1"}'
WITH_WORKLOAD = ENDPOINT[:-1] + ',"workloads":[{"name":"a","kind":"Deployment"}]}'
LINE = (
    '{"flow":{"time":"2026-01-31T12:00:00.000000250Z","uuid":"u-1","emitter":{"name":"Hubble","version":"1.19.4"},'
    '"verdict":"FORWARDED","ethernet":{"source":"0a:00:00:00:00:01","destination":"0a:00:00:00:00:02"},'
    '"IP":{"source":"10.0.0.1","destination":"10.0.0.2","ipVersion":"IPv4"},'
    '"l4":{"TCP":{"source_port":40000,"destination_port":443,"flags":{"SYN":true}}},'
    f'"source":{WITH_WORKLOAD},"destination":{ENDPOINT},"Type":"L3_L4","node_name":"c/n1","node_labels":["os=linux"],'
    '"event_type":{"type":5},"traffic_direction":"EGRESS","policy_match_type":2,"is_reply":false,'
    '"Summary":"TCP Flags: SYN","egress_allowed_by":[{"name":"p","revision":"42"}]},'
    '"node_name":"c/n1","time":"2026-01-31T12:00:00.000000250Z"}'
)


def convert(line: str, converter: LineConverter | None = None) -> observer_pb2.ExportEvent:
    converted = (converter or LineConverter()).convert(line.encode())
    return observer_pb2.ExportEvent.FromString(converted)


def reference(line: str) -> observer_pb2.ExportEvent:
    return json_format.Parse(line, observer_pb2.ExportEvent(), ignore_unknown_fields=True)


def shared(folder: str) -> Path:
    path = SHARED / folder
    if not path.is_dir():
        pytest.skip(f"no {path}")
    return path


# ---- What is accepted


def test_a_line_of_hubble_observe_is_the_message_it_prints() -> None:
    """The form that current versions print, twice, so that what was remembered is used."""
    converter = LineConverter()
    assert convert(LINE, converter) == reference(LINE)
    assert convert(LINE.replace("u-1", "u-2"), converter) == reference(LINE.replace("u-1", "u-2"))


def test_endpoints_are_encoded_alike_whichever_end_they_are() -> None:
    """Equal endpoints are equal bytes, so that later stages can tell them by their bytes."""
    both = LINE.replace(f'"destination":{ENDPOINT}', f'"destination":{WITH_WORKLOAD}')
    message = LineConverter().convert(both.encode())
    flow = convert(both).flow
    assert flow.source == flow.destination
    assert message.count(flow.source.SerializeToString()) == 2


def test_a_bare_flow_is_accepted_and_gives_node_and_time() -> None:
    """Very old command lines printed the flow alone."""
    wrapped = json.loads(LINE)
    event = convert(json.dumps(wrapped["flow"], separators=(",", ":")))
    assert event == reference(LINE)


@pytest.mark.parametrize("spelling", ["node_name", "nodeName"])
def test_a_flow_lends_its_node_and_time_to_the_response(spelling: str) -> None:
    """Where the outer fields are missing, the flow's own are used."""
    event = convert(json.dumps({"flow": {"verdict": "DROPPED", spelling: "n", "time": "2026-01-01T00:00:00Z"}}))
    assert (event.node_name, event.time.seconds) == ("n", 1767225600)


def test_the_responses_own_node_and_time_win() -> None:
    """They are what the server says of the message."""
    line = '{"flow":{"node_name":"a","time":"2026-01-01T00:00:00Z"},"node_name":"b","time":"2026-01-01T00:00:01Z"}'
    assert convert(line) == reference(line)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param('{"flow":{}}', id="all fields masked"),
        pytest.param(
            '{"flow":{"time":"2026-01-15T09:30:06Z","verdict":"DROPPED","source":{"namespace":"shop"},"destination":{},'
            '"drop_reason_desc":"POLICY_DENIED","aggregate":{"egress_flow_count":17}},"time":"2026-01-15T09:30:06Z"}',
            id="masked and aggregated",
        ),
        pytest.param('{"lost_events":{"source":"HUBBLE_RING_BUFFER","num_events_lost":"317","cpu":3}}', id="lost"),
        pytest.param('{"lostEvents":{"numEventsLost":1,"first":"2026-01-01T00:00:00.5Z"},"nodeName":"n"}', id="camel"),
        pytest.param('{"node_status":{"state_change":"NODE_ERROR","node_names":["a","b"],"message":"m"}}', id="status"),
        pytest.param(
            '{"agent_event":{"type":"POLICY_UPDATED","policy_update":{"labels":["a"],"revision":"3","rule_count":"-1"}},'
            '"node_name":"n","time":"2026-01-01T00:00:00Z"}',
            id="agent event",
        ),
        pytest.param(
            '{"debug_event":{"type":"DBG_GENERIC","source":{"ID":1},"hash":0,"arg1":4294967295,"cpu":-1}}', id="debug"
        ),
        pytest.param('{"flow":{"verdict":2,"drop_reason":"133","drop_reason_desc":206}}', id="numbers of enums"),
        pytest.param('{"flow":{"verdict":null,"source":null,"l4":{"TCP":null,"UDP":{}},"reply":false}}', id="nulls"),
        pytest.param('{"flow":{"drop_reason":133.0,"policy_match_type":1e0}}', id="numbers with fractions of zero"),
        pytest.param('{"flow":{"l4":{"ICMPv4":{}},"l7":{"type":"REQUEST","dns":{}}}}', id="empty messages are present"),
        pytest.param('{"flow":{"socket_cookie":"18446744073709551615","cgroup_id":"0"}}', id="64 bits"),
        pytest.param('{"flow":{"time":"1969-12-31T23:59:59.5Z"},"time":"0001-01-01T00:00:00Z"}', id="before the epoch"),
        pytest.param('{"flow":{"time":"2026-01-01T02:00:00.123456+02:00"},"time":"2026-01-01T00:00:00Z"}', id="zones"),
        pytest.param('{"flow":{"source":{"labels":["",""],"pod_name":"\\u00e9\\ud83d\\ude00\\u0000"}}}', id="unicode"),
        pytest.param('{"flow":{"Summary":"a\\"source\\":{\\"x"}, "other":[1,{"flow":2}]}', id="unknown fields"),
        pytest.param('{"flow":{"verdict":"DROPPED"},"kubernetes":{"pod":"p"},"node_name":"n","stream":"x"}', id="more"),
    ],
)
def test_forms_of_other_versions_and_kinds_are_accepted(line: str) -> None:
    """Each means what protobuf's own JSON reader says it means."""
    expected = reference(line)
    if expected.HasField("flow"):
        expected.node_name = expected.node_name or expected.flow.node_name
        if not expected.HasField("time") and expected.flow.HasField("time"):
            expected.time.CopyFrom(expected.flow.time)
    assert convert(line) == expected
    assert convert(f"  {line}\r\n") == expected


def test_enum_names_of_newer_servers_are_left_out_and_counted() -> None:
    """An unknown verdict does not cost the line; what was left out can be told."""
    converter = LineConverter()
    line = LINE.replace('"FORWARDED"', '"HELD"')
    expected = reference(LINE)
    expected.flow.verdict = flow_pb2.VERDICT_UNKNOWN
    for _ in range(2):
        assert convert(line, converter) == expected
    assert convert('{"flow":{"verdict":"7"}}', converter).flow.verdict == flow_pb2.TRANSLATED
    assert converter.unknown_enums == {"flow.Verdict: HELD": 2}


def test_unknown_enum_names_are_counted_in_bounded_memory() -> None:
    """A hostile file cannot fill the memory with names."""
    converter = LineConverter()
    for number in range(1_000):
        convert(f'{{"flow":{{"verdict":"{"V" * 1_000}{number}","Type":"T{number}"}}}}', converter)
    assert len(converter.unknown_enums) <= 257
    assert converter.unknown_enums.total() == 2_000
    assert all(len(name) < 100 for name in converter.unknown_enums)


def test_payloads_of_other_schemas_are_left_out() -> None:
    """`extensions` may hold any message; that we do not know its type is no error."""
    line = '{"flow":{"verdict":"DROPPED","extensions":{"@type":"type.googleapis.com/some.Thing","a":1}}}'
    assert convert(line) == observer_pb2.ExportEvent(flow=flow_pb2.Flow(verdict=flow_pb2.DROPPED))


def test_what_is_remembered_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ever new endpoints push out the old ones, and the result is the same."""
    monkeypatch.setattr("flowwatch.receive.jsonl.REMEMBERED", 2_000)
    converter = LineConverter()
    for number in range(100):
        line = LINE.replace("a-1", f"a-{number}").replace('"os=linux"', f'"os={number}"')
        assert convert(line, converter) == reference(line)
        assert len(converter._endpoints) < 20
        assert len(converter._stretches) < 20


# ---- What is refused


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"flow":{"l4":{"TCP":{"source_port":"abc"}}}}', 'flow.l4.TCP.source_port: "abc" is not a number'),
        ('{"flow":{"l4":{"TCP":{"source_port":-1}}}}', "flow.l4.TCP.source_port: -1 does not fit a uint32"),
        ('{"flow":{"l4":{"TCP":{"source_port":1.5}}}}', "flow.l4.TCP.source_port: 1.5 is not a whole number"),
        ('{"flow":{"l4":{"TCP":{"source_port":true}}}}', "flow.l4.TCP.source_port: true is not a number"),
        ('{"flow":{"l4":{"TCP":{"source_port":"١"}}}}', 'flow.l4.TCP.source_port: "\\u0661" is not a number'),
        ('{"flow":{"l4":{"TCP":{"source_port":NaN}}}}', "flow.l4.TCP.source_port: NaN is not a whole number"),
        ('{"flow":{"drop_reason":4294967296}}', "flow.drop_reason: 4294967296 does not fit a uint32"),
        ('{"flow":{"l4":{"TCP":{},"UDP":{}}}}', "flow.l4: TCP and UDP exclude each other"),
        ('{"flow":{},"lost_events":{}}', "flow and lost_events exclude each other"),
        ('{"flow":{"uuid":12}}', "flow.uuid: 12 is not text"),
        ('{"flow":{"uuid":"\\ud800"}}', 'flow.uuid: "\\ud800" holds half a surrogate pair'),
        ('{"flow":{"reply":"yes"}}', 'flow.reply: "yes" is neither true nor false'),
        ('{"flow":{"is_reply":1}}', "flow.is_reply: 1 is neither true nor false"),
        ('{"flow":{"source":"10.0.0.1"}}', 'flow.source: "10.0.0.1" is not an object'),
        ('{"flow":[]}', "flow: [] is not an object"),
        ('{"flow":{"source":{"labels":"a"}}}', 'flow.source.labels: "a" is not a list'),
        ('{"flow":{"source":{"labels":["a",null]}}}', "flow.source.labels[1]: null is not text"),
        (
            '{"flow":{"ingress_denied_by":[{},{"revision":"x"}]}}',
            'flow.ingress_denied_by[1].revision: "x" is not a number',
        ),
        ('{"flow":{"verdict":[1]}}', "flow.verdict: [1] is neither the name nor the number of a flow.Verdict"),
        ('{"flow":{"time":"yesterday"}}', 'flow.time: "yesterday" is not a time such as 2026-01-31T12:00:00.5Z'),
        ('{"flow":{"time":"2026-02-30T00:00:00Z"}}', 'flow.time: "2026-02-30T00:00:00Z" is not a time'),
        ('{"flow":{"time":1767225600}}', "flow.time: 1767225600 is not a time"),
        ('{"time":""}', "neither a flow nor an event of Hubble's"),
        ("{}", "neither a flow nor an event of Hubble's"),
        ('{"time":"2026-01-01T00:00:00Z","level":"info","msg":"x"}', "neither a flow nor an event of Hubble's"),
        ("[1]", "not a JSON object"),
        ("17", "not a JSON object"),
        ('{"flow":{"uuid":"a', "not JSON: unterminated string starting at (column 17)"),
        ('{"flow":{}', "not JSON: expecting ',' delimiter (column 11)"),
        ('{"flow":{}} {"flow":{}}', "not JSON: more text after the end of the value (column 12)"),
        ("level=info", "not JSON: expecting value (column 1)"),
        ("", "not JSON: expecting value (column 1)"),
        ('{"flow":' * 100_000, "nested too deeply"),
        ('{"flow":{"drop_reason":' + "9" * 5_000 + "}}", "not JSON: Exceeds the limit"),
        ('{"flow":{"drop_reason":' + "9" * 4_000 + "}}", "flow.drop_reason: 0x"),
        (
            '{"flow":{"uuid":["' + "x" * 100 + '"]}}',
            'flow.uuid: ["xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...',
        ),
    ],
)
def test_errors_name_the_field_and_the_value(line: str, message: str) -> None:
    """Whoever reads the error can find and mend the line."""
    with pytest.raises(LineError) as caught:
        LineConverter().convert(line.encode())
    assert str(caught.value).startswith(message)
    assert len(str(caught.value)) < 200


def test_bytes_that_are_no_utf8_are_placed() -> None:
    """The column counts bytes, as far as there are characters."""
    with pytest.raises(LineError, match="not UTF-8: byte 0xff in column 18"):
        LineConverter().convert(b'{"flow":{"uuid":"\xff"}}')


# ---- Both encoders, by the real data and by chance


def lines_of(path: Path) -> Iterator[str]:
    if path.suffix == ".xz":
        with lzma.open(path, "rt", encoding="utf-8") as lines:
            yield from lines
    else:
        yield from path.read_text(encoding="utf-8").splitlines()


def test_real_captures_of_2021_mean_what_protobuf_says() -> None:
    """Every line of captures from a cluster with Cilium 1.10."""
    converter = LineConverter()
    count = 0
    for path in sorted(shared("data/hubble-otel").glob("*.jsonl")):
        for line in lines_of(path):
            assert convert(line, converter) == reference(line)
            count += 1
    assert count == 1916


def test_simulated_flows_mean_what_protobuf_says() -> None:
    """A sample of 40,000 flows with the fields of Cilium 1.19, each compared with protobuf's own reader."""
    converter = LineConverter()
    for line in islice(lines_of(shared("data/simulated") / "dev.jsonl.xz"), 0, None, 37):
        assert convert(line, converter) == reference(line)


def test_official_examples_mean_what_is_on_the_wire() -> None:
    """What Cilium prints is read as what Cilium sends."""
    for text in (shared("facts") / "hubble-examples.jsonl").read_text(encoding="utf-8").splitlines():
        example = json.loads(text)
        expected = observer_pb2.ExportEvent.FromString(bytes.fromhex(example["wire_hex"]))
        assert convert(example["printed_line"]) == expected, example["id"]


INTEGERS = {
    FieldDescriptor.TYPE_INT32: st.integers(-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.TYPE_INT64: st.integers(-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.TYPE_UINT32: st.integers(0, (1 << 32) - 1),
    FieldDescriptor.TYPE_UINT64: st.integers(0, (1 << 64) - 1),
}
TEXT = st.one_of(
    st.sampled_from(["", "a", "node-1", 'q"{}]\\,:', "é😀"]), st.text(st.characters(exclude_categories=["Cs"]))
)


def scalars(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    if field.type == FieldDescriptor.TYPE_STRING:
        return TEXT
    if field.type == FieldDescriptor.TYPE_BOOL:
        return st.booleans()
    return INTEGERS[field.type]


@st.composite
def messages(draw: st.DrawFn, descriptor: Descriptor) -> dict[str, Any]:
    """Arguments to build a message with: any of its fields, at most one of each oneof."""
    candidates = [field for field in descriptor.fields if field.name != "extensions"]
    chosen = draw(st.lists(st.sampled_from(candidates), unique_by=lambda field: field.number, max_size=5))
    chosen = [
        *{field.containing_oneof.name if field.containing_oneof else field.name: field for field in chosen}.values()
    ]
    arguments: dict[str, Any] = {}
    for field in chosen:
        inside = field.message_type
        if inside is None:
            one = scalars(field)
        elif inside.name == "Timestamp":
            seconds = st.integers(-62135596800, 253402300799)
            one = st.fixed_dictionaries(
                {"seconds": seconds, "nanos": st.sampled_from([0, 1, 500_000_000, 999_999_999])}
            )
        else:
            one = messages(inside)
        arguments[field.name] = draw(st.lists(one, max_size=2) if field.is_repeated else one)
    return arguments


@st.composite
def events(draw: st.DrawFn) -> tuple[observer_pb2.ExportEvent, str]:
    """An event with a flow, and a line that prints it in one of many ways."""
    flow = flow_pb2.Flow(**draw(messages(FLOW)))
    event = observer_pb2.ExportEvent(flow=flow, node_name=draw(TEXT))
    if draw(st.booleans()):
        event.time.seconds = draw(st.integers(0, 1 << 32))
    printed = json_format.MessageToDict(
        event,
        preserving_proto_field_name=draw(st.booleans()),
        use_integers_for_enums=draw(st.booleans()),
        always_print_fields_with_no_presence=draw(st.booleans()),
    )
    # Fields of newer servers, which may look like those that are cut out of a line.
    for name in draw(st.lists(st.sampled_from(["aaa", "zzz", 'q"source']), max_size=2)):
        printed["flow"][name] = draw(st.sampled_from([None, {"source": {"ID": 1}}, json.loads(LINE)["flow"], [{}]]))
    if draw(st.booleans()):
        printed["flow"] = dict(draw(st.permutations([*printed["flow"].items()])))
    separators = draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    ascii_only = draw(st.booleans())
    return event, json.dumps(printed, separators=separators, sort_keys=draw(st.booleans()), ensure_ascii=ascii_only)


CONVERTER = LineConverter()
FAST = FastEncoder(EVENT).body(EVENT)


@given(events())
@settings(max_examples=200, deadline=None)
def test_any_flow_survives_however_it_is_printed(case: tuple[observer_pb2.ExportEvent, str]) -> None:
    """Order, spacing, spelling and unknown fields do not change what a line means, nor does what was read before."""
    event, line = case
    event.node_name = event.node_name or event.flow.node_name
    if not event.HasField("time") and event.flow.HasField("time"):
        event.time.CopyFrom(event.flow.time)
    for _ in range(2):
        assert convert(line, CONVERTER) == event


@given(messages(EVENT))
@settings(max_examples=100, deadline=None)
def test_both_encoders_write_alike(arguments: dict[str, Any]) -> None:
    """Where the fast encoder has an answer, it is the careful one's, byte for byte."""
    event = observer_pb2.ExportEvent(**arguments)
    printed = json_format.MessageToDict(event, preserving_proto_field_name=True)
    try:
        fast = FAST(printed)
    except UNUSUAL:
        reject()
    assert fast == CarefulEncoder().message(EVENT, printed)
    assert observer_pb2.ExportEvent.FromString(fast) == event


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=3), st.data()
)
@settings(max_examples=150, deadline=None)
def test_wrong_values_are_line_errors_and_nothing_else(value: Any, data: st.DataObject) -> None:
    """Whatever stands in a field, the line is read or refused with a sentence."""
    name: str = data.draw(st.sampled_from([field.name for field in FLOW.fields]))
    refused = ""
    try:
        convert(json.dumps({"flow": {name: value}}), CONVERTER)
    except LineError as error:
        refused = str(error)
    assert name in refused or not refused


@given(st.binary(max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_a_line_error_and_nothing_else(line: bytes) -> None:
    """No bytes make the converter fail in an unforeseen way."""
    with pytest.raises(LineError):
        CONVERTER.convert(b'{"flow":{' + line)


def test_every_field_of_the_schema_can_be_encoded() -> None:
    """The encoders know every type that occurs, in messages of any depth."""
    seen: set[str] = set()

    def walk(descriptor: Descriptor) -> None:
        if descriptor.full_name not in seen:
            seen.add(descriptor.full_name)
            FastEncoder(descriptor)
            for field in descriptor.fields:
                assert Field.of(field).head
                assert len(names(field)) == 2
                if field.message_type is not None and not field.message_type.full_name.startswith("google."):
                    walk(field.message_type)

    walk(EVENT)
    assert len(seen) > 35


@pytest.mark.parametrize(
    "text", ["2026-01-01T00:00:00", "2026-01-01 00:00:00Z", "2026-01-01T00:00:00.1234567890Z", "x"]
)
def test_times_are_rfc_3339(text: str) -> None:
    """A date without a zone, with a blank, or finer than nanoseconds is refused."""
    with pytest.raises(ValueError, match=text[:4]):
        timestamp(text)
