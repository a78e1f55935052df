"""The pillar of a project, twice: what Salt reads, which only root can write, and pillar/ for people and SLS files."""

from __future__ import annotations

from corpushooks import git, tree
from corpushooks.core.deployment import ProjectRow
from corpushooks.core.project import Project
from corpushooks.host import layout, wiring
from corpushooks.system.patience import Check, endless


def lay(project: Project, check: Check = endless) -> None:
    """Make pillar/ what its stage has. What lies there besides goes; others may write there, so git does not."""
    tree.refuse_mounts(project.pillar)
    staged = {path for path, _ in tree.scan(project.pillar_stage, check).entries}
    there = tree.scan(project.pillar, check) if project.pillar.is_dir() else None
    for path in sorted(path for path, _ in there.entries if path not in staged) if there else ():
        tree.remove(project.pillar / path, check)
    tree.sync(project.pillar_stage, project.pillar, (), project.pillar_stamps, check)


def is_missing(project: Project, row: ProjectRow) -> bool:
    """Say whether Salt has no pillar, since an older version had it in pillar/ only."""
    return bool(row.tree_pillar) and not git.is_checked_out(project.work_git, project.pillar_stage)


def stage(project: Project, row: ProjectRow) -> None:
    """Check the pillar out for Salt where it is missing."""
    if row.tree_pillar and is_missing(project, row):
        layout.make(project, row.branch)
        git.checkout(project.work_git, project.pillar_stage, row.tree_pillar)
        wiring.wire(project, row.environment)
