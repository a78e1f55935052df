"""The demo, played in front of a file and of a terminal, and interrupted wherever it hurts."""

from __future__ import annotations

import contextlib
import http.client
import os
import pty
import re
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from corpushooks.cli import demo
from corpushooks.core.errors import NoDaemonError, UsageError
from corpushooks.core.project import Host
from corpushooks.protocol import client
from corpushooks.system.process import Child, run, spawn, stop_carrying
from tests.support.box import until
from tests.support.places import TOP

PAGES = [
    "Hello, world!",
    "Hello, world! How are you?",
    "Hello, world! How are you?",
    "Hello, world! How are you today?",
    "Hello, world! How are you today?",
    "Bonjour, world! How are you today?",
]
HOSTILE = """\
[init]
    defaultBranch = trunk
    templateDir = /nonexistent
[commit]
    gpgSign = true
[core]
    hooksPath = /nonexistent
    autocrlf = true
[push]
    gpgSign = true
    pushOption = nonsense
[color]
    ui = always
"""


@dataclass
class Played:
    """A demo that plays."""

    root: Path
    child: Child[bytes]
    read: Callable[[], str]

    def await_text(self, text: str) -> None:
        until(lambda: text in self.read() or self.child.poll() is not None, 60)
        assert text in self.read()

    def traces(self) -> list[str]:
        """Return the processes that have to do with the root: by command line, environment or folder."""
        return [f"{pid}: {text!r}" for pid, text in _processes() if str(self.root) in text]


