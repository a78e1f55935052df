"""What may be asked over ssh, word by word."""

from __future__ import annotations

import pytest

from corpushooks.core.errors import UsageError
from corpushooks.core.hints import Hint, command
from corpushooks.core.project import Host
from corpushooks.operations import ssh_commands
from corpushooks.operations.ssh_commands import Wanted, parse

TAKEN = {
    "": Wanted("", words=("help",)),
    "help": Wanted("", words=("help",)),
    "help settings": Wanted("", words=("help", "settings")),
    "whoami": Wanted("", words=("whoami",)),
    "git-receive-pack 'hello'": Wanted("push", "hello", "receive-pack"),
    "git-receive-pack '/hello.git'": Wanted("push", "hello", "receive-pack"),
    "git receive-pack '/hello/'": Wanted("push", "hello", "receive-pack"),
    "git-upload-pack 'hello.git'": Wanted("read", "hello", "upload-pack"),
    "git-upload-archive 'hello'": Wanted("read", "hello", "upload-archive"),
    "git-upload-pack 'hello.pillar'": Wanted("push", "hello", "upload-pack", "pillar"),
    "git-receive-pack '/hello.pillar.git'": Wanted("push", "hello", "receive-pack", "pillar"),
    "status": Wanted("read", words=("status",)),
    "status hello --json": Wanted("read", "hello", words=("status", "--json", "hello")),
    "log hello 3 -f": Wanted("read", "hello", words=("log", "-f", "hello", "3")),
    "open hello": Wanted("read", "hello", words=("open", "hello")),
    "freeze hello moving house": Wanted("admin", "hello", words=("freeze", "--", "hello", "moving house")),
    "freeze hello 'moving house'": Wanted("admin", "hello", words=("freeze", "--", "hello", "moving house")),
    "freeze hello don't push - it's Bob's": Wanted(
        "admin", "hello", words=("freeze", "--", "hello", "don't push - it's Bob's")
    ),
    'freeze --json hello "a" and "b"': Wanted(
        "admin", "hello", words=("freeze", "--json", "--", "hello", '"a" and "b"')
    ),
    "freeze hello -- gr\u00fcn": Wanted("admin", "hello", words=("freeze", "--", "hello", "-- gr\u00fcn")),
    "freeze --all the disk is full": Wanted("admin", words=("freeze", "--all", "--", "the disk is full")),
    "freeze the disk is --all full": Wanted("admin", "the", words=("freeze", "--", "the", "disk is --all full")),
    "app-log hello -n 50 -f": Wanted("push", "hello", words=("app-log", "-n", "50", "-f", "hello")),
    "app-log -n50 hello": Wanted("push", "hello", words=("app-log", "-n", "50", "hello")),
    "thaw hello --json": Wanted("admin", "hello", words=("thaw", "--json", "hello")),
    "thaw --all": Wanted("admin", words=("thaw", "--all")),
    "history hello": Wanted("read", "hello", words=("history", "hello")),
    "deploy hello": Wanted("push", "hello", words=("deploy", "hello")),
    "deploy hello v1.0~2": Wanted("push", "hello", words=("deploy", "hello", "v1.0~2")),
    "plan hello": Wanted("push", "hello", words=("deploy", "--dry-run", "hello")),
    "rollback hello 41": Wanted("push", "hello", words=("rollback", "hello", "41")),
    "cancel hello": Wanted("push", "hello", words=("cancel", "hello")),
    "config hello": Wanted("push", "hello", words=("config", "hello")),
    "set hello": Wanted("push", "hello", words=("set", "--", "hello")),
    "set hello a=1 'b=x \u00e4' --no-deploy": Wanted(
        "push", "hello", words=("set", "--no-deploy", "--", "hello"), given=("a=1", "b=x \u00e4")
    ),
    "set hello 'a=1\n2' " + "b=" + "x" * 2000: Wanted(
        "push", "hello", words=("set", "--", "hello"), given=("a=1\n2", "b=" + "x" * 2000)
    ),
    "unset hello a.b c": Wanted("push", "hello", words=("unset", "--", "hello"), given=("a.b", "c")),
    "restore hello 12 --data --database mine --force": Wanted(
        "admin", "hello", words=("restore", "--data", "--database=mine", "--force", "hello", "12")
    ),
    "repair hello": Wanted("push", "hello", words=("repair", "hello")),
    "diff hello 3 4": Wanted("push", "hello", words=("diff", "hello", "3", "4")),
    "archives hello": Wanted("read", "hello", words=("archives", "hello")),
    "metrics": Wanted("read", words=("metrics",)),
    "init hello --env prod --installer=php --ssh-key": Wanted(
        "host", words=("init", "--env=prod", "--installer=php", "--ssh-key", "hello")
    ),
    "remove hello --purge": Wanted("host", "hello", words=("remove", "--purge", "hello")),
    "rename-branch hello main": Wanted("host", "hello", words=("rename-branch", "hello", "main")),
    "key list --json": Wanted("host", words=("key", "list", "--json")),
    "key add jo - --read --project a --project b --expires 90d": Wanted(
        "host",
        words=("key", "add", "--read", "--project=a", "--project=b", "--expires=90d", "jo", "-"),
    ),
    "key set jo --every-project --expires never": Wanted(
        "host", words=("key", "set", "--every-project", "--expires=never", "jo")
    ),
    "key remove jo": Wanted("host", words=("key", "remove", "jo")),
    "key test jo hello": Wanted("host", words=("key", "test", "jo", "hello")),
    "task hello backup": Wanted("push", "hello", words=("task", "hello", "backup")),
}
REFUSED = [
    "sh", "bash -c id", "init", "init Hello", "init hello --x", "init hello --installer ../x", "remove", "daemon",
    "key",
    "key list x", "key add jo", "key add jo /etc/shadow", "key add jo - --expires soon", "rebuild",
    "corpus status", "Status",
    "git-receive-pack", "git-receive-pack hello other", "git-receive-pack --help", "git-upload-pack --strict hello",
    "git-upload-pack '../hello'", "git-upload-pack '/srv/projects/hello/git/project.git'", "git-upload-pack '~/hello'",
    "git-upload-pack 'hello;id'", "git-upload-pack hello\nid", "git-shell hello", "git status", "git",
    "git-upload-pack 'hello.pillar.pillar'", "git-upload-pack ''", "git-upload-pack " + "a" * 28,
    "log", "log hello x", "log hello 1 2", "log -f", "log hello -ff", "log hello --root=/", "status a b", "status -h",
    "restore hello --to /root/x", "restore --host /mnt/backup", "restore hello --database --host",
    "deploy hello --here", "deploy hello -x", "deploy hello $(id)", "deploy hello 'a b'", "deploy hello @{-1}",
    "task hello", "task hello ../x", "rollback hello -1", "cancel", "config hello --show-secrets", "cancel Hello",
    "log 'hello", "status\nhello", "status\thello\x1b", "status h\u00e4llo", "status " + "a" * 1000, "scp -t /tmp",
    "sftp-server", "git -c x=y status", "internal-sftp", "whoami x", "help ../x", "help a b",
    "help --json", "set", "set --root=/ hello a=1", "set hello -x", "set h\u00e4llo a=1", "set 'hello\n' a=1",
    "unset hello", "unset hello a=1", "unset hello ../a", "set hello " + "a" * (64 << 10), "set hello 'a=1", "setup",
    "set\x1b hello a=1", "freeze", "freeze hello", "freeze hello ''", "freeze hello '  '", "freeze hello a\nb",
    "freeze --all", "app-log hello -n", "app-log hello -nx", "app-log hello -n-5", "app-log hello -n5x",
    "app-log hello -n50 60", "app-log hello -f50", "log hello -n50",
    "freeze hello a\x1b[2J", "freeze ../hello why", "freeze -x hello why", "thaw", "thaw hello --all",
    "thaw --all --all x", "status --all", "open", "open hello --all", "freeze hello " + "a" * 1000,
]  # fmt: skip


