"""The demo: a host in a folder, a small web application, and six real pushes.

Everything it starts has the same HOME, the folder `home` of its root. By that it finds and stops what the pushes
started (the daemon, Salt, the application), and the user's own git configuration has no effect.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import socket
import sys
import tempfile
import textwrap
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import FrameType

from corpushooks import git
from corpushooks.cli import offer
from corpushooks.core.errors import CorpusError, StepError, UsageError
from corpushooks.core.hints import Hint, command
from corpushooks.core.project import Host, Project
from corpushooks.system.process import show, stop_carrying

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INTERRUPTED = 130  # the exit code
IDLE = 3600  # seconds
PORT = "8080"  # in the project's PILLAR.sample; the demo puts a free one there
GITCONFIG = """\
[user]
    name = Demo
    email = demo@localhost
[color]
    ui = {colour}
    advice = {colour}
    push = {colour}
    remote = {colour}
    transport = {colour}
"""
PILLAR = """\
makina-projects.hello:
  data:
    greeting: Bonjour
"""
PUSH = ("git", "push", "prod", "HEAD:master")

Say = Callable[[str], None]
Words = tuple[str, ...]


@dataclass(frozen=True)
class Act:
    """One scene: the commands (the push comes last), the page served afterwards, and what to notice."""

    title: str
    does: tuple[Words, ...]
    page: str
    notice: str
    fails: bool = False


def acts(project: Project) -> tuple[Act, ...]:
    """Return the scenes, in order."""
    return (
        Act(
            "The first deployment",
            (("git", "remote", "add", "prod", str(project.code_git)), PUSH),
            "Hello, world!",
            "The push is the deployment: you watch it run on the host, and git's exit code is its result.",
        ),
        Act(
            "A change",
            (*_change("s/world!/world! How are you?/", "Ask how people are"), PUSH),
            "Hello, world! How are you?",
            "Only what differs was copied; the previous project/ is in an archive.",
        ),
        Act(
            "A mistake",
            (*_change('s/are you?/are you today?/; s/"greeting"/"greetings"/', "Ask about today (with a typo)"), PUSH),
            "Hello, world! How are you?",
            "10_app.sls asked the application for its page and got none. Everything was rolled back, git rejected the"
            " push, the branch did not move, and the old page is served again.",
            fails=True,
        ),
        Act(
            "The fix",
            (*_change('s/"greetings"/"greeting"/', "Fix the typo"), PUSH),
            "Hello, world! How are you today?",
            "The failure left nothing to clean up; this push brings both commits.",
        ),
        Act(
            "The same commit again",
            (("git", "push", "prod", "HEAD:refs/deploy/now"),),
            "Hello, world! How are you today?",
            'refs/deploy/now deploys the live commit again, where HEAD:master would say "Everything up-to-date".',
        ),
        Act(
            "New configuration, same code",
            (
                ("cd", ".."),
                ("git", "clone", "-q", str(project.pillar_git), "hello-pillar"),
                ("cd", "hello-pillar"),
                ("write", "init.sls", PILLAR),
                ("git", "add", "init.sls"),
                ("git", "commit", "-qm", "Greet in French"),
                ("git", "push", "-o", "deploy", "origin", "HEAD:master"),
            ),
            "Bonjour, world! How are you today?",
            "Configuration has its own repository, pillar.git. It overrides PILLAR.sample, and is rolled back, too.",
        ),
    )


def _change(script: str, message: str) -> tuple[Words, ...]:
    return ("sed", "-i", script, "app.py"), ("git", "commit", "-qam", message)


# the stage


@dataclass
class Stage:
    """Where the demo runs: its root, the current folder, and how output is shown."""

    root: Path
    say: Say
    colour: bool
    port: int
    cwd: Path

    @property
    def host(self) -> Host:
        return Host(self.root)

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def env(self) -> dict[str, str]:
        return {"HOME": str(self.home), "XDG_CONFIG_HOME": str(self.home), "GIT_CONFIG_NOSYSTEM": "1"}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def paint(self, text: str, code: str) -> str:
        """Return text in a colour, if colours are shown."""
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour else text

    def heading(self, text: str) -> None:
        """Begin a new scene."""
        self.say("\n" + self.paint(f"== {text} ==", "1;36") + "\n")

    def notice(self, text: str) -> None:
        """Say what to look at."""
        first, *more = textwrap.wrap(text, 76)
        self.say("\n".join([self.paint("=> ", "1;32") + first, *("   " + line for line in more)]))

    def do(self, *words: str) -> int:
        """Run a command as a person would in a terminal, and show it; return the exit code."""
        if words[0] == "write":
            self.say(f"new file {words[1]}:")
            self.say("\n".join(f"    {line}" for line in words[2].splitlines()))
            (self.cwd / words[1]).write_text(words[2])
            return 0
        self.say(self.paint("$ " + shlex.join(words), "1"))
        if words[0] == "cd":
            self.cwd = (self.cwd / words[1]).resolve()
            return 0
        argv = [*corpus_program(), *words[1:]] if words[0] == "corpus" else words
        return show(argv, cwd=self.cwd, env=self.env)

    def must(self, *words: str) -> None:
        """Run a command that must succeed."""
        if code := self.do(*words):
            raise StepError(f"{words[0]} {words[1]} failed (exit code {code})")

    def show_page(self, wanted: str) -> None:
        """Fetch the page over HTTP and show it; raise StepError if it is not the expected one."""
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            page = direct.open(self.url, timeout=10).read().decode()
        except OSError as exc:
            raise StepError(f"no page at {self.url}: {exc}") from exc
        self.say(f"\n{self.url} says:\n    {self.paint(page, '1')}\n")
        if page != wanted:
            raise StepError(f"expected the page: {wanted}")

    def play(self, act: Act) -> None:
        """Run one scene."""
        for words in act.does[:-1]:
            self.must(*words)
        code = self.do(*act.does[-1])
        if bool(code) != act.fails:
            raise StepError(f"the push should have {'failed' if act.fails else 'succeeded'}; its exit code is {code}")
        self.show_page(act.page)
        self.notice(act.notice)


def corpus_program() -> list[str]:
    """Return the command line that runs `corpus` here."""
    program = Path(sys.executable).with_name("corpus")
    return [str(program)] if os.access(program, os.X_OK) else [sys.executable, "-m", "corpushooks"]


def set_stage(folder: Path | None, say: Say) -> Stage:
    """Create the root and the folder of the project in its home; raise UsageError if the folder is unsuitable."""
    git.check_version()
    if folder and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not empty", hint="name a folder that does not exist yet")
    root = folder.absolute() if folder else Path(tempfile.mkdtemp(prefix="corpus-demo-"))
    (root / "home").mkdir(parents=True)
    if os.statvfs(root).f_flag & os.ST_NOEXEC:
        raise UsageError(f"{root} is mounted noexec", hint=Hint("use another folder: ", command("demo", "FOLDER")))
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    stage = Stage(root.resolve(), say, colour, free_port(), root.resolve() / "home")
    (stage.home / ".gitconfig").write_text(GITCONFIG.format(colour="auto" if colour else "never"))
    with resources.as_file(resources.files("corpushooks") / "share/demo") as project:
        shutil.copytree(project, stage.home / "hello", ignore=shutil.ignore_patterns("__pycache__"))
    sample = stage.home / "hello/.salt/PILLAR.sample"
    sample.write_text(sample.read_text().replace(PORT, str(stage.port)))
    return stage


def free_port() -> int:
    """Return a free port on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# the play

