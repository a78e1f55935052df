"""What people read, as values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpushooks.core.deployment import TRANSITIONS, Deployment, Request
from corpushooks.salt import Problem, Result, State
from corpushooks.screen import view

ONE, TWO = "1" * 40, "2" * 40
DONE = Deployment("hello", 42, "t", "deployed", Request(who="me"), ONE, TWO, queued=1.0, started=10.0, decided=12.5)
STATE = State("app", "app", "cmd.run", True, {}, "", 0.04, "10_app", 12)


def result(*states: State, ok: bool = True, errors: tuple[str, ...] = ()) -> Result:
    return Result("10_app", states, errors, ok)


def test_small_words() -> None:
    assert (view.short(ONE), view.short(None)) == ("1111111", "nothing")
    assert [view.count(n, "file") for n in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
    assert view.count(2, "entry", "entries") == "2 entries"
    assert [view.ago(s) for s in (0.4, 59, 60, 7200, 90000)] == ["0 s", "59 s", "1 min", "2 h", "1 d"]


COURSES = {
    (None, TWO, None, None, 0): "nothing -> 2222222",
    (ONE, TWO, None, None, 2): "1111111 -> 2222222, 2 commits",
    (TWO, TWO, None, None, 0): "2222222 again",
    (TWO, TWO, ONE, ONE, 0): "2222222 again",
    (TWO, TWO, None, ONE, 0): "2222222, pillar nothing -> 1111111",
    (ONE, TWO, TWO, ONE, 1): "1111111 -> 2222222, 1 commit, pillar 2222222 -> 1111111",
}


@pytest.mark.parametrize("given", COURSES)
def test_course(given: tuple[Any, ...]) -> None:
    assert view.course(*given) == COURSES[given]


@pytest.mark.parametrize(
    ("ids", "errors", "named"),
    [
        ("a", (), "a"), ("abc", (), "a, b, c"), ("abcde", (), "a, b, c and 2 more"),
        ("", ("Rendering failed\nline 3",), "Rendering failed"),
    ],
)  # fmt: skip
def test_what_failed_is_named(ids: str, errors: tuple[str, ...], named: str) -> None:
    skipped = replace(STATE, id="z", result=False, skipped=True)
    failed = [replace(STATE, id=name, result=False) for name in ids]
    assert view.failed_ids(result(STATE, *failed, skipped, ok=False, errors=errors)) == named


def test_an_empty_error_is_no_reason_to_fall() -> None:
    assert isinstance(view.failed_ids(result(ok=False, errors=("\n",))), str)


def test_problems() -> None:
    assert str(Problem("a.sls", 3, "bad")) == "a.sls line 3: bad"
    assert str(Problem("a.sls", None, "bad")) == "a.sls: bad"


REASONS = {
    "rolled_back": "install 10_app failed; rolled back",
    "failed": "install 10_app failed; left in place",
    "broken": "install 10_app failed; THE ROLLBACK FAILED",
    "refused": "install 10_app failed: app-service",
    "cancelled": "install 10_app failed: app-service",
}


@pytest.mark.parametrize("state", REASONS)
def test_the_reason_that_git_shows(state: str) -> None:
    assert (
        view.reason(
            replace(DONE, state=state, reason="install 10_app failed: app-service", summary="install 10_app failed")
        )
        == REASONS[state]
    )


@given(st.text(max_size=400))
@settings(deadline=None, max_examples=50)
def test_a_reason_is_one_line(text: str) -> None:
    line = view.reason(replace(DONE, state="refused", reason=text))
    assert len(line) <= 200
    assert line.split() == [] or "\n" not in line


@pytest.mark.parametrize("state", ["rolled_back", "refused", "failed"])
def test_a_reason_cannot_drive_a_terminal(state: str) -> None:
    assert "\x1b" not in view.reason(replace(DONE, state=state, reason="install \x1b[31m10_app failed: x"))


FOUND: dict[str, Any] = {
    "project": "hello", "environment": "prod", "live": 42, "commit": TWO, "tree": TWO, "broken": None,
    "branch": "master", "branch_at": TWO, "branch_moved": False,
    "pillar_ahead": False, "open": [], "last": {"state": "deployed", "number": 42, "reason": ""},
    "since": 1000.0, "by": "alice", "frozen": None, "drift": [], "faults": [], "last_deployment": None,
    "health": None, "backup": None,
    "last_failure": {"number": 40, "decided": 400.0, "queued": 300.0, "reason": "why not"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("backup", "said"),
    [
        ({"at": 1000.0, "proved": None, "wrong": "", "overdue": []}, ["    backup: 1 h ago, drill: never"]),
        ({"at": None, "proved": None, "wrong": "", "overdue": ["backup", "drill"]},
         ["    backup OVERDUE: the newest: none; corpus backup hello",
          "    drill OVERDUE: the last that succeeded: never; corpus drill hello"]),
        ({"at": 1000.0, "proved": 4000.0, "wrong": "data/a: it is gone", "overdue": ["backup"]},
         ["    backup OVERDUE: the newest: 1 h ago; corpus backup hello",
          "    drill FAILED: data/a: it is gone; corpus drill hello"]),
    ],
)  # fmt: skip
def test_status_says_how_old_backups_are(backup: dict[str, Any], said: list[str]) -> None:
    found = view.status({**FOUND, "backup": backup, "last_failure": None}, 4600.0)
    assert [str(line) for line in found[1:]] == said


def test_status() -> None:
    assert view.status({**FOUND, "last_failure": None}, 4600.0) == [
        "hello            prod      live: 2222222, deployment 42, 1 h ago by alice"
    ]
    assert view.status(FOUND, 4600.0)[1:] == ["    last failure, 1 h ago: deployment 40: why not"]
    assert view.status({**FOUND, "live": None, "commit": None, "tree": None}, 0.0)[0].endswith("nothing is live yet")
    all_at_once = {
        **FOUND, "broken": "why", "tree": ONE, "branch_moved": True, "branch_at": ONE,
        "pillar_ahead": True, "frozen": "hello is frozen by me: it moves",
        "drift": ["a", "b", "c\n", "d"],
        "open": [
            {"state": "running", "number": 43, "by": "me", "left": None},
            {"state": "queued", "number": 44, "by": "her", "left": None},
        ],
        "last": {"state": "refused", "number": 46, "reason": "not so", "kind": "task"},
        "last_deployment": {"state": "rolled_back", "number": 44, "reason": "so", "kind": "rollback"},
        "faults": [{"what": "data/ is missing", "repair": "corpus init hello"}],
        "health": {"state": "failing", "since": 0.0, "times": 3, "reason": "no answer"},
    }  # fmt: skip
    assert [str(line) for line in view.status(all_at_once, 0.0)[1:]] == [
        "    BROKEN: why; corpus repair hello",
        "    hello is frozen by me: it moves",
        "    project/ has the failed 1111111",
        "    master is at 1111111, which is not live",
        "    to deploy it: corpus deploy hello master; to move it back: corpus deploy hello",
        "    the pillar is ahead: it takes effect with the next deployment",
        "    changed in project/ since: a, b, c\\n and 1 more",
        "    running: deployment 43 by me",
        "    queued: deployment 44 by her",
        "    failing for 0 s (3 times): no answer",
        "    wrong: data/ is missing; corpus init hello",
        "    last: rollback 44 rolled back: so",
        "    last: task 46 refused: not so",
    ]


@pytest.mark.parametrize("state", ["queued", "running", "rolling_back", "done", "deployed"])
def test_what_runs_or_went_well_is_not_said_to_be_the_last(state: str) -> None:
    last = {"state": state, "number": 43, "reason": "", "kind": "deploy"}
    assert len(view.status({**FOUND, "last_failure": None, "last": last}, 0.0)) == 1


def test_a_reason_that_is_empty_is_not_said() -> None:
    last = {"state": "cancelled", "number": 43, "reason": "", "kind": "deploy"}
    assert view.status({**FOUND, "last": last}, 0.0)[1:] == ["    last: deployment 43 cancelled"]


def test_history_rows() -> None:
    row = view.history_row(DONE, live=True)
    assert row.startswith("*   42  ")
    assert row.endswith("deployed       2.5 s  me         1111111 -> 2222222")
    task = replace(DONE, request=Request(kind="task", who="me"), new_code=None, state="failed", reason="why")
    assert view.history_row(task, live=False).startswith("    42  ")
    assert view.history_row(task, live=False).endswith("task why")


def test_every_state_has_a_word() -> None:
    assert all(view.outcome(state) for news in TRANSITIONS.values() for state in news)
    assert view.outcome("of a newer version") == "of a newer version"
