"""`corpus run`: a command as the application, with pipes and with a real terminal, and what ends it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from corpushooks.core import command
from corpushooks.core.command import Account, Ran, Wanted
from corpushooks.core.errors import RefusedError, StoreError, UsageError
from corpushooks.core.redaction import MARK, Redactor
from corpushooks.host import accounts
from corpushooks.host.site import open_site
from corpushooks.operations import running
from corpushooks.protocol import client
from corpushooks.protocol.asks import Run
from corpushooks.protocol.connection import Connection, Semaphores
from corpushooks.store.ran import Commands
from corpushooks.system import become
from corpushooks.system.process import PIPE, Child, Output, spawn, start_time
from tests.support.box import Box, until
from tests.support.command import corpus
from tests.support.seat import heard, resize, sitting
from tests.support.shared_box import world

SEEN = """\
import json, os, sys
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "open": sorted(map(int, os.listdir("/proc/self/fd")))[:-1], "env": dict(os.environ), "cwd": os.getcwd(),
    "session": os.getsid(0) == os.getpid(), "umask": os.umask(0), "stdin": sys.stdin.read(), "words": sys.argv[1:],
    "rights": [status[key].strip() for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")],
    "ignored": int(status["SigIgn"], 16), "blocked": int(status["SigBlk"], 16),
}))
print("said", file=sys.stderr)
"""
LIMIT = 2


def words(box: Box, *given: str) -> list[str | Path]:
    return [sys.executable, "-m", "corpushooks", "--root", box.host.root, "run", *given]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """Return a host for those that leave it as it was."""
    folder = tmp_path_factory.mktemp("running")
    with world(folder / "home"):
        box = Box(folder)
        box.settings(f"max_commands: {LIMIT}\n")
        box.init()
        box.start()
    yield box
    box.stop()


def ran(box: Box, *given: str, stdin: bytes = b"") -> Output:
    """Run a command without a terminal."""
    return corpus(box, "run", "hello", *given, stdin=stdin)


def recorded(box: Box) -> dict[str, Any]:
    """Return what is recorded of the newest command."""
    return dict(box.ask(op="commands", project="hello", limit=1)["value"][0])


def started(box: Box, *given: str, stdout: int = PIPE) -> Child[bytes]:
    return spawn(words(box, "hello", *given), stdin=PIPE, stdout=stdout, stderr=PIPE)


def line_of(child: Child[bytes]) -> str:
    assert child.stdout
    return child.stdout.readline().decode().strip()


def ended(child: Child[bytes]) -> int:
    with child:
        return child.wait(60)


def is_gone(pid: int) -> bool:
    """Say whether a process has ended."""
    return start_time(pid) is None or b") Z" in Path(f"/proc/{pid}/stat").read_bytes()


# without a terminal


def test_a_command_gets_its_words_its_streams_and_nothing_of_ours(host: Box) -> None:
    done = ran(host, sys.executable, "-c", SEEN, "a b", "", "--x", "ä", stdin=b"some input")
    assert done.code == 0, done
    seen = json.loads(done.stdout)
    assert done.stderr.endswith(b"said\n") and done.stderr.startswith(b"note: running as ")
    assert seen["words"] == ["a b", "", "--x", "ä"] and seen["stdin"] == "some input"
    assert seen["open"] == [0, 1, 2]
    assert seen["cwd"] == str(host.project().tree) and seen["session"] and seen["umask"] == command.UMASK
    none = "0" * 16
    assert seen["rights"] == [none, none, none, none if os.geteuid() == 0 else seen["rights"][3], none, "1"]
    free = (signal.SIGPIPE, signal.SIGXFSZ, 32, 33)  # Python's own, and the C library's, which no program can set
    assert seen["blocked"] == 0 and seen["ignored"] & ~sum(1 << number - 1 for number in free) == 0
    assert set(seen["env"]) - {"LC_CTYPE"} == {"HOME", "USER", "LOGNAME", "SHELL", "PATH", "PWD", "LANG"}


def test_bytes_pass_as_they_are_and_end(host: Box) -> None:
    data = secrets.token_bytes(5 << 20)
    done = ran(host, "sh", "-c", "cat; echo end >&2", stdin=data)
    assert done.stdout == data and done.stderr.endswith(b"\nend\n")


@pytest.mark.parametrize(
    ("given", "code", "says"),
    [
        (("true",), 0, ""),
        (("--", "sh", "-c", "exit 3"), 3, ""),
        (("sh", "-c", "kill -9 $$"), 137, ""),
        (("no-such-command",), 127, "error: no-such-command: command not found"),
        (("./no/such",), 127, "error: ./no/such: command not found"),
        (("",), 127, "error: '': command not found"),
        (("\udcff",), 127, "error: '·': command not found"),
        (("ls -la",), 127, "error: 'ls -la': command not found; for a shell: sh -c 'ls -la'"),
        (("sh", "x" * 70_000), 2, "error: the request is too long: words"),
        (("/",), 126, "error: /: Permission denied"),
        (("-x",), 2, "hint: corpus"),
        ((), 2, "expected a command"),
    ],
)
def test_the_exit_code_is_that_of_the_command(host: Box, given: tuple[str, ...], code: int, says: str) -> None:
    done = ran(host, *given)
    assert (done.code, says in done.stderr.decode()) == (code, True), done


def test_a_signal_reaches_a_command_without_a_terminal(host: Box) -> None:
    child = started(host, "sh", "-c", "trap 'exit 7' INT; echo ready; while :; do sleep 0.05; done")
    assert line_of(child) == "ready"
    child.send_signal(signal.SIGINT)
    assert ended(child) == 7


def test_programs_of_the_project_are_found_first(host: Box) -> None:
    program = host.project().tree / "venv/bin/hello-tool"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho mine\n")
    program.chmod(0o755)
    try:
        assert ran(host, "hello-tool").text == "mine"
    finally:
        shutil.rmtree(host.project().tree / "venv")


def test_who_does_not_read_makes_the_command_wait(host: Box) -> None:
    child = started(host, "sh", "-c", "echo $$ >&2; exec yes")
    assert child.stderr
    said = [child.stderr.readline(), child.stderr.readline()]  # the note comes first
    pid, seen = int(said[1]), [-1]

    def waits() -> bool:
        seen.append(int(Path(f"/proc/{pid}/io").read_text().split("wchar: ")[1].split()[0]))
        return seen[-1] > 0 and seen[-50:] == [seen[-1]] * 50

    until(waits)
    assert seen[-1] < 1 << 20
    child.kill()
    ended(child)
    until(lambda: is_gone(pid))


# with a terminal


def seated(box: Box, *given: str) -> contextlib.AbstractContextManager[tuple[Child[bytes], int]]:
    return sitting(words(box, "hello", *given))


def test_a_terminal_is_one(host: Box) -> None:
    script = 'stty size; test -t 0 && test -t 1 && test -t 2 && echo "a $TERM"; trap "stty size" WINCH; echo go; read x'
    with seated(host, "bash", "-c", f"{script}; echo x=$x; read y; exit 4") as (child, master):
        said = heard(master, "go\r\n")
        assert "33 121\r\n" in said and "a xterm-256color" in said
        resize(master, 44, 77)
        os.write(master, b"typed\n")
        assert "x=typed" in heard(master, "x=typed\r\n")
        os.write(master, b"\n")
        assert child.wait(60) == 4


SIZES = """
import os, signal
signal.signal(signal.SIGWINCH, lambda *_: os.write(1, "{1} {0}\\n".format(*os.get_terminal_size()).encode()))
print("go", flush=True)
while True:
    signal.pause()
