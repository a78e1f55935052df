"""Further pages that only show something: each is a row, with what it asks of the daemon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from corpushooks.core.rights import HOST, PUSH, READ

Asked = tuple[str, dict[str, Any]]  # an operation, and fields besides the project
COUNT = 50  # backups on a page


@dataclass(frozen=True)
class View:
    """A page: its name is that of its template, too."""

    name: str
    label: str
    right: str
    asks: Mapping[str, Asked]  # what the template calls it -> what is asked
    actions: tuple[str, ...] = ()  # that it leads to
    host_asks: Mapping[str, Asked] = field(default_factory=dict)  # also asked for who has the right `host`


def _table(*rows: View) -> Mapping[str, View]:
    return {row.name: row for row in rows}


VIEWS = _table(  # of a project
    View("configuration", "Configuration", PUSH,
         {"values": ("config", {}), "origin": ("config", {"origin": True}), "variables": ("variables", {})},
         ("set", "unset")),
    View("settings", "Settings", PUSH, {"settings": ("setting list", {})}, ("set-setting", "unset-setting")),
    View("archives", "Archives and storage", READ, {"archives": ("archives", {}), "storage": ("storage", {})},
         ("remove-archive",)),
    View("backups", "Backups", READ, {"backups": ("backups", {"limit": COUNT})},
         ("backup", "drill", "prune", "check-backups")),
    View("tasks", "Tasks", READ, {"tasks": ("tasks", {})}, ("task",)),
    View("access", "Access", READ, {"one": ("status", {"urls": True}), "names": ("names", {})}, ("remove",),
         {"keys": ("key list", {})}),
)  # fmt: skip
HOST_VIEWS = _table(
    View("overview", "Host", HOST, {"host": ("host", {})}, ("create", "freeze-all", "thaw-all")),
    View("checks", "Checks", HOST, {"checks": ("doctor", {})}),
    View("keys", "Keys and tokens", HOST, {"keys": ("key list", {}), "tokens": ("token list", {})},
         ("add-key", "set-key", "test-key", "revoke-key", "add-token", "revoke-token")),
    View("sessions", "Sessions", HOST, {"sessions": ("session list", {})}, ("end-sessions",)),
    View("metrics", "Metrics", READ, {"metrics": ("metrics", {"project": ""}), "stats": ("stats", {"project": ""})}),
)  # fmt: skip


def flat(values: Any, origin: Mapping[str, Mapping[str, str]]) -> list[tuple[str, Any, str, str]]:
    """Return a configuration as rows: path, value, layer and file."""
    found = []
    for path, each in origin.items():
        value = values
        for part in path.split("."):
            value = value.get(part, "") if isinstance(value, dict) else ""
        found.append((path, value, each["layer"], each["file"]))
    return found
