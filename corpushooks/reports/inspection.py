"""Look at a project without deploying anything: its status and its cfg."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpushooks import git
from corpushooks import tree as trees
from corpushooks.backup import standing
from corpushooks.core.deployment import DEPLOYING, HELD, Deployment, ProjectRow, Request
from corpushooks.core.errors import CorpusError, Fault, GitError, LogError, SaltError
from corpushooks.core.hints import Advice, Hint, command
from corpushooks.core.project import Project
from corpushooks.core.redaction import Redactor
from corpushooks.core.settings import Settings
from corpushooks.host import parts
from corpushooks.host.site import Site
from corpushooks.protocol import gives
from corpushooks.release import assigned, config, release
from corpushooks.release import cfg as release_cfg
from corpushooks.release.cfg import Inputs
from corpushooks.release.release import Release, Unheard
from corpushooks.reports import on_nodes
from corpushooks.salt import Session
from corpushooks.screen import view
from corpushooks.store import lease
from corpushooks.store.fleet import Obedience
from corpushooks.store.kept import Backups


def faults(site: Site, row: ProjectRow) -> list[Fault]:
    """Return the faults in the files of a project, with commands spelled for a host at /."""
    running = site.history.unfinished(row.name)
    number = running[0].number if running else 0
    return parts.faults(site.host.project(row.name), row, site.settings, number)


def status(site: Site, row: ProjectRow, spell: Callable[[Advice], str]) -> gives.Status:
    """Return the status of a project: the live release, running and waiting deployments, and faults."""
    history, found = site.history, faults(site, row)
    last, failed, frozen = history.deployments(row.name, 1), history.failed(row.name), history.frozen(row.name)
    itself = history.frozen_itself(row.name)
    tried = history.tried(row.name, DEPLOYING)
    live = history.deployment(row.name, row.live) if row.live else None
    branch = _branch(site.host.project(row.name), row)
    now = history.project(row.name) or row  # a deployment may just have ended
    busy = [_open_deployment(d) for d in [*history.unfinished(row.name), *history.queued(row.name)] if not d.final]
    drift = _drift(site.host.project(row.name), found) if row.live and not busy else []
    nodes = on_nodes.of_project(site, now, busy)
    ahead = _pillar_ahead(site.host.project(row.name), row)
    return gives.Status(
        project=row.name,
        environment=row.environment,
        branch=row.branch,
        live=row.live,
        since=live.decided if live else None,
        by=live.request.who if live else None,
        commit=row.code,
        branch_at=branch,
        branch_moved=not found and branch not in (row.code, now.code) and not busy,
        tree=row.tree_code,
        pillar=row.pillar,
        pillar_ahead=ahead,
        broken=row.broken,
        frozen=str(frozen) if frozen else None,
        frozen_host=frozen is not None and not frozen.project,
        frozen_itself=str(itself) if itself else None,
        open=busy,
        last=_shown(last[0] if last else None),
        last_deployment=_shown(tried),
        last_failure=_shown(failed),
        drift=drift,
        health=_health(site, row),
        backup=_backup(site, row),
        nodes=[each.name for each in nodes],
        on_nodes=nodes,
        faults=[gives.Fault(what=each.what, repair=spell(each.repair)) for each in found],
    )


def _shown(deployment: Deployment | None) -> gives.Deployment | None:
    return gives.Deployment(**deployment.as_json()) if deployment else None


def _open_deployment(deployment: Deployment) -> gives.Open:
    """Return a deployment that has not ended; for a held one with the seconds left to confirm it."""
    left = lease.lease_of(deployment).left() if deployment.state == HELD else None
    return gives.Open(**deployment.as_json(), left=left)


def _drift(project: Project, found: list[Fault]) -> list[str] | None:
    """Return the changed paths of project/; None, and an additional fault, if they cannot be determined."""
    try:
        return list(trees.drift(project.stage, project.tree, project.stamps))
    except CorpusError as exc:
        if not found:
            found.append(Fault(exc.message, command("deploy", project.name)))
    return None


def _health(site: Site, row: ProjectRow) -> gives.Health | None:
    """Return the last health of the live release; None if it is not checked."""
    found = site.history.health(row.name)
    if not found or not site.settings.sound(row.name).health_every or row.broken or row.tree_code != row.code:
        return None
    return gives.Health(state=found.state, since=found.since, times=found.times, reason=found.reason)


def _backup(site: Site, row: ProjectRow) -> gives.Standing | None:
    """Return the state of a project's backups; None if this host has no backups."""
    kept = site.settings.backup
    if kept is None:
        return None
    found = standing.of_project(site.host, kept, row, Backups(site.history).of(row.name))
    return gives.Standing(at=found.at, proved=found.proved, wrong=found.wrong, overdue=list(found.overdue))


def _branch(project: Project, row: ProjectRow) -> str | None:
    """Return the commit of the branch; None if unreadable, which is reported as a fault."""
    with suppress(GitError):
        return git.ref(project.code_git, f"refs/heads/{row.branch}")
    return None


