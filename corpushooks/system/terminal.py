"""The door to the terminal of whoever calls: relays between it and a command that runs elsewhere.

A command gets ends of pipes, or of a terminal made for it; never a descriptor that is the caller's. So it can neither
read what else is typed there nor type anything itself. Each direction has one thread and one buffer: who does not read
makes the other wait.
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
    """Whoever called is to leave, by a signal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = 128 + number


@dataclass
class Relay:
    """What is between our standard streams and a command."""

    terminal: bool
    given: list[int]  # the ends that the command gets, for its standard streams
    feed: int  # where our input goes
    heard: list[tuple[int, int]]  # what is read, and the standard stream that it is written to
    _over: list[int] = field(default_factory=lambda: list(os.pipe()))
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self, leave: Callable[[], None]) -> None:
        """Begin: the command has its ends. `leave` is called, from another thread, where nobody is there any more."""
        for each in {*self.given}:
            os.close(each)
        self._threads = [threading.Thread(target=self._pump, args=pair, daemon=True) for pair in self.heard]
        others = (threading.Thread(target=act, args=(leave,), daemon=True) for act in (self._feed, _listen))
        for thread in (*self._threads, *others):
            thread.start()

    def finish(self) -> None:
        """Await that all is written which the command, which has ended, has said."""
        os.close(self._over[1])
        for thread in self._threads:
            thread.join()

    def _pump(self, source: int, target: int) -> None:
        poll = select.poll()
        for each in (source, self._over[0]):
            poll.register(each, select.POLLIN)
        while source in {fd for fd, _ in poll.poll()}:  # to the last byte, also when it is over
            try:
                data = os.read(source, CHUNK)
                _write(target, data)
            except OSError:  # its terminal is gone, or nobody reads us
                data = b""
            if not data:
                break
        if source != self.feed:  # with its pipe closed a command learns that when it writes
            os.close(source)

    def _feed(self, leave: Callable[[], None]) -> None:
        with contextlib.suppress(OSError):  # the command takes no more, or our terminal is gone
            while data := _read(0):
                _write(self.feed, data)
        if self.terminal:
            leave()
        else:
            os.close(self.feed)


def _listen(leave: Callable[[], None]) -> None:
    """Leave when nobody reads what we write, to whichever stream."""
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
        except BlockingIOError:  # somebody else who has this stream made it so
            select.select([source], [], [])


def _write(target: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(target, rest) :]
        except BlockingIOError:
            select.select([], [target], [])


def is_terminal() -> bool:
    """Say whether whoever calls sits at a terminal: what is read and what is written there."""
    return os.isatty(0) and os.isatty(1)


def relay() -> Relay:
    """Make what goes between our standard streams and a command."""
    return _terminal() if is_terminal() else _pipes()


def _terminal() -> Relay:
    """Make a terminal like ours."""
    master, slave = os.openpty()
    termios.tcsetattr(slave, termios.TCSANOW, termios.tcgetattr(0))
    _fit(master)
    if os.isatty(2):
        return Relay(True, [slave, slave, slave], master, [(master, 1)])
    said, errors = os.pipe()
    return Relay(True, [slave, slave, errors], master, [(master, 1), (said, 2)])


def _pipes() -> Relay:
    (input_, feed), (out, output), (said, errors) = os.pipe(), os.pipe(), os.pipe()
    return Relay(False, [input_, output, errors], feed, [(out, 1), (said, 2)])


def _fit(master: int) -> None:
    """Make a terminal as large as ours."""
    size = fcntl.ioctl(0, termios.TIOCGWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
    fcntl.ioctl(master, termios.TIOCSWINSZ, size)


@contextlib.contextmanager
def attached(made: Relay, send: Callable[[int], None]) -> Iterator[None]:
    """Hand over our terminal: each key and each size goes to the command, or else the signals that `send` passes on.

    A signal that asks us to end raises Left.
    """

    def leave(number: int, _: FrameType | None) -> None:
        raise Left(number)

    acts: dict[int, Callable[[int, FrameType | None], None]] = {signal.SIGTERM: leave, signal.SIGHUP: leave}
    if made.terminal:
        acts[signal.SIGWINCH] = lambda *_: _fit(made.feed)
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
            _fit(made.feed)
        yield
    finally:
        if modes is not None:
            with contextlib.suppress(termios.error):  # it is gone
                termios.tcsetattr(0, termios.TCSADRAIN, modes)
        for number, handler in before.items():
            signal.signal(number, handler)
