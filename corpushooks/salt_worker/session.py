"""A session: the child that leads a deployment's process group, and answers its questions."""

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


def be_session(sock: socket.socket, given: dict[str, Any], answers: Answers) -> NoReturn:
    """Run the child that leads a deployment's process group, to its end."""
    try:
        os.setsid()
        os.umask(0o022)
        name, _, value = given["mark"].partition("=")
        if name:
            os.environ[name] = value
        os.environ.update(given.get("env", {}))
        wake = wake_on_child()
        stop_on_term()
        session = Session(sock, wake, partial(be_prepared, given["config"], answers))
        session.converse(register(sock))
    except (Stopped, ConnectionError):
        stop_group(os.getpgid(0))
    except Exception as exc:  # the edge: the error is the answer to the next question
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
    """Dispatches the questions of a deployment.

    An SLS sees the same as with a newly started salt-call: a preparation is used for a short time only, and only while
    nothing was run or written. This process never runs anything itself, so each new preparation starts clean.
    """

    def __init__(
        self, sock: socket.socket, wake: socket.socket, be_helper: Callable[[socket.socket], NoReturn]
    ) -> None:
        self.sock, self.wake, self.be_helper = sock, wake, be_helper
        self.prepared: Helper | None = self.helper()  # forked in advance; it waits for the request to prepare
        self.count = 0  # how often grains were read

    def converse(self, said: Iterator[dict[str, Any]]) -> None:
        """Answer questions until "close"; raise Stopped if the socket is closed without it."""
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
                    self.drop()  # it has already read the configuration
            elif question.get("function") == "corpushooks.syntax":
                self.follow(Helper(partial(about_syntax, *question["args"]), self.sock, self.wake))
            else:
                self.ask(question)
        raise Stopped

    def helper(self) -> Helper:
        """Return a new helper, which has prepared nothing yet."""
        return Helper(self.be_helper, self.sock, self.wake)

    def prepare(self) -> Helper:
        """Return the helper that is prepared, or start to prepare one."""
        prepared = self.prepared = self.prepared or self.helper()
        if not prepared.told:
            prepared.told = True
            prepared.sock.sendall(encode({"do": "prepare"}))
            self.count += 1
        return prepared

    def ask(self, question: dict[str, Any]) -> None:
        """Get a question answered by a helper with a current preparation."""
        status = None
        while status is None:  # the preparation was outdated
            prepared = self.prepare()
            prepared.sock.sendall(encode(question))
            status, keep = self.follow(prepared)
            if not keep:
                self.drop()

    def end(self) -> None:
        """Dismiss our helpers and reap them."""
        self.drop()
        with contextlib.suppress(ChildProcessError):
            while True:
                os.wait()

    def drop(self) -> None:
        """Dismiss the prepared helper by closing its socket."""
        if self.prepared:
            self.prepared.sock.close()
        self.prepared = None

    def follow(self, helper: Helper) -> tuple[int | None, bool]:
        """Forward messages until a question is done; return its status, and whether its helper can answer another.

        Raise Stopped if our owner is gone or a process died, since commands of that SLS can still be running.
        """
        buffer, watched = b"", [self.sock.fileno(), helper.sock.fileno(), self.wake.fileno()]
        while True:
            ready, _, _ = select.select(watched, [], [])
            if self.sock.fileno() in ready:
                if not self.sock.recv(1, socket.MSG_PEEK):
                    raise Stopped
                watched.remove(self.sock.fileno())  # our owner has its answer; this is its next message
            elif helper.sock.fileno() in ready:  # before `wake`, to read all output first
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
        """Handle the end of a question's process."""
        if done is None or (os.WIFEXITED(done) and os.WEXITSTATUS(done) in (ANSWERED, TOUCHED)):
            return done, keep
        self.sock.sendall(encode({"ended": done}))
        raise Stopped

    def reap(self, helper: Helper) -> None:
        """Reap helpers that ended; one that has not answered was killed."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == helper.pid:
                    self.sock.sendall(b"\n" + encode({"ended": ended[1]}))
                    raise Stopped
