"""What a push shows in a terminal of 80 columns, whatever things are called: with real Salt."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from corpushooks.cli import base
from corpushooks.screen import rows
from corpushooks.system.process import run
from tests.support.box import Box, Push, until

CONF = """\
conf:
  file.managed:
    - name: {{ cfg.data_root }}/conf
    - contents: VALUE
"""
FAILS = """\
long:
  cmd.run:
    - name: seq 40; echo why not >&2; exit 3
    - require: [{file: conf}]
later:
  test.nop:
    - require: [{cmd: long}]
latest:
  test.nop:
    - require: [{test: later}]
bad-file:
  file.managed:
    - names: [/proc/nowhere/a, /proc/nowhere/b]
    - contents: x
"""
STATE = "a-state-whose-name-says-all-that-it-does-and-why-it-does-so-and-since-when-and-for-whom"
STEM = "10_an-install-file-whose-name-has-been-chosen-with-more-care-than-a-terminal-is-wide"
FILE = "a/folder/in/a/folder/with/a/name/that/is/longer/than/what/a/terminal/has/room/for/page.html"
LONG = f"""\
{STATE}:
  file.managed:
    - name: {{{{ cfg.data_root }}}}/conf
    - contents: VALUE
"""
LONG_FAILS = f"""\
{STATE}-2:
  cmd.run:
    - name: exit 3
{STATE}-3:
  test.nop:
    - require: [{{cmd: {STATE}-2}}]
