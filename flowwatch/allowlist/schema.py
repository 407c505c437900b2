"""The JSON Schema of the native format, for editors and for checks before a commit.

It describes the shape of a document: which keys there are and what their values look like.
Whether names are defined and what they mean only the parser knows, so the schema never
rejects what the parser takes. `python -m flowwatch.allowlist.schema` prints it.
"""

from __future__ import annotations

import json
from typing import Any

from flowwatch.allowlist.native import API_VERSION, CONDITION, DOCUMENT_KEYS, KIND, REQUIRED_RULE_KEYS, RULE_KEYS
from flowwatch.allowlist.peerfields import CIDR, DNS_PATTERN, LABEL_KEY, LABEL_VALUE, LONGEST_DNS_NAME
from flowwatch.allowlist.ports import ANY_PROTOCOL, ICMP_TYPES, ICMPV6_TYPES, WITH_PORTS
from flowwatch.allowlist.rules import Operator, Transport
from flowwatch.allowlist.vocabulary import NAME, NAMESPACE, RESERVED

# YAML takes an unquoted `true`, `on` or `1.5` for something else than text; the parser takes it as written.
_TEXT = {"type": ["string", "number", "boolean"]}
_LABEL_VALUE = {**_TEXT, "pattern": f"^({LABEL_VALUE.pattern})$"}


def schema() -> dict[str, Any]:
    """The schema of one document, as JSON Schema draft 2020-12."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "flowwatch allowlist",
        "description": "What is declared to be allowed between workloads and with what is outside the cluster.",
        "type": "object",
        "properties": dict(zip(DOCUMENT_KEYS, _document_properties(), strict=True)),
        "required": ["apiVersion", "kind"],
        "additionalProperties": False,
        "$defs": {
            "rule": _rule(),
            "peer": _peer(),
            "port": _port(),
            "external": _external(),
            "workload": _workload(),
            "labels": _labels(),
            "expression": _expression(),
            "namespace": {**_TEXT, "pattern": f"^{NAMESPACE.pattern}$"},
        },
    }


def text() -> str:
    """The schema as it is published."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def _document_properties() -> tuple[dict[str, Any], ...]:
    return (
        {"const": API_VERSION},
        {"const": KIND},
        {
            "description": "The namespaces this allowlist speaks about; left out: every namespace.",
            **_one_or_more("namespace"),
        },
        {
            "description": "Workloads by namespace and name.",
            "type": "object",
            "propertyNames": {"pattern": f"^{NAMESPACE.pattern}$"},
            "additionalProperties": {
                "type": "object",
                "propertyNames": {"pattern": f"^{NAME.pattern}$"},
                "additionalProperties": _ref("workload"),
            },
        },
        {
            "description": "What is outside the cluster, by name.",
            "type": "object",
            "propertyNames": {"pattern": f"^{NAME.pattern}$", "not": {"enum": list(RESERVED)}},
            "additionalProperties": _ref("external"),
        },
        {
            "description": "What Markdown tables call peers.",
            "type": "object",
            "propertyNames": {"pattern": r"\S"},
            "additionalProperties": _one_or_more("peer"),
        },
        {"description": "What may talk to what.", "type": "array", "items": _ref("rule")},
    )


def _rule() -> dict[str, Any]:
    peers = f"a workload, an external, `namespace/*`, one of {', '.join(RESERVED)}, or a mapping"
    properties: dict[str, Any] = {
        "from": {"description": f"Who may talk: {peers}.", **_one_or_more("peer")},
        "to": {"description": f"To whom: {peers}.", **_one_or_more("peer")},
        "ports": {
            "description": "On which ports: 8333, 53/UDP, 53/ANY, 2379-2381/TCP, icmp/8, any.",
            **_one_or_more("port"),
        },
        "reason": {"description": "Why the path is needed.", **_words()},
        "transport": {
            "description": "What the path must be carried by; judged from what Hubble reports.",
            "enum": [str(transport) for transport in Transport],
        },
        "condition": {
            "description": "The status conditions that depend on the path, such as GatewayIntegrationReady.",
            **_one_or_more_of({**_TEXT, "pattern": f"^{CONDITION.pattern}$"}),
        },
        "owner": {"description": "Who answers for the rule.", **_words()},
        "ticket": {"description": "Where it was decided.", **_words()},
        "expires": {"description": "The last day on which the rule holds, in UTC.", "type": "string", "format": "date"},
    }
    return {
        "type": "object",
        "properties": {key: properties[key] for key in RULE_KEYS},
        "required": list(REQUIRED_RULE_KEYS),
        "additionalProperties": False,
    }


