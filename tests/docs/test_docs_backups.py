"""docs/backups.md: somebody follows it from the set-up to the loss of the host, with real borg and PostgreSQL."""

from __future__ import annotations

import os
import re
import select
import shlex
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml

from corpushooks.core import backups
from corpushooks.system.process import run
from tests.support.backups import needs_root, page_blocks, rows, starting
from tests.support.box import Box
from tests.support.command import quick_words
from tests.support.databases import postgresql, psql
from tests.support.seat import heard, sitting

BLOCKS = page_blocks()
COMMANDS = [text for kind, text in BLOCKS if kind == "sh"]
NOT_RUN = {
    "ssh-keyscan": "another host; tests/host/test_backup_ssh.py has one",
    "ssh-keygen": "another machine; tests/walk/walk_disaster.py has one",
}
RESTORE_HOST = "corpus restore --host"


class Follower:
    """Somebody who follows the page on a host in a folder; `names` are what stands for the names of the page."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.names: dict[str, str] = {
            "/mnt/backup": f"{box.root}/mnt", "/etc/corpushooks": str(box.host.config_file.parent),
            "/root/hello": f"{box.root}/back", "/var/lib/hello": f"{box.root}/var", "git push": "git -C work push",
        }  # fmt: skip
        self.left = list(COMMANDS)
        self.phrase = b""

    def here(self, line: str) -> str:
        """Return a line of the page as it is for this host."""
        for name, own in self.names.items():
            line = line.replace(name, own)
        command = shlex.join(quick_words(self.box))
        return re.sub(r"(?m)^corpus(?= )", lambda _: command, line)

    def follow(self, first: str, *, code: int = 0) -> str:
        """Do what the block that begins so says, once; return what was said."""
        block = next(text for text in self.left if text.startswith(first))
        self.left.remove(block)
        said, exports = "", ""
        for line in block.splitlines():
            if line.startswith("systemctl"):
                self.box.stop()
                self.box.start()
            elif line.startswith("export"):
                exports += f"{self.here(line)}\n"
            elif line.startswith(RESTORE_HOST):
                said += self.restore_host(self.here(line))
            else:
                done = run(["sh", "-euc", exports + self.here(line)], check=False, timeout=120, cwd=self.box.root)
                assert done.code == code, done.stdout + done.stderr
                said += f"{done.text}\n{done.stderr.decode()}"
        return said

    def restore_host(self, line: str) -> str:
        """Restore the host from a terminal, where the passphrase is typed; the daemon has the fake engine."""
        words = shlex.split(line)
        with sitting([*starting(self.box), *words[words.index("--") + 3 :]]) as (child, master):
            said = heard(master, "Passphrase of the backups: ")
            os.write(master, self.phrase + b"\n")
            said += heard(master, "hello: its history and repositories are restored")
            while child.poll() is None or select.select([master], [], [], 0)[0]:
                if select.select([master], [], [], 0.1)[0]:
                    said += os.read(master, 4096).decode()
        assert child.returncode == 0, said
        assert self.phrase.decode() not in said
        return said


def test_each_block_is_followed_or_has_its_reason() -> None:
    assert [text.split()[0] for text in COMMANDS if text.split()[0] in NOT_RUN] == list(NOT_RUN)


@needs_root
@pytest.mark.timeout(400)  # it is one page
def test_the_page_is_followed_from_the_set_up_to_the_loss_of_the_host(new_box: Callable[..., Box]) -> None:
    with postgresql() as server:
        psql(server, "postgres", "", "create database hello")
        psql(server, "postgres", "", "create table users as select 1 x", "hello")
        walk(Follower(new_box()), server)


def walk(one: Follower, server: Path) -> None:
    box, data = one.box, one.box.project().data
    # set it up
    box.settings(one.here(BLOCKS[0][1]))
    Path(one.names["/mnt/backup"]).mkdir()
    box.init()
    one.follow("corpus setup --backup\n", code=1)
    one.follow("corpus setup --backup --exported\nsystemctl")
    database = f"{{kind: postgresql, name: hello, host: {server}, user: postgres}}"
    folder, base = Path(one.names["/var/lib/hello"]), box.root / "base"
    folder.mkdir()
    (folder / "note").write_text("precious")
    base.write_text("precious")
    said = f"{{before: deploy, databases: [{database}], folders: [{folder}]}}"
    dump, load = (f"base:\n  cmd.run:\n    - name: cp {way}\n" for way in (
        f"{base} {{{{ cfg.dump_root }}}}/base", f"{{{{ cfg.dump_root }}}}/base {base}"
    ))  # fmt: skip
    files = {".salt/PILLAR.sample": f"makina-projects.hello:\n  backup: {said}\n"}
    assert box.app(files={**files, ".salt/dump.sls": dump, ".salt/task_load.sls": load}).push().code == 0
    pillar = box.work(repo="pillar")
    pillar.commit({"init.sls": "makina-projects.hello: {data: {a: 1}}\n"})
    assert pillar.push().code == 0
    (data / "uploads").mkdir()
    (data / "uploads/photo").write_text("precious")

    # make a backup, test it
    assert "success" in one.follow("corpus backup hello")
    assert "no task_battletest.sls" in one.follow("corpus drill hello")

    # before each deployment
    (box.root / "work").symlink_to(box.work().path)
    box.work().git("remote", "add", "prod", box.work().remote)
    assert box.app("two").push().code == 0
    newest = rows(box)[0]
    assert box.deployment(newest.number).backup == newest.name
    one.names["hello 12"] = f"hello {newest.number}"
    (data / "uploads/photo").write_text("spoilt")
    one.follow("corpus restore hello 12 --data --force")
    assert (data / "uploads/photo").read_text() == "precious"
    box.work().commit({"index.html": "three"})
    assert "no backup was made before this deployment" in one.follow("git push -o skip=backup")

    # what is done to the repository
    one.follow("corpus prune hello")

    # restore parts
    for path in (folder / "note", base):
        path.write_text("spoilt")
    psql(server, "postgres", "", "insert into users values (2)", "hello")
    said = one.follow("corpus restore hello --data --dry-run")
    assert "nothing was changed" in said
    assert (folder / "note").read_text() == base.read_text() == "precious"
    assert psql(server, "postgres", "", "select count(*) from users", "hello") == (0, "1")
    assert (box.root / "back/data/uploads/photo").read_text() == "precious"

    # the loss of the host
    assert run(["sh", "-euc", one.here("corpus backup --all")]).code == 0
    lose(one)
    psql(server, "postgres", "", "drop table users", "hello")
    one.follow("corpus setup\ncorpus restore --host")
    assert (data / "uploads/photo").read_text() == "precious"
    assert (box.project().tree / "index.html").read_text() == "three"
    assert psql(server, "postgres", "", "select count(*) from users", "hello") == (0, "1")
    one.follow("corpus setup --backup --exported")
    assert box.app("four").push().code == 0

    # by hand
    by_hand(one, rows(box)[0].name)
    assert [text.split()[0] for text in one.left] == list(NOT_RUN)


def lose(one: Follower) -> None:
    """Lose the host, but not its passphrase."""
    one.phrase = one.box.host.config_file.with_name("backup.passphrase").read_bytes().strip()
    one.box.stop()
    shutil.rmtree(one.box.host.root)
    one.box.host.root.mkdir()


def by_hand(one: Follower, name: str) -> None:
    """Look into a backup without this program."""
    found = backups.Name.read(name)
    assert found
    shown = "hello.12.20261130T031500Z{}@server.example.org"
    one.names |= {shown.format("+files"): found[0].files, shown.format(""): name}
    one.names["borg extract"] = "cd out && borg extract"
    (one.box.root / "out").mkdir()
    assert name in one.follow("export BORG_PASSCOMMAND")
    out = one.box.root / "out"
    there = {each.name for each in out.iterdir()}
    assert {"backup.json", "contents", "dumps", "project.bundle", "store.sqlite"} <= there
    assert (out / "data/uploads/photo").read_text() == "precious"
    run(["git", "clone", "--quiet", "project.bundle", "clone"], cwd=out)


def said_of(key: str) -> Mapping[str, object]:
    """Return the example of the page that has a key of cfg."""
    (text,) = [text for kind, text in BLOCKS if kind == "yaml" and key in text]
    found = yaml.safe_load(text)
    assert isinstance(found, dict)
    return found


def test_the_example_of_a_cfg_is_read() -> None:
    data = "/srv/projects/hello/data"
    body = said_of("makina-projects.hello")["makina-projects.hello"]
    assert isinstance(body, dict)
    text = yaml.safe_dump(body).replace("{data_root}", data)
    found = backups.of({"data_root": data, **yaml.safe_load(text)})
    assert found.before == backups.DEPLOY and found.folders == ("/var/lib/hello",)
    assert found.without_in("/var/lib/hello") == ("cache",)
    assert [one.kind for one in found.databases] == ["postgresql", "mysql", "sqlite"]
    assert found.databases[2].file == "app.sqlite3"
