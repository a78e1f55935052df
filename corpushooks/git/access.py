"""Access to repositories: by the program git, with only their own configuration, or by dulwich in our process."""

from __future__ import annotations

import functools
import os
import re
import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dulwich.config import ConfigFile
from dulwich.errors import ApplyDeltaError, ChecksumMismatch, FileFormatException, NotGitRepository
from dulwich.object_store import DiskObjectStore
from dulwich.pack import Pack
from dulwich.refs import SymrefLoop
from dulwich.repo import Repo

from corpushooks.core.errors import GitError, ProcessError
from corpushooks.core.hints import Hint, command
from corpushooks.core.text import one_line
from corpushooks.system.patience import Check, endless
from corpushooks.system.process import Output, run

MINIMUM = (2, 30)
SETTLED_NS = 2_000_000_000  # some filesystems have timestamps of whole seconds
PINS = "refs/corpus"  # hidden from pushers
ROLLOUTS = "refs/rollout"  # the commits that a controller brings; hidden from those who fetch
DAMAGE = (  # what dulwich raises for damaged data; the last, for an empty packed-refs
    FileFormatException, ChecksumMismatch, ApplyDeltaError, SymrefLoop, zlib.error, struct.error, EOFError, ValueError,
    IndexError, AssertionError, StopIteration,
)  # fmt: skip


def version() -> tuple[int, ...]:
    """Return git's version; raise GitError if git is missing."""
    try:
        text = run(["git", "version"]).text
    except ProcessError as exc:
        raise GitError(str(exc), hint="install git 2.30 or newer") from exc
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def check_version() -> None:
    """Raise GitError if git is too old for the proc-receive hook."""
    found = version()
    if found < MINIMUM:
        raise GitError(f"git {'.'.join(map(str, found))} is too old", hint="install git 2.30 or newer")


QUIET = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "HOME": "/", "GIT_NO_REPLACE_OBJECTS": "1"}
OURS = {"GIT_COMMITTER_NAME": "corpushooks", "GIT_COMMITTER_EMAIL": "corpushooks@localhost"}  # in reflogs


def call(
    git_dir: Path,
    *words: str | Path,
    env: dict[str, str] | None = None,
    stdin: bytes = b"",
    check: Check = endless,
) -> Output:
    """Run git on a git dir of ours, with only the configuration in it; kill it if `check` raises."""
    quiet = {**QUIET, **(env or {})}
    try:
        return run(["git", "--git-dir", git_dir, *words], cwd=git_dir.parent, env=quiet, stdin=stdin, patience=check)
    except ProcessError as exc:
        failed = GitError(str(exc))
        failed.said = exc.said
        raise failed from exc


def complaint(git_dir: Path, *words: str | Path, stdin: bytes) -> str:
    """Run git like `call`, and return the first line of its error, or nothing."""
    env = {**QUIET, **OURS}
    try:
        done = run(["git", "--git-dir", git_dir, *words], cwd=git_dir.parent, env=env, stdin=stdin, check=False)
    except ProcessError as exc:
        raise GitError(str(exc)) from exc
    lines = done.stderr.decode("utf-8", "replace").splitlines() if done.code else []
    found = next((line for line in lines if re.match("(fatal|error): ", line)), *lines[-1:] or ["it failed"])
    return re.sub("^((fatal|error|prepare|commit): )+", "", found) if done.code else ""


def stamp(path: Path) -> tuple[int, ...]:
    """Return a stamp that changes with a file; the time, if it changed too recently to notice another change."""
    now = time.time_ns()
    try:
        st = path.stat()
    except FileNotFoundError:
        return (now,)
    return (st.st_dev, st.st_ino, st.st_size, st.st_ctime_ns) if now - st.st_ctime_ns > SETTLED_NS else (now,)


@functools.lru_cache(maxsize=256)
def _configuration(path: Path, _stamp: tuple[int, ...]) -> ConfigFile:
    return ConfigFile.from_path(str(path))


class _Objects(DiskObjectStore):
    """Searches the newest packs first: they have the last push, and opening a pack takes time."""

    def _update_pack_cache(self) -> list[Pack]:
        found = super()._update_pack_cache()
        if found:
            newest = sorted(self._pack_cache, key=lambda name: _changed(f"{self.pack_dir}/{name}.pack"), reverse=True)
            self._pack_cache = {name: self._pack_cache[name] for name in newest}
        return found


def _changed(file: str) -> int:
    """Return when a file changed; 0 if it is gone."""
    try:
        return os.stat(file).st_mtime_ns
    except OSError:
        return 0


class _Repo(Repo):
    """A repository whose configuration is parsed again only after a change."""

    def __init__(self, path: Path) -> None:
        self._file = path / "config"
        objects = _Objects.from_config(str(path / "objects"), self.get_config())
        super().__init__(str(path), objects)

    def get_config(self) -> ConfigFile:
        """Return the cached configuration, which must not be changed."""
        try:
            return _configuration(self._file, stamp(self._file))
        except FileNotFoundError:
            return ConfigFile()


@contextmanager
def opened(path: Path) -> Iterator[Repo]:
    """Open a repository and close it; raise GitError if it, or an object read from it, is missing or damaged."""
    with told(path):
        try:
            repo = _Repo(path)
        except NotGitRepository as exc:
            raise no_repository(path) from exc
        try:
            yield repo
        finally:
            repo.close()


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn the exceptions of reading a damaged repository into a GitError."""
    try:
        yield
    except OSError as exc:
        raise GitError(f"cannot read {path}: {exc.strerror or exc}", hint=_repair(path)) from exc
    except KeyError as exc:  # a missing object
        name = exc.args[0].decode(errors="replace") if exc.args and isinstance(exc.args[0], bytes) else str(exc)
        raise GitError(f"{path} is damaged: {name[:12]} is missing", hint=_repair(path)) from exc
    except DAMAGE as exc:
        raise GitError(f"{path} is damaged: {one_line(str(exc)) or type(exc).__name__}", hint=_repair(path)) from exc


def no_repository(path: Path) -> GitError:
    return GitError(f"{path} is not a repository", hint=_repair(path))


def _repair(path: Path) -> Hint:
    """Return the command that repairs the repository /…/NAME/git/project.git of a project."""
    return command("init", path.parent.parent.name)
