"""Run many commands of corpus, each in a child of a process that has loaded it.

On standard input lines, each a list of [how, words]; on standard output a line for each with what came of them:
[exit code, said, complained].
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import IO

from corpushooks import __main__
from corpushooks.cli import main, tables
from corpushooks.cli.commands import whole
from corpushooks.operations import does, looks

LOADED = (whole(main.corpus), tables, looks, does)  # once, and not by each child
with contextlib.suppress(ImportError):  # what it needs is in an extra
    importlib.import_module("corpushooks.web.app")
SECONDS = 60  # that a command can take


def one(how: str, words: list[str]) -> tuple[int, str, str]:
    """Run a command in a child; return its exit code, what it said, and what it complained of."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        pid = os.fork()
        if not pid:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # what is asked of us is not for them
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            become(how, words)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return code, _read(out), _read(err)


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def become(how: str, words: list[str]) -> None:
    """Be the command, in the surroundings that `how` names."""
    signal.alarm(SECONDS)
    sys.argv = ["corpus", *words]
    code = 1
    try:
        HOW[how]()
        __main__.main()
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else 1
    except BaseException:  # the edge: what nobody should see
        os.write(2, traceback.format_exc().encode(errors="replace"))
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as exc:
        os.write(2, f"Exception ignored at exit: {exc}".encode())
        code = 120
    os._exit(code)


def no_folder() -> None:
    """Go where there is no folder any more."""
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    os.rmdir(folder)


def closed_folder() -> None:
    """Go where nothing can be read."""
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    os.chmod(folder, 0)


def no_home() -> None:
    """Have no HOME."""
    os.environ.pop("HOME", None)


def closed() -> None:
    """Have no standard output, as Python then has it."""
    os.close(1)
    sys.stdout = None  # type: ignore[assignment]


def full() -> None:
    """Have a standard output that takes nothing."""
    null = os.open("/dev/full", os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


def no_reader() -> None:
    """Have a pipe for standard output that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    os.dup2(writing, 1)
    os.close(writing)


def ascii_only() -> None:
    """Have a locale that knows no letter but those of ASCII."""
    for stream in (sys.stdout, sys.stderr):
        assert isinstance(stream, io.TextIOWrapper)
        stream.reconfigure(encoding="ascii", errors="strict")


def no_salt() -> None:
    """Have an engine that fails at once: what is looked at is what else is said."""
    from corpushooks.admin.doctor import soundness
    from corpushooks.host import site
    from corpushooks.salt import SaltCallEngine

    site.make_engine = soundness.make_engine = lambda host, settings: SaltCallEngine(Path("/bin/false"))


HOW = {
    "plain": lambda: None, "no folder": no_folder, "closed folder": closed_folder, "no home": no_home,
    "closed": closed, "full": full, "no reader": no_reader, "ascii": ascii_only, "no salt": no_salt,
}  # fmt: skip

if __name__ == "__main__":
    for line in iter(sys.stdin.readline, ""):
        print(json.dumps([one(how, words) for how, words in json.loads(line)]), flush=True)
