"""The demo: a host in a folder, a small web application, and six real pushes in front of whoever watches.

Everything it starts has one HOME, the folder `home` of its root: by that it finds, and stops, what the pushes
started (the daemon, Salt, the application), and nobody's own git configuration has a say.
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
from corpushooks.core.errors import CorpusError, StepError, UsageError
from corpushooks.core.hints import Hint, command
from corpushooks.core.project import Host, Project
from corpushooks.system.process import show, stop_carrying

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INTERRUPTED = 130  # the exit code
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
    """One scene: what is done (the push comes last), the page that then is served, what to notice."""

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
            "The push is the deployment. What you read happens on the host, and git's exit code is its result.",
        ),
        Act(
            "A change",
            (*_change("s/world!/world! How are you?/", "Ask how people are"), PUSH),
            "Hello, world! How are you?",
            "Only what differs was copied; project/ as it was lies in an archive.",
        ),
        Act(
            "A mistake",
            (*_change('s/are you?/are you today?/; s/"greeting"/"greetings"/', "Ask about today (with a typo)"), PUSH),
            "Hello, world! How are you?",
            "10_app.sls asked the application for its page and got none. Everything went back to what it was, git"
            " rejected the push, the branch did not move, and the old page is served.",
            fails=True,
        ),
        Act(
            "The mistake mended",
            (*_change('s/"greetings"/"greeting"/', "Mend the typo"), PUSH),
            "Hello, world! How are you today?",
            "Nothing had to be cleaned up after the failure; this push brings both commits.",
        ),
        Act(
            "The same commit once more",
            (("git", "push", "prod", "HEAD:refs/deploy/now"),),
            "Hello, world! How are you today?",
            'refs/deploy/now deploys what is live already, where HEAD:master would say "Everything up-to-date".',
        ),
        Act(
            "Another configuration, the same code",
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
            "Configuration has a repository of its own, pillar.git. It overrides PILLAR.sample, and rolls back too.",
        ),
    )


def _change(script: str, message: str) -> tuple[Words, ...]:
    return ("sed", "-i", script, "app.py"), ("git", "commit", "-qam", message)


# the stage


@dataclass
class Stage:
    """Where the demo plays: its root, the folder we are in, and how it is shown."""

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
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def paint(self, text: str, code: str) -> str:
        """Return text in a colour, where there are colours."""
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour else text

    def heading(self, text: str) -> None:
        """Begin a new scene."""
        self.say("\n" + self.paint(f"== {text} ==", "1;36") + "\n")

    def notice(self, text: str) -> None:
        """Say what to look at."""
        first, *more = textwrap.wrap(text, 76)
        self.say("\n".join([self.paint("=> ", "1;32") + first, *("   " + line for line in more)]))

    def do(self, *words: str) -> int:
        """Do what a person would do in a terminal, and show it; return the exit code."""
        if words[0] == "write":
            self.say(f"{words[1]}, a new file:")
            self.say("\n".join(f"    {line}" for line in words[2].splitlines()))
            (self.cwd / words[1]).write_text(words[2])
            return 0
        self.say(self.paint("$ " + shlex.join(words), "1"))
        if words[0] == "cd":
            self.cwd = (self.cwd / words[1]).resolve()
            return 0
        argv = [*corpus_program(), *words[1:]] if words[0] == "corpus" else words
        env = {"HOME": str(self.home), "XDG_CONFIG_HOME": str(self.home), "GIT_CONFIG_NOSYSTEM": "1"}
        return show(argv, cwd=self.cwd, env=env)

    def must(self, *words: str) -> None:
        """Do something that must succeed."""
        if code := self.do(*words):
            raise StepError(f"{words[0]} {words[1]} failed (exit code {code})")

    def show_page(self, wanted: str) -> None:
        """Fetch the page over HTTP and show it; raise StepError where it is not the one that must be served."""
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            page = direct.open(self.url, timeout=10).read().decode()
        except OSError as exc:
            raise StepError(f"no page at {self.url}: {exc}") from exc
        self.say(f"\n{self.url} says:\n    {self.paint(page, '1')}\n")
        if page != wanted:
            raise StepError(f"the page should say: {wanted}")

    def play(self, act: Act) -> None:
        """Play one scene."""
        for words in act.does[:-1]:
            self.must(*words)
        code = self.do(*act.does[-1])
        if bool(code) != act.fails:
            raise StepError(f"the push should have {'failed' if act.fails else 'succeeded'}, its exit code is {code}")
        self.show_page(act.page)
        self.notice(act.notice)


def corpus_program() -> list[str]:
    """Return how the command is called here."""
    program = Path(sys.executable).with_name("corpus")
    return [str(program)] if os.access(program, os.X_OK) else [sys.executable, "-m", "corpushooks"]


def set_stage(folder: Path | None, say: Say) -> Stage:
    """Make the root, and in its home a repository with the project; raise UsageError where it cannot lie there."""
    git.check_version()
    if folder and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not empty", hint="name a folder that does not exist yet")
    root = folder.absolute() if folder else Path(tempfile.mkdtemp(prefix="corpus-demo-"))
    (root / "home").mkdir(parents=True)
    if os.statvfs(root).f_flag & os.ST_NOEXEC:
        raise UsageError(
            f"nothing can be executed in {root} (noexec)", hint=Hint("name another folder: ", command("demo", "FOLDER"))
        )
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    stage = Stage(root.resolve(), say, colour, free_port(), root.resolve() / "home")
    (stage.home / ".gitconfig").write_text(GITCONFIG.format(colour="auto" if colour else "never"))
    with resources.as_file(resources.files("corpushooks") / "share/demo") as project:
        shutil.copytree(project, stage.home / "hello", ignore=shutil.ignore_patterns("__pycache__"))
    sample = stage.home / "hello/.salt/PILLAR.sample"
    sample.write_text(sample.read_text().replace(PORT, str(stage.port)))
    return stage


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# the play

FILES = """
    app.py                  the application: answers HTTP, reads settings.json
    check.py, restart.sh    ask it for its page; stop it and start it again
    .salt/PILLAR.sample     its default configuration: greeting and port
    .salt/00_config.sls     first, settings.json is written from that
    .salt/10_app.sls        then the application is restarted, and must answer
