"""Those who come with a key, through a real sshd: what it opens, and what it does not."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import time
from pathlib import Path

import pytest

from corpushooks import shell
from corpushooks.access import keys
from corpushooks.access.keyring import Keyring
from corpushooks.core.project import Host
from corpushooks.operations.ssh_commands import parse
from corpushooks.protocol import client
from corpushooks.system.process import PIPE, run, spawn, start_time
from tests.support.box import FAILING, Box, Work, until
from tests.support.door import Door, said
from tests.support.seat import heard, sitting

NO_PROJECT = "error: unknown project {!r} for the key {}\nhint: ssh {} whoami\n"


def test_a_push_with_a_key_is_a_deployment_of_whoever_has_it(door: Door) -> None:
    door.add("alice", "push", "hello")
    door.box.app()
    pushed = door.work("alice").push()
    assert pushed.code == 0, pushed.text
    assert pushed.lines[0].endswith(", by alice")
    done = door.box.deployment(1)
    assert (done.request.who, done.request.key, done.state) == ("alice", "alice", "deployed")
    door.work("alice").commit({".salt/10_broken.sls": FAILING})
    pushed = door.work("alice").push()
    assert pushed.code == 1
    assert f"ssh {door.address} log hello 2" in pushed.text and "corpus log" not in pushed.text


def test_a_key_to_read_reads_and_no_more(door: Door, tmp_path: Path) -> None:
    door.box.app().push()
    door.add("bob", "read")
    work = door.work("bob")
    run(
        ["git", "clone", "--quiet", work.remote, tmp_path / "clone"],
        env={"GIT_SSH_COMMAND": door.server.command_with(door.folder / "bob")},
    )
    assert (tmp_path / "clone/index.html").read_text() == "one"
    work.commit({"index.html": "two"})
    pushed = work.push()
    assert (pushed.code, door.box.exists(2)) == (128, False)
    assert "error: the key bob: it has the right read, not push" in pushed.text
    refused = door.ssh("bob", "git-upload-pack hello.pillar")
    assert (refused.code, said(refused)) == (
        3,
        f"error: the key bob: it has the right read, not push\nhint: ssh {door.address} whoami\n",
    )
    archive = run(
        ["git", "archive", f"--remote={work.remote}", "master"],
        env={"GIT_SSH_COMMAND": door.server.command_with(door.folder / "bob")},
    )
    assert b"index.html" in archive.stdout


def test_what_is_not_there_and_what_is_not_for_a_key_is_the_same(door: Door) -> None:
    door.box.init("secret")
    door.add("carol", "admin", "hello")
    for command in (
        "git-upload-pack {}",
        "git-receive-pack {}.pillar",
        "status {}",
        "log {}",
        "deploy {}",
        "cancel {}",
    ):
        for name in ("secret", "nothing"):
            told = door.ssh("carol", command.format(name))
            assert (told.code, said(told)) == (3, NO_PROJECT.format(name, "carol", door.address))
    assert "secret" not in said(door.ssh("carol", "status"))


def test_the_hint_of_a_refusal_is_a_command_that_works(door: Door) -> None:
    door.add("bob", "read", "hello")
    for command, answer in (
        ("status nothing", "bob has rights: read hello\n"),
        ("nonsense", "this"),
        ("task hello", "this"),
    ):
        hint = said(door.ssh("bob", command)).splitlines()[-1].removeprefix("hint: ssh ").split()
        assert hint[:-1] == door.address.split()
        assert answer in said(door.ssh("bob", hint[-1]))


def test_every_word(door: Door) -> None:
    door.add("alice", "push", "hello")
    door.box.app(files={".salt/task_x.sls": "{}\n"})
    door.work("alice").push()
    assert said(door.ssh("alice", "whoami")) == "alice has rights: push hello\n"
    assert "log PROJECT NUMBER [OPTION...]" in said(door.ssh("alice", "help"))
    assert "log PROJECT NUMBER [OPTION...]" in said(door.ssh("alice"))
    words = {
        "status": "hello", "status hello --json": '"live": 1', "history hello": "deployed",
        "log hello": "hello is live", "log hello 1 -f": "hello is live", "deploy hello": "hello is live",
        "plan hello": "plan", "config hello": "default_env",
        "task hello x": "task", "rollback hello 1": "hello is live",
    }  # fmt: skip
    for word, wanted in words.items():
        told = door.ssh("alice", word)
        assert (told.code, wanted in said(told)) == (0, True), (word, said(told))
    refused = door.ssh("alice", "cancel hello")
    assert (refused.code, "nothing is running or waiting in hello" in said(refused)) == (3, True)
    assert {row.request.key for row in door.box.history.deployments("hello")} == {"alice"}


def test_an_admin_key_freezes_in_its_name_and_no_other_key_does(door: Door) -> None:
    for right in ("read", "push", "admin"):
        door.add(right, right, "hello")
    work = door.box.app()
    for right in ("read", "push"):
        for command in ("freeze hello why", "thaw hello"):
            told = door.ssh(right, command)
            assert (told.code, f"it has the right {right}, not admin" in said(told)) == (3, True)
    frozen = "hello is frozen by admin: don't push, we are moving"
    assert said(door.ssh("admin", "freeze", "hello", "don't push, we are moving")) == f"{frozen}\n"
    pushed = door.work("push").push()
    assert (pushed.code, pushed.rejected) == (1, frozen)
    told = door.ssh("admin", "freeze", "--all", "why")
    assert (told.code, "admin keys" in said(told)) == (3, True)
    assert said(door.ssh("admin", "thaw hello")) == "hello is no longer frozen\n"
    assert work.push().code == 0
    events = [json.loads(line) for line in (door.box.root / "daemon.log").read_text().splitlines()]
    assert [(one["event"], one["by"]) for one in events if one.get("by") == "admin"] == [
        ("freeze", "admin"), ("thaw", "admin"),
    ]  # fmt: skip


def test_a_key_to_read_is_told_where_a_project_answers(door: Door) -> None:
    door.add("bob", "read", "hello")
    sample = "makina-projects.hello:\n  urls: ['http://a.example', 'https://b.example/shop']\n"
    refused = door.ssh("bob", "open hello")
    hint = f"hint: list them in `urls` next to data: ssh {door.address} help claims\n"
    assert (refused.code, said(refused)) == (1, f"error: nothing is live in hello; it has no addresses\n{hint}")
    door.box.app(files={".salt/PILLAR.sample": sample}).push()
    assert said(door.ssh("bob", "open hello")) == "http://a.example\nhttps://b.example/shop\n"
    assert json.loads(door.ssh("bob", "open hello --json").stdout) == {
        "project": "hello", "urls": ["http://a.example", "https://b.example/shop"],
    }  # fmt: skip


LOGS = "makina-projects.hello:\n  units: [hello]\n  logs: ['{data_root}/app.log']\n"


def test_a_key_to_push_reads_what_the_application_writes(door: Door) -> None:
    for right in ("read", "push"):
        door.add(right, right, "hello")
    pillar = door.box.work(repo="pillar")
    pillar.commit({"init.sls": "makina-projects.hello: {data: {password: hunter2-secret}}\n"})
    pillar.push()
    assert door.box.app(files={".salt/PILLAR.sample": LOGS}).push().code == 0
    (door.box.project().data / "app.log").write_text("one\nkey \x1b[2Jhunter2-secret\n")
    for command in ("app-log hello", "app-log hello -f", "restart hello", "restart hello hello.service"):
        told = door.ssh("read", command)
        assert (told.code, "it has the right read, not push" in said(told)) == (3, True)
    told = door.ssh("push", "app-log hello")
    assert (told.code, told.stdout) == (0, b"data/app.log: one\ndata/app.log: key ********\n")
    assert told.stderr.startswith(b"warning: hello.service: systemd is not running on this host")
    told = door.ssh("push", "app-log hello --json -n 1")
    assert json.loads(told.stdout) == [{"at": None, "source": "data/app.log", "text": "key ********"}]
    told = door.ssh("push", "restart hello")
    assert (told.code, "systemd is not running on this host" in said(told)) == (3, True)


def test_who_follows_an_application_and_leaves_leaves_nothing(door: Door) -> None:
    door.add("alice", "push", "hello")
    door.box.app(files={".salt/PILLAR.sample": LOGS}).push()
    log = door.box.project().data / "app.log"
    log.write_text("one\n")
    with door.started("alice", "app-log hello -f -n 1") as (ssh, out):
        until(lambda: "one" in out.read_text())
        before = pid_of(door)
        door.box.stop()  # the next daemon, which the client starts, goes on and repeats nothing
        until(lambda: not carrying(f"--pid={before}"))
        door.box.revive()
        until(lambda: [at for pid in carrying(f"--pid={pid_of(door)}") for at in offsets(pid, log) if at == 4])
        with log.open("a") as file:
            file.write("two\n")
        until(lambda: "two" in out.read_text())
        assert [line for line in out.read_text().splitlines() if line.startswith("data")] == [
            "data/app.log: one", "data/app.log: two",
        ]  # fmt: skip
        ssh.kill()
        ssh.wait(10)
        until(lambda: not carrying("app-log", "hello", "-f"))  # that sshd started: nobody writes to it
        until(lambda: not carrying(f"--pid={pid_of(door)}"))


def test_a_key_of_the_host_makes_projects_and_lets_keys_in_and_an_admin_key_does_not(door: Door) -> None:
    end = time.time() + 30 * keys.DAY
    door.add("boss", "host", expires=end)
    for right in ("push", "admin"):
        door.add(right, right)
    door.add("new")
    door.remove("new")
    public = (door.folder / "new.pub").read_bytes()
    for right in ("push", "admin"):
        for command in ("key list", "key add new - --read", "init fresh", "remove hello", "key remove boss"):
            told = door.ssh(right, command, stdin=public)
            assert told.code == 3 and "not host" in said(told), command
    made = door.ssh("boss", "init fresh --env staging --branch main")
    assert made.code == 0 and "created fresh (staging, deploys main)" in made.text
    assert json.loads(door.ssh("boss", "init fresh --json").stdout)["new"] is False
    longer = door.ssh("boss", "key add new - --push --project fresh", stdin=public)
    assert (longer.code, "a key cannot outlast yours" in said(longer)) == (3, True)
    assert door.ssh("new", "whoami").code == 255, "sshd knows no such key"
    added = door.ssh("boss", "key add new - --push --project fresh --expires 7d", stdin=public)
    assert added.code == 0 and door.ssh("new", "whoami").text.startswith("new has rights: push fresh")
    (found,) = (each for each in json.loads(door.ssh("boss", "key list --json").stdout) if each["name"] == "new")
    assert (found["by"], found["projects"]) == ("boss", ["fresh"])
    assert door.ssh("boss", "key set new --read").code == 0 and "has rights: read" in door.ssh("new", "whoami").text
    assert door.ssh("boss", "key test new fresh").text.startswith(
        "read   yes\npush   no: it has the right read, not push"
    )
    assert door.ssh("boss", "key remove new").code == 0 and door.ssh("new", "whoami").code == 255
    assert door.ssh("boss", "remove fresh --purge").code == 0
    assert "unknown project 'fresh'" in said(door.ssh("boss", "status fresh"))
    log = (door.box.root / "daemon.log").read_text()
    assert '"event": "key"' in log and '"event": "project"' in log


def pid_of(door: Door) -> int:
    """Return the pid of the daemon, which a client may have started."""
    return client.ping(door.box.host)


def offsets(pid: str, path: Path) -> list[int]:
    """Return how far a process has read a file, of each descriptor on it."""
    found = []
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            if each.resolve() == path:
                found.append(int(Path(f"/proc/{pid}/fdinfo/{each.name}").read_text().split()[1]))
    return found


def carrying(*words: str) -> list[str]:
    """Return the processes that have these words among theirs."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            given = path.read_bytes().split(b"\0")
            if all(word.encode() in given for word in words):
                found.append(path.parent.name)
    return found


