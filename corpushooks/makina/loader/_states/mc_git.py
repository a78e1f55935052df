# ruff: noqa: F821  (Salt fills in the names with underscores)
"""A checkout that follows a branch, or stands at a tag or commit: what makina-states called mc_git.latest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from salt.exceptions import CommandExecutionError

__salt__: dict[str, Callable[..., Any]]  # Salt's loader fills these in
__states__: dict[str, Callable[..., dict[str, Any]]]


def latest(
    name: str, target: str = "", rev: str = "HEAD", user: str | None = None, identity: str | None = None,
    submodules: bool = False, depth: int | None = None, **_given: Any,
) -> dict[str, Any]:  # fmt: skip
    """Have the newest commit of a branch in a folder, merged where that is a fast-forward; else a tag or a commit.

    root runs no git in a folder that others can write: there its owner does. Salt gives whatever else an SLS says.
    """
    rev = str(rev)
    try:
        user = __salt__["mc_files.runner"](target, user)
        branch = rev if rev != "HEAD" and _is_branch(name, rev, user, identity) else None
    except CommandExecutionError as exc:
        return {"name": name, "result": False, "changes": {}, "comment": str(exc)}
    if branch or rev == "HEAD":
        return __states__["git.latest"](
            name, target=target, rev=rev, branch=branch, user=user, identity=identity, submodules=submodules,
            depth=depth,
        )  # fmt: skip
    return __states__["git.detached"](
        name, rev, target=target, user=user, identity=identity, submodules=submodules, force_checkout=True,
    )  # fmt: skip


def _is_branch(url: str, rev: str, user: str | None, identity: str | None) -> bool:
    """Ask the remote repository whether a revision is one of its branches."""
    heads = __salt__["git.ls_remote"](remote=url, ref=f"refs/heads/{rev}", user=user, identity=identity)
    return bool(heads)
