"""The program `resetperms`, which fixperms.sls files written for makina-states run: owners and modes of some trees."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from corpushooks import tree
from corpushooks.errors import CorpusError, UsageError


@dataclass(frozen=True)
class Wanted:
    """What owners and modes shall be; None: left alone."""

    uid: int | None
    gid: int | None
    dirs: int
    files: int
    recursive: bool
    excludes: tuple[re.Pattern[str], ...] = ()

    @property
    def run(self) -> int:
        """What a file that could be run gets too: nothing where a mode says itself who may."""
        return 0 if self.files & 0o111 else 0o110


def reset(path: Path, wanted: Wanted) -> list[str]:
    """Give a tree, or a file, its owner and modes; return what was left alone. Raise CorpusError.

    A link is left alone: whoever may write beside it could have it lead anywhere.
    """
    try:
        mode = path.lstat().st_mode
    except OSError as exc:
        return [f"{path}: {exc.strerror}"]
    if stat.S_ISDIR(mode):
        return _reset_tree(path, wanted)
    if not stat.S_ISREG(mode):
        return [f"{path}: no file and no folder"]
    return _reset_file(path, wanted)


def _reset_tree(path: Path, wanted: Wanted) -> list[str]:
    done = tree.fix(
        path, uid=wanted.uid, gid=wanted.gid, dirs=wanted.dirs, files=wanted.files, run=wanted.run,
        recursive=wanted.recursive, skip=lambda inner: any(each.search(f"{path}/{inner}") for each in wanted.excludes),
    )  # fmt: skip
    return list(done.warnings)


def _reset_file(path: Path, wanted: Wanted) -> list[str]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as exc:
        return [f"{path}: {exc.strerror}"]
    try:
        st = os.fstat(descriptor)
        if st.st_nlink > 1:
            return [f"{path}: left alone, it has other names"]
        if os.geteuid() == 0:
            os.fchown(descriptor, -1 if wanted.uid is None else wanted.uid, -1 if wanted.gid is None else wanted.gid)
        os.fchmod(descriptor, wanted.files | (wanted.run if st.st_mode & 0o111 else 0))
    finally:
        os.close(descriptor)
    return []


def _id(what: str, name: str | None, lookup: Callable[[str], int]) -> int | None:
    """Return the number of an account; raise UsageError."""
    if name is None:
        return None
    with contextlib.suppress(KeyError):
        return lookup(name)
    if name.isdigit():
        return int(name)
    raise UsageError(f"there is no {what} {name!r}")


def _mode(text: str) -> int:
    """Return an octal mode; raise UsageError."""
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o7777:
        raise UsageError(f"{text!r} is no mode")
    return mode


def _pattern(text: str) -> re.Pattern[str]:
    """Return a regular expression; raise UsageError."""
    try:
        return re.compile(text)
    except re.error as exc:
        raise UsageError(f"{text!r} is no regular expression: {exc}") from exc


@click.command()
@click.option("--paths", "-p", multiple=True, required=True, help="A tree or a file; may be given several times.")
@click.option("--user", "-u", help="Its owner.")
@click.option("--group", "-g", help="Its group.")
@click.option("--dmode", default="0770", show_default=True, help="The mode of folders.")
@click.option(
    "--fmode", default="0660", show_default=True, help="The mode of files; without x, what could be run still can."
)
@click.option("--no-recursive", is_flag=True, help="The paths alone, not what is in them.")
@click.option("--excludes", multiple=True, help="A pattern of paths that are left alone; may be given several times.")
@click.option("--quiet", "-q", is_flag=True, help="Do not say what was left alone.")
@click.option("--users", multiple=True, hidden=True)
@click.option("--groups", multiple=True, hidden=True)
@click.option("--no-acls", is_flag=True, hidden=True)
@click.option("--reset-acls", is_flag=True, hidden=True)
@click.option("--only-acls", is_flag=True, hidden=True)
def main(
    paths: tuple[str, ...], user: str | None, group: str | None, dmode: str, fmode: str, no_recursive: bool,
    excludes: tuple[str, ...], quiet: bool, users: tuple[str, ...], groups: tuple[str, ...], no_acls: bool,
    reset_acls: bool, only_acls: bool,
) -> None:  # fmt: skip
    """Give trees their owner and modes. Access lists (--users, --groups and kin) are accepted, and left as they are."""
    try:
        wanted = Wanted(
            _id("user", user, lambda name: pwd.getpwnam(name).pw_uid),
            _id("group", group, lambda name: grp.getgrnam(name).gr_gid),
            _mode(dmode), _mode(fmode), not no_recursive, tuple(map(_pattern, excludes)),
        )  # fmt: skip
        for path in () if only_acls else paths:
            for left in reset(Path(path), wanted):
                if not quiet:
                    click.echo(left, err=True)
    except CorpusError as exc:
        raise click.ClickException(exc.message) from exc
