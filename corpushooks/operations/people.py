"""The operations on accounts of people who sign in to the pages."""

from __future__ import annotations

import time
from typing import Any

from corpushooks.access import accounts, keys
from corpushooks.access.accounts import Accounts, Link
from corpushooks.access.keys import ACCOUNT, Key
from corpushooks.access.sessions import Session, Sessions
from corpushooks.core import rights
from corpushooks.core.errors import RefusedError, UsageError
from corpushooks.core.hints import Hint, command
from corpushooks.operations.call import Call
from corpushooks.protocol import asks, gives
from corpushooks.reports.report import Report

NO_ACCOUNTS = Hint("no accounts: ", command("account", "add", "NAME"))
LOCAL = "http://localhost:8040"  # where `corpus web` listens by itself
PATHS = {accounts.PASSWORD: "/password/", accounts.SIGN_IN: "/sign-in/link/"}


def list_(call: Call[asks.Nothing]) -> Report:
    """List the accounts."""
    found = Accounts(call.site.history).all()
    return Report([told(each) for each in found], [_line(each) for each in found] or [call.spell(NO_ACCOUNTS)])


def add(call: Call[asks.AccountAdd]) -> Report:
    """Create an account. Callers cannot grant more than they have, nor for longer."""
    asked = call.asked
    end = keys.expiry(asked.expires, time.time()) if asked.expires else None
    wanted = Key(
        keys.check_key_name(asked.name), ACCOUNT, "", rights.check_right(asked.right),
        rights.check_projects(asked.projects), end, by=call.principal.who,
    )  # fmt: skip
    keys.check_grants(wanted)
    _check_within(call, wanted)
    Accounts(call.site.history).add(wanted)
    return _linked(call, asked.name, "created")


def link(call: Call[asks.OfAccount]) -> Report:
    """Make a new link to set a password. Callers cannot make one for an account that has more rights than they have."""
    _check_within(call, Accounts(call.site.history).known(call.asked.name).key)
    return _linked(call, call.asked.name, "linked")


def _check_within(call: Call[Any], wanted: Key) -> None:
    """Refuse to give what the caller does not have; what a token made would outlast it."""
    own = call.principal.key
    if own and own.is_token:
        raise RefusedError("a token cannot create accounts", hint=command("account", "add", wanted.name))
    if own:
        keys.check_within(own, wanted)


def _linked(call: Call[Any], name: str, what: str) -> Report:
    """Make a link, and report it with its account."""
    store = Accounts(call.site.history)
    made = store.link(name)
    found, url = store.known(name), address(call.site.settings.web_url, accounts.PASSWORD, made)
    call.site.event("account", {"account": name, "what": what, "may": found.key.may, "by": call.principal.who})
    lines = [url, f"to set the password of {name}, once, until {keys.day(made.ends)} UTC; {_may(found.key)}"]
    return Report(gives.LinkedAccount(**_about(found), link=url), lines)


def address(base: str | None, does: str, made: Link) -> str:
    """Return a one-time link as an address of the pages."""
    return f"{base or LOCAL}{PATHS[does]}{made.secret}"


def revoke(call: Call[asks.OfAccount]) -> Report:
    """Revoke an account."""
    store = Accounts(call.site.history)
    found = store.known(call.asked.name)
    store.revoke(found.name)
    call.site.event("account", {"account": found.name, "what": "revoked", "may": "", "by": call.principal.who})
    return Report(told(found), [f"revoked {found.name}: {found.key.may}"])


def sessions(call: Call[asks.OfPersons]) -> Report:
    """List who is signed in."""
    found = Sessions(call.site.history).all(call.asked.who)
    return Report([_session(each) for each in found], list(map(_session_line, found)) or ["nobody is signed in"])


def end_sessions(call: Call[asks.OfPerson]) -> Report:
    """End the sessions of somebody; the account or token stays."""
    who = call.asked.who
    found = Sessions(call.site.history).end_of(who)
    if not found:
        raise UsageError(f"{who!r} is not signed in", hint=command("session", "list"))
    call.site.event("session", {"who": who, "what": "ended", "count": len(found), "by": call.principal.who})
    return Report([_session(each) for each in found], [f"ended {_session_line(each)}" for each in found])


def _session(found: Session) -> gives.SessionOf:
    return gives.SessionOf(
        who=found.who, source=found.source, address=found.address, began=found.began, seen=found.seen
    )  # fmt: skip


def _session_line(found: Session) -> str:
    return f"{found.who:<24} from {found.address or '?'}, since {keys.day(found.began)}, by {found.source}"


def told(account: accounts.Account) -> gives.Account:
    """Return an account as --json shows it."""
    return gives.Account(**_about(account))


def _about(account: accounts.Account) -> dict[str, Any]:
    key = account.key
    return {
        "name": key.name, "right": key.right, "projects": list(key.projects), "expires": key.expires,
        "added": key.added, "by": key.by, "password": bool(account.password), "link_ends": account.link_ends,
    }  # fmt: skip


def _may(key: Key) -> str:
    return f"{key.may}{f', until {keys.day(key.expires)} UTC' if key.expires else ''}"


def _line(account: accounts.Account) -> str:
    return (
        f"{account.name:<16} {_may(account.key)}{'' if account.password else ', no password yet'}  by {account.key.by}"
    )
