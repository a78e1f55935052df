"""Checks for doctor that a host can deploy: programs, accounts, sshd, the daemon, Salt, the projects."""

from __future__ import annotations

import fnmatch
import os
import platform
import shlex
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from corpushooks import git
from corpushooks.admin import setup
from corpushooks.admin.doctor.patient import Check, Finding, Patient
from corpushooks.admin.setup.actions import Skipped, Started
from corpushooks.core.errors import CorpusError, DoorError, Fault, GitError, NoDaemonError
from corpushooks.core.hints import Hint, command
from corpushooks.core.project import Host, Project
from corpushooks.core.settings import Settings
from corpushooks.host import parts, wiring
from corpushooks.host.site import make_engine
from corpushooks.protocol import client
from corpushooks.release import release
from corpushooks.system import distribution
from corpushooks.system.locks import is_free

PYTHON, SSHD = (3, 10), (7, 4)  # DisableForwarding needs OpenSSH 7.4
PATIENCE = 10.0  # seconds for the daemon to answer
SALT_PATIENCE = 60.0
STALE = 5.0  # seconds after which a git lock is stale
NOT_BY_SHELL = {"nologin", "false"}


def unread(patient: Patient) -> Iterator[Finding]:
    """Find what could not be read."""
    yield from patient.unread


def versions(patient: Patient) -> Iterator[Finding]:
    """Find programs that are too old."""
    yield f"Python {platform.python_version()}"
    if sys.version_info < PYTHON:
        yield Fault(f"Python {platform.python_version()} is too old", "install Python 3.10 or newer")
    try:
        git.check_version()
        yield f"git {_dotted(git.version())}"
    except GitError as exc:
        yield Fault(exc.message, "apt-get install git")
    if patient.machine and patient.machine.sshd():
        found = patient.machine.sshd_version()
        yield f"OpenSSH {_dotted(found)}"
        if found and found < SSHD:
            yield Fault(f"OpenSSH {_dotted(found)} is too old", "apt-get install openssh-server")


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


# the machine


def made(patient: Patient) -> Iterator[Finding]:
    """Find what setup would change; a host in a folder needs no setup."""
    record = setup.record_of(patient.host)
    if not patient.machine and not record.made:
        return
    actions = setup.Plan(patient.host, patient.settings, patient.machine).table()
    looks = [(action, action.look(record.noted(action))) for action in actions if not isinstance(action, Skipped)]
    wrong = [action for action, look in looks if look.todo and not isinstance(action, Started)]
    if wrong:
        more = f", and {len(wrong) - 1} more" if wrong[1:] else ""
        yield Fault(f"missing or different: {wrong[0].kind} {wrong[0].name}{more}", command("setup"))
    for action, look in looks:
        if look.left:
            yield f"{action.name} {look.left.partition(';')[0]}"


def units(patient: Patient) -> Iterator[Finding]:
    """Find units that are not running, or not enabled."""
    machine = patient.machine
    if machine is None or not machine.supervised():
        yield "systemd is not running on this host"
        return
    for name in setup.UNITS:
        unit = machine.unit(name)
        if not unit.active:
            yield Fault(
                f"{name} is not active: see journalctl -eu {name}", f"systemctl restart {' '.join(setup.UNITS)}"
            )
        if not unit.enabled:
            yield Fault(f"{name} does not start with the system", f"systemctl enable {name}")


def account(patient: Patient) -> Iterator[Finding]:
    """Find what keeps people from logging in as the account, or from pushing."""
    machine, name = patient.machine, patient.settings.account
    found = machine.user(name) if machine else None
    if machine is None or found is None:
        yield "none for a host in a folder" if machine is None else "none"
        return
    if Path(found.pw_shell).name in NOT_BY_SHELL or not os.access(found.pw_shell or "/bin/sh", os.X_OK):
        yield Fault(
            f"{name} has the shell {found.pw_shell}: sshd cannot run commands with it", f"usermod -s /bin/sh {name}"
        )
    for project in patient.projects:
        group = machine.group(project.deploy_group)
        if group is None or name not in group.gr_mem:
            mend = command("setup") if group else command("init", project.name)
            yield Fault(f"{name} is not in the group {project.deploy_group}", mend)


def programs(patient: Patient) -> Iterator[Finding]:
    """Find programs of ours that sshd, or a login, cannot run."""
    for path in map(setup.program, setup.PROGRAMS) if patient.machine else ():
        if wrong := setup.misplaced(path):
            yield Fault(wrong, Hint("see how to install it: ", setup.PAGE))
    if patient.machine and not shutil.which("logrotate", path="/usr/sbin:/usr/bin:/sbin:/bin"):
        yield Fault("logrotate is missing: the log of Salt's worker keeps growing", "apt-get install logrotate")


