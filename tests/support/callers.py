"""Accounts, groups and callers of a host, and a daemon that they ask."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from corpushooks.core.project import Host
from corpushooks.core.rights import Accounts, Caller, Rights
from corpushooks.core.settings import Settings
from corpushooks.daemon import server
from corpushooks.host.site import Site
from corpushooks.protocol import connection
from corpushooks.protocol.answers import VERSION
from corpushooks.store.history import History
from tests.support.box import until
from tests.support.engines import FakeEngine
from tests.support.hook_peers import NEW, OLD

UIDS = {"root": 0, "anna": 61001, "bob": 61002, "hello-user": 61003, "other-user": 61004, "test-user": 61005,
        "ssh": 61006, "web": 61007}  # fmt: skip


GIDS = {
    "corpus": 62001, "hello-deploy": 62002, "other-deploy": 62003, "hello-grp": 62004, "other-grp": 62005,
    "users": 62006, "nowhere-deploy": 62007,
}  # fmt: skip


ACCOUNTS = Accounts(UIDS.get, GIDS.get, {gid: name for name, gid in GIDS.items()}.get)


OWNER = 61009


def caller(name: str, *groups: str) -> Caller:
    return Caller(UIDS.get(name, OWNER), name, frozenset(GIDS[group] for group in groups))


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")


NOT_ALLOWED = {
    "v": VERSION, "error": "not allowed", "code": 3, "denied": True,
    "hint": "allowed: root, the group corpus, for its project the group NAME-deploy, and keys over ssh",
}  # fmt: skip


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Return a folder that everybody may enter; pytest's are root's alone."""
    folder = Path(tempfile.mkdtemp(prefix="corpus-rights-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def serving(open_folder: Path) -> Iterator[server.Daemon]:
    """Return a daemon at work in a thread of ours, on a machine with the groups of the table."""
    host = Host(open_folder)
    host.socket.parent.mkdir(parents=True)
    history = History(host.store)
    for name in ("hello", "other"):
        history.add_project(name, "prod", "master")
    made = server.Daemon(Site(host, Settings(), history, FakeEngine()), connection.listen(host.socket))
    made.rights = Rights(os.geteuid(), "corpus", ACCOUNTS, "ssh", "web")
    thread = threading.Thread(target=made.serve)
    thread.start()
    yield made
    made.stop()
    thread.join()
    until(lambda: not made.semaphores.busy())
    history.close()


def line(**asked: Any) -> str:
    return json.dumps({"v": VERSION, **asked}) + "\n"


def everything_about(project: Any) -> list[str]:
    """Return one request of each kind."""
    push = {"op": "push", "repo": "project", "commands": [[OLD, NEW, "refs/heads/master"]], "token": "t", "options": []}
    asked: list[dict[str, Any]] = [
        push,
        {"op": "task", "task": "x", "token": "r"},
        {"op": "log", "number": 1},
        {"op": "cancel"},
        {"op": "app-log", "lines": 1},
        {"op": "freeze", "reason": "why"},
        {"op": "thaw"},
        {"op": "watch", "steps": []},
    ]
    return [line(**{**one, "project": project}) for one in asked]