def _words() -> dict[str, Any]:
    return {**_TEXT, "pattern": r"\S"}


def _peer() -> dict[str, Any]:
    pods = {
        "type": "object",
        "properties": {
            "namespace": _ref("namespace"),
            "labels": _ref("labels"),
            "expressions": _one_or_more("expression"),
        },
        "required": ["namespace"],
        "additionalProperties": False,
    }
    return {"anyOf": [{**_TEXT, "minLength": 1}, pods, _ref("external")]}


def _port() -> dict[str, Any]:
    number = "[1-9][0-9]{0,4}"
    protocols = "|".join(_any_case(name) for name in (*WITH_PORTS, ANY_PROTOCOL))
    v4, v6 = ("|".join(_any_case(name) for name in types) for types in (ICMP_TYPES, ICMPV6_TYPES))
    kind = "0|[1-9][0-9]{0,2}"
    written = (
        _any_case("any"),
        f"{number}(-{number})?(/({protocols}))?",
        f"{_any_case('icmp')}(/({kind}|{v4}))?",
        f"{_any_case('icmpv6')}(/({kind}|{v6}))?",
    )
    return {
        "anyOf": [
            {"type": "integer", "minimum": 1, "maximum": 65535},
            {"type": "string", "pattern": f"^({'|'.join(written)})$"},
        ]
    }


def _external() -> dict[str, Any]:
    name = {**_TEXT, "pattern": f"^{DNS_PATTERN.pattern}$", "maxLength": LONGEST_DNS_NAME}
    cidr = {"type": "string", "pattern": f"^{CIDR.pattern}$"}
    return {
        "type": "object",
        "properties": {
            "fqdn": _one_or_more_of(name),
            "cidr": _one_or_more_of(cidr),
            "except": _one_or_more_of(cidr),
        },
        "anyOf": [{"required": ["fqdn"]}, {"required": ["cidr"]}],
        "dependentRequired": {"except": ["cidr"]},
        "additionalProperties": False,
    }


def _workload() -> dict[str, Any]:
    written_out = {
        "type": "object",
        "properties": {"labels": _ref("labels"), "expressions": _one_or_more("expression")},
        "minProperties": 1,
        "additionalProperties": False,
    }
    return {"anyOf": [_ref("labels"), written_out]}


def _labels() -> dict[str, Any]:
    return {
        "type": "object",
        "propertyNames": {"pattern": f"^{LABEL_KEY.pattern}$"},
        "additionalProperties": _LABEL_VALUE,
        "minProperties": 1,
    }


def _expression() -> dict[str, Any]:
    needs_values = [str(Operator.IN), str(Operator.NOT_IN)]
    return {
        "type": "object",
        "properties": {
            "key": {**_TEXT, "pattern": f"^{LABEL_KEY.pattern}$"},
            "operator": {"enum": [str(operator) for operator in Operator]},
            "values": _one_or_more_of(_LABEL_VALUE),
        },
        "required": ["key", "operator"],
        "if": {"properties": {"operator": {"enum": needs_values}}},
        "then": {"required": ["values"]},
        "else": {"not": {"required": ["values"]}},
        "additionalProperties": False,
    }


def _one_or_more(name: str) -> dict[str, Any]:
    return _one_or_more_of(_ref(name))


def _one_or_more_of(element: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [element, {"type": "array", "items": element, "minItems": 1}]}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{name}"}


def _any_case(word: str) -> str:
    return "".join(f"[{letter.upper()}{letter.lower()}]" if letter.isalpha() else letter for letter in word)


if __name__ == "__main__":
    print(text(), end="")
