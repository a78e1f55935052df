"""The command, as people call it: what it says and gives."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Any

from corpushooks.system.process import Child, Output, run
from tests.support import daemons
from tests.support.box import Box

GATE = "gate:\n  cmd.run:\n    - name: while ! test -e {0}/gate; do sleep 0.05; done\n"


SECONDS = 120  # that a command can take
ME = run(["id", "-un"]).text


def words(box: Box, *given: str) -> list[str]:
    return [sys.executable, "-m", "corpushooks", "--root", str(box.host.root), *given]


def quick_words(box: Box, *given: str) -> list[str]:
    """Return what a shell runs as the command; what it runs is forked, and gets no signals."""
    program = [sys.executable, "-IS", daemons.preloaded.__file__, daemons.socket_of_loaded(), "--"]
    return [*program, "--root", str(box.host.root), *given]


def ran(*given: str, stdin: bytes = b"") -> Output:
    """Run the command to its end, on whatever host it names."""
    return daemons.command(given, SECONDS, stdin)


def corpus(box: Box, *given: str, stdin: bytes = b"", **env: str) -> Output:
    """Run the command to its end; in an environment of its own as a new process of Python."""
    if env:
        return run(words(box, *given), check=False, env=env, stdin=stdin, timeout=SECONDS)
    return ran("--root", str(box.host.root), *given, stdin=stdin)


def begin(box: Box, *given: str, stdin: int | None = None, out: int | None = None) -> Child[bytes]:
    """Start the command; what it says and what it complains of go to one descriptor."""
    with open(os.devnull, "r+b") as null:
        said = null.fileno() if out is None else out
        streams = [null.fileno() if stdin is None else stdin, said, said]
        return daemons.begin(["--root", str(box.host.root), *given], streams)


def plain(data: bytes) -> str:
    """Return text in which a host in a folder is named as the real one."""
    return re.sub(r"corpus --root \S+ ", "corpus ", data.decode())


def said(output: Output) -> str:
    return plain(output.stdout)


def asked(box: Box, *given: str, code: int = 0) -> Any:
    """Run the command with --json and return what it printed."""
    output = corpus(box, *given, "--json")
    assert output.code == code, output.stderr.decode()
    return json.loads(output.stdout)


def complains(output: Output, code: int, message: str, hint: str = "") -> None:
    """See that a command failed as it should: one line that says what is wrong, one that helps."""
    lines = plain(output.stderr).splitlines()
    assert (output.code, output.stdout) == (code, b"")
    assert re.fullmatch(f"error: {message}", lines[0])
    assert lines[1:] == ([f"hint: {hint}"] if hint else [])
