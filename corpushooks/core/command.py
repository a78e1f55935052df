"""A command run as an application (`corpus run`): its environment, and its record. Values only."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from corpushooks.core.redaction import MARK, Redactor
from corpushooks.core.text import clean, shortened

PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
PROGRAMS = ("venv/bin", ".venv/bin", "node_modules/.bin", "vendor/bin")  # of project/, first on PATH if they exist
UMASK = 0o022  # as systemd gives services: a web server can read new files
TERM = re.compile(r"[A-Za-z0-9_.+-]{1,40}")
LANG = re.compile(r"[A-Za-z0-9_.@-]{1,40}")
KEPT = 1000  # characters that are recorded of a command
FLAG = re.compile(r"--?[A-Za-z][\w-]*")
VALUE = r"""('[^']*'|"[^"]*"|[^\s;&|]+)"""  # in an argument that is a shell command line
INNER = (re.compile(rf"(?<![\w-])([\w-]+)={VALUE}"), re.compile(rf"(?<!\S)(--?[A-Za-z][\w-]*)\s+(?!-){VALUE}"))
LOGIN = re.compile(r"(://[^/\s:@]*:)[^/\s@]+(?=@)")  # user and password in an address


@dataclass(frozen=True)
class Account:
    """The account that a command runs as; without a uid, the daemon's."""

    name: str
    home: str
    shell: str
    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """The command to run, and the terminal it is run from."""

    words: tuple[str, ...]
    term: str = ""  # empty: not from a terminal
    lang: str = ""


@dataclass(frozen=True)
class Ran:
    """A command in the store."""

    number: int
    project: str
    who: str
    key: str
    words: str  # without secrets
    started: float
    ended: float | None
    code: int | None  # None: it was killed
    reason: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def environment(wanted: Wanted, account: Account, folder: Path, programs: Sequence[str]) -> dict[str, str]:
    """Return the whole environment of a command: nothing of the daemon's and little of the client's.

    `programs` are those folders of PROGRAMS that exist.
    """
    found = [*(f"{folder}/{name}" for name in programs), PATH]
    term = {"TERM": wanted.term if TERM.fullmatch(wanted.term) else "dumb"} if wanted.term else {}
    return {
        "HOME": account.home, "USER": account.name, "LOGNAME": account.name, "SHELL": account.shell,
        "PATH": ":".join(found), "PWD": str(folder), "LANG": wanted.lang if LANG.fullmatch(wanted.lang) else "C.UTF-8",
        **term,
    }  # fmt: skip


def recorded(words: Sequence[str], redactor: Redactor) -> str:
    """Return a command as it is recorded: without secrets, and without the values of secret flags and keys."""
    kept, hidden = [], False
    for word in words:
        key, equals, value = word.partition("=")
        secret = redactor.hides(key)
        if equals and secret and value:
            kept.append(f"{_without_inner_secrets(key, redactor)}={MARK}")
        else:
            kept.append(MARK if hidden and word else _without_inner_secrets(word, redactor))
        hidden = secret and not equals and FLAG.fullmatch(word) is not None
    return shortened(clean(redactor.redact(shlex.join(kept))), KEPT)


def _without_inner_secrets(word: str, redactor: Redactor) -> str:
    """Return a word without the secrets inside it, as in a shell command line or a URL."""

    def hide(found: re.Match[str]) -> str:
        kept = found[0][: found.start(2) - found.start()]
        return f"{kept}{MARK}" if redactor.hides(found[1]) else found[0]

    for each in INNER:
        word = each.sub(hide, word)
    return LOGIN.sub(lambda found: f"{found[1]}{MARK}", word)


def ending(found: Ran) -> Mapping[str, object]:
    """Return the fields that the daemon logs when a command ends."""
    reason = {"reason": found.reason} if found.reason else {}
    return {
        "state": "ended",
        "code": found.code,
        "seconds": round((found.ended or found.started) - found.started, 1),
        **reason,
    }


def row(found: Ran) -> str:
    """Return one line of `corpus history --commands`."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found.started))
    took = "" if found.ended is None else f"{max(0.0, found.ended - found.started):.1f} s"
    state = "running" if found.ended is None else "ended" if found.code is None else f"exit {found.code}"
    reason = f"  ({found.reason})" if found.reason else ""
    return f"{found.number:>6}  {when}  {state:<8} {took:>9}  {found.who:<10} {found.words}{reason}"


def described(found: Ran) -> Mapping[str, object]:
    """Return the fields that the daemon logs of a command."""
    key = {"key": found.key} if found.key else {}
    return {"project": found.project, "command": found.words, "by": found.who, "number": found.number, **key}
