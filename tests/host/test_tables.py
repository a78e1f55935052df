"""Reports as tables on a terminal, through a real one; and as they were where there is none."""

from __future__ import annotations

import json
import os
import pty
import re
import struct
import sys
import termios
import unicodedata
from collections.abc import Iterator
from fcntl import ioctl

import pytest

from corpushooks.core.deployment import FAILED, RUNNING, Request
from corpushooks.screen import view
from corpushooks.system.process import run, spawn
from tests.support.box import FAILING, Box
from tests.support.shared_box import shared_box, world

LOOKING = ("status", "history hello", "archives hello", "stats", "diff hello")
STYLE = re.compile(r"\x1b\[[0-9;]*m")
NASTY = "[red]x[/red] :smile: \x1b]0;title\x07" + "and-a-word-that-is-longer-than-any-column-there-is " * 3


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """Return a host with two releases, a failure, and one more whose reason is meant to drive a terminal."""
    folder = tmp_path_factory.mktemp("live")
    with shared_box(folder, page="one") as box, world(folder / "second"):
        assert box.app("two", files={"sub/[bold]a[/bold].txt": "x"}).push().code == 0
        box.work().commit({".salt/20_broken.sls": FAILING})
        assert box.work().push().code == 1
        box.ended(3)
        box.stop()
        store = box.history
        failed = store.move(store.enqueue("hello", Request(who="[blink]alice[/blink]", token="x")), RUNNING)
        store.end(store.move(failed, FAILED, NASTY))
        store.close()
        yield box


@pytest.fixture(autouse=True)
def real_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the terminal say how wide it is, and no variable of whoever runs the tests."""
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("LINES", raising=False)


def words(box: Box, line: str) -> list[str]:
    return [sys.executable, "-m", "corpushooks", "--root", str(box.host.root), *line.split()]


def on_terminal(box: Box, line: str, columns: int = 80, **env: str) -> str:
    """Return what a command shows on a terminal."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    child = spawn(words(box, line), env={"TERM": "xterm-256color", **env}, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # its end, as Linux says it
        pass
    finally:
        os.close(ours)
    assert child.wait(20) == 0, shown
    return shown.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("line", LOOKING)
def test_a_table_fits_a_terminal_and_drives_it_no_further_than_to_colours(live: Box, line: str) -> None:
    shown = on_terminal(live, line)
    bare = STYLE.sub("", shown)
    assert STYLE.search(shown), "it has colours"
    assert not [char for char in bare if char != "\n" and unicodedata.category(char) in ("Cc", "Cf", "Cs")]
    assert max(map(len, bare.splitlines())) <= 80, bare
    assert "…" not in bare, "all is there: columns fold"


def test_what_each_table_says(live: Box) -> None:
    said = {line: " ".join(STYLE.sub("", on_terminal(live, line, 400)).split()) for line in LOOKING}
    commit = view.short(live.row().code)
    assert re.search(rf"hello prod 2 {commit} \d+ \w+ \w+", said["status"])
    assert "last: deployment 4 failed: [red]x[/red] :smile:" in said["status"]
    assert re.search(r"number when outcome took who from -> to 4 .* failed .* \[blink\]alice\[/blink\]", said["history"
                     " hello"])  # fmt: skip
    assert re.search(rf"3 \S+ \S+ rolled back [\d.]+ s \S+ {commit} -> \w+ install 20_broken", said["history hello"])
    assert re.search(rf"\* 2 \S+ \S+ deployed [\d.]+ s \S+ \w+ -> {commit}", said["history hello"])
    assert re.search(rf"3 \S+_3 {commit} \w{{7}}", said["archives hello"])
    assert re.search(r"hello 4 2 \(50 %\)", said["stats"])
    assert "A sub/[bold]a[/bold].txt" in said["diff hello"]


def test_who_wants_no_colour_has_a_table_without(live: Box) -> None:
    shown = on_terminal(live, "history hello", NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", shown)
    assert "outcome" in shown


def test_a_pipe_gets_plain_lines_and_json_is_json_on_a_terminal_too(live: Box) -> None:
    plain = run(words(live, "history hello")).stdout.decode().split("\n")[:-1]
    store = live.history
    assert plain == [view.history_row(one, live=one.number == 2) for one in store.deployments("hello", 20)]
    store.close()
    assert [one["number"] for one in json.loads(on_terminal(live, "history hello --json"))] == [4, 3, 2, 1]


def test_where_nothing_is_to_be_told_the_line_says_so(live: Box) -> None:
    live.init("fresh")
    assert on_terminal(live, "history fresh") == "fresh was never deployed\n"
    live.history.close()


def test_a_pipe_does_without_rich(live: Box) -> None:
    code = "import sys; sys.modules['rich'] = None; from corpushooks.cli.main import main; main()"
    piped = run([sys.executable, "-c", code, *words(live, "stats")[3:]])
    assert piped.stdout == run(words(live, "stats")).stdout


def test_urls_are_not_folded(live: Box) -> None:
    assert f"{live.project().code_git}\n" in on_terminal(live, "status --urls", 40)
