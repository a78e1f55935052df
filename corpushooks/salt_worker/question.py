"""The processes that answer: a prepared one, which forks one for each question."""

from __future__ import annotations

import ctypes
import gc
import json
import logging
import os
import re
import socket
import sys
import time
import traceback
import types
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from .commands import stream_commands
from .known import Answers
from .processes import fork
from .runner import LOADER, Grains, Runner, read
from .touch import Touch
from .wire import LogReport, Report, encode, lines

# Exit codes of a question's process that sent its answer; other programs do not use them:
ANSWERED, TOUCHED = 77, 78  # nothing was run or written; something possibly was
FRESH = 1.0  # seconds that a preparation is used; a salt-call takes about as long to its first state

T = TypeVar("T")


class Preparation:
    """The preparation for the next question: a Runner, or the exception that grains or pillar raised."""

    runner: Runner | BaseException

    def __init__(self, options: Any, answers: Answers) -> None:
        """Prepare for a minion with these options, unless they are an exception."""
        failed = isinstance(options, BaseException)
        self.runner = options if failed else attempt(lambda: Runner(Grains(options, answers)))
        self.read = time.monotonic()
        gc.freeze()  # otherwise a collection in a child would copy all our memory

    def prepare(self, *, runs: bool = True) -> Runner | BaseException:
        """Complete the preparation; with `runs` False, for a question that runs nothing."""
        if isinstance(self.runner, Runner) and not self.runner.loaded:
            raised = attempt(partial(self._prepare, self.runner, runs))
            self.runner = raised or self.runner
            gc.freeze()
        return self.runner

    def _prepare(self, runner: Runner, runs: bool) -> None:
        if runner.pillar is None:
            runner.compile()
        if runs:
            runner.load()

    def renew(self, cfg: dict[str, Any]) -> None:
        """Update after a change of the project's trees or its cfg."""
        if isinstance(self.runner, Runner):
            used = self.runner.pillar is not None
            self.runner.renew(cfg)
            if used:
                self.prepare()

    @property
    def serves(self) -> bool:
        """Whether it can be used for several questions: the dependencies of all grains are known."""
        return isinstance(self.runner, Runner) and not self.runner.own_grains

    @property
    def is_stale(self) -> bool:
        """Whether the host can have changed since."""
        return time.monotonic() - self.read > FRESH


def be_prepared(config: str, answers: Answers, sock: socket.socket) -> NoReturn:
    """Prepare on request, then fork for each question; the preparation is never used in this process.

    After each question send {"done": its wait status, "keep": whether the preparation can be used again}; if the
    preparation was outdated, the status is null.
    """
    be_silent()
    said, options = lines(sock), attempt(partial(read, config))
    if not next(said, {}):
        os._exit(0)
    ready = Preparation(options, answers)
    for question in said:
        if question["do"] == "renew":
            ready.renew(question["cfg"])
            continue
        if ready.is_stale:
            sock.sendall(encode({"done": None, "keep": False}))
            continue
        found = ready.prepare(runs=not runs_nothing(question))
        if isinstance(found, Runner) and not found.loaded:
            told = attempt(partial(ask, found, question))
            if not isinstance(told, BaseException):
                sock.sendall(encode({"answer": told}) + encode({"done": ANSWERED << 8, "keep": ready.serves}))
                continue
            found = ready.prepare()
        pid = fork()
        if pid == 0:
            about_minion(found, question, Report(sock.fileno()))
        _, status = os.waitpid(pid, 0)
        keep = status == ANSWERED << 8 and ready.serves
        sock.sendall(b"\n" + encode({"done": status, "keep": keep}))  # start a new line, in case one was cut off
    os._exit(0)


def attempt(make: Callable[[], T]) -> T | BaseException:
    """Return the result, or the exception."""
    try:
        return make()
    except BaseException as exc:  # the edge: grains and pillar can raise anything, even SystemExit
        return exc


