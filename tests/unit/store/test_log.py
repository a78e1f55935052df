"""The log of a deployment: lines, offsets, what a crash leaves, and what must not reach a terminal."""

from __future__ import annotations

import contextlib
import json
import re
import resource
import tempfile
import threading
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpushooks.core.events import VERSION, Cut, Item, Noted, SlsBegan, StateEnded, Text, Traced, Verdict, listed
from corpushooks.core.redaction import MARK, Redactor
from corpushooks.core.text import LINE, PART, ROWS, bounded
from corpushooks.store.log import Log, clean, has_end, read
from tests.support.counted_disk import Disk

END = Verdict("deployed", "deploy", "hello", 1, reason="the outcome")


def lines(path: Path, offset: int = 0) -> list[str]:
    """Return what is in a log, by the texts of its events."""
    return [text for one in read(path, offset) for text in told(one.event).split("\n")]


def told(event: object) -> str:
    return event.reason if isinstance(event, Verdict) else str(getattr(event, "text", event))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs/1.log"


def test_the_name_of_a_log_is_on_the_disk_before_anything_is_in_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Disk(monkeypatch)
    writer = Log(path)
    assert seen.has(path.parent)
    monkeypatch.undo()
    writer.close()


def test_events_come_back_as_they_were(path: Path) -> None:
    told = [SlsBegan("00_a", "install", 4, 8), Noted("two\nthree"), listed("files", [Item("a", "M", "+1")]), END]
    log = Log(path)
    for event in told:
        log.tell(event)
    log.close()
    found = list(read(path))
    assert [one.event for one in found] == told
    assert [one.end for one in found] == [False, False, False, True]
    assert log.ended and has_end(path)
    assert path.stat().st_mode & 0o777 == 0o600
    first, *rest = map(json.loads, path.read_text().splitlines())
    assert first["v"] == VERSION and not any("v" in record for record in rest)


OLD = {
    '{"at": 1.5, "text": "one"}': Text("one"),
    '{"at": 1.5, "text": "two", "more": true}': Text("two", more=True),
    '{"at": 1.5, "text": "hint", "brief": true}': Text("hint", brief=True),
    '{"at": 1.5, "text": "over", "end": true}': Text("over", end=True),
    '{"at": 1.5, "event": "of a newer version", "x": 1}': Text("(unknown event of a newer version)", more=True),
    '{"at": 1.5, "event": "step"}': Text("(this line cannot be read)"),
    '{"at": 1.5, "event": ["step"]}': Text("(this line cannot be read)"),
    '{"at": 1.5, "event": "note", "text": 3}': Text("(this line cannot be read)"),
    "[]": Text("(this line cannot be read)"),
}


@pytest.mark.parametrize("record", OLD)
def test_lines_of_other_versions_and_damaged_ones(path: Path, record: str) -> None:
    path.parent.mkdir()
    path.write_text(record + "\n")
    (found,) = read(path)
    assert found.event == OLD[record]
    assert (found.end, has_end(path)) == (("end" in record),) * 2


def test_a_log_that_an_older_version_began_is_gone_on_with(path: Path) -> None:
    path.parent.mkdir()
    path.write_text('{"at": 1.5, "text": "one"}\n')
    log = Log(path)
    log.tell(END)
    log.close()
    assert [one.event for one in read(path)] == [Text("one"), END]


def test_offsets_are_where_the_next_line_begins(path: Path) -> None:
    log = Log(path)
    log.tell(Noted("ä\nbb\n€€€"))
    whole = list(read(path))
    for index, line in enumerate(whole):
        assert list(read(path, line.offset)) == whole[index + 1 :]
    assert whole[-1].offset == path.stat().st_size
    assert list(read(path, 10**9)) == []
    log.close()


def test_a_log_that_is_not_there_has_no_lines(path: Path) -> None:
    assert lines(path) == []


def test_a_torn_line_is_not_read_and_is_cut_by_whoever_goes_on(path: Path) -> None:
    log = Log(path)
    log.tell(Noted("whole"))
    log.close()
    with path.open("ab") as file:
        file.write(b'{"at": 1, "text": "tor')
    assert lines(path) == ["whole"]
    log = Log(path)
    log.tell(Noted("next"))
    log.close()
    assert lines(path) == ["whole", "next"]


def test_a_log_of_nothing_but_a_torn_line_is_empty(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b'{"at"')
    Log(path).close()
    assert path.read_bytes() == b""


