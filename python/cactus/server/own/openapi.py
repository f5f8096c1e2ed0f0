"""``/openapi.json``: made from the table of endpoints, so that it says what is checked."""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.responses import Response

from cactus.server.endpoint import Ask, Endpoint, encode
from cactus.server.openai.errors import DIALECT

ALWAYS = (400, 401, 403, 431, 500)
OF_BODIES = (408, 413, 415)
OF_MODELS = (404, 429, 503, 504)
STREAMS = {"ndjson": "application/x-ndjson", "sse": "text/event-stream"}
_PART = re.compile(r"\{(\w+)(?::(\w+))?\}")


def document(endpoints: Iterable[Endpoint], version: str) -> dict[str, Any]:
    """The description of some endpoints, OpenAPI 3.2, which knows streams."""
    table = list(endpoints)
    kinds = [kind for each in table for kind in _kinds(each)]
    schemas, components = msgspec.json.schema_components(
        kinds, ref_template="#/components/schemas/{name}"
    )
    refs = iter(schemas)
    paths: dict[str, dict[str, Any]] = {}
    for each in table:
        named = dict(zip(_names(each), refs, strict=False))
        path = _PART.sub(r"{\1}", each.path)
        paths.setdefault(path, {})[each.method.lower()] = _operation(each, named)
    return {
        "openapi": "3.2.0",
        "info": {
            "title": "Cactus",
            "version": version,
            "description": "Models of one machine, as OpenAI's, Anthropic's and Ollama's clients "
            "know them. Paths are found without /v1, too.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
            },
        },
    }


def _names(each: Endpoint) -> list[str]:
    """What of an endpoint has a schema, in the order of `_kinds`."""
    given = {"body": each.body, "reply": each.reply, "event": each.event}
    return [*(name for name, kind in given.items() if kind is not None), "error"]


def _kinds(each: Endpoint) -> list[Any]:
    given = (each.body, each.reply, each.event)
    return [*(kind for kind in given if kind is not None), each.dialect.error_type]


def _operation(each: Endpoint, schemas: dict[str, Any]) -> dict[str, Any]:
    words = re.findall(r"\w+", _PART.sub(r"\1", each.path))
    made: dict[str, Any] = {
        "operationId": "_".join([each.method.lower(), *words]),
        "summary": each.summary,
        "tags": [each.tag or each.dialect.name],
        "responses": _responses(each, schemas),
    }
    if each.open:
        made["security"] = [{}, {"bearer": []}, {"key": []}]
    else:
        made["security"] = [{"bearer": []}, {"key": []}, {}]  # without keys, nobody needs one
    parts = _PART.findall(each.path)
    if parts:
        made["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name, _ in parts
        ]
    if each.form:
        made["requestBody"] = {
            "required": True,
            "content": {"multipart/form-data": {"schema": _form(schemas.get("body"))}},
        }
    elif each.body is not None:
        made["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schemas["body"]}},
        }
    return made


def _event(data: Any) -> dict[str, Any]:
    """A server-sent event; the data of the last one may be ``[DONE]``."""
    json = {"type": "string", "contentMediaType": "application/json", "contentSchema": data}
    return {
        "type": "object",
        "required": ["data"],
        "properties": {"data": json, "event": {"type": "string"}},
    }


def _form(fields: Any) -> dict[str, Any]:
    """A form: the file, and the fields beside it."""
    file = {"type": "string", "format": "binary"}
    own = {"type": "object", "required": ["file"], "properties": {"file": file}}
    return own if fields is None else {"allOf": [fields, own]}


def _responses(each: Endpoint, schemas: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if each.reply is not None or each.event is None:
        content[each.media] = {"schema": schemas.get("reply", {"type": "string"})}
    if each.event is not None:
        form = "ndjson" if each.dialect.name == "ollama" else "sse"
        item = schemas["event"] if form == "ndjson" else _event(schemas["event"])
        content[STREAMS[form]] = {"itemSchema": item}
    responses: dict[str, Any] = {"200": {"description": "It is done.", "content": content}}
    statuses = {*ALWAYS, *each.errors}
    if each.body is not None or each.form:
        statuses |= {*OF_BODIES, *OF_MODELS}
    for status in sorted(statuses):
        told: dict[str, Any] = {
            "description": HTTPStatus(status).phrase,
            "content": {"application/json": {"schema": schemas["error"]}},
        }
        if status in (429, 503):
            told["headers"] = {"Retry-After": {"schema": {"type": "string"}}}
        responses[str(status)] = told
    return responses


async def openapi(ask: Ask[None]) -> Response:
    """This description."""
    service = ask.service
    if service.description is None:
        service.description = encode(document(service.table, service.version))
    return Response(service.description, media_type="application/json")


ENDPOINTS = [
    Endpoint("GET", "/openapi.json", openapi, DIALECT, "This description.", open=True),
]
