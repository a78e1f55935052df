"""Records what is asked for in the audit: before it is done, and what came of it. Secrets are not among it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from corpushooks.access.principal import Principal
from corpushooks.core.errors import CorpusError, RefusedError, UsageError
from corpushooks.core.project import NAME, NAME_LIMIT
from corpushooks.core.text import one_line
from corpushooks.operations.table import Operation
from corpushooks.protocol.connection import PeerGone
from corpushooks.store.audit import DONE, FAILED, LEFT, REFUSED, Asked, Audit
from corpushooks.store.database import Store

PLAIN = frozenset({  # fields that say what is done, and are never secret
    "name", "right", "projects", "every_project", "expires", "authority", "principals", "rev", "number", "only", "skip",
    "steps", "force", "insist", "confirm", "task", "units", "reason", "env", "branch", "installer", "object_format",
    "who", "purge", "parts", "to", "dry", "repo", "deploy", "data", "pillar", "databases", "folders", "dumps",
})  # fmt: skip
LONGEST, MOST = 200, 20  # characters of a text, and of how many
Shown = Callable[[Any], Any]
SHORT: Mapping[str, Shown] = {  # fields of which a part is shown
    "pairs": lambda pairs: [pair[0] for pair in pairs],  # the names, not the values
    "keys": list,
    "commands": lambda commands: [f"{ref} {new}" for _, new, ref in commands],
    "options": len,  # how many: they are checked later
}


def detail(asked: Any) -> str:
    """Return what is asked as the audit has it: as JSON, what is set, without secrets."""
    found: dict[str, Any] = {}
    for name, value in vars(asked).items():
        if value and (name in PLAIN or name in SHORT):
            found[name] = _short(SHORT[name](value) if name in SHORT else value)
    return json.dumps(found)


def _short(value: Any) -> Any:
    if isinstance(value, str):
        return one_line(value)[:LONGEST]
    if isinstance(value, (list, tuple)):
        return [_short(each) for each in value[:MOST]]
    return value


def way(operation: Operation, principal: Principal) -> str:
    """Return by which way somebody asks: push, ssh, command, token or page."""
    return "push" if operation.name == "push" else principal.via


@contextmanager
def recorded(
    store: Store, principal: Principal, operation: Operation, asked: Any, numbered: Callable[[], int | None]
) -> Iterator[None]:
    """Record what the block does, if it acts; `numbered` gives the deployment that came of it."""
    if not operation.acts:
        yield
        return
    audit, origin = Audit(store), principal.origin or principal.caller.name
    project = getattr(asked, "project", "")
    project = project if NAME.fullmatch(project) and len(project) <= NAME_LIMIT else ""  # it may be anything
    row = audit.begin(Asked(principal.who, way(operation, principal), origin, operation.name, project, detail(asked)))
    outcome, reason = FAILED, ""
    try:
        yield
        outcome = DONE
    except PeerGone:
        outcome = LEFT  # what has a number goes on
        raise
    except CorpusError as exc:
        outcome = REFUSED if isinstance(exc, (RefusedError, UsageError)) else FAILED
        reason = one_line(exc.message)
        raise
    finally:
        audit.end(row, outcome, reason, numbered())
