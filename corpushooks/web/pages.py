"""The pages, rendered from the answers of the daemon to the signed-in user; they work without JavaScript."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from corpushooks.core.errors import CorpusError, CredentialError, UsageError
from corpushooks.operations.table import HOST_ITSELF, OPERATIONS
from corpushooks.web import asked, chart, fanout, forms, logs, problems
from corpushooks.web.actions import ACTIONS, HOST_ACTIONS, LISTED, Action
from corpushooks.web.fanout import Hub
from corpushooks.web.people import People
from corpushooks.web.relay import Relay
from corpushooks.web.render import Renderer
from corpushooks.web.sessions import Session, known, session_of, take
from corpushooks.web.signing import Signing
from corpushooks.web.story import Story
from corpushooks.web.views import HOST_VIEWS, VIEWS, View, flat

HOST = "/host"
PROJECT, DEPLOYMENT = "/projects/{project}", "/projects/{project}/deployments/{number:int}"
LIMIT = 50  # deployments on a page
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
        yield from (Route(f"{PROJECT}/{name}", self.view) for name in VIEWS)
        yield from (Route(f"{HOST}/{name}", self.view) for name in HOST_VIEWS)
        yield from (Route(f"{PROJECT}/{name}", self.act, methods=["GET", "POST"]) for name in ACTIONS)
        yield from (Route(f"{HOST}/{name}", self.act, methods=["GET", "POST"]) for name in HOST_ACTIONS)
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
        shown = {
            "session": session, "one": status, "history": history,
            "bars": chart.bars(history), "longest": chart.longest(history),
            "views": self._views(session, name), "actions": self._possible(session, status),
            "rollback": ACTIONS["rollback"], "now": time.time(),
        }  # fmt: skip
        return self.renderer.page("project.html", shown)

    def _possible(self, session: Session, status: dict[str, Any]) -> list[Action]:
        """Return what can be done with a project now, by who is signed in."""
        hidden = {"freeze" if status["frozen_itself"] else "thaw", *([] if status["open"] else ["cancel"])}
        hidden |= set() if status["live"] else {"redeploy", "plan", "restart"}
        hidden |= set() if status["broken"] else {"repair"}
        shown = [ACTIONS[name] for name in LISTED if name not in hidden]
        return [each for each in shown if session.may(status["project"], each.right)]

    async def view(self, request: Request) -> Response:
        """Show one more page, of a project or of the host."""
        session, project = self.session(request), request.path_params.get("project", "")
        name = request.url.path.rpartition("/")[2]
        views, actions = (VIEWS, ACTIONS) if project else (HOST_VIEWS, HOST_ACTIONS)
        found = await self._found(views[name], project, session)
        hidden = _needless(found)
        offered = [actions[each] for each in views[name].actions if each not in hidden]
        shown = {
            "session": session, "project": project, "view": views[name], "views": self._views(session, project),
            "actions": [each for each in offered if _may(session, project, each.right)],
            "now": time.time(), "flat": flat, **found,
        }  # fmt: skip
        return self.renderer.page(f"{name}.html", shown)

    async def _found(self, view: View, project: str, session: Session) -> dict[str, Any]:
        """Return what the daemon answers to what a page asks."""
        about = {"project": project} if project else {}
        asks = {**view.asks, **(view.host_asks if session.may_all("host") else {})}
        found = {}
        for key, (operation, fields) in asks.items():
            wanted = fields if OPERATIONS[operation].about == HOST_ITSELF else {**about, **fields}
            found[key] = await self.relay.ask(operation, wanted, session.token)
        return found

    def _views(self, session: Session, project: str) -> list[View]:
        """Return the further pages that who is signed in can see."""
        table = VIEWS if project else HOST_VIEWS
        return [each for each in table.values() if _may(session, project, each.right)]

    async def deployment(self, request: Request) -> Response:
        """Show one deployment, with what its log has by now."""
        session, where = self.session(request), dict(request.path_params)
        found = await self.relay.ask("deployment", where, session.token)
        held = found["state"] == "held" and session.may(where["project"], ACTIONS["confirm"].right)
        shown = {
            "session": session, "one": found, "story": await self._story(where, session),
            "runs": found["ended"] is None, "confirm": ACTIONS["confirm"] if held else None,
            "cancel": ACTIONS["cancel"] if session.may(where["project"], ACTIONS["cancel"].right) else None,
        }  # fmt: skip
        return self.renderer.page("deployment.html", shown)

    async def _story(self, where: dict[str, Any], session: Session) -> Story:
        """Return what a log tells by now."""
        story = Story()
        try:
            wanted = {**where, "whole": True, "events": True, "offset": 0, "follow": False}
            async for each in fanout.heard(self.relay, wanted, session.token):
                if "event" in each:
                    story.add(each["event"], each["offset"])
        except UsageError:  # it has none, since it waits
            pass
        return story

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
        if node := request.query_params.get("node", ""):
            wanted["node"] = node[: asked.NODE]
        return await logs.stream(request, self.hub, wanted, session.token)

    # acting

    async def act(self, request: Request) -> Response:
        """Say what an action will do, or do it."""
        project, name = request.path_params.get("project", ""), request.url.path.rpartition("/")[2]
        action = (ACTIONS if project else HOST_ACTIONS)[name]
        if request.method == "GET":
            session, number = self.session(request), _number(request.query_params.get("number", ""), action)
            await self._check_there(action, project, number, session)
            return self._form(request, session, action, number)
        session, form = await forms.own(request)
        wanted = {**_about(project, _number(form.get("number", ""), action)), **action.wanted(form, project)}
        wanted |= {"token": form.get("once", "")} if action.once else {}
        number, lines = await self.relay.begin(action.operation, wanted, session.token)
        back = f"/projects/{quote(project)}" if project else "/"
        if action.tells:
            shown = {"session": session, "action": action, "project": project, "lines": lines}
            return self.renderer.page("done.html", shown)
        if not number and action.back:
            return RedirectResponse(f"{back if project else HOST}/{action.back}", 303)
        return RedirectResponse(f"{back}/deployments/{number}" if number else back, 303)

    async def _check_there(self, action: Action, project: str, number: int, session: Session) -> None:
        """Raise what the daemon answers where there is nothing to act on, or nobody may know of it."""
        if project:
            about = action.right != "host" and action.operation in ("rollback", "confirm")
            await self.relay.ask("deployment" if about else "status", _about(project, about and number), session.token)
        else:
            await self.relay.ask("host", {}, session.token)

    def _form(self, request: Request, session: Session, action: Action, number: int) -> Response:
        shown = {
            "session": session, "action": action, "project": request.path_params.get("project", ""),
            "number": number, "once": secrets.token_hex(16), "given": dict(request.query_params),
        }  # fmt: skip
        return self.renderer.page("act.html", shown)

    # what went wrong

    def _error(self, request: Request, status: int, **shown: str) -> Response:
        """Return the page of an error, with the way on for who is signed in."""
        about = {"status": status, "title": HTTPStatus(status).phrase}
        return self.renderer.page("error.html", {**about, **shown, **known(request)}, status=status)

    def of_http(self, request: Request, exc: HTTPException) -> Response:
        """Return the page of an address that is not there."""
        return self._error(request, exc.status_code, detail=exc.detail)

    def of_error(self, request: Request, exc: CorpusError) -> Response:
        """Return the page of an error; who is not signed in, or no longer, can do so."""
        if isinstance(exc, CredentialError):
            back = request.url.path if request.method == "GET" else "/"
            return take(RedirectResponse(f"/sign-in?next={quote(back)}", 303))
        return self._error(request, problems.status_of(exc), detail=exc.message, hint=str(exc.hint))


def _needless(found: Mapping[str, Any]) -> set[str]:
    """Return the actions of a page for which there is nothing to do."""
    if "host" in found:
        return {"freeze-all" if found["host"]["frozen"] else "thaw-all"}
    return {"task"} if found.get("tasks") == [] else set()


def _may(session: Session, project: str, right: str) -> bool:
    """Say whether something about a project, or the host, is worth showing."""
    return session.may(project, right) if project else session.may_all(right)


def _number(text: str, action: Action) -> int:
    """Return the deployment that an action is about; raise UsageError."""
    if not action.numbered:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= asked.NUMBERS):
        raise UsageError("expected a deployment number")
    return int(text)


def _about(project: str, number: int) -> dict[str, Any]:
    return {"project": project, **({"number": number} if number else {})}
