"""Every command, as everybody and in odd surroundings: an exit code that is right and a line or two, no traceback.

A new command needs a row in COMMANDS.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import metadata
from pathlib import Path

import click
import pytest

from corpushooks.cli.commands import whole
from corpushooks.cli.main import corpus
from corpushooks.system.process import PIPE, Child, run, spawn
from tests.support import everyone, machine
from tests.support.box import Box
from tests.support.machine import CHECKOUT, PACKAGES, Machine
from tests.support.newcomer import checkout
from tests.support.places import TOP
from tests.support.shared_box import shared_box, world
from tests.support.ssh_keys import ED25519

EVERYONE = [sys.executable, "-m", "tests.support.everyone"]

KEY = Path("/usr/share/key.pub")
Came = dict[str, tuple[int, str, str]]  # command -> exit code, what it said, what it complained of
# who must agree that somebody does it; ADMIN: the daemon, which agrees for those who are over every project
DAEMON, ADMIN, STORE, ROOT, OWN = "the daemon", "the daemon, of an admin", "the store", "root", "nobody"
COMMANDS: dict[str, tuple[str, str]] = {  # command -> its arguments, and who must agree
    "status": ("", DAEMON), "history": ("hello", DAEMON), "archives": ("hello", DAEMON), "stats": ("", DAEMON),
    "metrics": ("", DAEMON), "diff": ("hello", DAEMON), "log": ("hello", DAEMON),
    "tests": ("hello", DAEMON), "setting list": ("hello", DAEMON), "setting set": ("hello keep_archives 4", ADMIN),
    "setting unset": ("hello keep_archives", ADMIN), "config": ("hello", DAEMON),
    "set": ("hello a=1 --no-deploy", DAEMON), "unset": ("hello a --no-deploy", DAEMON),
    "deploy": ("hello", DAEMON), "rollback": ("hello", DAEMON), "watch": ("hello", DAEMON),
    "task": ("hello x", DAEMON), "cancel": ("hello", DAEMON), "repair": ("hello", DAEMON),
    "check": ("hello", STORE), "doctor": ("", STORE), "init": ("hello", ADMIN), "link": ("hello", ADMIN),
    "unlink": ("hello", ADMIN), "rename-branch": ("hello master", ADMIN), "help": ("", OWN),
    "key add": ("jo KEY", ADMIN), "key set": ("jo --read", ADMIN), "key list": ("", ADMIN),
    "web": ("--address 192.0.2.1", OWN), "token add": ("ci", ADMIN), "token list": ("", ADMIN),
    "token revoke": ("ci", ADMIN),
    "audit": ("hello", ADMIN), "account add": ("jo", ADMIN), "account list": ("", ADMIN), "account link": ("jo", ADMIN),
    "account revoke": ("jo", ADMIN), "session list": ("", ADMIN), "session end": ("jo", ADMIN),
    "key test": ("jo hello", ADMIN), "key remove": ("jo", ADMIN), "freeze": ("hello why", ADMIN),
    "thaw": ("hello", ADMIN), "run": ("hello true", ADMIN),
    "open": ("hello", DAEMON), "app-log": ("hello", DAEMON), "restart": ("hello", DAEMON),
    "notify test": ("hello", STORE), "daemon": ("", STORE), "rebuild": ("", ROOT),
    "setup": ("--dry-run", ROOT), "demo": ("/proc/demo", OWN), "confirm": ("hello 1", DAEMON),
    "backup": ("hello", DAEMON), "backups": ("hello", DAEMON), "drill": ("hello", DAEMON),
    "prune": ("hello", ADMIN), "check-backups": ("hello", ADMIN),
    "restore": ("hello --data", ADMIN), "remove": ("hello", ADMIN), "remove-archive": ("hello 1", ADMIN),
    "node add": ("n1 root@127.0.0.1:1", ADMIN), "node accept": ("n1", ADMIN),
    "node list": ("", ADMIN), "node show": ("n1", ADMIN),
    "node link": ("n1 hello", ADMIN), "node unlink": ("n1 hello", ADMIN), "node drain": ("n1", ADMIN),
    "node resume": ("n1", ADMIN), "node sync": ("n1 hello", ADMIN), "node remove": ("n1", ADMIN),
    "node key": ("", ADMIN), "node release": ("hello", ADMIN), "node init": ("n1 root@127.0.0.1:1", ADMIN),
    "node serve": ("", OWN),
}  # fmt: skip


def leaves(group: click.Group, above: str = "") -> Iterator[str]:
    """Yield every command that there is."""
    for name, command in (whole(group) if not above else group.commands).items():
        if isinstance(command, click.Group):
            yield from leaves(command, f"{above}{name} ")
        else:
            yield above + name


def test_every_command_has_a_row() -> None:
    assert set(leaves(corpus)) == set(COMMANDS)


def asked(key: Path) -> dict[str, list[str]]:
    """Return the words of each command."""
    return {name: shlex.split(f"{name} {more}".replace("KEY", str(key))) for name, (more, _) in COMMANDS.items()}


def sane(came: Came, *, lines: int = 2) -> None:
    """See that each command ended in a way that people understand."""
    for name, (code, said, complained) in came.items():
        last = 126 if name == "run" else 4  # whose exit code is that of a command, which cannot be run before a push
        assert 0 <= code <= last, (name, code, complained)
        assert "Traceback" not in said + complained and "internal error" not in complained, (name, complained)
        assert len(complained.splitlines()) <= lines, (name, complained)
        assert code == 0 or complained or said or lines == 0, name


# everybody, on a host that is set up

PEOPLE: dict[str, tuple[str, tuple[str, ...]]] = {  # who: the groups of theirs, and what the daemon does for them
    "ann": ("", ()), "bea": ("corpus", (DAEMON, ADMIN)), "carl": ("hello-deploy", (DAEMON,)), "hello-user": ("", ()),
    "corpus": ("", ()),
}  # fmt: skip
SET_UP = f"""\
python3 -m venv --without-pip /opt/corpushooks
printf '%s\\n' {CHECKOUT} {PACKAGES} >$(echo /opt/corpushooks/lib/python3*/site-packages)/packages.pth
for one in corpus:__main__ corpus-shell:shell; do
    printf '#!/opt/corpushooks/bin/python\\nfrom corpushooks.%s import main\\nmain()\\n' ${{one#*:}} \\
        >/opt/corpushooks/bin/${{one%%:*}}
    chmod 755 /opt/corpushooks/bin/${{one%%:*}}
done
echo 'ssh-ed25519 {ED25519} jo' >{KEY}
corpus=/opt/corpushooks/bin/corpus
$corpus setup >/dev/null || true
$corpus init hello >/dev/null
for one in ann bea carl; do useradd --create-home --shell /bin/sh $one; done
"""


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Return a machine that is set up, with the project `hello`."""
    if not machine.possible():
        pytest.skip("no machine of our own can be made here: not root, or no namespaces")
    with checkout(tmp_path_factory.mktemp("new")) as folder, machine.running(folder) as found:
        (folder / "checkout/everyone.py").write_text(Path(everyone.__file__).read_text())
        for name in ("docs", "hooks"):  # parts of the package that lie beside it
            (folder / "checkout/corpushooks" / name).symlink_to(f"../{name}")
        about = folder / "checkout/corpushooks-0.dist-info"
        about.mkdir()
        known = metadata("corpushooks")
        heads = [(key, known[key]) for key in ("Metadata-Version", "Name", "Version", "Summary")]
        heads += [(key, value) for key in ("Requires-Dist", "Project-URL") for value in known.get_all(key) or ()]
        (about / "METADATA").write_text("".join(f"{key}: {value}\n" for key, value in heads))
        groups = "\n".join(f"usermod -aG {group} {name}" for name, (group, _) in PEOPLE.items() if group)
        done = found.run(SET_UP.replace("/usr/share/key.pub", str(KEY)) + groups)
        assert done.code == 0, done.stderr
        yield found


def does(there: Machine, user: str, commands: dict[str, list[str]], how: str = "plain") -> Came:
    """Return what comes of commands that somebody gives."""
    words = [(how, each) for each in commands.values()]
    become = f"setpriv --reuid={user} --regid=$(id -g {user}) --init-groups"
    script = f"{become} /opt/corpushooks/bin/python {CHECKOUT}/everyone.py"
    done = there.run(script, stdin=json.dumps(words).encode())
    assert done.code == 0, done.stderr
    return dict(zip(commands, map(tuple, json.loads(done.stdout)), strict=True))


@pytest.mark.parametrize("user", PEOPLE)
def test_everybody_is_told_in_a_line_what_is_theirs(there: Machine, user: str) -> None:
    came = does(there, user, asked(KEY))
    there.run("/opt/corpushooks/bin/corpus init hello")  # somebody who may has removed it
    sane(came)
    for name, (_, who) in COMMANDS.items():
        code, said, complained = came[name]
        refused = who != OWN and who not in PEOPLE[user][1]
        denied = refused and code == 3 and "sudo corpus" in complained
        assert denied if refused else "sudo corpus" not in complained, (name, code, said, complained)


def test_what_the_hints_name_root_can_do(there: Machine) -> None:
    hints = {}
    for name, (_, _, complained) in does(there, "ann", asked(KEY)).items():
        if found := re.search(r"sudo (corpus .*)", complained):
            hints[name] = shlex.split(found[1])[1:]
    assert set(hints) == {name for name, (_, who) in COMMANDS.items() if who != OWN}
    came = does(there, "root", hints)
    sane(came)
    assert not [name for name, (_, _, complained) in came.items() if "sudo" in complained]
    assert {name for name, (code, _, _) in came.items() if code == 0} >= {
        "status", "history", "init", "link", "unlink", "key add", "key list", "key set", "key test", "key remove",
        "freeze", "thaw", "setup", "remove",
    }  # fmt: skip


# odd surroundings, on a host in a folder


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """Return a host where something is live."""
    folder = tmp_path_factory.mktemp("live")
    with shared_box(folder, page="one") as box, world(folder / "second"):
        assert box.app("two").push().code == 0
        (box.root / "key.pub").write_text(f"ssh-ed25519 {ED25519} jo\n")
        yield box


QUICK = [name for name in COMMANDS if name not in ("check", "doctor")]  # those ask Salt


class Shells:
    """Processes that have loaded the command and run it: one as we are, one that may read no more than another may."""

    def __init__(self) -> None:
        self._started: dict[bool, Child[bytes]] = {}

    def run(self, given: Sequence[tuple[str, Sequence[str]]], *, less: bool) -> list[tuple[int, str, str]]:
        """Return what comes of commands."""
        if less not in self._started:
            caps = "-dac_override,-dac_read_search"
            drop = ["setpriv", f"--bounding-set={caps}", f"--inh-caps={caps}"] if less else []
            self._started[less] = spawn([*drop, *EVERYONE], cwd=TOP, stdin=PIPE, stdout=PIPE)
        child = self._started[less]
        assert child.stdin and child.stdout
        child.stdin.write(json.dumps(given).encode() + b"\n")
        child.stdin.flush()
        return [(code, said, complained) for code, said, complained in json.loads(child.stdout.readline())]

    def end(self) -> None:
        for child in self._started.values():
            child.communicate()


@pytest.fixture(scope="module")
def shells() -> Iterator[Shells]:
    found = Shells()
    yield found
    found.end()


@pytest.fixture
def come(shells: Shells) -> Callable[..., Came]:
    """Return what runs commands on a host and says what came of them; with `less` root reads only what is its own."""

    def run_them(box: Box, how: str, names: Sequence[str] = QUICK, *, less: bool = False) -> Came:
        words = asked(box.root / "key.pub")
        given = [(how, ["--root", str(box.host.root), *words[name]]) for name in names]
        return dict(zip(names, shells.run(given, less=less), strict=True))

    return run_them


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="root's rights are given up")
ODD = ["no folder", pytest.param("closed folder", marks=needs_root), "no home", "ascii"]


KEEPING = [name for name in QUICK if name != "remove"]


@pytest.fixture(scope="module")
def plain(live: Box, shells: Shells) -> Came:
    """Return what comes of commands where nothing is odd."""
    words = asked(live.root / "key.pub")
    given = [("plain", ["--root", str(live.host.root), *words[name]]) for name in KEEPING]
    shells.run(given[KEEPING.index("init") :][:1], less=False)
    return dict(zip(KEEPING, shells.run(given, less=False), strict=True))


@pytest.mark.parametrize("how", ODD)
def test_where_one_is_makes_no_difference(live: Box, plain: Came, come: Callable[..., Came], how: str) -> None:
    odd = come(live, how, KEEPING, less="closed" in how)
    sane(odd)
    assert not {name: odd[name] for name in KEEPING if odd[name][0] != plain[name][0]}


PRINTS = ("status", "history", "archives", "stats", "metrics", "diff", "log", "config", "key list")
LOST = {"full": "No space left on device", "closed": "Bad file descriptor", "no reader": ""}


@pytest.mark.parametrize("how", LOST)
def test_a_report_that_cannot_be_written_is_a_failure(live: Box, come: Callable[..., Came], how: str) -> None:
    came = come(live, how, PRINTS)
    sane(came, lines=1 if LOST[how] else 0)
    for name, (code, said, complained) in came.items():
        error = f"error: cannot write the output: {LOST[how]}\n" if LOST[how] else ""
        assert (code, said, complained) == (1, "", error), name


@pytest.mark.parametrize("how", LOST)
def test_what_is_asked_for_goes_on_without_output_and_its_result_is_the_exit_code(
    live: Box, come: Callable[..., Came], how: str
) -> None:
    last = max(row.number for row in live.history.deployments("hello"))
    came = come(live, how, ["deploy", "task"])
    assert [code for code, _, _ in came.values()] == [0, 3]
    assert live.ended(last + 1).state == "deployed"
    assert LOST[how] in came["deploy"][2] and len(came["deploy"][2].splitlines()) == 1


def test_what_is_printed_never_lands_in_the_store(live: Box) -> None:
    words = f"{sys.executable} -m corpushooks --root {live.host.root} status"
    for closed in ("0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"):
        done = run(["sh", "-c", f"exec {words} {closed}"], check=False, cwd=TOP)
        assert b"Traceback" not in done.stderr and done.code == ("1>&-" in closed), done.stderr
    done = run(["sh", "-c", f"{words} | head -0"], cwd=TOP)
    assert done.stderr in (b"", b"error: cannot write the output: Broken pipe\n")
    live.history.check()


@contextmanager
def changed(path: Path, change: Callable[[Path], None]) -> Iterator[None]:
    """Have something else at a path for a while."""
    kept = path.with_name(path.name + ".kept")
    if path.exists():
        path.rename(kept)
    change(path)
    yield
    run(["rm", "-rf", path])
    if kept.exists():
        kept.rename(path)


BAD: dict[str, Callable[[Path], None]] = {
    "nothing": lambda path: None,
    "empty": lambda path: path.touch(),
    "garbage": lambda path: path.write_bytes(b"\xff\x00: [" * 99) and None,
    "a folder": lambda path: path.mkdir(),
    "a pipe": lambda path: os.mkfifo(path),
    "a loop": lambda path: path.symlink_to(path.name),
    "shut": lambda path: path.touch(0),
}
PLACES = {
    "settings": "etc/corpushooks/config.yaml", "the store": "var/lib/corpushooks/store.sqlite",
    "state folder": "var/lib/corpushooks", "the projects": "srv/projects", "the project": "srv/projects/hello",
    "what setup made": "var/lib/corpushooks/setup.json",
}  # fmt: skip


@needs_root
@pytest.mark.parametrize("place", PLACES)
def test_whatever_is_damaged_is_said_in_a_line(box: Box, come: Callable[..., Came], place: str) -> None:
    (box.root / "key.pub").write_text(f"ssh-ed25519 {ED25519} jo\n")
    box.settings("{}\n")
    for bad, change in BAD.items():
        with changed(box.host.root / PLACES[place], change):
            came = come(box, "no salt", [name for name in COMMANDS if name != "remove"], less=True)
        lines = 12 if place == "the project" else 2  # each part of it that is gone has its warning and its hint
        sane({f"{bad}: {name}": each for name, each in came.items()}, lines=lines)


@needs_root
def test_a_root_that_cannot_be_read_is_said_in_a_line(box: Box, come: Callable[..., Came]) -> None:
    (box.root / "key.pub").write_text(f"ssh-ed25519 {ED25519} jo\n")
    box.host.root.chmod(0)
    came = come(box, "no salt", list(COMMANDS), less=True)
    box.host.root.chmod(0o755)
    sane(came)
    assert {came[name][0] for name in COMMANDS if COMMANDS[name][1] in (STORE, DAEMON)} <= {1, 3}


def test_arguments_that_are_no_text_are_refused(live: Box) -> None:
    odd = {name: ["/proc/\udcff" if name == "demo" else "\udcff" for _ in more.split()] or ["\udcff"]
           for name, (more, _) in COMMANDS.items()}  # fmt: skip
    given = [("no salt", ["--root", str(live.host.root), *name.split(), *more]) for name, more in odd.items()]
    done = run(EVERYONE, cwd=TOP, stdin=json.dumps(given).encode(), env={"LC_ALL": "C"})
    came: Came = dict(zip(COMMANDS, map(tuple, json.loads(done.stdout)), strict=True))
    sane(came)
    assert {code for code, _, _ in came.values()} <= {1, 2, 3}
