"""The command `corpus setup`: what it makes, that it takes exactly that back, and that sshd and systemd take it."""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from corpushooks.access.keyring import Keyring
from corpushooks.admin import setup
from corpushooks.admin.doctor import soundness
from corpushooks.admin.doctor.patient import Patient
from corpushooks.admin.setup import actions, manual, wires
from corpushooks.cli.commands import whole
from corpushooks.cli.main import corpus as command
from corpushooks.core.errors import DoorError, ProcessError, RefusedError, UsageError
from corpushooks.core.project import Host
from corpushooks.core.settings import Settings
from corpushooks.protocol import connection
from corpushooks.salt import finger, read_wire
from corpushooks.system.machine import Machine, Unit, hidden, weak
from corpushooks.system.process import Output, run
from tests.support.box import Box, tree_of
from tests.support.command import ran
from tests.support.places import TOP

MANUALS = manual.files(command, "corpus", "0")
DONE = Output(0, b"", b"")


def corpus(root: Path, *words: str) -> Output:
    return ran("--root", str(root), *words)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Return a host of which some is there already."""
    root = tmp_path / "host"
    for folder in ("usr/local/bin", "etc/ssh", "srv/pillar"):
        (root / folder).mkdir(parents=True)
    (root / "srv/pillar").chmod(0o755)
    (root / "srv/pillar/top.sls").write_text("base: {}\n")
    return Host(root)


def plan(host: Host, machine: Machine | None = None) -> setup.Plan:
    return setup.Plan(host, Settings(), machine, MANUALS)


def does(host: Host, machine: Machine | None = None, *, dry: bool = False) -> list[str]:
    """Set up a host; return what was done."""
    return [str(line) for line in setup.setup(plan(host, machine), dry=dry) if line.status != "ok"]


def undoes(host: Host, machine: Machine | None = None, *, dry: bool = False) -> list[str]:
    return [str(line) for line in setup.undo(host, machine, dry=dry)]


def test_all_is_taken_back_that_was_made_and_nothing_else(host: Host) -> None:
    before = tree_of(host.root, times=False)
    made = does(host)
    assert (host.pillar_dir.stat().st_mode & 0o777) == 0o750
    assert {line.split(None, 1)[0] for line in made} == {"created", "changed", "skipped"}
    assert f"changed    mode {host.pillar_dir}: 0755 -> 0750" in made
    undone = undoes(host)
    assert tree_of(host.root, times=False) == before
    assert [line.removeprefix("undone     ") for line in reversed(undone)] == done(made)


def done(lines: list[str]) -> list[str]:
    """Return what was created or changed, or would be."""
    return re.findall(r"^(?:would )?(?:created?|changed?) +([^:\n]*)", "\n".join(lines), re.MULTILINE)


def test_a_dry_run_says_the_same_and_changes_nothing(host: Host) -> None:
    before = tree_of(host.root)
    told = does(host, dry=True)
    assert tree_of(host.root) == before
    made = does(host)
    assert done(told) == done(made)
    after = tree_of(host.root)
    assert len(undoes(host, dry=True)) == len(done(made))
    assert tree_of(host.root) == after


def test_what_is_so_already_stays(host: Host) -> None:
    does(host)
    before = tree_of(host.root)
    assert {line.split(None, 1)[0] for line in does(host)} == {"skipped"}
    assert tree_of(host.root) == before


def test_what_somebody_made_or_edited_stays(host: Host) -> None:
    snippet, settings = host.root / "etc/ssh/sshd_config.d/corpushooks.conf", host.config_file
    rotate, link = host.root / "etc/logrotate.d/corpushooks", host.root / "usr/local/bin/corpus"
    rotate.parent.mkdir()
    rotate.write_text("mine\n")
    link.write_text("mine\n")
    does(host)
    settings.write_text("keep_archives: 9\n")
    snippet.write_text(snippet.read_text() + "# mine\n")
    assert [line for line in does(host) if line.startswith("kept")] == [
        f"kept       {rotate}: was there before; remove it to have it written again",
        f"kept       {link}: exists, but is not a link to {setup.program('corpus')}",
        f"kept       {snippet}: was edited; remove it to have it written again",
    ]
    left = [line for line in undoes(host) if line.startswith("kept")]
    assert f"kept       settings {settings}: was edited" in left
    assert f"kept       part of sshd's configuration {snippet}: was edited; kept as {snippet}.disabled" in left
    assert (settings.read_text(), rotate.read_text(), link.read_text()) == ("keep_archives: 9\n", "mine\n", "mine\n")
    assert not snippet.exists() and snippet.with_name("corpushooks.conf.disabled").read_text().endswith("# mine\n")


def test_a_link_that_leads_elsewhere_by_now_stays(host: Host) -> None:
    does(host)
    link = host.root / "usr/local/bin/corpus"
    link.unlink()
    link.symlink_to("mine")
    assert f"kept       link {link}: was changed since" in undoes(host)
    assert os.readlink(link) == "mine"


def test_settings_that_are_there_are_never_touched(host: Host) -> None:
    host.config_file.parent.mkdir()
    host.config_file.write_text("keep_archives: 9\n")
    does(host)
    undoes(host)
    assert host.config_file.read_text() == "keep_archives: 9\n"


def test_projects_and_history_stay(box: Box) -> None:
    before = tree_of(box.host.projects_dir)
    does(box.host)
    assert box.app().push().code == 0
    undoes(box.host)
    assert box.row().live == 1 and box.host.store.exists()
    assert not (box.host.state_dir / "setup.json").exists()
    assert set(before) <= set(tree_of(box.host.projects_dir))


def test_a_newer_one_writes_its_files_anew(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    unit = host.root / "etc/systemd/system/corpushooks.socket"
    before = tree_of(host.root, times=False)
    with monkeypatch.context() as older:
        older.setattr(setup.Plan, "template", lambda plan, name: f"older {name}\n")
        does(host)
    assert f"changed    unit file {unit}: from another version or other settings -> current" in does(host)
    assert unit.read_text() == plan(host).template(unit.name)
    undoes(host)
    assert tree_of(host.root, times=False) == before


@pytest.mark.parametrize("stop", [*range(4, 30, 8), "last"])
def test_it_goes_on_where_it_was_interrupted(stop: int | str, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each action is noted before it is done: killed between the two, undo finds it, and the next one does it."""
    before = tree_of(host.root, times=False)
    wanted = [line for line in does(host, dry=True) if line.startswith("would create")]
    for goes_on in (False, True):
        with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
            killed.setattr(setup.Record, "note", dying(len(wanted) if stop == "last" else int(stop)))
            does(host)
        assert tree_of(host.root, times=False) != before
        if goes_on:
            does(host)
        undoes(host)
        assert tree_of(host.root, times=False) == before


