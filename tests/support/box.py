"""A whole host in a folder, and people who push to it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from corpushooks import git
from corpushooks.admin import projects
from corpushooks.core.deployment import Deployment, ProjectRow
from corpushooks.core.errors import NoDaemonError
from corpushooks.core.project import Host, Project
from corpushooks.core.settings import load
from corpushooks.operations.table import OPERATIONS
from corpushooks.protocol import client
from corpushooks.screen import screen
from corpushooks.store import log
from corpushooks.store.history import History, open_store
from corpushooks.system.process import Child, Output, run, spawn, start_time
from tests.support import daemons
from tests.support.places import TOP

T = TypeVar("T")
FAKE = "tests.support.fake_daemon"

SLS = """\
page:
  file.managed:
    - name: {{ cfg.data_root }}/page
    - contents: PAGE
"""
# Stands in for the interpreter of a host's hooks: a daemon that such a hook starts has the fake engine.
INTERPRETER = """\
#!/bin/sh
case "$*" in
*"-m corpushooks "*) cd {tests} && exec {python} {daemon} ;;
*) exec {python} "$@" ;;
esac
"""
FAILING = """\
broken:
  test.fail_without_changes: []
"""


def until(find: Callable[[], T], seconds: float = 20.0) -> T:
    """Await something true and return it."""
    end = time.monotonic() + seconds
    while not (found := find()):
        assert time.monotonic() < end, f"not within {seconds:g} s: {find}"
        time.sleep(0.01)
    return found


@dataclass(frozen=True)
class Push:
    """What a `git push` gave."""

    code: int
    lines: list[str]  # what the deployment said
    rejected: str  # git's reason, or nothing
    text: str

    @classmethod
    def of(cls, output: Output) -> Push:
        text = output.stderr.decode() + output.stdout.decode()
        text = re.sub(r"corpus --root \S+ ", "corpus ", text)  # how a host in a folder is named
        lines = [line.removeprefix("remote: ").rstrip() for line in text.splitlines() if line.startswith("remote:")]
        found = re.search(r"\[remote rejected\].*?\((.*)\)$", text, re.MULTILINE)
        return cls(output.code, lines, found[1] if found else "", text)

    @property
    def transcript(self) -> str:
        """Return what was said, with what differs from run to run made equal."""
        text = re.sub(r"\b\d+\.\d s\b", "0.0 s", "\n".join(self.lines))
        return re.sub(r"\b[0-9a-f]{7}\b", "ccccccc", text)


@dataclass
class Work:
    """A developer's working copy of one repository."""

    path: Path
    remote: str

    def git(self, *words: str, check: bool = True, env: Mapping[str, str] | None = None) -> Output:
        """Run git in the working copy."""
        return run(["git", *words], cwd=self.path, env=env, check=check)

    def write(self, files: Mapping[str, str | None]) -> None:
        """Write files; None removes one."""
        for name, text in files.items():
            path = self.path / name
            if text is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)

    def commit(self, files: Mapping[str, str | None] | None = None, message: str = "change") -> str:
        """Write files and commit all there is; return the commit."""
        self.write(files or {})
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.head

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD").text

    def push(self, *refspecs: str, options: tuple[str, ...] = (), flags: tuple[str, ...] = ()) -> Push:
        """Push (HEAD:master unless told otherwise)."""
        words = [f"--push-option={option}" for option in options]
        return Push.of(self.git("push", *flags, *words, self.remote, *(refspecs or ("HEAD:master",)), check=False))

    def start_push(self, *refspecs: str) -> Child[bytes]:
        """Start a push and return its process."""
        words = ["git", "-C", self.path, "push", self.remote, *(refspecs or ("HEAD:master",))]
        return spawn(words, stderr=os.open(self.path / ".git/push.log", os.O_WRONLY | os.O_CREAT, 0o600))


class DaemonDiedError(Exception):
    """The daemon that a test started has ended by itself."""


