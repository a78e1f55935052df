"""What answers where: routes, errors, and the headers of every answer."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from corpushooks.core.errors import CorpusError
from corpushooks.core.project import Host
from corpushooks.web import problems
from corpushooks.web.api import Api
from corpushooks.web.relay import Relay

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self';"
    " img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Guarded:
    """Gives each answer the headers that keep browsers from doing more than they should with it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self.app(scope, receive, guarded)


def make(host: Host) -> Starlette:
    """Return the application of a host."""
    relay = Relay(host)
    return Starlette(
        routes=[*Api(relay).routes()],
        middleware=[Middleware(Guarded)],
        exception_handlers={
            CorpusError: problems.of_error,
            HTTPException: problems.of_http,
            Exception: problems.of_fault,
        },
    )
