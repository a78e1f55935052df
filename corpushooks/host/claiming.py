"""Claim ports and addresses for a deployment, before it changes anything."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from corpushooks.core import claims
from corpushooks.core.claims import PORT, Claim, Held
from corpushooks.core.errors import RefusedError
from corpushooks.core.hints import Hint, command
from corpushooks.core.project import Project
from corpushooks.host import accounts
from corpushooks.host.site import Site
from corpushooks.system import sockets


def claim(site: Site, project: Project, number: int, cfg: Mapping[str, Any], *, dry: bool) -> RefusedError | None:
    """Claim the ports and addresses of a cfg, unless `dry`; return why one is not free, or None."""
    wanted = claims.of(cfg)
    refused = refusal(site, project, cfg, wanted)
    if refused or dry:
        return refused
    with site.effect("claim"):
        other = site.history.claim(project.name, number, wanted)
    return _refused(project, cfg, other) if other else None


def refusal(
    site: Site, project: Project, cfg: Mapping[str, Any], wanted: Sequence[Claim], *, look: bool = True
) -> RefusedError | None:
    """Return why claims would be refused, or None; `look`: also check which ports are in use on this host."""
    held = {(each.claim.kind, each.claim.value): each for each in site.history.held()}
    for each in wanted:
        there = held.get((each.kind, each.value))
        if there and there.project != project.name:
            return _refused(project, cfg, Held(each, there.project, there.asked))
    mine = {key for key, each in held.items() if each.project == project.name}
    fresh = [each for each in wanted if each.kind == PORT and (each.kind, each.value) not in mine]
    if not fresh or not look:
        return None
    listening = sockets.listening()
    for each in fresh:
        if who := _other_listener(project, str(cfg["user"]), listening.get(int(each.value), {})):
            return RefusedError(f"{each} is in use on this host, by {who}", claims.remedy(project.name, each, cfg))
    return None


def _refused(project: Project, cfg: Mapping[str, Any], other: Held) -> RefusedError:
    remedy = claims.remedy(project.name, other.claim, cfg)
    return RefusedError(
        f"{other.claim} belongs to project {other.project}",
        Hint(remedy, "; or, to release it: ", command("remove", other.project)),
    )


def _other_listener(project: Project, user: str, found: Mapping[int, int]) -> str:
    """Return which other process listens at a port; nothing if it is free or the project's own."""
    uid, _ = accounts.account_ids(project.host, user, project.group)
    foreign = {inode for inode, owner in found.items() if uid is None or owner != uid}
    if not foreign:
        return ""
    pids = sockets.holders(foreign)
    others = [pid for pid in pids if not sockets.works_in(pid, project.dir)]
    if pids and not others:
        return ""
    return sockets.described(others[0]) if others else f"another process{'' if os.geteuid() == 0 else ' (not yours)'}"
