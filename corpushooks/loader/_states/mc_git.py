# ruff: noqa: F821  (Salt fills in the names with underscores)
"""A checkout that follows a branch: what makina-states called mc_git.latest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__states__: dict[str, Callable[..., dict[str, Any]]]  # Salt's loader fills it in


def latest(
    name: str, target: str = "", rev: str = "HEAD", user: str | None = None, identity: str | None = None,
    submodules: bool = False, depth: int | None = None, **_given: Any,
) -> dict[str, Any]:  # fmt: skip
    """Have the newest commit of a branch in a folder, merged where that is a fast-forward.

    Salt gives whatever else an SLS says.
    """
    return __states__["git.latest"](
        name, target=target, rev=rev, branch=rev if rev != "HEAD" else None, user=user, identity=identity,
        submodules=submodules, depth=depth,
    )  # fmt: skip
