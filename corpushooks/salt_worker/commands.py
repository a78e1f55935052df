"""Follow the commands that Salt runs. Also loaded alone, by salt/loader/_grains/corpushooks.py in a salt-call."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

CHUNK = 65536
HOLD = 0.5  # seconds: package managers run hundreds of short queries, whose output is not worth following
DRAIN = 1.0  # seconds: a service that a command started can hold the command's pipes for ever
KEEP = 4 << 20  # bytes of a command's output that are kept, half of it from each end


def stream_commands(sink: Callable[[bytes], None] | None) -> None:
    """Pass the output of all commands of Salt to `sink`, unless the state is quiet, and limit its size.

    Without a sink it is only limited: for salt-call, in which salt/loader/_grains/corpushooks.py calls us.
    """
    from salt.utils.timed_subprocess import TimedProc

    original = TimedProc.run

    def run(proc: Any) -> Any:
        caller = sys._getframe(1)  # cmdmod._run; only there we see whether the output can be shown
        called_by = caller.f_back.f_locals if caller.f_back else {}
        quiet = caller.f_locals.get("output_loglevel", 0) is None or called_by.get("hide_output")
        if not proc.with_communicate:
            return original(proc)
        return follow(proc, (lambda _data: None) if quiet or sink is None else sink)

    TimedProc.run = run


class Kept:
    """The output of a command, without its middle if it is too long."""

    def __init__(self) -> None:
        self.head, self.tail, self.lost = bytearray(), bytearray(), 0

    def add(self, data: bytes) -> None:
        """Keep `data`."""
        room = KEEP // 2 - len(self.head)
        self.head += data[:room] if room > 0 else b""
        self.tail += data[max(room, 0) :]
        if len(self.tail) > KEEP:
            self.lost += len(self.tail) - KEEP // 2
            del self.tail[: -KEEP // 2]

    def whole(self) -> bytes:
        """Return the output; if some is lost, only whole lines, since half a secret would not be recognised."""
        head, tail = bytes(self.head), bytes(self.tail)
        if not self.lost:
            return head + tail
        head = head[: head.rfind(b"\n", len(head) - CHUNK) + 1 or None]
        tail = tail[tail.find(b"\n", 0, CHUNK) + 1 :]
        lost = self.lost + len(self.head) - len(head) + len(self.tail) - len(tail)
        return head + b"\n[... %d bytes omitted ...]\n" % lost + tail


def follow(proc: Any, sink: Callable[[bytes], None]) -> int:
    """Do what Salt's TimedProc.run does, but report the output, and never wait for a service.

    Raise TimedProcTimeoutError as it does.
    """
    from salt.exceptions import TimedProcTimeoutError

    end = time.monotonic() + proc.timeout if proc.timeout else None
    kept = {name: Kept() for name in ("stdout", "stderr") if getattr(proc.process, name)}
    try:
        transfer(proc, kept, Held(sink), end)
        proc.process.wait(None if end is None else max(0.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        proc.process.kill()
        proc.process.wait()
        raise TimedProcTimeoutError(f"{proc.command} : Timed out after {proc.timeout} seconds") from None
    finally:
        for name in kept:
            getattr(proc.process, name).close()
    proc.stdout, proc.stderr = (kept[name].whole() if name in kept else None for name in ("stdout", "stderr"))
    return int(proc.process.returncode)


class Held:
    """A sink that holds back output until its command has run for a moment."""

    def __init__(self, sink: Callable[[bytes], None]) -> None:
        self.sink, self.until, self.held = sink, time.monotonic() + HOLD, bytearray()

    def add(self, data: bytes) -> None:
        """Pass `data` on, now or later; must also be called periodically without data."""
        self.held += data
        if self.held and time.monotonic() >= self.until:
            self.sink(bytes(self.held))
            self.held.clear()
        elif len(self.held) > CHUNK:
            self.until = 0.0


def transfer(proc: Any, kept: dict[str, Kept], held: Held, end: float | None) -> None:
    """Transfer a command's input and output until its pipes are closed, or until DRAIN after its end."""
    process, ended = proc.process, None
    data = memoryview(proc.stdin or b"")
    with selectors.DefaultSelector() as selector:
        for name in kept:
            selector.register(getattr(process, name), selectors.EVENT_READ, name)
        if process.stdin:
            os.set_blocking(process.stdin.fileno(), False)
            selector.register(process.stdin, selectors.EVENT_WRITE, "stdin")
        while selector.get_map():
            for key, _ in selector.select(0.1):
                if key.data == "stdin":
                    data = feed(selector, process.stdin, data)
                elif got := os.read(key.fd, CHUNK):
                    kept[key.data].add(got)
                    held.add(got)
                else:
                    selector.unregister(key.fileobj)
            held.add(b"")
            now = time.monotonic()
            if end is not None and now > end:
                raise subprocess.TimeoutExpired(proc.command, proc.timeout)
            ended = ended or (now if process.poll() is not None else None)
            if ended is not None and now - ended > DRAIN:
                return


def feed(selector: selectors.BaseSelector, pipe: Any, data: memoryview) -> memoryview:
    """Write some of `data` to a command; return the rest, and close its input after the last."""
    try:
        rest = data[os.write(pipe.fileno(), data[:CHUNK]) :] if data else data
    except BrokenPipeError:
        rest = data[:0]
    if not rest:
        selector.unregister(pipe)
        pipe.close()
    return rest
