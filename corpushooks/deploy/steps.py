"""The steps of the procedure, forward and back. Each can run twice."""

from __future__ import annotations

import time
from pathlib import Path

from corpushooks import git, tree
from corpushooks.core.deployment import DECIDES, PILLAR, enabled
from corpushooks.core.errors import CancelledError, CorpusError, SaltError, StepError
from corpushooks.core.events import LEFT_OUT, NOTHING, Detail, HealthAsked, SlsBegan
from corpushooks.core.text import middle, shortened
from corpushooks.deploy import archives, beyond, pillars, prepare, trees
from corpushooks.deploy.progress import NOWHERE, Mark, Progress
from corpushooks.deploy.run import Run
from corpushooks.host import accounts, layout, outside, wiring
from corpushooks.release import cfg as release_cfg
from corpushooks.release import edits, release
from corpushooks.release.release import Release
from corpushooks.salt import Result
from corpushooks.screen.view import NAMED, failed_ids, short
from corpushooks.system import disk, health  # fmt: skip
from corpushooks.system.patience import Check, endless

# the steps


def archive(run: Run, mark: Mark) -> Detail:
    """Keep project/ as it is."""
    with run.site.effect("layout"):
        layout.make(run.project, run.row.branch)
        run.archive.mkdir(parents=True, exist_ok=True)
        run.archive.chmod(0o700)
    outside.settle(run.project, run.row.live or 0)  # files written since by tasks, or by people with salt-call
    previous = archives.last(run.project, run.archive.name)
    seen = edits.look(run.project, run.deadline.patience()) if run.in_dev else {}
    found = tree.scan(run.project.tree, run.deadline.patience())
    archives.check_room(run, 2 * tree.cost(found, previous))  # a rollback also keeps the failed tree
    layout.keep_ballast(run.project.host)
    if enabled(run.request, "archive") and _run_special(run, "archive"):
        found = tree.scan(run.project.tree, run.deadline.patience())
    with run.site.effect("snapshot"):
        report = tree.snapshot(found, run.saved, previous, run.deadline.patience())
    run.voice.warn(*report.warnings)
    if run.in_dev:
        edits.keep_pillar(run.project, run.archive / "pillar", run.deadline.patience())
    if enabled(run.request, "archive"):
        _run_special(run, "post_archive")
    if (
        run.in_dev and edits.look(run.project, run.deadline.patience()) != seen
    ):  # sync could overwrite edits saved since
        check = run.deadline.patience()
        run.voice.warn(*tree.snapshot(tree.scan(run.project.tree, check), run.saved, previous, check).warnings)
        edits.keep_pillar(run.project, run.archive / "pillar", run.deadline.patience())
    return Detail(report.changed, "file", of=report.files)


def sync(run: Run, mark: Mark) -> Detail:
    """Bring stage, project/ and pillar/ to the commits to deploy; wiring and cfg follow."""
    if not enabled(run.request, "sync"):
        _rewire(run)
        return LEFT_OUT
    layout.make(run.project, run.row.branch)
    changed = trees.bring(run)
    _rewire(run)
    return Detail(changed, "file")


def _rewire(run: Run) -> None:
    """Update wiring and cfg from the trees."""
    with run.site.effect("wire"):
        wiring.wire(run.project, run.row.environment)
    with run.site.effect("compute cfg"):
        open_session(run)
    prepare.claim(run, run.salt.cfg.values if run.salt.cfg else {})


def open_session(run: Run, found: Release | None = None) -> Release:
    """Open a Salt session on the live trees, or another release, with its cfg."""
    found = found or release.live(run.project, run.row.environment)
    session = run.salt.open(found)
    given = prepare.inputs(run, found, run.deployment.archive or "", run.deadline.left())
    run.salt.cfg = release_cfg.compute(session, given)
    release.remember(run.project, run.voice.redactor)
    values = run.salt.cfg.values
    run.voice.warn(*accounts.make_groups(run.project.host, values["groups"]))
    run.voice.warn(*accounts.make_user(run.project, str(values["user"]), str(values["group"])))
    return found


def fixperms(run: Run, mark: Mark) -> Detail:
    """Set owners and modes: fixperms.sls, or the built-in."""
    if not run.undoing:  # an SLS may have mounted something
        trees.check_place(run)
    if not enabled(run.request, "fixperms"):
        return LEFT_OUT
    if _run_special(run, "fixperms"):
        return Detail(note="fixperms.sls")
    if run.undoing:
        return Detail(note="as they were")  # the archive has them
    values = run.salt.cfg.values if run.salt.cfg else {}
    user, group = (str(values.get(key, getattr(run.project, key))) for key in ("user", "group"))
    uid, gid = accounts.account_ids(run.project.host, user, group)
    with run.site.effect("permissions"):
        report = tree.fix(run.project.tree, uid=uid, gid=gid, check=run.deadline.patience())
        data = tree.fix(run.project.data, uid=uid, gid=gid, recursive=False)
    run.voice.warn(*report.warnings, *data.warnings)
    changed = report.changed + data.changed
    return Detail(changed, note="changed") if changed else NOTHING


