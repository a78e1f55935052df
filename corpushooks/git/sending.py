"""Bring a commit to a repository elsewhere, over git's own transport."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from corpushooks.core.errors import GitError, ProcessError, UnreachableError
from corpushooks.core.text import one_line
from corpushooks.git.access import QUIET
from corpushooks.git.commits import commit as found_commit
from corpushooks.system.patience import Check, endless
from corpushooks.system.process import attend, spawn

SAID = 1 << 20  # bytes that the other side can say
GRACE = 0.5  # seconds that a push has to end when it is stopped


@dataclass(frozen=True)
class Destination:
    """A repository elsewhere: its URL, the program that receives there, and the ssh command, run in a folder."""

    url: str
    receive: str
    ssh: str
    folder: Path


def send(path: Path, to: Destination, commit: str, ref: str, limit: float, check: Check = endless) -> None:
    """Push a commit to a ref; raise GitError if that is not taken, UnreachableError if it is not known."""
    found_commit(path, commit)
    words = ["push", "--quiet", "--porcelain", "--no-verify", "--no-signed", f"--receive-pack={to.receive}"]
    env = {**QUIET, "GIT_SSH_COMMAND": to.ssh, "GIT_SSH_VARIANT": "ssh", "GIT_TERMINAL_PROMPT": "0"}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:

        def bounded() -> None:
            check()
            if any(os.fstat(each.fileno()).st_size > SAID for each in (out, err)):
                raise UnreachableError(f"it said more than {SAID} bytes to git")

        child = spawn(
            ["git", "--git-dir", path, *words, to.url, f"+{commit}:{ref}"],
            cwd=to.folder, env=env, stdout=out.fileno(), stderr=err.fileno(),
        )  # fmt: skip
        try:
            attend(child, limit, bounded, grace=GRACE)
        except ProcessError as exc:
            raise UnreachableError(f"git push: {exc.message}") from None
        if child.returncode:
            raise _error(_text(out), _text(err))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(SAID).decode("utf-8", "replace")


def _error(out: str, err: str) -> GitError | UnreachableError:
    """Return the error of a push, from git's lines: "!", the refs, and why."""
    for line in out.splitlines():
        mark, _, rest = line.partition("\t")
        if mark == "!":
            return GitError(f"not taken: {one_line(rest.partition(chr(9))[2])}")
    lines = [line for line in err.splitlines() if line.strip()]
    wrong = [line for line in lines if line.startswith("error: ")] or lines[:1] or ["git push failed"]
    return UnreachableError(one_line(wrong[0].removeprefix("error: ").removeprefix("fatal: ")))
