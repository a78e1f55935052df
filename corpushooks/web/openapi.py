"""The API described as OpenAPI 3.1, made from the table of operations and the types of what they ask and give."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import MISSING, fields, is_dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from corpushooks import __version__
from corpushooks.operations.routes import ROUTES
from corpushooks.operations.table import OPERATIONS, Operation
from corpushooks.protocol import gives
from corpushooks.web.asked import WITHOUT_BODY, fillable

Schema = dict[str, Any]
PLAIN: dict[Any, Schema] = {
    str: {"type": "string"}, int: {"type": "integer"}, float: {"type": "number"}, bool: {"type": "boolean"},
    type(None): {"type": "null"}, dict: {"type": "object"}, Any: {},
}  # fmt: skip
PROBLEM: Schema = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"}, "title": {"type": "string"}, "status": {"type": "integer"},
        "detail": {"type": "string"}, "hint": {"type": "string"},
    },
}  # fmt: skip
FLAGS = re.compile(r" \(--?\w.*?\)")  # what is said of flags of the command
LOG = ("text/plain", "application/jsonl", "text/event-stream")


def document(base: str) -> Schema:
    """Return the whole document."""
    schemas: dict[str, Schema] = {"Problem": PROBLEM}
    paths: dict[str, Schema] = {}
    for name, places in ROUTES.items():
        for method, path in (each.split() for each in places):
            inner = paths.setdefault(re.sub(r":\w+", "", path), {})
            inner[method.lower()] = _described(OPERATIONS[name], method, path, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "corpushooks", "version": __version__, "description": "Deployments of one host."},
        "servers": [{"url": base}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def summary(row: Operation) -> str:
    """Return what an operation does, without what is about flags of the command."""
    return FLAGS.sub("", row.does)


def _described(row: Operation, method: str, path: str, schemas: dict[str, Schema]) -> Schema:
    """Return what is said of one operation at one place."""
    types, inner = get_type_hints(row.asks), re.findall(r"{(\w+)", path)
    outer = {name: kind for name, kind in fillable(row).items() if name not in inner}
    needed = {each.name for each in fields(row.asks) if each.default is MISSING and each.default_factory is MISSING}
    found: Schema = {
        "operationId": re.sub(r"\W+", "_", f"{method.lower()}{path}").strip("_"),
        "summary": summary(row),
        "description": f"Right: {row.right or 'none'}.",
        "parameters": [_parameter(name, "path", types[name], True, schemas) for name in inner],
        "responses": _answers(row, schemas, one="project" in inner and row.named_gives_one),
    }
    if method in WITHOUT_BODY:
        found["parameters"] += [_parameter(each, "query", outer[each], each in needed, schemas) for each in outer]
    elif outer:
        body = _object(outer, needed & outer.keys(), schemas)
        found["requestBody"] = {"content": {"application/json": {"schema": body}}}
    if "token" in types:
        found["parameters"].append(_parameter("Idempotency-Key", "header", str, False, schemas))
    return found


def _parameter(name: str, place: str, kind: Any, needed: bool, schemas: dict[str, Schema]) -> Schema:
    return {"name": name, "in": place, "required": needed, "schema": schema(kind, schemas)}


def _answers(row: Operation, schemas: dict[str, Schema], *, one: bool) -> Schema:
    """Return the answers of an operation: errors are alike everywhere."""
    wrong = {"description": "an error", "content": {"application/problem+json": {"schema": _ref("Problem")}}}
    if row.name == "log":
        content: Schema = {each: {"schema": {"type": "string"}} for each in LOG}
    else:
        value = schema(row.gives, schemas)
        if row.asked == "Assign":  # without a deployment it is only stored
            value = {"anyOf": [value, schema(gives.Stored, schemas)]}
        content = {
            "application/json": {"schema": {"type": "array", "items": value} if row.several and not one else value}
        }
    if row.given == "Metrics":
        content["text/plain"] = {"schema": {"type": "string"}}
    found = {"200": {"description": "what it gives", "content": content}, "default": wrong}
    if row.talks and row.given == "Deployment" and row.name != "log":
        where = {"Location": {"schema": {"type": "string"}, "description": "the address of the deployment"}}
        found["202"] = {"description": "it was queued or goes on", "headers": where, "content": content}
    return found


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def schema(kind: Any, schemas: dict[str, Schema]) -> Schema:
    """Return the schema of a type; those of dataclasses are put beside, once."""
    if kind in PLAIN:
        return PLAIN[kind]
    if is_dataclass(kind) and isinstance(kind, type):
        if kind.__name__ not in schemas:
            schemas[kind.__name__] = {}
            hints = get_type_hints(kind)
            named = {each.metadata.get("key", each.name): hints[each.name] for each in fields(kind)}
            schemas[kind.__name__] = _object(named, named, schemas)
        return _ref(kind.__name__)
    inner, origin = get_args(kind), get_origin(kind)
    if origin in (Union, UnionType):
        return {"anyOf": [schema(each, schemas) for each in inner]}
    if origin is tuple and inner[-1] is not Ellipsis:
        parts = [schema(each, schemas) for each in inner]
        return {"type": "array", "prefixItems": parts, "minItems": len(parts), "maxItems": len(parts)}
    if origin is dict:
        return {"type": "object"}
    assert origin in (list, tuple), kind
    return {"type": "array", "items": schema(inner[0], schemas)}


def _object(named: dict[str, Any], needed: Iterable[str], schemas: dict[str, Schema]) -> Schema:
    properties = {name: schema(kind, schemas) for name, kind in named.items()}
    return {"type": "object", "properties": properties, "required": sorted(needed)}
