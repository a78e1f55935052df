"""What SLS files print, however much and whatever it is, with real Salt: bounded, harmless, and counted."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from corpushooks.core.text import LINE
from corpushooks.deploy import progress
from corpushooks.salt_worker import commands
from corpushooks.screen import screen
from corpushooks.store import log
from tests.support.box import Box, Push

PRINTS = """\
much:
  cmd.run:
    - name: echo the first line; yes 'a line of a few million' | head -c 100000000; echo the last line
binary:
  cmd.run:
    - name: head -c 3000000 /dev/urandom
one-line:
  cmd.run:
    - name: head -c 5000000 /dev/zero | tr '\\0' x
escapes:
  cmd.run:
    - name: >-
        printf '%b' '\\033[2J\\033]0;title\\007\\033]8;;http://x\\007a link\\033]8;;\\007\\033[31m in red\\033[0m\\n'
progress:
  cmd.run:
    - name: for n in $(seq 1000); do printf '\\r%s of 1000' $n; done; printf '\\nthen this\\n'
no-newline:
  cmd.run:
    - name: printf 'no newline at the end'
"""
FAILS = """\
long-line:
  cmd.run:
    - name: head -c 5000000 /dev/zero | tr '\\0' y; exit 1
lines:
  cmd.run:
    - name: seq 1000000; exit 1
{% for n in range(200) %}
failing-{{ n }}:
  test.fail_without_changes: []
{% endfor %}
"""


def test_a_command_loses_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a secret would not be known as one."""
    monkeypatch.setattr(commands, "KEEP", 200)
    kept = commands.Kept()
    data = b"".join(b"line-%04d\n" % number for number in range(1000))
    for start in range(0, len(data), 7):
        kept.add(data[start : start + 7])
    whole = kept.whole()
    lines = whole.decode().splitlines()
    (gap,) = (index for index, line in enumerate(lines) if "omitted" in line)
    assert lines[: gap - 1] == [f"line-{number:04}" for number in range(gap - 1)] and gap > 5
    assert lines[gap + 1 :] == [f"line-{number:04}" for number in range(1000 - len(lines) + gap + 1, 1000)]
    lost = int(lines[gap].split()[1])
    assert lost + sum(len(line) + 1 for line in lines if line.startswith("line-")) == len(data)


@pytest.fixture(params=["warm", pytest.param("salt-call", marks=pytest.mark.slow)])
def salted(request: pytest.FixtureRequest, new_box: Callable[..., Box]) -> Box:
    box = new_box(salt=True, forks=False)  # its memory is measured
    box.settings(f"engine: {request.param}\n")
    box.init()
    box.start()
    return box


def peak(box: Box) -> int:
    """Return how many MiB of memory the daemon has had at most."""
    assert box.daemon
    text = Path(f"/proc/{box.daemon.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s*(\d+) kB", text)[0]) >> 10


LIVE = progress.OUTPUT * (progress.COLUMNS + 40)  # characters that a slow one shows as it goes


def harmless(pushed: Push, *, size: int) -> None:
    """See that a terminal was neither driven nor flooded."""
    shown = pushed.text.replace("\n", "")
    assert not [char for char in shown if unicodedata.category(char) in ("Cc", "Cs")]
    assert len(pushed.text) < size + LIVE


def test_whatever_an_sls_prints_is_bounded_and_harmless(salted: Box) -> None:
    work = salted.work()
    work.commit({"a": "1", ".salt/00_prints.sls": PRINTS})
    pushed = work.push()
    assert pushed.code == 0, pushed.text
    harmless(pushed, size=2000)
    path = salted.project().log_file(1)
    lines = screen.texts(log.read(path), whole=True)
    text = "\n".join(lines)
    assert path.stat().st_size < 10 << 20
    assert max(map(len, lines)) < LINE + 100
    for part in (
        "the first line",
        "the last line",
        "a link in red",
        "1000 of 1000",
        "then this",
        "no newline at the end",
    ):
        assert part in text
    assert "500 of 1000" not in text, "a line that was rewritten is shown as it was left"
    assert re.search(r"bytes omitted", text)
    assert re.search(r"x{4000} … \d+ more characters", text)
    assert peak(salted) < 250


def test_what_fails_does_not_flood_the_terminal(salted: Box) -> None:
    work = salted.work()
    work.commit({"a": "1", ".salt/00_fails.sls": FAILS})
    pushed = work.push()
    assert (pushed.code, pushed.rejected) == (1, "install 00_fails failed; rolled back")
    harmless(pushed, size=20_000)
    text = "\n".join(pushed.lines)
    assert re.search(r"y{300} … \d+ more characters", text) and max(map(len, pushed.lines)) < 500
    assert "more lines in the whole log" in text and "1000000" in text
    assert "more FAILED, in the whole log" in text
    assert "failing-199" in salted.log(1)
    assert peak(salted) < 250
