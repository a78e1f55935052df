"""One session: the child that owns one deployment's process group, and answers its questions."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NoReturn

from .known import Answers
from .processes import CHUNK, Stopped, fork, stop_group, stop_on_term, wake_on_child
from .question import ANSWERED, TOUCHED, about_syntax, be_prepared
from .wire import encode, register


def be_session(sock: socket.socket, given: dict[str, str], answers: Answers) -> NoReturn:
    """Be the child that owns one deployment's process group, to its end."""
    try:
        os.setsid()
        os.umask(0o022)
        name, _, value = given["mark"].partition("=")
        if name:
            os.environ[name] = value
        wake = wake_on_child()
        stop_on_term()
        session = Session(sock, wake, partial(be_prepared, given["config"], answers))
        session.converse(register(sock))
    except (Stopped, ConnectionError):
        stop_group(os.getpgid(0))
    except Exception as exc:  # the edge: whoever asks next is told
        traceback.print_exc()
        sock.sendall(encode({"error": f"{type(exc).__name__}: {exc}"}))
    finally:
        sys.stderr.flush()
        os._exit(0)


class Helper:
    """A child of a session, and the session's end of the socket to it."""

    def __init__(self, act: Callable[[socket.socket], NoReturn], *ours: socket.socket) -> None:
        self.sock, theirs = socket.socketpair()
        self.told = False  # to prepare
        self.pid = fork()
        if self.pid == 0:
            for other in (self.sock, *ours):
                other.close()
            act(theirs)
        theirs.close()


class Session:
    """What is asked for one deployment, and who answers.

    An SLS finds all as a salt-call would that was started now: what was prepared serves for a moment, and only while
    nothing was run or written. We ourselves never run anything, so whatever is prepared anew begins clean.
    """

    def __init__(
        self, sock: socket.socket, wake: socket.socket, be_helper: Callable[[socket.socket], NoReturn]
    ) -> None:
        self.sock, self.wake, self.be_helper = sock, wake, be_helper
        self.prepared: Helper | None = self.helper()  # it waits to be told, so that this takes no time then
        self.count = 0  # how often anything was prepared, and so grains were read

    def converse(self, said: Iterator[dict[str, Any]]) -> None:
        """Answer questions until "close"; raise Stopped where the socket ends without."""
        for question in said:
            if question["do"] == "close":
                self.sock.sendall(encode({"prepared": self.count}))
                return self.end()
            if question["do"] == "prepare":
                self.prepare()
            elif question["do"] == "renew":
                if self.prepared and self.prepared.told:
                    self.prepared.sock.sendall(encode(question))
                else:
                    self.drop()  # it has read the configuration already
            elif question.get("function") == "corpushooks.syntax":
                self.follow(Helper(partial(about_syntax, *question["args"]), self.sock, self.wake))
            else:
                self.ask(question)
        raise Stopped

    def helper(self) -> Helper:
        """Return somebody who has prepared nothing yet."""
        return Helper(self.be_helper, self.sock, self.wake)

    def prepare(self) -> Helper:
        """Return who has prepared, or does so now."""
        prepared = self.prepared = self.prepared or self.helper()
        if not prepared.told:
            prepared.told = True
            prepared.sock.sendall(encode({"do": "prepare"}))
            self.count += 1
        return prepared

    def ask(self, question: dict[str, Any]) -> None:
        """Have a question answered by somebody who sees what is there now."""
        status = None
        while status is None:  # it came too late for whoever was there
            prepared = self.prepare()
            prepared.sock.sendall(encode(question))
            status, keep = self.follow(prepared)
            if not keep:
                self.drop()

    def end(self) -> None:
        """Let our helpers go, and await that: who would, when we are gone?"""
        self.drop()
        with contextlib.suppress(ChildProcessError):
            while True:
                os.wait()

    def drop(self) -> None:
        """Let go of what was prepared: the end of its socket ends it."""
        if self.prepared:
            self.prepared.sock.close()
        self.prepared = None

    def follow(self, helper: Helper) -> tuple[int | None, bool]:
        """Pass on what is said until a question is done; return its status, and whether its helper may answer another.

        Raise Stopped where our owner is gone, or a process died: commands of that SLS may still run.
        """
        buffer, watched = b"", [self.sock.fileno(), helper.sock.fileno(), self.wake.fileno()]
        while True:
            ready, _, _ = select.select(watched, [], [])
            if self.sock.fileno() in ready:
                if not self.sock.recv(1, socket.MSG_PEEK):
                    raise Stopped
                watched.remove(self.sock.fileno())  # our owner has its answer already, and speaks of the next thing
            elif helper.sock.fileno() in ready:  # before `wake`: what was written is read to its end first
                data = helper.sock.recv(CHUNK)
                *whole, buffer = (buffer + data).split(b"\n")
                for line in whole:
                    if line.startswith(b'{"done"'):
                        return self.done(**json.loads(line))
                    self.sock.sendall(line + b"\n" if line else b"")
                if not data:
                    watched.remove(helper.sock.fileno())
            elif self.wake.fileno() in ready:
                self.wake.recv(CHUNK)
                self.reap(helper)

    def done(self, done: int | None, keep: bool) -> tuple[int | None, bool]:
        """Hear how a question's process ended."""
        if done is None or (os.WIFEXITED(done) and os.WEXITSTATUS(done) in (ANSWERED, TOUCHED)):
            return done, keep
        self.sock.sendall(encode({"ended": done}))
        raise Stopped

    def reap(self, helper: Helper) -> None:
        """Let go of helpers that ended; one that has not answered was killed."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == helper.pid:
                    self.sock.sendall(b"\n" + encode({"ended": ended[1]}))
                    raise Stopped