def about_minion(found: Runner | BaseException, question: dict[str, Any], report: Report) -> NoReturn:
    """Answer a question about the minion."""
    if isinstance(found, BaseException):
        give(report, lambda: refuse(found), Touch(""))
    touch = Touch(found.opts["cachedir"])
    give(report, lambda: asked(found, question, report), touch)


def refuse(problem: BaseException) -> NoReturn:
    """Raise the exception that prevented an answer."""
    raise problem


def about_syntax(files: Sequence[str], sock: socket.socket) -> NoReturn:
    """Answer the only question that needs no minion, and so no preparation."""
    be_silent()
    report = Report(sock.fileno())
    try:
        report.send({"answer": json.loads(syntax(files))})
    except Exception as exc:  # the edge: a file can be gone
        report.send({"error": f"{type(exc).__name__}: {exc}"})
    report.send({"done": ANSWERED << 8, "keep": True})
    os._exit(0)


def give(report: Report, answer: Callable[[], Any], touch: Touch) -> NoReturn:
    """Send an answer and exit; errors are sent, too."""
    touch.watch()
    try:
        report.send({"answer": answer()})
    except BaseException as exc:  # the edge: modules can raise anything, even SystemExit
        report.send({"log": "".join(traceback.format_exception(exc))})
        report.send({"error": f"{type(exc).__name__}: {exc}"})
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(TOUCHED if touch.any else ANSWERED)


def be_silent() -> None:
    """Close our output, which goes to a log: text that Salt and its modules print can be secret."""
    sys.stdout.flush()
    sys.stderr.flush()
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.close(null)


def asked(runner: Runner, question: dict[str, Any], report: Report) -> Any:
    """Return the answer to a question about the minion."""
    if cover := runner.state.opts.get("corpushooks_overlay"):
        overlay(**cover)
    if question["do"] == "run":
        logging.getLogger().handlers[:] = [LogReport(report)]
        stream_commands(report.output)
        return runner.run(question["sls"], question["test"], report)
    return ask(runner, question)


def ask(runner: Runner, question: dict[str, Any]) -> Any:
    """Return the answer of a function of salt/loader/_modules/corpushooks.py."""
    return json.loads(runner.state.functions[question["function"]](*question["args"]))


def runs_nothing(question: dict[str, Any]) -> bool:
    """Return whether a question needs no separate process: facts, if the sample is plain YAML."""
    if question.get("function") != "corpushooks.facts":
        return False
    sample = question["args"][0]
    try:
        return not (sample and re.search(r"{[{%#]|\A#!", Path(sample).read_text("utf-8", "replace")))
    except OSError:
        return False


def syntax(files: Sequence[str]) -> str:
    """Answer the only question that needs Salt's Jinja and YAML, but no minion."""
    path = LOADER / "_modules/corpushooks.py"
    module = types.ModuleType("syntax")
    exec(compile(path.read_text(), path, "exec"), module.__dict__)
    return str(module.syntax(files))


def overlay(target: str, upper: str, work: str) -> None:
    """Mount the folder `upper` over `target`, in this process and its children only; raise OSError.

    Source: mount(2), and the kernel's documentation of overlayfs. The folders are given by descriptor, since
    a comma or a colon in a path would end an option.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    new_namespace, private = 0x00020000, 0x4000 | 0x40000  # CLONE_NEWNS; MS_REC | MS_PRIVATE
    failed = libc.unshare(new_namespace) or libc.mount(b"none", b"/", None, private, None)
    names = [f"/proc/self/fd/{os.open(path, os.O_PATH | os.O_DIRECTORY)}" for path in (target, upper, work)]
    options = "lowerdir={},upperdir={},workdir={}".format(*names).encode()
    if failed or libc.mount(b"overlay", target.encode(), b"overlay", 0, options):
        raise OSError(ctypes.get_errno(), f"overlay over {target}: {os.strerror(ctypes.get_errno())}")
