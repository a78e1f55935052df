"""A host that is lost as a whole, and comes back from its backups on a machine that has nothing."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from corpushooks.admin import disaster, setup
from corpushooks.backup import vault
from corpushooks.cli import disaster as cli_disaster
from corpushooks.core import backups
from corpushooks.core.backups import ITSELF, Name
from corpushooks.core.errors import DoorError, UsageError
from corpushooks.core.project import Host
from corpushooks.core.settings import load
from corpushooks.store.fleet import Fleet
from corpushooks.system import hostname
from corpushooks.system.machine import Unit
from corpushooks.system.process import Output, run
from tests.support.backups import NEWEST, deployed, rows, starting
from tests.support.box import Box, tree_of
from tests.support.command import corpus

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPMHgbyzhCJiCcVi3vhLWr/jDCx8y1gI6Ed0uCJgVZ6S jo"


def restored(box: Box, *words: str) -> Output:
    """Restore the host; a daemon that the command starts has the fake engine."""
    repository, phrase = str(box.root / "repository"), str(box.root / "phrase")
    asked = ["restore", "--host", repository, "--passphrase-file", phrase, *words]
    return run([*starting(box), *asked], check=False)


def lost(box: Box) -> None:
    """Lose the whole host, but not the passphrase; then set it up again."""
    shutil.copyfile(box.host.config_file.with_name("backup.passphrase"), box.root / "phrase")
    box.stop()
    shutil.rmtree(box.host.root)
    box.host.root.mkdir()
    assert corpus(box, "setup").code == 0


def told(box: Box) -> list[str]:
    """Return the history of the project, without the mark of what is live."""
    return [line.lstrip(" *") for line in corpus(box, "history", "hello").text.splitlines()]


@pytest.fixture
def saved(kept: Box) -> Box:
    """Return a host with a key, two projects of which one was never deployed, a database and all their backups."""
    (kept.root / "jo.pub").write_text(KEY)
    assert corpus(kept, "key", "add", "jo", str(kept.root / "jo.pub"), "--read").code == 0
    run(["sqlite3", kept.project().data / "app.sqlite3", "create table t (x); insert into t values (7)"])
    (kept.root / "var").mkdir()
    (kept.root / "var/page").write_text("outside data/")
    (kept.root / "base").write_text("then")
    database = "{kind: sqlite, file: '{data_root}/app.sqlite3'}"
    work = deployed(kept, f"  backup: {{databases: [{database}], folders: [{kept.root}/var]}}\n")
    dump, load = (f"base:\n  cmd.run:\n    - name: cp {way}\n" for way in (
        f"{kept.root}/base {{{{ cfg.dump_root }}}}/base", f"{{{{ cfg.dump_root }}}}/base {kept.root}/base"
    ))  # fmt: skip
    work.commit({".salt/dump.sls": dump, ".salt/task_load.sls": load})
    assert work.push().code == 0
    kept.init("other")
    (kept.host.pillar_dir / "mine.sls").write_text("a: 1\n")
    (kept.host.config_file.parent / "notify.jinja").write_text("hello\n")
    done = corpus(kept, "backup", "--all")
    assert done.code == 0, done.stderr
    assert f"host: {ITSELF}.1." in done.text
    return kept


def test_a_whole_host_comes_back(saved: Box) -> None:
    box, data = saved, saved.project().data
    was, live, keys = tree_of(data), box.row(), corpus(box, "key", "list").text
    history = told(box)
    lost(box)
    (box.root / "var/page").write_text("of the new machine")
    (box.root / "base").write_text("of the new machine")
    for name in ("mine.sls", "yours.sls"):
        (box.host.pillar_dir / name).write_text("of the new machine")
    settings = box.host.config_file.read_text()
    assert not data.exists()
    done = restored(box)
    assert done.code == 0, done.text + done.stderr.decode()
    assert "1 file or folder was replaced and kept in " in done.stderr.decode()
    (kept,) = (box.host.state_dir / "replaced").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o700
    assert (kept / "srv/pillar/mine.sls.replaced1").read_text() == "of the new machine"
    assert (kept / "etc/corpushooks/config.yaml.replaced1").read_text() == settings
    assert sum(path.is_file() for path in kept.rglob("*")) == 2
    assert (box.host.pillar_dir / "yours.sls").read_text() == "of the new machine"
    assert "not put in place" not in done.stderr.decode()
    assert ((box.root / "var/page").read_text(), (box.root / "base").read_text()) == ("outside data/", "then")
    same = {name: entry for name, entry in tree_of(data).items() if name not in (".", "app.sqlite3", "page")}
    assert same == {name: entry for name, entry in was.items() if name not in (".", "app.sqlite3", "page")}
    assert run(["sqlite3", data / "app.sqlite3", "select x from t"]).text == "7"
    assert (box.row().code, box.ref()) == (live.code, live.code)
    assert (box.project().tree / "index.html").read_text() == "one"
    assert corpus(box, "key", "list").text == keys and "jo" in keys
    assert told(box)[-len(history) :] == history
    assert [row.number for row in rows(box)] == [4]
    assert (box.host.pillar_dir / "mine.sls").read_text() == "a: 1\n"
    assert (box.host.config_file.parent / "notify.jinja").read_text() == "hello\n"
    assert load(box.host.config_file).backup is not None
    assert (box.host.config_file.with_name("backup.passphrase").stat().st_mode & 0o777) == 0o600
    with closing(box.history) as store:
        assert [row.name for row in store.projects()] == ["hello", "other"]
        assert not store.unfinished("hello") and not store.queued("hello")
    work = box.work()
    work.commit({"index.html": "after"})
    assert work.push().code == 0
    assert corpus(box, "backup", "--all").code == 0


def test_what_the_files_of_the_backup_would_replace_is_moved_aside(tmp_path: Path) -> None:
    for name in ("new", "there"):
        (tmp_path / name / "top/folder").mkdir(parents=True)
        (tmp_path / name / "top/same").write_text("same")
        (tmp_path / name / "top/other").write_text(name)
        (tmp_path / name / "top/link").symlink_to(name)
    (tmp_path / "there/top/only").write_text("only there")
    (tmp_path / "new/top/kind").mkdir()
    (tmp_path / "new/top/kind/page").write_text("new")
    (tmp_path / "there/top/kind").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/page").write_text("elsewhere")
    new, there, aside = (tmp_path / name for name in ("new/top", "there/top", "aside/top"))
    moved = list(disaster._kept_aside(new, there, aside))
    assert [path.name for path in moved] == ["kind.replaced1", "link.replaced1", "other.replaced1"]
    assert (aside / "other.replaced1").read_text() == "there"
    assert sorted(path.name for path in there.iterdir()) == ["folder", "only", "same"]
    assert (tmp_path / "elsewhere/page").read_text() == "elsewhere"
    there.rename(tmp_path / "moved")
    there.symlink_to(tmp_path / "moved")
    assert list(disaster._kept_aside(new, there, aside)) == [aside.parent / "top.replaced1"]
    assert not list(disaster._kept_aside(new, there, aside))


def test_folders_that_lead_to_nothing_do_not_stay_and_what_was_moved_does(tmp_path: Path) -> None:
    aside = tmp_path / "replaced"
    for path in ("srv/pillar/empty", "etc/conf/kind.replaced1/empty", "etc/none"):
        (aside / path).mkdir(parents=True)
    disaster._drop_empty(aside)
    left = sorted(str(path.relative_to(aside)) for path in aside.rglob("*"))
    assert left == ["etc", "etc/conf", "etc/conf/kind.replaced1", "etc/conf/kind.replaced1/empty"]
    (aside / "etc/conf/kind.replaced1").rename(tmp_path / "away")
    disaster._drop_empty(aside)
    assert not aside.exists()


def test_a_folder_for_salt_that_is_a_link_is_kept_with_what_is_in_it(kept: Box) -> None:
    real = kept.host.root / "srv/real"
    kept.host.salt_dir.rename(real)
    kept.host.salt_dir.symlink_to(real)
    (real / "mine.sls").write_text("a: 1\n")
    assert corpus(kept, "backup", "--host").code == 0
    lost(kept)
    done = restored(kept)
    assert done.code == 0, done.stderr
    assert (kept.host.salt_dir / "mine.sls").read_text() == "a: 1\n"


def epoch(box: Box) -> int:
    with closing(box.history) as store:
        return Fleet(store).epoch()


def test_a_controller_comes_back_with_its_key_and_in_a_later_epoch(kept: Box) -> None:
    deployed(kept, "")
    key, before = corpus(kept, "node", "key").text, epoch(kept)
    assert corpus(kept, "backup", "--all").code == 0
    lost(kept)
    assert restored(kept).code == 0
    assert corpus(kept, "node", "key").text == key
    assert (kept.host.fleet_dir / "key").stat().st_mode & 0o777 == 0o600
    assert epoch(kept) > before


SSH = """\
#!/bin/sh
while true; do
    case $1 in
        -i) grep -q 'of the new machine' "$2" || exit 255; shift 2;;
        -o) case $2 in UserKnownHostsFile=*) grep -q 'of the new machine' "${2#*=}" || exit 255;; esac; shift 2;;
        *) break;;
    esac
