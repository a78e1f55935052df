"""A Python application written for makina-states, whose worker becomes a unit of systemd."""

from __future__ import annotations

import grp
import json
import os
import pwd
import shlex
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import yaml

from corpushooks.system import process
from tests.support.box import Box
from tests.support.places import TESTS

PROJECTS = TESTS / "projects"
# Stands in for systemctl: it keeps what it is asked, and a unit runs once it was restarted.
SYSTEMCTL = """\
#!/bin/sh
here=$(dirname "$0")
echo "$*" >>"$here/asked"
case "$*" in
*is-active*) test -e "$here/active" ;;
restart*) test ! -e "$here/broken" || { echo "Job for $2.service failed." >&2; exit 1; }; touch "$here/active" ;;
esac
"""


def host_with_systemd(box: Box) -> Path:
    """Have the states of a host ask a systemctl of ours; return its folder."""
    folder = box.root / "systemd"
    folder.mkdir()
    (folder / "systemctl").write_text(SYSTEMCTL)
    (folder / "systemctl").chmod(0o755)
    circus = {"unit_dir": str(folder), "environment_dir": str(folder)}
    given = {"makina-states.systemctl": str(folder / "systemctl"), "makina-states.services.monitoring.circus": circus}
    box.settings(yaml.safe_dump({"minion": given}))
    return folder


def asked(folder: Path) -> list[str]:
    """Return what systemctl was told to do since the last time."""
    lines = (folder / "asked").read_text().splitlines()
    (folder / "asked").write_text("")
    return [line for line in lines if not line.startswith("--quiet")]


def options(unit: Path) -> dict[str, str]:
    lines = [line for line in unit.read_text().splitlines() if "=" in line]
    return dict(line.split("=", 1) for line in lines)


def test_a_python_application_with_a_worker(new_box: Callable[..., Box]) -> None:
    box = new_box(salt=True)
    folder = host_with_systemd(box)
    project = box.init()
    me = {"user": pwd.getpwuid(os.geteuid()).pw_name, "group": grp.getgrgid(os.getegid()).gr_name}
    pillar = box.work(repo="pillar")
    pillar.commit({"init.sls": yaml.safe_dump({"makina-projects.hello": me})})
    assert pillar.push().code == 0
    work = box.work()
    shutil.copytree(PROJECTS / "python", work.path, dirs_exist_ok=True)
    work.commit()
    pushed = work.push()
    assert pushed.code == 0, pushed.text
    settings = project.tree / "settings.json"
    password = json.loads(settings.read_text())["password"]
    assert len(password) == 16
    unit, kept = folder / "circus-hello-app.service", folder / "circus-hello-app"
    assert asked(folder) == ["daemon-reload", "enable circus-hello-app", "restart circus-hello-app"]
    assert password in kept.read_text()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert password not in unit.read_text() + box.log(1)

    said = options(unit)
    start = f'{project.data}/bin/start.sh --port 8081 "a b" 100%% $$HOME'
    assert said["ExecStart"] == start
    assert (said["WorkingDirectory"], said["KillSignal"], said["RuntimeMaxSec"]) == (
        str(project.tree),
        "SIGINT",
        "86400",
    )
    if shutil.which("systemd-analyze"):
        checked = process.run(["systemd-analyze", "verify", "--man=no", unit], check=False)
        assert str(unit) not in checked.stderr.decode(), checked.stderr
    words = shlex.split(start.replace("%%", "%").replace("$$", "$").replace("$", "\\$"))
    shown = json.loads(process.run(words, cwd=project.tree).text)
    assert shown["arguments"] == ["--port", "8081", "a b", "100%", "$HOME"]

    before = unit.read_text()
    (folder / "broken").touch()
    worker = (work.path / ".salt/600_workers.sls").read_text()
    work.commit({".salt/600_workers.sls": worker.replace("--port", "--bind")})
    refused = work.push()
    assert refused.rejected == "install 600_workers failed; rolled back"
    assert any("Job for circus-hello-app.service failed." in line for line in refused.lines), refused.text
    assert unit.read_text() == before
    assert asked(folder)[-1] == "restart circus-hello-app"  # by the roll back, at which it changed nothing
