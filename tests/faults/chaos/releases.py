"""What is pushed in the rounds, and what the application does between them."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from corpushooks.system.process import run
from tests.faults.chaos.processes import COMMAND
from tests.support.box import FAILING, Box, Work
from tests.support.mounts import mounts_below

SAMPLE = "makina-projects.projectname:\n  data:\n    word: none\n    fails: false\n"
PILLAR = "makina-projects.hello:\n  data:\n    word: WORD\n    fails: FAILS\n"
FILES = """\
{% set cfg = opts.ms_project %}
local:
  file.managed:
    - name: {{ cfg.project_root }}/local.conf
    - contents: PAGE
page:
  file.managed:
    - name: {{ cfg.data_root }}/page
    - contents: PAGE {{ cfg.data.word }}
"""
# A command that has no end where who ran it is gone: nobody but its keepers stops it then.
RUN = """\
{% set cfg = opts.ms_project %}
run:
  cmd.run:
    - name: i=0; while [ $i -lt TIMES ] || ! kill -0 $PPID; do i=$((i+1)); sleep 0.05; done
    - cwd: {{ cfg.data_root }}
    - env:
      - COMMAND: 'yes'
{% if cfg.data.fails %}
fails:
  test.fail_without_changes: []
{% endif %}
"""
# What a release that fails does as root: it mounts a share on a folder of the commit, and makes others immutable.
HARD = """\
{% set cfg = opts.ms_project %}
hard:
  cmd.run:
    - cwd: {{ cfg.project_root }}
    - name: mount --bind SHARE media && chattr +i index.html lib lib/4.txt uploads && chattr +a bin
"""
# What a release that fails leaves in a session of its own: a deaf process that goes on writing into the tree.
WRITER = """\
{% set cfg = opts.ms_project %}
writer:
  cmd.run:
    - name: |
        setsid sh -c 'trap "" TERM; while :; do date >> tick; sleep 0.02; done' >/dev/null 2>&1 </dev/null &
        while ! test -s tick; do sleep 0.02; done
    - cwd: {{ cfg.project_root }}
"""
# States of ours, in a folder in which the application plants links at the names that a careless one would write aside.
PLANTED = """\
{% set own = opts.ms_project.data_root ~ '/own' %}
user:
  webutil.user_exists:
    - name: jo
    - password: PAGE
    - htpasswd_file: {{ own }}/htpasswd
delivered:
  file.delivered:
    - name: {{ own }}/conf
    - contents: PAGE
folder:
  file.folder:
    - name: {{ own }}/logs