"""


def run(folder: Path | None, say: Say) -> int:
    """Play the demo under `folder` (None: a new one) and stop all that it started; return the exit code."""
    with interruptible():
        stage = set_stage(folder, say)
        code = INTERRUPTED
        try:
            play(stage)
            say_how_to_go_on(stage)
            wait(stage)
            code = 0
        except KeyboardInterrupt:
            pass
        except CorpusError as exc:
            say(f"\nerror: the demo cannot go on: {exc.message}" + (f"\nhint: {exc.hint}" if exc.hint else ""))
            code = exc.exit_code
        finally:
            turn_deaf()
            # in the middle of a deployment all at once: a daemon that loses Salt again and again would give it up
            stopped = stop_carrying(f"HOME={stage.home}", grace=0.0 if code == INTERRUPTED else 5.0)
        say_the_end(stage, stopped)
    return code


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Take Ctrl-C, a request to end and a closed terminal for the same, once: what then stops all is not cut short."""

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
    """Let no signal cut short what comes now."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def play(stage: Stage) -> None:
    """Play all scenes."""
    stage.say(f"A host is made in {stage.root}\nNothing else on this machine is touched.")
    stage.heading("A host with one project")
    stage.must("corpus", "--root", str(stage.root), "init", "hello")
    stage.say("\nThe project is a small web application. In its repository lie:\n" + FILES)
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


def say_how_to_go_on(stage: Stage) -> None:
    """Say where everything lies and what to try next."""
    project = stage.host.project("hello")
    corpus = shlex.join([*corpus_program(), "--root", str(stage.root)])
    stage.heading("Go on")
    stage.say(
        f"""\
In any shell:
    alias corpus={shlex.quote(corpus)}
    corpus status                    what is live
    corpus history hello             all deployments
    corpus log hello 3               the whole log of the one that failed
    corpus rollback hello 2          return to the second one

The application       {stage.url}
Its working copy      {stage.home / "hello"}
                      edit, commit, git push prod HEAD:master
Its configuration     {stage.home / "hello-pillar"}
                      edit init.sls, commit,
                      git push -o deploy origin HEAD:master
On the host           {project.dir}
                      project/ runs, data/ stays, archives/ hold what was"""
    )


def wait(stage: Stage) -> None:
    """Leave everything running for as long as somebody at a terminal wants."""
    if sys.stdin.isatty() and sys.stdout.isatty():
        stage.say("\nThe application and the daemon run on. Press Enter to stop both.")
        with contextlib.suppress(KeyboardInterrupt):
            sys.stdin.readline()


def say_the_end(stage: Stage, stopped: bool) -> None:
    """Say what is left, and how to be rid of it."""
    pid_file = stage.host.project("hello").data / "app.pid"
    what = "Stopped: nothing of this demo runs any more." if stopped else "error: not all of this demo can be stopped."
    stage.say(f"\n{what} Its files stay in\n    {stage.root}")
    if pid_file.exists():
        stage.say(
            f"""\
The next push starts daemon and application again. The daemon leaves when idle
for five minutes; to stop the application, and to remove everything:
    kill $(cat {shlex.quote(str(pid_file))})
    rm -rf {shlex.quote(str(stage.root))}"""
        )
