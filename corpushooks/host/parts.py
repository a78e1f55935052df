"""The parts of a project on the disk: find missing, damaged and misplaced ones, with the command that repairs each.

PARTS lists folders, LOOKS all checks. Nothing here raises for what it finds, so that one damaged project does not hide
the others.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from corpushooks import git, tree
from corpushooks.core.deployment import ProjectRow
from corpushooks.core.errors import ConfigError, CorpusError, Fault, GitError
from corpushooks.core.hints import Advice, Hint, command
from corpushooks.core.project import Project
from corpushooks.core.settings import Settings
from corpushooks.host import address
from corpushooks.host.last import last_cfg
from corpushooks.host.layout import REPOS, repo_path
from corpushooks.system.obstacles import away, editing


@dataclass(frozen=True)
class Examined:
    """A project that is examined."""

    project: Project
    row: ProjectRow
    settings: Settings
    busy: int = 0  # the number of the running deployment

    @property
    def again(self) -> Hint:
        """The command that recreates trees: deploy the live release again or, if there is none, create them empty."""
        if self.row.live is None:
            return command("init", self.row.name)
        unknown = self.settings.backup is not None and last_cfg(self.project) is None
        more = ("--skip", "backup") if unknown else ()  # a deployment is refused that cannot tell what to back up first
        return command("deploy", self.row.name, *more)


@dataclass(frozen=True)
class Part:
    """A required folder. `filled`: with the live release; `linked`: a link to a folder is allowed."""

    path: Callable[[Project], Path]
    filled: bool = False
    linked: bool = False
    needed: bool = True


PARTS = (  # outer folders first
    Part(lambda project: project.dir, linked=True),
    Part(lambda project: project.git_dir, linked=True),
    Part(lambda project: project.code_git, linked=True),
    Part(lambda project: project.pillar_git, linked=True),
    Part(lambda project: project.work_git, linked=True),
    Part(lambda project: project.stage, filled=True),
    Part(lambda project: project.tree, filled=True),
    Part(lambda project: project.pillar_stage, filled=True),
    Part(lambda project: project.pillar, filled=True),
    Part(lambda project: project.data, linked=True),
    Part(lambda project: project.archives, linked=True),
    Part(lambda project: project.minion_dir, linked=True),
    Part(lambda project: project.logs, linked=True, needed=False),
)


def faults(project: Project, row: ProjectRow, settings: Settings, busy: int = 0) -> list[Fault]:
    """Return the faults of a project's files and settings, causes before consequences.

    `busy` is the number of the running deployment. Commands are as typed for a host at /.
    """
    state = Examined(project, row, settings, busy)
    found: list[Fault] = []
    for look in LOOKS:
        try:
            found += look(state)
        except (CorpusError, OSError) as exc:
            found.append(Fault(told(exc), command("init", row.name)))
        if found and look is folders:
            break  # their contents would only repeat it
    return found


def told(exc: CorpusError | OSError) -> str:
    """Return the message of an error, on one line."""
    if isinstance(exc, CorpusError):
        return exc.message
    return f"{exc.filename}: {exc.strerror}" if exc.filename else str(exc)


def own_settings(state: Examined) -> Iterator[Fault]:
    """Find errors in the settings of this project."""
    try:
        state.settings.for_project(state.row.name)
    except ConfigError as exc:
        yield Fault(exc.message, editing(state.project.host.config_file))


def folders(state: Examined) -> Iterator[Fault]:
    """Find folders that are missing, replaced by something else, or unreadable."""
    wrong: list[Path] = []
    for part in PARTS:
        path = part.path(state.project)
        if any(above in path.parents for above in wrong):
            continue
        if fault := _folder(path, part, state.again if part.filled else command("init", state.row.name)):
            wrong.append(path)
            yield fault


def _folder(path: Path, part: Part, make: Advice) -> Fault | None:
    try:
        mode = (path.stat() if part.linked else path.lstat()).st_mode
    except FileNotFoundError:
        if os.path.lexists(path):
            return Fault(f"{path} is a dangling link", away(path, make))
        return Fault(f"{path} is missing", make) if part.needed else None
    except PermissionError:
        return Fault(f"{path} is not readable", f"chmod u+rwx {shlex.quote(str(path.parent))}")
    if not stat.S_ISDIR(mode):
        what = "a symbolic link" if stat.S_ISLNK(mode) else "not a folder"
        return Fault(f"{path} is {what}", away(path, make))
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        return Fault(f"{path} is not readable and writable", f"chmod u+rwx {shlex.quote(str(path))}")
    return None


def contents(state: Examined) -> Iterator[Fault]:
    """Find folders that have lost the live release."""
    project, row = state.project, state.row
    if state.busy:
        return
    if row.tree_code and not any(project.stage.iterdir()):
        yield Fault(f"{project.stage} is empty", state.again)
    for folder in (project.pillar_stage, project.pillar) if row.tree_pillar else ():
        if not any(folder.iterdir()):
            yield Fault(f"{folder} is empty", state.again)
    link = project.salt_link
    if not link.is_symlink() or os.readlink(link) != "git/stage/.salt":
        make = command("link", row.name)
        there = os.path.lexists(link) and not link.is_symlink()
        yield Fault(f"{link} does not link to git/stage/.salt", away(link, make) if there else make)


def repositories(state: Examined) -> Iterator[Fault]:
    """Find repositories in which a push would not deploy, or that have lost the live commit."""
    if not (state.project.work_git / "HEAD").is_file():
        yield Fault(f"{state.project.work_git} is not a repository", command("init", state.row.name))
    for repo in reversed(REPOS):  # the pillar must be pushed again before the code, which deploys
        path = repo_path(state.project, repo)
        found = list(_repository(state, path))
        yield from found
        if not found:
            live = state.row.code if repo == "project" else state.row.pillar
            yield from _live(state, repo, live)


def _repository(state: Examined, path: Path) -> Iterator[Fault]:
    make, branch = command("init", state.row.name), state.row.branch
    for name in ("HEAD", "config", "packed-refs", "hooks/proc-receive", "hooks/pre-receive", f"refs/heads/{branch}"):
        file = path / name
        if os.path.lexists(file) and not file.is_file():
            yield Fault(f"{file} is not a file", away(file, make, to=path))
        elif file.exists() and not os.access(file, os.R_OK, effective_ids=True):
            yield Fault(f"{file} is not readable", f"chmod u+rw {shlex.quote(str(file))}")
    if flaw := git.flaw(path, branch):
        yield Fault(flaw, make)
    hook = path / "hooks/proc-receive"
    if not (hook.is_file() and hook.stat().st_size and os.access(hook, os.X_OK)):
        yield Fault(f"{hook} is missing, empty or not executable: pushes would not deploy", make)


def _live(state: Examined, repo: str, live: str | None) -> Iterator[Fault]:
    """Find a branch or a live commit that is unreadable or missing."""
    path, branch = repo_path(state.project, repo), state.row.branch
    point = f"git --git-dir={shlex.quote(str(path))} update-ref refs/heads/{branch} {live}" if live else ""
    try:
        head, empty = git.ref(path, f"refs/heads/{branch}"), git.is_empty(path)
    except GitError as exc:
        yield Fault(exc.message, away(_damaged_ref(path, branch), point, to=path))
        return
    if live is None:
        return
    try:
        git.check_commit(path, live)
    except GitError as exc:
        yield Fault(
            f"{path} lacks the live commit {live[:7]}: {exc.message}", _repair_command(state, repo, live, empty, exc)
        )
    else:
        if head is None:
            loose = path / "refs/heads" / branch
            mend = away(loose, point, to=path) if os.path.lexists(loose) else point
            yield Fault(f"{path} lacks the branch {branch}, which is live at {live[:7]}", mend)


def _repair_command(state: Examined, repo: str, live: str, empty: bool, exc: GitError) -> Advice:
    """Return the command that makes a commit readable, moves a damaged repository away, or pushes the commit."""
    path = repo_path(state.project, repo)
    if isinstance(exc.__cause__, PermissionError):
        return f"chmod -R u+rwX {shlex.quote(str(path))}"
    if not empty:
        return away(path, command("init", state.row.name))
    url = address.url(state.project, repo, state.settings)
    return f"git push {shlex.quote(url)} {live}:refs/heads/{state.row.branch}"


def _damaged_ref(path: Path, branch: str) -> Path:
    """Return the damaged file of refs."""
    loose = path / "refs/heads" / branch
    with suppress(OSError):
        if not git.is_id(loose.read_bytes()):
            return loose
    return path / "packed-refs"


def archives(state: Examined) -> Iterator[Fault]:
    """Find archives that cannot be restored, unless a deployment runs, which creates and removes archives."""
    for number, path in numbered(state.project) if not state.busy else ():
        if tree.is_whole(path / "project"):
            continue
        yield Fault(f"archive {number} cannot be restored: {flaw_of(path)}", _move_away_command(state.project, path))


def numbered(project: Project) -> Iterator[tuple[int, Path]]:
    """Yield the archives of a project with their numbers."""
    for path in sorted(project.archives.iterdir()):
        number = path.name.rpartition("_")[2]
        if number.isdigit() and path.name != number:
            yield int(number), path


def flaw_of(path: Path) -> str:
    """Return why an archive is incomplete."""
    for part in (path / "project", path / "project.manifest"):
        if not part.exists():
            return f"{part} is missing"
    return f"{path / 'project.manifest'} is damaged"


def _move_away_command(project: Project, path: Path) -> str:
    """Return the command that moves an archive out of archives/ without deleting it."""
    return f"mv {shlex.quote(str(path))} {shlex.quote(str(project.dir / f'archive.{path.name}'))}"


def logs(state: Examined) -> Iterator[Fault]:
    """Find logs that are not files, or unreadable."""
    for path in sorted(state.project.logs.glob("*.log")):
        if not path.is_file():
            yield Fault(f"{path} is not a file", away(path))
        elif not os.access(path, os.R_OK, effective_ids=True):
            yield Fault(f"{path} is not readable", f"chmod u+rw {shlex.quote(str(path))}")


def lock(state: Examined) -> Iterator[Fault]:
    """Find something else in the place of the project's lock."""
    path = state.project.lock
    if os.path.lexists(path) and not path.is_file():
        yield Fault(f"{path} is not a file", away(path))


Look = Callable[[Examined], Iterator[Fault]]
LOOKS: tuple[Look, ...] = (own_settings, folders, repositories, contents, archives, logs, lock)