def fixperms_before(run: Run, mark: Mark) -> Detail:
    """Set owners and modes before install; failures of fixperms.sls are warnings, since install may be needed first."""
    try:
        return fixperms(run, mark)
    except StepError as exc:
        if isinstance(exc, CancelledError) or exc.__cause__ is not None:  # it did not end with a failed state
            raise
        run.voice.warn(f"{exc}; it runs again after install")
        return Detail(note="failed")


def install(run: Run, mark: Mark) -> Detail:
    """Run the install SLS in order, up to the first that fails."""
    assert run.salt.release is not None
    if not enabled(run.request, "install"):
        return LEFT_OUT
    beyond.begin(run)
    stems = run.salt.release.install(run.request.steps)
    if run.foresees:
        assert run.salt.session is not None
        prepare.foresee(run, run.salt.session, run.salt.release, stems)
    for index, stem in enumerate(stems):
        run.deadline.check()
        run.site.history.begin(run.deployment, f"install {stem}")
        run_sls(run, SlsBegan(stem, "install", mark.index, mark.total, first=index == 0))
    beyond.reload(run, mark)
    _await_health(run)
    return NOTHING


def _await_health(run: Run) -> None:
    """Run the health checks in `health` of the cfg."""
    wanted = run.salt.cfg.values["health"] if run.salt.cfg else []
    run.site.history.want_checks(run.project.name, run.deployment.number, wanted)
    for check in health.checks(wanted):
        began = time.monotonic()
        run.site.history.begin(run.deployment, f"health {shortened(str(check))}")
        wrong = health.await_answer(check, run.deadline.patience(), run.start)
        run.voice.tell(HealthAsked(shortened(str(check)), time.monotonic() - began, wrong))
        if wrong:
            raise StepError("health check failed", why=f"{shortened(str(check))}: {wrong}")


def conclude(run: Run, check: Check = endless) -> None:
    """Flush everything that a deployment wrote to disk, before a row says that it is there.

    In dev, record what it changed itself: those are not edits.
    """
    project = run.project
    if run.in_dev and not run.undoing:
        edits.deployed(project, run.salt.touched, synced=enabled(run.request, "sync"), check=check)
    elif run.in_dev and run.restored is not None:
        edits.changed_by(project, run.restored, run.salt.touched)
    disk.flush_all(project.dir, project.minion_dir, project.host.salt_dir, project.host.pillar_dir)


def publish(run: Run, mark: Mark, *, here: bool = True) -> Detail:
    """Move the refs and record that the deployment is live, `here` or on nodes; its journal row is the commit point."""
    for path, name, old, new in _moves(run):
        with run.site.effect("move ref"):
            if not git.move_ref(path, name, old, new) and git.ref(path, name) != new:
                raise StepError("publish failed", why=f"{name} of {path.name} moved meanwhile")
    with run.site.effect("record live"):
        run.deployment = run.site.history.publish(run.deployment, here=here)
    if here:
        outside.settle(run.project, run.deployment.number)
    return Detail(note=f"{run.row.branch} {short(run.deployment.new_code)}")


def _moves(run: Run) -> list[tuple[Path, str, str | None, str]]:
    """Return the refs that this deployment moves: (repository, ref, old, new)."""
    head, done = f"refs/heads/{run.row.branch}", run.deployment
    repos = layout.REPOS if run.request.repo == PILLAR or run.request.rollout else layout.REPOS[:1]
    pairs = [(layout.repo_path(run.project, each), done.old.of(each), done.new.of(each)) for each in repos]
    return [(path, head, old, new) for path, old, new in pairs if new and new != old]


def notify(run: Run, mark: Mark) -> Detail:
    """Send the notifications in the settings, and run notify.sls if the project has one."""
    if not enabled(run.request, "notify"):
        return LEFT_OUT
    told = run.announce()
    ran = "notify.sls" if _run_special(run, "notify") else ""
    if told:
        return Detail(told, "notification", note=f", {ran}" if ran else "")
    return Detail(note=ran)


# the way back


def take_back_refs(run: Run, mark: Mark) -> Detail:
    """Move back the refs that publish moved."""
    if DECIDES in run.site.history.steps(run.deployment):
        for path, name, old, new in _moves(run):
            with run.site.effect("undo move ref"):
                git.take_back_ref(path, name, new, old)
    return NOTHING