@pytest.mark.parametrize("command", TAKEN)
def test_what_may_be_asked(command: str) -> None:
    assert parse(command) == TAKEN[command]


@pytest.mark.parametrize("command", REFUSED)
def test_nothing_else_may_be_asked(command: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(command)
    said = caught.value.message + str(caught.value.hint)
    assert said.isprintable() and len(said) < 200


def test_every_word_is_in_help() -> None:
    text = "\n".join(ssh_commands.help_lines())
    assert all(f"\n{name} " in f"\n{text}" for name in ssh_commands.WORDS)
    assert "log PROJECT NUMBER [OPTION...]" in text
    assert all(len(line) <= 100 for line in ssh_commands.help_lines())


def test_commands_in_hints_are_those_of_ssh() -> None:
    said = Hint(command("log", "hello", 2), "; then ", command("init", "hello"), ", ", command("status"))
    typed = ssh_commands.spelling(Host(), "corpus@example.org")(said)
    assert typed == "ssh corpus@example.org log hello 2; then corpus init hello, ssh corpus@example.org status"


RUN = {
    "run hello ls -la /tmp": ("ls", "-la", "/tmp"),
    "run hello -- ls": ("ls",),
    "  run  hello  sh -c 'echo \"a  b\" | wc'": ("sh", "-c", 'echo "a  b" | wc'),
    "run hello echo 'two\nlines' ä \\$HOME": ("echo", "two\nlines", "ä", "$HOME"),
    "run hello python manage.py --x=1 --": ("python", "manage.py", "--x=1", "--"),
    "run hello ''": ("",),
    "run hello echo " + "a" * 2000: ("echo", "a" * 2000),
    "run hello log other --json": ("log", "other", "--json"),
    "run hello echo $(id); id": ("echo", "$(id);", "id"),
}


@pytest.mark.parametrize("command", RUN)
def test_a_command_to_run_is_split_and_not_looked_at(command: str) -> None:
    assert parse(command) == Wanted("admin", "hello", words=("run", "hello", "--", *RUN[command]))


@pytest.mark.parametrize(
    "command",
    ["run", "run hello", "run hello --", "run Hello ls", "run --x hello ls", "run -- hello ls", "run hello 'x",
     "run ../x ls", "run " + "a" * 28 + " ls", "run hello echo " + "a" * 70_000, "runs hello ls", "log hello -- ls",
     "run\x00hello ls"],
)  # fmt: skip
def test_what_cannot_be_run_is_said(command: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(command)
    said = caught.value.message + str(caught.value.hint)
    assert said.isprintable() and len(said) < 200
