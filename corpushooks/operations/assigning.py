"""Turn a change by `corpus set` into a commit on pillar.git's branch, checked like a pushed one."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from corpushooks import git
from corpushooks.checks.finding import Finding
from corpushooks.core.deployment import REFUSED, Deployment, ProjectRow
from corpushooks.core.errors import ConfigError, CorpusError, UsageError
from corpushooks.core.hints import command
from corpushooks.core.redaction import LEAST
from corpushooks.core.settings import Settings
from corpushooks.host.site import Site
from corpushooks.release import assigned, config, release, survey
from corpushooks.release import cfg as release_cfg
from corpushooks.release import keys as cfg_keys
from corpushooks.release.assigned import Change, Given, Put
from corpushooks.release.release import Release, Unheard
from corpushooks.reports import inspection, variables

INIT = "makina-projects.{}:\n  data: {{}}\n"  # of a pillar that is still empty


@dataclass(frozen=True)
class Made:
    """A commit that no ref points to yet."""

    ref: str
    base: str | None  # what it is made on top of
    commit: str
    message: str
    findings: Sequence[Finding] = ()


@dataclass(frozen=True)
class Below:
    """The layers of a project's cfg, without the set variables."""

    layers: config.Layers
    found: Release
    settings: Settings

    def cfg(self, given: Given) -> config.Cfg:
        return release_cfg.cfg_of(replace(self.layers, given=given), self.found, self.settings)


def make(site: Site, row: ProjectRow, change: Change, who: str) -> Made | None:
    """Make the commit for a change, on top of the branch; return None if nothing would differ.

    Raise CorpusError if the same commit would be refused in a push.
    """
    project, (ref, base) = site.host.project(row.name), variables.head(site, row)
    old = variables.given(site, row, base)
    missing = [drop for drop in change.drops if not assigned.is_there(old.data, drop)]
    if missing or change.puts:
        new = _judged(site, row, base, old, change, missing)
    else:
        new = assigned.changed(old, change)
    if assigned.dump(new) == assigned.dump(old):
        return None
    files: dict[str, bytes | None] = {assigned.FILE: assigned.dump(new) if new.data else None}
    if base is None:
        files["init.sls"] = INIT.format(project.name).encode()
    commit = git.commit_files(project.pillar_git, base, files, who, change.message)
    settings = site.settings_of(row)
    findings = survey.check_pillar(project, row.environment, settings, site.engine, commit)
    return Made(ref, base, commit, change.message, findings)


def _judged(
    site: Site, row: ProjectRow, base: str | None, old: Given, change: Change, missing: Sequence[assigned.Path]
) -> Given:
    """Return the variables after a change; raise UsageError if it does not fit the other layers."""
    project, settings = site.host.project(row.name), site.settings_of(row)
    code = row.code or git.ref(project.code_git, f"refs/heads/{row.branch}")
    redactor = release.redactor_of(settings)
    with tempfile.TemporaryDirectory(prefix="set-", dir=release.scratch(project)) as folder:
        found = release.candidate(project, row.environment, Path(folder), code, base)
        try:
            with site.engine.session(found.minion(settings), Unheard(redactor)) as session:
                below = Below(inspection.layers(site, session, settings, found, redactor), found, settings)
            for path in missing:
                raise _not_set(row.name, path, below)
            new = assigned.changed(old, change)
            refuse_misfits(row.name, change.puts, below)
            below.cfg(new)
        except CorpusError as exc:
            redactor.know(text for each in change.puts if each.secret for text in [str(each.value)])
            raise exc.reworded(redactor.redact) from None
    return new


def _not_set(name: str, path: assigned.Path, below: Below) -> UsageError:
    """Return the error for unsetting a key that was not set: it names the source of its value."""
    key, cfg = ".".join(path), below.cfg(Given())
    if not assigned.is_there(cfg.values["data"], path):
        return UsageError(f"{key} is not set", hint=command("set", name))
    layer = origin_of(cfg, path)
    return UsageError(
        f"{key} was not set by corpus set; its value is from {layer}", hint=command("config", name, "--origin")
    )


def refuse_misfits(name: str, puts: Sequence[Put], below: Below) -> None:
    """Raise UsageError for a key that conflicts with the other layers."""
    try:
        cfg = below.cfg(Given())
    except ConfigError:  # the change may repair it
        return
    data = cfg.values["data"]
    for each in puts:
        first = each.path[0]
        if first in below.layers.builtin and first not in data and not each.explicit:
            raise _not_a_variable(each)
        assigned.refuse_place(data, each, lambda path: origin_of(cfg, path))
        there = assigned.find(data, each.path)
        if isinstance(there, bool) and each.plain and isinstance(each.value, str):
            what = f"{each.key} must be true or false ({origin_of(cfg, each.path)}), not text"
            meant = "true" if each.value.lower() in ("y", "yes", "on", "true", "1") else "false"
            raise UsageError(what, hint=command("set", name, f"{each.key}={meant}"))


def _not_a_variable(each: Put) -> UsageError:
    first = each.path[0]
    other = f"for a variable of that name use data.{each.key}"
    if first in cfg_keys.FIXED:
        return UsageError(f"{first} is fixed by the host and cannot be set", hint=other)
    hint = f"set it in init.sls of pillar.git, next to data; {other}"
    return UsageError(f"{first} is a key of cfg, not a variable of the project", hint)


def origin_of(cfg: config.Cfg, path: assigned.Path) -> str:
    """Return the layer of the value at a path in data, or of the first value in it."""
    whole = ("data", *path)
    return next((layer for leaf, layer in cfg.origin.items() if leaf[: len(whole)] == whole), "cfg")


def store(site: Site, row: ProjectRow, made: Made) -> str:
    """Move the branch to a commit without deploying it; return the reason for a failure, or ''."""
    zero = "0" * len(made.commit)
    path = site.host.project(row.name).pillar_git
    return git.update_refs(path, [(made.ref, made.base or zero, made.commit)]).get(made.ref, "")


def was_overtaken(site: Site, row: ProjectRow, made: Made, deployment: Deployment) -> bool:
    """Say whether a commit was refused because the branch had moved meanwhile."""
    return deployment.state == REFUSED and variables.head(site, row)[1] not in (made.base, made.commit)


def ahead(site: Site, row: ProjectRow) -> Deployment | None:
    """Return the deployment that will move the branch of pillar.git before a new one can."""
    found = [*site.history.unfinished(row.name), *site.history.queued(row.name)]
    return next((each for each in found if each.request.repo == "pillar"), None)


def remarks(site: Site, row: ProjectRow, puts: Sequence[Put]) -> list[str]:
    """Return warnings about secrets that others can see: on a command line, or too short to be redacted."""
    redactor, said = release.redactor_of(site.settings_of(row)), []
    for each in puts:
        text = isinstance(each.value, str) and each.value
        if text and not each.secret and any(map(redactor.hides, each.path)):
            what = f"{each.key} was on a command line, where others can see it; {each.key}=- reads standard input"
            said.append(what)
        elif text and each.secret and len(each.value) < LEAST:
            said.append(f"{each.key} has fewer than {LEAST} characters; it is not redacted in logs")
    return said