def keep_failed(run: Run, mark: Mark) -> Detail:
    """Keep the failed project/ under a temporary name: old rollback.sls files write to its final place."""
    aside, place, check = run.archive / ".failed", run.archive / "project.failed", run.deadline.patience()
    trees.check_place(run)  # the other mount may be anything, of any size
    project = run.project
    tree.loosen(project.dir, project.git_dir, project.work_git, project.archives, run.archive)
    if tree.is_whole(aside) or tree.is_whole(place) or not layout.is_there(run.project):
        return NOTHING
    try:
        if run.in_dev:  # edits saved since the sync
            edits.keep_pillar(run.project, run.archive / "pillar.failed")
        with run.site.effect("undo snapshot"):
            report = tree.snapshot(tree.scan(run.project.tree, check), aside, run.saved, check)
    except CorpusError as exc:
        tree.remove(aside)  # a partial one may fill the disk
        run.voice.warn(f"cannot keep the failed tree: {exc}")
        return NOTHING
    return Detail(report.changed, "file", of=report.files, note="kept")


def restore(run: Run, mark: Mark) -> Detail:
    """Restore stage, pillar/, project/ and the wiring."""
    project = run.project
    trees.check_place(run)
    with run.site.effect("undo layout"):
        trees.make_way(run, run.archive)
        layout.make(project, run.row.branch)
    with run.site.effect("undo checkout stage"):
        trees.checkout(project, project.stage, run.row.tree_code)
    with run.site.effect("undo checkout pillar"):
        trees.checkout(project, project.pillar_stage, run.row.tree_pillar)
    with run.site.effect("undo sync pillar"):
        pillars.lay(project)
    with run.site.effect("undo sync tree"):
        report = tree.restore(run.saved, project.tree)
        if tree.is_whole(run.archive / "pillar"):  # it had been edited
            tree.restore(run.archive / "pillar", project.pillar)
    run.voice.warn(*report.warnings)
    if run.in_dev:
        run.restored = edits.look(project)
    run.salt.close()
    run.salt.again.clear()
    with run.site.effect("undo claim"):
        run.site.history.unclaim(project.name, run.deployment.number)
    with run.site.effect("undo wire"):
        wiring.wire(project, run.row.environment)
    return Detail(report.changed, "file")


def rollback_sls(run: Run, mark: Mark) -> Detail:
    """Run rollback.sls of the restored release; then move the failed tree to its final place."""
    open_session(run)
    ran = run.row.tree_code is not None and _run_special(run, "rollback")
    place_failed(run)
    return Detail(note="rollback.sls") if ran else NOTHING


def place_failed(run: Run) -> None:
    """Move the failed project/ to its final place."""
    if tree.is_whole(run.archive / ".failed"):
        with run.site.effect("undo place failed"):
            tree.remove(run.archive / "project.failed")
            tree.rename(run.archive / ".failed", run.archive / "project.failed")


def keep_edited(run: Run) -> None:
    """Keep project/ and pillar/ if they differ from the commits that are checked out again."""
    try:
        if not edits.look(run.project):
            return
        keep_failed(run, NOWHERE)
        place_failed(run)
    except CorpusError as exc:
        run.voice.warn(f"cannot keep the edits: {exc}")


# running SLS


def _run_special(run: Run, stem: str) -> bool:
    """Run one of the procedures that a project can override; return whether the project has it."""
    if not (run.salt.release or release.live(run.project, run.row.environment)).has(stem):
        return False
    if run.salt.session is None or run.salt.cfg is None:
        open_session(run)
    run_sls(run, SlsBegan(stem, "hook"))
    return True


def run_sls(run: Run, began: SlsBegan) -> Result:
    """Run one SLS and report it; raise StepError if it failed."""
    stem, name = began.sls, _named(run, began)
    run.deadline.check()
    assert run.salt.session is not None and run.salt.release is not None
    if run.undoing:
        run.salt.again.append(stem)
    start, run.salt.progress = time.monotonic(), Progress(run.voice.tell, began, run.voice.hide)
    sls = run.project.sls_id(stem)
    try:
        with run.site.effect("SLS"):
            result = run.salt.session.run(sls, timeout=run.deadline.left())
    except SaltError as exc:
        run.deadline.check()
        raise StepError(name, why=str(exc)) from exc
    took = time.monotonic() - start
    run.event("sls", {"sls": stem, "ok": result.ok, "states": len(result.states), "seconds": round(took, 3)})
    run.salt.progress.end(result, "" if result.ok else run.salt.session.command(sls))
    named = [name for state in result.states if state.changes for name in (state.name, *state.changes)]
    run.salt.touched |= {name for name in named if str(name).startswith("/")}
    if not result.ok:
        raise StepError(f"{name} failed", why=failed_ids(result))
    return result


def _named(run: Run, began: SlsBegan) -> str:
    """Return the name of an SLS for errors, with its step."""
    shown = middle(run.voice.hide(began.sls), NAMED)
    if began.role == "task":
        return f"task {shown.removeprefix('task_')}"
    return f"install {shown}" if began.role != "hook" else f"{shown}.sls"
