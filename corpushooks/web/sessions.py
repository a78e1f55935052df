"""Who is signed in: the daemon is asked with what the cookie has, for each request of a page. Nothing is kept here.

The cookie is the session that the daemon issued. It ends there: by signing out, with its account or token, or by time.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from corpushooks.core.errors import CorpusError, CredentialError
from corpushooks.core.rights import RIGHTS, Grant
from corpushooks.web.relay import ORIGIN, Relay

COOKIE = "__Host-corpus"
NONE = CredentialError("you are not signed in")


@dataclass(frozen=True)
class Session:
    """Somebody who is signed in."""

    token: str
    who: str
    rights: tuple[Grant, ...]

    def may(self, project: str, right: str) -> bool:
        """Say whether something is worth showing; whether it is done the daemon says."""
        best = [RIGHTS.index(each.right) for each in self.rights if each.covers(project)]
        return bool(best) and max(best) >= RIGHTS.index(right)

    def may_all(self, right: str) -> bool:
        """Say whether something that is about the whole host is worth showing."""
        return any(not each.projects and RIGHTS.index(each.right) >= RIGHTS.index(right) for each in self.rights)

    @property
    def csrf(self) -> str:
        """The secret of this session's forms, which does not tell the session."""
        return hmac.new(self.token.encode(), b"form", hashlib.sha256).hexdigest()

    def is_own(self, csrf: str) -> bool:
        """Say whether a form is one that we gave to this browser."""
        return hmac.compare_digest(csrf.encode(), self.csrf.encode())


class Known:
    """Finds out who asks, before a page is made; and tells the daemon from where."""

    def __init__(self, app: ASGIApp, relay: Relay, plain: frozenset[str]) -> None:
        self.app, self.relay, self.plain = app, relay, plain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            client, path = scope.get("client"), scope["path"]
            ORIGIN.set(client[0] if client else "")
            if not path.startswith("/api/") and path not in self.plain:
                scope.setdefault("state", {})["session"] = await self._session(Request(scope).cookies.get(COOKIE, ""))
        await self.app(scope, receive, send)

    async def _session(self, cookie: str) -> Session | CorpusError:
        """Return who is signed in, or why that is not known."""
        if not cookie:
            return NONE
        try:
            found = await self.relay.ask("whoami", {}, cookie)
        except CorpusError as exc:
            return exc
        return Session(
            cookie, found["who"], tuple(Grant(each["right"], tuple(each["projects"])) for each in found["rights"])
        )


def session_of(request: Request) -> Session:
    """Return who is signed in; raise CredentialError, or what the daemon said."""
    found = getattr(request.state, "session", NONE)
    if isinstance(found, CorpusError):
        raise found
    assert isinstance(found, Session)
    return found


def known(request: Request) -> dict[str, Session]:
    """Return the session for a page that is for anyone; nothing where nobody is signed in."""
    found = getattr(request.state, "session", None)
    return {"session": found} if isinstance(found, Session) else {}


def give(answer: Response, session: str) -> Response:
    """Give a browser its session."""
    answer.set_cookie(COOKIE, session, path="/", secure=True, httponly=True, samesite="lax")
    return answer


def take(answer: Response) -> Response:
    """Take the session from a browser."""
    answer.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="lax")
    return answer
