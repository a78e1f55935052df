"""Authentication: identify the callers of the daemon, and the sessions of ssh keys.

All keys share one account, so its uid does not identify anyone. A session of ssh is admitted by the program that sshd
starts for its key; its token is bound to key, project and that process, and is presented by the children of that. The
users of the API and the pages share an account, too; each request presents a token or a session of its own, which is
bound to nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from corpushooks.access import lookup, persons
from corpushooks.access.keyring import Keyring
from corpushooks.access.keys import Key
from corpushooks.access.principal import Principal
from corpushooks.access.sessions import PREFIX as SESSION
from corpushooks.access.sessions import Sessions
from corpushooks.access.tokens import Tokens
from corpushooks.access.tokens import called as token_called
from corpushooks.core.errors import CorpusError, CredentialError, RefusedError, UsageError
from corpushooks.core.hints import command
from corpushooks.core.project import Host
from corpushooks.core.rights import GRANTED, RIGHTS, Rights
from corpushooks.core.settings import Settings
from corpushooks.core.text import one_line
from corpushooks.protocol.asks import Admit
from corpushooks.protocol.connection import Connection
from corpushooks.protocol.messages import Asked
from corpushooks.store.fleet import Fleet, Obedience
from corpushooks.store.history import History
from corpushooks.system import own_log
from corpushooks.system.process import ancestors, came_from, start_time

WHOAMI = command("whoami")
SIGNED_OUT = CredentialError("you are not signed in", hint="sign in again")
ENDED = RefusedError("session expired or key revoked", hint="connect again")


@dataclass(frozen=True)
class Authentication:
    """The authentication of a host."""

    host: Host
    history: History
    rights: Rights
    settings: Settings

    def principal(self, connection: Connection, asked: Asked) -> Principal:
        """Return the caller. A session of ssh or a token has only its own rights, whatever its account has."""
        admission, bearer = asked.admission, asked.bearer
        if bearer is not None:
            return self._of_bearer(connection, bearer, asked.origin)
        if not admission:
            return Principal(connection.who, self.rights, connection.caller)
        connection.keyed = True
        keyring = Keyring(self.history)
        found = keyring.admission(admission)
        key = keyring.key(found.key) if found else None
        if not found or not key or key.refusal(found.right):
            raise ENDED
        if (found.pid, found.start) not in ancestors(connection.pid):
            raise ENDED
        via, origin = ("salt", "") if key.is_master else ("ssh", came_from(connection.pid))
        return Principal(found.who, self.rights, connection.caller, key, found.project, via, origin)

    def _of_bearer(self, connection: Connection, text: str, origin: str) -> Principal:
        """Return who presents a token or a session; raise CredentialError."""
        sessions = Sessions(self.history)
        if session := sessions.presented(text):
            key = persons.rights_now(sessions, self.settings, session, _warn)
            if key is None or key.refusal(RIGHTS[0]):
                raise SIGNED_OUT
            return Principal(session.who, self.rights, connection.caller, key, via="page", origin=origin)
        if text.startswith(SESSION):
            raise SIGNED_OUT
        token = Tokens(self.history).presented(text)
        if token is None or token.refusal(RIGHTS[0]):
            raise CredentialError("invalid token: unknown, revoked or expired", hint=command("token", "list"))
        return Principal(token_called(token), self.rights, connection.caller, token, via="token", origin=origin)

    def admit(self, connection: Connection, asked: Admit) -> dict[str, Any]:
        """Admit a session of a key; raise RefusedError, which does not reveal whether a project exists that is not for
        this key."""
        if not (self.rights.is_account(connection.caller) or self.rights.is_own(connection.uid)):
            raise RefusedError("only the account of ssh can log in with a key")
        connection.keyed = True
        right, project, start = asked.right, asked.project, start_time(connection.pid)
        ring = Keyring(self.history)
        key = ring.key(asked.key)
        # No mark: a line of authorized_keys from an older version. A connection can outlive its key.
        if key is None or start is None or asked.mark not in ("", key.mark):
            raise ENDED
        key = lookup.still(ring, self.settings, key, _warn)  # and the entry of its owner in the directory
        if key is None:
            raise ENDED
        if right not in ("", *GRANTED):
            raise UsageError("invalid request: right")
        who = "/".join([key.who, *filter(None, [re.sub(r"[^A-Za-z0-9._@+-]", "_", asked.certificate)[:64]])])
        needed = right or key.least
        self._check(key, needed, project)
        _forget_the_dead(ring)
        made = ring.admit(key, who, needed, project, (connection.pid, start))
        return {"admission": made.token, "who": who, "may": key.may, "expires": key.expires}

    def _concerns(self, key: Key, project: str) -> bool:
        """Return whether a project is of the controller, or on the node, that a key belongs to."""
        if key.is_node:
            return any(each.name == key.person for each in Fleet(self.history).of(project))
        found = Obedience(self.history).governed(project)
        return found is not None and found.controller == key.name

    def _check(self, key: Key, right: str, project: str) -> None:
        if project and (key.refusal(key.least, project) or self.history.project(project) is None):
            if why := key.refusal(key.least):
                raise RefusedError(f"the key {key.name}: {why}")
            raise RefusedError(f"unknown project {project!r} for the key {key.name}", hint=WHOAMI)
        if (key.is_controller or key.is_node) and project and not self._concerns(key, project):
            raise RefusedError(f"unknown project {project!r} for the key {key.name}", hint=WHOAMI)
        if why := key.refusal(right, project):
            raise RefusedError(f"the key {key.name}: {why}", hint=WHOAMI)


def _warn(exc: CorpusError) -> None:
    own_log.warning("directory", error=one_line(exc.message))


def _forget_the_dead(ring: Keyring) -> None:
    for each in ring.admissions():
        if start_time(each.pid) != each.start:
            ring.dismiss(each)
