"""A plan: what a deployment would change, state by state. It changes nothing.

As root the new files are mounted over project/ in a private mount namespace of the Salt process, so that states see
them; otherwise states see the tree as it is, and results that may differ because of that are marked.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from corpushooks import git
from corpushooks.core.deployment import DONE
from corpushooks.core.errors import CorpusError, ProcessError
from corpushooks.core.events import Item, SlsBegan, listed
from corpushooks.core.text import clean, shown
from corpushooks.deploy import prepare, progress
from corpushooks.deploy.run import Run
from corpushooks.release import cfg as release_cfg
from corpushooks.release import release
from corpushooks.release.release import Release
from corpushooks.salt import Result
from corpushooks.screen import view
from corpushooks.system.process import run as run_program

COMMITS = 20  # that are listed

Change = tuple[str, str]  # status letter, path


def plan(run: Run) -> None:
    """Show what a deployment would change."""
    try:
        prepare.aim(run)
        prepare.check(run)
        new = run.deployment.new_code or git.empty_tree(run.project.work_git)
        changes = git.differing(run.project.work_git, run.row.tree_code, new)
        _show_commits(run)
        _show_files(run, changes)
        _states(run, changes)
    except CorpusError as exc:
        run.fail(run.deadline.cause(exc))
        return
    finally:
        run.salt.close()
        prepare.unpin(run)
    run.move(DONE)
    run.voice.tell(run.verdict())


def _show_commits(run: Run) -> None:
    """List the commits that would become live, newest first."""
    new, old = run.deployment.new_code, run.row.code
    if new is None or new == old:
        return
    subjects = git.lost_commits(run.project.code_git, new, old, COMMITS + 1)
    if subjects:
        named = [Item(run.voice.hide(clean(subject))) for subject in subjects[:COMMITS]]
        run.voice.tell(listed("commits", named, total=len(subjects)))


def _show_files(run: Run, changes: Sequence[Change]) -> None:
    """List the files that would change, with added and removed lines."""
    work, new = run.project.work_git, run.deployment.new_code
    counts = git.counted(work, run.row.tree_code, new or git.empty_tree(work))
    if changes:
        run.voice.tell(listed("files", [Item(shown(path), letter, counts.get(path, "")) for letter, path in changes]))


def _states(run: Run, changes: Sequence[Change]) -> None:
    """Run every install SLS of the candidate in Salt's test mode."""
    with prepare.candidate(run) as found:
        cover = _overlay_options(run, found, changes)
        minion = found.minion(replace(run.settings, minion={**run.settings.minion, **cover}))
        doubt = str(run.project.tree) if changes and not cover else ""
        session = run.salt.use(run.site.engine.session(minion, run.salt))
        run.salt.cfg = cfg = release_cfg.compute(session, prepare.inputs(run, found, run.deployment.archive or ""))
        _show_cfg(run, cfg.values)
        stems = found.install(run.request.steps)
        prepare.foresee(run, session, found, stems)
        for stem in stems:
            run.deadline.check()
            result = session.run(run.project.sls_id(stem), test=True, timeout=run.deadline.left())
            _report_sls(run, SlsBegan(stem, "plan"), result, doubt)
        run.salt.close()


def _report_sls(run: Run, began: SlsBegan, result: Result, doubt: str) -> None:
    """Report what an SLS would do."""
    run.voice.tell(began)
    for state in result.states:
        run.voice.tell(progress.told(state, doubt))
    run.voice.tell(progress.ended(began, result))


def _show_cfg(run: Run, new: Mapping[str, Any]) -> None:
    """Show the differences of the cfg; the names of this deployment and its archive always differ."""
    if run.row.tree_code is None:
        return
    project = run.project
    folder = project.minion_dir / "candidate" / f"{run.deployment.number}-live"
    folder.mkdir(parents=True)
    live = release.beside(project, run.row.environment, folder, project.stage / ".salt", project.pillar_stage)
    with run.site.engine.session(live.minion(run.settings), release.Unheard(run.voice.redactor)) as session:
        old = release_cfg.compute(session, prepare.inputs(run, live, str(new["chrono"]))).values
    lines = view.differences(run.voice.redactor.masked(old), run.voice.redactor.masked(new))
    if lines:
        run.voice.tell(listed("cfg", list(map(Item, lines))))


def _overlay_options(run: Run, found: Release, changes: Sequence[Change]) -> dict[str, object]:
    """Return the minion configuration that shows the new files in project/; empty if that is impossible."""
    upper, work = found.minion_dir.parent / "upper", found.minion_dir.parent / "work"
    work.mkdir()
    upper.mkdir()
    if run.settings.engine != "warm" or not _can_overlay(run.project.tree, upper, work):
        return {}
    written = [path for letter, path in changes if letter != "D"]
    git.export_files(run.project.work_git, upper, str(run.deployment.new_code), written)
    for path in (path for letter, path in changes if letter == "D"):
        _hide_in_overlay(upper / path)
    for folder in [upper, *(p for p in upper.rglob("*") if p.is_dir() and not p.is_symlink())]:
        _copy_owner_and_mode(folder, run.project.tree / folder.relative_to(upper))
    return {"corpushooks_overlay": {"target": str(run.project.tree), "upper": str(upper), "work": str(work)}}


def _can_overlay(tree: Path, upper: Path, work: Path) -> bool:
    """Say whether an overlay over a tree is possible here, by trying: not every combination of filesystems works."""
    options = f"lowerdir={tree},upperdir={upper},workdir={work}"
    if os.geteuid() or options.count(",") > 2 or options.count(":"):
        return False
    words: list[str | Path] = ["unshare", "--mount", "mount", "-t", "overlay", "-o", options, "overlay", tree]
    try:
        return not run_program(words, check=False).code
    except ProcessError:
        return False


def _hide_in_overlay(path: Path) -> None:
    """Hide a file of the lower folder. Source: the kernel's documentation of overlayfs."""
    if any(parent.is_file() or parent.is_symlink() for parent in path.parents) or path.is_dir():
        return  # a file replaced a folder, or a folder a file: the upper one hides it
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mknod(path, stat.S_IFCHR, os.makedev(0, 0))


def _copy_owner_and_mode(folder: Path, live: Path) -> None:
    """Give a folder of the overlay the owner and mode of the one it covers."""
    if live.is_dir() and not live.is_symlink():
        st = live.stat()
        os.chown(folder, st.st_uid, st.st_gid)
        folder.chmod(stat.S_IMODE(st.st_mode))
