"""Cache the answers of programs that grains run, until their sources change.

Grains are read for each session, and start two dozen processes. The sources of most answers are known: files, whose
stamps show changes, the kernel, which does not change while we run, or the network, whose changes the kernel reports.
Programs that are not in this table are run each time, and so are those whose sources changed.
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

PATIENCE = 5.0  # seconds for a program to answer
FOLDERS = "/sbin:/bin:/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"  # source: salt.utils.path.which
NETWORK = "network"
RELEASE = (  # files of lsb_release: of the current script, and of the one in Python on older systems
    "/etc/os-release /usr/lib/os-release /etc/lsb-release /etc/lsb-release.d /etc/debian_version /var/lib/apt/lists"
    " /etc/dpkg/origins/default /usr/share/distro-info/debian.csv /usr/share/distro-info/ubuntu.csv"
)
PROGRAMS = {  # a command -> the sources of its answer, besides the program itself and the kernel
    "lsb_release -a": RELEASE,
    "uname -p": "",
    "uname -rs": "",
    "systemctl --version": "",
    "systemd-detect-virt": "",  # never changes
    "dpkg --print-architecture": "",
    "ip link show": NETWORK,
    "ip addr show": NETWORK,
    "ip -4 route show": NETWORK,
    "ip -6 route show": NETWORK,
}
CHANGES = 0x1 | 0x10 | 0x40 | 0x100 | 0x400  # links, and addresses and routes of IPv4 and IPv6. Source: rtnetlink(7)


class Network:
    """Watches the network for changes in the output of `ip`. Forked processes share this."""

    def __init__(self) -> None:
        self._told: socket.socket | None = None

    def listen(self) -> None:
        """Start to watch for changes."""
        if self._told is None:
            with suppress(OSError):  # then changes are unknown
                told = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
                told.bind((0, CHANGES))
                self._told = told
        while self._told and self.has_changed():
            with suppress(OSError):  # the buffer of changes overflowed
                self._told.recv(1 << 16)

    def has_changed(self) -> bool:
        """Return whether anything could have changed; the messages are kept, to be read again."""
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
    """The answer of a program, and the stamps of its sources."""

    def __init__(self, program: str, files: Sequence[str] = (), network: Network | None = None) -> None:
        self.program = program
        self.code, self.stdout, self.stderr = 0, b"", b""
        self.stamps = {path: stamp(path) for path in (program, *files)}
        self._network = network

    def holds(self) -> bool:
        """Return whether its sources are unchanged."""
        if self._network and self._network.has_changed():
            return False
        return all(stamp(path) == was for path, was in self.stamps.items())


class Answers:
    """The cached answers of a worker."""

    def __init__(self) -> None:
        self._kept: dict[str, Answer | None] = {}  # None: it cannot be run
        self._network = Network()
        self.hits = 0

    def learn(self) -> None:
        """Run the programs whose answers are missing or outdated."""
        if self._network.has_changed():
            self._network.listen()  # before the programs run
            self._kept = {words: each for words, each in self._kept.items() if PROGRAMS[words] != NETWORK}
        now = time.time_ns()
        for words in self.unknown():
            name, *rest = words.split()
            sources = ("", self._network) if PROGRAMS[words] == NETWORK else (PROGRAMS[words], None)
            answer = Answer(_path(name) or "", sources[0].split(), sources[1])
            if all(
                was is None or was[2] < now - TICK_NS for was in answer.stamps.values()
            ):  # so that a change can be detected
                self._kept[words] = answer if _ask(answer, rest) else None

    def unknown(self) -> list[str]:
        """Return the commands whose answers are missing or outdated."""
        return [words for words in PROGRAMS if _path(words.split()[0]) and not self._is_known(words)]

    def _is_known(self, words: str) -> bool:
        if words not in self._kept:
            return PROGRAMS[words] == NETWORK and not self._network.is_heard  # it cannot be cached
        answer = self._kept[words]
        return answer is None or answer.holds()

    @contextmanager
    def given(self) -> Iterator[None]:
        """Use them for these programs in this process."""
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
        """Return the cached answer of a command line."""
        if not isinstance(args, (list, tuple)) or not all(isinstance(word, str) for word in args):
            return None
        program = shutil.which(args[0])
        if program and args[0] == "which" and len(args) == 2 and args[1].isidentifier():
            return _which(program, args[1])
        words = " ".join((os.path.basename(args[0]), *args[1:]))
        answer = self._kept.get(words)
        return answer if answer and answer.program == program and answer.holds() else None


def _path(name: str) -> str | None:
    """Return the path of a program as Salt finds it, which also searches outside PATH."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{FOLDERS}")


def _ask(answer: Answer, rest: Sequence[str]) -> bool:
    """Run a program, and return whether it answered."""
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
    """Return the answer of `which` without running it."""
    answer, found = Answer(program), shutil.which(name)
    answer.code, answer.stdout = (0, f"{found}\n".encode()) if found else (1, b"")
    return answer


class Answered:
    """Stands in for a process that has answered and ended."""

    def __init__(self, args: Any, answer: Answer, given: dict[str, Any]) -> None:
        self.args, self.pid, self.returncode = args, 0, answer.code
        self.stdin = self.stdout = self.stderr = None
        text = any(given.get(key) for key in ("text", "universal_newlines", "encoding", "errors"))
        said: list[Any] = [answer.stdout, answer.stderr]
        said = [each.decode(given.get("encoding") or "utf-8", "replace") for each in said] if text else said
        self._said = said[0], said[1] if given.get("stderr") == subprocess.PIPE else None

    def communicate(self, *_words: Any, **_given: Any) -> tuple[Any, Any]:
        """Return its output."""
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
