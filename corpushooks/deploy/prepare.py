"""Before anything is touched: from which to which commit a deployment goes, and whether it may."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from corpushooks import git, tree
from corpushooks.checks.finding import Finding, errors, warnings
from corpushooks.core.deployment import DEPLOYED, PILLAR, Deployment, ProjectRow, Request, Revision, enabled
from corpushooks.core.errors import BrokenError, GitError, RefusedError, SaltError, UsageError
from corpushooks.core.events import Complained, Item, listed
from corpushooks.core.hints import Hint, command
from corpushooks.core.project import Project
from corpushooks.core.settings import Settings
from corpushooks.deploy.push import NOW, PLAN, select
from corpushooks.deploy.run import Run
from corpushooks.host import claiming, layout
from corpushooks.host.site import Site
from corpushooks.release import cfg as release_cfg
from corpushooks.release import commits, contents, edits, release, survey
from corpushooks.release.cfg import Inputs
from corpushooks.release.release import Release
from corpushooks.salt import Session
from corpushooks.screen import view
from corpushooks.system import apt

HOLD = 300.0  # seconds that a deployment is held where neither request nor settings say how long
CHOICE = 100  # deployments of which those are named that can be returned to


def aim(run: Run) -> None:
    """Record from where to where a deployment goes, pin its commits, say so; have Salt get ready."""
    run.salt.begin(release.live(run.project, run.row.environment))  # Salt prepares meanwhile
    head = f"refs/heads/{run.row.branch}"
    old = Revision(git.ref(run.project.code_git, head), git.ref(run.project.pillar_git, head))
    _check_unmoved(run, head, old)
    _check_lost(run)
    _check_return(run)
    new = _targets(run, old)
    stamp = time.strftime("%Y-%m-%d_%H_%M-%S", time.gmtime())
    with run.site.effect("aim"):
        stamped = f"{stamp}_{run.deployment.number}"
        run.deployment = run.site.history.aim(run.deployment, old, new, stamped, lease(run.settings, run.request))
    with run.site.effect("pin"):
        for path, commit in zip((run.project.code_git, run.project.pillar_git), new, strict=True):
            if commit:
                git.pin(path, run.deployment.number, commit)
    _tell_aim(run, old, new)


def _tell_aim(run: Run, old: Revision, new: Revision) -> None:
    """Say from where to where a deployment goes, and what is not as it was left."""
    if run.row.live and old.code != run.row.code:
        at = f"{view.short(old.code)}, which is not" if old.code else "gone, and not"
        run.voice.warn(
            f"{run.row.branch} was {'at ' if old.code else ''}{at} what was live: something moved it that runs no hooks"
        )
    change = _change(run, new.code)
    run.voice.tell(
        replace(
            run.began(), old=run.row.code, new=new.code, old_pillar=run.row.pillar, new_pillar=new.pillar,
            commits=change.added,
        )
    )  # fmt: skip
    if change.lost:
        lost = git.lost_commits(run.project.code_git, str(run.row.code), str(new.code))
        run.voice.warn(*(f"no longer live: {line}" for line in lost))


def lease(settings: Settings, request: Request) -> float | None:
    """Return for how many seconds a deployment is held before it is final; None: not. Raise UsageError for too long."""
    if not request.sort.releases or not (request.confirm or settings.confirm):
        return None
    if request.confirm > settings.confirm_limit:
        raise UsageError(f"confirm={request.confirm} exceeds the limit of {settings.confirm_limit:g} s (confirm_limit)")
    return min(float(request.confirm) if request.confirm > 0 else settings.confirm or HOLD, settings.confirm_limit)


def requested(site: Site, row: ProjectRow, request: Request) -> Request:
    """Return a request of the command, checked and with its revision resolved to a commit."""
    wanted, project = select(request), site.host.project(row.name)
    lease(site.settings_of(row), wanted)  # must be right
    if not wanted.sort.asked:
        raise UsageError(f"unknown request {wanted.kind!r}")
    if wanted.sort.returns and not wanted.target:
        wanted = replace(wanted, target=_earlier(site, row))
    if wanted.new:
        wanted = replace(wanted, new=git.resolve(project.code_git, wanted.new))
        if wanted.sort.releases:
            commits.check_commit(project, row.environment, wanted.new, wanted)
    return wanted


def _earlier(site: Site, row: ProjectRow) -> int:
    """Return the deployment that a roll back without a number returns to."""
    earlier = site.history.earlier(row.name, row.code, row.pillar)
    if earlier is None:
        raise UsageError(f"{row.name} has no earlier release to return to", hint=command("history", row.name))
    return earlier.number


def lost(project: Project, row: ProjectRow, request: Request) -> tuple[int, list[str]]:
    """Return how many commits of the branch a push to refs/deploy/now lacks, and name some: git refuses none there.

    What is live can always be deployed again. A commit that is no longer in the repository cannot be lost.
    """
    path, live = layout.repo_path(project, request.repo), row.deployed.of(request.repo)
    if request.ref not in (NOW, PLAN) or request.new == live:
        return 0, []
    for old in (live, git.ref(path, f"refs/heads/{row.branch}")):
        with contextlib.suppress(GitError):
            if old and (number := git.change(path, old, request.new).lost):
                return number, git.lost_commits(path, old, request.new)
    return 0, []


def refusal(row: ProjectRow, request: Request, number: int) -> RefusedError:
    """Return what to say of a push that lacks commits: `git push -f` never reaches a server, so -o force does it."""
    remote, deploy, flag = (
        (row.environment, "", "") if request.repo == "project" else ("REMOTE", f" HEAD:{NOW}", "-o deploy ")
    )  # fmt: skip
    return RefusedError(
        f"non-fast-forward: it lacks {view.count(number, 'commit')} of {row.branch}",
        hint=f"git pull {remote} {row.branch}; or, to lose them: git push -o force {remote}{deploy},"
        f" git push -f {flag}{remote} HEAD:{row.branch}",
    )


def _check_lost(run: Run) -> None:
    """Refuse a push that lacks commits which are live by now; a plan only says so."""
    number, named = lost(run.project, run.row, run.request)
    if not number or run.request.force:
        return
    refused = refusal(run.row, run.request, number)
    if run.request.sort.dry:
        run.voice.warn(f"{refused.message}: a push is refused without -o force")
        return
    run.voice.tell(listed("lacks", list(map(Item, named))))
    raise refused


def _check_return(run: Run) -> None:
    """Refuse a deployment that could not be rolled back, as where a repository was made anew."""
    for path, commit in ((run.project.code_git, run.row.tree_code), (run.project.pillar_git, run.row.tree_pillar)):
        try:
            _ = git.commit(path, commit) if commit else ""
        except GitError as exc:
            raise RefusedError(
                f"the live commit {view.short(commit)} is not in {path.name}: a failure could not be rolled back",
                hint=f"push it there first, from where it is: git push REMOTE {commit}:refs/heads/live",
            ) from exc


def unpin(run: Run) -> None:
    """Let the commits of a deployment go that was none."""
    for path in (run.project.code_git, run.project.pillar_git):
        git.unpin(path, run.deployment.number)


def clear_left(run: Run) -> None:
    """Remove the locks of a daemon that was killed, and what it was just writing aside."""
    for path in (run.project.code_git, run.project.pillar_git):
        git.clear_locks(path)
    for path in (run.project.minion_dir / ".minion.new", run.project.work_git / ".stamps.new"):
        path.unlink(missing_ok=True)


def _check_unmoved(run: Run, head: str, now: Revision) -> None:
    """Refuse, as git would, a push whose ref is no longer what the client saw, nor what it shall be."""
    request, ref = run.request, now.of(run.request.repo)
    if request.via in ("push", "set") and request.ref == head and ref not in (request.old or None, request.new):
        raise RefusedError("the branch was moved while this push waited", hint="git fetch, then push again")


def _targets(run: Run, old: Revision) -> Revision:
    """Return the commits that a request wants deployed."""
    request, live = run.request, run.row.code or old.code
    if request.sort.returns:
        target = run.site.history.deployment(run.project.name, request.target)
        if target.state != DEPLOYED:
            raise UsageError(f"deployment {target.number} was never live", command("history", run.project.name))
        _check_there(run, target)
        return target.new
    if request.repo == PILLAR:
        if live is None:
            raise RefusedError("nothing is deployed yet", hint="push the project first, then its pillar")
        return Revision(live, request.new or old.pillar)
    return Revision(request.new or live, old.pillar)


def _check_there(run: Run, target: Deployment) -> None:
    """Refuse a roll back to what is gone: once an archive is rotated away, git may let go of its commits."""
    if _is_there(run.project, target):
        return
    name = run.project.name
    found = [one for one in run.site.history.deployments(name, CHOICE) if one.state == DEPLOYED]
    left = [str(one.number) for one in found if one.number != run.row.live and _is_there(run.project, one)]
    choice = f"what can be returned to: {', '.join(left[:10])}; " if left else ""
    message = f"the commits of deployment {target.number} are gone: its archive was rotated away"
    raise UsageError(message, Hint(choice, command("archives", name)))


def _is_there(project: Project, one: Deployment) -> bool:
    pairs = zip((project.code_git, project.pillar_git), one.new, strict=True)
    try:
        return all(git.commit(path, commit) for path, commit in pairs if commit)
    except GitError:
        return False


def _change(run: Run, new: str | None) -> git.Change:
    """Count the commits between what is live and what shall be."""
    old = run.row.code
    return git.change(run.project.code_git, old, new) if new and old and old != new else git.Change(0, 0)


def check(run: Run) -> None:
    """Refuse what cannot be deployed."""
    name, new = run.project.name, run.deployment.new_code
    if run.row.broken:
        raise BrokenError(f"{name} is broken: {run.row.broken}", hint=command("repair", name))
    if new is None:
        raise RefusedError("there is nothing to deploy yet", hint="git push a commit first")
    changed = (new, run.deployment.new_pillar) != (run.row.tree_code, run.row.tree_pillar)
    if changed and not enabled(run.request, "sync"):
        raise UsageError("only/skip leave out sync, but the commit is new", hint="leave sync in")
    entries = git.listing(run.project.code_git, new)
    commits.check_commit(run.project, run.row.environment, new, run.request, entries)
    _check_edits(run, entries)
    if changed:
        commits.check_paths(run.project.code_git, new, entries)
        attributes = git.attributes(run.project.code_git, new, entries)
        tell(run, survey.of_tree(entries, attributes, run.row.environment))
        if pillar := run.deployment.new_pillar:  # pushed before, and maybe past our checks
            commits.check_pillar_commit(run.project.pillar_git, pillar)
    if changed and not _was_checked(run, new, entries):
        run.foresees = True
        with run.site.effect("check syntax"), candidate(run, release.exported) as found:
            check_syntax(run, found)
            _claim(run, found)
    _ = run.salt.session  # where Salt cannot be had nothing was touched yet


def _claim(run: Run, found: Release) -> None:
    """Claim what the release to deploy names, before anything is touched; what few name is asked for only there."""
    texts = contents.read(found)
    if not any(re.search(r"\b(urls|ports)\b", texts.text(path)) for path in texts.contents if _has_cfg(path)):
        return
    folder = found.minion_dir.parent / "claims"
    whole = release.beside(run.project, run.row.environment, folder, found.salt, found.pillar)
    with run.site.engine.session(whole.minion(run.settings), release.Unheard(run.voice.redactor)) as session:
        read = release_cfg.layers(session, inputs(run, whole, "", run.deadline.left()))
    claim(run, release_cfg.cfg_of(read, whole, run.settings).values)


def claim(run: Run, cfg: Mapping[str, Any]) -> None:
    """Claim what a cfg names; raise RefusedError where something of it is not free. A plan only says so."""
    dry = run.request.sort.dry
    refused = claiming.claim(run.site, run.project, run.deployment.number, cfg, dry=dry)
    if refused and not dry:
        raise refused
    if refused:
        run.voice.warn(f"{refused.message}: a push is refused")


def inputs(run: Run, found: Release, chrono: str, timeout: float | None = None) -> Inputs:
    """Return what the cfg of a release is computed from in a deployment."""
    port = run.site.ports(run.project)
    return Inputs(found, run.settings, run.request, run.voice.redactor, port, run.archive, chrono, timeout)


def _has_cfg(path: str) -> bool:
    return path.startswith("pillar/") or path == f".salt/{release.SAMPLE}"


def _check_edits(run: Run, entries: git.Listing) -> None:
    """In dev, refuse to write over what was edited on the server; a plan only says so."""
    old, pillar = run.row.tree_code, run.deployment.new_pillar
    if not run.in_dev or run.request.force or old is None or not enabled(run.request, "sync"):
        return
    before: git.Listing = []
    with contextlib.suppress(GitError):  # a repository that was made anew may lack the live commit
        before = git.listing(run.project.code_git, old)
    found = edits.overwritten(
        run.project, before, entries, git.listing(run.project.pillar_git, pillar) if pillar else [],
        run.deadline.patience(), (run.deployment.new_code, pillar),
    )  # fmt: skip
    if not found:
        return
    run.voice.tell(listed("edited", list(map(Item, found))))
    text = f"{view.count(len(found), 'file')} edited on the server would be lost"
    if run.request.sort.dry:
        run.voice.warn(f"{text}: a push is refused")
    else:
        raise RefusedError(text, hint="commit them too, or push with -o force: the archive keeps them")


def _was_checked(run: Run, new: str, entries: git.Listing) -> bool:
    """Say whether Salt reads of a commit what it read of the live one, whose syntax was checked."""
    old, repo = run.row.tree_code, run.project.code_git
    if old is None or run.deployment.new_pillar != run.row.tree_pillar:
        return False
    if git.folder(entries, f".salt/{run.row.environment}") is not None:
        return False  # which of its files are read is the environment's choice
    try:
        return git.object_id(repo, old, ".salt") == git.object_id(repo, new, ".salt")
    except GitError:  # a repository that was made anew may lack the live commit
        return False


def check_syntax(run: Run, found: Release, hint: str = "nothing was touched; mend it and push again") -> None:
    """Refuse a release in whose files something is wrong that shows before they are rendered: file and line."""
    run.deadline.check()
    assert run.salt.session is not None
    texts = contents.read(found)
    try:
        problems = release.syntax(run.salt.session, found, run.voice.redactor, contents.readable(found, texts))
    except SaltError:
        run.deadline.check()
        raise
    said = [*survey.static(found, texts), *survey.packaged(found, texts, {}, apt.Lists())]
    said = survey.cleared([*said, *(survey.of_problem(found, each) for each in problems)], run.voice.redactor)
    wrong = [each for each in errors(said) if not _is_aside(each)]
    run.voice.warn(*(each.text for each in errors(said) if _is_aside(each)))
    tell(run, [*warnings(said), *wrong[1:]])
    if wrong:
        raise RefusedError(str(wrong[0]), f"{wrong[0].help}; {hint}" if wrong[0].help else hint)


def _is_aside(finding: Finding) -> bool:
    """Say whether what was found is in a task, which no deployment runs, and lets the file itself be read."""
    return finding.file.rpartition("/")[2].startswith("task_") and not finding.sort.unreadable


def tell(run: Run, findings: Iterable[Finding], *, so_far: bool = False) -> None:
    """Say what was found, each thing once; `so_far`: an SLS that runs before may change it."""
    fresh = [each for each in survey.cleared(findings, run.voice.redactor) if each not in run.told]
    run.told.update(fresh)
    if so_far:
        run.voice.warn(*(f"{each.text} (so far)" for each in fresh))
        return
    for each in errors(fresh):
        run.voice.tell(Complained(each.text))
    run.voice.warn(*(each.text for each in warnings(fresh)))


def foresee(run: Run, session: Session, found: Release, stems: list[str]) -> None:
    """Say, before the first SLS runs, what Salt and this host have against them as things are."""
    texts = contents.read(found)
    tell(run, survey.carried(found, texts, run.salt.cfg.odd if run.salt.cfg else ()))
    if run.settings.engine != "warm":  # a salt-call for each would take a second
        return
    compiled = session.compile([run.project.sls_id(stem) for stem in stems], timeout=run.deadline.left())
    told = dict(zip((found.states / f"{stem}.sls" for stem in stems), compiled, strict=True))
    said = survey.compiled(found, texts, told, apt.Lists(), literal=False)
    first = f".salt/{stems[0]}.sls" if stems else ""  # its turn is now: it says itself what is wrong
    said = [each for each in said if not each.sort.passing and not (each.file == first and each.sort.of_salt)]
    tell(run, said, so_far=True)


Make = Callable[[Project, str, Path, "str | None", "str | None"], Release]


@contextlib.contextmanager
def candidate(run: Run, make: Make = release.candidate) -> Iterator[Release]:
    """The release to deploy, in a folder of its own for as long as it is needed."""
    folder = run.project.minion_dir / "candidate" / str(run.deployment.number)
    tree.remove(folder)
    done = run.deployment
    try:
        yield make(run.project, run.row.environment, folder, done.new_code, done.new_pillar)
    finally:
        tree.remove(folder)
