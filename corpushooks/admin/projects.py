"""Create, repair, unlink and remove projects."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path

from corpushooks import git, tree
from corpushooks.admin import installer
from corpushooks.core.deployment import ProjectRow
from corpushooks.core.errors import GitError, RefusedError, TreeError, UsageError
from corpushooks.core.hints import Hint, command
from corpushooks.core.project import Host, Project, check_branch, check_environment
from corpushooks.core.settings import Settings
from corpushooks.core.text import differences
from corpushooks.host import accounts, address, layout, outside, wiring
from corpushooks.notify import announce
from corpushooks.protocol.gives import Made
from corpushooks.store import lost
from corpushooks.store.history import History
from corpushooks.system import disk, hostname

DEFAULT_FORMAT = git.FORMATS[0]


def init(
    host: Host,
    settings: Settings,
    history: History,
    name: str,
    environment: str | None,
    branch: str | None,
    installed_by: str | None = None,
    *,
    own_key: bool = False,
    hashed: str | None = None,
) -> Made:
    """Create a project, or repair it; whatever is right already stays. An installer can write its first commit.

    With `own_key` the project's user gets an ssh key pair, unless it has one.
    """
    project, row = host.project(name), history.project(name)
    lost.check(host, history)
    mine = settings.for_project(name)
    env = check_environment(environment or (row.environment if row else mine.environment))
    head = check_branch(branch or (row.branch if row else mine.branch))
    if row and row.branch != head and row.live:
        raise RefusedError(f"{name} is deployed from {row.branch}", hint=command("rename-branch", name, head))
    git.check_version()
    _check_format(project, hashed)
    with tempfile.TemporaryDirectory(prefix="corpus-") as folder:
        first = _first_commit_tree(project, env, head, installed_by, Path(folder)) if installed_by else None
        notes = accounts.make(project, settings.account)
        history.add_project(name, env, head)
        layout.make(project, head, hashed or git.FORMATS[0])
        commit = git.first_commit(project.code_git, head, first, "Add the files of an installer") if first else None
    if first and not commit:
        notes = [*notes, "project.git already has commits; the installer was not used"]
    if own_key or (project.dir / ".ssh").is_dir():
        notes = [*notes, f"ssh key of {project.user}: {accounts.make_key(project, hostname.fqdn())}"]
    wiring.wire(project, env)
    disk.flush_all(host.state_dir, project.dir, host.salt_dir, host.pillar_dir)
    places = address.urls(project, settings)
    if row is None and (wrong := announce.made(mine, history, project, env, head, places)):
        notes = [*notes, wrong]
    changes = differences(_properties(row.environment, row.branch), _properties(env, head)) if row else []
    return Made(
        project=name, environment=env, branch=head, **places, new=row is None, notes=list(notes), commit=commit or "",
        changes=changes, object_format=git.object_format(project.code_git),
    )  # fmt: skip


def _check_format(project: Project, hashed: str | None) -> None:
    """Raise RefusedError if a project has commits with another hash: they cannot be converted."""
    if hashed and project.code_git.exists() and (found := git.object_format(project.code_git)) != hashed:
        raise RefusedError(f"{project.name} already has {found} commits; the hash of a project cannot be changed",
                           hint=Hint(command("remove", project.name, "--purge"), ", then init it again"))  # fmt: skip


def _properties(environment: str, branch: str) -> dict[str, str]:
    """Return the properties that init can change, for display."""
    return {"environment": environment, "branch": branch}


def _first_commit_tree(project: Project, environment: str, branch: str, installed_by: str, folder: Path) -> Path:
    """Write the files of the first commit to an empty folder and return it; raise UsageError."""
    found, made = installer.find(installed_by), folder / "tree"
    made.mkdir()
    about = {
        "name": project.name,
        "environment": environment,
        "branch": branch,
        "installer": found.name,
        "user": project.user,
        "group": project.group,
        "project_root": str(project.tree),
        "data_root": str(project.data),
    }
    installer.render(found, made, about)
    sample = made / ".salt/PILLAR.sample"
    if not sample.exists():  # cfg.installer comes from it
        sample.write_text(f"makina-projects.{project.name}:\n  installer: {found.name}\n")
    return made


def rename_branch(project: Project, history: History, row: ProjectRow, branch: str) -> list[str]:
    """Rename the branch that is deployed; return the lines for clients. Needs the project's lock.

    After an interruption it can be repeated: the new branch exists before it is used, and the old one is removed last.
    """
    old, new = row.branch, check_branch(branch)
    check_idle(history, row.name)
    repos = [layout.repo_path(project, repo) for repo in layout.REPOS] if new != old else []
    for path in repos:
        _check_free(path, old, new)
    for path in repos:
        if (commit := git.ref(path, f"refs/heads/{old}")) and not git.ref(path, f"refs/heads/{new}"):
            _update(path, f"refs/heads/{new}", "0" * len(commit), commit)
    history.add_project(row.name, row.environment, new)
    layout.make(project, new)
    for path in repos:
        if commit := git.ref(path, f"refs/heads/{old}"):
            _update(path, f"refs/heads/{old}", commit, "0" * len(commit))
    return [f"branch: {old} -> {new}", "In each working copy:", f"    git branch -m {old} {new}",
            f"    git fetch --prune {row.environment}"]  # fmt: skip


def check_idle(history: History, name: str) -> None:
    """Raise RefusedError if a deployment is running or waiting."""
    if history.unfinished(name) or history.queued(name):
        raise RefusedError(f"a deployment of {name} is running or waiting", hint=command("status", name))


def _check_free(path: Path, old: str, new: str) -> None:
    """Raise RefusedError if a repository has a branch of the new name at another commit."""
    found = git.ref(path, f"refs/heads/{new}")
    if found and found != git.ref(path, f"refs/heads/{old}"):
        raise RefusedError(f"{path} already has a branch {new}, at another commit",
                           hint=f"git --git-dir={shlex.quote(str(path))} branch -m {new} {new}-before")  # fmt: skip


def _update(path: Path, ref: str, old: str, new: str) -> None:
    if wrong := git.update_refs(path, [(ref, old, new)]).get(ref):
        raise GitError(f"{ref} of {path}: {wrong}")


def link(project: Project, history: History) -> None:
    """Make a project visible to Salt."""
    row = history.project(project.name)
    if row is None:
        raise UsageError(f"unknown project {project.name!r}", hint=command("init", project.name))
    wiring.wire(project, row.environment)


def unlink(project: Project) -> None:
    """Hide a project from Salt."""
    wiring.unwire(project)


def remove(project: Project, history: History, *, purge: bool) -> list[str]:
    """Remove a project; with `purge` also its files, except data/. Return what is left. Needs its lock."""
    if history.unfinished(project.name):
        raise RefusedError(f"a deployment of {project.name} was interrupted", hint=command("repair", project.name))
    notes: list[str] = []
    outside.forget(project, notes.append)
    wiring.unwire(project)
    left = _purge(project) if purge else [str(project.dir)] if project.dir.exists() else []
    history.forget_project(project.name, purge=purge)
    return [*left, *notes]


def _purge(project: Project) -> list[str]:
    """Remove a project's files, except data/ and mounts; return what is left, and why."""
    left = [str(project.data)] if project.data.exists() else []
    found = [path for path in project.dir.iterdir() if path != project.data] if project.dir.is_dir() else []
    for path in (*found, project.logs, project.minion_dir):
        try:
            tree.remove(path)
        except TreeError as exc:
            left.append(f"{path} ({exc.message})")
    return left
