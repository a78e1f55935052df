"""Sign in and out: judge what people present, and begin or end their sessions.

Only root, the daemon's account, and the account of the pages can ask. That one relays: it gets sessions for those who
present something right, and nothing by itself.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from corpushooks.access import accounts, persons, proof
from corpushooks.access.accounts import Account, Accounts
from corpushooks.access.attempts import Attempts, is_loopback
from corpushooks.access.checking import Checker
from corpushooks.access.keys import ACCOUNT, TOKEN
from corpushooks.access.pending import Begun, Pending
from corpushooks.access.sessions import OIDC, Sessions
from corpushooks.access.tokens import Tokens
from corpushooks.access.tokens import called as token_called
from corpushooks.core.directory import Directory
from corpushooks.core.errors import BusyError, ConfigError, CredentialError, DoorError, NotAllowedError, RefusedError
from corpushooks.core.hints import command
from corpushooks.core.rights import RIGHTS, Rights
from corpushooks.core.text import one_line
from corpushooks.host.site import Site
from corpushooks.protocol import asks, gives
from corpushooks.protocol.connection import Connection
from corpushooks.protocol.messages import Asked
from corpushooks.store import audit
from corpushooks.store.audit import DONE, REFUSED, Audit
from corpushooks.system import own_log

BACK = "/sign-in/provider/back"  # where the provider sends people
WRONG = CredentialError("wrong name or password")
DOWN = BusyError("the directory did not answer", hint="try again, or see the log of the daemon")
LINK = CredentialError("this link can only be used on the machine itself")


@dataclass
class Gate:
    """What one daemon remembers of people who sign in."""

    attempts: Attempts = field(default_factory=Attempts)
    checker: Checker = field(default_factory=Checker)
    provider: Checker = field(default_factory=Checker)  # anybody can begin one there: passwords do not wait
    pending: Pending = field(default_factory=Pending)


@dataclass(frozen=True)
class Signing:
    """One question of somebody who signs in or out."""

    site: Site
    gate: Gate
    connection: Connection
    asked: Asked

    @property
    def _accounts(self) -> Accounts:
        return Accounts(self.site.history)

    def sign_in(self, given: asks.SignIn) -> gives.SignedIn:
        """Begin a session for who presents something right; raise CredentialError."""
        if given.link:
            return self._by_link(given.link)
        if given.state or given.code:
            return self._by_provider(given)
        if given.bearer_token:
            return self._by_token(given.bearer_token)
        return self._by_password(given.name, given.password)

    def _by_password(self, name: str, password: str) -> gives.SignedIn:
        found = self._accounts.named(name)
        where = self.site.settings.ldap if self.site.settings.auth == persons.LDAP else None
        if found is None and where and where.sign_in:
            return self._by_directory(where, name, password)
        who = accounts.called(found.key) if found else ""  # not what somebody types: it may be a password
        familiar = bool(who) and self._audit.has_signed_in(who, self.asked.origin)
        with self._failing(who), self.gate.attempts.attempt(name, self.asked.origin, familiar=familiar):
            hashed = found.password if found else ""
            right = self._check("verify", hash=hashed, password=password)["right"]
            if not (found and right and password) or found.key.refusal(RIGHTS[0]):
                raise WRONG
        return self._begin(found, "password")

    def _by_directory(self, where: Directory, name: str, password: str) -> gives.SignedIn:
        """Begin a session for a person of the directory: it judges the password, the settings its groups."""
        familiar = self._audit.has_signed_in(name, self.asked.origin)
        spelled = " ".join(unicodedata.normalize("NFKC", name).casefold().split())  # as directories compare names
        with self._failing(), self.gate.attempts.attempt(spelled, self.asked.origin, familiar=familiar):
            if not name or not password:
                raise WRONG
            try:
                found = self._check("ldap", settings=proof.sent(where), name=name, password=password)["person"]
            except (DoorError, ConfigError) as exc:
                own_log.warning("directory", error=one_line(exc.message))
                raise DOWN from exc
            if found is None or persons.key_of(persons.LDAP, found["uid"], where.grants(found["groups"])) is None:
                raise WRONG
        who = found["uid"]
        self._note("sign-in", who, by=persons.LDAP)
        made = Sessions(self.site.history).begin(
            persons.LDAP, who, who, address=self.asked.origin, groups=found["groups"]
        )
        return gives.SignedIn(session=made, who=who)

    def ways(self, given: asks.Nothing) -> gives.Ways:
        """Return by what people can sign in."""
        return gives.Ways(provider=self.site.settings.oidc is not None)

    def begin(self, given: asks.Begin) -> gives.Begun:
        """Begin a sign-in by the provider."""
        self.gate.attempts.begin(self.asked.origin)
        begun = self.gate.pending.begin(given.after, self.asked.origin)
        return gives.Begun(url=self._provider("oidc begin", begun)["url"], binding=begun.binding)

    def _provider(self, check: str, begun: Begun, **more: str) -> dict[str, Any]:
        """Ask the provider of the settings; raise BusyError if it does not answer."""
        where, base = self.site.settings.oidc, self.site.settings.web_url
        if where is None or base is None:
            raise CredentialError("no identity provider is set up")
        secret = str(where.client_secret_file) if where.client_secret_file else None
        asked = {
            "issuer": where.issuer, "client_id": where.client_id, "client_secret_file": secret,
            "scopes": list(where.scopes), "timeout": where.timeout, "groups_claim": where.groups_claim,
            "name_claim": where.name_claim, "redirect": f"{base}{BACK}", "state": begun.state, "nonce": begun.nonce,
            "verifier": begun.verifier, **more,
        }  # fmt: skip
        try:
            return self.gate.provider.ask(check, asked, self.connection.check)
        except DoorError as exc:
            own_log.warning("provider", error=one_line(exc.message))
            raise BusyError("the identity provider did not answer", hint=DOWN.hint) from exc

    def _by_provider(self, given: asks.SignIn) -> gives.SignedIn:
        """Begin a session for whom the provider asserts, to the browser that began this, once."""
        with self._failing(), self.gate.attempts.attempt("", self.asked.origin, familiar=False):
            begun = self.gate.pending.finish(given.state, given.binding)
            if begun is None or not given.code:
                raise CredentialError("this sign-in was not begun here, or took too long", hint="sign in again")
            found = self._provider("oidc finish", begun, code=given.code, came_by=given.issuer)
            where = self.site.settings.oidc
            if where is None or not where.grants(found["groups"]):
                raise CredentialError("your groups have no rights here")
        who, name = persons.called(found["name"], found["sub"]), persons.identity(where.issuer, found["sub"])
        self._note("sign-in", who, by=OIDC)
        made = Sessions(self.site.history).begin(OIDC, name, who, address=self.asked.origin, groups=found["groups"])
        return gives.SignedIn(session=made, who=who, after=begun.after)

    def _by_token(self, text: str) -> gives.SignedIn:
        with self._failing(), self.gate.attempts.attempt("", self.asked.origin, familiar=False):
            token = Tokens(self.site.history).presented(text)
            if token is None or token.refusal(RIGHTS[0]):
                raise CredentialError("invalid token: unknown, revoked or expired", hint=command("token", "list"))
        who = token_called(token)
        self._note("sign-in", who, by="token")
        made = Sessions(self.site.history).begin(TOKEN, token.name, who, mark=token.blob, address=self.asked.origin)
        return gives.SignedIn(session=made, who=who)

    def _by_link(self, secret: str) -> gives.SignedIn:
        if not is_loopback(self.asked.origin):
            raise LINK
        with self._failing():
            found = self._accounts.use_link(secret, accounts.SIGN_IN)
        return self._begin(found, "link")

    def _begin(self, account: Account, by: str) -> gives.SignedIn:
        who = accounts.called(account.key)
        self._note("sign-in", who, by=by)
        made = Sessions(self.site.history).begin(
            ACCOUNT, account.name, who, mark=account.key.blob, address=self.asked.origin
        )
        return gives.SignedIn(session=made, who=who)

    def sign_out(self, given: asks.Nothing) -> dict[str, str]:
        """End the session that is presented; what follows a log with it is cut off."""
        sessions = Sessions(self.site.history)
        if found := sessions.presented(self.asked.bearer or ""):
            self._note("sign-out", found.who)
            sessions.end(self.asked.bearer or "")
        return {}

    def link(self, given: asks.OfLink) -> gives.Link:
        """Return whose a link is, without using it."""
        for does in (accounts.PASSWORD, accounts.SIGN_IN):
            found = self._accounts.opened(given.link, does)
            if found:
                return gives.Link(name=found.name, does=does)
        raise accounts.SPENT

    def set_password(self, given: asks.SetPassword) -> gives.SignedIn:
        """Set a password by a link, which is used up by that, and sign in."""
        with self.gate.attempts.attempt("", self.asked.origin, familiar=False):
            found = self._accounts.of_link(given.link, accounts.PASSWORD)
            accounts.check_password(given.password, found.name)
            hashed = self._check("hash", password=given.password)["hash"]
        found = self._accounts.set_password(given.link, hashed)
        self._note("set-password", accounts.called(found.key))
        self.site.event("account", {"account": found.name, "what": "password", "may": found.key.may, "by": found.name})
        if found.key.refusal(RIGHTS[0]):
            raise WRONG
        return self._begin(found, "password")

    @property
    def _audit(self) -> Audit:
        return Audit(self.site.history)

    def _note(self, operation: str, who: str, outcome: str = DONE, reason: str = "", **detail: str) -> None:
        """Record what somebody does who signs in or out."""
        asked = audit.Asked(who, "page", self.asked.origin, operation, detail=json.dumps(detail))
        self._audit.add(asked, outcome, reason)

    @contextmanager
    def _failing(self, who: str = "") -> Iterator[None]:
        """Record a sign-in that is refused."""
        try:
            yield
        except RefusedError as exc:
            self._note("sign-in", who, REFUSED, exc.message)
            raise

    def _check(self, check: str, **asked: Any) -> dict[str, Any]:
        return self.gate.checker.ask(check, asked, self.connection.check)


SIGNS: Mapping[str, tuple[type[Any], Callable[[Signing, Any], Any]]] = {
    "sign-in": (asks.SignIn, Signing.sign_in),
    "sign-in ways": (asks.Nothing, Signing.ways),
    "sign-in begin": (asks.Begin, Signing.begin),
    "sign-out": (asks.Nothing, Signing.sign_out),
    "one-time-link": (asks.OfLink, Signing.link),
    "set-password": (asks.SetPassword, Signing.set_password),
}


def sign(site: Site, rights: Rights, gate: Gate, connection: Connection, asked: Asked) -> dict[str, Any]:
    """Answer a question about signing in; raise NotAllowedError for who relays nobody."""
    if not rights.signs_in(connection.caller):
        raise NotAllowedError("not allowed", "allowed: root, and the account of the pages")
    kind, act = SIGNS[asked.name]
    found: dict[str, Any] = gives.plain(act(Signing(site, gate, connection, asked), asked.typed(kind)))
    return found
