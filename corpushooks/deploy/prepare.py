"""Before anything is touched: determine the commits of a deployment, and check whether it is allowed."""

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
from corpushooks.store.fleet import Obedience
from corpushooks.system import apt

HOLD = 300.0  # seconds to hold a deployment if neither request nor settings say how long
FOR_EVER = 10 * 365 * 86400.0  # seconds
CHOICE = 100  # recent deployments searched for possible targets of a rollback


def aim(run: Run) -> None:
    """Record the old and new commits of a deployment, pin and report them; start Salt meanwhile."""
    run.salt.begin(release.live(run.project, run.row.environment))  # Salt starts meanwhile
    target(run)


def target(run: Run, nodes: int = 0, how: str = "") -> None:
    """Record the old and new commits of a deployment, pin and report them; of a rollout with the number of nodes."""
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
                if run.request.rollout:
                    git.forget_rollouts(path, run.request.rollout)
    _tell_aim(run, old, new, nodes, how)


def _tell_aim(run: Run, old: Revision, new: Revision, nodes: int, how: str) -> None:
    """Report the old and new commits of a deployment, and a branch that was moved by others."""
    if run.row.live and old.code != run.row.code:
        at = f"was at {view.short(old.code)}" if old.code else "was missing"
        run.voice.warn(f"{run.row.branch} {at}, not at the live commit: it was changed without our hooks")
    change = _change(run, new.code)
    run.voice.tell(
        replace(
            run.began(), old=run.row.code, new=new.code, old_pillar=run.row.pillar, new_pillar=new.pillar,
            commits=change.added, nodes=nodes, how=how,
        )
    )  # fmt: skip
    if change.lost:
        lost = git.lost_commits(run.project.code_git, str(run.row.code), str(new.code))
        run.voice.warn(*(f"no longer live: {line}" for line in lost))


def lease(settings: Settings, request: Request) -> float | None:
    """Return the seconds to hold a deployment; None: it is not held. Raise UsageError for too long."""
    if request.rollout:
        return FOR_EVER if request.keeps else request.lease
    if not request.sort.releases or not (request.confirm or settings.confirm):
        return None
    if request.confirm > settings.confirm_limit:
        raise UsageError(f"confirm={request.confirm} exceeds the limit of {settings.confirm_limit:g} s (confirm_limit)")
    return min(float(request.confirm) if request.confirm > 0 else settings.confirm or HOLD, settings.confirm_limit)


def requested(site: Site, row: ProjectRow, request: Request) -> Request:
    """Check a request of the command; return it with its revision resolved to a commit."""
    wanted, project = select(request), site.host.project(row.name)
    lease(site.settings_of(row), wanted)  # raises if it is invalid
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
    """Return the target of a rollback without a number."""
    earlier = site.history.earlier(row.name, row.code, row.pillar)
    if earlier is None:
        raise UsageError(f"{row.name} has no earlier release to return to", hint=command("history", row.name))
    return earlier.number


