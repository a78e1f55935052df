"""What is shown of an SLS while it runs, and at its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from corpushooks import showing
from corpushooks.showing import OUTPUT, Showing
from corpushooks.sls import Result, State
from tests.host import Box, until

OK = State("one", "one", "test.nop", True, {}, "", 0.0, "00_a", 1)
CHANGED = replace(OK, id="two", function="cmd.run", name="two", changes={"stdout": "x"}, seconds=1.5)
FAILED = replace(OK, id="three", function="cmd.run", name="three", result=False, comment="why", line=9)
RESULT = Result("00_a", (OK, CHANGED), (), True, "")


def shown(quick: float) -> tuple[list[str], Showing]:
    lines: list[str] = []
    return lines, Showing(lines.append, "[4/8] install 00_a", lambda text: text.replace("s3cret", "***"), quick)


def test_a_quick_sls_is_a_line_at_its_end() -> None:
    lines, one = shown(1000.0)
    one.state(OK)
    one.output(b"said\n")
    one.state(CHANGED)
    one.end(RESULT)
    (line,) = lines
    assert line.startswith("[4/8] install 00_a           2 states, 1 changed")


def test_one_that_takes_long_is_shown_as_it_goes() -> None:
    lines, one = shown(0.0)
    one.state(OK)
    one.output(b"first\nhal")
    assert lines == ["[4/8] install 00_a", "          first"]
    one.output(b"f s3cret\r\n10 %\r100 %\n\xff")
    assert lines[2:] == ["          half ***", "          100 %"]
    one.state(CHANGED)
    assert lines[4:] == ["        changed  two          cmd.run                        1.5 s"]
    one.end(RESULT)
    assert lines[5].startswith("      install 00_a           2 states, 1 changed")
    assert len(lines) == 6


def test_what_failed_is_shown_once_and_what_came_late_too() -> None:
    lines, one = shown(0.0)
    one.state(FAILED)
    one.end(Result("00_a", (FAILED, CHANGED), (), False, ""))
    assert lines[:3] == [
        "[4/8] install 00_a",
        "        FAILED   three        cmd.run (00_a.sls line 9)",
        "          why",
    ]
    assert [line.split()[:2] for line in lines[3:]] == [["changed", "two"]]


def test_output_is_bounded() -> None:
    lines, one = shown(0.0)
    for number in range(3 * OUTPUT):
        one.output(f"line {number}\n".encode())
    assert len(lines) == OUTPUT + 1 and lines[-1] == "          … more"
    one.output(b"x" * 10_000_000)  # no end of a line
    assert len(one._part) == showing.LINE
    one.state(OK)
    one.output(b"again\n")
    assert lines[-1] == "          again"


def test_a_special_sls_is_not_shown_as_it_goes() -> None:
    lines: list[str] = []
    one = Showing(lines.append, "", quick=0.0)
    one.output(b"x\n")
    one.state(CHANGED)
    assert lines == []


# for real


@pytest.mark.parametrize("fails", [False, True])
def test_a_push_shows_what_a_command_writes_while_it_runs(new_box: Callable[..., Box], fails: bool) -> None:
    box = new_box(salt=True)
    box.init()
    gate = f"while ! test -e {box.root}/gate; do sleep 0.05; done"
    slow = f"slow:\n  cmd.run:\n    - name: sleep 2.2; echo here I am; {gate}; {'exit 3' if fails else 'true'}\n"
    work = box.work()
    work.commit({".salt/10_slow.sls": slow})
    push = work.start_push()  # no daemon runs: the hook starts one
    until(lambda: box.exists(1) and "          here I am" in box.log(1).splitlines())
    assert box.deployment(1).state == "running"
    (box.root / "gate").touch()
    assert push.wait(60) == int(fails)
    log = box.log(1).splitlines()
    assert log.index("[4/8] install 10_slow") < log.index("          here I am")
    assert any(line.startswith("      install 10_slow   ") for line in log) != fails
    assert any(line.startswith("        FAILED   slow") for line in log) == fails