def test_whoever_goes_on_knows_that_the_outcome_was_said(path: Path) -> None:
    log = Log(path)
    assert not log.ended
    log.tell(END)
    log.tell(Noted("afterwards"))
    log.close()
    again = Log(path)
    assert again.ended
    again.close()


def test_what_is_written_after_the_close_is_lost_and_nothing_breaks(path: Path) -> None:
    log = Log(path)
    log.close()
    log.tell(Noted("late"))
    log.close()
    assert lines(path) == []


def test_a_follower_is_woken(path: Path) -> None:
    log = Log(path)
    woken: list[str] = []
    follower = threading.Thread(target=lambda: (log.wait(0, 30), woken.append(lines(path)[0])))
    follower.start()
    log.tell(Noted("now"))
    follower.join(10)
    assert woken == ["now"]
    closed = threading.Thread(target=log.wait, args=(path.stat().st_size, 30))
    closed.start()
    log.close()
    closed.join(10)
    assert not closed.is_alive()


def test_a_follower_gets_what_comes_together_and_the_outcome_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("corpushooks.store.log.TOGETHER", 30.0)
    log, woken = Log(path), list[list[str]]()
    follower = threading.Thread(target=lambda: (log.wait(0, 30), woken.append(lines(path))))
    follower.start()
    log.tell(Noted("one"))
    log.tell(Noted("two"))
    assert not woken
    log.tell(END)
    follower.join(10)
    assert woken and len(woken[0]) == 3
    log.close()


def test_a_write_that_the_disk_cuts_short_spoils_no_later_line(path: Path) -> None:
    log = Log(path)
    log.tell(Noted("one"))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, hard))
    try:
        with contextlib.suppress(OSError):
            log.tell(Noted("x" * 100))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    log.tell(Noted("two"))
    log.close()
    found = lines(path)
    assert (found[0], found[-1]) == ("one", "two")


HARMFUL = {
    "\x1b[31mred\x1b[0m": "red",
    "\x1b[2J\x1b[H": "",
    "\x1b]0;title\x07text": "text",
    "\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\": "link",
    "\x1b]never ended": "",
    "\x1bc": "·c",
    "a\rb": "a·b",
    "a\x08b": "a·b",
    "\x9b31m": "·31m",
    "\x00\x07\x7f": "···",
    "a\tb": "a       b",
    "\u202eevil\u2066": "·evil·",
    "\u2028": "·",
    "\ud800": "·",
    "ä € 漢 🎉": "ä € 漢 🎉",
}


@pytest.mark.parametrize("text", HARMFUL, ids=ascii)
def test_what_could_drive_a_terminal_is_made_harmless(path: Path, text: str) -> None:
    log = Log(path)
    log.tell(Noted(text))
    log.close()
    assert lines(path) == [HARMFUL[text]]