def test_nothing_is_restarted_while_a_deployment_runs(door: Door) -> None:
    door.add("alice", "push", "hello")
    gate = f"gate:\n  cmd.run:\n    - name: while ! test -e {door.box.root}/gate; do sleep 0.05; done\n"
    work = door.box.app(files={".salt/10_gate.sls": gate, ".salt/PILLAR.sample": LOGS})
    pushing = work.start_push()
    until(lambda: door.box.exists(1) and "install 00_page" in door.box.log(1))
    told = door.ssh("alice", "restart hello")
    assert (told.code, said(told)) == (3, "error: deployment 1 of hello is running; restart when it has ended\n"
                                          f"hint: ssh {door.address} log hello 1 -f\n")  # fmt: skip
    (door.box.root / "gate").touch()
    assert pushing.wait(30) == 0
    assert not door.box.exists(2)


def test_a_terminal_shows_progress_on_one_line(door: Door) -> None:
    door.add("alice")
    slow = "slow:\n  cmd.run:\n    - name: sleep 2.5\n"
    door.box.app(files={".salt/10_slow.sls": slow})
    door.work("alice").push()
    told = door.ssh("alice", "deploy hello", flags=("-tt",))
    assert told.code == 0
    rewritten = [line for line in told.stdout.split(b"\r") if "… install 10_slow" in line.decode()]
    assert len(rewritten) > 1 and b"\n" not in rewritten[-1]
    assert b"\r\n" in told.stdout and "…" not in said(door.ssh("alice", "deploy hello"))


