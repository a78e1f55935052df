"""Why a state failed, as people read it."""

from __future__ import annotations

from typing import Any

import pytest

from corpushooks.deploy.progress import told
from corpushooks.salt import State
from corpushooks.screen import states as shown
from corpushooks.screen.failure import condensed, exit_of, failure

FIRST_CALL = '  File "app.py", line 1, in <module>\n    main()\n    ~~~~^^\n'
STATE = State("app", "app", "cmd.run", False, {}, 'Command "exit 3" run', 0.04, "10_app", 12)
TRACEBACK = """\
starting
Traceback (most recent call last):
  File "app.py", line 1, in <module>
    main()
    ~~~~^^
  File "app.py", line 2, in main
    serve()
  [Previous line repeated 9 more times]
  File "socketserver.py", line 3, in bind
    self.socket.bind(self.address)
OSError: [Errno 98] Address already in use
stopped
"""
CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "silent": ({"retcode": 3, "stdout": "", "stderr": ""}, 'Command "exit 3" run', "exit code 3, no output"),
    "silent and timed out": ({"retcode": 1}, "Timed out after 5 s", "Timed out after 5 s\nexit code 1, no output"),
    "what it wrote says why": ({"retcode": 3, "stderr": "why"}, 'Command "x" run', "why"),
    "not found": ({"retcode": 127, "stderr": "sh: x\n"}, "", "sh: x\nexit code 127: command not found"),
    "killed": ({"retcode": -9, "stdout": "half"}, "", "half\nkilled by SIGKILL"),
    "killed, says its shell": ({"retcode": 137}, "", "killed by SIGKILL (exit code 137), no output"),
    "no command": ({}, "The file is missing", "The file is missing"),
    "nothing": ({}, "", "no reason given"),
    "a check that failed after its command": ({"retcode": 0}, "unless condition is true", "unless condition is true"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_why(case: str) -> None:
    changes, comment, why = CASES[case]
    assert failure(told(State("a", "a", "cmd.run", False, changes, comment, 0.0, "a", 1))) == why


@pytest.mark.parametrize("code", [None, True, "3", 0])
def test_what_is_no_exit_code_of_a_failure_says_nothing(code: object) -> None:
    state = told(State("a", "a", "cmd.run", False, {"retcode": code}, "", 0.0, "a", 1))
    assert exit_of(state.exit) == ""


@pytest.mark.parametrize("code", [126, 128, 192, 255, 256, -100])
def test_every_exit_code_is_said(code: int) -> None:
    assert str(code) in exit_of(code)


def test_of_a_traceback_the_last_call_is_shown() -> None:
    said = condensed(TRACEBACK)
    assert said.splitlines() == [
        "starting", "Traceback (most recent call last):", "  … 2 more calls …",
        '  File "socketserver.py", line 3, in bind', "    self.socket.bind(self.address)",
        "OSError: [Errno 98] Address already in use", "stopped",
    ]  # fmt: skip
    assert condensed(said) == said
    assert "  … 1 more call …\n" in condensed(TRACEBACK.replace(FIRST_CALL, ""))
    assert condensed("".join(f"  {line}\n" for line in TRACEBACK.splitlines())).count("File") == 1, "indented, too"


def test_a_silent_command_is_named() -> None:
    silent = State("app", "test -e /x", "cmd.run", False, {"retcode": 1}, 'Command "test -e /x" run', 0.0, "10_app", 12)
    state = told(silent)
    assert shown.states([state])[1:] == ["          name: test -e /x", "          exit code 1, no output"]
    assert shown.all_states([state]) == [], "the whole log has that above"
