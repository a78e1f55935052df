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

from corpushooks.log import Log, clean, read
from corpushooks.redaction import MARK, Redactor
from corpushooks.text import LINE, PART, ROWS, bounded
from tests.test_disk import Disk


def lines(path: Path, offset: int = 0) -> list[str]:
    return [line.text for line in read(path, offset)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs/1.log"


def test_the_name_of_a_log_is_on_the_disk_before_anything_is_in_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Disk(monkeypatch)
    writer = Log(path)
    assert seen.has(path.parent)
    monkeypatch.undo()
    writer.close()


def test_lines_and_their_marks(path: Path) -> None:
    log = Log(path)
    log.write("one")
    log.write("two\nthree", more=True)
    log.write("four\nfive", end=True)
    log.close()
    assert [(line.text, line.more, line.end) for line in read(path)] == [
        ("one", False, False), ("two", True, False), ("three", True, False), ("four", False, False),
        ("five", False, True),
    ]  # fmt: skip
    assert log.ended
    assert path.stat().st_mode & 0o777 == 0o600


def test_offsets_are_where_the_next_line_begins(path: Path) -> None:
    log = Log(path)
    log.write("ä\nbb\n€€€")
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
    log.write("whole")
    log.close()
    with path.open("ab") as file:
        file.write(b'{"at": 1, "text": "tor')
    assert lines(path) == ["whole"]
    log = Log(path)
    log.write("next")
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
    log.write("over", end=True)
    log.write("afterwards")
    log.close()
    again = Log(path)
    assert again.ended
    again.close()


def test_what_is_written_after_the_close_is_lost_and_nothing_breaks(path: Path) -> None:
    log = Log(path)
    log.close()
    log.write("late")
    log.close()
    assert lines(path) == []


def test_a_follower_is_woken(path: Path) -> None:
    log = Log(path)
    woken: list[str] = []
    follower = threading.Thread(target=lambda: (log.wait(0, 30), woken.append(lines(path)[0])))
    follower.start()
    log.write("now")
    follower.join(10)
    assert woken == ["now"]
    closed = threading.Thread(target=log.wait, args=(path.stat().st_size, 30))
    closed.start()
    log.close()
    closed.join(10)
    assert not closed.is_alive()


def test_a_write_that_the_disk_cuts_short_spoils_no_later_line(path: Path) -> None:
    log = Log(path)
    log.write("one")
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, hard))
    try:
        with contextlib.suppress(OSError):
            log.write("x" * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    log.write("two")
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
    log.write(text)
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
            log.write(text)
        log.close()
        records = (Path(folder) / "log").read_bytes().split(b"\n")
        assert records.pop() == b""
        assert [json.loads(record)["text"] for record in records] == lines(Path(folder) / "log")
        assert len(records) == sum(text.count("\n") + 1 for text in texts)


def whole(path: Path) -> str:
    return "\n".join(lines(path))


def test_of_a_long_text_both_ends_are_kept_and_the_middle_is_counted(path: Path) -> None:
    log = Log(path)
    text = [f"line {number:07} of a long text" for number in range(100_000)]
    log.write("\n".join(text), more=True)
    log.close()
    found = lines(path)
    (gap,) = (index for index, line in enumerate(found) if "left out" in line)
    assert [*found[:gap], *found[gap + 1 :]] == [*text[:gap], *text[-(len(found) - gap - 1) :]]
    left = text[gap : -(len(found) - gap - 1)]
    assert found[gap] == f"… {len(left)} lines, {len(chr(10).join(left))} bytes, are left out …"
    assert 1_000_000 < sum(map(len, found)) < 1_200_000 or len(found) == 2 * ROWS + 1


def test_of_many_short_lines_as_many_are_kept(path: Path) -> None:
    log = Log(path)
    log.write("first" + "\n" * 500_000 + "last", more=True)
    log.close()
    found = lines(path)
    assert (found[0], found[-1], len(found)) == ("first", "last", 2 * ROWS + 1)


def test_a_long_line_is_cut_and_counted(path: Path) -> None:
    log = Log(path)
    log.write("before\n" + "ä" * 4_000_000 + "\nafter")
    log.write("b" * LINE)
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
            patch.setattr(f"corpushooks.text.{name}", value)
        found = bounded(text)
    if found != text:
        head, gap, tail = re.split(r"\n(… \d+ lines, \d+ bytes, are left out …)\n", found, maxsplit=1)
        assert text.startswith(head) and text.endswith(tail)
        assert len(head) + len(tail) <= 2 * part
        assert head.count("\n") < rows and tail.count("\n") < rows
        told = sum(each.count("\n") + 1 for each in (head, tail)) + int(gap.split()[1])
        assert text.count("\n") + 1 <= told <= text.count("\n") + 3, "a line that is cut counts on both sides"


def test_a_log_that_is_too_long_keeps_what_the_terminal_shows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corpushooks.log.LIMIT", 10_000)
    log = Log(path)
    for number in range(1000):
        log.write(f"detail {number}\nof it", more=True)
        if number % 100 == 0:
            log.write(f"step {number}")
    log.write("the outcome", end=True)
    log.close()
    found = list(read(path))
    kept = sum(line.text == "of it" for line in found)
    assert [line.text for line in found if not line.more] == [
        *(f"step {n}" for n in range(0, 1000, 100)),
        "the outcome",
    ]
    assert found[-1].end and found[-2].more
    assert found[-2].text.startswith(f"… {2 * (1000 - kept)} lines, ") and 0 < kept < 200
    assert path.stat().st_size < 13_000
    for line in found:  # what is followed by offset stays so
        assert next(iter(read(path, line.offset)), None) == next((x for x in found if x.offset > line.offset), None)


def test_what_was_not_kept_after_the_outcome_is_said_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corpushooks.log.LIMIT", 10)
    log = Log(path)
    log.write("the outcome", end=True)
    log.write("a detail", more=True)
    log.close()
    assert lines(path) == ["the outcome", "… 1 lines, 8 characters, are not kept: the log is too long …"]


def test_secrets_are_taken_out_before_text_is_cut_split_or_cleaned(path: Path) -> None:
    redactor = Redactor()
    redactor.know(["one\ntwo", "hunter2-secret"])
    log = Log(path, redactor)
    log.write("a one\ntwo b")
    log.write("hunter2\x1b[31m-secret\x1b[0m, coloured")
    log.write("x" * (LINE - 3) + "hunter2-secret")
    log.write("y" * (PART - 3) + "hunter2-secret" + "z" * PART)
    log.close()
    assert "hunter2" not in whole(path) and "hun" not in whole(path)
    assert lines(path)[:2] == [f"a {MARK} b", f"{MARK}, coloured"]