done
shift
exec "$@"
"""


def test_what_opens_the_repository_is_used_to_the_end_though_the_old_host_had_other_files(
    kept: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh, folder = tmp_path / "bin/ssh", kept.host.config_file.parent
    ssh.parent.mkdir()
    ssh.write_text(SSH)
    ssh.chmod(0o755)
    key, hosts = folder / "backup.key", folder / "backup.known_hosts"
    for path in (key, hosts):
        path.write_text("of the old host")
    assert corpus(kept, "backup", "--all").code == 0
    lost(kept)
    for path in (key, hosts):
        path.write_text("of the new machine")
    monkeypatch.setenv("PATH", f"{ssh.parent}:{os.environ['PATH']}")
    there = {"ssh_key": str(key), "ssh_known_hosts": str(hosts)}
    settings = backups.backup({"repository": f"ssh://me@there{kept.root}/repository", **there})
    assert settings
    done = disaster.Return(kept.host, settings).bring((kept.root / "phrase").read_bytes())
    assert [one.name for one in done] == ["hello"]
    assert (key.read_text(), hosts.read_text()) == ("of the old host", "of the old host")


def test_settings_in_a_folder_that_is_a_link_come_back_and_the_passphrase_is_in_no_copy(
    kept: Box, tmp_path: Path
) -> None:
    folder, real = kept.host.config_file.parent, kept.host.root / "etc/real"
    folder.rename(real)
    folder.symlink_to(real)
    assert corpus(kept, "backup", "--host").code == 0
    engine = vault.engine(kept.host, load(kept.host.config_file), vault.alone)
    (into := tmp_path / "into").mkdir()
    engine.bring(engine.copies()[0].name, into)
    names = [path.name for path in into.rglob("*")]
    assert "config.yaml" in names and "backup.passphrase" not in names
    lost(kept)
    done = restored(kept)
    assert done.code == 0, done.stderr
    assert folder.is_symlink() and load(kept.host.config_file).backup is not None
    assert corpus(kept, "backup", "--host").code == 0


def test_a_wrong_passphrase_changes_nothing(saved: Box) -> None:
    lost(saved)
    (saved.root / "phrase").write_text("wrong\n")
    before = tree_of(saved.host.root / "etc")
    done = restored(saved)
    assert done.code == 1 and "wrong passphrase" in done.stderr.decode()
    assert tree_of(saved.host.root / "etc", times=False).keys() == before.keys()
    assert corpus(saved, "status").text.startswith("no projects")


def test_a_host_that_has_projects_is_left_alone(saved: Box) -> None:
    shutil.copyfile(saved.host.config_file.with_name("backup.passphrase"), saved.root / "phrase")
    assert "a daemon runs" in restored(saved).stderr.decode()
    saved.stop()
    before = tree_of(saved.host.root / "srv")
    done = restored(saved)
    assert done.code == 3 and "this host has projects already: hello" in done.stderr.decode()
    assert tree_of(saved.host.root / "srv") == before


def test_one_that_is_interrupted_can_be_done_again(saved: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    lost(saved)
    settings = backups.backup({"repository": str(saved.root / "repository")})
    assert settings
    back = disaster.Return(saved.host, settings)

    def died(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(disaster, "put", died)
        back.bring((saved.root / "phrase").read_bytes())
    done = restored(saved)
    assert done.code == 0, done.text + done.stderr.decode()
    assert (saved.project().data / "uploads/photo").read_text() == "precious"


def test_old_copies_of_a_host_are_removed(kept: Box) -> None:
    kept.settings(kept.host.config_file.read_text().replace("prune: false", f"prune: true, {NEWEST}"))
    for _ in range(2):
        done = corpus(kept, "backup", "--host", "--json")
        assert done.code == 0, done.stderr
    found = vault.engine(kept.host, load(kept.host.config_file), vault.alone).copies()
    assert json.loads(done.text)["done"] == [f"host: {found[-1].name}"]
    assert len(found) == 1
    assert not (kept.host.backups_dir / "host").exists()


def test_the_passphrase_is_in_no_copy_of_a_host(kept: Box, tmp_path: Path) -> None:
    assert corpus(kept, "backup", "--host").code == 0
    engine = vault.engine(kept.host, load(kept.host.config_file), vault.alone)
    into = tmp_path / "into"
    into.mkdir()
    engine.bring(engine.copies()[0].name, into)
    names = [path.name for path in into.rglob("*")]
    assert "config.yaml" in names and "backup.passphrase" not in names


@dataclass
class Systemd:
    """A machine whose systemd runs a daemon, or does not."""

    runs: bool = True
    done: list[str] = field(default_factory=list)

    def supervised(self) -> bool:
        return True

    def unit(self, name: str) -> Unit:
        assert name == setup.UNITS[0]
        return Unit(active=self.runs, enabled=True)

    def do(self, *words: str) -> None:
        self.done.append(" ".join(words))


@pytest.mark.parametrize("way", ["ends", "fails"])
def test_a_daemon_under_systemd_is_stopped_meanwhile(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Systemd()
    monkeypatch.setattr(setup, "machine_of", lambda host: machine)
    with contextlib.suppress(DoorError), cli_disaster.without_daemon(Host()):
        assert machine.done == ["systemctl stop corpushooks.socket corpushooks.service"]
        if way == "fails":
            raise DoorError("no repository")
    assert machine.done[1:] == ["systemctl start corpushooks.socket corpushooks.service"]


def test_a_daemon_that_does_not_run_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Systemd(runs=False)
    monkeypatch.setattr(setup, "machine_of", lambda host: machine)
    with cli_disaster.without_daemon(Host()):
        pass
    assert machine.done == []


ONE = Name(ITSELF, 1, "20261130T031500Z", "web1")


def test_which_host_comes_back() -> None:
    two, other = ONE._replace(host="web2"), ONE._replace(project="hello", host="web2")
    newer = ONE._replace(at="20261201T031500Z")
    assert disaster.chosen([ONE, newer, two], "", "web1") == newer
    assert disaster.chosen([ONE, two], "web1", "new") == ONE
    with pytest.raises(UsageError, match="no backup of the host new"):
        disaster.chosen([ONE, two], "", "new")
    with pytest.raises(UsageError, match="another host has a project hello"):
        disaster.chosen([ONE, ONE._replace(project="hello"), two, other], "web1", "new")
    assert hostname.fqdn()
