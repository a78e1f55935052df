"""The parts of a project on the disk: what is missing, damaged or in the wrong place, and which command repairs it.

A row of PARTS is a folder. Whatever else is looked at is a row of LOOKS. Nothing here raises for what it finds: a
project that is damaged must not keep the others from being told of.
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
from corpushooks.host.layout import REPOS, repo_path
from corpushooks.system.obstacles import away, editing


@dataclass(frozen=True)
class Patient:
    """A project that is looked at."""

    project: Project
    row: ProjectRow
    settings: Settings
    busy: int = 0  # the number of the deployment that runs

    @property
    def again(self) -> Hint:
        """The command that brings trees back: what is live is deployed again, or, with nothing live, made empty."""
        return command("deploy" if self.row.live else "init", self.row.name)


@dataclass(frozen=True)
class Part:
    """A folder that must be there. `filled`: with what is live; `linked`: a link to a folder will do."""

    path: Callable[[Project], Path]
    filled: bool = False
    linked: bool = False
    needed: bool = True


PARTS = (  # a folder before what is in it
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
    """Return what is wrong with a project's files and settings, the cause before what follows from it.

    `busy` is the number of the deployment that runs. Commands in it are as one types them for a host at /.
    """
    patient = Patient(project, row, settings, busy)
    found: list[Fault] = []
    for look in LOOKS:
        try:
            found += look(patient)
        except (CorpusError, OSError) as exc:
            found.append(Fault(told(exc), command("init", row.name)))
        if found and look is folders:
            break  # what is in them would only say the same once more
    return found


def told(exc: CorpusError | OSError) -> str:
    """Return what an error says, on one line."""
    if isinstance(exc, CorpusError):
        return exc.message
    return f"{exc.filename}: {exc.strerror}" if exc.filename else str(exc)


def own_settings(patient: Patient) -> Iterator[Fault]:
    """Find settings of this project that are wrong."""
    try:
        patient.settings.for_project(patient.row.name)
    except ConfigError as exc:
        yield Fault(exc.message, editing(patient.project.host.config_file))


def folders(patient: Patient) -> Iterator[Fault]:
    """Find folders that are missing, in whose place something else is, or that we cannot read."""
    wrong: list[Path] = []
    for part in PARTS:
        path = part.path(patient.project)
        if any(above in path.parents for above in wrong):
            continue
        if fault := _folder(path, part, patient.again if part.filled else command("init", patient.row.name)):
            wrong.append(path)
            yield fault


def _folder(path: Path, part: Part, make: Advice) -> Fault | None:
    try:
        mode = (path.stat() if part.linked else path.lstat()).st_mode
    except FileNotFoundError:
        if os.path.lexists(path):
            return Fault(f"{path} is a link that leads nowhere", away(path, make))
        return Fault(f"{path} is missing", make) if part.needed else None
    except PermissionError:
        return Fault(f"{path} cannot be read", f"chmod u+rwx {shlex.quote(str(path.parent))}")
    if not stat.S_ISDIR(mode):
        what = "a symbolic link" if stat.S_ISLNK(mode) else "not a folder"
        return Fault(f"{path} is {what}", away(path, make))
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        return Fault(f"{path} cannot be read and written", f"chmod u+rwx {shlex.quote(str(path))}")
    return None


def contents(patient: Patient) -> Iterator[Fault]:
    """Find folders that have lost all of what is live."""
    project, row = patient.project, patient.row
    if patient.busy:
        return
    if row.tree_code and not any(project.stage.iterdir()):
        yield Fault(f"{project.stage} is empty", patient.again)
    for folder in (project.pillar_stage, project.pillar) if row.tree_pillar else ():
        if not any(folder.iterdir()):
            yield Fault(f"{folder} is empty", patient.again)
    link = project.salt_link
    if not link.is_symlink() or os.readlink(link) != "git/stage/.salt":
        make = command("link", row.name)
        there = os.path.lexists(link) and not link.is_symlink()
        yield Fault(f"{link} does not link to git/stage/.salt", away(link, make) if there else make)


def repositories(patient: Patient) -> Iterator[Fault]:
    """Find repositories to which a push would deploy nothing, or that have lost what is live."""
    if not (patient.project.work_git / "HEAD").is_file():
        yield Fault(f"{patient.project.work_git} is not a repository", command("init", patient.row.name))
    for repo in reversed(REPOS):  # of what has to be pushed again, the pillar before the code, which deploys
        path = repo_path(patient.project, repo)
        found = list(_repository(patient, path))
        yield from found
        if not found:
            live = patient.row.code if repo == "project" else patient.row.pillar
            yield from _live(patient, repo, live)


def _repository(patient: Patient, path: Path) -> Iterator[Fault]:
    make, branch = command("init", patient.row.name), patient.row.branch
    for name in ("HEAD", "config", "packed-refs", "hooks/proc-receive", "hooks/pre-receive", f"refs/heads/{branch}"):
        file = path / name
        if os.path.lexists(file) and not file.is_file():
            yield Fault(f"{file} is not a file", away(file, make, to=path))
        elif file.exists() and not os.access(file, os.R_OK, effective_ids=True):
            yield Fault(f"{file} cannot be read", f"chmod u+rw {shlex.quote(str(file))}")
    if flaw := git.flaw(path, branch):
        yield Fault(flaw, make)
    hook = path / "hooks/proc-receive"
    if not (hook.is_file() and hook.stat().st_size and os.access(hook, os.X_OK)):
        yield Fault(f"{hook} is missing, empty or not executable: a push would deploy nothing", make)


def _live(patient: Patient, repo: str, live: str | None) -> Iterator[Fault]:
    """Find a branch that cannot be read or is gone, and a live commit that is."""
    path, branch = repo_path(patient.project, repo), patient.row.branch
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
        yield Fault(f"{path} lacks {live[:7]}, which is live: {exc.message}", _bring(patient, repo, live, empty, exc))
    else:
        if head is None:
            loose = path / "refs/heads" / branch
            mend = away(loose, point, to=path) if os.path.lexists(loose) else point
            yield Fault(f"{path} has no {branch}, which is live at {live[:7]}", mend)


def _bring(patient: Patient, repo: str, live: str, empty: bool, exc: GitError) -> Advice:
    """Return the command that makes a commit readable again, or makes room for it, or brings it."""
    path = repo_path(patient.project, repo)
    if isinstance(exc.__cause__, PermissionError):
        return f"chmod -R u+rwX {shlex.quote(str(path))}"
    if not empty:
        return away(path, command("init", patient.row.name))
    url = address.url(patient.project, repo, patient.settings)
    return f"git push {shlex.quote(url)} {live}:refs/heads/{patient.row.branch}"


def _damaged_ref(path: Path, branch: str) -> Path:
    """Return the file that keeps refs from being read."""
    loose = path / "refs/heads" / branch
    with suppress(OSError):
        if not git.is_id(loose.read_bytes()):
            return loose
    return path / "packed-refs"


def archives(patient: Patient) -> Iterator[Fault]:
    """Find archives that cannot be restored; a deployment that runs makes one, and removes others."""
    for number, path in numbered(patient.project) if not patient.busy else ():
        if tree.is_whole(path / "project"):
            continue
        yield Fault(f"archive {number} cannot be restored: {flaw_of(path)}", _aside(patient.project, path))


def numbered(project: Project) -> Iterator[tuple[int, Path]]:
    """Yield the archives of a project with their numbers."""
    for path in sorted(project.archives.iterdir()):
        number = path.name.rpartition("_")[2]
        if number.isdigit() and path.name != number:
            yield int(number), path


def flaw_of(path: Path) -> str:
    """Say of an archive that is not whole what it lacks."""
    for part in (path / "project", path / "project.manifest"):
        if not part.exists():
            return f"{part} is missing"
    return f"{path / 'project.manifest'} is damaged"


def _aside(project: Project, path: Path) -> str:
    """Return the command that takes an archive out of archives/; it stays beside that, for whoever wants to look."""
    return f"mv {shlex.quote(str(path))} {shlex.quote(str(project.dir / f'archive.{path.name}'))}"


def logs(patient: Patient) -> Iterator[Fault]:
    """Find logs that are not files, or that we cannot read."""
    for path in sorted(patient.project.logs.glob("*.log")):
        if not path.is_file():
            yield Fault(f"{path} is not a file", away(path))
        elif not os.access(path, os.R_OK, effective_ids=True):
            yield Fault(f"{path} cannot be read", f"chmod u+rw {shlex.quote(str(path))}")


def lock(patient: Patient) -> Iterator[Fault]:
    """Find something else where the lock of the project must be."""
    path = patient.project.lock
    if os.path.lexists(path) and not path.is_file():
        yield Fault(f"{path} is not a file", away(path))


Look = Callable[[Patient], Iterator[Fault]]
LOOKS: tuple[Look, ...] = (own_settings, folders, repositories, contents, archives, logs, lock)