"""  # no shell: one whose child ends just when Ctrl-C comes takes that for handled, and goes on


def test_a_new_size_is_passed_on(host: Box) -> None:
    with seated(host, sys.executable, "-c", SIZES) as (child, master):
        heard(master, "go\r\n")
        resize(master, 44, 77)
        heard(master, "44 77\r\n")
        os.write(master, b"\x03")
        assert child.wait(60) == 128 + signal.SIGINT


def test_keys_are_the_command_s(host: Box) -> None:
    with seated(host, "bash", "-c", "trap 'echo int' INT; tty; cat; echo end; exit 6") as (child, master):
        assert heard(master, "/dev/pts/").count("/dev/pts/") == 1
        os.write(master, b"\x04")  # Ctrl-D
        heard(master, "end")
        assert child.wait(60) == 6


def test_the_terminal_is_not_the_caller_s(host: Box) -> None:
    with seated(host, "bash", "-c", "echo at $(tty) $(ps -o tty= -p $$)") as (child, master):
        at, own = heard(master, "\r\n"), os.readlink(f"/proc/{child.pid}/fd/0")
        at += heard(master, "\r\n") if "at /dev" not in at else ""
        place, controlling = at.split("at ")[1].split()[:2]
        assert place.startswith("/dev/pts/") and place != own and place == f"/dev/{controlling}"


# what ends it


def test_what_a_command_leaves_ends_with_it(host: Box) -> None:
    done = ran(host, "sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!; sleep 0.2; exit 0")
    assert done.code == 0 and is_gone(int(done.text))


def test_all_ends_with_the_connection(host: Box) -> None:
    child = started(
        host, "sh", "-c", "trap '' HUP TERM; setsid sh -c 'trap \"\" HUP TERM; echo $$; sleep 1000; :' & wait; wait"
    )
    pid = int(line_of(child))
    child.kill()
    ended(child)
    until(lambda: is_gone(pid))
    until(lambda: recorded(host)["ended"])
    assert recorded(host)["code"] is None and recorded(host)["reason"] == "the connection ended"


def test_so_many_at_once(host: Box) -> None:
    running = [started(host, "sh", "-c", "echo ready; exec sleep 1000") for _ in range(LIMIT)]
    assert [line_of(each) for each in running] == ["ready"] * LIMIT
    refused = ran(host, "true")
    assert refused.code == 3 and "too many commands at once" in refused.stderr.decode()
    for each in running:
        each.terminate()
        assert ended(each) == 128 + signal.SIGTERM
    until(lambda: ran(host, "true").code == 0)


def test_a_command_ends_with_the_daemon_and_that_is_recorded(box: Box) -> None:
    child = started(box, "sh", "-c", "setsid sh -c 'echo $$; exec sleep 1000' & wait")
    pid = int(line_of(child))
    box.kill()
    assert ended(child) == 3
    until(lambda: is_gone(pid))
    box.start()
    assert recorded(box)["reason"] == "the daemon ended"
    project = box.project()
    project.tree.rename(project.dir / "away")
    project.tree.symlink_to("/tmp")
    refused = ran(box, "true")
    assert refused.code == 3 and "cannot open " in refused.stderr.decode()


def test_a_deployment_that_runs_is_named(box: Box) -> None:
    box.faults(("2 sync", "before", "wait"))
    push = box.app().start_push()
    until(lambda: box.happened())
    assert b"note: deployment 1 of hello is running" in ran(box, "true").stderr
    (box.host.root / "gate").touch()
    assert push.wait(60) == 0


# what is recorded


def test_a_command_is_recorded_without_secrets(host: Box) -> None:
    assert ran(host, "sh", "-c", "exit 5", "--password=hunter2", "--token", "hunter3").code == 5
    found = recorded(host)
    assert found["words"] == f"sh -c 'exit 5' '--password={MARK}' --token '{MARK}'"
    assert (found["code"], found["who"], found["reason"]) == (5, "root" if os.geteuid() == 0 else found["who"], "")
    log = (host.root / "daemon.log").read_text()
    assert "hunter" not in log and '"state": "ended", "code": 5' in log


def test_a_known_secret_is_hidden_wherever_it_is() -> None:
    redactor = Redactor(("password",))
    redactor.know(["correct horse"])
    assert command.recorded(["echo", "it is correct horse", "\x1b[2J"], redactor) == f"echo 'it is {MARK}' ''"
    assert command.recorded(["mysql", "--password", "x", "PASSWORD=y", "-v"], redactor) == (
        f"mysql --password '{MARK}' 'PASSWORD={MARK}' -v"
    )


@pytest.mark.parametrize(("word", "kept"), [
    ("A=1; API_PASSWORD=hunter2 x; echo b", f"A=1; API_PASSWORD={MARK} x; echo b"),
    ("A=1; PASSWORD='hun ter2' x", f"A=1; PASSWORD={MARK} x"),
    ("mysql -u --password hunter2 -v", f"mysql -u --password {MARK} -v"),
    ("a --password 'hunter2 x'; b --password=hunter2", f"a --password {MARK}; b --password={MARK}"),
    ("postgres://me:hunter2@db/x", f"postgres://me:{MARK}@db/x"),
    ("http://h:80/x@y a=b | c --password|d", "http://h:80/x@y a=b | c --password|d"),
    ("", ""),
])  # fmt: skip
def test_a_secret_in_a_line_for_a_shell_is_hidden(word: str, kept: str) -> None:
    assert command.recorded(["sh", "-c", word], Redactor(("password",))) == shlex.join(["sh", "-c", kept])


def test_the_environment_takes_little_of_the_client() -> None:
    account = Account("hello-user", "/home", "/bin/sh", 7, 7, (7,))
    env = command.environment(Wanted(("x",), "xterm\x1b", "de_DE.UTF-8"), account, Path("/p"), ["venv/bin"])
    assert (env["TERM"], env["LANG"], env["PATH"].split(":")[0]) == ("dumb", "de_DE.UTF-8", "/p/venv/bin")
    assert "TERM" not in command.environment(Wanted(("x",), "", "x y"), account, Path("/p"), [])


# hostile callers


@pytest.mark.parametrize("kind", ["files", "few", "none", "terminal"])
def test_only_what_the_caller_made_is_taken(host: Box, kind: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    opened = [os.open("/dev/null" if kind == "terminal" else tmp_path / "file", os.O_RDWR) for _ in range(3)]
    with (
        pytest.raises(UsageError),
        client.conversation(host.host, "run", Run(project="hello", words=("true",))) as (link, answers),
    ):
        until(lambda: next(answers).get("ready"))
        if kind == "none":
            link.sendall(b"\0")
        else:
            socket.send_fds(link, [b"\0"], opened[: 1 if kind == "few" else 3])
        list(answers)
    for each in opened:
        os.close(each)


def test_before_the_first_push_it_is_said_that_nothing_is_deployed(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "of_application", lambda _: Account("hello-user", "/", "/bin/sh", 12345, 12345))
    caller = running.Caller("root", "", lambda: None)
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(RefusedError, match="nothing is deployed yet") as caught:
        running.run(open_site(box.host), Connection(ours), box.row(), Wanted(("id",)), caller)
    assert str(caught.value.hint) == "git push first"


def test_a_full_disk_at_its_end_costs_no_exit_code(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> Ran:
        raise StoreError("the disk is full")

    site, told = open_site(box.host), list[Any]()
    site.event = lambda _, about: told.append(about)
    ran = Commands(site.history).begin("hello", "root", "", "id")
    monkeypatch.setattr(Commands, "end", full)
    with running._recorded(site, ran) as result:
        result["code"] = 7
    assert (told[-1]["state"], told[-1]["code"]) == ("ended", 7)
    assert told[-1]["reason"] == "not recorded: the disk is full"


def test_what_is_asked_must_be_a_command(host: Box) -> None:
    for given in ([], ["a\0b"], "true", [1]):
        with pytest.raises(UsageError):
            host.ask(op="run", project="hello", words=given, term="", lang="")


def test_places_for_commands_are_given_back() -> None:
    places = Semaphores()
    with places.of_command(1), pytest.raises(RefusedError), places.of_command(1):
        pass
    with places.of_command(1):
        pass


# the program that runs it, by itself


@pytest.mark.parametrize("grouped", [True, False])
def test_nothing_outlives_its_end(grouped: bool, tmp_path: Path) -> None:
    group = become.make_group(f"corpus-test-{secrets.token_hex(4)}.scope") if grouped else None
    said, saying = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    folder = os.open(tmp_path, os.O_RDONLY)
    leaf = 'setsid sh -c "echo \\$\\$; exec sleep 1000"'
    script = f"trap '' HUP TERM; setsid sh -c 'trap \"\" HUP TERM; ({leaf} &) & wait' & wait"
    plan = become.Plan(["sh", "-c", script], dict(os.environ), folder, [null, saying, null], None, [], 0o22, group)
    ours, theirs = socket.socketpair()
    argv = [sys.executable, "-IS", become.__file__, str(theirs.fileno())]
    child = spawn(argv, pass_fds=(theirs.fileno(), folder, null, saying))
    for each in (theirs.detach(), folder, null, saying):
        os.close(each)
    data = json.dumps(asdict(plan)).encode()
    ours.sendall(len(data).to_bytes(8, "big") + data)
    pid = int(os.read(said, 100))
    ours.close()
    assert child.wait(60) == 0 and is_gone(pid)
    assert group is None or not os.path.exists(group)
    os.close(said)