HOSTILE = [
    "sh", "bash -c id", "scp -t /tmp", "git-upload-pack --help",
    "git-upload-pack '/etc/passwd'", "status; id", "status && id",
    "$(id)", "status\nid", "log hello --root=/", "git-receive-pack '../../etc'", "corpus-shell keys root x y",
]  # fmt: skip


def test_nothing_but_words(door: Door, tmp_path: Path) -> None:
    door.add("alice", "admin")
    for command in HOSTILE:
        told = door.ssh("alice", command)
        assert (told.code, "uid=" in said(told), "Traceback" in said(told)) == (2, False, False), said(told)
    sftp = run(
        [
            "sftp",
            *door.server.command_with(door.folder / "alice").split()[1:],
            "-P",
            str(door.server.port),
            "-b",
            "/dev/null",
            "root@127.0.0.1",
        ],
        check=False,
    )
    assert sftp.code != 0
    assert door.ssh("alice", "whoami", flags=("-tt",)).stdout.startswith(b"alice has rights: admin every project")
    for forward in (("-R", "0:127.0.0.1:1"), ("-A",), ("-X",)):
        told = door.ssh("alice", "whoami", flags=(*forward, "-o", "ExitOnForwardFailure=yes", "-v"))
        assert forward[0] != "-R" or told.code == 255
        assert "agent forwarding" not in said(told) or "disabled" in said(told) or forward[0] != "-A"
    through = door.ssh("alice", flags=("-W", f"127.0.0.1:{door.server.port}"))
    assert through.code == 255 and "forwarding failed" in said(through)


