"""The command `corpus doctor`: what it finds wrong, the command that repairs it, and that a new host is right."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from corpushooks import git
from corpushooks.admin import doctor, setup
from corpushooks.admin.doctor import privacy, soundness
from corpushooks.admin.doctor.patient import admit
from corpushooks.core.errors import Fault
from corpushooks.core.settings import Settings
from corpushooks.host import layout
from corpushooks.protocol import client, connection
from corpushooks.store.history import History
from corpushooks.system.machine import Machine, Unit
from corpushooks.system.process import run
from tests.support.box import Box
from tests.support.command import corpus, ran
from tests.support.shared_box import shared_box, world

SECRET_SETTINGS = "minion:\n  ext_pillar:\n    - vault: {token: hunter2-secret}\n"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """Return a host on which something was deployed, with a pillar; each test leaves it as it was."""
    with shared_box(tmp_path_factory.mktemp("live")) as box:
        with world(box.root / "home"):
            pillar = box.work(repo="pillar")
            pillar.commit({"init.sls": "makina-projects.hello: {data: {password: hunter2-secret}}\n"})
            assert pillar.push().code == 0
            assert box.app().push().code == 0
        box.ended(1)
        for name in ("daemon.log", "store.sqlite.v1"):
            (box.host.state_dir / name).touch(0o600)
        yield box


@pytest.fixture
def bare(tmp_path: Path) -> Box:
    """Return a host without projects, on which no daemon runs."""
    box = Box(tmp_path)
    layout.make_host(box.host)
    return box


QUICK = [check for check in doctor.CHECKS if check.name != "Salt"]  # which takes a second


def faults(box: Box, machine: Machine | None = None) -> dict[str, tuple[Fault, ...]]:
    """Return what is wrong by the checks that find something."""
    found = doctor.examine(admit(box.host, machine), QUICK)
    return {each.check: each.faults for each in found if each.faults}


def guarded(box: Box) -> list[Path]:
    """Return what must be kept from others."""
    project, state = box.project(), box.host.state_dir
    return [
        state, state / "store.sqlite", state / "store.sqlite-wal", state / "store.sqlite-shm",
        state / "store.sqlite.v1", state / "daemon.log",
        project.logs, project.logs / "1.log", project.pillar, project.pillar_git, project.pillar_stage,
        project.archives, project.stage, project.work_git, project.minion_dir, project.minion_dir / "minion",
        project.minion_dir / "log", project.minion_dir / "secrets.json", box.host.locks_dir,
    ]  # fmt: skip


def test_what_we_make_is_right(live: Box) -> None:
    assert all(path.exists() for path in guarded(live)), [path for path in guarded(live) if not path.exists()]
    done = corpus(live, "doctor")
    told = [re.fullmatch(r"ok     (.*?)(?: {2,}(.*))?", line) for line in done.text.splitlines()]
    assert [found and found[1] for found in told] == [check.name for check in doctor.CHECKS], done.text
    assert done.code == 0
    notes = {found[1]: found[2] for found in told if found}
    assert re.fullmatch(r"Python 3\.\d+\.\d+\S*, git 2\.\d+\.\d+", notes["versions"])
    assert re.fullmatch(r"3\d{3}\.\d+, warm", notes["Salt"])
    assert notes["daemon"] == f"pid {client.ping(live.host)}"


def test_each_mode_is_looked_at_and_the_command_repairs_it(live: Box) -> None:
    assert faults(live) == {}
    for path in guarded(live):
        before = path.stat().st_mode
        path.chmod(before | 0o044)
        ((fault,),) = faults(live).values()
        assert str(path) in fault.what
        run(shlex.split(str(fault.repair)))
        assert path.stat().st_mode == before, path
    assert faults(live) == {}


def test_a_fault_is_a_line_and_an_exit_code(live: Box) -> None:
    pillar = live.project().pillar
    pillar.chmod(0o755)
    done = corpus(live, "doctor")
    assert done.code == 1
    assert f"wrong  pillars              {pillar} has mode 0755: others have access; chmod go= {pillar}" in done.text
    told = {each["check"]: each["faults"] for each in json.loads(corpus(live, "doctor", "--json").text)}
    assert told["store"] == []
    assert told["pillars"] == [
        {"what": f"{pillar} has mode 0755: others have access", "repair": f"chmod go= {pillar}"},
    ]
    pillar.chmod(0o700)


def test_a_link_in_the_place_of_a_folder(live: Box, tmp_path: Path) -> None:
    pillar = live.project().pillar
    pillar.rename(tmp_path / "elsewhere")
    pillar.symlink_to(tmp_path / "elsewhere")
    assert faults(live)["pillars"] == (Fault(f"{pillar} is a symbolic link", f"rm {pillar}"),)
    pillar.unlink()
    (tmp_path / "elsewhere").rename(pillar)


@pytest.mark.skipif("os.geteuid() != 0", reason="only root can give files away")
def test_an_owner_that_is_not_ours(live: Box) -> None:
    log = live.project().logs / "1.log"

    os.chown(log, 12345, -1)
    assert faults(live) == {"logs": (Fault(f"{log} belongs to uid 12345", f"chown 0 {log}"),)}
    os.chown(log, 0, -1)


def test_settings_matter_only_with_secrets_in_them(live: Box) -> None:
    live.settings("minion: {hash_type: sha256}\n")
    live.host.config_file.chmod(0o644)
    assert faults(live) == {}
    live.settings(SECRET_SETTINGS)
    assert list(faults(live)) == ["secrets in settings"]
    live.host.config_file.chmod(0o600)
    assert faults(live) == {}
    live.host.config_file.unlink()


def test_the_store_is_private_from_its_first_moment(tmp_path: Path) -> None:
    History(tmp_path / "state/store.sqlite").close()
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_a_host_without_projects(tmp_path: Path) -> None:
    done = ran("--root", str(tmp_path / "nowhere"), "doctor")
    assert done.code == 2
    assert b"no projects exist under" in done.stderr


# -- what a host must have --------------------------------------------------------------------------------


def repaired(box: Box, check: str, *what: str) -> None:
    """See that a check finds exactly that, and nothing once its commands were run."""
    found = faults(box)
    assert list(found) == [check]
    assert [fault.what for fault in found[check]] == list(what)
    ours = f"corpus --root {box.host.root} "
    for fault in found[check]:
        if str(fault.repair).startswith(ours):
            corpus(box, *shlex.split(str(fault.repair).removeprefix(ours)))
        else:
            run(shlex.split(str(fault.repair)))
    assert faults(box) == {}


def test_links_that_are_gone_or_lead_elsewhere(live: Box) -> None:
    project, top = live.project(), live.host.pillar_dir / "top.sls"
    project.salt_link.unlink()
    project.salt_link.symlink_to("project/.salt")
    repaired(live, "files of projects", f"hello: {project.salt_link} does not link to git/stage/.salt")
    project.wired_pillar.unlink()
    top.write_text("base:\n  '*': []\n")
    repaired(
        live,
        "links",
        f"{project.wired_pillar} is not a link to {project.pillar_stage}",
        f"{top} does not include hello",
    )


def test_a_top_file_that_takes_no_entry(live: Box) -> None:
    top = live.host.pillar_dir / "top.sls"
    before = top.read_text()
    top.write_text("base: {}\n")
    ((fault,),) = faults(live).values()
    assert "top.sls" in fault.what and "base:" in str(fault.repair)
    top.write_text(before)


def test_a_socket_that_not_all_can_reach(live: Box) -> None:
    live.host.socket.chmod(0o600)
    repaired(live, "socket", f"{live.host.socket} has mode 0600: not everyone can connect")


def test_something_else_in_the_place_of_the_socket(bare: Box) -> None:
    bare.host.socket.touch()
    repaired(bare, "socket", f"{bare.host.socket} is not a socket")


def test_a_daemon_that_does_not_answer(bare: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    assert faults(bare) == {}  # a push would start one
    monkeypatch.setattr(soundness, "PATIENCE", 0.05)
    with connection.listen(bare.host.socket):
        ((fault,),) = faults(bare).values()
    assert fault.what == "it listens but does not answer: the daemon closed the connection"


def test_a_pillar_root_that_all_may_read(bare: Box) -> None:
    bare.host.pillar_dir.chmod(0o755)
    repaired(bare, "pillar root", f"{bare.host.pillar_dir} has mode 0755: others can read it")


def test_locks_that_git_left(live: Box) -> None:
    locks = [live.project().code_git / "refs/heads/master.lock", live.project().work_git / "index.lock"]
    for lock in locks:
        lock.touch()
    assert faults(live) == {}  # somebody may hold them
    for lock in locks:
        os.utime(lock, (0, 0))
    repaired(live, "locks of git", *(f"stale lock {lock}" for lock in locks))


def test_a_branch_that_is_not_what_is_live(live: Box) -> None:
    work, code = live.work(), live.project().code_git
    was, other = work.head, work.commit({"index.html": "other"})
    run(["git", "push", "--quiet", code, f"{other}:refs/heads/side"], cwd=work.path)
    assert git.move_ref(code, "refs/heads/master", was, other)
    repaired(live, "projects", f"hello: master is at {other[:7]}, but {was[:7]} is live")
    assert live.ref() == was


def test_a_project_that_waits_for_a_person(live: Box) -> None:
    history = live.history
    with history.change() as db:
        db.execute("UPDATE project SET broken = 'the disk was full'")
    assert faults(live) == {
        "projects": (
            Fault("hello is broken: the disk was full", f"corpus --root {live.host.root} repair hello"),
        )
    }  # fmt: skip
    with history.change() as db:
        db.execute("UPDATE project SET broken = NULL")
    history.close()


def test_a_disk_that_is_too_full(bare: Box) -> None:
    bare.settings(f"reserve: {1 << 40}\n")
    ((fault,),) = faults(bare).values()
    assert re.search(rf"MiB free, less than the reserve of {1 << 40} MiB$", fault.what)


def test_settings_and_a_store_that_cannot_be_read(bare: Box) -> None:
    bare.settings("enviroment: dev\n")
    bare.host.store.write_bytes(b"not a store" * 999)
    bare.host.store.chmod(0o644)
    found = faults(bare)["settings and store"]
    assert "unknown key" in found[0].what and str(bare.host.config_file) in str(found[0].repair)
    assert found[1].what == f"{bare.host.store} had mode 0644: others have access"
    assert "is damaged" in found[2].what
    assert found[2].repair == f"corpus --root {bare.host.root} rebuild"


def test_a_git_that_is_too_old(bare: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "git").write_text("#!/bin/sh\necho git version 2.29.1\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert faults(bare)["versions"] == (Fault("git 2.29.1 is too old", "apt-get install git"),)


def test_a_salt_that_is_not_there(bare: Box) -> None:
    bare.settings("salt_python: /bin/false\n")
    (found,) = doctor.examine(admit(bare.host, None), [check for check in doctor.CHECKS if check.name == "Salt"])
    assert found.lines()[0].startswith("wrong  Salt                 the engine warm does not answer: ")


def test_what_setup_made_and_is_gone(bare: Box) -> None:
    assert list(setup.setup(setup.Plan(bare.host, Settings(), None)))
    assert faults(bare) == {}
    gone = [bare.host.root / "etc/logrotate.d/corpushooks", bare.host.root / "usr/local/bin/corpus"]
    for path in gone:
        path.unlink()
    repaired(bare, "setup", f"missing or different: file {gone[0]}, and 1 more")


class Ill(Machine):
    """A machine on which nothing is as it should be."""

    def user(self, name: str) -> Any:
        return SimpleNamespace(pw_shell="/usr/sbin/nologin", pw_gid=1)

    def group(self, name: str) -> Any:
        return SimpleNamespace(gr_gid=2, gr_mem=["jo"])

    def supervised(self) -> bool:
        return True

    def unit(self, name: str) -> Unit:
        return Unit(active=False, enabled=name.endswith("socket"))

    def sshd(self) -> str:
        return "sshd"

    def sshd_version(self) -> tuple[int, ...]:
        return (7, 3)

    def sshd_complaint(self) -> str:
        return "line 1: nonsense"


def told(box: Box, machine: Machine) -> dict[str, list[str]]:
    return {check: [f"{fault.what}; {fault.repair}" for fault in each] for check, each in faults(box, machine).items()}


def test_a_machine_on_which_nothing_is_right(bare: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(setup, "program", lambda name: bare.root / "bin" / name)
    found, both = told(bare, Ill()), " ".join(setup.UNITS)
    assert found["versions"] == ["OpenSSH 7.3 is too old; apt-get install openssh-server"]
    assert found["units"] == [
        f"corpushooks.socket is not active: see journalctl -eu corpushooks.socket; systemctl restart {both}",
        f"corpushooks.service is not active: see journalctl -eu corpushooks.service; systemctl restart {both}",
        "corpushooks.service does not start with the system; systemctl enable corpushooks.service",
    ]
    assert found["account"] == [
        "corpus has the shell /usr/sbin/nologin: sshd cannot run commands with it; usermod -s /bin/sh corpus",
    ]
    assert found["programs"][0].startswith(
        f"{bare.root}/bin/corpus is missing: corpushooks is not completely installed;"
    )
    assert found["sshd"] == ["sshd rejects its configuration: line 1: nonsense; sshd -t"]
    assert found["socket"] == [f"{bare.host.socket} is missing; systemctl restart corpushooks.socket"]
    assert found["daemon"][0].endswith(f"; systemctl restart {both}")
    assert found["setup"][0].startswith("missing or different: ") and ", and " in found["setup"][0]


def test_an_account_that_may_push_nothing(live: Box) -> None:
    line = f"corpus is not in the group hello-deploy; corpus --root {live.host.root} setup"
    assert line in told(live, Ill())["account"]


def test_a_pillar_is_for_its_group_on_a_machine(live: Box) -> None:
    path = live.project().pillar_git
    path.chmod(0o2750)
    assert not [line for line in told(live, Ill()).get("pillars", []) if str(path) in line]
    path.chmod(0o2755)
    assert f"{path} has mode 2755: others have access; chmod o= {path}" in told(live, Ill())["pillars"]
    path.chmod(0o700)


def test_it_changes_nothing(bare: Box) -> None:
    before = sorted(bare.root.rglob("*"))
    assert faults(bare) == {}
    assert sorted(bare.root.rglob("*")) == before


def test_a_kernel_that_lets_others_link_to_files_of_roots(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = tmp_path / "protected_hardlinks"
    monkeypatch.setattr(privacy, "HARD_LINKS", said)
    for text, wrong in (("0\n", True), ("1\n", False), ("", False)):
        said.write_text(text)
        found = list(privacy.hard_links(admit(box.host, Machine())))
        assert [fault.repair for fault in found] == ["sysctl -w fs.protected_hardlinks=1"] * wrong
    assert list(privacy.hard_links(admit(box.host, None))) == []