@settings(deadline=None, max_examples=50)
@given(st.text())
def test_nothing_harmful_is_left(text: str) -> None:
    cleaned = clean(text)
    assert not [char for char in cleaned if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")]
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", cleaned)
    assert clean(cleaned) == cleaned


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text(), min_size=1))
def test_each_record_is_one_line_of_json(texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = Log(Path(folder) / "log")
        for text in texts:
            log.tell(Noted(text))
        log.close()
        records = (Path(folder) / "log").read_bytes().split(b"\n")
        assert records.pop() == b""
        assert [json.loads(record)["text"] for record in records] == [
            told(each.event) for each in read(Path(folder) / "log")
        ]
        assert len(records) == len(texts)


def whole(path: Path) -> str:
    return "\n".join(lines(path))


def test_of_a_long_text_both_ends_are_kept_and_the_middle_is_counted(path: Path) -> None:
    log = Log(path)
    text = [f"line {number:07} of a long text" for number in range(100_000)]
    log.tell(Traced("\n".join(text)))
    log.close()
    found = lines(path)
    (gap,) = (index for index, line in enumerate(found) if "omitted" in line)
    assert [*found[:gap], *found[gap + 1 :]] == [*text[:gap], *text[-(len(found) - gap - 1) :]]
    left = text[gap : -(len(found) - gap - 1)]
    assert found[gap] == f"… {len(left)} lines, {len(chr(10).join(left))} bytes omitted …"
    assert 1_000_000 < sum(map(len, found)) < 1_200_000 or len(found) == 2 * ROWS + 1


def test_of_many_short_lines_as_many_are_kept(path: Path) -> None:
    log = Log(path)
    log.tell(Traced("first" + "\n" * 500_000 + "last"))
    log.close()
    found = lines(path)
    assert (found[0], found[-1], len(found)) == ("first", "last", 2 * ROWS + 1)


def test_a_long_line_is_cut_and_counted(path: Path) -> None:
    log = Log(path)
    log.tell(Noted("before\n" + "ä" * 4_000_000 + "\nafter"))
    log.tell(Noted("b" * LINE))
    log.close()
    before, head, gap, tail, after, exact = lines(path)
    assert (before, after, exact) == ("before", "after", "b" * LINE)
    assert head.startswith("ä" * LINE + " … ") and tail.startswith("ä" * LINE + " … ")
    assert "1 lines" in gap


@settings(deadline=None, max_examples=30)
@given(st.lists(st.text(st.sampled_from("aé\n"), max_size=8), max_size=400), st.integers(2, 40), st.integers(1, 10))
def test_a_bounded_text_is_its_two_ends(parts: list[str], part: int, rows: int) -> None:
    text = "".join(parts)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("PART", part), ("ROWS", rows), ("LINE", 5)):
            patch.setattr(f"corpushooks.core.text.{name}", value)
        found = bounded(text)
    if found != text:
        head, gap, tail = re.split(r"\n(… \d+ lines, \d+ bytes omitted …)\n", found, maxsplit=1)
        assert text.startswith(head) and text.endswith(tail)
        assert len(head) + len(tail) <= 2 * part
        assert head.count("\n") < rows and tail.count("\n") < rows
        told = sum(each.count("\n") + 1 for each in (head, tail)) + int(gap.split()[1])
        assert text.count("\n") + 1 <= told <= text.count("\n") + 3, "a line that is cut counts on both sides"


def test_a_log_that_is_too_long_keeps_what_the_terminal_shows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corpushooks.store.log.LIMIT", 10_000)
    log = Log(path)
    for number in range(1000):
        log.tell(Traced(f"detail {number}\nof it"))
        if number % 100 == 0:
            log.tell(Noted(f"step {number}"))
            log.tell(StateEnded("a", "cmd.run", True, changed=True, comment="so", output="x" * 100))
            log.tell(StateEnded("b", "cmd.run", False, comment="why"))
    log.tell(END)
    log.close()
    found = list(read(path))
    kept = sum(isinstance(one.event, Traced) for one in found)
    assert [one.event.text for one in found if isinstance(one.event, Noted)] == [
        f"step {n}" for n in range(0, 1000, 100)
    ]
    changed, failed = ([one.event for one in found if getattr(one.event, "id", "") == which] for which in "ab")
    assert {one.comment for one in failed} == {"why"}, "what failed is on the terminal"
    assert changed[0].output and not changed[-1].output and changed[-1].changed
    spared = sum(not one.output for one in changed)
    assert found[-1].end and isinstance(cut := found[-2].event, Cut)
    assert cut.lines == 2 * (1000 - kept) + 2 * spared and 0 < kept < 200
    assert path.stat().st_size < 16_000
    for one in found:  # what is followed by offset stays so
        assert next(iter(read(path, one.offset)), None) == next((x for x in found if x.offset > one.offset), None)


def test_what_was_not_kept_after_the_outcome_is_said_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corpushooks.store.log.LIMIT", 10)
    log = Log(path)
    log.tell(END)
    log.tell(Traced("a detail"))
    log.close()
    assert [one.event for one in read(path)] == [END, Cut(1, 8)]


def test_secrets_are_taken_out_before_text_is_cut_split_or_cleaned(path: Path) -> None:
    redactor = Redactor()
    redactor.know(["one\ntwo", "hunter2-secret"])
    log = Log(path, redactor)
    log.tell(Noted("a one\ntwo b"))
    log.tell(Noted("hunter2\x1b[31m-secret\x1b[0m, coloured"))
    log.tell(Noted("x" * (LINE - 3) + "hunter2-secret"))
    log.tell(Noted("y" * (PART - 3) + "hunter2-secret" + "z" * PART))
    log.close()
    assert "hunter2" not in whole(path) and "hun" not in whole(path)
    assert lines(path)[:2] == [f"a {MARK} b", f"{MARK}, coloured"]
