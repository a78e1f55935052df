"""The demo's pages: started on loopback, with a link by which one signs in once."""

from __future__ import annotations

import select
from collections.abc import Mapping, Sequence
from pathlib import Path

from corpushooks.access import accounts
from corpushooks.access.accounts import Accounts
from corpushooks.access.keys import ACCOUNT, Key
from corpushooks.core import rights
from corpushooks.core.project import Host
from corpushooks.store.history import open_store
from corpushooks.system.process import PIPE, spawn

SECONDS = 30.0  # for the pages to listen
NAME = "demo"


def pages(host: Host, program: Sequence[str], env: Mapping[str, str]) -> str:
    """Start the pages of a host; return a link to them that works once, or nothing if they do not start."""
    words = [*program, "--root", str(host.root), "web", "--port", "0"]
    child = spawn(words, cwd=Path("/"), env=env, stdout=PIPE)
    assert child.stdout
    ready, _, _ = select.select([child.stdout], [], [], SECONDS)
    said = child.stdout.readline().decode() if ready else ""
    port = said.strip().rpartition(":")[2]
    return f"http://localhost:{port}/sign-in/link/{_secret(host)}" if port.isdigit() else ""


def _secret(host: Host) -> str:
    """Make an account with every right, and a link to sign in as that."""
    history = open_store(host)
    try:
        store = Accounts(history)
        if store.named(NAME) is None:
            store.add(Key(NAME, ACCOUNT, "", rights.HOST, by=NAME))
        return store.link(NAME, accounts.SIGN_IN).secret
    finally:
        history.close()
