"""The program `resetperms`, which fixperms.sls files written for makina-states run: owners, modes and access lists.

Options, their short and abbreviated forms, defaults and order are those of the program that it replaces.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import re
import stat
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from optparse import OptionParser, Values
from pathlib import Path

from corpushooks import tree
from corpushooks.core.errors import CorpusError, UsageError
from corpushooks.system import safe_files

PATTERN = re.MULTILINE | re.UNICODE | re.DOTALL  # how --excludes are read
BITS = re.compile(r"[r-][w-][x-]|[rwx]{1,3}|[0-7]|-")


@dataclass(frozen=True)
class Wanted:
    """The owners, modes and access lists to set; None: unchanged."""

    uid: int | None
    gid: int | None
    dirs: int | None
    files: int | None
    access: tree.Access | None
    recursive: bool
    excludes: tuple[re.Pattern[str], ...] = ()

    @property
    def run(self) -> int:
        """Further bits for executable files: none if the mode itself has execute bits."""
        return 0 if self.files is None or self.files & 0o111 else 0o110

    def excluded(self, path: str) -> bool:
        return any(each.pattern in path or each.search(path) for each in self.excludes)


@dataclass
class Skipped:
    """The excluded paths of a tree: those that match a pattern, and everything below them."""

    root: Path
    wanted: Wanted
    found: list[str] = field(default_factory=list)
    _known: dict[str, bool] = field(default_factory=dict)

    def __call__(self, inner: str) -> bool:
        if not self.wanted.excludes or not inner:
            return False
        if inner not in self._known:
            self._known[inner] = self(inner.rpartition("/")[0]) or self._names(f"{self.root}/{inner}")
        return self._known[inner]

    def _names(self, path: str) -> bool:
        if found := self.wanted.excluded(path):
            self.found.append(path)
        return found


def reset(path: Path, wanted: Wanted) -> tuple[list[str], list[str]]:
    """Reset a tree or a file; return warnings, and excluded paths. Raise CorpusError.

    Links are left alone, and so are paths through a link that others could have planted.
    """
    if wanted.excluded(str(path)):
        return [], [str(path)]
    try:
        with safe_files.spot(path) as at:
            st = os.stat(at.name, dir_fd=at.fd, follow_symlinks=False)
            if not stat.S_ISDIR(st.st_mode):
                return _reset_file(at, st, wanted), []
    except OSError as exc:
        return [f"{exc.filename}: {exc.strerror}"], []
    return _reset_tree(path, wanted)


def _reset_tree(path: Path, wanted: Wanted) -> tuple[list[str], list[str]]:
    skipped = Skipped(path, wanted)
    done = tree.fix(
        path, uid=wanted.uid, gid=wanted.gid, dirs=wanted.dirs, files=wanted.files, run=wanted.run,
        access=wanted.access, recursive=wanted.recursive, skip=skipped,
    )  # fmt: skip
    return list(done.warnings), skipped.found


def _reset_file(at: safe_files.Spot, st: os.stat_result, wanted: Wanted) -> list[str]:
    """Reset a regular file without other names; raise OSError."""
    if not stat.S_ISREG(st.st_mode):
        return [f"{at.path}: neither a file nor a folder"]
    descriptor = os.open(at.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at.fd)
    try:
        st = os.fstat(descriptor)
        if st.st_nlink > 1 or not stat.S_ISREG(st.st_mode):
            return [f"{at.path}: left alone, it has other names"]
        if os.geteuid() == 0:
            os.fchown(descriptor, -1 if wanted.uid is None else wanted.uid, -1 if wanted.gid is None else wanted.gid)
        mode = stat.S_IMODE(st.st_mode)
        if wanted.files is not None:
            mode = wanted.files | (wanted.run if st.st_mode & 0o111 else 0)
            os.fchmod(descriptor, mode)
        if wanted.access:
            tree.grant(descriptor, mode, wanted.access, folder=False)
    except OSError as exc:
        raise at.error(exc.errno) from exc
    finally:
        os.close(descriptor)
    return []


# options


def _id(what: str, name: str, lookup: Callable[[str], int]) -> int:
    """Return the id of an account; raise UsageError."""
    with contextlib.suppress(KeyError):
        return lookup(name)
    if name.isdigit():
        return int(name)
    raise UsageError(f"unknown {what} {name!r}")


def _uid(name: str) -> int:
    return _id("user", name, lambda known: pwd.getpwnam(known).pw_uid)


def _gid(name: str) -> int:
    return _id("group", name, lambda known: grp.getgrnam(known).gr_gid)


def _mode(text: str) -> int:
    """Return an octal mode; raise UsageError."""
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o7777:
        raise UsageError(f"invalid mode {text!r}: use octal digits, 0770 for example")
    return mode


def _pattern(text: str) -> re.Pattern[str]:
    """Return a regular expression; raise UsageError."""
    try:
        return re.compile(text, PATTERN)
    except re.error as exc:
        raise UsageError(f"invalid regular expression {text!r}: {exc}") from exc


def _bits(text: str) -> int:
    """Return permission bits in the forms of setfacl (r-x, rx, 5); raise UsageError."""
    if not BITS.fullmatch(text):
        raise UsageError(f"invalid permissions {text!r}: use r-x, for example")
    return int(text) if text.isdigit() else sum(bit for bit, letter in ((4, "r"), (2, "w"), (1, "x")) if letter in text)


Named = list[tuple[int, int, "int | None"]]  # tag, id, permission bits (None: those of the owner)


def _parse_grant(tag: int, number: Callable[[str], int], texts: Iterable[str]) -> tuple[Named, list[str]]:
    """Return the grants of NAME[:PERMISSIONS], and the errors of invalid ones."""
    found: Named = []
    wrong = []
    for text in texts:
        name, _, bits = text.partition(":")
        try:
            found.append((tag, number(name), _bits(bits) if bits else None))
        except UsageError as exc:
            wrong.append(f"{text}: not added to the access lists: {exc.message}")
    return found, wrong


def _granted(mode: int, uid: int, gid: int, named: Named) -> Mapping[tuple[int, int], int]:
    """Return the entries of an access list: owner and group by name, and the others."""
    own = {(tree.ACL_USER, uid): mode >> 6 & 7, (tree.ACL_GROUP, gid): mode >> 3 & 7}
    return {**own, **{(tag, who): mode >> 6 & 7 if bits is None else bits for tag, who, bits in named}}


def wanted_of(given: Values) -> tuple[Wanted, list[str]]:
    """Return the settings in the options, and warnings; raise UsageError."""
    uid, gid, dirs, files = _uid(given.user), _gid(given.group), _mode(given.dmode), _mode(given.fmode)
    users, wrong = _parse_grant(tree.ACL_USER, _uid, given.users)
    groups, wrong_too = _parse_grant(tree.ACL_GROUP, _gid, given.groups)
    named = [*users, *groups]
    access = tree.Access(_granted(dirs, uid, gid, named), _granted(files, uid, gid, named), given.reset)
    root, modes = os.geteuid() == 0, not given.only_acls
    return Wanted(
        uid if root and modes else None, gid if root and modes else None,
        dirs if modes else None, files if modes else None, None if given.no_acls else access,
        given.recursive, tuple(map(_pattern, given.excludes)),
    ), [] if given.no_acls else [*wrong, *wrong_too]  # fmt: skip


def parser() -> OptionParser:
    """Return the parser: optparse, as in the original, so that all its forms are still accepted."""
    made = OptionParser(
        prog="resetperms", usage="%prog [options] --paths PATH ...",
        description="Set the owner, modes and access lists of trees. Links are left alone, and so are files"
        " with other names outside the tree. Options can be shortened as long as they are unambiguous.",
    )  # fmt: skip
    add = made.add_option
    add("-p", "--paths", action="append", default=[], help="a tree or a file; can be given several times")
    add("-u", "--user", default="root", help="its owner [%default]")
    add("-g", "--group", default="root", help="its group [%default]")
    add("--dmode", default="770", help="the mode of folders [%default]")
    add("--fmode", default="770", help="the mode of files [%default]; without x, executable files stay executable")
    add("--users", action="append", default=[], help="NAME[:r-x] for the access lists; default: as the owner")
    add("--groups", action="append", default=[], help="the same for groups")
    add("-k", "--reset-acls", action="store_true", dest="reset", help="remove all other entries of access lists first")
    add("-n", "--no-acls", action="store_true", help="leave access lists alone")
    add("-o", "--only-acls", action="store_true", help="change access lists only")
    add(
        "-R", "--no-recursive", action="store_false", dest="recursive", default=True, help="do not descend into folders"
    )
    add(
        "-e",
        "--excludes",
        action="append",
        default=[],
        help="a pattern of paths to leave alone, with everything below them",
    )
    add("-q", "--quiet", action="store_true", help="do not report paths that were left alone")
    add("-v", "--verbose", action="store_true", help="report what is done")
    add("--debug", action="store_true", help="list excluded paths")
    return made


def main() -> None:
    """Run the program."""
    given, _ = parser().parse_args()
    try:
        wanted, wrong = wanted_of(given)
        for path in dict.fromkeys(given.paths):
            if given.verbose and not given.quiet:
                modes = f"dmode: {given.dmode}, fmode: {given.fmode}"
                sys.stdout.write(f"Path: {path} ({given.user}:{given.group}, {modes})\n")
            left, excluded = reset(Path(path), wanted)
            wrong += left
            for each in sorted(excluded) if given.debug else ():
                sys.stdout.write(f"excluded: {each}\n")
        if not given.quiet:
            sys.stderr.writelines(f"{each}\n" for each in wrong)
    except CorpusError as exc:
        sys.exit(f"Error: {exc.message}")
