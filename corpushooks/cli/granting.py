"""The options that give a right: of keys, tokens and accounts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from corpushooks.core import rights

Command = Callable[..., Any]

RIGHTS = {  # option: what it gives
    rights.READ: "see status, history and logs",
    rights.PUSH: "also deploy",
    rights.ADMIN: "also freeze, thaw, and deploy while frozen",
    rights.HOST: "also manage projects, keys, tokens and accounts",
}
PROJECTS = click.option("--project", "projects", multiple=True, metavar="P", help="Only this project; repeatable.")
EXPIRES = click.option("--expires", metavar="DAY", help="Last day: 2030-12-31, or 90d from now.")


def right(default: str | None = None) -> Callable[[Command], Command]:
    """Return a decorator that adds an option for each right; without a `default`, none of them is None."""

    def add(command: Command) -> Command:
        for name, gives in reversed(RIGHTS.items()):
            chosen: dict[str, Any] = {"default": True} if name == default else {}  # None would be a default too
            text = f"Right: {gives} (the default)." if chosen else f"Right: {gives}."
            command = click.option(f"--{name}", "right", flag_value=name, help=text, **chosen)(command)
        return command

    return add
