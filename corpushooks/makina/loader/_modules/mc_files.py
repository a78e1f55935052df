# ruff: noqa: F821  (Salt fills in the names with underscores)
"""Files, for our states: all their work on paths as root goes through here, where no planted link is followed.

The implementation is safe_files.py of our package, which only needs the standard library.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from salt.exceptions import CommandExecutionError

__salt__: dict[str, Callable[..., Any]]  # Salt's loader fills it in

Look = tuple[Any, ...]  # () nothing, (target,) a link, (data, mode, uid, gid) a file, (mode, uid, gid) a folder


def _loaded() -> Any:
    """Return safe_files.py as a module of this interpreter, which can lack our package."""
    path = Path(__file__).parents[3] / "system/safe_files.py"
    spec = importlib.util.spec_from_file_location("corpushooks_safe_files", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


SAFE: Any = _loaded()


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    """Turn an OSError into an error of one line."""
    try:
        yield
    except OSError as exc:
        raise CommandExecutionError(f"{exc.filename}: {exc.strerror}") from exc


def look(path: str, follow: bool = False) -> Look:
    """Return the content of a path; with `follow`, of the target of a link of ours."""
    with _plain_errors():
        try:
            with SAFE.spot(path, follow=follow) as at:
                st = SAFE.look(at)
                if st is None:
                    return ()
                if stat.S_ISLNK(st.st_mode):
                    return (os.readlink(at.name, dir_fd=at.fd),)
                if stat.S_ISDIR(st.st_mode):
                    return stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid
            data, st = SAFE.read(path, follow=follow)
        except FileNotFoundError:
            return ()
    return data, stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid


def exists(path: str) -> bool:
    """Return whether a path exists, following links of ours."""
    with (
        _plain_errors(),
        contextlib.suppress(FileNotFoundError, NotADirectoryError),
        SAFE.spot(path, follow=True) as at,
    ):
        return SAFE.look(at) is not None
    return False


def read(path: str) -> bytes:
    """Return the content of a file."""
    with _plain_errors():
        return bytes(SAFE.read(path)[0])


def write(
    path: str, data: bytes, mode: int, uid: int = -1, gid: int = -1, follow: bool = False, make: int | None = None
) -> None:
    """Write a file aside and rename it into place; with `make`, missing folders are created with that mode."""
    __salt__["mc_outside.register"](path, follow)
    with _plain_errors():
        SAFE.write(path, data, mode, (uid, gid), follow=follow, make=make)


def link(path: str, target: str) -> None:
    """Make a symbolic link in the place of a file or a link."""
    __salt__["mc_outside.register"](path)
    with _plain_errors():
        SAFE.link(path, target, make=0o755)


def remove(path: str, follow: bool = False) -> None:
    """Remove a file or a link, if it exists."""
    __salt__["mc_outside.register"](path, follow)
    with _plain_errors():
        SAFE.remove(path, follow=follow)


def folder(path: str, mode: int, uid: int = -1, gid: int = -1) -> bool:
    """Ensure a folder with owner and mode; return whether anything changed."""
    with _plain_errors():
        return bool(SAFE.folder(path, mode, (uid, gid), make=0o755))


def runner(path: str, user: str | None = None) -> str | None:
    """Return the user to run a program in a folder: the account that can write there, if not only root can.

    None: this process can run it. Raise if only root is known.
    """
    with _plain_errors():
        uid = SAFE.owner_of(path)
    if uid is None or os.geteuid() or (user and pwd.getpwnam(user).pw_uid):
        return user
    if uid == 0:
        raise CommandExecutionError(f"{path} is writable by others: set a user other than root to run this")
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        raise CommandExecutionError(f"{path}: its owner {uid} has no account: set the user to run this") from None


def check_firm(path: str) -> None:
    """Raise if users other than root can change a path."""
    with _plain_errors():
        if os.geteuid() == 0 and not SAFE.is_firm(path):
            raise CommandExecutionError(f"{path} is writable by users other than root")
