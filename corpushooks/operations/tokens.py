"""The operations on tokens of the API, and whoami."""

from __future__ import annotations

import time
from typing import Any

from corpushooks.access import keys
from corpushooks.access.keys import TOKEN, Key
from corpushooks.access.principal import Principal
from corpushooks.access.tokens import Tokens
from corpushooks.core import rights
from corpushooks.core.errors import RefusedError
from corpushooks.core.hints import Hint, command
from corpushooks.core.rights import HOST, Grant
from corpushooks.operations.call import Call
from corpushooks.protocol import asks, gives
from corpushooks.reports.report import Report

NO_TOKENS = Hint("no tokens: ", command("token", "add", "NAME"))


def list_(call: Call[asks.Nothing]) -> Report:
    """List the tokens."""
    found = Tokens(call.site.history).all()
    return Report([told(each) for each in found], [_line(each) for each in found] or [call.spell(NO_TOKENS)])


def add(call: Call[asks.TokenAdd]) -> Report:
    """Create a token. Callers cannot grant more than they have, nor for longer, and a token cannot create tokens."""
    asked, own = call.asked, call.principal.key
    if own and own.is_token:
        raise RefusedError("a token cannot create tokens", hint=command("token", "add", asked.name))
    end = keys.expiry(asked.expires, time.time()) if asked.expires else None
    wanted = Key(
        keys.check_key_name(asked.name), TOKEN, "", rights.check_right(asked.right),
        rights.check_projects(asked.projects), end, by=call.principal.who,
    )  # fmt: skip
    keys.check_grants(wanted)
    if own:
        keys.check_within(own, wanted)
    made, text = Tokens(call.site.history).add(wanted)
    call.site.event("token", {"token": made.name, "may": made.may, "by": call.principal.who})
    lines = [text, f"this is the only time that it is shown; {made.name}: {_may(made)}"]
    return Report(gives.NewToken(**_about(made), token=text), lines)


def revoke(call: Call[asks.OfToken]) -> Report:
    """Revoke a token."""
    found = Tokens(call.site.history).revoke(call.asked.name)
    call.site.event("token", {"token": found.name, "may": "", "by": call.principal.who})
    return Report(told(found), [f"revoked {found.name}: {found.may}"])


def whoami(principal: Principal) -> dict[str, Any]:
    """Return who asks, with their rights; of an account only whether that is everything is known without a project."""
    key = principal.key
    if key:
        grants, expires = list(key.grants), key.expires
    else:
        grants, expires = [Grant(HOST)] if principal.may_all(HOST) else [], None
    given = [gives.Grant(right=each.right, projects=list(each.projects)) for each in grants]
    may = "; ".join(map(str, grants))
    found: dict[str, Any] = gives.plain(gives.Whoami(who=principal.who, may=may, rights=given, expires=expires))
    return found


def told(token: Key) -> gives.Token:
    """Return a token as --json shows it."""
    return gives.Token(**_about(token))


def _about(token: Key) -> dict[str, Any]:
    return {
        "name": token.name, "right": token.right, "projects": list(token.projects), "expires": token.expires,
        "added": token.added, "by": token.by,
    }  # fmt: skip


def _may(token: Key) -> str:
    return f"{token.may}{f', until {keys.day(token.expires)} UTC' if token.expires else ''}"


def _line(token: Key) -> str:
    return f"{token.name:<16} {_may(token)}  by {token.by}"