def _processes() -> Iterator[tuple[str, str]]:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            told = [Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ")]
            yield pid, os.fsdecode(b"\0".join(told)) + os.readlink(f"/proc/{pid}/cwd")
        except OSError:
            continue  # it ended, or is a zombie


@pytest.fixture
def played(tmp_path: Path) -> Iterator[Callable[[], Played]]:
    """Return a starter of a demo in a session of its own, with its output in a file."""
    made: list[Played] = []

    def start() -> Played:
        root, out = tmp_path / "a demo" / ("with a long name " * 5).strip(), tmp_path / "out"
        with out.open("wb") as file:
            words = [sys.executable, "-m", "corpushooks", "demo", root]
            child = spawn(words, cwd=tmp_path, stdout=file.fileno(), stderr=file.fileno())
        made.append(Played(root, child, out.read_text))
        return made[-1]

    yield start
    for one in made:
        one.child.kill()
        one.child.wait()
        with contextlib.suppress(NoDaemonError):
            os.kill(client.ping(Host(one.root)), signal.SIGTERM)
        stop_carrying(f"HOME={one.root}/home")


def masked(text: str) -> set[str]:
    """Return the lines of a deployment in a text, with what differs from run to run made equal."""
    text = re.sub(
        r"(?<=stopped in project/: ).*(?=\))|\b\d+\.\d s\b|\b[0-9a-f]{7}\b",
        "…",
        re.sub(r" --root .*(?= log)", "", text),
    )
    return {re.sub(r" +", " ", line).strip() for line in text.splitlines() if line.startswith(("remote:", " ! "))}


def readme_shows() -> set[str]:
    """Return the lines of the deployments that the README shows, as they came from a demo."""
    page = (TOP / "README.md").read_text()
    shown = set.union(*map(masked, re.findall(r"^```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)))
    assert len(shown) > 20
    return shown


@pytest.mark.slow
def test_it_plays_from_start_to_end_in_front_of_a_file(played: Callable[[], Played], tmp_path: Path) -> None:
    (tmp_path / "home/.gitconfig").write_text(HOSTILE)
    shown = played()
    assert shown.child.wait(100) == 0, shown.read()
    text = shown.read()
    assert re.findall(r"says:\n    (.*)", text) == PAGES
    assert re.findall(r"^== (\d)\.", text, re.MULTILINE) == list("123456")
    assert text.count("success: hello is live") == 5
    assert "[remote rejected] HEAD -> master (install 10_app failed; rolled back)" in text
    assert readme_shows() <= masked(text)
    assert "\x1b" not in text and "\r" not in text
    short = text.replace(str(shown.root), "/tmp/demo").replace(str(Path(sys.executable).parent), "/opt/corpushooks/bin")
    assert max(len(line.rstrip()) for line in short.splitlines()) <= 82
    assert shown.traces() == []
    (tmp_path / "home/.gitconfig").unlink()
    go_on(shown)


def go_on(shown: Played) -> None:
    """Do what the demo says at its end."""
    told = shown.read().split("In any shell:\n")[1].split("\n\n")[0]
    script = shown.root / "script"
    script.write_text("".join(line.split("   ")[0] + "\n" for line in textwrap.dedent(told).splitlines()))
    said = run(["sh", script]).text
    assert "live: " in said and ", deployment 6" in said
    assert len(re.findall(r"^[* ] +\d+  ", said, re.MULTILINE)) == 6
    assert "KeyError" in said
    assert "success: hello is live" in said  # the roll back
    run(["git", "push", "prod", "HEAD:refs/deploy/now"], cwd=shown.root / "home/hello")
    assert ", deployment 8" in run([*demo.corpus_program(), "--root", shown.root, "status"]).text
    os.kill(client.ping(Host(shown.root)), signal.SIGTERM)  # it would leave by itself, in five minutes
    assert any("app.py" in line for line in shown.traces())
    script.write_text("\n".join(shown.read().splitlines()[-2:]))
    until(lambda: not any("embedded" in line for line in shown.traces()))
    run(["sh", script])
    until(lambda: not shown.traces())
    assert not shown.root.exists()


MOMENTS = {
    "while the host is made": "$ corpus",
    "while the daemon starts": "$ git push",
    "while Salt starts": "deployment 1:",
    "in an SLS": "install 00_config",
    "when the application runs": "[6/8] publish",
    "while it rolls back": "error: install 10_app failed",
}


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_an_interrupt_leaves_no_process(played: Callable[[], Played], moment: str) -> None:
    shown = played()
    shown.await_text(MOMENTS[moment])
    os.killpg(shown.child.pid, signal.SIGINT)
    assert shown.child.wait(20) == 130
    assert f"Its files stay in\n    {shown.root}\n" in shown.read()
    assert "Traceback" not in shown.read()
    until(lambda: not shown.traces(), 1)  # git, which our daemon ran, ends by itself


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_an_end_from_outside_leaves_no_process(played: Callable[[], Played], number: signal.Signals) -> None:
    shown = played()
    shown.await_text("deployment 1:")
    shown.child.send_signal(number)
    assert shown.child.wait(20) == 130
    until(lambda: not shown.traces(), 1)


@pytest.mark.slow
def test_after_an_interrupt_the_next_push_goes_on(played: Callable[[], Played]) -> None:
    shown = played()
    shown.await_text("deployment 2:")
    shown.await_text("[2/8] sync ")
    os.killpg(shown.child.pid, signal.SIGINT)
    assert shown.child.wait(20) == 130
    home = {"HOME": str(shown.root / "home")}
    words = ["git", "push", "prod", "HEAD:master"]
    pushed = run(words, cwd=shown.root / "home/hello", env=home, timeout=60, check=False)
    assert pushed.code == 0, pushed.stderr.decode()
    assert b"success: hello is live" in pushed.stderr
    stop_carrying(f"HOME={shown.root}/home")


def opens_the_pages(text: str) -> None:
    """Follow the link to the pages: it signs in once."""
    (found,) = re.findall(r"http://localhost:(\d+)(/sign-in/link/[\w-]+)", text)
    port, path = int(found[0]), found[1]
    answers = [come(port, method, path) for method in ("GET", "POST", "POST")]
    assert [status for status, _, _ in answers] == [200, 303, 404]
    _, _, page = come(port, "GET", "/", answers[1][1].partition(";")[0])
    assert "/projects/hello" in page and "account demo" in page


def come(port: int, method: str, path: str, cookie: str = "") -> tuple[int, str, str]:
    """Ask for a page; return its status, what it sets, and its text."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        link.request(method, path, headers={"Cookie": cookie} if cookie else {})
        answer = link.getresponse()
        return answer.status, answer.headers["set-cookie"] or "", answer.read().decode()
    finally:
        link.close()


@pytest.mark.slow
def test_in_a_terminal_it_waits_and_has_colours(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "corpushooks", "demo", tmp_path / "demo"]
    child = spawn(words, cwd=tmp_path, env={"TERM": "xterm"}, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown, text = Played(tmp_path / "demo", child, lambda: ""), b""
    try:
        while b"Press Enter" not in text:
            text += os.read(ours, 65536)
        assert b"\x1b[1;36m== 1. The first deployment ==" in text
        assert any("app.py" in line for line in shown.traces())
        opens_the_pages(text.decode())
        os.write(ours, b"\n")
        assert child.wait(20) == 0
        until(lambda: not shown.traces(), 1)
    finally:
        os.close(ours)
        child.kill()
        child.wait()
        stop_carrying(f"HOME={tmp_path}/demo/home")


def test_no_colour_where_none_is_wanted() -> None:
    stage = demo.Stage(Path("/r"), print, colour=False, port=1, cwd=Path("/r"))
    assert stage.paint("text", "1") == "text"


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is not empty"):
        demo.run(tmp_path, lambda text: None)
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == ["file"]


def test_each_act_ends_with_a_push() -> None:
    for act in demo.acts(Host(Path("/r")).project("hello")):
        assert act.does[-1][:2] == ("git", "push")
        assert act.notice.endswith(".")


def test_what_is_started_is_found_by_its_environment(tmp_path: Path) -> None:
    words = ["sh", "-c", "trap '' TERM; touch deaf; while :; do sleep 0.1; done"]
    deaf = spawn(words, cwd=tmp_path, env={"HOME": str(tmp_path)})
    other = spawn(["sleep", "60"], env={"HOME": f"{tmp_path}/other"})
    try:
        until((tmp_path / "deaf").exists)
        assert stop_carrying(f"HOME={tmp_path}", grace=0.3)
        assert deaf.wait(5) == -signal.SIGKILL
        assert other.poll() is None
    finally:
        for child in (deaf, other):
            child.kill()
            child.wait()