def dying(after: int) -> Any:
    """Return what notes an action and is killed, the last of so many times."""
    note, noted = setup.Record.note, []

    def act(record: setup.Record, action: actions.Action) -> None:
        note(record, action)
        noted.append(action)
        if len(noted) == after:
            raise KeyboardInterrupt

    return act


def test_the_command_ends_with_doctor_and_takes_it_back(tmp_path: Path) -> None:
    done = corpus(tmp_path / "host", "setup")
    assert (done.code, done.stderr) == (0, b"")
    assert "created    settings" in done.text and "\nok     Salt " in done.text
    done = corpus(tmp_path / "host", "setup", "--undo")
    assert done.code == 0
    assert not (tmp_path / "host").exists()


# -- the machine ------------------------------------------------------------------------------------------


@dataclass
class Pretended(Machine):
    """A machine of which only what is asked of it is known."""

    users: set[str] = field(default_factory=set)
    groups: dict[str, list[str]] = field(default_factory=dict)
    running: bool = False
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    fails: str = "nothing"
    up: set[str] = field(default_factory=set)  # units that run though nothing else does

    def user(self, name: str) -> Any:
        return SimpleNamespace(pw_shell="/bin/sh", pw_gid=7) if name in self.users else None

    def group(self, name: str) -> Any:
        return SimpleNamespace(gr_gid=7, gr_mem=self.groups[name]) if name in self.groups else None

    def supervised(self) -> bool:
        return True

    def sshd(self) -> str:
        return "sshd"

    def sshd_complaint(self) -> str:
        return self.complaints.pop(0) if self.complaints else ""

    def unit(self, name: str) -> Unit:
        return Unit(active=self.running or name in {"ssh.service", *self.up}, enabled=self.running)

    def do(self, *words: str) -> Output:
        self.asked.append(" ".join(words))
        if words[0] == self.fails:
            raise ProcessError(f"{self.fails} fails")
        match words:
            case ("groupadd", *_, name):
                self.groups[name] = []
            case ("groupdel", name):
                del self.groups[name]
            case ("useradd", *_, name):
                self.users.add(name)
            case ("usermod", "--append", "--groups", group, name):
                self.groups[group].append(name)
            case ("gpasswd", "--delete", name, group):
                self.groups[group].remove(name)
            case ("userdel", name):
                self.users.remove(name)
            case ("systemctl", "stop", name):
                self.up.remove(name)
            case ("systemctl", "enable", *_) if self.up:
                raise ProcessError("systemd starts no socket of a service that runs already")
            case ("systemctl", "enable" | "disable" as word, *_):
                self.running = word == "enable"
        return DONE


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Pretended:
    monkeypatch.setattr(setup, "check", lambda host, machine: None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return Pretended()


def test_the_machine_is_asked_for_it_in_order_and_back(host: Host, machine: Pretended) -> None:
    does(host, machine)
    assert machine.asked == [
        "groupadd --system corpus",
        "useradd --system --gid corpus --home-dir / --no-create-home --shell /bin/sh --password * corpus",
        "systemctl daemon-reload",
        "systemctl daemon-reload",
        "systemctl reload ssh.service",
        "systemctl enable --now corpushooks.socket corpushooks.service",
    ]
    machine.asked.clear()
    assert does(host, machine) == []
    assert machine.asked == []
    undoes(host, machine)
    assert machine.asked == [
        "systemctl disable --now corpushooks.socket corpushooks.service",
        "systemctl reload ssh.service",
        "systemctl daemon-reload",
        "systemctl daemon-reload",
        "usermod --gid 65534 corpus",
        "userdel corpus",
        "groupdel corpus",
    ]


def test_a_package_of_debian_has_its_files_itself(
    host: Host, machine: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "packaged", lambda: True)
    assert {"file", "unit file", "link"} <= {action.kind for action in plan(host, machine).table()}  # in a folder: ours
    kinds = {action.kind for action in setup.Plan(Host(Path("/")), Settings(), machine, MANUALS).table()}
    assert not {"file", "unit file", "link"} & kinds and {"settings", "user", "started"} <= kinds


def test_the_names_of_the_settings_are_used(host: Host, machine: Pretended) -> None:
    given = setup.Plan(host, Settings(account="push", group="admins"), machine)
    assert list(setup.setup(given))
    assert (machine.users, set(machine.groups)) == ({"push"}, {"push", "admins"})
    assert "Match User push\n" in given.template("sshd.conf")


# pages and API


def served(host: Host, machine: Machine | None) -> list[str]:
    return [str(line) for line in setup.serve(plan(host, machine)) if line.status != "ok"]


def test_the_pages_are_set_up_and_taken_back(host: Host, machine: Pretended) -> None:
    does(host, machine)
    before = tree_of(host.root / "etc", times=False)
    machine.asked.clear()
    machine.running = False
    served(host, machine)
    unit = host.root / "etc/systemd/system/corpushooks-web.service"
    assert f"ExecStart={setup.program('corpus')} --root {host.root} web\nUser=corpus-web\n" in unit.read_text()
    nginx = host.config_file.with_name("nginx-web.conf")
    assert "proxy_set_header Host $http_host;" in nginx.read_text()
    assert "server web 127.0.0.1:8040" in host.config_file.with_name("haproxy-web.cfg").read_text()
    assert "corpus-web" in machine.users and not machine.groups["corpus-web"]
    assert "ListenStream=127.0.0.1:8040\n" in unit.with_suffix(".socket").read_text()
    assert machine.asked[-1] == "systemctl enable --now corpushooks-web.socket corpushooks-web.service"
    assert served(host, machine) == []
    undone = undoes(host, machine)
    assert not [line for line in undone if not line.startswith("undone")]
    assert not unit.exists() and not nginx.exists() and "corpus-web" not in machine.users
    assert tree_of(host.root / "etc", times=False) != before


def test_pages_of_an_earlier_version_that_run_without_the_socket_are_stopped_first(
    host: Host, machine: Pretended
) -> None:
    machine.up.add("corpushooks-web.service")
    served(host, machine)
    units = "corpushooks-web.socket corpushooks-web.service"
    assert machine.asked[-2:] == ["systemctl stop corpushooks-web.service", f"systemctl enable --now {units}"]


def test_pages_need_their_libraries_and_a_machine(
    host: Host, machine: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert served(host, None) == ["skipped    web: not used by a host in a folder"]
    monkeypatch.setattr(setup, "LIBRARIES", ("starlette", "corpushooks_missing"))
    with pytest.raises(UsageError, match="a library is missing: corpushooks_missing"):
        served(host, machine)
    assert not machine.users


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze")
def test_systemd_takes_the_unit_of_the_pages(host: Host, machine: Pretended) -> None:
    served(host, machine)
    unit = host.root / "etc/systemd/system/corpushooks-web.service"
    unit.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/sh", unit.read_text(), flags=re.M))
    said = run(["systemd-analyze", "verify", "--man=no", unit], check=False)
    assert "corpushooks-web" not in said.text + said.stderr.decode()


# jobs of backups


def scheduled(host: Host, machine: Machine | None) -> list[str]:
    return [str(line) for line in setup.schedule(plan(host, machine)) if line.status != "ok"]


def test_timers_are_made_and_taken_back(host: Host, machine: Pretended) -> None:
    does(host, machine)
    before = tree_of(host.root / "etc", times=False)
    machine.asked.clear()
    machine.running = False
    scheduled(host, machine)
    timers = "corpushooks-backup.timer corpushooks-drill.timer corpushooks-check.timer"
    assert machine.asked == ["systemctl daemon-reload"] * 6 + [f"systemctl enable --now {timers}"]
    assert scheduled(host, machine) == []
    text = (host.root / "etc/systemd/system/corpushooks-drill.service").read_text()
    assert f"ExecStart={setup.program('corpus')} --root {host.root} drill --all\n" in text
    machine.asked.clear()
    undone = undoes(host, machine)
    assert not [line for line in undone if not line.startswith("undone")]
    assert machine.asked[0] == f"systemctl disable --now {timers}"
    assert tree_of(host.root / "etc", times=False) != before
    assert not list(host.root.glob("etc/systemd/system/*"))


def test_without_systemd_cron_does_it(host: Host, machine: Pretended, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "supervised", lambda: False)
    does(host, machine)
    table = host.root / "etc/cron.d/corpushooks"
    assert f"created    file {table}" in scheduled(host, machine)
    lines = [line.split(None, 6) for line in table.read_text().splitlines() if line[0].isdigit()]
    corpus = str(setup.program("corpus"))
    assert [(user, command) for *_, user, command in lines] == [
        ("root", f"{corpus} {words} >/dev/null") for words in ("backup --all", "drill --all", "backups --check")
    ]
    assert machine.asked[-1] != "systemctl daemon-reload"
    undoes(host, machine)
    assert not table.exists()


def test_a_host_in_a_folder_has_no_timers(host: Host) -> None:
    assert scheduled(host, None) == ["skipped    timers: not used by a host in a folder"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze")
def test_systemd_takes_the_timers(host: Host, machine: Pretended) -> None:
    scheduled(host, machine)
    folder = host.root / "etc/systemd/system"
    program = folder / "corpus"
    for path in folder.glob("*.service"):
        path.write_text(re.sub(r"^ExecStart=\S+", f"ExecStart={program}", path.read_text(), flags=re.M))
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    said = run(["systemd-analyze", "verify", "--man=no", *sorted(folder.glob("*.timer"))], check=False)
    assert "corpushooks-" not in said.text + said.stderr.decode()


def test_accounts_that_were_there_stay(host: Host, machine: Pretended) -> None:
    machine.users, machine.groups = {"corpus"}, {"corpus": []}
    does(host, machine)
    undoes(host, machine)
    assert (machine.users, machine.groups) == ({"corpus"}, {"corpus": []})


def test_projects_that_were_there_can_be_pushed_to(host: Host, machine: Pretended) -> None:
    """After setup was taken back, say, or where the settings name another account."""
    for name in ("blog", "shop", "No_Project"):
        (host.projects_dir / name / "git/project.git").mkdir(parents=True)
    machine.users, machine.groups = {"jo"}, {"blog-deploy": ["jo"]}  # of shop there is nothing: that is for init
    assert "created    member corpus in blog-deploy" in does(host, machine)
    assert machine.groups["blog-deploy"] == ["jo", "corpus"]
    assert does(host, machine) == []
    undoes(host, machine)
    assert (machine.users, machine.groups) == ({"jo"}, {"blog-deploy": ["jo"]})


def test_a_group_with_members_stays(host: Host, machine: Pretended) -> None:
    does(host, machine)
    machine.groups["corpus"].append("jo")
    assert "kept       group corpus: has members: jo" in undoes(host, machine)


def test_what_cannot_be_taken_back_is_said_and_tried_again(host: Host, machine: Pretended) -> None:
    does(host, machine)
    machine.fails = "userdel"
    lines = list(setup.undo(host, machine))
    assert [str(line) for line in lines if not line.done] == ["failed     user corpus: userdel fails"]
    machine.fails = "nothing"
    assert [line for line in undoes(host, machine) if "user corpus" in line] == ["undone     user corpus"]
    assert not (host.state_dir / "setup.json").exists()


def test_a_snippet_that_sshd_does_not_take_is_away_again(host: Host, machine: Pretended) -> None:
    machine.complaints = ["", "line 3: Bad configuration option"]
    with pytest.raises(DoorError, match=r"it was removed: line 3: Bad configuration option"):
        does(host, machine)
    assert not list((host.root / "etc/ssh/sshd_config.d").iterdir())
    assert not [words for words in machine.asked if "reload ssh" in words or "enable" in words]
    machine.complaints = ["no hostkeys"]
    with pytest.raises(DoorError, match=r"was invalid before setup: no hostkeys"):
        does(host, machine)
    assert not list((host.root / "etc/ssh/sshd_config.d").iterdir())


@pytest.mark.skipif("os.geteuid() != 0", reason="only root makes accounts")
def test_real_programs_take_our_words(tmp_path: Path) -> None:
    """The accounts are made in files of the test's own."""
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "passwd").write_text("root:x:0:0::/:/bin/sh\n")
    (etc / "group").write_text("nogroup:x:65534:\n")
    for name in ("shadow", "gshadow"):
        (etc / name).touch()

    class Elsewhere(Machine):
        def do(self, *words: str) -> Output:
            return super().do(words[0], "--prefix", str(tmp_path), *words[1:])

    there = Elsewhere()
    there.add_group("corpus")
    there.add_user("corpus")
    lines = (etc / "passwd").read_text().splitlines()
    ((_, _, uid, gid, _, home, shell),) = [line.split(":") for line in lines if line.startswith("corpus:")]
    assert (home, shell) == ("/", "/bin/sh") and 0 < int(uid) < 1000
    assert f"corpus:x:{gid}:" in (etc / "group").read_text()
    assert "corpus:*:" in (etc / "shadow").read_text()
    there.drop_user("corpus")
    assert "corpus" not in (etc / "passwd").read_text()
    assert f"corpus:x:{gid}:" in (etc / "group").read_text()
    there.drop_group("corpus")


# -- before anything changes ------------------------------------------------------------------------------


def test_only_root_sets_up_a_machine(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for act in (does, undoes):
        with pytest.raises(RefusedError, match="only root can"):
            act(host, Pretended())


def test_programs_that_others_could_change_are_refused(tmp_path: Path) -> None:
    program = tmp_path / "corpus-shell"
    assert setup.misplaced(program) == f"{program} is missing: corpushooks is not completely installed"
    program.touch()
    program.chmod(0o775)
    assert weak(program) in (
        f"others can write to {program} (mode 0775)",
        f"{program} belongs to uid {os.geteuid()}",
    )
    assert "only if nobody but root can change it" in setup.misplaced(program)
    assert weak(Path("/usr/bin/env")) == hidden(Path("/usr/bin/env")) == ""
    tmp_path.chmod(0o700)
    assert hidden(program).startswith("others cannot enter ")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("# x\nInclude /etc/ssh/sshd_config.d/*.conf\nPort 22\n", True),
        ("include  sshd_config.d/*.conf", True),
        ("#Include /etc/ssh/sshd_config.d/*.conf\n", False),
        ("Match User x\nInclude /etc/ssh/sshd_config.d/*.conf\n", False),
        ("", False),
    ],
)
def test_the_snippets_are_read_for_everybody(text: str, wanted: bool) -> None:
    assert setup.includes(text) is wanted


# -- what is made is taken by whom it is made for ---------------------------------------------------------


def test_systemd_takes_the_units() -> None:
    """In a folder with a short name: an address of a socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="corpus-", dir="/tmp") as folder:
        host = Host(Path(folder))
        (host.root / "etc/ssh").mkdir(parents=True)
        does(host)
        check_units(host)


@pytest.mark.parametrize(("version", "wanted"), [(0, "10"), (252, "10"), (253, "10"), (254, "2"), (257, "2")])
def test_a_daemon_that_ends_again_and_again_is_started_ever_more_rarely(host: Host, version: int, wanted: str) -> None:
    """Where systemd knows how: an older one would complain of what it does not know. It is never given up."""
    text = setup.Plan(host, Settings(), None, systemd=version).template("corpushooks.service")
    unit = dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
    assert (unit["RestartSec"], unit["StartLimitIntervalSec"], unit["Restart"]) == (wanted, "0", "on-failure")
    assert unit.get("RestartMaxDelaySec") == ("30" if version >= 254 else None)
    assert ("RestartSteps" in unit) == (version >= 254)


def test_the_version_of_systemd_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    found = int(run(["systemctl", "--version"]).text.split()[1])
    monkeypatch.setattr(Machine, "supervised", lambda self: True)
    assert Machine().systemd_version() == found > 200
    monkeypatch.setattr(Machine, "supervised", lambda self: False)
    assert Machine().systemd_version() == 0


def check_units(host: Host) -> None:
    units = [host.root / "etc/systemd/system" / name for name in setup.UNITS]
    done = run(["systemd-analyze", "verify", "--man=no", *units], check=False)
    assert (done.code, done.stdout + done.stderr) == (0, b"")
    wrong = units[0].with_name("wrong.service")
    wrong.write_text(units[1].read_text().replace("KillMode=process", "KillMode=nobody"))
    assert b"kill mode" in run(["systemd-analyze", "verify", "--man=no", wrong], check=False).stderr


def test_the_socket_is_as_the_daemon_makes_it(host: Host) -> None:
    unit = dict(re.findall(r"^(\w+)=(.*)$", plan(host).template("corpushooks.socket"), re.MULTILINE))
    assert unit["ListenStream"] == str(host.socket)
    assert int(unit["Backlog"]) == connection.BACKLOG
    host.socket.parent.mkdir(parents=True)
    connection.listen(host.socket).close()
    assert int(unit["SocketMode"], 8) == host.socket.stat().st_mode & 0o777


@dataclass
class Configured(Machine):
    """This machine, with a configuration of sshd of our own."""

    folder: Path

    def ask(self, *words: str) -> Output:
        given = ("-f", str(self.folder / "sshd_config"), "-h", str(self.folder / "key")) if words[1] != "-V" else ()
        return run([words[0], *given, *words[1:]], check=False)

    def do(self, *words: str) -> Output:
        done = self.ask(*words)
        assert done.code == 0, done.stderr
        return done


DEBIAN = """\
Include {folder}/snippets/*.conf
UsePAM yes
PasswordAuthentication yes
AllowTcpForwarding yes
AcceptEnv LC_*
TrustedUserCAKeys /etc/hostname
Banner /etc/hostname
"""


@pytest.fixture
def configured(tmp_path: Path) -> Configured:
    """Return a machine whose sshd reads our snippet, and another one after it, as Debian has it."""
    (tmp_path / "snippets").mkdir()
    (tmp_path / "snippets/corpushooks.conf").write_text(plan(Host()).template("sshd.conf"))
    (tmp_path / "snippets/later.conf").write_text("X11Forwarding yes\n")
    (tmp_path / "sshd_config").write_text(DEBIAN.format(folder=tmp_path))
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"])
    return Configured(tmp_path)


sshd_asks_root = pytest.mark.skipif("os.geteuid() != 0", reason="sshd tells only root what holds for a user")


@sshd_asks_root
def test_sshd_takes_the_snippet_for_the_account_alone(host: Host, configured: Configured) -> None:
    assert configured.sshd_complaint() == ""
    assert configured.sshd_version() > (7, 4)
    told = configured.sshd_for("corpus")
    assert list(soundness.sshd(Patient(host, Settings(), machine=configured))) == []
    assert (told["acceptenv"], told["banner"], told["permittty"]) == ("GIT_PROTOCOL LANG", "none", "yes")
    other = configured.sshd_for("root")
    assert (other["passwordauthentication"], other["x11forwarding"], other["authorizedkeyscommand"]) == (
        "yes", "yes", "none",
    )  # fmt: skip


@sshd_asks_root
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("AllowUsers jo", "sshd does not admit corpus: allowusers jo"),
        ("DenyGroups c*", "sshd does not admit corpus: denygroups c*"),
        ("Match User corpus\nTrustedUserCAKeys /etc/hostname", "trustedusercakeys /etc/hostname for corpus, not none"),
        ("Nonsense yes", "sshd rejects its configuration"),
    ],
)
def test_doctor_sees_what_sshd_has_against_it(line: str, said: str, host: Host, configured: Configured) -> None:
    (configured.folder / "snippets/a.conf").write_text(f"{line}\n")
    (fault,) = soundness.sshd(Patient(host, Settings(), machine=configured))
    assert not isinstance(fault, str) and said in fault.what


def test_the_man_page_names_each_command_and_is_roff(tmp_path: Path) -> None:
    page = MANUALS["man/man1/corpus.1"]
    shown = [name for name, each in whole(command).items() if not each.hidden]
    written = {name: name.replace("-", "\\-") for name in shown}  # as roff has a dash
    assert [name for name in shown if f".SS corpus {written[name]}" not in page] == []
    requests = {line.split()[0] for line in page.splitlines() if line.startswith((".", "'"))}
    assert requests <= {".TH", ".SH", ".SS", ".TP", ".B", ".PP"}
    (tmp_path / "corpus.1").write_text(page)
    if shutil.which("man"):
        assert run(["man", "--warnings", "--local-file", tmp_path / "corpus.1"]).stderr == b""


def test_the_shell_completes_the_command() -> None:
    script = MANUALS["bash-completion/completions/corpus"]
    run(["sh", "-c", "! command -v bash >/dev/null || bash -n /dev/stdin"], stdin=script.encode())
    words = {"COMP_WORDS": "corpus rollb", "COMP_CWORD": "1", "_CORPUS_COMPLETE": "bash_complete"}
    assert run([Path(sys.executable).with_name("corpus")], env=words).text == "plain,rollback"


def test_the_commands_of_getting_started_exist() -> None:
    page = (TOP / "docs/getting-started.md").read_text()
    named = set(
        re.findall(r"\bcorpus (?!daemon)([a-z]+)", "\n".join(re.findall(r"^```sh\n(.*?)^```", page, re.M | re.S)))
    )
    assert {"setup", "init", "key"} <= named <= set(whole(command))
    assert " ".join(setup.UNITS) in page


# what carries orders by Salt


def told(lines: Any) -> list[str]:
    return [str(line) for line in lines]


def test_a_master_and_a_minion_are_set_up_and_taken_back(host: Host, machine: Pretended, box: Box) -> None:
    before, listen = tree_of(host.root, times=False), "127.0.0.1:15505"
    does(host, machine)
    machine.running = False
    made = told(wires.controller(plan(host, machine), listen, "root"))
    unit = host.root / "etc/systemd/system/corpushooks-master.service"
    master = host.fleet_dir / "master"
    assert unit.read_text().count(f"salt-master -c {master}\n") == 1
    assert "created    started corpushooks-master.service" in made
    assert machine.asked[-1] == "systemctl enable --now corpushooks-master.service"
    fingerprint = next(line for line in made if line.startswith("the key")).rpartition(" ")[2]
    assert fingerprint == finger((master / "pki/master.pub").read_bytes()) and fingerprint in made[-1]
    found = read_wire(master / "master") or {}
    assert (found["interface"], found["publish_port"], found["ret_port"]) == ("127.0.0.1", 15505, 15506)
    assert not any(
        found[name] for name in ("open_mode", "auto_accept", "publisher_acl", "peer", "peer_run", "file_recv")
    )
    assert stat.S_IMODE(master.stat().st_mode) == stat.S_IMODE((master / "pki").stat().st_mode) == 0o700
    again = told(wires.controller(plan(host, machine), listen, "root"))
    assert not [line for line in again if line.startswith(("created", "changed"))] and again[-1] == made[-1]
    joined = told(
        wires.node(plan(box.host), wires.Joining(wires.Place.parse(listen), fingerprint, "n1", "main"), "root")
    )
    minion = read_wire(box.host.fleet_dir / "minion/minion") or {}
    assert (minion["master"], minion["publish_port"], minion["master_finger"]) == ("127.0.0.1", 15505, fingerprint)
    assert minion["whitelist_modules"] == ["corpus_node"]
    assert joined[-1].startswith("on the controller: corpus node accept n1 --fingerprint ")
    with closing(box.history) as history:
        key = Keyring(history).key("main")
    assert key and key.is_master and key.is_controller and key.fingerprint == fingerprint
    shutil.rmtree(master / "pki")  # made by the master, and kept
    undoes(host, machine)
    assert not unit.exists() and tree_of(host.root, times=False).keys() - before.keys() <= {"var", "var/lib"}


WRONG_JOIN = [
    ("AA", "n1", "main", "invalid fingerprint of a Salt master: AA"),
    ("", "n1", "main", "invalid fingerprint of a Salt master: none"),
    (":".join(["ab"] * 32), "N 1", "main", "invalid name of a node"),
    (":".join(["ab"] * 32), "n1", "-x", "invalid key name"),
]


@pytest.mark.parametrize("fingerprint, name, controller, wrong", WRONG_JOIN)
def test_a_node_joins_only_what_can_be_checked(
    host: Host, fingerprint: str, name: str, controller: str, wrong: str
) -> None:
    joining = wires.Joining(wires.Place.parse("main.test"), fingerprint, name, controller)
    with pytest.raises(UsageError, match=re.escape(wrong)):
        told(wires.node(plan(host), joining, "root"))
    assert not host.fleet_dir.exists()


def test_another_controller_does_not_take_the_place_of_one(box: Box) -> None:
    one, other = (":".join([each] * 32) for each in ("aa", "bb"))
    place = wires.Place.parse("main.test")
    told(wires.node(plan(box.host), wires.Joining(place, one, "n1", "main"), "root"))
    with pytest.raises(RefusedError, match="the name main already belongs to the key aa:"):
        told(wires.node(plan(box.host), wires.Joining(place, other, "n1", "main"), "root"))
    with pytest.raises(RefusedError, match="this master is known as the controller main"):
        told(wires.node(plan(box.host), wires.Joining(place, one, "n1", "second"), "root"))
    assert (read_wire(box.host.fleet_dir / "minion/minion") or {})["master_finger"] == one


@pytest.mark.parametrize("text", ["", "a b", "host:0", "host:65535", "host:x", "-x", "[::1"])
def test_where_no_master_can_be(text: str) -> None:
    with pytest.raises(UsageError, match="invalid address of a Salt master"):
        wires.Place.parse(text)
    assert str(wires.Place.parse("[::1]:4600")) == "[::1]:4600" and wires.Place.parse("main.test").ports == (4505, 4506)


def test_the_ways_to_set_salt_up_are_not_mixed(tmp_path: Path) -> None:
    for words in (("--node", "x", "--controller", "salt"), ("--fingerprint", "x"), ("--node", "x", "--listen", "y"),
                  ("--controller", "salt", "--web")):  # fmt: skip
        done = corpus(tmp_path / "h", "setup", *words)
        assert done.code == 2 and done.stderr.startswith(b"error: "), done
