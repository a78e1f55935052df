"""What a deployment tells, as lines: rows, states, an SLS as it runs, beginnings and ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpushooks.core.deployment import TRANSITIONS
from corpushooks.core.events import (
    NAMES,
    Began,
    Case,
    Cut,
    Detail,
    Event,
    Item,
    Listed,
    Recorded,
    SlsBegan,
    StepEnded,
    SuiteEnded,
    Text,
    Verdict,
    Warned,
    as_record,
    listed,
    of_record,
)
from corpushooks.core.text import excerpt
from corpushooks.deploy import progress
from corpushooks.deploy.progress import OUTPUT, Progress
from corpushooks.salt import Result, State
from corpushooks.screen import rows, screen, words
from corpushooks.screen import states as sls
from corpushooks.screen.screen import Screen
from tests.support.box import Box, until

ONE, TWO = "1" * 40, "2" * 40
STATE = State("app", "app", "cmd.run", True, {}, "", 0.04, "10_app", 12)
BEGAN = Began("hello", "prod", 42, "deploy", old=ONE, new=TWO, commits=1)


def result(*states: State, ok: bool = True, errors: tuple[str, ...] = ()) -> Result:
    return Result("10_app", states, errors, ok)


def states(found: Result, *, test: bool = False, doubt: str = "") -> list[str]:
    return sls.states([progress.told(one, doubt) for one in found.states], test=test, diffs=not found.ok)


def all_states(found: Result) -> list[str]:
    return sls.all_states([progress.told(one) for one in found.states])


def summary(found: Result) -> str:
    return sls.summary(progress.ended(SlsBegan("10_app", "install"), found))


def errors(found: Result) -> list[str]:
    return sls.errors(progress.ended(SlsBegan("10_app", "install"), found))


def lines(event: Event, *, whole: bool = False) -> list[str]:
    return Screen(whole).lines(Recorded(event, 0.0, 1))


def test_rows_stand_in_columns() -> None:
    assert (
        rows.row("[1/8] archive", "2 files", 0.123)
        == "[1/8] archive                2 files                         0.1 s"
    )
    assert rows.row("[1/8] archive", "", None) == "[1/8] archive"
    long = rows.row("[4/8] install " + "x" * 60, "1 state", 1.0)
    assert "x  1 state" in long and long.endswith("1.0 s")
    assert rows.step_label(4, 8, "install", "00_a") == "[4/8] install 00_a"
    assert rows.step_label(4, 8, "install", first=False) == "      install"


@settings(deadline=None, max_examples=50)
@given(st.text("ab ", max_size=28), st.text("ab ", max_size=25), st.floats(0, 9999))
def test_a_row_of_usual_words_fits_a_terminal(label: str, detail: str, seconds: float) -> None:
    assert len(rows.row(label, detail, seconds)) <= rows.WIDTH


OPENINGS = {
    "hello (prod) deployment 42: 1111111 -> 2222222, 1 commit": BEGAN,
    "hello (prod) task 42: tidy, by jo": replace(BEGAN, kind="task", task="tidy", by="jo"),
    "hello (prod) plan 42: 2222222 again": replace(BEGAN, kind="plan", old=TWO, commits=0),
    "hello (prod) repair 42: at 2222222": replace(BEGAN, kind="repair"),
    "hello (prod) edit 42: a, b\\n, c and 2 more": replace(BEGAN, kind="edit", edited=("a", "b\n", "c", "d", "e")),
}


@pytest.mark.parametrize("opening", OPENINGS)
def test_opening(opening: str) -> None:
    assert lines(OPENINGS[opening]) == [opening]


def test_summary() -> None:
    assert summary(result()) == "nothing to do"
    assert summary(result(STATE)) == "1 state"
    assert summary(result(STATE, replace(STATE, changes={"a": 1}))) == "2 states, 1 changed"


def test_states_that_did_something_are_shown() -> None:
    changed = replace(STATE, id="config", function="file.managed", changes={"diff": "+x"})
    failed = replace(STATE, result=False, comment="why\nso", changes={"stderr": "nginx: bad", "stdout": "out"})
    skipped = replace(STATE, id="later", result=False, skipped=True)
    assert states(result(STATE, changed, failed, skipped, ok=False)) == [
        f"{'        changed  config       file.managed':<58}   0.0 s",
        "          +x",
        "        FAILED   app          cmd.run (10_app.sls line 12)",
        "          out",
        "          nginx: bad",
        "        not run  later        cmd.run",
    ]


def test_a_failure_without_output_is_explained_by_its_comment() -> None:
    failed = replace(STATE, result=False, comment="why\nso")
    assert states(result(failed, ok=False))[1:] == ["          why", "          so"]


def test_what_looked_at_the_old_tree_is_doubtful() -> None:
    would = replace(STATE, name="/srv/x/project/a", result=None, changes={"a": 1})
    assert "unsure" in states(result(would), test=True, doubt="/srv/x/project")[1]
    assert "unsure" not in "".join(states(result(would), test=True, doubt="/srv/y/project"))


def test_what_would_change_is_shown_in_a_plan_only() -> None:
    would = replace(STATE, result=None, changes={"diff": "-a\n+b"}, comment="The file is set to be changed")
    assert states(result(would), test=True)[0].startswith("        would    app ")
    assert states(result(would), test=True)[1:] == ["          -a", "          +b"]
    assert states(result(would))[0].startswith("        FAILED ")
    quiet = replace(would, changes={})
    assert states(result(quiet), test=True)[1:] == ["          The file is set to be changed"]


def test_long_output_is_cut_at_its_head() -> None:
    text = "\n".join(map(str, range(100)))
    assert rows.tail(text, 3) == ["… 97 more lines in the whole log", "97", "98", "99"]
    assert rows.tail("a\nb", 3) == ["a", "b"]
    assert len(states(result(replace(STATE, result=False, comment=text)))) <= 2 + sls.COMMENT_LINES


def test_all_states_are_in_the_whole_log() -> None:
    long = "\n".join("abcdefghijklmnopqrst")
    failed = [replace(STATE, result=False, changes={"stdout": text}) for text in ("o", long)]
    shown = all_states(result(replace(STATE, comment="fine"), *failed))
    words = [[line.split()[0] for line in text.split("\n")] for text in shown]
    assert words == [["ok", "fine"], ["FAILED", *long.split()]], "what a terminal showed whole is there already"


def test_a_terminal_gets_the_ends_of_what_is_long() -> None:
    shown = rows.cut("\n".join(f"line {number}" for number in range(1000)) + "\n" + "x" * 5000)
    assert len(shown) == rows.SCREEN + 1
    assert (shown[0], shown[rows.SCREEN // 2]) == ("line 0", "… 801 lines omitted …")
    assert shown[-1] == "x" * rows.COLUMNS + f" … {5000 - rows.COLUMNS} more characters"
    assert errors(replace(result(), errors=("a\nb", "c"))) == ["        a", "        b", "        c"]


def test_of_many_states_some_are_shown_and_the_others_counted() -> None:
    failed, changed = replace(STATE, result=False), replace(STATE, changes={"a": 1})
    shown = states(result(*[failed] * (sls.FAILED + 5), *[changed] * (rows.SCREEN + 1)))
    assert sum(line.startswith("        FAILED") for line in shown) == sls.FAILED
    assert shown[-2:] == ["        … 5 more FAILED, in the whole log", "        … 1 more changed, in the whole log"]


def test_a_line_that_was_rewritten_is_shown_as_it_was_left() -> None:
    state = replace(STATE, comment="", changes={"stdout": "10%\r50%\r100%\r\nWindows\r\nno end"})
    assert all_states(result(state))[0].split("\n")[1:] == [" " * 10 + text for text in ("100%", "Windows", "no end")]


DETAILS = {
    "": Detail(),
    "3 files": Detail(3, "file"),
    "0 of 1 file": Detail(0, "file", of=1),
    "2 of 10 files kept": Detail(2, "file", of=10, note="kept"),
    "5 changed": Detail(5, note="changed"),
    "2 processes stopped": Detail(2, "process", note="stopped"),
    "left out": Detail(note="left out"),
}


@pytest.mark.parametrize("told", DETAILS)
def test_what_came_of_a_step(told: str) -> None:
    assert words.detail(DETAILS[told]) == told


def test_an_install_step_is_shown_by_its_sls_and_a_rollback_in_the_whole_log() -> None:
    assert lines(StepEnded("install", 4, 8, seconds=1.0)) == []
    assert lines(StepEnded("install", 4, 8, Detail(note="left out"), 0.0))[0].split()[-4:] == [
        "left",
        "out",
        "0.0",
        "s",
    ]
    undo = StepEnded("restore", detail=Detail(1, "file"), undo=True)
    assert (lines(undo), lines(undo, whole=True)) == ([], ["      undo restore: 1 file"])


def test_of_a_long_list_both_ends_are_shown_and_kept() -> None:
    many = listed("taken back", [Item(f"f{n}") for n in range(5000)])
    assert (len(many.items), many.total) == (1000, 5000)
    assert lines(many) == excerpt([f"      restored: f{n}" for n in range(5000)], 5)
    few = listed("differs", [Item("x" * 100)] * 6, about="00_a")
    assert len(lines(few)) == 6 and lines(few)[0].endswith("6 files differ from the archive")
    assert lines(few, whole=True)[6:] == [f"        {'x' * 100}"] * 6
    assert lines(listed("replaced", [Item("a")])) == []
    assert lines(listed("commits", [Item("one")], total=2)) == ["      one", "      … and older ones"]
    assert lines(Listed("of a newer version", (Item("a"),), 1)) == ["      of a newer version: a"]


VERDICT = Verdict("deployed", "deploy", "hello", 42, commit=TWO, branch="master")
VERDICTS = {
    ("success: hello is live at 2222222 (deployment 42, 1.2 s)", "  http://a"):
        replace(VERDICT, seconds=1.23, urls=("http://a",)),
    ("success: hello is live at 2222222 (deployment 42)",): VERDICT,
    ("success: task tidy is done",): replace(VERDICT, state="done", kind="task", task="tidy"),
    ("success: a plan only: nothing was changed",): replace(VERDICT, state="done", kind="plan"),
    ("success: hello is repaired, at 2222222",): replace(VERDICT, state="done", kind="repair"),
    ("success: promote is done",): replace(VERDICT, state="done", kind="promote"),
    ("error: why", "hint: so"): replace(VERDICT, state="refused", reason="why", hint="so"),
    ("rolled back to 2222222; the failed tree is kept: archive 42", "hint: the whole log: corpus log hello 42"):
        replace(VERDICT, state="rolled_back", kept=True, see_log="corpus log hello 42"),
    ("rolled back to the empty project; the failed tree is not kept",):
        replace(VERDICT, state="rolled_back", commit=None),
    ("error: why", "dev: the tree of deployment 42 is left in place; master is still at 1111111"):
        replace(VERDICT, state="failed", how="left", reason="why", live=ONE),
    (
        "error: THE ROLLBACK FAILED: why",
        "error: hello is broken; nothing was deleted, pushes are refused until it",
        "       is repaired",
    ): replace(VERDICT, state="broken", reason="why"),
    ("error: internal error: x",): replace(VERDICT, state="broken", how="fault", reason="internal error: x"),
    ("error: why (rolled back)",): replace(VERDICT, state="rolled_back", how="late", reason="why"),
    ("success: deploy (deployed)",): replace(VERDICT, how="late"),
}  # fmt: skip


@pytest.mark.parametrize("said", VERDICTS, ids=lambda said: said[0][:40])
def test_verdicts(said: tuple[str, ...]) -> None:
    assert lines(VERDICTS[said]) == list(said)


@pytest.mark.parametrize("state", sorted({state for news in TRANSITIONS.values() for state in news}))
def test_every_state_can_be_a_verdict(state: str) -> None:
    assert lines(replace(VERDICT, state=state, reason="why"))


def test_the_hint_of_the_whole_log_is_for_those_who_do_not_read_it() -> None:
    said = replace(VERDICT, state="failed", reason="why", hint="so", see_log="corpus log hello 42")
    assert lines(said)[1:] == ["hint: so", "hint: the whole log: corpus log hello 42"]
    assert lines(said, whole=True)[1:] == ["hint: so"]


def test_what_is_aside_only_the_whole_log_shows() -> None:
    for event in (Warned("x", aside=True), Cut(2, 9), Text("x", more=True)):
        assert lines(event) == [] and len(lines(event, whole=True)) == 1
    assert lines(Text("x", brief=True)) == ["x"] and lines(Text("x", brief=True), whole=True) == []


FAILURES = tuple(Case(f"t{n}", "Shop", "failed", 0.1, "why", "all of it") for n in range(25))
TESTED = SuiteEnded("a.xml", "unit", 30, 25, 0, 1, 2.0, FAILURES)


def test_of_tests_those_that_failed_are_shown() -> None:
    few, all_of_them = lines(TESTED), lines(TESTED, whole=True)
    assert few[0].split() == ["unit", "30", "tests,", "25", "failed,", "1", "skipped", "2.0", "s"]
    assert few[1] == "        FAILED   Shop.t0: why" and len(few) == 21
    assert all_of_them[:3] == [*few[:2], "          all of it"] and len(all_of_them) == 51


def test_each_event_is_shown_and_has_a_name() -> None:
    assert set(screen.SHOWN) == set(get_args(Event)) == set(NAMES.values())


@pytest.mark.parametrize(
    "event", [BEGAN, *DETAILS, *VERDICTS.values(), listed("files", [Item("a", "M", "+1")]), TESTED]
)
def test_an_event_comes_back_from_the_log_as_it_was(event: Event | str) -> None:
    told = StepEnded("sync", 2, 8, DETAILS[event], 0.1) if isinstance(event, str) else event
    record = as_record(told)
    assert of_record(record) == told
    assert of_record({**record, "what a newer version adds": 1}) == told


@pytest.mark.parametrize(
    "record", [{}, {"event": 1}, {"event": "step"}, {"event": "step", "step": 1}, {"event": "new"}]
)
def test_what_is_no_event_is_refused(record: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        of_record(record)


# an SLS as it runs

OK = State("one", "one", "test.nop", True, {}, "", 0.0, "00_a", 1)
CHANGED = replace(OK, id="two", function="cmd.run", name="two", changes={"stdout": "x"}, seconds=1.5)
FAILED = replace(OK, id="three", function="cmd.run", name="three", result=False, comment="why", line=9)
RESULT = Result("00_a", (OK, CHANGED), (), True, "")


class Shower:
    """Shows an SLS; each event comes `apart` seconds after the one before."""

    def __init__(self, apart: float, role: str = "install") -> None:
        self.lines: list[str] = []
        self.apart, self.at, self.screen, self.events = apart, 0.0, Screen(), list[Event]()
        began = SlsBegan("00_a", role, 4, 8)
        self.progress = Progress(self.tell, began, lambda text: text.replace("s3cret", "***"))

    def tell(self, event: Event) -> None:
        self.at += self.apart
        self.events.append(event)
        self.lines += self.screen.lines(Recorded(event, self.at, 0))


def test_a_quick_sls_is_a_line_at_its_end() -> None:
    one = Shower(0.1)
    one.progress.state(OK)
    one.progress.output(b"said\n")
    one.progress.state(CHANGED)
    one.progress.end(RESULT)
    (line,) = one.lines
    assert line.startswith("[4/8] install 00_a           2 states, 1 changed")


def test_one_that_takes_long_is_shown_as_it_goes() -> None:
    one = Shower(3.0)
    one.progress.state(OK)
    one.progress.output(b"first\nhal")
    assert one.lines == ["[4/8] install 00_a", "          first"]
    one.progress.output(b"f s3cret\r\n10 %\r100 %\n\xff")
    assert one.lines[2:] == ["          half ***", "          100 %"]
    one.progress.state(CHANGED)
    assert one.lines[4:] == ["        changed  two          cmd.run                        1.5 s"]
    one.progress.end(RESULT)
    assert one.lines[5].startswith("      install 00_a           2 states, 1 changed")
    assert len(one.lines) == 6


def test_one_that_begins_to_take_long_is_shown_from_its_beginning() -> None:
    one = Shower(0.9)
    one.progress.state(CHANGED)
    one.progress.output(b"first\n")
    assert one.lines == []
    one.progress.output(b"second\n")
    assert [line.split()[0] for line in one.lines] == ["[4/8]", "changed", "first", "second"]


def test_what_failed_is_shown_once_and_what_came_late_too() -> None:
    one = Shower(3.0)
    one.progress.state(FAILED)
    one.progress.end(Result("00_a", (FAILED, CHANGED), (), False, ""))
    assert one.lines[:3] == [
        "[4/8] install 00_a",
        "        FAILED   three        cmd.run (00_a.sls line 9)",
        "          why",
    ]
    assert [line.split()[:2] for line in one.lines[3:]] == [["changed", "two"]]


def test_output_is_bounded() -> None:
    one = Shower(3.0)
    for number in range(3 * OUTPUT):
        one.progress.output(f"line {number}\n".encode())
    assert len(one.lines) == OUTPUT + 1 and one.lines[-1] == "          … more"
    one.progress.output(b"x" * 10_000_000)  # no end of a line
    assert len(one.progress._part) == progress.LINE
    one.progress.state(OK)
    one.progress.output(b"again\n")
    assert one.lines[-1] == "          again"


def test_a_special_sls_is_shown_where_it_fails() -> None:
    one = Shower(3.0, "hook")
    one.progress.output(b"x\n")
    one.progress.state(CHANGED)
    assert one.lines == []
    one.progress.end(Result("00_a", (CHANGED, FAILED), (), False))
    assert [line.split()[0] for line in one.lines] == ["changed", "FAILED", "why"]


def test_the_same_events_give_the_same_lines() -> None:
    """A follower that comes again is fed from where it was: what came before has the same effect as the first time."""
    one = Shower(0.9)
    for _ in range(3):
        one.progress.output(b"said\n")
        one.progress.state(CHANGED)
    one.progress.end(RESULT)
    again = [Recorded(event, 0.9 * (n + 1), n) for n, event in enumerate(one.events)]
    assert screen.texts(again, whole=False) == one.lines


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
