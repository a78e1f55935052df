"""Forms: what is in one, and whether it is one that we gave to this browser."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request

from corpushooks.core.errors import RefusedError, UsageError
from corpushooks.web import asked
from corpushooks.web.sessions import Session, session_of


def local(path: str) -> str:
    """Return a path of ours to go to; of any other address the first page."""
    plain = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() and "\\" not in path
    return path if plain else "/"


def check_site(request: Request) -> None:
    """Raise RefusedError for a form that another site sends."""
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site", "same-origin")
    other = origin is not None and urlsplit(origin).netloc != request.headers.get("host", "")
    if other or site not in ("same-origin", "none"):
        raise RefusedError("form sent by another site")


async def fields(request: Request) -> dict[str, str]:
    """Return the fields of a form; raise UsageError."""
    data = await asked.body(request)
    try:
        found = parse_qs(data.decode(), max_num_fields=20, keep_blank_values=True)
    except ValueError:
        raise UsageError("invalid form") from None
    return {name: values[0] for name, values in found.items()}


async def own(request: Request) -> tuple[Session, dict[str, str]]:
    """Return who sends a form, and what is in it; raise RefusedError for one that we did not give them."""
    check_site(request)
    session, form = session_of(request), await fields(request)
    if not session.is_own(form.get("csrf", "")):
        raise RefusedError("form expired or from another site", hint="load the page again")
    return session, form
