"""Errors as answers: problem details of RFC 9457, with the hint that the command would print."""

from __future__ import annotations

import json
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from corpushooks.core.errors import (
    BrokenError,
    BusyError,
    CorpusError,
    CredentialError,
    NoDaemonError,
    NotAllowedError,
    RefusedError,
    UnknownError,
    UsageError,
)

STATUS: tuple[tuple[type[CorpusError], int], ...] = (  # the first that fits
    (CredentialError, 401),
    (NotAllowedError, 403),
    (UnknownError, 404),
    (UsageError, 400),
    (BusyError, 503),
    (NoDaemonError, 503),
    (RefusedError, 409),
    (BrokenError, 409),
    (CorpusError, 500),
)
MEDIA = "application/problem+json"
AGAIN = "5"  # seconds


def status_of(exc: CorpusError) -> int:
    """Return the status of an error; one of no particular kind says how things are."""
    if type(exc) is CorpusError:
        return 409
    return next(status for kind, status in STATUS if isinstance(exc, kind))


def problem(status: int, detail: str, hint: str = "", headers: dict[str, str] | None = None) -> Response:
    """Return an error as an answer."""
    said = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    more = dict(headers or {})
    if status == 401:
        more["WWW-Authenticate"] = "Bearer"
    if status == 503:
        more["Retry-After"] = AGAIN
    body = json.dumps({**said, **({"hint": hint} if hint else {})})
    return Response(body, status, more, MEDIA)


async def of_error(request: Request, exc: Exception) -> Response:
    """Return the answer to an error of ours."""
    assert isinstance(exc, CorpusError)
    return problem(status_of(exc), exc.message, str(exc.hint))


async def of_http(request: Request, exc: Exception) -> Response:
    """Return the answer where no route fits, or the method does not."""
    assert isinstance(exc, HTTPException)
    return problem(exc.status_code, exc.detail, headers=dict(exc.headers or {}))


async def of_fault(request: Request, exc: Exception) -> Response:
    """Return the answer to a fault of ours; the server logs it."""
    return problem(500, f"internal error: {type(exc).__name__}", "see the log of corpushooks-web")
