"""One SLS file of a project in a session of its own, from commits that are exported beside.

A deployment that runs meanwhile changes nothing in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from corpushooks import tree
from corpushooks.core.deployment import Revision
from corpushooks.core.events import SlsBegan
from corpushooks.core.project import Project
from corpushooks.deploy import prepare, steps
from corpushooks.deploy.run import Run
from corpushooks.release import cfg as release_cfg
from corpushooks.release import release


def folder_of(project: Project) -> Path:
    """Return the folder in which the commits are exported."""
    return project.backups / "salt"


def names(run: Run) -> list[str]:
    """Return the names of the files of the live release, among them the SLS files."""
    return release.live(run.project, run.row.environment).names() if run.row.tree_code else []


def perform(run: Run, began: SlsBegan, stem: str, revision: Revision, more: Mapping[str, Any] | None = None) -> None:
    """Run an SLS file of a revision; its cfg has `more`. Raise StepError or SaltError."""
    folder = folder_of(run.project)
    run.salt.close()
    tree.remove(folder)
    folder.mkdir(parents=True, mode=0o700)
    try:
        found = release.candidate(run.project, run.row.environment, folder, revision.code, revision.pillar)
        session = run.salt.open(found)
        given = prepare.inputs(run, found, run.deployment.archive or "", run.deadline.left(), more)
        run.salt.cfg = release_cfg.compute(session, given)
        steps.run_sls(run, began)
    finally:
        run.salt.close()
        tree.remove(folder)