def sshd(patient: Patient) -> Iterator[Finding]:
    """Find settings of sshd for the account that differ from what setup wants."""
    machine, name = patient.machine, patient.settings.account
    if machine is None or not machine.sshd() or os.geteuid() != 0:
        yield "not checked: " + ("needs root" if machine and machine.sshd() else "this host has none")
        return
    if wrong := machine.sshd_complaint():
        yield Fault(f"sshd rejects its configuration: {wrong}", "sshd -t")
        return
    told = machine.sshd_for(name)
    for key, value in wanted_of_sshd(patient.settings).items():
        if told.get(key) != value:
            line = f"sshd uses {key} {told.get(key, 'unset')} for {name}, not {value}"
            yield Fault(line, Hint(command("setup"), f"; or find the file that sets it: grep -ri {key} /etc/ssh"))
    yield from _excluded_by_sshd(told, name)


def wanted_of_sshd(settings: Settings) -> dict[str, str]:
    """Return the sshd settings needed for the account: only our keys can log in, without forwarding."""
    return {
        "authorizedkeyscommand": f"{setup.program('corpus-shell')} keys %u %t %k",
        "authorizedkeyscommanduser": "root",
        "authorizedkeysfile": str(settings.authorized_keys or "none"),
        "authenticationmethods": "publickey",
        "passwordauthentication": "no",
        "trustedusercakeys": "none",
        "disableforwarding": "yes",
    }


def _excluded_by_sshd(told: dict[str, str], name: str) -> Iterator[Fault]:
    """Find allow and deny lists of sshd that exclude the account; its group has the same name."""
    for key, wanted in (("allowusers", True), ("allowgroups", True), ("denyusers", False), ("denygroups", False)):
        if key in told and wanted != any(fnmatch.fnmatch(name, word.partition("@")[0]) for word in told[key].split()):
            yield Fault(f"sshd does not admit {name}: {key} {told[key]}", f"grep -ri {key} /etc/ssh")


# the daemon and Salt


def socket(patient: Patient) -> Iterator[Finding]:
    """Find faults of the daemon's socket."""
    path = patient.host.socket
    quoted = shlex.quote(str(path))
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        if _is_supervised(patient):
            yield Fault(f"{path} is missing", f"systemctl restart {setup.UNITS[0]}")
        yield "none: a push starts the daemon"
        return
    if not stat.S_ISSOCK(mode):
        yield Fault(f"{path} is not a socket", f"rm -r {quoted}")
    elif stat.S_IMODE(mode) != 0o666:
        yield Fault(f"{path} has mode {stat.S_IMODE(mode):04o}: not everyone can connect", f"chmod 0666 {quoted}")


def _is_supervised(patient: Patient) -> bool:
    return patient.machine is not None and patient.machine.supervised()


def daemon(patient: Patient) -> Iterator[Finding]:
    """Find a daemon that does not answer."""
    again = f"systemctl restart {setup.UNITS[1]}" if _is_supervised(patient) else "see its log, and stop it by its pid"
    try:
        client.connect(patient.host).close()
    except NoDaemonError as exc:
        if _is_supervised(patient):
            yield Fault(exc.message, f"systemctl restart {' '.join(setup.UNITS)}")
        yield "none: a push starts it"
        return
    try:
        yield f"pid {client.ping(patient.host, PATIENCE)}"
    except CorpusError as exc:
        yield Fault(f"it listens but does not answer: {exc.message}", again)


def salt(patient: Patient) -> Iterator[Finding]:
    """Ask Salt something, with the configured engine."""
    with tempfile.TemporaryDirectory(prefix="corpus-") as folder:
        try:
            grains = _grains(patient, Path(folder))
        except CorpusError as exc:
            yield Fault(
                f"the engine {patient.settings.engine} does not answer: {exc.message}",
                exc.hint or distribution.completing(),
            )
        else:
            yield f"{grains.get('saltversion')}, {patient.settings.engine}"


def _grains(patient: Patient, folder: Path) -> dict[str, object]:
    """Ask Salt for its grains, without any project."""
    project = Host(folder / "host").project("doctor")
    for name in ("salt", "pillar"):
        (folder / name).mkdir()
    engine = make_engine(project.host, patient.settings)
    found = release.beside(project, "prod", folder / "trees", folder / "salt", folder / "pillar")
    redactor = release.redactor_of(patient.settings)
    try:
        with engine.session(found.minion(patient.settings), release.Unheard(redactor)) as session:
            return session.facts(None, timeout=SALT_PATIENCE).grains
    finally:
        engine.close()


