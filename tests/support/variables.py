"""A project whose variables are set."""

from __future__ import annotations

import os
import pty
from pathlib import Path
from typing import Any

from corpushooks import git
from corpushooks.release import assigned
from corpushooks.system.process import run
from tests.support.box import Box
from tests.support.command import GATE
from tests.support.pillars import SLS

FILE = "corpus-set.yaml"


SAMPLE = """\
makina-projects.projectname:
  data:
    v: default
    debug: false
    db: {host: localhost, port: 5432}
    hosts: [a]
"""


FILES = {".salt/10_value.sls": SLS, ".salt/PILLAR.sample": SAMPLE}


GATED = "{% if cfg.data.v == 'wait' %}\n" + GATE + "{% endif %}\n"


def value(box: Box) -> str:
    return (box.project().data / "value").read_text().strip()


def content(box: Box, name: str = FILE) -> str:
    head = box.ref(repo="pillar")
    return (git.content(box.project().pillar_git, head or "", name) or b"").decode()


def commits(box: Box) -> list[str]:
    words = ["git", "log", "--format=%an|%cn|%s", "master"]
    return run(words, cwd=box.project().pillar_git).text.splitlines()


def everywhere(secret: bytes) -> list[str]:
    """Name the processes that have a secret among their arguments."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if secret in each.read_bytes():
                found.append(each.read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return found


def git_data(box: Box) -> dict[str, Any]:
    return dict(assigned.load(content(box).encode()).data)


def at_a_terminal(argv: list[str], prompt: bytes, text: bytes) -> bytes:
    """Run a program at a terminal, type a text when it asks, and return what the terminal showed."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp(argv[0], argv)
    seen, typed = b"", False
    try:
        while chunk := os.read(terminal, 4096):
            seen += chunk
            if prompt in seen and not typed:
                typed = bool(os.write(terminal, text))
    except OSError:  # it ended
        pass
    assert os.waitpid(pid, 0)[1] == 0, seen
    return seen