def test_what_a_client_sends_in_its_environment_counts_for_nothing(door: Door, tmp_path: Path) -> None:
    door.box.init("other")
    door.add("alice", "push", "other")
    for name, value in (
        ("CORPUS_ADMISSION", "x" * 32),
        ("CORPUS_ROOT", str(tmp_path)),
        ("GIT_CONFIG_COUNT", "1"),
        ("PATH", str(tmp_path)),
        ("PYTHONPATH", str(tmp_path)),
        ("GIT_DIR", "/"),
    ):
        (tmp_path / "git").write_text("#!/bin/sh\necho stolen >&2\n")
        (tmp_path / "git").chmod(0o755)
        told = door.ssh("alice", "git-upload-pack other", flags=("-o", f"SetEnv={name}={value}"), stdin=b"0000")
        assert told.code == 0 and "stolen" not in said(told), said(told)
        assert door.ssh("alice", "git-upload-pack hello", flags=("-o", f"SetEnv={name}={value}")).code == 3


def test_git_takes_repositories_of_somebody_else(box: Box) -> None:
    """As on a server, where they are root's; also a git that takes no safe.directory from a command line."""
    wanted, admitted = parse("git-upload-pack hello"), {"admission": "x", "path": str(box.project().code_git)}
    words, env = shell.program(box.host, wanted, admitted, {"HOME": "/root", "SHELL": "/bin/sh"})
    assert words == ["git", "upload-pack", str(box.project().code_git)]
    foreign = {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}
    ours = ["env", "-i", *(f"{name}={value}" for name, value in {**env, **foreign}.items())]
    assert run([*ours, *words], stdin=b"0000", check=False).code == 0
    theirs = [word for word in ours if not word.startswith("HOME=")]
    assert b"dubious ownership" in run([*theirs, *words], stdin=b"0000", check=False).stderr


