"""The variables set by `corpus set` for a project, in the newest commit of its pillar.git."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from corpushooks import git
from corpushooks.core.deployment import ProjectRow
from corpushooks.core.errors import RefusedError
from corpushooks.core.project import Project
from corpushooks.host.site import Site
from corpushooks.release import assigned, release
from corpushooks.release.assigned import Given


def given(site: Site, row: ProjectRow, commit: str | None) -> Given:
    """Return the variables in a commit of pillar.git; raise CorpusError if their file is not ours, or damaged."""
    project = site.host.project(row.name)
    content = git.content(project.pillar_git, commit, assigned.FILE) if commit else None
    other = content is None and commit and assigned.FILE in _names(project, commit)  # a folder, a link
    if other or (content is not None and not assigned.is_ours(content)):
        raise RefusedError(
            f"{assigned.FILE} in pillar.git was not written by corpus set",
            hint=f"rename it; or restore its first line, if it was removed: git log -p {assigned.FILE}",
        )
    return assigned.load(content)


def _names(project: Project, commit: str) -> Iterable[str]:
    return git.folder(git.listing(project.pillar_git, commit), "") or ()


def head(site: Site, row: ProjectRow) -> tuple[str, str | None]:
    """Return the branch of pillar.git and its commit."""
    ref = f"refs/heads/{row.branch}"
    return ref, git.ref(site.host.project(row.name).pillar_git, ref)


def listed(site: Site, row: ProjectRow) -> Mapping[str, Any]:
    """Return the variables in the newest commit of pillar.git, with secrets masked."""
    found = given(site, row, head(site, row)[1])
    redactor = release.redactor_of(site.settings_of(row))
    return dict(redactor.masked(found.masked(found.data)))
