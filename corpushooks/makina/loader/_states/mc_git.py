# ruff: noqa: F821  (Salt fills in the names with underscores)
"""A checkout of a branch, a tag or a commit: mc_git.latest of makina-states."""

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
    """Check out the newest commit of a branch, if that is a fast-forward, or a tag or commit.

    In a folder that others can write git runs as the owner, not as root. Salt passes all other arguments of the SLS.
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
