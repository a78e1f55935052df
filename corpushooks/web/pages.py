"""The pages, rendered from the answers of the daemon to the signed-in user; they work without JavaScript."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from corpushooks.core.errors import CorpusError, CredentialError, UsageError
from corpushooks.web import asked, chart, fanout, forms, logs, problems
from corpushooks.web.actions import ACTIONS, Action
from corpushooks.web.fanout import Hub
from corpushooks.web.people import People
from corpushooks.web.relay import Relay
from corpushooks.web.render import Renderer
from corpushooks.web.sessions import Session, session_of, take
from corpushooks.web.signing import Signing

PROJECT, DEPLOYMENT = "/projects/{project}", "/projects/{project}/deployments/{number:int}"
LIMIT = 50  # deployments on a page
KEPT = 400_000  # characters of a log on a page: the newest
HEADERS = {"Cache-Control": "max-age=300"}


@dataclass(frozen=True)
class Pages:
    """The pages of a host."""

    relay: Relay
    hub: Hub
    renderer: Renderer = field(default_factory=Renderer)

    def routes(self) -> Iterator[Route]:
        """Yield the routes."""
        yield Route("/", self.projects)
        yield from Signing(self.relay, self.renderer).routes()
        yield from People(self.relay, self.renderer).routes()
        yield Route(PROJECT, self.project)
        yield Route(DEPLOYMENT, self.deployment)
        yield Route(f"{DEPLOYMENT}/log", self.log)
        yield Route(f"{PROJECT}/{{action}}", self.act, methods=["GET", "POST"])
        for name in self.renderer.static:
            yield Route(f"/{name}", self.static)

    async def static(self, request: Request) -> Response:
        """Answer with a file."""
        data, media = self.renderer.static[request.url.path.removeprefix("/")]
        return Response(data, 200, HEADERS, media)

    # who asks

    def session(self, request: Request) -> Session:
        """Return who is signed in; raise CredentialError."""
        return session_of(request)

    # looking

    async def projects(self, request: Request) -> Response:
        """Show the projects."""
        session = self.session(request)
        found = await self.relay.ask("status", {}, session.token)
        return self.renderer.page("projects.html", {"session": session, "projects": found, "now": time.time()})

    async def project(self, request: Request) -> Response:
        """Show one project."""
        session, name = self.session(request), request.path_params["project"]
        asked_for = {"project": name}
        status = await self.relay.ask("status", {**asked_for, "urls": True}, session.token)
        history = await self.relay.ask("history", {**asked_for, "limit": LIMIT}, session.token)
        archives = await self.relay.ask("archives", asked_for, session.token)
        shown = {
            "session": session, "one": status, "history": history, "archives": archives, "bars": chart.bars(history),
            "actions": self._possible(session, status), "rollback": ACTIONS["rollback"], "now": time.time(),
        }  # fmt: skip
        return self.renderer.page("project.html", shown)

    def _possible(self, session: Session, status: dict[str, Any]) -> list[Action]:
        """Return what can be done with a project now, by who is signed in."""
        hidden = {"thaw" if not status["frozen"] else "freeze", *([] if status["open"] else ["cancel"])}
        hidden |= set() if status["live"] else {"redeploy"}
        name = status["project"]
        return [each for each in ACTIONS.values() if not each.numbered and each.name not in hidden
                and session.may(name, each.right)]  # fmt: skip

    async def deployment(self, request: Request) -> Response:
        """Show one deployment, with what its log has by now."""
        session, where = self.session(request), dict(request.path_params)
        found = await self.relay.ask("deployment", where, session.token)
        steps, lines, offset = await self._log_of(where, session)
        held = found["state"] == "held" and session.may(where["project"], ACTIONS["confirm"].right)
        shown = {
            "session": session, "one": found, "steps": steps, "log": lines, "offset": offset,
            "runs": found["ended"] is None, "confirm": ACTIONS["confirm"] if held else None,
            "cancel": ACTIONS["cancel"] if session.may(where["project"], ACTIONS["cancel"].right) else None,
        }  # fmt: skip
        return self.renderer.page("deployment.html", shown)

    async def _log_of(self, where: dict[str, Any], session: Session) -> tuple[list[dict[str, Any]], str, int]:
        """Return the steps and the newest text of a log as it is now, and how far that is."""
        steps, text, offset = list[dict[str, Any]](), "", 0
        try:
            wanted = {**where, "whole": True, "events": True, "offset": 0, "follow": False}
            async for each in fanout.heard(self.relay, wanted, session.token):
                if "event" not in each:
                    continue
                event, offset = each["event"], each["offset"]
                text = (text + event["text"] + "\n")[-KEPT:] if event["text"] else text
                if event["event"] == "step":
                    steps.append(event["data"])
        except UsageError:  # it has none, since it waits
            pass
        return steps, text, offset

    async def log(self, request: Request) -> Response:
        """Answer with a log, as the API does, for the signed-in user."""
        try:
            session = self.session(request)
        except CredentialError as exc:
            return await problems.of_error(request, exc)
        wanted = {**request.path_params}
        offset = request.query_params.get("offset", "")
        if offset.isascii() and offset.isdigit() and len(offset) < logs.DIGITS:
            wanted["offset"] = int(offset)
        return await logs.stream(request, self.hub, wanted, session.token)

    # acting

    async def act(self, request: Request) -> Response:
        """Say what an action will do, or do it."""
        action, project = ACTIONS.get(request.path_params["action"]), request.path_params["project"]
        if action is None:
            raise HTTPException(404)
        if request.method == "GET":
            session, number = self.session(request), _number(request.query_params.get("number", ""), action)
            await self.relay.ask("deployment" if action.numbered else "status", _about(project, number), session.token)
            shown = {"session": session, "action": action, "project": project, "number": number,
                     "once": secrets.token_hex(16)}  # fmt: skip
            return self.renderer.page("act.html", shown)
        session, form = await forms.own(request)
        wanted = _about(project, _number(form.get("number", ""), action))
        wanted |= {"reason": form.get("reason", "")} if action.reason else {}
        wanted |= {"token": form.get("once", "")} if action.once else {}
        number = await self.relay.begin(action.operation, wanted, session.token)
        where = f"/projects/{quote(project)}"
        return RedirectResponse(f"{where}/deployments/{number}" if number else where, 303)

    # what went wrong

    def of_http(self, exc: HTTPException) -> Response:
        """Return the page of an address that is not there."""
        shown = {"status": exc.status_code, "detail": exc.detail}
        return self.renderer.page("error.html", shown, status=exc.status_code)

    def of_error(self, request: Request, exc: CorpusError) -> Response:
        """Return the page of an error; who is not signed in, or no longer, can do so."""
        if isinstance(exc, CredentialError):
            back = request.url.path if request.method == "GET" else "/"
            return take(RedirectResponse(f"/sign-in?next={quote(back)}", 303))
        status = problems.status_of(exc)
        shown = {"status": status, "detail": exc.message, "hint": str(exc.hint)}
        return self.renderer.page("error.html", shown, status=status)


def _number(text: str, action: Action) -> int:
    """Return the deployment that an action is about; raise UsageError."""
    if not action.numbered:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= asked.NUMBERS):
        raise UsageError("expected a deployment number")
    return int(text)


def _about(project: str, number: int) -> dict[str, Any]:
    return {"project": project, **({"number": number} if number else {})}
