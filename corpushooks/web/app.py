"""What answers where: routes, errors, and the headers of every answer."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from corpushooks.core.errors import CorpusError
from corpushooks.core.project import Host
from corpushooks.web import problems
from corpushooks.web.api import Api
from corpushooks.web.fanout import Hub
from corpushooks.web.manual import Manual
from corpushooks.web.pages import Pages
from corpushooks.web.relay import Relay
from corpushooks.web.sessions import Known

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
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self.app(scope, receive, guarded)


@dataclass(frozen=True)
class Errors:
    """What is answered where something went wrong: to the API a problem, to a browser a page."""

    pages: Pages

    async def of_ours(self, request: Request, exc: Exception) -> Response:
        """Answer to an error of ours."""
        assert isinstance(exc, CorpusError)
        return await problems.of_error(request, exc) if _of_api(request) else self.pages.of_error(request, exc)

    async def of_http(self, request: Request, exc: Exception) -> Response:
        """Answer where no route fits."""
        assert isinstance(exc, HTTPException)
        return await problems.of_http(request, exc) if _of_api(request) else self.pages.of_http(request, exc)


def _of_api(request: Request) -> bool:
    return request.url.path.startswith("/api/")


def make(host: Host) -> Starlette:
    """Return the application of a host."""
    relay = Relay(host)
    hub = Hub(relay)
    api, pages = Api(relay, hub), Pages(relay, hub)
    errors = Errors(pages)
    plain = frozenset(f"/{name}" for name in pages.renderer.static)
    return Starlette(
        routes=[*api.routes(), *Manual(pages.renderer, api.document).routes(), *pages.routes()],
        middleware=[Middleware(Guarded), Middleware(Known, relay=relay, plain=plain)],
        exception_handlers={
            CorpusError: errors.of_ours, HTTPException: errors.of_http, Exception: problems.of_fault,
        },
    )  # fmt: skip
