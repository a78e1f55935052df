"""The API: a route for each operation that has a place in `operations/routes`, all served alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from corpushooks.operations.routes import ROUTES
from corpushooks.operations.table import OPERATIONS, Operation
from corpushooks.web import asked, logs, openapi
from corpushooks.web.fanout import Hub
from corpushooks.web.relay import Relay, ended

BASE = "/api/v1"


@dataclass(frozen=True)
class Api:
    """The API of a host."""

    relay: Relay
    hub: Hub
    document: Mapping[str, Any] = field(default_factory=lambda: openapi.document(BASE))

    def routes(self) -> Iterator[Route]:
        """Yield the routes; the paths of the table are below BASE."""
        yield Route(f"{BASE}/openapi.json", lambda request: JSONResponse(self.document))
        for name, places in ROUTES.items():
            for method, path in (each.split() for each in places):
                answer = Answer(self.relay, self.hub, OPERATIONS[name])
                yield Route(f"{BASE}{path}", answer.of, methods=[method], name=f"{method} {path}")


@dataclass(frozen=True)
class Answer:
    """What answers requests for one operation."""

    relay: Relay
    hub: Hub
    row: Operation

    async def of(self, request: Request) -> Response:
        """Answer a request."""
        token = asked.token_of(request)
        wanted = await asked.asked(request, self.row, token)
        if self.row.name == "log":
            return await logs.stream(request, self.hub, wanted, token)
        if self.row.talks:
            return await self._talk(wanted, token)
        value = await self.relay.ask(self.row.name, wanted, token)
        if self.row.given == "Metrics" and "application/json" not in request.headers.get("accept", ""):
            return PlainTextResponse(value["text"])
        return JSONResponse(value)

    async def _talk(self, wanted: dict[str, Any], token: str) -> Response:
        """Answer with what came of it; what got a number goes on by itself, and can be followed there."""
        lines: list[str] = []
        async with self.relay.conversation(self.row.name, wanted, token) as said:
            async for each in said:
                if "number" in each:
                    return await self._accepted(wanted["project"], each["number"], token)
                lines += [each[kind] for kind in ("say", "note") if kind in each]
                if "result" in each:
                    result = each["result"]
                    return JSONResponse(result if self.row.given == "Deployment" else {**result, "text": lines})
        raise ended()

    async def _accepted(self, project: str, number: int, token: str) -> Response:
        found = await self.relay.ask("deployment", {"project": project, "number": number}, token)
        where = f"{BASE}/projects/{project}/deployments/{number}"
        return JSONResponse(found, 202, {"Location": where})
