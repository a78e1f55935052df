"""A terminal for a command of a test, of which the test is the keyboard and the screen."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import sys
import termios
from collections.abc import Iterator, Sequence
from pathlib import Path

from corpushooks.system.process import Child, spawn

ENTER = "import os, sys, fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"


@contextlib.contextmanager
def sitting(argv: Sequence[str | Path]) -> Iterator[tuple[Child[bytes], int]]:
    """Run a command from a terminal of 33 lines and 121 columns, which must be left as it was."""
    master, slave = pty.openpty()
    resize(master, 33, 121)
    before = termios.tcgetattr(slave)
    words = [sys.executable, "-c", ENTER, *argv]
    child = spawn(words, stdin=slave, stdout=slave, stderr=slave, env={"TERM": "xterm-256color"})
    try:
        yield child, master
        child.wait(60)
        assert termios.tcgetattr(slave) == before
    finally:
        child.kill()
        child.wait(10)
        os.close(master)
        os.close(slave)


def resize(master: int, lines: int, columns: int) -> None:
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


def heard(master: int, text: str) -> str:
    """Read a terminal until a text is there."""
    data = b""
    while text.encode() not in data:
        assert select.select([master], [], [], 60)[0], data
        data += os.read(master, 4096)
    return data.decode()