FILES = """
    app.py                  the application: answers HTTP, reads settings.json
    check.py, restart.sh    fetch its page; stop and start it
    .salt/PILLAR.sample     its default configuration: greeting and port
    .salt/00_config.sls     runs first: writes settings.json
    .salt/10_app.sls        runs next: restarts the application and checks it
"""


def run(folder: Path | None, say: Say) -> int:
    """Run the demo in `folder` (None: a new one) and stop everything it started; return the exit code."""
    with interruptible():
        stage = set_stage(folder, say)
        code = INTERRUPTED
        try:
            play(stage)
            link = offer.pages(stage.host, corpus_program(), stage.env) if waits() else ""
            say_how_to_go_on(stage, link)
            wait(stage)
            code = 0
        except KeyboardInterrupt:
            pass
        except CorpusError as exc:
            say(f"\nerror: the demo failed: {exc.message}" + (f"\nhint: {exc.hint}" if exc.hint else ""))
            code = exc.exit_code
        finally:
            turn_deaf()
            # if interrupted, kill all at once: a daemon that keeps losing its Salt worker would give up on it
            stopped = stop_carrying(f"HOME={stage.home}", grace=0.0 if code == INTERRUPTED else 5.0)
        say_the_end(stage, stopped)
    return code


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Treat SIGINT, SIGTERM and SIGHUP alike, and only the first of them: the cleanup is not interrupted."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        turn_deaf()
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def turn_deaf() -> None:
    """Ignore signals from now on."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def play(stage: Stage) -> None:
    """Run all scenes."""
    stage.say(f"Creating a host in {stage.root}\nNothing else on this machine is changed.")
    stage.heading("A host with one project")
    stage.must("corpus", "--root", str(stage.root), "init", "hello")
    stage.host.config_file.parent.mkdir(parents=True, exist_ok=True)
    with stage.host.config_file.open("a") as settings:
        settings.write(f"idle_timeout: {IDLE}\n")  # while one looks around
    stage.say("\nThe project is a small web application. Its repository contains:\n" + FILES)
    for words in (
        ("cd", "hello"),
        ("git", "init", "-q", "-b", "master"),
        ("git", "add", "."),
        ("git", "commit", "-qm", "A small web application"),
    ):
        stage.must(*words)
    for number, act in enumerate(acts(stage.host.project("hello")), 1):
        stage.heading(f"{number}. {act.title}")
        stage.play(act)


def say_how_to_go_on(stage: Stage, link: str) -> None:
    """Print where everything is and what to try next."""
    project = stage.host.project("hello")
    corpus = shlex.join([*corpus_program(), "--root", str(stage.root)])
    stage.heading("What next")
    stage.say(
        f"""\