def lost(project: Project, row: ProjectRow, request: Request) -> tuple[int, list[str]]:
    """Return the number of commits of the branch that a push to refs/deploy/now lacks, and some of them.

    git does not check this for that ref. The live commit can always be deployed again. A commit that is gone from the
    repository cannot be lost.
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
    """Return the error for a push that lacks commits; -o force overrides it, since git does not send us -f."""
    remote, deploy, flag = (
        (row.environment, "", "") if request.repo == "project" else ("REMOTE", f" HEAD:{NOW}", "-o deploy ")
    )  # fmt: skip
    return RefusedError(
        f"non-fast-forward: {view.count(number, 'commit')} of {row.branch} would be lost",
        hint=f"git pull {remote} {row.branch}; or, to drop them: git push -o force {remote}{deploy},"
        f" git push -f {flag}{remote} HEAD:{row.branch}",
    )


def _check_lost(run: Run) -> None:
    """Refuse a push that lacks commits which are live by now; a plan only warns."""
    number, named = lost(run.project, run.row, run.request)
    if not number or run.request.force:
        return
    refused = refusal(run.row, run.request, number)
    if run.request.sort.dry:
        run.voice.warn(f"{refused.message}; a push needs -o force")
        return
    run.voice.tell(listed("lacks", list(map(Item, named))))
    raise refused


def _check_return(run: Run) -> None:
    """Refuse a deployment that could not be rolled back, for example after a repository was recreated."""
    for path, commit in ((run.project.code_git, run.row.tree_code), (run.project.pillar_git, run.row.tree_pillar)):
        try:
            _ = git.commit(path, commit) if commit else ""
        except GitError as exc:
            raise RefusedError(
                f"the live commit {view.short(commit)} is missing in {path.name}; a failure could not be rolled back",
                hint=f"push it from a clone that has it: git push REMOTE {commit}:refs/heads/live",
            ) from exc


def unpin(run: Run) -> None:
    """Unpin the commits of a deployment that changed nothing."""
    for path in (run.project.code_git, run.project.pillar_git):
        git.unpin(path, run.deployment.number)


def clear_left(run: Run) -> None:
    """Remove locks and temporary files that a killed daemon left."""
    for path in (run.project.code_git, run.project.pillar_git):
        git.clear_locks(path)
    for path in (run.project.minion_dir / ".minion.new", run.project.work_git / ".stamps.new"):
        path.unlink(missing_ok=True)


def _check_unmoved(run: Run, head: str, now: Revision) -> None:
    """Refuse, as git would, a push whose ref is neither what the client saw nor what it wants."""
    request, ref = run.request, now.of(run.request.repo)
    if request.via in ("push", "set") and request.ref == head and ref not in (request.old or None, request.new):
        raise RefusedError("the branch moved while this push waited", hint="git fetch, then push again")


def _targets(run: Run, old: Revision) -> Revision:
    """Return the commits to deploy for a request."""
    request, live = run.request, run.row.code or old.code
    if request.rollout or request.nodes:
        return Revision(request.new, request.pillar or None)
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
    """Refuse a rollback to missing commits: once an archive is rotated away, git can collect its commits."""
    if _is_there(run.project, target):
        return
    name = run.project.name
    found = [one for one in run.site.history.deployments(name, CHOICE) if one.state == DEPLOYED]
    left = [str(one.number) for one in found if one.number != run.row.live and _is_there(run.project, one)]
    choice = f"possible targets: {', '.join(left[:10])}; " if left else ""
    message = f"the commits of deployment {target.number} are gone: its archive was rotated away"
    raise UsageError(message, Hint(choice, command("archives", name)))


def _is_there(project: Project, one: Deployment) -> bool:
    pairs = zip((project.code_git, project.pillar_git), one.new, strict=True)
    try:
        return all(git.commit(path, commit) for path, commit in pairs if commit)
    except GitError:
        return False


def _change(run: Run, new: str | None) -> git.Change:
    """Count the commits between the live one and the new one."""
    old = run.row.code
    return git.change(run.project.code_git, old, new) if new and old and old != new else git.Change(0, 0)


def check(run: Run) -> None:
    """Refuse a deployment that cannot succeed."""
    name, new = run.project.name, run.deployment.new_code
    if run.row.broken:
        raise BrokenError(f"{name} is broken: {run.row.broken}", hint=command("repair", name))
    if new is None:
        raise RefusedError("nothing to deploy yet", hint="git push a commit first")
    changed = (new, run.deployment.new_pillar) != (run.row.tree_code, run.row.tree_pillar)
    if changed and not enabled(run.request, "sync"):
        raise UsageError("a new commit needs the step sync, which only/skip leave out", hint="include sync")
    entries = git.listing(run.project.code_git, new)
    commits.check_commit(run.project, run.row.environment, new, run.request, entries)
    _check_edits(run, entries)
    if changed:
        commits.check_paths(run.project.code_git, new, entries)
        attributes = git.attributes(run.project.code_git, new, entries)
        tell(run, survey.of_tree(entries, attributes, run.row.environment))
        if pillar := run.deployment.new_pillar:  # pushed before, possibly without our checks
            commits.check_pillar_commit(run.project.pillar_git, pillar)
    if changed and not _was_checked(run, new, entries):
        run.foresees = True
        with run.site.effect("check syntax"), candidate(run, release.exported) as found:
            check_syntax(run, found)
            _claim(run, found)
    _ = run.salt.session  # if Salt cannot start, nothing was touched yet


def _claim(run: Run, found: Release) -> None:
    """Claim the ports and addresses of the new release, before anything is touched.

    The cfg is computed only if its files mention any.
    """
    texts = contents.read(found)
    if not any(re.search(r"\b(urls|ports)\b", texts.text(path)) for path in texts.contents if _has_cfg(path)):
        return
    folder = found.minion_dir.parent / "claims"
    whole = release.beside(run.project, run.row.environment, folder, found.salt, found.pillar)
    with run.site.engine.session(whole.minion(run.settings), release.Unheard(run.voice.redactor)) as session:
        read = release_cfg.layers(session, inputs(run, whole, "", run.deadline.left()))
    claim(run, release_cfg.cfg_of(read, whole, run.settings).values)


def claim(run: Run, cfg: Mapping[str, Any]) -> None:
    """Claim the ports and addresses in a cfg; raise RefusedError if one is in use. A plan only warns."""
    dry = run.request.sort.dry
    refused = claiming.claim(run.site, run.project, run.deployment.number, cfg, dry=dry)
    if refused and not dry:
        raise refused
    if refused:
        run.voice.warn(f"{refused.message}; a push would be refused")


def inputs(
    run: Run, found: Release, chrono: str, timeout: float | None = None, more: Mapping[str, Any] | None = None
) -> Inputs:  # fmt: skip
    """Return the inputs for computing the cfg of a release in a deployment; what is built in has `more`."""
    port, name = run.site.ports(run.project), run.project.name
    placed = Obedience(run.site.history).placed(name, Request() if run.undoing else run.request)
    return Inputs(
        found, run.settings, run.request, run.voice.redactor, port, run.archive, chrono, timeout, placed, more or {}
    )


def _has_cfg(path: str) -> bool:
    return path.startswith("pillar/") or path == f".salt/{release.SAMPLE}"


def _check_edits(run: Run, entries: git.Listing) -> None:
    """In dev, refuse to overwrite edits made on the server; a plan only warns."""
    old, pillar = run.row.tree_code, run.deployment.new_pillar
    if not run.in_dev or run.request.force or old is None or not enabled(run.request, "sync"):
        return
    before: git.Listing = []
    with contextlib.suppress(GitError):  # a recreated repository may lack the live commit
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
        run.voice.warn(f"{text}; a push would be refused")
    else:
        raise RefusedError(text, hint="commit them, or overwrite them with -o force; the archive keeps them")


def _was_checked(run: Run, new: str, entries: git.Listing) -> bool:
    """Say whether Salt reads the same files as in the live commit, whose syntax was checked."""
    old, repo = run.row.tree_code, run.project.code_git
    if old is None or run.deployment.new_pillar != run.row.tree_pillar:
        return False
    if git.folder(entries, f".salt/{run.row.environment}") is not None:
        return False  # the environment determines which files are read
    try:
        return git.object_id(repo, old, ".salt") == git.object_id(repo, new, ".salt")
    except GitError:  # a recreated repository may lack the live commit
        return False


def check_syntax(run: Run, found: Release, hint: str = "nothing was changed; fix it and push again") -> None:
    """Refuse a release with errors that show before its files are rendered, with file and line."""
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
    """Say whether a finding is in a task, which no deployment runs, and the file itself is readable."""
    return finding.file.rpartition("/")[2].startswith("task_") and not finding.sort.unreadable


def tell(run: Run, findings: Iterable[Finding], *, so_far: bool = False) -> None:
    """Report findings, each once; `so_far`: an SLS that runs before may still change it."""
    fresh = [each for each in survey.cleared(findings, run.voice.redactor) if each not in run.told]
    run.told.update(fresh)
    if so_far:
        run.voice.warn(*(f"{each.text} (so far)" for each in fresh))
        return
    for each in errors(fresh):
        run.voice.tell(Complained(each.text))
    run.voice.warn(*(each.text for each in warnings(fresh)))


def foresee(run: Run, session: Session, found: Release, stems: list[str]) -> None:
    """Report, before the first SLS runs, what Salt and this host find wrong with the SLS files so far."""
    texts = contents.read(found)
    tell(run, survey.carried(found, texts, run.salt.cfg.odd if run.salt.cfg else ()))
    if run.settings.engine != "warm":  # a salt-call per SLS would take a second each
        return
    compiled = session.compile([run.project.sls_id(stem) for stem in stems], timeout=run.deadline.left())
    told = dict(zip((found.states / f"{stem}.sls" for stem in stems), compiled, strict=True))
    said = survey.compiled(found, texts, told, apt.Lists(), literal=False)
    first = f".salt/{stems[0]}.sls" if stems else ""  # it runs next, and reports its own errors
    said = [each for each in said if not each.sort.passing and not (each.file == first and each.sort.of_salt)]
    tell(run, said, so_far=True)


Make = Callable[[Project, str, Path, "str | None", "str | None"], Release]


@contextlib.contextmanager
def candidate(run: Run, make: Make = release.candidate) -> Iterator[Release]:
    """Yield the release to deploy, in a temporary folder."""
    folder = run.project.minion_dir / "candidate" / str(run.deployment.number)
    tree.remove(folder)
    done = run.deployment
    try:
        yield make(run.project, run.row.environment, folder, done.new_code, done.new_pillar)
    finally:
        tree.remove(folder)
