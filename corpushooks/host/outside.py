"""The door to what our states wrote outside of a project: what was there before, and how it comes back.

makina/loader/_modules/mc_files.py registers each path before it writes there, in OUTSIDE/pending. What was registered
for a release that is live by now moves to OUTSIDE/kept, where the first that is known of a path stays. Everything here
can be done twice.
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
RELOAD = "reload.json"  # the services that have yet to read what came back
TIMEOUT = 60.0  # seconds that a program of a service may take
BOOTED = Path("/run/systemd/system")  # what sd_booted(3) looks for
UNITS = "/etc/systemd/system/"

Was = tuple[Any, ...]  # as mc_files.look has it


@dataclass(frozen=True)
class Record:
    """What lay at a path before: () nothing, (target,) a link, (data, mode, uid, gid) a file."""

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
    """Count what was registered as part of what deployment `number` made live."""
    for each in _records(project, PENDING):
        place = project.minion_dir / OUTSIDE / KEPT / each.file.name
        if not place.exists():
            place.parent.mkdir(mode=0o700, exist_ok=True)
            disk.write_file(place, json.dumps({**json.loads(each.file.read_text()), "since": number}).encode())
        each.file.unlink(missing_ok=True)


def take_back(project: Project, warn: Callable[[str], None]) -> list[str]:
    """Make everything that was registered since the last release what it was; return the paths that differed."""
    return _restore(project, _records(project, PENDING), warn)


def take_back_later(project: Project, number: int, warn: Callable[[str], None]) -> list[str]:
    """Make what only releases after deployment `number` wrote what it was; it is registered, should this fail."""
    later = [each for each in _records(project, KEPT) if each.since > number]
    for each in later:
        aside = project.minion_dir / OUTSIDE / PENDING / each.file.name
        if not aside.exists():
            aside.parent.mkdir(mode=0o700, exist_ok=True)
            told = {**json.loads(each.file.read_text()), "was": encoded(_look(each))}
            disk.write_file(aside, json.dumps(told).encode())
    return _restore(project, later, warn, forget=False)


def forget(project: Project, warn: Callable[[str], None]) -> list[str]:
    """Make everything what it was before the project, for a project that is removed; services read that."""
    back = [*take_back(project, warn), *_restore(project, _records(project, KEPT), warn)]
    reload(project, warn)
    return list(dict.fromkeys(back))


def encoded(was: Was) -> list[Any]:
    """Return what lay at a path as JSON has it."""
    return [base64.b64encode(was[0]).decode(), *was[1:]] if len(was) == 4 else list(was)


def _look(each: Record) -> Was:
    """Return what lies at a path now; raise OSError."""
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
    """Restore what differs, once the services that must read it are known; then forget the records."""
    differ = [each for each in records if _differs(project, each, warn)]
    _remember_services(project, {each.service for each in differ if each.service and not _ends(each)})
    done = []
    for each in differ:
        try:
            _restore_one(each)
            done.append(each.path)
        except (OSError, ProcessError) as exc:
            warn(f"{shown(each.path)} is not as it was: {getattr(exc, 'strerror', None) or exc}")
    if forget:
        for each in records:
            each.file.unlink(missing_ok=True)
    return done


def _differs(project: Project, each: Record, warn: Callable[[str], None]) -> bool:
    """Return whether a path is to be restored; what another project has, too, is not removed."""
    try:
        if _look(each) == each.was:
            return False
    except OSError as exc:
        warn(f"{shown(each.path)} cannot be read: {exc.strerror}")
        return False
    others = project.minion_dir.parent.glob(f"*/{OUTSIDE}/*/{each.file.name}")
    return bool(each.was) or all(path.is_relative_to(project.minion_dir) for path in others)


def _ends(each: Record) -> bool:
    """Return whether a path is the unit of a service that was not there before."""
    return not each.was and each.path == f"{UNITS}{each.service}.service"


def _restore_one(each: Record) -> None:
    booted = BOOTED.is_dir()
    if _ends(each) and booted:
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
        disk.write_file(file, json.dumps(sorted(names | set(_waiting(file)))).encode())


def _waiting(file: Path) -> list[str]:
    return [str(name) for name in json.loads(file.read_text())] if file.is_file() else []


def reload(project: Project, warn: Callable[[str], None]) -> list[str]:
    """Have the services read what came back, where their own test finds it right; return which did."""
    file, done = project.minion_dir / OUTSIDE / RELOAD, []
    for name in _waiting(file):
        try:
            for words in _programs(project, name):
                run(words, timeout=TIMEOUT)
            done.append(name)
        except ProcessError as exc:
            warn(f"{name} did not read what was taken back: {exc.message}")
    file.unlink(missing_ok=True)
    return done


def _programs(project: Project, name: str) -> Iterator[Sequence[str]]:
    """Find what to run so that a service reads its files: its test, then its reload."""
    path = project.minion_dir / OUTSIDE / SERVICES / f"{name}.json"
    told: Mapping[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    if test := told.get("test"):
        yield test
    if BOOTED.is_dir() and told.get("systemctl", "systemctl") == "systemctl":
        yield ["systemctl", "try-reload-or-restart", name]
    elif told.get("reload"):
        yield told["reload"]