In any shell:
    alias corpus={shlex.quote(corpus)}
    corpus status                    what is live
    corpus history hello             all deployments
    corpus log hello 3               the whole log of the failed one
    corpus rollback hello 2          return to deployment 2

The application       {stage.url}
Its working copy      {stage.home / "hello"}
                      edit, commit, git push prod HEAD:master
Its configuration     {stage.home / "hello-pillar"}
                      edit init.sls, commit,
                      git push -o deploy origin HEAD:master
On the host           {project.dir}
                      project/ is live, data/ is persistent,
                      archives/ has earlier trees"""
    )
    if link:
        stage.say(f"In a browser          {stage.paint(link, '1')}")
        stage.say("                      signs you in once, on this machine, within an hour")


def waits() -> bool:
    """Say whether somebody can press Enter."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def wait(stage: Stage) -> None:
    """On a terminal, leave everything running until Enter is pressed."""
    if waits():
        stage.say("\nAll of this is still running. Press Enter to stop it.")
        with contextlib.suppress(KeyboardInterrupt):
            sys.stdin.readline()


def say_the_end(stage: Stage, stopped: bool) -> None:
    """Print what is left, and how to remove it."""
    pid_file = stage.host.project("hello").data / "app.pid"
    what = "Stopped: nothing of this demo is running." if stopped else "error: some of the demo could not be stopped."
    stage.say(f"\n{what} Its files stay in\n    {stage.root}")
    if pid_file.exists():
        stage.say(
            f"""\
The next push starts the daemon and the application again. The daemon exits
after an idle hour. To stop the application and remove everything:
    kill $(cat {shlex.quote(str(pid_file))})
    rm -rf {shlex.quote(str(stage.root))}"""
        )