def disk(patient: Patient) -> Iterator[Finding]:
    """Find disks with less free space than a deployment needs."""
    seen = set()
    for path in (patient.host.projects_dir, patient.host.state_dir):
        if not path.is_dir() or (device := path.stat().st_dev) in seen:
            continue
        seen.add(device)
        found = os.statvfs(path)
        free, repair = found.f_bavail * found.f_frsize >> 20, f"du -xh --max-depth=2 {path} | sort -h | tail"
        if free < patient.settings.reserve:
            yield Fault(f"{path}: {free} MiB free, less than the reserve of {patient.settings.reserve} MiB", repair)
        if found.f_files and not found.f_favail:
            yield Fault(f"{path}: no free inodes", repair)
        yield f"{free} MiB free"


# the projects


def files(patient: Patient) -> Iterator[Finding]:
    """Find missing or damaged files of each project."""
    for row, project in zip(patient.rows, patient.projects, strict=True):
        for each in parts.faults(project, row, patient.settings, patient.busy.get(row.name, 0)):
            yield replace(each, what=f"{row.name}: {each.what}")


def wires(patient: Patient) -> Iterator[Finding]:
    """Find missing or wrong links from Salt's folders to a project."""
    for row, project in zip(patient.rows, patient.projects, strict=True):
        try:
            yield from _wiring_findings(project, row.environment)
        except (DoorError, OSError) as exc:
            what, hint = (exc.message, exc.hint) if isinstance(exc, CorpusError) else (str(exc), None)
            yield Fault(f"{row.name}: {what}", hint or command("link", row.name))


def _wiring_findings(project: Project, environment: str) -> Iterator[Finding]:
    links = {
        project.wired_salt: str(wiring.states_dir(project, environment)),
        project.wired_pillar: str(project.pillar_stage),
    }
    for path, target in links.items():
        if not path.is_symlink() or os.readlink(path) != target:
            yield Fault(f"{path} is not a link to {target}", command("link", project.name))
    top = project.host.pillar_dir / "top.sls"
    text = top.read_text() if top.exists() else ""
    if (project.pillar_stage / "init.sls").is_file() and wiring.top_text(text, project.name, wanted=True) != text:
        yield Fault(f"{top} does not include {project.name}", command("link", project.name))


def pillar(patient: Patient) -> Iterator[Finding]:
    """Find a pillar root that others can read."""
    path = patient.host.pillar_dir
    if path.is_dir() and path.stat().st_mode & stat.S_IRWXO:
        yield Fault(f"{path} has mode {path.stat().st_mode & 0o7777:04o}: others can read it", f"chmod o= {path}")


def locks(patient: Patient) -> Iterator[Finding]:
    """Find stale git locks."""
    for project in patient.projects:
        if not project.lock.is_file() or not is_free(project):
            continue
        for repo in (project.code_git, project.pillar_git, project.work_git):
            for lock in sorted((*repo.glob("*.lock"), *repo.glob("refs/**/*.lock"))):
                if time.time() - lock.stat().st_mtime > STALE:
                    yield Fault(f"stale lock {lock}", f"rm {shlex.quote(str(lock))}")


def refs(patient: Patient) -> Iterator[Finding]:
    """Find projects whose branch is not at the live commit, and broken ones."""
    for row, project in zip(patient.rows, patient.projects, strict=True):
        if row.broken:
            yield Fault(f"{row.name} is broken: {row.broken}", command("repair", row.name))
        elif row.live and row.name not in patient.busy:
            yield from _refs(project, row.branch, row.code or "")


def _refs(project: Project, branch: str, live: str) -> Iterator[Finding]:
    try:
        found = git.ref(project.code_git, f"refs/heads/{branch}")
    except GitError as exc:
        yield Fault(exc.message, command("init", project.name))
        return
    if found != live:
        what = f"{project.name}: {branch} is at {(found or 'nothing')[:7]}, but {live[:7]} is live"
        yield Fault(what, f"git --git-dir={shlex.quote(str(project.code_git))} update-ref refs/heads/{branch} {live}")


CHECKS = (
    Check("settings and store", unread),
    Check("versions", versions),
    Check("setup", made),
    Check("units", units),
    Check("account", account),
    Check("programs", programs),
    Check("sshd", sshd),
    Check("socket", socket),
    Check("daemon", daemon),
    Check("Salt", salt),
    Check("disk", disk),
    Check("files of projects", files),
    Check("links", wires),
    Check("pillar root", pillar),
    Check("locks of git", locks),
    Check("projects", refs),
)
