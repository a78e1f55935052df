"""The pages about people: their accounts, and what was done by whom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from corpushooks.core.rights import RIGHTS
from corpushooks.web import forms
from corpushooks.web.relay import Relay
from corpushooks.web.render import Renderer
from corpushooks.web.sessions import session_of

ACCOUNT = "/accounts/{name}"


@dataclass(frozen=True)
class People:
    """The pages about people."""

    relay: Relay
    renderer: Renderer

    def routes(self) -> Iterator[Route]:
        """Yield the routes."""
        yield Route("/accounts", self.accounts, methods=["GET", "POST"])
        yield Route(f"{ACCOUNT}/revoke", self.revoke, methods=["GET", "POST"])
        yield Route(f"{ACCOUNT}/link", self.link, methods=["GET", "POST"])
        yield Route("/audit", self.audit)
        yield Route("/projects/{project}/audit", self.audit)

    async def accounts(self, request: Request) -> Response:
        """Show the accounts, or make one and show its link, once."""
        if request.method != "POST":
            return await self._accounts(request)
        session, form = await forms.own(request)
        wanted = {
            "name": form.get("name", "").strip(), "right": form.get("right", ""),
            "projects": form.get("projects", "").split(), "expires": form.get("expires", "").strip(),
        }  # fmt: skip
        return await self._accounts(request, made=await self.relay.ask("account add", wanted, session.token))

    async def _accounts(self, request: Request, **shown: Any) -> Response:
        session = session_of(request)
        found = await self.relay.ask("account list", {}, session.token)
        return self.renderer.page("accounts.html", {"session": session, "accounts": found, "rights": RIGHTS, **shown})

    async def link(self, request: Request) -> Response:
        """Say what a new link does, or make one and show it, once."""
        says = "Makes a link by which {name} can set another password. Sessions go on until it is set."
        if request.method != "POST":
            return await self._ask(request, "New link", says)
        session, _ = await forms.own(request)
        given = {"name": request.path_params["name"]}
        return await self._accounts(request, made=await self.relay.ask("account link", given, session.token))

    async def revoke(self, request: Request) -> Response:
        """Say what a revocation does, or do it."""
        says = "Revokes the account {name}, and ends its sessions. What it started goes on."
        if request.method != "POST":
            return await self._ask(request, "Revoke", says)
        session, _ = await forms.own(request)
        await self.relay.ask("account revoke", {"name": request.path_params["name"]}, session.token)
        return RedirectResponse("/accounts", 303)

    async def _ask(self, request: Request, label: str, says: str) -> Response:
        """Show what will be done, with the button that does it."""
        session, name = session_of(request), request.path_params["name"]
        await self.relay.ask("account list", {}, session.token)  # who may not is told now
        shown = {"session": session, "label": label, "says": says.format(name=name), "name": name}
        return self.renderer.page("account.html", shown)

    async def audit(self, request: Request) -> Response:
        """Show what was done, in a project or everywhere, by somebody or all, since a day."""
        session, project = session_of(request), request.path_params.get("project", "")
        chosen = {name: request.query_params.get(name, "").strip() for name in ("who", "since")}
        found = await self.relay.ask("audit", {"project": project, **chosen}, session.token)
        where = f"/projects/{quote(project)}/audit" if project else "/audit"
        shown = {"session": session, "rows": found, "project": project, "where": where, **chosen}
        return self.renderer.page("audit.html", shown)
