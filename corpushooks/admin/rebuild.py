"""Rebuild a lost store: from what can still be read of it, and from the files of each project."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from corpushooks import git, tree
from corpushooks.core import claims
from corpushooks.core.deployment import (
    BROKEN,
    DECIDES,
    DEPLOYED,
    DONE,
    FAILED,
    REFUSED,
    ROLLED_BACK,
    RUNNING,
    TOUCHES,
    Deployment,
    ProjectRow,
    Request,
)
from corpushooks.core.errors import CorpusError, LostStoreError, NotAllowedError, UsageError
from corpushooks.core.events import Began, Event, Text, Verdict
from corpushooks.core.hints import Hint, command
from corpushooks.core.project import Host, Project
from corpushooks.core.settings import Settings
from corpushooks.host import layout
from corpushooks.host.last import last_cfg
from corpushooks.screen import view
from corpushooks.store import log, lost, old_logs
from corpushooks.store.database import UNREADABLE, Salvage, files, keep_aside, put, salvage
from corpushooks.store.history import History, open_store
from corpushooks.store.migrations import TABLES
from corpushooks.system.locks import alone, locked

ARCHIVE = re.compile(r"\d{4}-\d\d-\d\d_\d\d_\d\d-\d\d_(\d+)")


@dataclass(frozen=True)
class Told:
    """What the log of a deployment says."""

    environment: str = ""
    kind: str = "deploy"
    state: str = ""
    ended: bool = False
    began: float = 0.0
    last: float = 0.0


def rebuild(host: Host, settings: Settings) -> list[str]:
    """Rebuild a lost store and keep the old one aside; return what was done, in lines.

    An intact store is left alone. No daemon can run meanwhile: raise NoDaemonError if one does.
    """
    if host.state_dir.exists() and not os.access(host.state_dir, os.R_OK | os.W_OK | os.X_OK):
        raise NotAllowedError(UNREADABLE)
    projects = lost.projects(host)
    if not projects and not host.store.exists():
        raise UsageError(f"no projects exist under {host.root}", hint=command("init", "NAME"))
    layout.make_host(host)
    with alone(host), ExitStack() as held:
        for project in projects:
            held.enter_context(locked(project))
        missing = _damage(host)
        if not missing:
            return ["the store is intact; nothing was changed"]
        new = host.store.with_name(f"{host.store.name}.rebuilt")
        made = [] if new.exists() and not host.store.exists() else _build(host, settings, projects, new)
        return [missing, *made, *_replace(host, new)]


def _damage(host: Host) -> str:
    """Return what is wrong with the store, or ''."""
    try:
        with closing(open_store(host)) as store:
            store.check()
            lost.check(host, store)
    except LostStoreError as exc:
        return exc.message
    return ""


def _build(host: Host, settings: Settings, projects: Sequence[Project], new: Path) -> list[str]:
    """Build the new store beside the old one."""
    building = host.store.with_name(f"{host.store.name}.building")
    for file in files(building):
        file.unlink(missing_ok=True)
    found = _salvage(host)
    with closing(History(building)) as store:
        counts = {table: store.fill(table, found.rows.get(table, ())) for table in TABLES}
        read = (view.count(counts[table], table) for table in ("project", "deployment"))
        lines = [f"read from the old store: {', '.join(read)}"]
        for project in projects:
            lines += _complete(store, project, settings, found.damaged)
            lines += _claim(store, project)
        if counts["key"] or counts["freeze"]:
            missing = "keys and freezes are from the old store; later changes may be lost, check them: "
            lines.append(host.spell(Hint(missing, command("key", "list"))))
    building.rename(new)
    return lines


def _salvage(host: Host) -> Salvage:
    """Read what is readable of the old store, from a copy."""
    host.scratch.mkdir(mode=0o700, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="store-", dir=host.scratch) as folder:
        for file in files(host.store)[:2]:  # the third one sqlite rebuilds from these
            with suppress(OSError):
                shutil.copyfile(file, Path(folder) / file.name)
        return salvage(Path(folder) / host.store.name)


def _replace(host: Host, new: Path) -> list[str]:
    """Put the new store in place. If interrupted in between, there is no store, and rebuild is run again."""
    stamp = time.strftime("%Y-%m-%d_%H_%M-%S", time.gmtime())
    kept = keep_aside(host.store, f"damaged-{stamp}")
    put(new, host.store)
    return [f"kept: {path}" for path in kept]


# data from disk


def _complete(store: History, project: Project, settings: Settings, damaged: frozenset[str]) -> list[str]:
    """Add missing data of a project to the store; return what was added, in lines."""
    name, row = project.name, store.project(project.name)
    archives = dict(lost.numbered(project.archives, ARCHIVE))
    overtaken = _end_overtaken(store, project, archives)
    known = {one.number for one in store.deployments(name)}
    numbers = {*lost.numbers(project.logs, lost.LOG), *archives, *_pins(project)}
    told = {number: _told_by_log(project.log_file(number)) for number in numbers - known}
    told.update(_unlogged(project, [number for number in told if not told[number].began], archives))
    behind = max(told, default=0) > max(known, default=0)
    missing = behind or (row is None and "project" in damaged)  # otherwise a project without a row was removed
    missing = missing or (row is not None and overtaken)
    if not missing and not told:
        return []
    store.fill("deployment", (_as_row(_deployment_on_disk(project, n, told[n], archives.get(n))) for n in sorted(told)))
    lines = [f"{name}: {view.count(len(told), 'deployment')} from logs, archives and pins"] if told else []
    if missing:
        environments = [one.environment for _, one in sorted(told.items(), reverse=True) if one.environment]
        made = _project_row(store, project, row, [*environments, settings.sound(name).environment][0])
        store.forget_project_row(name)
        store.fill("project", [asdict(made)])
        live = f"deployment {made.live} at {view.short(made.code)}" if made.live else "nothing"
        lines.append(f"{name}: {made.environment}, deploys {made.branch}, live is {live}; check this")
    _journal_interrupted(store, project)
    return lines


def _unlogged(project: Project, numbers: Sequence[int], archives: Mapping[int, Path]) -> dict[int, Told]:
    """Return what to assume about deployments without a log: they have ended.

    The branch moves at publish, so the newest deployment of its commit is live.
    """
    head = git.ref(project.code_git, f"refs/heads/{git.head_branch(project.code_git)}") if numbers else None
    live = max((n for n in numbers if head and git.pinned(project.code_git, n) == head), default=0)
    found = {}
    for number in numbers:
        at = archives[number].stat().st_mtime if number in archives else 0.0
        found[number] = Told(state=DEPLOYED if number == live else REFUSED, ended=True, began=at, last=at)
    return found


def _end_overtaken(store: History, project: Project, archives: Mapping[int, Path]) -> bool:
    """End deployments whose end the store has lost, so that none of them is rolled back or started again."""
    newest, found = max(lost.numbers(project.logs, lost.LOG), default=0), []
    for one in (*store.unfinished(project.name), *store.queued(project.name)):
        told = _told_by_log(project.log_file(one.number))
        if told.ended or one.number < newest:
            ended = replace(
                told, ended=True, state=told.state if told.ended else REFUSED, last=max(told.last, one.queued)
            )
            traced = _deployment_on_disk(project, one.number, ended, archives.get(one.number))
            store.forget_deployment_row(one)
            kept = {"token": one.token, "request": json.dumps(asdict(one.request)), "old_code": one.old_code,
                    "old_pillar": one.old_pillar, "queued": one.queued}  # fmt: skip
            store.fill("deployment", [{**_as_row(traced), **kept}])
            found.append(one)
    return bool(found)


def _claim(store: History, project: Project) -> list[str]:
    """Claim the ports and addresses in the last cfg of a project."""
    row = store.project(project.name)
    if row is None or row.live is None:
        return []
    try:
        cfg = last_cfg(project)
        other = store.claim(project.name, row.live, claims.of(cfg)) if cfg else None
    except (KeyError, TypeError, CorpusError):
        return []  # the next deployment claims them
    return [f"{project.name}: {other.claim} also belongs to project {other.project}"] if other else []


def _pins(project: Project) -> list[int]:
    try:
        return git.pins(project.code_git)
    except CorpusError:
        return []


def _told_by_log(path: Path) -> Told:
    """Read what a log says about its deployment."""
    told = Told()
    for record in log.read(path):
        told = replace(_after_event(told, record.event), began=told.began or record.at, last=record.at)
        told = replace(told, ended=told.ended or record.end)
    return told


def _after_event(told: Told, event: Event) -> Told:
    """Return what is known after one more event."""
    if isinstance(event, Began) and not told.environment:
        return replace(told, environment=event.environment, kind=event.kind)
    if isinstance(event, Verdict):
        return replace(told, state=event.state)
    if isinstance(event, Text):
        opening, state = old_logs.opening(event.text), "" if event.more else old_logs.ending(event.text)
        told = replace(told, state=state or told.state)
        return replace(told, environment=opening[0], kind=opening[1]) if opening and not told.environment else told
    return told


def _deployment_on_disk(project: Project, number: int, told: Told, archive: Path | None) -> Deployment:
    """Return a deployment as found on disk; one without an end was interrupted."""
    runs = not told.ended and archive is not None and tree.is_whole(archive / "project")
    state = RUNNING if runs else told.state if told.ended else REFUSED
    state = REFUSED if state == BROKEN and archive is None else state  # it was refused because the project was broken
    done = None if runs else told.last
    return Deployment(
        project.name, number, f"rebuilt {number}", state, Request(kind=told.kind, token=f"rebuilt {number}"),
        new_code=git.pinned(project.code_git, number), new_pillar=git.pinned(project.pillar_git, number),
        archive=archive.name if archive else None, queued=told.began, started=told.began, decided=done, ended=done,
        reason="" if state in (DEPLOYED, DONE, RUNNING) else _reason(project, number),
    )  # fmt: skip


def _reason(project: Project, number: int) -> str:
    there = project.log_file(number).is_file()
    return "see its log for the reason" if there else "unknown: its log is lost"


def _as_row(one: Deployment) -> dict[str, object]:
    return {**asdict(one), "request": json.dumps(asdict(one.request))}


def _project_row(store: History, project: Project, row: ProjectRow | None, environment: str) -> ProjectRow:
    """Return the row of a project, computed from all its deployments in order."""
    branch = row.branch if row else git.head_branch(project.code_git)
    made = ProjectRow(
        project.name, row.environment if row else environment, branch, row.created if row else time.time()
    )
    for one in reversed(store.deployments(project.name)):
        deploys = one.request.sort.releases
        if one.state == DEPLOYED:
            made = replace(made, live=one.number, code=one.new_code, pillar=one.new_pillar, broken=None, broken_by=None)
        elif one.state == BROKEN:
            why = f"the rollback of deployment {one.number} failed"
            made = replace(made, broken=why, broken_by=one.number)
        elif one.state == DONE and one.request.sort.repairs:
            made = replace(made, broken=None, broken_by=None)
        if one.state in (DEPLOYED, ROLLED_BACK, DONE):
            made = replace(made, tree_code=made.code, tree_pillar=made.pillar)
        elif one.state == FAILED and deploys and one.archive:  # in dev the failed tree stays
            made = replace(made, tree_code=one.new_code, tree_pillar=one.new_pillar)
    if made.code is None:
        code = git.ref(project.code_git, f"refs/heads/{branch}")
        made = replace(made, code=code, tree_code=made.tree_code or code)
    return made


def _journal_interrupted(store: History, project: Project) -> None:
    """Journal all steps that an interrupted deployment may have begun: the daemon rolls it back or completes it."""
    row = store.project(project.name)
    for one in store.unfinished(project.name):
        begun = store.steps(one)
        whole = one.archive is not None and tree.is_whole(project.archives / one.archive / "project")
        if row is None or one.final or not whole or TOUCHES in begun:
            continue
        head = git.ref(project.code_git, f"refs/heads/{row.branch}")
        moved = head is not None and head == one.new_code != row.code
        for step in ["archive", TOUCHES, *([DECIDES] if moved else [])]:
            store.begin(one, step)
