"""What is asked, read from a request: its token, and the fields of an operation from path, query and body."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_args, get_type_hints

from starlette.requests import ClientDisconnect, Request

from corpushooks.core import records
from corpushooks.core.errors import CredentialError, UsageError
from corpushooks.operations.table import HOST_ITSELF, PROJECT_OR_HOST, PROJECTS, Operation

BODY = 256 << 10  # bytes
SECONDS = 30.0  # for a body to arrive
OURS = frozenset({"token", "nowait", "progress"})  # fields that callers of the API do not fill in
WITHOUT_BODY = ("GET", "DELETE")
KEY_LIMIT = 200  # characters of an idempotency key
NUMBERS = 9  # digits
NODE = 64  # characters


def token_of(request: Request) -> str:
    """Return the token that a request presents; raise CredentialError where it has none."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        raise CredentialError("no token was presented", hint="send the header: Authorization: Bearer TOKEN")
    return token.strip()


def fillable(row: Operation) -> dict[str, Any]:
    """Return the fields of an operation that a caller can fill in, with their types; those of its path are there, too.

    The project of what is about one is in the path, and nowhere else.
    """
    types = get_type_hints(row.asks)
    ours = OURS if row.about == HOST_ITSELF else OURS | {"project"}
    return {each.name: types[each.name] for each in fields(row.asks) if each.name not in ours}


async def asked(request: Request, row: Operation, token: str) -> dict[str, Any]:
    """Return the fields of what is asked; raise UsageError."""
    types = fillable(row)
    inner = _queried(request, types) if request.method in WITHOUT_BODY else await _body(request)
    for name in inner:
        if name not in types or name in request.path_params:
            raise UsageError(f"unknown field {name[:40]!r}", hint=f"fields: {' '.join(types) or 'none'}")
    every = {"project": ""} if row.about in (PROJECTS, PROJECT_OR_HOST) else {}
    values = {**every, **inner, **request.path_params}
    values |= _again(request, row, token)
    try:
        records.typed(values, row.asks)
    except ValueError as exc:
        raise UsageError(f"invalid request: {exc}", hint=f"fields: {' '.join(types) or 'none'}") from None
    return values


def _again(request: Request, row: Operation, token: str) -> dict[str, Any]:
    """Return the request's own token, by which one that is sent twice is done once: it is the caller's own."""
    key = request.headers.get("idempotency-key", "")
    if len(key) > KEY_LIMIT:
        raise UsageError(f"an idempotency key has at most {KEY_LIMIT} characters")
    if not key or "token" not in get_type_hints(row.asks):
        return {}
    return {"token": hashlib.sha256(f"{token}\0{key}".encode()).hexdigest()[:32]}


async def _body(request: Request) -> dict[str, Any]:
    """Return the JSON object in a body; nothing is an empty one."""
    data = await body(request)
    try:
        found = json.loads(data) if data.strip() else {}
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UsageError("the body is not a JSON object")
    return found


async def body(request: Request) -> bytes:
    """Return a body; raise UsageError where it is too long or too slow."""
    data = bytearray()

    async def read() -> None:
        async for chunk in request.stream():
            data.extend(chunk)
            if len(data) > BODY:
                raise UsageError(f"the body is too long: at most {BODY} bytes")

    try:
        await asyncio.wait_for(read(), SECONDS)
    except (TimeoutError, asyncio.TimeoutError, ClientDisconnect):
        raise UsageError("the body did not arrive in time") from None
    return bytes(data)


def _queried(request: Request, types: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields in a query, as their types have them."""
    given = request.query_params
    return {name: _converted(name, given.getlist(name), types.get(name)) for name in given}


def _converted(name: str, texts: list[str], kind: Any) -> Any:
    if kind not in (str, int, bool) and get_args(kind):
        return texts
    if len(texts) > 1:
        raise UsageError(f"{name[:40]!r} is given more than once")
    (text,) = texts
    if kind is bool:
        if text not in ("true", "false"):
            raise UsageError(f"{name} is true or false")
        return text == "true"
    if kind is int:
        if not (text.isascii() and text.isdigit() and len(text) <= NUMBERS):
            raise UsageError(f"{name} is a number")
        return int(text)
    return text
