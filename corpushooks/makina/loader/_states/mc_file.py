# ruff: noqa: F821  (Salt fills in the names with underscores)
"""Files and folders where an application can write: file.managed and file.directory that follow no planted links.

They are also named `file`, so that `require: [file: ID]` finds them.
"""

from __future__ import annotations

import grp
import os
import pwd
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from salt.exceptions import CommandExecutionError

__salt__: dict[str, Callable[..., Any]]  # Salt's loader fills these in
__states__: dict[str, Callable[..., dict[str, Any]]]
__opts__: dict[str, Any]

__virtualname__ = "file"
SOURCES = ("source", "source_hash")  # arguments that can be a path
FOLDERS = 0o755  # the mode of created parent folders


def __virtual__() -> str:
    return __virtualname__


def delivered(
    name: str, makedirs: bool = False, mode: str | int | None = None, user: str | int | None = None,
    group: str | int | None = None, show_changes: bool = True, service: str = "", **given: Any,
) -> dict[str, Any]:  # fmt: skip
    """Manage a file like file.managed, with the same arguments except backup, dir_mode and follow_symlinks.

    A rollback restores it, and then reloads `service`, if given.

    file.managed works on a copy that only root can access; the result is then moved into place.
    """
    ended = {"name": name, "result": False, "changes": {}, "comment": ""}
    try:
        was = __salt__["mc_files.look"](name, follow=True)
        if len(was) == 3:
            raise CommandExecutionError(f"{name}: a folder")
        if not __opts__["test"]:
            __salt__["mc_outside.declare"](name, True, service)
        with tempfile.TemporaryDirectory(dir=__opts__["cachedir"]) as scratch:
            copy = Path(scratch, "file")
            _copy_current(copy, was)
            options = {"mode": mode, "user": user, "group": group, "show_changes": show_changes}
            told = _managed(copy, name, options, given)
            if told["result"] is None and not was:
                told["changes"] = {"newfile": name}
            if told["result"] and told["changes"]:
                _put_in_place(copy, name, makedirs=makedirs)
            return told
    except CommandExecutionError as exc:
        return {**ended, "comment": str(exc)}


def _managed(copy: Path, name: str, options: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Run file.managed on a copy; return its result as for the file itself."""
    sources = copy.with_name("sources")
    read = {key: _safe_source(given[key], sources, given) for key in SOURCES if given.get(key)}
    told = __states__["file.managed"](str(copy), **options, **{**given, **read, "backup": ""})
    comment = str(told["comment"]).replace(str(copy), name).replace(str(sources), "")
    return {**told, "name": name, "comment": comment}


def _put_in_place(copy: Path, name: str, *, makedirs: bool) -> None:
    """Write a copy to its place, with its mode and owner."""
    st, make = copy.stat(), FOLDERS if makedirs else None
    owner = st.st_uid, st.st_gid
    __salt__["mc_files.write"](name, copy.read_bytes(), st.st_mode & 0o7777, *owner, follow=True, make=make)


def _safe_source(source: Any, folder: Path, given: Mapping[str, Any]) -> Any:
    """Return a source, or several; a local file is copied without following planted links.

    Anyone who can write a template can run code as root.
    """
    if isinstance(source, list):
        return [_safe_source(one, folder, given) for one in source]
    if isinstance(source, Mapping):
        return {_safe_source(one, folder, given): digest for one, digest in source.items()}
    path = os.path.normpath(str(source).removeprefix("file://"))
    if not path.startswith("/"):
        return source
    copy = Path(f"{folder}{path}")
    if __salt__["mc_files.exists"](path):
        if given.get("template"):
            __salt__["mc_files.check_firm"](path)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(__salt__["mc_files.read"](path))
    return str(copy)


def _copy_current(copy: Path, was: tuple[Any, ...]) -> None:
    """Copy the current file."""
    if was:
        data, mode, uid, gid = was
        copy.write_bytes(data)
        if os.geteuid() == 0:
            os.chown(copy, uid, gid)
        copy.chmod(mode)


def folder(
    name: str, mode: str | int = "0755", user: str | int | None = None, group: str | int | None = None, **_given: Any
) -> dict[str, Any]:
    """Ensure a folder with owner and mode, and its parents. Salt passes all other arguments of the SLS."""
    ended = {"name": name, "result": True, "changes": {}, "comment": f"{name} is in order"}
    try:
        bits = int(str(mode), 8)
        uid = _account_id(user, lambda text: pwd.getpwnam(text).pw_uid)
        gid = _account_id(group, lambda text: grp.getgrnam(text).gr_gid)
        if __opts__["test"]:
            return _test_result(name, __salt__["mc_files.look"](name), (bits, uid, gid))
        if __salt__["mc_files.folder"](name, bits, uid, gid):
            ended |= {"changes": {name: "changed"}, "comment": f"{name} was created or changed"}
    except (CommandExecutionError, KeyError, ValueError) as exc:
        ended |= {"result": False, "comment": str(exc)}
    return ended


def _test_result(name: str, was: tuple[Any, ...], wanted: tuple[int, int, int]) -> dict[str, Any]:
    same = len(was) == 3 and all(new in (-1, old) for new, old in zip(wanted, was, strict=True))
    ended = {"name": name, "result": True, "changes": {}, "comment": f"{name} is in order"}
    return ended if same else {**ended, "result": None, "changes": {name: "changed"}, "comment": "would change"}


def _account_id(said: str | int | None, lookup: Callable[[str], int]) -> int:
    """Return the id of an account; -1 for none."""
    if said is None or said == "":
        return -1
    return said if isinstance(said, int) else lookup(said)