def test_a_token_is_worth_nothing_elsewhere(door: Door) -> None:
    door.add("alice", "push", "hello")
    door.box.app()
    door.work("alice").push()
    history = door.box.history
    (left,) = Keyring(history).admissions()
    history.close()
    work = door.box.work()
    work.remote = str(door.box.project().code_git)
    work.commit({"index.html": "two"})
    pushed = run(
        ["git", "-C", work.path, "push", work.remote, "HEAD:master"], env={"CORPUS_ADMISSION": left.token}, check=False
    )
    assert (pushed.code, door.box.exists(2)) == (1, False)
    assert "session expired or key revoked" in said(pushed)


def test_a_key_that_is_removed_opens_nothing_more_and_what_it_began_ends(door: Door) -> None:
    door.add("alice")
    gate = f"gate:\n  cmd.run:\n    - name: while ! test -e {door.box.root}/gate; do sleep 0.05; done\n"
    door.box.app(files={".salt/10_gate.sls": gate})
    work = door.work("alice")
    pushing = work.start_push()
    until(lambda: door.box.exists(1) and "install 00_page" in door.box.log(1))
    door.remove("alice")
    told = door.ssh("alice", "whoami")
    assert (told.code, "Permission denied" in said(told)) == (255, True)
    (door.box.root / "gate").touch()
    assert pushing.wait(30) == 0
    assert door.box.ended(1).state == "deployed"


def test_certificates_and_ends_count(door: Door) -> None:
    door.add("old", expires=1.0)
    assert "Permission denied" in said(door.ssh("old", "whoami"))
    door.trust("ops", "deployers")
    door.certify("dave", "ops", "dave of ops", "-n", "deployers")
    door.certify("erin", "ops", "erin", "-n", "others")
    door.certify("frank", "ops", "frank", "-n", "deployers", "-V", "19700101:19700102")
    assert said(door.ssh("dave", "whoami")) == "ops/dave_of_ops has rights: push every project\n"
    assert "Permission denied" in said(door.ssh("erin", "whoami"))
    assert "Permission denied" in said(door.ssh("frank", "whoami"))
    assert "Permission denied" in said(door.ssh("ops", "whoami"))  # the authority itself is nobody


def test_who_comes_while_no_daemon_is_there_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = shell.serve(Host(tmp_path), "alice", "", {**os.environ, "SSH_ORIGINAL_COMMAND": "status"})
    told = capsys.readouterr()
    assert (code, told.out) == (3, "")
    assert told.err.startswith("error: the deployment daemon does not answer")