"""
ASIDE = (".htpasswd.new", ".htpasswd.corpushooks.tmp", ".conf.new", "conf.new", ".conf.tmp", ".corpushooks.tmp")
BACKUP = "  backup: {before: deploy}\n"
PAUSED = "paused"  # a file beside data/, while an application is paused for a backup
PAUSES = {
    stem: f"{stem}:\n  cmd.run:\n    - name: {what}\n    - cwd: {{{{ cfg.data_root }}}}/..\n"
    for stem, what in (
        ("quiesce", f"touch {PAUSED}"), ("dump", "ls >{{ cfg.dump_root }}/files"), ("resume", f"rm -f {PAUSED}"),
    )
}  # fmt: skip
HEALTH = "  health:\n    http: http://{}/\n    timeout: 0.2\n    retries: 1\n    delay: 0\n"
FIXPERMS = "perms:\n  test.nop: []\n"
MANAGED = "local.conf"


def run_sls(times: int) -> str:
    """Return an SLS with a command that takes so many twentieths of a second."""
    return RUN.replace("TIMES", str(times)).replace("COMMAND", COMMAND)


def share_of(box: Box) -> Path:
    """Return the folder that is mounted in the trees."""
    return box.root / "share"


def paused_of(box: Box) -> Path:
    """Return the file that is there while the application is paused."""
    return box.project().dir / PAUSED


def soften(tree: Path) -> None:
    """Take the flags off a tree, so that everybody can write in it."""
    if os.geteuid() == 0:
        run(["chattr", "-R", "-f", "-i", "-a", tree], check=False)


@dataclass
class Releases:
    """The commits that are pushed to one host."""

    box: Box
    own_fixperms: bool  # the project has a fixperms.sls, so that the built-in one runs not
    drip: str  # the address of what answers without end
    backups: bool  # each deployment begins with a backup
    writes: bool  # what fails leaves a writer; in dev its tree stays, and nobody would stop that

    def code(self, number: int, *, fails: bool) -> str:
        """Commit a release in which every file carries its number, and some are new, gone or of another kind.

        One that fails leaves a process that writes into the tree, or is asked for its health and answers without end.
        """
        page, work = f"r{number}", self.box.work()
        self._unmake_shape(work)
        files: dict[str, str | None] = {f"lib/{n}.txt": f"{page} {n}\n" for n in range(0, 20, 2)}
        files |= {f"lib/{n}.txt": f"never changes {n}\n" for n in range(1, 20, 2)}
        files |= {"index.html": page, "bin/run": f"#!/bin/sh\necho {page}\n", **self._shape(number)}
        drips = fails and number % 2 == 0
        sample = SAMPLE + (HEALTH.format(self.drip) if drips else "") + (BACKUP if self.backups else "")
        files |= {f".salt/{stem}.sls": text for stem, text in PAUSES.items()} if self.backups else {}
        files |= {".salt/PILLAR.sample": sample, ".salt/10_files.sls": FILES.replace("PAGE", page)}
        files |= {".salt/20_run.sls": run_sls(5), ".salt/rollback.sls": run_sls(3).replace("cfg.data.fails", "0")}
        files |= {".salt/notify.sls": run_sls(2).replace("cfg.data.fails", "0")}
        files |= {".salt/fixperms.sls": FIXPERMS} if self.own_fixperms else {}
        files |= {"media/.gitkeep": "never changes"}
        if self.box.salt and os.geteuid() == 0:
            files[".salt/12_planted.sls"] = PLANTED.replace("PAGE", page)
            (self.box.project().data / "own").mkdir(exist_ok=True)
        bad = {} if drips else {".salt/30_broken.sls": (WRITER if self.writes else "") + FAILING}
        if os.geteuid() == 0 and self.box.row().code:  # else the folder below the share cannot go
            bad[".salt/15_hard.sls"] = HARD.replace("SHARE", str(share_of(self.box)))
        files |= bad if fails else {}
        for name in {".salt/15_hard.sls", ".salt/30_broken.sls"} - (bad.keys() if fails else set()):
            (work.path / name).unlink(missing_ok=True)
        work.write(files)
        (work.path / "bin/run").chmod(0o755 if number % 2 else 0o644)
        return work.commit(message=page)

    def _unmake_shape(self, work: Work) -> None:
        for name in ("shape", "odd", "link"):
            path = work.path / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.is_symlink() or path.exists():
                path.unlink()

    def _shape(self, number: int) -> dict[str, str | None]:
        """Return what is a file in one release, a folder in the next, a link in the third."""
        (self.box.work().path / "link").symlink_to(f"lib/{number % 20}.txt")
        odd: dict[str, str | None] = {"odd/tracked.txt": f"{number}"} if number % 2 else {}
        if number % 3 == 2:
            (self.box.work().path / "shape").symlink_to("index.html")
            return odd
        return {**odd, "shape" if number % 3 else "shape/inner": f"shape {number}"}

    def pillar(self, number: int, *, fails: bool) -> str:
        """Commit a pillar with a word of its own."""
        text = PILLAR.replace("WORD", f"w{number}").replace("FAILS", str(fails).lower())
        return self.box.work(repo="pillar").commit({"init.sls": text}, f"w{number}")

    def live(self, number: int) -> None:
        """Be the application for a while: write, link, lock away and change modes beside the tracked files.

        And be root, who makes some immutable and mounts a share.
        """
        tree = self.box.project().tree
        soften(tree)
        for folder in ("uploads", "venv/lib", "lib/cache", "odd"):
            (tree / folder).mkdir(parents=True, exist_ok=True)
        _write(tree / f"uploads/photo{number % 4}", f"precious {number}", 0o640)
        _write(tree / "uploads/secret", f"key {number}", 0o400)
        _write(tree / "venv/lib/module.py", f"x = {number}", 0o660)
        _write(tree / "lib/cache/page", f"cached {number}", 0o660)
        _write(tree / "odd/own.txt", f"own {number}", 0o664)
        (tree / "uploads/twin").unlink(missing_ok=True)
        os.link(tree / f"uploads/photo{number % 4}", tree / "uploads/twin")
        (tree / "venv/python").unlink(missing_ok=True)
        (tree / "venv/python").symlink_to("/usr/bin/python3")
        if os.geteuid() == 0:
            os.chown(tree / "uploads/photo0" if number % 4 == 0 else tree / "uploads/secret", 1000 + number % 3, 1000)
        os.utime(tree / "venv/lib", ns=(10**18 + number, 10**18 + number))
        if os.geteuid() == 0:
            self._harden(tree, number)
            self._plant(self.box.project().data / "own", number)

    def _plant(self, folder: Path, number: int) -> None:
        """Lead every name aside to a file that root keeps elsewhere, as a link of the application's or as that file."""
        folder.mkdir(parents=True, exist_ok=True)
        os.chown(folder, 1000, 1000)
        for place, name in enumerate(ASIDE):
            (folder / name).unlink(missing_ok=True)
            if (place + number) % 3:
                (folder / name).symlink_to(share_of(self.box) / "precious")
                os.chown(folder / name, 1000, 1000, follow_symlinks=False)
            else:
                os.link(share_of(self.box) / "precious", folder / name)

    def _harden(self, tree: Path, number: int) -> None:
        at = tree / "uploads/share"
        at.mkdir(exist_ok=True)
        if not mounts_below(at):
            run(["mount", "--bind", share_of(self.box), at])
        which = (("+i", "uploads/secret"), ("+a", "lib/cache/page"), ("+i", "lib/2.txt"), ("+i", "venv"), ("+a", "lib"))
        for how, name in which[number % 3 :]:
            run(["chattr", how, tree / name])


def _write(path: Path, text: str, mode: int) -> None:
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(mode)
