"""The OpenAPI document, made from the table of endpoints that the server itself answers from."""

from __future__ import annotations

from flowwatch import __version__, report
from flowwatch.web.api import ENDPOINTS, Endpoint
from flowwatch.web.parameters import Parameter
from flowwatch.web.schemas import SCHEMAS, Schema, ref
from flowwatch.words import Json

_INSIDE: dict[str, Schema] = {
    "fingerprint": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
}
_ERRORS = {
    400: "A parameter is not what it should be.",
    401: "A token is asked for (`web.token_file`) and was not given.",
    404: "There is no such thing.",
    414: "The query string is longer than 4096 characters.",
    503: "The store does not answer, or not in time.",
}


def document(root: str = "") -> dict[str, Json]:
    """The OpenAPI 3.1 document of the JSON API as served below `root`."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "flowwatch",
            "version": __version__,
            "description": "What was observed, held against what was declared. It only reads: GET and HEAD.",
        },
        "servers": [{"url": root or "/"}],
        "security": [{}, {"token": []}],
        "paths": {endpoint.path: {"get": _operation(endpoint)} for endpoint in ENDPOINTS},
        "components": {
            "schemas": dict(SCHEMAS),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Where `web.token_file` is set; as the password of basic authentication, too.",
                }
            },
        },
    }


def _operation(endpoint: Endpoint) -> Schema:
    parameters = [_parameter(parameter) for parameter in endpoint.parameters]
    if endpoint.inside:
        names: Schema = {"type": "string", "enum": [str(query["name"]) for query in report.described()]}
        schema = _INSIDE.get(endpoint.inside, names)
        parameters.insert(0, {"name": "name", "in": "path", "required": True, "schema": schema})
    statuses = [400, 401, *endpoint.also, 414, 503]
    failures: dict[str, Json] = {
        str(status): {"description": _ERRORS[status], "content": _content("error")} for status in statuses
    }
    return {
        "summary": endpoint.summary,
        "operationId": endpoint.path.removeprefix("/api/v1/").replace("/{name}", "_one"),
        "parameters": parameters,
        "responses": {"200": {"description": endpoint.summary, "content": _content(endpoint.answers)}, **failures},
    }


def _parameter(parameter: Parameter) -> Json:
    return {
        "name": parameter.name,
        "in": "query",
        "required": False,
        "description": parameter.doc,
        "schema": dict(parameter.schema),
    }


def _content(schema: str) -> Schema:
    return {"application/json": {"schema": ref(schema)}}


def reference() -> str:
    """A Markdown table of every endpoint."""
    lines = ["| address | answers | parameters |", "|---|---|---|"]
    for endpoint in ENDPOINTS:
        path = endpoint.path.replace("{name}", endpoint.inside.upper())
        names = ", ".join(f"`{parameter.name}`" for parameter in endpoint.parameters)
        lines.append(f"| `{path}` | {endpoint.summary} | {names} |")
    return "\n".join(lines)
