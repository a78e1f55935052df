"""What programs answer that the grains ask, kept for as long as nothing changes that they answer from.

Grains are read for each session, and start two dozen processes. Of most it is known what they answer from: files, whose
stamps tell of a change, the kernel, which stays what it is until we end, or the network, of which the kernel tells each
change. Whatever is not in the table here is asked each time, and so is what has changed.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from .stamps import TICK_NS, stamp

PATIENCE = 5.0  # seconds that a program may take
FOLDERS = "/sbin:/bin:/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"  # source: salt.utils.path.which
NETWORK = "network"
RELEASE = (  # what lsb_release reads: the script of today, and the one in Python of older systems
    "/etc/os-release /usr/lib/os-release /etc/lsb-release /etc/lsb-release.d /etc/debian_version /var/lib/apt/lists"
    " /etc/dpkg/origins/default /usr/share/distro-info/debian.csv /usr/share/distro-info/ubuntu.csv"
)
PROGRAMS = {  # a command -> what it answers from, beside the file of the program and the kernel
    "lsb_release -a": RELEASE,
    "uname -p": "",
    "uname -rs": "",
    "systemctl --version": "",
    "systemd-detect-virt": "",  # a machine stays the one that it is
    "dpkg --print-architecture": "",
    "ip link show": NETWORK,
    "ip addr show": NETWORK,
    "ip -4 route show": NETWORK,
    "ip -6 route show": NETWORK,
}
CHANGES = 0x1 | 0x10 | 0x40 | 0x100 | 0x400  # links, and addresses and routes of IPv4 and IPv6. Source: rtnetlink(7)


class Network:
    """Hears of changes of the network, as `ip` shows it. Whoever is forked from us hears the same."""

    def __init__(self) -> None:
        self._told: socket.socket | None = None

    def listen(self) -> None:
        """Hear of what changes from now on."""
        if self._told is None:
            with suppress(OSError):  # then nothing is known of it
                told = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
                told.bind((0, CHANGES))
                self._told = told
        while self._told and self.has_changed():
            with suppress(OSError):  # more has changed than was kept for us
                self._told.recv(1 << 16)

    def has_changed(self) -> bool:
        """Return whether anything may have changed; what was told stays there, to be heard again."""
        try:
            if self._told:
                self._told.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    @property
    def is_heard(self) -> bool:
        return self._told is not None


class Answer:
    """What a program answered, and what tells whether it would answer the same now."""

    def __init__(self, program: str, files: Sequence[str] = (), network: Network | None = None) -> None:
        self.program = program
        self.code, self.stdout, self.stderr = 0, b"", b""
        self.stamps = {path: stamp(path) for path in (program, *files)}
        self._network = network

    def holds(self) -> bool:
        """Return whether what it answered from is what it was."""
        if self._network and self._network.has_changed():
            return False
        return all(stamp(path) == was for path, was in self.stamps.items())


class Answers:
    """The answers that a worker knows; what is not known is asked."""

    def __init__(self) -> None:
        self._kept: dict[str, Answer | None] = {}  # None: it cannot be asked
        self._network = Network()
        self.hits = 0

    def learn(self) -> None:
        """Ask what is not known, or not any longer."""
        if self._network.has_changed():
            self._network.listen()  # before it is asked
            self._kept = {words: each for words, each in self._kept.items() if PROGRAMS[words] != NETWORK}
        now = time.time_ns()
        for words in self.unknown():
            name, *rest = words.split()
            sources = ("", self._network) if PROGRAMS[words] == NETWORK else (PROGRAMS[words], None)
            answer = Answer(_path(name) or "", sources[0].split(), sources[1])
            if all(was is None or was[2] < now - TICK_NS for was in answer.stamps.values()):  # a change will show
                self._kept[words] = answer if _ask(answer, rest) else None

    def unknown(self) -> list[str]:
        """Return what is to be learnt."""
        return [words for words in PROGRAMS if _path(words.split()[0]) and not self._is_known(words)]

    def _is_known(self, words: str) -> bool:
        if words not in self._kept:
            return PROGRAMS[words] == NETWORK and not self._network.is_heard  # and never will be
        answer = self._kept[words]
        return answer is None or answer.holds()

    @contextmanager
    def given(self) -> Iterator[None]:
        """Give them to whoever starts these programs in this process."""
        original: Any = subprocess.Popen

        def popen(args: Any, *words: Any, **given: Any) -> Any:
            plain = not words and not given.get("shell") and not given.get("stdin")
            answer = self._answer(args) if plain and given.get("stdout") == subprocess.PIPE else None
            if answer is None or (answer.stderr and given.get("stderr") == subprocess.STDOUT):
                return original(args, *words, **given)
            self.hits += 1
            return Answered(args, answer, given)

        subprocess.Popen = popen  # type: ignore[assignment,misc]
        try:
            yield
        finally:
            subprocess.Popen = original  # type: ignore[misc]

    def _answer(self, args: Any) -> Answer | None:
        """Return what is known of a command line."""
        if not isinstance(args, (list, tuple)) or not all(isinstance(word, str) for word in args):
            return None
        program = shutil.which(args[0])
        if program and args[0] == "which" and len(args) == 2 and args[1].isidentifier():
            return _which(program, args[1])
        words = " ".join((os.path.basename(args[0]), *args[1:]))
        answer = self._kept.get(words)
        return answer if answer and answer.program == program and answer.holds() else None


def _path(name: str) -> str | None:
    """Return the path of a program as Salt finds it, which looks where PATH does not, too."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{FOLDERS}")


def _ask(answer: Answer, rest: Sequence[str]) -> bool:
    """Ask a program, and say whether it answered."""
    env = {**os.environ, "LC_ALL": "C"}
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            [answer.program, *rest],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
            env=env,
            check=False,
        )
        answer.code, answer.stdout, answer.stderr = done.returncode, done.stdout, done.stderr
        return True
    return False


def _which(program: str, name: str) -> Answer:
    """Return what `which` answers, for which it need not be asked."""
    answer, found = Answer(program), shutil.which(name)
    answer.code, answer.stdout = (0, f"{found}\n".encode()) if found else (1, b"")
    return answer


class Answered:
    """Takes the place of a process that has answered and ended."""

    def __init__(self, args: Any, answer: Answer, given: dict[str, Any]) -> None:
        self.args, self.pid, self.returncode = args, 0, answer.code
        self.stdin = self.stdout = self.stderr = None
        text = any(given.get(key) for key in ("text", "universal_newlines", "encoding", "errors"))
        said: list[Any] = [answer.stdout, answer.stderr]
        said = [each.decode(given.get("encoding") or "utf-8", "replace") for each in said] if text else said
        self._said = said[0], said[1] if given.get("stderr") == subprocess.PIPE else None

    def communicate(self, *_words: Any, **_given: Any) -> tuple[Any, Any]:
        """Return what it said."""
        return self._said

    def wait(self, *_words: Any, **_given: Any) -> int:
        return self.returncode

    def poll(self) -> int:
        return self.returncode

    def kill(self) -> None:
        """Do nothing: it has ended."""

    def __enter__(self) -> Answered:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: nothing is open."""