@pytest.mark.parametrize("hashed", ["sha1", "sha256"])
def test_a_first_push_of_another_hash_is_told_what_is_wrong(door: Door, hashed: str) -> None:
    door.add("alice")
    door.box.init("new", hashed=hashed)
    for form in ("sha1", "sha256"):
        path = door.folder / form
        run(["git", "init", "--quiet", "--initial-branch=master", f"--object-format={form}", path])
        work = Work(path, door.server.url("/new"))
        work.git("config", "core.sshCommand", door.server.command_with(door.folder / "alice"))
        work.commit({"a": "b", ".salt/00_x.sls": "{}\n"})
        pushed = work.push()
        assert pushed.code == (0 if form == hashed else 128), pushed.text
        told = f"note: new uses {hashed}; " in pushed.text
        assert told or "not support this repository's hash algorithm" in pushed.text


def test_a_push_after_the_first_is_told_nothing(door: Door) -> None:
    door.add("alice")
    door.box.app()
    assert (
        'note: hello uses sha1; if git reports a "protocol error", your repository does not'
        in door.work("alice").push().text
    )
    assert "note:" not in door.work("alice").push("HEAD:refs/deploy/now").text


# corpus run


def test_a_command_runs_for_an_admin_key_and_no_other(door: Door) -> None:
    door.add("ada", "admin", "hello")
    door.add("kim", "push", "hello")
    data = os.urandom(1 << 20)
    done = door.ssh("ada", "run", "hello", "sh", "-c", "'cat; echo end >&2; exit 9'", stdin=data)
    assert (done.code, done.stdout) == (9, data) and done.stderr.endswith(b"\nend\n")
    refused = door.ssh("kim", "run", "hello", "true")
    assert (refused.code, said(refused)) == (
        3, f"error: the key kim: it has the right push, not admin\nhint: ssh {door.address} whoami\n"
    )  # fmt: skip
    other = door.ssh("ada", "run", "other", "true")
    assert (other.code, said(other)) == (3, NO_PROJECT.format("other", "ada", door.address))
    listed = door.ssh("kim", "history", "hello", "--commands")
    assert listed.code == 0 and "exit 9" in listed.text and " ada " in listed.text
    door.add("rita", "read", "hello")
    assert door.ssh("rita", "history", "hello", "--commands").code == 3


def logged_in(door: Door, name: str, flag: str, *words: str) -> list[str | Path]:
    user, _, address = door.server.url("").removeprefix("ssh://").partition("@")
    command = door.server.command_with(door.folder / name).split()
    return [*command, flag, "-p", address.partition(":")[2], f"{user}@127.0.0.1", "run", "hello", *words]


def test_a_terminal_over_ssh_is_one_and_ends_with_it(door: Door) -> None:
    door.add("ada", "admin")
    script = "stty size; echo $TERM; setsid sleep 1000 & echo pid $! begun; read line; echo got $line; sleep 1000"
    with sitting(logged_in(door, "ada", "-t", "bash", "-c", shlex.quote(script))) as (client, master):
        text = heard(master, " begun")
        assert "33 121" in text and "xterm-256color" in text
        pid = int(text.split("pid ")[1].split()[0])
        os.write(master, b"typed\n")
        heard(master, "got typed")
        os.write(master, b"\r~.")  # ends the connection
        assert client.wait(60) == 255
        until(lambda: start_time(pid) is None)


@pytest.mark.parametrize("ends", ["the connection", "the key"])
def test_without_a_terminal_it_ends_with(door: Door, ends: str) -> None:
    door.add("ada", "admin")
    words = logged_in(door, "ada", "-T", "sh", "-c", shlex.quote("setsid sleep 1000 & echo $!; wait"))
    client = spawn(words, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    assert client.stdout and client.stderr
    try:
        pid = int(client.stdout.readline())
        if ends == "the connection":
            client.kill()
        else:
            door.remove("ada")
            assert b"error: session expired or key revoked" in client.stderr.read()
        until(lambda: start_time(pid) is None)
    finally:
        client.kill()
        client.communicate()