"""
# What may be longer: commands to be pasted, and what is no text of ours but of the project or of Salt: the output
# of commands, diffs, comments of states, values of cfg.
PASTED = re.compile(r"hint: |warning: ")
THEIRS = " " * 10
HEAD = re.compile(r"          \((requires|\S+\.sls line) ?")


def held(pushed: Push) -> list[str]:
    """Return the lines of ours, none of which a terminal would wrap."""
    ours = [one for one in pushed.lines if not PASTED.match(one) and (not one.startswith(THEIRS) or HEAD.match(one))]
    assert ours and max(map(len, ours)) <= rows.FITS, "\n".join(pushed.lines)
    return ours


@pytest.fixture
def salted(new_box: Callable[..., Box]) -> Box:
    box = new_box(salt=True)
    box.init()
    return box


@pytest.mark.parametrize("slow", [False, True], ids=["at its end", "as it goes"])
def test_a_failure_shows_what_failed_what_changed_and_what_was_not_run(salted: Box, slow: bool) -> None:
    work = salted.work()
    work.commit({".salt/10_app.sls": CONF.replace("VALUE", "one")})
    assert work.push().code == 0
    wait = "\nwait:\n  cmd.run:\n    - name: sleep 2.2\n" if slow else ""
    work.commit({".salt/10_app.sls": CONF.replace("VALUE", "two") + wait + FAILS})
    lines = work.push().lines
    shown = lines[lines.index("[4/8] install 10_app") :]
    first = 7 + (4 if slow else 0)
    places = [
        "        changed  conf", "          -one", "          +two",
        f"        FAILED   long         cmd.run (10_app.sls line {first - 2})", "          … 29 more lines",
        "          40", "          why not", "        not run  later        test.nop (requires long)",
        "        not run  latest       test.nop (requires later)", "        FAILED   bad-file     file.managed (10_app",
        "          name: /proc/nowhere/b", "error: install 10_app failed: long, bad-file, bad-file",
        "rolled back to ", "hint: ",
    ]  # fmt: skip
    found = [next((n for n, line in enumerate(shown) if line.startswith(part)), part) for part in places]
    assert not [part for part in found if isinstance(part, str)], "\n".join(shown)
    if not slow:
        assert found == sorted(found), "in this order"  # type: ignore[type-var]
    assert [line.split()[0] for line in shown[-4:]] == ["error:", "again:", "rolled", "hint:"], "nothing after it"
    salted.ended(2)
    words = [sys.executable, "-m", "corpushooks", "--root", salted.host.root, "log", "hello", "2"]
    log = run([*words, "--short"]).text
    assert [line.rstrip() for line in log.splitlines()][:-1] == lines[:-1], "it reads the same there"
    whole = run(words).text
    assert "the whole log" not in whole.splitlines()[-1], "whoever reads it need not be told of it"
    assert whole.count("FAILED   bad-file") == 2, "each that was shown whole is there once"


def test_nothing_of_ours_is_wider_than_a_terminal(salted: Box) -> None:
    work = salted.work()
    work.commit({f".salt/{STEM}.sls": LONG.replace("VALUE", "one"), FILE: "x"}, "one")
    good = work.push()
    assert good.code == 0 and any("…" in line for line in held(good))
    work.commit({f".salt/{STEM}.sls": LONG.replace("VALUE", "two"), FILE: "y\nz\n"}, "a subject that is long " * 10)
    plan = work.push("HEAD:refs/deploy/plan")
    assert plan.code == 0 and any(line.endswith("page.html  +2 -1") for line in held(plan))
    work.commit({f".salt/{STEM}.sls": LONG.replace("VALUE", "two") + LONG_FAILS})
    failed = work.push()
    assert failed.code == 1
    ours = "\n".join(held(failed))
    words = ("FAILED   a-state-", "not run  a-state-", "line 5)", "(requires a-state", "changed  a-state")
    assert [word for word in words if word not in ours] == []


def test_one_that_waits_says_so_in_a_line(new_box: Callable[..., Box], tmp_path: Path) -> None:
    box = new_box()
    box.init()
    box.start()
    gate = f"gate:\n  cmd.run:\n    - name: while ! test -e {tmp_path}/gate; do sleep 0.05; done\n"
    work = box.app(files={".salt/10_gate.sls": gate})
    first = work.start_push()
    until(lambda: box.exists(1) and "install 10_gate" in box.steps(1))
    work.commit({"index.html": "two"})
    second = work.start_push("HEAD:refs/deploy/now")
    log = work.path / ".git/push.log"
    until(lambda: "waiting for deployment 1 by " in log.read_text())
    (tmp_path / "gate").touch()
    assert (first.wait(60), second.wait(60)) == (0, 0)
    (line,) = (one for one in log.read_text().splitlines() if "waiting for" in one)
    assert re.search(r"waiting for deployment 1 by \S+, \d+ s", line) and len(line.rstrip()) <= rows.FITS + 8


ERRORS = {
    "one": "error: one",
    "one\ntwo\n\n  three\n": "error: one\n       two\n         three",
    "": "error: ",
    "word " * 20: f"error: {'word ' * 13}".rstrip() + f"\n       {'word ' * 7}".rstrip(),
    "x" * 200: "error: " + "x" * 200,
}


@pytest.mark.parametrize("text", ERRORS)
def test_an_error_of_several_lines_says_its_word_once(text: str) -> None:
    assert rows.complaint("error", text) == ERRORS[text]


def test_a_warning_is_not_broken_since_it_may_have_a_command_in_it() -> None:
    assert rows.complaint("warning", "word " * 20) == f"warning: {'word ' * 20}".rstrip()
    assert rows.complaint("warning", "one\ntwo") == "warning: one\n         two"


def test_a_refusal_of_several_lines_is_one_error(salted: Box) -> None:
    work = salted.work()
    work.commit({".salt/10_app.sls": "a:\n  - b\n c: d\n"})
    lines = work.push().lines
    (place,) = (n for n, line in enumerate(lines) if line.startswith("error: "))
    assert lines[-1].startswith("hint: ")
    assert all(line.startswith("       ") for line in lines[place + 1 : -1])


def test_lines_take_the_place_of_the_one_that_was_rewritten(capsys: pytest.CaptureFixture[str]) -> None:
    shown = base.Screen()
    shown.rewrite("… install 10_slow, 3 s")
    shown.say("one\ntwo")
    assert capsys.readouterr().out == f"… install 10_slow, 3 s\r{'one':<22}\ntwo\n"