@dataclass
class Box:
    """A whole host in a folder, with a daemon of its own."""

    root: Path
    salt: bool = False  # real Salt instead of the fake engine
    forks: bool = True  # the daemon is forked from a process that has loaded it
    daemon: Child[bytes] | None = None
    works: dict[str, Work] = field(default_factory=dict)

    @property
    def host(self) -> Host:
        return Host(self.root / "host")

    def project(self, name: str = "hello") -> Project:
        return self.host.project(name)

    def settings(self, text: str) -> None:
        """Write the host's settings."""
        self.host.config_file.parent.mkdir(parents=True, exist_ok=True)
        self.host.config_file.write_text(text)

    def init(self, name: str = "hello", env: str | None = None, hashed: str | None = None) -> Project:
        """Make a project."""
        store = open_store(self.host)
        with self.interpreter():
            projects.init(self.host, load(self.host.config_file), store, name, env, None, hashed=hashed)
        store.close()
        return self.project(name)

    @contextlib.contextmanager
    def interpreter(self) -> Iterator[None]:
        """Have hooks written with an interpreter that starts our kind of daemon."""
        real, path = sys.executable, self.root / "python"
        if not self.salt:
            preloaded = f"-IS tests/support/preloaded.py {daemons.socket_of_loaded() if self.forks else ''}"
            daemon = f"{preloaded} {self.host.root}" if self.forks else f"-m {FAKE} {self.host.root} --embedded"
            path.write_text(INTERPRETER.format(python=real, tests=TOP, daemon=daemon))
            path.chmod(0o755)
            sys.executable = str(path)
        try:
            yield
        finally:
            sys.executable = real

    # the daemon

    def start(self, *fault: str) -> None:
        """Start the daemon and await it; with `fault` (LABEL, WHEN, ACTION) it fails there, once."""
        if fault:
            self.faults(fault)
        out = os.open(self.root / "daemon.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.daemon = self._daemon(out)
        os.close(out)
        until(self.reachable)

    def _daemon(self, out: int) -> Child[bytes]:
        if self.forks:
            return daemons.start(self.host.root, out, salt=self.salt)
        module = ["corpushooks", "--root", self.host.root, "daemon"] if self.salt else [FAKE, self.host.root]
        return spawn([sys.executable, "-m", *module], cwd=TOP, stdout=out, stderr=out)

    def faults(self, *faults: Sequence[str]) -> None:
        """Have every daemon of this host fail at these effects, each once and in this order."""
        (self.host.root / "faults").unlink(missing_ok=True)
        (self.host.root / "fault.done").write_text("")
        (self.host.root / "faults.new").write_text(json.dumps(faults))
        (self.host.root / "faults.new").rename(self.host.root / "faults")

    def happened(self) -> list[str]:
        """Return the faults that happened so far: LABEL WHEN."""
        return (self.host.root / "fault.done").read_text().splitlines()

    def revive(self) -> None:
        """See that a daemon runs, as an init system would; a hook may have been faster."""
        until(self._revived)

    def _revived(self) -> bool:
        with contextlib.suppress(NoDaemonError):
            return bool(client.ping(self.host))
        if self.daemon is None or self.daemon.poll() is not None:  # else it begins, or dies in this moment
            self.daemon = None
            with contextlib.suppress(DaemonDiedError):
                self.start()
        return False

    def reachable(self) -> bool:
        """Say whether the daemon listens; fail where it died."""
        if self.daemon is not None and self.daemon.poll() is not None:
            self.daemon = None
            raise DaemonDiedError((self.root / "daemon.log").read_text())
        try:
            client.connect(self.host).close()
        except NoDaemonError:
            return False
        return True

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Stop the daemon, whoever started it, and await its end."""
        try:
            pid = client.ping(self.host)
        except NoDaemonError:
            pid = 0
        if self.daemon is not None:
            self.daemon.send_signal(number)
            self.daemon.wait(30)
            self.daemon = None
        if pid and start_time(pid):
            os.kill(pid, number)
            until(lambda: start_time(pid) is None)

    def kill(self) -> None:
        """Kill the daemon as a power cut would."""
        self.stop(signal.SIGKILL)

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """Ask the daemon for an operation, and return the result."""
        return client.ask(self.host, op, OPERATIONS[op].asks(**fields), lambda line: None)

    # people

    def work(self, name: str = "hello", repo: str = "project") -> Work:
        """Return a working copy whose remote is the path of a repository."""
        key = f"{name}-{repo}"
        if key not in self.works:
            path = self.root / "works" / key
            run(["git", "init", "--quiet", "--initial-branch=master", path])
            self.works[key] = Work(path, str(self.project(name).git_dir / f"{repo}.git"))
        return self.works[key]

    def app(self, page: str = "one", name: str = "hello", files: Mapping[str, str | None] | None = None) -> Work:
        """Return a working copy with a commit of a small application whose SLS writes `page` to data/page."""
        work = self.work(name)
        work.commit({"index.html": page, ".salt/00_page.sls": SLS.replace("PAGE", page), **(files or {})}, page)
        return work

    # what came of it

    @property
    def history(self) -> History:
        return History(self.host.store)

    def row(self, name: str = "hello") -> ProjectRow:
        store = self.history
        row = store.project(name)
        store.close()
        assert row is not None
        return row

    def deployment(self, number: int, name: str = "hello") -> Deployment:
        store = self.history
        found = store.deployment(name, number)
        store.close()
        return found

    def steps(self, number: int, name: str = "hello") -> list[str]:
        """Return the journal of a deployment."""
        store = self.history
        found = store.steps(store.deployment(name, number))
        store.close()
        return found

    def ended(self, number: int, name: str = "hello") -> Deployment:
        """Await the very end of a deployment and return it."""
        until(lambda: self.exists(number, name) and self.deployment(number, name).ended)
        return self.deployment(number, name)

    def exists(self, number: int, name: str = "hello") -> bool:
        store = self.history
        try:
            return any(one.number == number for one in store.deployments(name))
        finally:
            store.close()

    def ref(self, name: str = "hello", repo: str = "project", ref: str = "refs/heads/master") -> str | None:
        return git.ref(self.project(name).git_dir / f"{repo}.git", ref)

    def log(self, number: int, name: str = "hello") -> str:
        """Return the whole log of a deployment."""
        return "\n".join(screen.texts(log.read(self.project(name).log_file(number)), whole=True))


def tree_of(path: Path, *, times: bool = True) -> dict[str, tuple[Any, ...]]:
    """Return everything that makes a tree what it is: type, mode, owner, time, link, content of each entry."""
    found: dict[str, tuple[Any, ...]] = {}
    for entry in [path, *sorted(path.rglob("*"))]:
        st = entry.lstat()
        what: object = ""
        if stat.S_ISLNK(st.st_mode):
            what = os.readlink(entry)
        elif stat.S_ISREG(st.st_mode):
            what = entry.read_bytes()
        when = st.st_mtime_ns if times else 0
        found[str(entry.relative_to(path))] = (oct(st.st_mode), st.st_uid, st.st_gid, when, what)
    return found
