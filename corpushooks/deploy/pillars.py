"""The pillar of a project, twice: the stage that Salt reads and only root can write, and pillar/ for people and SLS."""

from __future__ import annotations

from corpushooks import git, tree
from corpushooks.core.deployment import ProjectRow
from corpushooks.core.project import Project
from corpushooks.host import layout, wiring
from corpushooks.system.patience import Check, endless


def lay(project: Project, check: Check = endless) -> None:
    """Make pillar/ equal to its stage and remove everything else there; not with git, since others can write there."""
    tree.refuse_mounts(project.pillar)
    staged = {path for path, _ in tree.scan(project.pillar_stage, check).entries}
    there = tree.scan(project.pillar, check) if project.pillar.is_dir() else None
    for path in sorted(path for path, _ in there.entries if path not in staged) if there else ():
        tree.remove(project.pillar / path, check)
    tree.sync(project.pillar_stage, project.pillar, (), project.pillar_stamps, check)


def is_missing(project: Project, row: ProjectRow) -> bool:
    """Say whether the stage is missing: an older version had only pillar/."""
    return bool(row.tree_pillar) and not git.is_checked_out(project.work_git, project.pillar_stage)


def stage(project: Project, row: ProjectRow) -> None:
    """Check out the pillar for Salt if it is missing."""
    if row.tree_pillar and is_missing(project, row):
        layout.make(project, row.branch)
        git.checkout(project.work_git, project.pillar_stage, row.tree_pillar)
        wiring.wire(project, row.environment)
