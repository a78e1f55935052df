"""The pages to sign in and out, and to set a password. What is presented is judged by the daemon."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from corpushooks.core.errors import CorpusError, CredentialError, UsageError
from corpushooks.web import forms, sessions
from corpushooks.web.forms import local
from corpushooks.web.relay import Relay
from corpushooks.web.render import Renderer

BINDING = "__Host-corpus-provider"  # a cookie, while a browser is at the provider


@dataclass(frozen=True)
class Signing:
    """The pages for people who are not signed in yet, or no longer want to be."""

    relay: Relay
    renderer: Renderer

    def routes(self) -> Iterator[Route]:
        """Yield the routes."""
        yield Route("/sign-in", self.sign_in, methods=["GET", "POST"])
        yield Route("/sign-in/provider", self.to_provider)
        yield Route("/sign-in/provider/back", self.from_provider)
        yield Route("/sign-in/link/{link}", self.by_link, methods=["GET", "POST"])
        yield Route("/password/{link}", self.set_password, methods=["GET", "POST"])
        yield Route("/sign-out", self.sign_out, methods=["POST"])

    async def sign_in(self, request: Request) -> Response:
        """Show the form, or sign in who has a name and its password, or a token."""
        after = local(request.query_params.get("next", "/"))
        if request.method != "POST":
            return await self._sign_in(after)
        forms.check_site(request)
        form = await forms.fields(request)
        after = local(form.get("next", "/"))
        if token := form.get("token", "").strip():
            given = {"bearer_token": token}
        else:
            given = {"name": form.get("name", "").strip(), "password": form.get("password", "")}
        return await self._begin(request, "sign-in", given, after, {"page": "sign_in.html", "after": after})

    async def _sign_in(self, after: str, wrong: str = "", status: int = 200) -> Response:
        """Return the page to sign in, by all that there is."""
        try:
            ways = await self.relay.ask("sign-in ways", {}, "")
        except CorpusError:  # it is said when something is sent
            ways = {}
        more = {"wrong": wrong} if wrong else {}
        return self._form("sign_in.html", {"after": after, "ways": ways, **more}, status=status)

    async def to_provider(self, request: Request) -> Response:
        """Send a browser to the provider, with a cookie by which it is known when it comes back."""
        after = local(request.query_params.get("next", "/"))
        begun = await self.relay.ask("sign-in begin", {"after": after}, "")
        answer = RedirectResponse(begun["url"], 303)
        answer.set_cookie(BINDING, begun["binding"], max_age=600, path="/", secure=True, httponly=True, samesite="lax")
        return answer

    async def from_provider(self, request: Request) -> Response:
        """Sign in whom the provider sends back, if this browser was sent there."""
        query = request.query_params
        given = {"code": query.get("code", ""), "state": query.get("state", ""), "issuer": query.get("iss", ""),
                 "binding": request.cookies.get(BINDING, "")}  # fmt: skip
        try:
            found = await self.relay.ask("sign-in", {**given, "state": given["state"] or "none"}, "")
        except CredentialError as exc:
            answer = await self._sign_in("/", exc.message, 401)
        else:
            await self._end(request)
            answer = sessions.give(RedirectResponse(local(found["after"]), 303), found["session"])
        answer.delete_cookie(BINDING, path="/", secure=True, httponly=True, samesite="lax")
        return answer

    async def _begin(
        self, request: Request, operation: str, given: dict[str, Any], after: str, again: dict[str, Any]
    ) -> Response:
        """Begin a session, always a new one; if it is refused show the form again."""
        try:
            found = await self.relay.ask(operation, given, "")
        except (CredentialError, UsageError) as exc:
            status = 401 if isinstance(exc, CredentialError) else 400
            if again["page"] == "sign_in.html":
                return await self._sign_in(after, exc.message, status)
            return self._form(again.pop("page"), {**again, "wrong": exc.message}, status=status)
        await self._end(request)
        return sessions.give(RedirectResponse(after, 303), found["session"])

    async def _end(self, request: Request) -> None:
        """End the session that a browser had."""
        if cookie := request.cookies.get(sessions.COOKIE, ""):
            await self.relay.ask("sign-out", {}, cookie)

    async def by_link(self, request: Request) -> Response:
        """Show whose a one-time link is, or sign in by it: only a click uses it up."""
        return await self._linked(request, "sign-in", "sign-in", {})

    async def set_password(self, request: Request) -> Response:
        """Show the form, or set a password by a one-time link."""
        return await self._linked(request, "password", "set-password", {"password": ""})

    async def _linked(self, request: Request, does: str, operation: str, wanted: dict[str, str]) -> Response:
        link = request.path_params["link"]
        try:
            found = await self.relay.ask("one-time-link", {"link": link}, "")
        except CredentialError as exc:
            return self._form("link.html", {"wrong": exc.message}, status=404)
        if found["does"] != does:
            return self._form("link.html", {"wrong": "this link is for something else"}, status=404)
        if request.method != "POST":
            return self._form("link.html", found)
        forms.check_site(request)
        form = await forms.fields(request)
        if form.get("again", form.get("password", "")) != form.get("password", ""):
            return self._form("link.html", {**found, "wrong": "the two passwords differ"}, status=400)
        given = {"link": link, **{name: form.get(name, "") for name in wanted}}
        return await self._begin(request, operation, given, "/", {"page": "link.html", **found})

    def _form(self, page: str, shown: dict[str, Any], *, status: int = 200) -> Response:
        """Return a page with a form. With the policy no-referrer browsers would send it with the origin `null`."""
        return self.renderer.page(page, shown, status=status)

    async def sign_out(self, request: Request) -> Response:
        """End a session."""
        await forms.own(request)
        await self._end(request)
        return sessions.take(RedirectResponse("/sign-in", 303))
