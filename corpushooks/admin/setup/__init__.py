"""Set up a machine as a host, and undo it: a table of actions, each recorded before it is done.

    actions   the kinds of actions: look, do, undo
    accounts  the same for users and groups
    manual    the man page and the shell completions
    jobs      the timers for backups
    wires     the Salt master of a controller, the minion of a node

What existed before stays, also after undo; so do projects, the store and the logs.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata, resources
from importlib.util import find_spec
from pathlib import Path
from string import Template
from types import MappingProxyType

from corpushooks.admin.setup import jobs
from corpushooks.admin.setup.accounts import Group, Member, User
from corpushooks.admin.setup.actions import (
    Action,
    File,
    Folder,
    Link,
    Marks,
    Mode,
    SettingsFile,
    Skipped,
    Snippet,
    Started,
    UnitFile,
)
from corpushooks.core.errors import CorpusError, DoorError, NoDaemonError, NotAllowedError, RefusedError, UsageError
from corpushooks.core.hints import Hint, command
from corpushooks.core.project import Host, Project
from corpushooks.core.settings import Settings, document
from corpushooks.host import layout
from corpushooks.protocol import client
from corpushooks.system import disk, distribution
from corpushooks.system.machine import Machine, hidden, weak

KINDS: Mapping[str, type[Action]] = {
    kind.kind: kind
    for kind in (Folder, Mode, Link, File, SettingsFile, UnitFile, Snippet, Group, User, Member, Started)
}  # fmt: skip
UNITS = ("corpushooks.socket", "corpushooks.service")
STEPS_SINCE = 254  # the first version of systemd with RestartSteps
RESTART = "RestartSec=2\nRestartSteps=6\nRestartMaxDelaySec=30"
RESTART_OLDER = "RestartSec=10"  # it has only one delay: long enough that endless restarts cost little
WEB = ("corpushooks-web.socket", "corpushooks-web.service")
FRONTS = ("nginx-web.conf", "haproxy-web.cfg")  # for the web server in front of the pages
LIBRARIES = ("starlette", "uvicorn")  # of the pages
PROGRAMS = ("corpus", "corpus-shell")
PAGE = command("help", "getting-started")
INCLUDE = re.compile(r"^\s*include\s.*sshd_config\.d/\*\.conf", re.IGNORECASE | re.MULTILINE)
MATCH = re.compile(r"^\s*match\s", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Line:
    """The result of one action: created, kept, skipped, undone… `done` is false if it failed."""

    status: str
    what: str
    done: bool = True

    def __str__(self) -> str:
        return f"{self.status:<10} {self.what}"


@dataclass
class Record:
    """What setup did, in order; written to disk before it is done."""

    path: Path
    made: dict[tuple[str, str], Marks] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.path.exists():
            try:
                if not self.path.is_file():
                    raise ValueError
                found = json.loads(self.path.read_text())["made"]
                self.made = {(row["kind"], row["name"]): tuple(row["marks"]) for row in found}
            except (ValueError, KeyError, TypeError):
                raise DoorError(f"{self.path} is damaged; it records what setup did", f"rm {self.path}") from None

    def noted(self, action: Action) -> Marks:
        return self.made.get((action.kind, action.name), ())

    def note(self, action: Action) -> None:
        before = [mark for mark in self.noted(action) if mark != action.mark()]
        self.made[action.kind, action.name] = (action.mark(), *before)
        self.write()

    def forget(self, kind: str, name: str) -> None:
        del self.made[kind, name]
        self.write()

    def write(self) -> None:
        """Write the record, if its folder exists."""
        if self.made and self.path.parent.is_dir():
            rows = [{"kind": kind, "name": name, "marks": marks} for (kind, name), marks in self.made.items()]
            disk.write_file(self.path, json.dumps({"made": rows}, indent=1).encode())
        else:
            self.path.unlink(missing_ok=True)


def record_of(host: Host) -> Record:
    """Return the record of what setup did on a host."""
    return Record(host.state_dir / "setup.json")


def machine_of(host: Host) -> Machine | None:
    """Return the machine of a host, or None for a host in a folder."""
    return None if host.embedded else Machine()


def program(name: str) -> Path:
    """Return where a program of ours is installed."""
    return Path(sysconfig.get_path("scripts")) / name


def packaged() -> bool:
    """Say whether we were installed as a Debian package, which has its own units, man page and links."""
    try:
        return (metadata.distribution("corpushooks").read_text("INSTALLER") or "").strip() == "debian"
    except metadata.PackageNotFoundError:  # it runs from a folder, not installed
        return False


# the table


@dataclass(frozen=True)
class Plan:
    """What to set up; `manuals` are the man page and completions, by their path below share.

    `programs` is the folder of our programs; `systemd` is its version if there is no machine to ask.
    """

    host: Host
    settings: Settings
    machine: Machine | None
    manuals: Mapping[str, str] = field(default_factory=dict)
    programs: Path = field(default_factory=lambda: program("corpus").parent)
    systemd: int = 0  # its version; 0: unknown

    def table(self) -> list[Action]:
        """Return the actions, in order."""
        settings = SettingsFile(self.host.config_file, document())
        files, sshd, link = [settings, *self.files()], self._sshd(), self._link()
        if packaged() and not self.host.embedded:
            files, link = [settings], []
        paths = [action.path for action in (*files, *sshd, *link) if isinstance(action, (File, Link))]
        modes = layout.host_folders(self.host)
        shared = _parent_folders(self.host.root, [*(path for path, _ in modes), *paths])
        first = [path for path in shared if path in self.host.state_dir.parents]  # the record is written there
        return [
            *map(Folder, first),
            Folder(self.host.state_dir, 0o700),
            *(Folder(path) for path in shared if path not in first),
            *(Folder(path, mode) for path, mode in modes if path != self.host.state_dir),
            *(Mode(path, mode) for path, mode in modes),
            *self._accounts(),
            *files,
            *link,
            *sshd,
            *self._units(),
        ]

    def _accounts(self) -> list[Action]:
        machine, account = self.machine, self.settings.account
        if machine is None:
            return [Skipped("accounts", "not used by a host in a folder")]
        groups = dict.fromkeys((self.settings.group, account))
        members = [Member(account, project.deploy_group, machine) for project in self._projects()]
        return [*(Group(name, machine) for name in groups), User(account, machine), *members]

    def _projects(self) -> Iterator[Project]:
        """Yield the existing projects: their init did not know this account."""
        for path in sorted(self.host.projects_dir.glob("*/git/project.git")):
            with contextlib.suppress(UsageError):  # somebody else's folder
                yield self.host.project(path.parts[-3])

    def files(self) -> list[File]:
        """Return the files that a Debian package also contains."""
        root = self.host.root
        return [
            File(root / "etc/logrotate.d/corpushooks", self.template("logrotate.conf")),
            *(File(root / "usr/local/share" / path, text) for path, text in self.manuals.items()),
            *(UnitFile(root / "etc/systemd/system" / unit, self.template(unit), self.machine) for unit in UNITS),
        ]

    def _link(self) -> list[Action]:
        link = Link(self.host.root / "usr/local/bin/corpus", self.programs / "corpus")
        return [] if link.path == link.target else [link]

    def _sshd(self) -> list[Action]:
        if self.machine and not self.machine.sshd():
            return [Skipped("ssh", "sshd is not installed: apt-get install openssh-server, then run setup again")]
        path = self.host.root / "etc/ssh/sshd_config.d/corpushooks.conf"
        skipped = [] if self.machine else [Skipped("sshd", "not checked for a host in a folder")]
        return [Snippet(path, self.template("sshd.conf"), self.machine), *skipped]

    def _units(self) -> list[Action]:
        if self.machine is None:
            return [Skipped("units", "not started for a host in a folder")]
        if not self.machine.supervised():
            wanted = Hint("systemd is not running: use another supervisor to run `", command("daemon"), "`")
            return [Skipped("units", self.host.spell(wanted))]
        return [Started(UNITS, self.machine)]

    def jobs(self) -> list[Action]:
        """Return the actions that set up the timers for backups."""
        if self.machine is None:
            return [Skipped("timers", "not used by a host in a folder")]
        if not self.machine.supervised():
            path = self.host.root / "etc/cron.d" / jobs.CRON
            text = self.template("jobs.cron", {"lines": jobs.lines(str(self.programs / "corpus"))})
            return [*self.folders([path]), File(path, text)]
        units = self.host.root / "etc/systemd/system"
        files = [
            UnitFile(units / unit, self.template(source, job.values), self.machine)
            for job in jobs.JOBS
            for unit, source in job.files.items()
        ]
        started = Started(tuple(job.timer for job in jobs.JOBS), self.machine)
        return [*self.folders([file.path for file in files]), *files, started]

    def web(self) -> list[Action]:
        """Return the actions that set up the pages and the API: their account, units and files for a web server."""
        if self.machine is None:
            return [Skipped("web", "not used by a host in a folder")]
        account = self.settings.web_account
        units = self.host.root / "etc/systemd/system"
        files: list[File] = [
            UnitFile(units / name, self.template(name, {"web": account}), self.machine) for name in WEB
        ]
        files += [File(self.host.config_file.with_name(name), self.template(name)) for name in FRONTS]
        started: Action = Started(WEB, self.machine)
        if not self.machine.supervised():
            wanted = Hint(f"systemd is not running: run this as {account}: `", command("web"), "`")
            started = Skipped("units", self.host.spell(wanted))
        accounts: list[Action] = [Group(account, self.machine), User(account, self.machine)]
        return [*accounts, *self.folders([each.path for each in files]), *files, started]

    def folders(self, paths: Sequence[Path]) -> list[Action]:
        """Return the actions that make the parent folders of some paths."""
        return [Folder(path) for path in _parent_folders(self.host.root, paths)]

    def template(self, name: str, more: Mapping[str, str] = MappingProxyType({})) -> str:
        """Return a system file for this host; `more` has values that only some of them need."""
        text = (resources.files("corpushooks") / "share/host" / name).read_text()
        root = f" --root {self.host.root}" if self.host.embedded else ""
        version = self.machine.systemd_version() if self.machine else self.systemd
        corpus, endpoint = (f"{self.programs / name}{root}" for name in PROGRAMS)
        return Template(text).substitute(
            more,
            user=self.settings.account, keys=self.settings.authorized_keys or "none",
            corpus=corpus, endpoint=endpoint, socket=self.host.socket,
            projects=self.host.projects_dir, state=self.host.state_dir,
            restart=RESTART if version >= STEPS_SINCE else RESTART_OLDER,
        )  # fmt: skip


def _parent_folders(root: Path, paths: Sequence[Path]) -> list[Path]:
    """Return the parent folders of some paths, starting at the root."""
    found = {folder for path in paths for folder in path.parents if root in folder.parents or folder == root}
    return sorted(found - set(paths))


# doing it


def setup(plan: Plan, *, dry: bool = False) -> Iterator[Line]:
    """Set up a host, or repair it; what is right already stays. Yield each action as it is done; raise CorpusError."""
    if plan.machine:
        check(plan.host, plan.machine)
    yield from make(plan.host, plan.table(), dry=dry)


def schedule(plan: Plan) -> Iterator[Line]:
    """Set up the timers for backups; yield each action as it is done. Raise CorpusError."""
    check_root(plan)
    yield from make(plan.host, plan.jobs(), dry=False)


def serve(plan: Plan) -> Iterator[Line]:
    """Set up the pages and the API; yield each action as it is done. Raise CorpusError."""
    check_root(plan)
    for name in LIBRARIES:
        if find_spec(name) is None:
            raise UsageError(f"a library is missing: {name}", hint=distribution.completing())
    yield from make(plan.host, plan.web(), dry=False)


def check_root(plan: Plan) -> None:
    """Raise NotAllowedError for anybody else on a whole machine."""
    if plan.machine and os.geteuid() != 0:
        raise NotAllowedError("only root can change this machine")


def make(host: Host, actions: Sequence[Action], *, dry: bool) -> Iterator[Line]:
    """Do what is left to do of some actions; yield each as it is done. Raise CorpusError."""
    record, right = record_of(host), 0
    for action in actions:
        look = action.look(record.noted(action))
        what = f"{action.kind} {action.name}"
        if look.todo:
            if not dry:
                record.note(action)
                action.do()
            verb = ("would change", "changed") if look.change else ("would create", "created")
            yield Line(verb[not dry], f"{what}: {look.change}" if look.change else what)
        elif look.left:
            yield Line("skipped" if isinstance(action, Skipped) else "kept", f"{action.name}: {look.left}")
        else:
            right += 1
    if right:
        yield Line("ok", f"{right} more, nothing to do")


def check(host: Host, machine: Machine) -> None:
    """Raise RefusedError if this machine cannot be set up, before anything changes."""
    if os.geteuid() != 0:
        raise NotAllowedError("only root can set up this machine")
    for path in map(program, PROGRAMS):
        if wrong := misplaced(path):
            raise RefusedError(
                wrong, hint=Hint("install it where only root can write, such as /opt/corpushooks: ", PAGE)
            )
    config = host.root / "etc/ssh/sshd_config"
    if machine.sshd() and not includes(config.read_text() if config.exists() else ""):
        raise RefusedError(
            f"{config} does not include /etc/ssh/sshd_config.d",
            hint="add as its first line: Include /etc/ssh/sshd_config.d/*.conf",
        )
    _refuse_other_daemon(host, machine)


def misplaced(path: Path) -> str:
    """Return why a program of ours cannot be run by sshd or by a login, or ''."""
    if not path.is_file():
        return f"{path} is missing: corpushooks is not completely installed"
    if why := weak(path):
        return f"sshd runs {path} only if nobody but root can change it: {why}"
    for needed in (path, Path(sys.executable)):
        if why := hidden(needed):
            return f"{needed} must be executable after a login: {why}"
    return ""


def includes(text: str) -> bool:
    """Say whether an sshd_config includes the folder of snippets for everyone: before any Match."""
    return INCLUDE.search(MATCH.split(text, maxsplit=1)[0]) is not None


def _refuse_other_daemon(host: Host, machine: Machine) -> None:
    """Raise RefusedError if a daemon is running that systemd did not start: the unit could not start."""
    if not machine.supervised() or machine.unit(UNITS[0]).active:
        return
    try:
        pid = client.ping(host)
    except NoDaemonError:
        return
    raise RefusedError(f"a daemon that systemd did not start is running (pid {pid})", hint=f"stop it first: kill {pid}")


# undoing it


def undo(host: Host, machine: Machine | None, *, dry: bool = False) -> Iterator[Line]:
    """Undo what setup did, in reverse order; yield each result. What fails stays recorded."""
    if machine and os.geteuid() != 0:
        raise NotAllowedError("only root can change this machine")
    record = record_of(host)
    for (kind, name), marks in reversed(list(record.made.items())):
        what = f"{kind} {name}"
        if dry:
            yield Line("would undo", what)
            continue
        if Path(name) == record.path.parent and all(each == Folder.kind for each, _ in record.made):
            record.path.unlink(missing_ok=True)  # the record is in this folder, which is to be removed
        try:
            left = KINDS[kind].undo(name, marks, machine)
        except (CorpusError, OSError) as exc:
            yield Line("failed", f"{what}: {exc}", done=False)
            continue
        record.forget(kind, name)
        yield Line("kept", f"{what}: {left}") if left else Line("undone", what)
