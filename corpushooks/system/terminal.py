"""The door to the caller's terminal: relays between it and a command that runs elsewhere.

A command gets pipes, or a terminal made for it, and never a descriptor of the caller's. So it can neither read what
else is typed there nor inject input. Each direction has one thread and one buffer, so a slow reader blocks the writer.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import struct
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType

CHUNK = 1 << 16  # bytes
FORWARDED = (signal.SIGINT, signal.SIGQUIT)  # a command without a terminal gets these from us


class Left(BaseException):
    """We must exit because of a signal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = 128 + number


@dataclass
class Relay:
    """A relay between our standard streams and a command."""

    terminal: bool
    given: list[int]  # the command's standard streams
    feed: int  # where our input goes
    heard: list[tuple[int, int]]  # what is read, and the standard stream it is written to
    _over: list[int] = field(default_factory=lambda: list(os.pipe()))
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self, leave: Callable[[], None]) -> None:
        """Start, once the command has its ends. `leave` is called from another thread when the caller is gone."""
        for each in {*self.given}:
            os.close(each)
        self._threads = [threading.Thread(target=self._pump, args=pair, daemon=True) for pair in self.heard]
        others = (threading.Thread(target=act, args=(leave,), daemon=True) for act in (self._feed, _listen))
        for thread in (*self._threads, *others):
            thread.start()

    def finish(self) -> None:
        """Wait until all output of the command, which has ended, is written."""
        os.close(self._over[1])
        for thread in self._threads:
            thread.join()

    def _pump(self, source: int, target: int) -> None:
        poll = select.poll()
        for each in (source, self._over[0]):
            poll.register(each, select.POLLIN)
        while source in {fd for fd, _ in poll.poll()}:  # to the last byte, also after the end of the command
            try:
                data = os.read(source, CHUNK)
                _write(target, data)
            except OSError:  # its terminal is gone, or our output is closed
                data = b""
            if not data:
                break
        if source != self.feed:  # a command notices its closed pipe when it writes
            os.close(source)

    def _feed(self, leave: Callable[[], None]) -> None:
        with contextlib.suppress(OSError):  # the command no longer reads, or the terminal is closed
            while data := _read(0):
                _write(self.feed, data)
        if self.terminal:
            leave()
        else:
            os.close(self.feed)


def _listen(leave: Callable[[], None]) -> None:
    """Call `leave` when both output streams are closed."""
    poll, left = select.poll(), {1, 2}
    for each in left:
        poll.register(each, 0)
    while left:
        for fd, _ in poll.poll():
            poll.unregister(fd)
            left.discard(fd)
    leave()


def _read(source: int) -> bytes:
    while True:
        try:
            return os.read(source, CHUNK)
        except BlockingIOError:  # another process that shares this stream made it non-blocking
            select.select([source], [], [])


def _write(target: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(target, rest) :]
        except BlockingIOError:
            select.select([], [target], [])


def is_terminal() -> bool:
    """Return whether stdin and stdout are a terminal."""
    return os.isatty(0) and os.isatty(1)


def relay() -> Relay:
    """Return a relay between our standard streams and a command."""
    return _terminal() if is_terminal() else _pipes()


def _terminal() -> Relay:
    """Return a relay with a terminal that has the settings of ours."""
    master, slave = os.openpty()
    termios.tcsetattr(slave, termios.TCSANOW, termios.tcgetattr(0))
    _copy_size(master)
    if os.isatty(2):
        return Relay(True, [slave, slave, slave], master, [(master, 1)])
    said, errors = os.pipe()
    return Relay(True, [slave, slave, errors], master, [(master, 1), (said, 2)])


def _pipes() -> Relay:
    (input_, feed), (out, output), (said, errors) = os.pipe(), os.pipe(), os.pipe()
    return Relay(False, [input_, output, errors], feed, [(out, 1), (said, 2)])


def _copy_size(master: int) -> None:
    """Give a terminal the size of ours."""
    size = fcntl.ioctl(0, termios.TIOCGWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
    fcntl.ioctl(master, termios.TIOCSWINSZ, size)


@contextlib.contextmanager
def attached(made: Relay, send: Callable[[int], None]) -> Iterator[None]:
    """Attach our terminal: keys and window sizes go to the command; without a terminal, `send` forwards signals.

    A signal that terminates us raises Left.
    """

    def leave(number: int, _: FrameType | None) -> None:
        raise Left(number)

    acts: dict[int, Callable[[int, FrameType | None], None]] = {signal.SIGTERM: leave, signal.SIGHUP: leave}
    if made.terminal:
        acts[signal.SIGWINCH] = lambda *_: _copy_size(made.feed)
    else:
        acts.update({number: lambda given, _: send(given) for number in FORWARDED})
    before = {number: signal.getsignal(number) for number in acts}
    modes = termios.tcgetattr(0) if made.terminal else None
    try:
        for number, act in acts.items():
            if before[number] is not signal.SIG_IGN:  # nohup
                signal.signal(number, act)
        if modes is not None:
            tty.setraw(0, termios.TCSADRAIN)
            _copy_size(made.feed)
        yield
    finally:
        if modes is not None:
            with contextlib.suppress(termios.error):  # it is gone
                termios.tcsetattr(0, termios.TCSADRAIN, modes)
        for number, handler in before.items():
            signal.signal(number, handler)
