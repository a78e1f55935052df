"""A host itself in the backup repository, and its return on a machine that has nothing yet.

Kept are the store with projects, keys and history, the settings, the key of a controller, and what people keep for
Salt. What projects have is in their own backups: here their repositories come back, then data/ by a restore of each.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from corpushooks import backup as door
from corpushooks import git, tree
from corpushooks.admin import projects
from corpushooks.backup import vault
from corpushooks.core import backups
from corpushooks.core.backups import ITSELF, Name
from corpushooks.core.deployment import CANCELLED, FAILED, HELD, ROLLED_BACK, ROLLING_BACK, Deployment, ProjectRow
from corpushooks.core.errors import DoorError, RefusedError, UsageError
from corpushooks.core.hints import command
from corpushooks.core.project import Host, Project
from corpushooks.core.settings import Settings, load
from corpushooks.host import layout
from corpushooks.store.database import keep_aside, put
from corpushooks.store.fleet import Fleet
from corpushooks.store.history import History, open_store
from corpushooks.system import disk, hostname, safe_files
from corpushooks.system.locks import alone, copying_host

OPENING = ".opening"  # in the folder of a return: what opens the repository
PLACE = "host"  # in the folder for backups: what is put together, or was brought
REPLACED = "replaced"  # in the folder of the host's state: the files that a return has replaced
ABOUT, STORE = "host.json", "store.sqlite"
VERSION = 1
LOADS = "task_load.sls"
MOVED = re.compile(r"\.replaced\d+$")  # what tree.set_aside calls an entry
LOST = "the host was lost"
SHA256 = 64  # hexadecimal digits of a commit


def _paths(host: Host) -> list[str]:
    """Return the folders that are kept beside the store, as paths below the root; of a link, where it leads to, too."""
    named = (host.config_file.parent, host.pillar_dir, host.salt_dir, host.fleet_dir)
    there = [path for path in named if path.is_dir()]
    led = [path.resolve() for path in there if path.is_symlink()]
    found = [*there, *(path for path in led if path.is_relative_to(host.root))]
    return [str(path.relative_to(host.root)) for path in dict.fromkeys(found)]


# keep


def keep(host: Host, settings: Settings) -> Name:
    """Keep what belongs to the host itself; return what that is called. Raise CorpusError."""
    with copying_host(host):  # two at once would clear what the other has put together
        return _keep(host, settings)


def _keep(host: Host, settings: Settings) -> Name:
    kept = vault.wanted(settings)
    found, place = vault.engine(host, settings, vault.alone, ITSELF), host.backups_dir / PLACE
    name = Name.new(ITSELF, 1, time.time(), hostname.fqdn())
    with _folder(place):
        with closing(open_store(host)) as history:
            history.copy(place / STORE)
        paths = _paths(host)
        (place / ABOUT).write_text(json.dumps({"version": VERSION, "paths": paths, "host": name.host}))
        file = vault.passphrase_file(host, kept)
        secret = (path for path in (file, file.resolve()) if path.is_relative_to(host.root))
        without = [str(path.relative_to(host.root)) for path in dict.fromkeys(secret)]
        own = str(place.relative_to(host.root))
        done = found.keep(str(name), host.root, [own, *paths], without)
    if wrong := [*done.unread, *(path for path in done.changed if path.startswith(f"{own}/"))]:
        found.forget([str(name)])
        raise DoorError(f"{wrong[0]} could not be read whole")
    _rotate(found, name, kept)
    return name


def _rotate(found: door.Engine, newest: Name, kept: backups.Backup) -> None:
    """Remove old copies of the host, where this host removes anything."""
    if not kept.prunes:
        return
    own = {name for name in _named(found.copies()) if (name.project, name.host) == (ITSELF, newest.host)}
    found.forget(sorted(map(str, own - backups.retained(own, kept))))


def _named(copies: Sequence[door.Copy]) -> list[Name]:
    """Return the backups that are whole: of projects, and of hosts."""
    there = {copy.name for copy in copies}
    read = [one[0] for one in map(Name.read, sorted(there)) if one and not one[1]]
    return [name for name in read if name.project == ITSELF or name.files in there]


@contextlib.contextmanager
def _folder(place: Path) -> Iterator[None]:
    """Give an empty folder, which is removed at the end."""
    tree.remove(place)
    place.mkdir(mode=0o700, parents=True)
    try:
        yield
    finally:
        tree.remove(place)


# bring


@dataclass(frozen=True)
class Brought:
    """A project whose repositories are back; `number` is its newest backup, 0 where it has none.

    `dumps` says whether what dump.sls wrote can be loaded; `left` is what of that backup nobody puts in place.
    """

    name: str
    number: int
    live: bool
    databases: tuple[str, ...]
    folders: tuple[str, ...] = ()
    dumps: bool = False
    left: tuple[str, ...] = ()


@dataclass(frozen=True)
class Return:
    """A host that comes back from a repository; `whose` is the host that it was."""

    host: Host
    kept: backups.Backup
    whose: str = ""
    replaced: list[Path] = field(default_factory=list)  # where the files are that were there before, and others

    def bring(self, phrase: bytes) -> list[Brought]:
        """Bring back all but data/ and databases; raise CorpusError, and NoDaemonError where a daemon runs.

        The store comes last: what is interrupted before can be done again.
        """
        host = self.host
        layout.make_host(host)
        with alone(host):
            self._check_bare()
            host.backups_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _passphrase(host, self.kept, phrase) as file, _folder(host.backups_dir / PLACE):
                kept, file = _opening(self.kept, file, host.backups_dir / PLACE / OPENING)
                found = door.Borg(kept, file, host.backups_dir / ".borg", vault.alone, ITSELF)
                named = _named(found.copies())
                own = chosen(named, self.whose, hostname.fqdn())
                self._bring_files(found, own)
                return self._bring_projects(found, [name for name in named if name.host == own.host])

    def _check_bare(self) -> None:
        """Refuse a host that has something to lose."""
        host, rows = self.host, list[ProjectRow]()
        if host.store.exists():
            with closing(open_store(host)) as history:
                rows = list(history.projects())
        full = [path.parent.name for path in host.projects_dir.glob("*/data") if _has(path)]
        there = [row.name for row in rows] or full
        if there:
            raise RefusedError(
                f"this host has projects already: {there[0]}", hint=command("restore", there[0], "--help")
            )

    def _bring_files(self, found: door.Engine, own: Name) -> None:
        """Bring settings, files for Salt and the store; files that were there, and are others, are kept aside."""
        host, place = self.host, self.host.backups_dir / PLACE
        base = str(place.relative_to(host.root))
        found.bring(str(own), host.root, [base])
        about = json.loads((place / ABOUT).read_text())
        if about["version"] != VERSION:
            raise DoorError(f"{own} was made by a newer corpushooks")
        if not about["paths"]:
            return
        with _folder(new := place / "new"):
            found.bring(str(own), new, about["paths"])
            aside = host.state_dir / REPLACED / time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
            safe_files.folder(aside, 0o700, make=0o700)
            for path in about["paths"]:
                self.replaced.extend(_kept_aside(new / path, host.root / path, aside / path))
            _drop_empty(aside)
            with contextlib.suppress(OSError):  # something is kept there
                aside.parent.rmdir()
        found.bring(str(own), host.root, about["paths"])

    def _bring_projects(self, found: door.Engine, named: Sequence[Name]) -> list[Brought]:
        """Make the projects of the store that was brought, with their repositories; then put it in its place."""
        host, place = self.host, self.host.backups_dir / PLACE
        settings = load(host.config_file)
        with closing(History(place / STORE)) as history:
            _settle(history)
            done = [self._project(found, settings, history, row, named) for row in history.projects()]
        keep_aside(host.store, time.strftime("before-restore-%Y%m%dT%H%M%SZ", time.gmtime()))
        put(place / STORE, host.store)
        return done

    def _project(
        self, found: door.Engine, settings: Settings, history: History, row: ProjectRow, named: Sequence[Name]
    ) -> Brought:
        project = self.host.project(row.name)
        hashed = "sha256" if len(row.code or "") == SHA256 else None
        projects.init(self.host, settings, history, row.name, row.environment, row.branch, hashed=hashed)
        newest = max((name for name in named if name.project == row.name), key=lambda name: name.number, default=None)
        if newest is None:
            return Brought(row.name, 0, False, ())
        into = self.host.backups_dir / PLACE / row.name
        with _folder(into):
            found.bring(str(newest), into)
            for path in (project.code_git, project.pillar_git):
                if (bundle := into / f"{path.stem}.bundle").exists():
                    git.unbundle_all(path, bundle)
            about = json.loads((into / "backup.json").read_text())
        layout.make(project, row.branch)
        with contextlib.suppress(OSError):
            project.tree.rmdir()  # it is made by a repair, from the commits that were live
        loaded = tuple(one["name"] for one in about["databases"] if one["kind"] != backups.SQLITE)
        folders = tuple(map(str, about.get("folders", ())))
        loads = bool(about.get("made")) and _has_task(project, row)
        left = ["the files of dump.sls"] if about.get("made") and not loads else []
        if not row.live:  # no cfg names them
            left, folders, loaded = [*folders, *loaded, *left], (), ()
        return Brought(row.name, newest.number, bool(row.live), loaded, folders, loads and bool(row.live), tuple(left))


def _kept_aside(new: Path, there: Path, aside: Path) -> Iterator[Path]:
    """Move away what the new files would overwrite and is not the same; yield where each is. Raise TreeError."""
    if not os.path.lexists(there):
        return
    if any(path.is_symlink() or not path.is_dir() for path in (new, there)):
        if not (new.is_symlink() and there.is_symlink() and new.readlink() == there.readlink()):
            yield tree.set_aside(there, aside.parent)
        return
    was, is_ = tree.take(there), tree.take(new)
    old, moved = dict(was.manifest.entries), set[str]()
    for path, entry in sorted(is_.manifest.entries):
        found = old.get(path)
        if found is None or tree.is_below(path, moved):
            continue
        same = found.kind == entry.kind and found.target == entry.target
        if not (same and was.digests.get(path) == is_.digests.get(path)):
            moved.add(path)
            yield tree.set_aside(there / path, (aside / path).parent)


def _drop_empty(aside: Path) -> None:
    """Remove folders that led to nothing, since it is on another filesystem; what was moved here stays as it is."""
    for path in aside.iterdir():
        if path.is_dir() and not path.is_symlink() and not MOVED.search(path.name):
            _drop_empty(path)
    with contextlib.suppress(OSError):
        aside.rmdir()


def chosen(named: Sequence[Name], whose: str, fqdn: str) -> Name:
    """Return the newest copy of a host: that was named, or is called as this machine. Raise UsageError."""
    copies = [name for name in named if name.project == ITSELF]
    wanted = backups.host_name(whose or fqdn)
    own = [name for name in copies if name.host == wanted]
    if not own:
        there = ", ".join(sorted({name.host for name in copies})) or "none"
        raise UsageError(
            f"the repository has no backup of the host {wanted}", hint=f"it has: {there}; name one by --of"
        )
    elsewhere = {name.project for name in named if name.host != wanted} - {ITSELF}
    ours = {name.project for name in named if name.host == wanted} - {ITSELF}
    if wanted != backups.host_name(fqdn) and (both := sorted(elsewhere & ours)):
        raise UsageError(
            f"another host has a project {both[0]} in that repository, too",
            hint=f"give this machine its name first: hostnamectl set-hostname {wanted}",
        )
    return max(own, key=lambda name: name.at)


def _has_task(project: Project, row: ProjectRow) -> bool:
    """Say whether the live release has the task that loads what dump.sls wrote."""
    code, folders = row.code, (".salt", f".salt/{row.environment}")
    return code is not None and any(git.content(project.code_git, code, f"{each}/{LOADS}") for each in folders)


def _has(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        return any(folder.iterdir())
    return False


@contextlib.contextmanager
def _passphrase(host: Host, kept: backups.Backup, phrase: bytes) -> Iterator[Path]:
    """Write the passphrase where the settings say that it is, also after the files of the host were brought.

    A wrong one does not stay.
    """
    file = vault.passphrase_file(host, kept)
    before = vault.passphrase(file)
    disk.write_file(file, phrase.strip() + b"\n")
    try:
        yield file
    except BaseException:
        if before and file.parent.is_dir():
            disk.write_file(file, before + b"\n")
        else:
            file.unlink(missing_ok=True)
        raise
    if not vault.passphrase(file):  # its folder was replaced
        disk.write_file(file, phrase.strip() + b"\n")


def _opening(kept: backups.Backup, passphrase: Path, folder: Path) -> tuple[backups.Backup, Path]:
    """Copy what opens the repository into a new folder: where it is, it can be replaced by what is brought.

    Return the settings and the file of the passphrase that use the copies; a file that cannot be read stays.
    """
    folder.mkdir(mode=0o700)

    def copied(path: Path | None, name: str) -> Path | None:
        if path:
            with contextlib.suppress(OSError):
                disk.write_file(folder / name, safe_files.read(path)[0])
                return folder / name
        return path

    key, hosts = copied(kept.ssh_key, "key"), copied(kept.ssh_known_hosts, "known_hosts")
    for more in (".pub", "-cert.pub") if kept.ssh_key else ():  # ssh finds them beside the key
        copied(Path(f"{kept.ssh_key}{more}"), f"key{more}")
    return replace(kept, ssh_key=key, ssh_known_hosts=hosts), copied(passphrase, "passphrase") or passphrase


def _settle(history: History) -> None:
    """End what waited or ran when the copy was made: nothing of it is left. Nodes can have seen later rollouts."""
    Fleet(history).renew_epoch()
    for row in history.projects():
        for one in history.queued(row.name):
            history.end(history.move(one, CANCELLED, LOST))
        for one in history.unfinished(row.name):
            history.end(one if one.final else _lost(history, one))


def _lost(history: History, one: Deployment) -> Deployment:
    """Move what ran to an outcome."""
    if one.state == HELD:
        one = history.move(one, ROLLING_BACK, LOST)
    return history.move(one, ROLLED_BACK if one.state == ROLLING_BACK else FAILED, LOST)
