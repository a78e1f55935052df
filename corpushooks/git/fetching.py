"""Fetch a commit from a repository elsewhere, over git's own transport."""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from corpushooks.core.errors import GitError, ProcessError, UnreachableError
from corpushooks.core.text import one_line
from corpushooks.git.access import OURS, QUIET
from corpushooks.git.refs import ref as value_of
from corpushooks.system.patience import Check, endless
from corpushooks.system.process import attend, spawn

SAID = 1 << 20  # bytes that the other side can say
GRACE = 0.5  # seconds that a fetch has to end when it is stopped
MISSING = re.compile(r"couldn't find remote ref|not our ref", re.IGNORECASE)


@dataclass(frozen=True)
class Origin:
    """A repository elsewhere: its URL, the program that serves it there, and the ssh command, run in a folder."""

    url: str
    serve: str
    ssh: str
    folder: Path


def fetch(path: Path, origin: Origin, commit: str, ref: str, limit: float, check: Check = endless) -> None:
    """Fetch a ref, which must be at this commit; raise GitError if it is not, UnreachableError if that is not known."""
    words = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--no-auto-gc"]
    settings = ["-c", "protocol.version=0", "-c", "fetch.unpackLimit=1", "-c", "fetch.fsckObjects=true"]
    env = {**QUIET, **OURS, "GIT_SSH_COMMAND": origin.ssh, "GIT_SSH_VARIANT": "ssh", "GIT_TERMINAL_PROMPT": "0"}
    with tempfile.TemporaryFile() as said:

        def bounded() -> None:
            check()
            if os.fstat(said.fileno()).st_size > SAID:
                raise UnreachableError(f"it said more than {SAID} bytes to git")

        child = spawn(
            ["git", *settings, "--git-dir", path, *words, f"--upload-pack={origin.serve}", origin.url, f"+{ref}:{ref}"],
            cwd=origin.folder, env=env, stdout=said.fileno(), stderr=said.fileno(),
        )  # fmt: skip
        try:
            attend(child, limit, bounded, grace=GRACE)
        except ProcessError as exc:
            raise UnreachableError(f"git fetch: {exc.message}") from None
        if child.returncode:
            said.seek(0)
            raise _error(said.read(SAID).decode("utf-8", "replace"))
    if value_of(path, ref) != commit:
        raise GitError(f"{ref} is at another commit than {commit[:12]} there")


def _error(text: str) -> GitError | UnreachableError:
    """Return the error of a fetch, from git's lines."""
    lines = [line for line in text.splitlines() if line.strip()]
    wrong = [line for line in lines if line.startswith("error: ")] or lines[:1] or ["git fetch failed"]
    why = one_line(wrong[0].removeprefix("error: ").removeprefix("fatal: "))
    return GitError(f"not fetched: {why}") if MISSING.search(text) else UnreachableError(why)