def _pillar_ahead(project: Project, row: ProjectRow) -> bool:
    """Say whether a pushed pillar is not deployed yet; False if unreadable, which is reported as a fault."""
    with suppress(GitError):
        return bool(row.live) and git.ref(project.pillar_git, f"refs/heads/{row.branch}") != row.pillar
    return False


def check_log(project: Project, deployment: Deployment) -> None:
    """Raise LogError if the log of an ended deployment is gone."""
    path, called = project.log_file(deployment.number), view.named(deployment.as_json())
    if deployment.ended and not path.is_file():
        what = "is not a file" if path.exists() else "is missing"
        hint = Hint("what is known of it: ", command("history", project.name))
        raise LogError(f"the log of {called} of {project.name} {what}: {path}", hint)


@dataclass(frozen=True)
class Seen:
    """The cfg of the live release, masked unless secrets are wanted, and what each of its values was read from."""

    values: dict[str, Any]
    origin: dict[str, dict[str, str]]  # the path of a value, with dots -> its layer, and the file where that has one


def cfg(site: Site, row: ProjectRow, folder: Path, *, secrets: bool = False) -> Seen:
    """Compute the cfg of the live release; `folder` is empty and takes what Salt writes."""
    project, settings = site.host.project(row.name), site.settings_of(row)
    pillar = project.pillar_stage
    if row.tree_pillar and not git.is_checked_out(project.work_git, pillar):  # after an upgrade
        pillar = folder / "pillar"
        git.export(project.work_git, pillar, row.tree_pillar)
    found = release.beside(project, row.environment, folder, project.stage / ".salt", pillar)
    redactor = release.redactor_of(settings)
    with site.engine.session(found.minion(settings), Unheard(redactor)) as session:
        try:
            read = layers(site, session, settings, found, redactor)
            computed = release_cfg.cfg_of(read, found, settings)
            origin = _origin(session, found, read, computed)
        except CorpusError as exc:
            raise exc.reworded(redactor.redact) from None
    return Seen(computed.values if secrets else masked(computed, read, redactor), origin)


def layers(site: Site, session: Session, settings: Settings, found: Release, redactor: Redactor) -> config.Layers:
    """Return the layers of the cfg of a release that is not deployed."""
    archive, port = found.project.archives / "none", site.ports(found.project)
    placed = Obedience(site.history).placed(found.project.name, Request())
    return release_cfg.layers(
        session, Inputs(found, settings, Request(), redactor, port, archive, "none", placed=placed)
    )


def _origin(session: Session, found: Release, read: config.Layers, cfg: config.Cfg) -> dict[str, dict[str, str]]:
    """Return the layer and the file of each value."""
    init, own = found.pillar / "init.sls", dict[str, Any]()
    if init.is_file():
        with suppress(SaltError):  # it is empty
            own = session.facts(init).sample
    files = {**_files(found), **({"pillar": INCLUDED} if "include" in own else {})}
    sources = config.sources(read, cfg, name=found.project.name, own_pillar=own)
    said = {path: (layer, files.get(sources[path], "")) for path, layer in cfg.origin.items()}
    if cfg.origin["default_env",] == "built-in":
        said["default_env",] = ("built-in", "corpus init --env")
    if read.builtin["keep_archives"] != Settings().keep_archives and cfg.origin["keep_archives",] == "built-in":
        said["keep_archives",] = ("built-in", f"{found.project.host.config_file}: keep_archives")
    return {".".join(path): {"layer": layer, "file": file} for path, (layer, file) in sorted(said.items())}


def cfg_of(site: Site, row: ProjectRow, deployment: Deployment) -> dict[str, Any]:
    """Return the masked cfg of a deployment's release; raise GitError if its commits are gone."""
    project, settings = site.host.project(row.name), site.settings_of(row)
    redactor = release.redactor_of(settings)
    with tempfile.TemporaryDirectory(prefix="corpus-") as folder:
        at = Path(folder)
        found = release.candidate(project, row.environment, at, deployment.new_code, deployment.new_pillar)
        with site.engine.session(found.minion(settings), Unheard(redactor)) as session:
            read = layers(site, session, settings, found, redactor)
            computed = release_cfg.cfg_of(read, found, settings)
    return masked(computed, read, redactor)


def masked(cfg: config.Cfg, read: config.Layers, redactor: Redactor) -> dict[str, Any]:
    """Return a cfg with secrets masked: by key, by known values, or because they were set as secrets."""
    return dict(redactor.masked({**cfg.values, "data": read.given.masked(cfg.values["data"])}))


INCLUDED = "included by pillar/init.sls, or in the pillar of the host"


def _files(found: Release) -> dict[str, str]:
    """Return the files of the layers of a cfg."""
    host = found.project.host
    return {
        "PILLAR.sample": ".salt/PILLAR.sample",
        "init.sls": "pillar/init.sls",
        assigned.LAYER: f"pillar/{assigned.FILE}",
        "pillar": f"{host.pillar_dir}: the pillar of the host",
        "minion": f"{host.config_file}: minion",
        "grains": "the grains of the host",
    }
