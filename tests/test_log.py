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
