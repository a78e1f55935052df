"""A deployment at work on a host in a folder, in this process and without a daemon: for what its parts do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from corpushooks.core.deployment import RUNNING, Request, Revision
from corpushooks.core.settings import Settings
from corpushooks.deploy.lanes import Lanes
from corpushooks.deploy.run import Run
from corpushooks.host.site import Site
from corpushooks.store.history import History
from corpushooks.system.process import run as run_program
from tests.support.box import Box
from tests.support.engines import FakeEngine

AUTHOR = ("-c", "user.name=a", "-c", "user.email=a@example.org")


@contextmanager
def at_work(box: Box, settings: Settings | None = None, **asked: Any) -> Iterator[Run]:
    """Give a deployment of hello that runs; nothing of it is done."""
    with closing(History(box.host.store)) as store:
        site = Site(box.host, settings or Settings(), store, FakeEngine())
        deployment = store.enqueue("hello", Request(**{"token": "t", **asked}))
        with Lanes(site, {}).opened(deployment) as run:
            run.move(RUNNING)
            yield run


def commit(repo: Path, text: str, *parents: str) -> str:
    """Make a commit without files in a bare repository."""
    git = ["git", "--git-dir", repo, *AUTHOR]
    tree = run_program([*git, "hash-object", "-t", "tree", "-w", "--stdin"], stdin=b"").text
    return run_program([*git, "commit-tree", tree, "-m", text, *(w for each in parents for w in ("-p", each))]).text


def aimed(run: Run, old: str | None, new: str) -> None:
    """Record from which to which commit of the code a deployment goes."""
    run.deployment = run.site.history.aim(run.deployment, Revision(old), Revision(new), "archive")
