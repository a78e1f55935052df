"""The door to files that our states wrote outside a project: their earlier contents, and how to restore them.

makina/loader/_modules/mc_files.py registers each path in OUTSIDE/pending before it writes there. Once the release is
live, its records move to OUTSIDE/kept, which keeps the oldest record of each path. Everything here can be repeated.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpushooks.core.errors import ProcessError
from corpushooks.core.project import Project
from corpushooks.core.text import shown
from corpushooks.system import disk, safe_files
from corpushooks.system.process import run

OUTSIDE = "outside"  # in a project's minion_dir
PENDING, KEPT, SERVICES = "pending", "kept", "services"
RELOAD = "reload.json"  # the services that have yet to be reloaded
TIMEOUT = 60.0  # seconds for a program of a service
BOOTED = Path("/run/systemd/system")  # checked by sd_booted(3)
UNITS = "/etc/systemd/system/"

Was = tuple[Any, ...]  # as returned by mc_files.look


@dataclass(frozen=True)
class Record:
    """The earlier content of a path: () nothing, (target,) a link, (data, mode, uid, gid) a file."""

    file: Path
    path: str
    follow: bool
    was: Was
    service: str
    since: int


def _records(project: Project, kind: str) -> list[Record]:
    folder = project.minion_dir / OUTSIDE / kind
    return [_read(path) for path in sorted(folder.glob("*.json"))] if folder.is_dir() else []


def _read(path: Path) -> Record:
    told = json.loads(path.read_text())
    was = told["was"]
    if len(was) == 4:
        was = [base64.b64decode(was[0]), *was[1:]]
    return Record(path, told["path"], told["follow"], tuple(was), told["service"], told.get("since", 0))


def settle(project: Project, number: int) -> None:
    """Assign the pending records to the release of deployment `number`, which is live."""
    for each in _records(project, PENDING):
        place = project.minion_dir / OUTSIDE / KEPT / each.file.name
        if not place.exists():
            place.parent.mkdir(mode=0o700, exist_ok=True)
            disk.write_file(place, json.dumps({**json.loads(each.file.read_text()), "since": number}).encode())
        each.file.unlink(missing_ok=True)


def take_back(project: Project, warn: Callable[[str], None]) -> list[str]:
    """Restore all paths registered since the last release; return those that differed."""
    return _restore(project, _records(project, PENDING), warn)


def take_back_later(project: Project, number: int, warn: Callable[[str], None]) -> list[str]:
    """Restore paths that only releases after deployment `number` wrote; register them first, in case this fails."""
    later = [each for each in _records(project, KEPT) if each.since > number]
    for each in later:
        aside = project.minion_dir / OUTSIDE / PENDING / each.file.name
        if not aside.exists():
            aside.parent.mkdir(mode=0o700, exist_ok=True)
            told = {**json.loads(each.file.read_text()), "was": encoded(_current_content(each))}
            disk.write_file(aside, json.dumps(told).encode())
    return _restore(project, later, warn, forget=False)


def forget(project: Project, warn: Callable[[str], None]) -> list[str]:
    """Restore all paths to their state before the project, which is removed; reload the services."""
    back = [*take_back(project, warn), *_restore(project, _records(project, KEPT), warn)]
    reload(project, warn)
    return list(dict.fromkeys(back))


def encoded(was: Was) -> list[Any]:
    """Return the content of a path as JSON types."""
    return [base64.b64encode(was[0]).decode(), *was[1:]] if len(was) == 4 else list(was)


def _current_content(each: Record) -> Was:
    """Return the current content of a path; raise OSError."""
    try:
        with safe_files.spot(each.path, follow=each.follow) as at:
            st = safe_files.look(at)
            if st is None:
                return ()
            if at.name and Path(f"/proc/self/fd/{at.fd}", at.name).is_symlink():
                return (Path(f"/proc/self/fd/{at.fd}", at.name).readlink().as_posix(),)
        data, st = safe_files.read(each.path, follow=each.follow)
    except FileNotFoundError:
        return ()
    return data, st.st_mode & 0o7777, st.st_uid, st.st_gid


def _restore(
    project: Project, records: Sequence[Record], warn: Callable[[str], None], *, forget: bool = True
) -> list[str]:
    """Restore paths that differ, after noting the services to reload; then delete the records."""
    differ = [each for each in records if _differs(project, each, warn)]
    _remember_services(project, {each.service for each in differ if each.service and not _is_new_unit(each)})
    done = []
    for each in differ:
        try:
            _restore_one(each)
            done.append(each.path)
        except (OSError, ProcessError) as exc:
            warn(f"cannot restore {shown(each.path)}: {getattr(exc, 'strerror', None) or exc}")
    if forget:
        for each in records:
            each.file.unlink(missing_ok=True)
    return done


def _differs(project: Project, each: Record, warn: Callable[[str], None]) -> bool:
    """Return whether to restore a path; a file that another project also wrote is not removed."""
    try:
        if _current_content(each) == each.was:
            return False
    except OSError as exc:
        warn(f"cannot read {shown(each.path)}: {exc.strerror}")
        return False
    others = project.minion_dir.parent.glob(f"*/{OUTSIDE}/*/{each.file.name}")
    return bool(each.was) or all(path.is_relative_to(project.minion_dir) for path in others)


def _is_new_unit(each: Record) -> bool:
    """Return whether a path is the unit of a service that did not exist before."""
    return not each.was and each.path == f"{UNITS}{each.service}.service"


def _restore_one(each: Record) -> None:
    booted = BOOTED.is_dir()
    if _is_new_unit(each) and booted:
        run(["systemctl", "disable", "--now", each.service], check=False, timeout=TIMEOUT)
    if len(each.was) == 1:
        safe_files.link(each.path, each.was[0], make=0o755)
    elif each.was:
        data, mode, uid, gid = each.was
        safe_files.write(each.path, data, mode, (uid, gid), follow=each.follow, make=0o755)
    else:
        safe_files.remove(each.path, follow=each.follow)
    with contextlib.suppress(OSError):
        disk.flush_folder(Path(each.path).parent)
    if each.path.startswith(UNITS) and booted:
        run(["systemctl", "daemon-reload"], timeout=TIMEOUT)


# services


def _remember_services(project: Project, names: set[str]) -> None:
    file = project.minion_dir / OUTSIDE / RELOAD
    if names:
        disk.write_file(file, json.dumps(sorted(names | set(_waiting_services(file)))).encode())


def _waiting_services(file: Path) -> list[str]:
    return [str(name) for name in json.loads(file.read_text())] if file.is_file() else []


def reload(project: Project, warn: Callable[[str], None]) -> list[str]:
    """Reload the services whose files were restored, if their configuration test succeeds; return those."""
    file, done = project.minion_dir / OUTSIDE / RELOAD, []
    for name in _waiting_services(file):
        try:
            for words in _programs(project, name):
                run(words, timeout=TIMEOUT)
            done.append(name)
        except ProcessError as exc:
            warn(f"{name} could not be reloaded after its files were restored: {exc.message}")
    file.unlink(missing_ok=True)
    return done


def _programs(project: Project, name: str) -> Iterator[Sequence[str]]:
    """Yield the commands that reload a service: its test, then its reload."""
    path = project.minion_dir / OUTSIDE / SERVICES / f"{name}.json"
    told: Mapping[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    if test := told.get("test"):
        yield test
    if BOOTED.is_dir() and told.get("systemctl", "systemctl") == "systemctl":
        yield ["systemctl", "try-reload-or-restart", name]
    elif told.get("reload"):
        yield told["reload"]
