"""Bring the trees of a project (stage, project/ and pillar/) to commits, and handle obstacles."""

from __future__ import annotations

from pathlib import Path

from corpushooks import git, tree
from corpushooks.core.errors import GitError
from corpushooks.core.events import Item, Noted, listed
from corpushooks.core.hints import Hint, command
from corpushooks.core.project import Project
from corpushooks.core.text import shortened, shown
from corpushooks.deploy import pillars
from corpushooks.deploy.run import Run
from corpushooks.host import layout
from corpushooks.screen.view import count
from corpushooks.system.patience import Check, endless

REPLACED = 5  # files of the application named in a warning


def bring(run: Run) -> int:
    """Bring stage, pillar/ and project/ to the commits to deploy; return the number of changed files."""
    new, project = run.deployment.new_code, run.project
    check_place(run)
    changes = git.differing(project.work_git, run.row.tree_code, new or git.empty_tree(project.work_git))
    gone = [path for letter, path in changes if letter == "D"]
    fresh = frozenset(path for letter, path in changes if letter == "A")
    with run.site.effect("checkout stage"):
        since = (run.row.tree_code, changes) if run.row.tree_code else None
        checkout(project, project.stage, new, run.deadline.patience(), since)
    with run.site.effect("checkout pillar"):
        checkout(project, project.pillar_stage, run.deployment.new_pillar, run.deadline.patience())
    with run.site.effect("sync pillar"):
        pillars.lay(project, run.deadline.patience())
    with run.site.effect("sync tree"):
        report = tree.sync(project.stage, project.tree, gone, project.stamps, run.deadline.patience(), fresh)
    run.voice.warn(*report.warnings)
    _name_replaced(run, report.replaced)
    return report.changed


def _name_replaced(run: Run, paths: tuple[str, ...]) -> None:
    """Warn about files of the application that were replaced by files of the commit."""
    if not paths:
        return
    names = [run.voice.hide(shown(path)) for path in sorted(paths)]
    some = ", ".join(shortened(name, 80) for name in names[:REPLACED]) + (", …" if len(names) > REPLACED else "")
    run.voice.warn(
        f"{count(len(paths), 'file')} of the application replaced by files of the commit, kept in the archive: {some}"
    )
    if len(names) > REPLACED:
        run.voice.tell(listed("replaced", list(map(Item, names))))


def checkout(
    project: Project, folder: Path, commit: str | None, check: Check = endless, since: git.Since | None = None
) -> None:
    """Make a folder of ours equal to a commit; unlike git, never write into a mount or empty it."""
    tree.refuse_mounts(folder)
    try:
        git.checkout(project.work_git, folder, commit, check, since)
    except (GitError, PermissionError):
        if not tree.loosen_all(folder, project.work_git):
            raise
        git.checkout(project.work_git, folder, commit, check)


def bring_again(run: Run) -> None:
    """Restore the files of the deployed commits after a folder was lost."""
    project = run.project
    git.distrust(project.work_git)
    checkout(project, project.stage, run.row.tree_code, run.deadline.patience())
    checkout(project, project.pillar_stage, run.row.tree_pillar, run.deadline.patience())
    pillars.lay(project, run.deadline.patience())
    report = tree.sync(project.stage, project.tree, [], project.stamps, run.deadline.patience())
    run.voice.warn(*report.warnings)
    run.voice.tell(Noted(f"{count(report.changed, 'file')} of the deployed commit restored"))
    left = "other files of project/, as of the last deployment, are in the archives: "
    run.voice.warn(run.spell(Hint(left, command("archives", project.name))))


def check_place(run: Run) -> None:
    """Raise TreeError if something was mounted on project/ or unmounted since it was archived."""
    tree.check_place(tree.place_in(run.saved), run.project.tree)


def make_way(run: Run, aside: Path) -> list[str]:
    """Move aside whatever replaced folders of the project; return the names of these folders."""
    moved = layout.replaced(run.project)
    for path in moved:
        run.voice.warn(f"{path.name}/ was not a folder; moved aside to {tree.set_aside(path, aside)}")
    return [path.name for path in moved]
