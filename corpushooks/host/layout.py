"""The layout of a project on its host: folders, repositories, hooks. Created by init, repaired by each sync."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sys
from importlib import resources
from pathlib import Path

from corpushooks import git
from corpushooks.core.errors import TreeError
from corpushooks.core.hints import command
from corpushooks.core.project import Host, Project
from corpushooks.host import accounts
from corpushooks.system import disk
from corpushooks.system.obstacles import away

TEMPLATE = re.compile(r"(?<=# start templated\n).*?(?=# end templated\n)", re.DOTALL)
SHEBANG_LIMIT = 126  # bytes, of kernels before 5.1
BALLAST = 8 << 20  # bytes
REPOS = ("project", "pillar")
OURS = "written by corpushooks"  # in our pre-receive, to distinguish it from others


def repo_path(project: Project, repo: str) -> Path:
    """Return the bare repository `repo` (project or pillar) of a project."""
    return project.code_git if repo == "project" else project.pillar_git


def entrance(project: Project, repo: str) -> Path:
    """Return the git dir for pushes to a repository over ssh."""
    path = project.git_dir / "push" / f"{repo}.git"
    return path if path.is_dir() else repo_path(project, repo)


def make_host(host: Host) -> None:
    """Create the folders that all projects share."""
    for folder, mode in (*host_folders(host), (host.locks_dir, 0o700), (host.socket.parent, 0o755)):
        _folder(folder, mode)


def host_folders(host: Host) -> tuple[tuple[Path, int], ...]:
    """Return the folders that all projects share, with their modes; others are created when needed."""
    return (
        (host.projects_dir, 0o755), (host.pillar_dir, 0o750), (host.salt_dir, 0o755), (host.state_dir, 0o700),
    )  # fmt: skip


def keep_ballast(host: Host) -> None:
    """Reserve some disk space for a rollback, if there is enough."""
    with contextlib.suppress(FileNotFoundError):
        if host.ballast.stat().st_blocks * 512 >= BALLAST:  # a power cut can leave it empty
            return
    file = os.open(host.ballast, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(file, 0, BALLAST)
    except OSError:
        host.ballast.unlink(missing_ok=True)
    finally:
        os.close(file)


def drop_ballast(host: Host) -> None:
    """Free the reserved disk space."""
    host.ballast.unlink(missing_ok=True)


def make(project: Project, branch: str, hashed: str = "sha1") -> None:
    """Create or repair the folders, repositories and hooks of a project; raise TreeError."""
    if wrong := replaced(project):
        raise TreeError(f"{wrong[0]} is no longer a folder", hint=command("repair", project.name))
    make_host(project.host)
    for folder, mode in (
        (project.dir, 0o755), (project.git_dir, 0o755), (project.tree, None), (project.pillar, 0o700),
        (project.data, None), (project.archives, 0o700), (project.stage, 0o700),
        (project.pillar_stage, 0o700), (project.minion_dir, 0o700),
    ):  # fmt: skip
        _folder(folder, mode)
    if project.logs.is_dir() or not project.logs.exists():  # otherwise there is no log, but a rollback must continue
        _folder(project.logs, 0o700)
    pushers = accounts.group_id(project.host, project.deploy_group)
    for repo in REPOS:
        path = repo_path(project, repo)
        git.init_bare(path, branch, shared=pushers is not None, hashed=hashed)
        _install_hook(hook_text(project, repo), path / "hooks/proc-receive")
        _install_hook(_shipped("pre-receive"), path / "hooks/pre-receive", ours=OURS)
        if pushers is not None:
            git.share(path, pushers)
            git.make_entrance(project.git_dir / "push" / path.name, path, pushers)
        elif repo == "pillar":
            _folder(path, 0o700)  # secrets
    git.init_work(project.work_git, [project.code_git, project.pillar_git])
    _folder(project.work_git, 0o700)


def replaced(project: Project) -> list[Path]:
    """Return the folders of the project's trees that were replaced by something else; project/ must not be a link."""
    wrong = [
        path
        for path in (project.pillar, project.pillar_stage, project.stage)
        if os.path.lexists(path) and not path.is_dir()
    ]
    return [project.tree, *wrong] if os.path.lexists(project.tree) and not is_there(project) else wrong


def is_there(project: Project) -> bool:
    """Return whether project/ is a folder, not a link to one."""
    return project.tree.is_dir() and not project.tree.is_symlink()


def _folder(path: Path, mode: int | None) -> None:
    """Create a folder; a given `mode` is also enforced on an existing one. Raise TreeError."""
    try:
        if not path.is_dir():
            path.mkdir(parents=True)
            path.chmod(mode or 0o770)
        elif mode is not None and path.stat().st_mode & 0o7777 != mode:
            path.chmod(mode)
    except (FileExistsError, NotADirectoryError) as exc:
        raise TreeError(f"{path} is not a folder", hint=away(path)) from exc
    except OSError as exc:  # such as a mount whose server does not answer
        raise TreeError(f"{path}: {exc.strerror}", hint=f"ls -ld {shlex.quote(str(path))}") from exc


def _install_hook(text: str, path: Path, ours: str = "") -> None:
    """Write a hook if it differs; one without the text `ours` is not ours, and stays."""
    if path.is_file() and ours not in path.read_text(errors="replace"):
        return
    if not path.is_file() or path.read_text(errors="replace") != text or not os.access(path, os.X_OK):
        disk.write_file(path, text.encode(), 0o755)


def hook_text(project: Project, repo: str) -> str:
    """Return the hook of one repository, with its parameters written into it."""
    values = {
        "ROOT": str(project.host.root),
        "PYTHON": sys.executable,
        "SOCKET": str(project.host.socket),
        "STORE": str(project.host.store),
        "PROJECT": project.name,
        "REPO": repo,
    }
    text = _shipped("proc-receive")
    block = "".join(f"{key} = {value!r}\n" for key, value in values.items())
    body = TEMPLATE.sub(lambda _: block, text.partition("\n")[2], count=1)
    return f"{_shebang(sys.executable)}\n{body}"


def _shipped(name: str) -> str:
    return (resources.files("corpushooks.hooks") / name).read_text()


def _shebang(python: str) -> str:
    """Return the first line of a hook, through sh if the kernel could not read the path (spaces, length)."""
    line = f"#!{python} -IS"
    if len(line) <= SHEBANG_LIMIT and " " not in python:
        return line
    quotes = "'" * 3  # opens a string in Python, and is empty in sh
    return f'#!/bin/sh\n{quotes}exec\' {shlex.quote(python)} -IS "$0" "$@"\n\' {quotes}'
