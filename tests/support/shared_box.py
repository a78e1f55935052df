"""A host that the tests of a module share, where each leaves it as it found it, and the command run in this process."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from corpushooks.admin.doctor import soundness
from corpushooks.cli import main
from corpushooks.host import site
from corpushooks.system.process import Output
from tests.support.box import Box
from tests.support.engines import FakeEngine

GITCONFIG = "[user]\n name = Dev\n email = dev@example.org\n[gc]\n auto = 0\n[maintenance]\n auto = false\n"


@contextmanager
def world(home: Path) -> Iterator[None]:
    """Keep git and the command away from whoever runs the tests, beyond a single test."""
    home.mkdir()
    (home / ".gitconfig").write_text(GITCONFIG)
    with pytest.MonkeyPatch.context() as patch:
        for key in [key for key in os.environ if key.startswith(("GIT_", "CORPUS_", "SSH_"))]:
            patch.delenv(key)
        for key, value in (("HOME", home), ("XDG_CONFIG_HOME", home), ("GIT_CONFIG_NOSYSTEM", "1")):
            patch.setenv(key, str(value))
        yield


@contextmanager
def shared_box(folder: Path, *, page: str = "") -> Iterator[Box]:
    """Make a host with `hello` and a daemon; with `page` a commit of that page is deployed."""
    with world(folder / "home"):
        box = Box(folder / "box")
        box.root.mkdir()
        box.init()
        box.start()
        if page:
            assert box.app(page).push().code == 0
            box.ended(1)
    yield box
    box.stop()


# the command, in this process


def corpus(box: Box, *words: str) -> Output:
    """Run the command in this process."""
    code = 0
    with pytest.MonkeyPatch.context() as patch, _taken(1) as out, _taken(2) as err:
        patch.setattr(sys, "argv", ["corpus", "--root", str(box.host.root), *words])
        for name in ("stdout", "stderr"):
            patch.setattr(sys, name, getattr(sys, name))  # the command has its own
        for module in (site, soundness):
            patch.setattr(module, "make_engine", lambda host, settings: FakeEngine())
        try:
            main.main()
        except SystemExit as exc:
            code = int(exc.code or 0)
    return Output(code, bytes(out), bytes(err))


@contextlib.contextmanager
def _taken(descriptor: int) -> Iterator[bytearray]:
    """Keep what is written to a descriptor: it is known when this ends."""
    found, kept = bytearray(), os.dup(descriptor)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), descriptor)
        try:
            yield found
        finally:
            os.dup2(kept, descriptor)
            os.close(kept)
            file.seek(0)
            found += file.read()


def asked(box: Box, *words: str) -> Any:
    return json.loads(corpus(box, *words, "--json").stdout)


def harmless(output: Output) -> str:
    text = (output.stdout + output.stderr).decode()
    assert "Traceback" not in text and "internal error" not in text.lower(), text
    assert "NAME" not in text, text
    return text
