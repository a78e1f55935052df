"""What people read, as values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpushooks import view
from corpushooks.deployment import TRANSITIONS, Deployment, Request
from corpushooks.sls import Problem, Result, State

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


def test_rows_stand_in_columns() -> None:
    assert (
        view.row("[1/8] archive", "2 files", 0.123)
        == "[1/8] archive                2 files                         0.1 s"
    )
    assert view.row("[1/8] archive", "", None) == "[1/8] archive"
    long = view.row("[4/8] install " + "x" * 60, "1 state", 1.0)
    assert "x  1 state" in long and long.endswith("1.0 s")
    assert view.step_label(4, 8, "install", "00_a") == "[4/8] install 00_a"
    assert view.step_label(4, 8, "install", first=False) == "      install"


@settings(deadline=None, max_examples=50)
@given(st.text("ab ", max_size=28), st.text("ab ", max_size=25), st.floats(0, 9999))
def test_a_row_of_usual_words_fits_a_terminal(label: str, detail: str, seconds: float) -> None:
    assert len(view.row(label, detail, seconds)) <= view.WIDTH


def test_opening() -> None:
    assert view.opening(DONE, "prod", "x") == "hello (prod) deployment 42: x"
    task = replace(DONE, request=Request(kind="task"))
    assert view.opening(task, "dev", "x") == "hello (dev) task 42: x"


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


def test_summary() -> None:
    assert view.summary(result()) == "nothing to do"
    assert view.summary(result(STATE)) == "1 state"
    assert view.summary(result(STATE, replace(STATE, changes={"a": 1}))) == "2 states, 1 changed"


def test_states_that_did_something_are_shown() -> None:
    changed = replace(STATE, id="config", function="file.managed", changes={"diff": "+x"})
    failed = replace(STATE, result=False, comment="why\nso", changes={"stderr": "nginx: bad", "stdout": "out"})
    skipped = replace(STATE, id="later", result=False, skipped=True)
    assert view.states(result(STATE, changed, failed, skipped, ok=False)) == [
        f"{'        changed  config       file.managed':<58}   0.0 s",
        "          +x",
        "        FAILED   app          cmd.run (10_app.sls line 12)",
        "          out",
        "          nginx: bad",
        "        not run  later        cmd.run",
    ]


def test_a_failure_without_output_is_explained_by_its_comment() -> None:
    failed = replace(STATE, result=False, comment="why\nso")
    assert view.states(result(failed, ok=False))[1:] == ["          why", "          so"]


def test_what_looked_at_the_old_tree_is_doubtful() -> None:
    would = replace(STATE, name="/srv/x/project/a", result=None, changes={"a": 1})
    assert "not sure" in view.states(result(would), test=True, doubt="/srv/x/project")[1]
    assert "not sure" not in "".join(view.states(result(would), test=True, doubt="/srv/y/project"))


def test_what_would_change_is_shown_in_a_plan_only() -> None:
    would = replace(STATE, result=None, changes={"diff": "-a\n+b"}, comment="The file is set to be changed")
    assert view.states(result(would), test=True)[0].startswith("        would    app ")
    assert view.states(result(would), test=True)[1:] == ["          -a", "          +b"]
    assert view.states(result(would))[0].startswith("        FAILED ")
    quiet = replace(would, changes={})
    assert view.states(result(quiet), test=True)[1:] == ["          The file is set to be changed"]


def test_long_output_is_cut_at_its_head() -> None:
    text = "\n".join(map(str, range(100)))
    assert view.tail(text, 3) == ["… 97 lines more in the whole log", "97", "98", "99"]
    assert view.tail("a\nb", 3) == ["a", "b"]
    assert len(view.states(result(replace(STATE, result=False, comment=text)))) <= 2 + view.COMMENT_LINES


def test_all_states_are_in_the_whole_log() -> None:
    long = "\n".join("abcdefghijklmnopqrst")
    failed = [replace(STATE, result=False, changes={"stdout": text}) for text in ("o", long)]
    shown = view.all_states(result(replace(STATE, comment="fine"), *failed))
    words = [[line.split()[0] for line in text.split("\n")] for text in shown]
    assert words == [["ok", "fine"], ["FAILED", *long.split()]], "what a terminal showed whole is there already"


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
    "failed": "install 10_app failed; left as it is",
    "broken": "install 10_app failed; THE ROLL BACK FAILED",
    "refused": "install 10_app failed: app-service",
    "cancelled": "install 10_app failed: app-service",
}


@pytest.mark.parametrize("state", REASONS)
def test_the_reason_that_git_shows(state: str) -> None:
    assert view.reason(replace(DONE, state=state, reason="install 10_app failed: app-service")) == REASONS[state]


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
    "health": None,
    "last_failure": {"number": 40, "decided": 400.0, "queued": 300.0, "reason": "why not"},
}  # fmt: skip


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
        "open": [{"state": "running", "number": 43, "by": "me"}, {"state": "queued", "number": 44, "by": "her"}],
        "last": {"state": "refused", "number": 46, "reason": "not so", "kind": "task"},
        "last_deployment": {"state": "rolled_back", "number": 44, "reason": "so", "kind": "rollback"},
        "faults": [{"what": "data/ is missing", "repair": "corpus init hello"}],
        "health": {"state": "failing", "since": 0.0, "times": 3, "reason": "no answer"},
    }  # fmt: skip
    assert view.status(all_at_once, 0.0)[1:] == [
        "    BROKEN: why; corpus repair hello",
        "    hello is frozen by me: it moves",
        "    project/ holds the failed 1111111",
        "    master is at 1111111, which is not what is live",
        "    deploy it: corpus deploy hello master; or take it back: corpus deploy hello",
        "    the pillar is ahead: it takes effect with the next deployment",
        "    project/ was changed since: a, b, c\\n and 1 more",
        "    runs: deployment 43 by me",
        "    waits: deployment 44 by her",
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
    assert set(view.OUTCOMES) == set(TRANSITIONS) | {new for news in TRANSITIONS.values() for new in news}


def test_a_terminal_gets_the_ends_of_what_is_long() -> None:
    shown = view.screen("\n".join(f"line {number}" for number in range(1000)) + "\n" + "x" * 5000)
    assert len(shown) == view.SCREEN + 1
    assert (shown[0], shown[view.SCREEN // 2]) == ("line 0", "… 801 lines are left out …")
    assert shown[-1] == "x" * view.COLUMNS + f" … {5000 - view.COLUMNS} characters more"
    assert view.errors(replace(result(), errors=("a\nb", "c"))) == ["        a", "        b", "        c"]


def test_of_many_states_some_are_shown_and_the_others_counted() -> None:
    failed, changed = replace(STATE, result=False), replace(STATE, changes={"a": 1})
    shown = view.states(result(*[failed] * (view.FAILED + 5), *[changed] * (view.SCREEN + 1)))
    assert sum(line.startswith("        FAILED") for line in shown) == view.FAILED
    assert shown[-2:] == ["        … 5 more FAILED, in the whole log", "        … 1 more changed, in the whole log"]


def test_a_line_that_was_rewritten_is_shown_as_it_was_left() -> None:
    state = replace(STATE, comment="", changes={"stdout": "10%\r50%\r100%\r\nWindows\r\nno end"})
    assert view.all_states(result(state))[0].split("\n")[1:] == [
        " " * 10 + text for text in ("100%", "Windows", "no end")
    ]
