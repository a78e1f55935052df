"""The hook between scripted peers, and how it starts a daemon where none runs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from corpushooks.core.project import Host
from corpushooks.protocol.answers import VERSION
from corpushooks.store.history import History
from corpushooks.system.process import run
from tests.support.box import Box, until
from tests.support.hook_peers import (  # fmt: skip
    FLUSH,
    NEW,
    OLD,
    Ended,
    Hook,
    Turn,
    accepts,
    await_end,
    commands,
    daemon_of,
    hangs_until,
    hello,
    options,
    packet,
    packets,
    says,
    unread,
    unread_stderr,
)

MASTER = "refs/heads/master"
PUSH = hello() + commands(MASTER)
NO_DAEMON = "cannot connect to the deployment daemon"


@pytest.fixture
def hook(tmp_path: Path) -> Hook:
    """Return a hook on a host without a store, so that no daemon is ever started."""
    return Hook.make(Host(tmp_path / "host"), tmp_path)


# git's side


def test_versions_and_features_are_agreed_on(hook: Hook) -> None:
    with daemon_of(hook.host, accepts(MASTER)) as peer:
        ended = hook.run(hello("atomic push-options") + commands(MASTER) + options("only=install", "a b\nc"))
    assert packets(ended.answer)[0] == b"version=1\0push-options"
    assert (ended.code, ended.report, ended.said) == (0, [f"ok {MASTER}"], "")
    asked = peer.asked[0]
    assert re.fullmatch("[0-9a-f]{32}", asked.pop("token"))
    assert asked == {
        "v": VERSION, "op": "push", "project": "hello", "repo": "project", "commands": [[OLD, NEW, MASTER]],
        "options": ["only=install", "a b\nc"], "atomic": True, "admission": "",
    }  # fmt: skip


def test_options_are_asked_for_only_where_the_push_has_some(hook: Hook) -> None:
    with daemon_of(hook.host, accepts(MASTER)) as peer:
        ended = hook.run(PUSH)
    assert packets(ended.answer)[0] == b"version=1"
    assert (peer.asked[0]["options"], peer.asked[0]["atomic"]) == ([], False)
    assert ended.report == [f"ok {MASTER}"]


def test_every_push_has_a_token_of_its_own(hook: Hook) -> None:
    with daemon_of(hook.host, accepts(MASTER), accepts(MASTER)) as peer:
        hook.run(PUSH)
        hook.run(PUSH)
    assert len({asked["token"] for asked in peer.asked}) == 2


RAW_REFS = {
    "dots": "refs/heads/../../../etc/passwd",
    "space": "refs/heads/a b  c",
    "newline": "refs/heads/a\nok refs/heads/master",
    "leading dash": "refs/heads/-n",
    "shell": "refs/heads/$(id)`id`;id",
    "no utf-8": b"refs/heads/\xff\xfe",
    "accents": "refs/heads/é\u2028",
    "control": "refs/heads/\x1b[31m\x07",
    "empty": "",
    "long": "refs/heads/" + "x" * 60_000,
}


@pytest.mark.parametrize("name", RAW_REFS)
def test_raw_ref_names_reach_the_daemon_and_return_unchanged(hook: Hook, name: str) -> None:
    ref = RAW_REFS[name]

    def echo(link: Any, request: dict[str, Any]) -> None:
        says({"report": [f"ng {command[2]} no" for command in request["commands"]]})(link, request)

    with daemon_of(hook.host, echo) as peer:
        ended = hook.run(hello() + commands(ref))
    assert peer.asked[0]["commands"] == [[OLD, NEW, os.fsdecode(ref)]]
    assert ended.report == [f"ng {os.fsdecode(ref)} no"]


def test_a_report_for_the_longest_ref_fits_a_packet(hook: Hook) -> None:
    ref = "refs/heads/" + "x" * 65_400  # git's longest packet is 65520 bytes
    with daemon_of(hook.host, says({"report": [f"ng {ref} {'no ' * 66}"]})):
        ended = hook.run(hello() + commands(ref))
    assert ended.report[0].startswith(f"ng {ref} no")


WHOLE = hello("push-options") + commands(MASTER) + options("nowait")
CUTS = sorted({0, 2, 4, 9, len(hello("push-options")) - 2, len(WHOLE) - len(options("nowait")) + 7, len(WHOLE) - 3}
              | {len(hello("push-options")) + n for n in (0, 3, 40, 90, 110)})  # fmt: skip


@pytest.mark.parametrize("cut", CUTS)
def test_an_early_end_asks_for_nothing(hook: Hook, cut: int) -> None:
    with daemon_of(hook.host, accepts(MASTER)) as peer:
        ended = hook.run(WHOLE[:cut])
    assert (ended.code, ended.said) == (1, "error: git exited in the middle of the push; nothing was requested\n")
    assert peer.asked == []
    assert b"ok" not in ended.answer


GARBAGE = {
    "another version": packet("version=2") + FLUSH + commands(MASTER),
    "two versions": packet("version=1") * 2 + FLUSH + commands(MASTER),
    "nothing": FLUSH * 3,
    "no commands": hello() + FLUSH,
    "no version": packet("hello") + FLUSH + commands(MASTER),
    "no packets": b"GET / HTTP/1.0\r\n\r\n",
    "zeros": b"\0" * 400,
    "length of one": b"0001" + PUSH,
    "a command without parts": hello() + packet("x") + FLUSH,
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_asks_for_nothing_that_could_deploy(hook: Hook, name: str) -> None:
    with daemon_of(hook.host, says()) as peer:
        ended = hook.run(GARBAGE[name])
    assert ended.code == 1
    assert re.fullmatch(r"error: git [^\n]*; nothing was requested\n", ended.said)
    assert peer.asked == []
    assert b"ok" not in ended.answer


def test_a_stray_print_cannot_hurt(hook: Hook) -> None:
    stray = "print('stray'); import os; os.system('echo more; cat'); request = ask("
    hook.path.write_text(hook.path.read_text().replace("request = ask(", stray, 1))
    with daemon_of(hook.host, accepts(MASTER)):
        ended = hook.run(PUSH)
    assert ended.report == [f"ok {MASTER}"]
    assert sorted(ended.said.split()) == ["more", "stray"]


# the daemon's side


def ends(link: Any, request: dict[str, Any]) -> None:
    """Close without a word."""


BAD_DAEMONS: dict[str, Turn] = {
    "closes": ends,
    "reads nothing": unread,
    "half a line": says(b'{"report": ["ok refs/heads/mas'),
    "a whole report without its newline": says(b'{"report": ["ok refs/heads/master"]}'),
    "no JSON": says(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "wrong UTF-8": says(b"\xff\xfe\n"),
    "half a character": says({"say": "\ud83d"}),
    "a list": says([]),
    "an empty object": says({}),
}


@pytest.mark.parametrize(
    "turn",
    [
        *(pytest.param(turn, id=name) for name, turn in BAD_DAEMONS.items()),
        pytest.param(says(42), id="a number"),
        pytest.param(says(["report"]), id="a list of words"),
    ],
)
def test_a_daemon_that_answers_nothing_is_an_error(hook: Hook, turn: Turn) -> None:
    with daemon_of(hook.host, turn):
        ended = hook.run(PUSH)
    assert "Traceback" not in ended.said
    assert ended.report == [f"ng {MASTER} {NO_DAEMON}"]
    assert ended.said.splitlines()[-2].startswith(f"error: {NO_DAEMON}")
    assert ended.said.splitlines()[-1].startswith("hint: on the host: ")


def test_no_daemon_and_none_to_start_is_refused(hook: Hook) -> None:
    ended = hook.run(hello() + commands(MASTER, "refs/tags/v1"))
    assert ended.report == [f"ng {MASTER} {NO_DAEMON}", f"ng refs/tags/v1 {NO_DAEMON}"]
    assert "No such file or directory\n" in ended.said
    assert f"error: {NO_DAEMON}" in ended.said


def test_a_daemon_that_dies_before_its_number_is_an_error(hook: Hook) -> None:
    dies = threading.Event()
    with daemon_of(hook.host, hangs_until(dies)) as peer:
        child = hook.start()
        assert child.stdin
        child.stdin.write(PUSH)
        child.stdin.flush()
        until(lambda: peer.asked)
        assert child.poll() is None
        dies.set()
        out, err = child.communicate(timeout=30)
    assert Ended(child.returncode, out, err.decode()).report == [f"ng {MASTER} {NO_DAEMON}"]


def test_what_has_a_number_is_followed_on_the_next_daemon(hook: Hook) -> None:
    first = says({"number": 7}, {"say": "one", "offset": 10}, {"say": "two", "offset": 20}, b'{"say": "thr')
    second = says({"number": 7}, b"garbage\n")
    third = says({"number": 7}, {"say": "three", "offset": 30}, {"report": [f"ok {MASTER}"]})
    with daemon_of(hook.host, first, second, third) as peer:
        ended = hook.run(PUSH)
    assert ended.report == [f"ok {MASTER}"]
    assert ended.said.splitlines() == [
        "one", "two",
        "warning: lost the connection to the daemon; the deployment is recorded, reconnecting",
        "three",
    ]  # fmt: skip
    again = {**peer.asked[0], "number": 7, "offset": 20}
    assert peer.asked[1:] == [again, again]


def test_a_fault_of_the_daemon_is_no_outcome_of_what_has_a_number(hook: Hook) -> None:
    fault = says({"number": 7}, {"error": "internal error: KeyError", "hint": "see the log of the daemon", "code": 1})
    with daemon_of(hook.host, fault, accepts(MASTER)):
        ended = hook.run(PUSH)
    assert ended.report == [f"ok {MASTER}"]


def test_a_daemon_that_is_away_is_awaited(hook: Hook) -> None:
    with daemon_of(hook.host, says({"number": 7})) as peer:
        child = hook.start()
        assert child.stdin
        child.stdin.write(PUSH)
        child.stdin.close()
        child.stdin = None
        peer.done.wait(30)
    assert not hook.host.socket.exists()
    with daemon_of(hook.host, accepts(MASTER)) as peer:
        out, err = child.communicate(timeout=60)
    assert Ended(child.returncode, out, err.decode()).report == [f"ok {MASTER}"]
    assert (peer.asked[0]["number"], err.decode().count("warning")) == (7, 1)


def test_nothing_is_shown_twice_when_the_real_daemon_dies(box: Box) -> None:
    box.stop()
    box.start("4 install", "before", "kill")
    work = box.app()
    pushing = work.start_push()
    assert box.daemon
    box.daemon.wait(30)
    box.daemon = None
    box.start()
    assert pushing.wait(60) == 1
    shown = (work.path / ".git/push.log").read_text()
    assert shown.count("[1/8] archive") == shown.count("[2/8] sync") == 1
    assert "(interrupted; rolled back)" in shown


def test_hints_are_not_shown_twice_either(box: Box) -> None:
    box.stop()
    box.start("4 install", "before", "kill")
    work = box.app()
    pushing = work.start_push("HEAD:master", "HEAD:topic")
    assert box.daemon
    box.daemon.wait(30)
    box.daemon = None
    box.start()
    pushing.wait(60)
    assert (work.path / ".git/push.log").read_text().count("hint: topic is stored") == 1


# a terminal that nobody reads


def test_lines_that_nobody_reads_are_dropped_and_the_result_arrives(hook: Hook) -> None:
    lines = [{"say": f"{number:05d} " + "x" * 990} for number in range(300)]  # a pipe holds 64 KiB
    with daemon_of(hook.host, says(*lines, {"report": [f"ok {MASTER}"]})):
        child = hook.start()
        answer = unread_stderr(child, PUSH)
        assert Ended(0, answer, "").report == [f"ok {MASTER}"]
        assert await_end(child) == 0
    shown = child.communicate()[1].decode().splitlines()
    assert 0 < len(shown) < 300
    assert [line[:5] for line in shown[:10]] == [f"{number:05d}" for number in range(10)]


def test_a_terminal_that_is_closed_is_no_obstacle(hook: Hook) -> None:
    with daemon_of(hook.host, says({"say": "x" * 5000}, {"say": "y"}, {"report": [f"ok {MASTER}"]})):
        child = hook.start()
        assert child.stderr
        child.stderr.close()
        child.stderr = None
        out, _ = child.communicate(PUSH, timeout=30)
    assert Ended(child.returncode, out, "").report == [f"ok {MASTER}"]


def test_long_lines_arrive_whole_at_a_slow_reader(hook: Hook) -> None:
    text = "ä" * 200_000
    with daemon_of(hook.host, says({"say": text}, {"report": [f"ok {MASTER}"]})):
        ended = hook.run(PUSH)
    assert (ended.said, ended.report) == (text + "\n", [f"ok {MASTER}"])


# the environment


def test_a_hostile_environment_changes_nothing(hook: Hook, tmp_path: Path) -> None:
    evil = tmp_path / "evil"
    evil.mkdir()
    for name in ("os", "socket", "json", "select", "sitecustomize", "usercustomize", "startup"):
        (evil / f"{name}.py").write_text("raise SystemExit('the environment was believed')\n")
    (hook.path.parent / "json.py").write_text("raise SystemExit('the folder was believed')\n")
    hostile = {
        "PYTHONPATH": str(evil), "PYTHONSTARTUP": str(evil / "startup.py"), "PYTHONHOME": str(evil),
        "PYTHONUSERBASE": str(evil), "PYTHONINSPECT": "1", "PYTHONVERBOSE": "1", "GIT_DIR": ".", "GIT_WORK_TREE": "/",
        "CORPUS_ROOT": str(evil), "LC_ALL": "tlh_KLINGON", "TMPDIR": "/nonexistent",
    }  # fmt: skip
    report = [f"ok {MASTER}", "ok refs/heads/ä"]
    with daemon_of(hook.host, says({"say": "ä"}, {"report": report})) as peer:
        ended = hook.run(hello() + commands(MASTER, "refs/heads/ä"), **hostile)
    assert (ended.code, ended.report, ended.said) == (0, report, "ä\n")
    assert peer.asked[0]["commands"][1][2] == "refs/heads/ä"


def imported(*words: str | Path) -> set[str]:
    """Return the modules that an isolated Python imports."""
    shown = run([sys.executable, "-IS", "-X", "importtime", *words], check=False).stderr.decode()
    return {line.rpartition("|")[2].strip() for line in shown.splitlines() if line.startswith("import time:")}


def test_the_hook_imports_little_at_its_start(hook: Hook) -> None:
    found = imported(hook.path)
    assert found - imported("-c", "import os, _json, _socket") <= {"encodings.cp437", "select"}
    assert not found & {"json", "socket", "subprocess", "time.sleep", "re", "pathlib", "site", "typing"}


# a daemon that the hook starts


@pytest.fixture
def starting(tmp_path: Path, hook: Hook) -> Hook:
    """Return a hook that starts a daemon (which loads no Salt) and writes a line to `starts` each time."""
    host = hook.host
    History(host.store).close()
    host.config_file.parent.mkdir(parents=True)
    host.config_file.write_text("engine: salt-call\n")
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\necho $$ "$@" >>{tmp_path}/starts\nexec {sys.executable} "$@"\n')
    script.chmod(0o755)
    return Hook.make(host, tmp_path, str(script))


@pytest.fixture
def starts(tmp_path: Path) -> Iterator[Callable[[], list[str]]]:
    """Return a reader of what was started; what still runs is stopped in the end."""
    file = tmp_path / "starts"
    yield lambda: file.read_text().splitlines() if file.exists() else []
    for line in file.read_text().splitlines() if file.exists() else ():
        stop(int(line.split()[0]))


def stop(pid: int) -> None:
    """Stop a process that is no child of ours and await its end."""
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    until(lambda: not alive(pid))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False


OTHER = hello() + commands("refs/heads/topic")


def test_a_daemon_is_started_with_nothing_of_the_push(starting: Hook, starts: Callable[[], list[str]]) -> None:
    ended = starting.run(OTHER, GIT_DIR=".", CORPUS_ROOT="/nonexistent")
    assert ended.report == ["ng refs/heads/topic unknown project 'hello'"]
    words = starts()[0].split()
    assert words[1:] == ["-I", "-m", "corpushooks", "--root", str(starting.host.root), "daemon", "--embedded"]
    pid = int(words[0])
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    assert b"GIT_DIR" not in environment and b"CORPUS_ROOT" not in environment
    assert os.getsid(pid) == pid
    until(lambda: not foreign_pipes(pid))  # git waits for who holds one
    assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"


def test_why_a_daemon_cannot_be_started_is_said(starting: Hook, starts: Callable[[], list[str]]) -> None:
    starting.host.config_file.write_text("engin: warm\n")
    ended = starting.run(PUSH)
    wrong = f'{starting.host.config_file}: unknown key "engin"; did you mean "engine"?'
    assert ended.report == [f"ng {MASTER} {wrong}"]
    assert ended.said.splitlines()[0] == f"error: {wrong}"
    assert len(starts()) == 1


def foreign_pipes(pid: int) -> list[str]:
    """Return the pipes of which a process does not have both ends."""
    links = descriptors(pid)
    return [link for link in links if link.startswith("pipe:") and links.count(link) == 1]


def descriptors(pid: int) -> list[str]:
    return [os.readlink(entry) for entry in os.scandir(f"/proc/{pid}/fd")]


def test_hooks_that_start_at_once_share_one_daemon(starting: Hook, starts: Callable[[], list[str]]) -> None:
    stale = starting.host.socket
    stale.parent.mkdir(parents=True)
    with daemon_of(starting.host):
        pass
    stale.write_text("no socket at all")
    children = [starting.start() for _ in range(4)]
    for child in children:
        assert child.stdin
        child.stdin.write(OTHER)
        child.stdin.flush()
    given = [child.communicate(timeout=60) for child in children]
    assert {Ended(0, out, "").report[0] for out, _ in given} == {"ng refs/heads/topic unknown project 'hello'"}
    until(lambda: len([line for line in starts() if alive(int(line.split()[0]))]) == 1)


def test_a_daemon_that_is_leaving_is_no_obstacle(starting: Hook, starts: Callable[[], list[str]]) -> None:
    starting.host.locks_dir.mkdir(parents=True)
    leaving = os.open(starting.host.locks_dir / "daemon.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(leaving, fcntl.LOCK_EX)
    child = starting.start()
    assert child.stdin
    child.stdin.write(OTHER)
    child.stdin.flush()
    until(lambda: starts() and not alive(int(starts()[0].split()[0])))
    os.close(leaving)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.communicate(timeout=5)
    child.kill()
    out, _ = child.communicate()
    assert Ended(0, out, "").report == ["ng refs/heads/topic unknown project 'hello'"]


def daemons(root: Path) -> list[int]:
    """Return the real daemons of a host."""
    wanted = f"\0corpushooks\0--root\0{root}\0daemon\0".encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and wanted in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return [pid for pid in found if alive(pid)]


def test_pushes_start_a_real_daemon_that_leaves_when_idle(new_box: Callable[..., Box]) -> None:
    box = new_box(salt=True)
    box.settings("idle_timeout: 1\n")
    box.init()
    box.init("other")
    box.host.socket.parent.mkdir(parents=True, exist_ok=True)
    box.host.socket.write_text("stale")
    try:
        pushes = box.app().start_push(), box.app(name="other").start_push("HEAD:topic")
        assert [push.wait(120) for push in pushes] == [0, 0]
        assert box.row().live == 1
        first = daemons(box.host.root)
        until(lambda: not daemons(box.host.root), 60)
        assert len(first) <= 1  # it may have left already
        assert not box.host.socket.exists()
        again = box.work().push("HEAD:topic")
        assert again.code == 0, again.text
        assert daemons(box.host.root) != first
    finally:
        until(lambda: not daemons(box.host.root), 60)
