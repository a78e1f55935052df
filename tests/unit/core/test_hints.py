"""Hints are values: each door spells the commands in them, and what it shows works when pasted."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from corpushooks.core.errors import CorpusError, Fault, UsageError
from corpushooks.core.hints import Hint, Spelling, command
from corpushooks.core.project import Host
from corpushooks.core.rights import HOST
from corpushooks.host import address
from corpushooks.operations import ssh_commands
from corpushooks.operations.ssh_commands import OPERATIONS, WORDS, can_ask, parse
from corpushooks.system.obstacles import away

ADDRESS = "corpus@example.org"
ODD = ["a b", "it's", 'a "b"', "a;rm -rf b", "$(id)", "a\nb", "", "-x", "ä", "*"]
LOG = command("log", "hello", 3)
AGAIN = Hint(LOG, ", then ", command("init", "hello"))
SPELT = {  # a door, and what is read there
    "host": (Host().spell, "corpus log hello 3, then corpus init hello"),
    "root": (Host(Path("/x")).spell, "corpus --root /x log hello 3, then corpus --root /x init hello"),
    "root with a space": (
        Host(Path("/my servers/x")).spell,
        "corpus --root '/my servers/x' log hello 3, then corpus --root '/my servers/x' init hello",
    ),
    "ssh": (ssh_commands.spelling(Host(), ADDRESS), "ssh corpus@example.org log hello 3, then corpus init hello"),
    "ssh at a port": (
        ssh_commands.spelling(Host(), address.called("corpus", "example.org:2222")),
        "ssh -p 2222 corpus@example.org log hello 3, then corpus init hello",
    ),
    "ssh to a host in a folder": (
        ssh_commands.spelling(Host(Path("/a b")), ADDRESS),
        "ssh corpus@example.org log hello 3, then corpus --root '/a b' init hello",
    ),
}


@pytest.mark.parametrize("door", SPELT)
def test_each_door_spells_the_same_hint(door: str) -> None:
    spell, read = SPELT[door]
    assert spell(CorpusError("what", AGAIN).hint) == read


def test_a_text_is_never_searched_for_commands() -> None:
    said = "a file called corpus log hello; corpus status"
    for spell, _ in SPELT.values():
        assert spell(said) == spell(Hint(said)) == said


@pytest.mark.parametrize("odd", ODD)
def test_words_are_quoted_for_a_shell(odd: str) -> None:
    assert shlex.split(str(command("check", odd))) == ["corpus", "check", odd]
    assert shlex.split(Host(Path("/a b")).spell(command("check", odd))) == ["corpus", "--root", "/a b", "check", odd]


@pytest.mark.parametrize("odd", [f"k={odd}" for odd in ODD])
def test_words_over_ssh_are_quoted_for_both_shells(odd: str) -> None:
    typed = ssh_commands.spelling(Host(), ADDRESS)(command("set", "hello", odd))
    ssh, address, *sent = shlex.split(typed)
    assert (ssh, address) == ("ssh", ADDRESS)
    assert parse(" ".join(sent)).given == (odd,)  # as ssh puts its arguments together


def test_what_cannot_be_asked_over_ssh_is_the_command_of_the_host() -> None:
    spell = ssh_commands.spelling(Host(), ADDRESS)
    for words in (
        ["config", "hello", "--show-secrets"],
        ["deploy", "hello", "--nowait"],
        ["status", "a", "b"],
        ["doctor"],
    ):
        assert not can_ask(words)
        assert spell(command(*words)) == f"corpus {' '.join(words)}"


SPELT_THERE = [name for name in WORDS if name != "plan" and (name not in OPERATIONS or OPERATIONS[name].right != HOST)]


@pytest.mark.parametrize("name", SPELT_THERE)
def test_what_is_spelt_for_ssh_is_taken_there(name: str) -> None:
    some = {
        "PROJECT": "hello",
        "NUMBER": "3",
        "REV": "main",
        "TASK": "x",
        "KEY=VALUE": "a=b c",
        "KEY": "a",
        "TOPIC": "x",
        "UNIT": "web",
        "REASON": "a b",
        "OLD": "3",
        "NEW": "4",
        "NAME": "timeout",
        "VALUE": "600",
    }
    rest = ["ls", "-l"] if WORDS[name].rest else []
    words = [*name.split(), *(some[called] for called, _ in WORDS[name].takes), *rest]
    typed = ssh_commands.spelling(Host(), ADDRESS)(command(*words))
    assert typed.startswith(f"ssh {ADDRESS} {name}")
    assert parse(" ".join(shlex.split(typed)[2:]))


def test_hints_are_put_together_without_becoming_text(tmp_path: Path) -> None:
    moved = away(tmp_path / "a b", command("init", "hello"))
    quoted = shlex.quote(str(tmp_path / "a b"))
    assert Host(Path("/x")).spell(moved) == (
        f"mv {quoted} {shlex.quote(str(tmp_path / 'a b.aside'))} && corpus --root /x init hello"
    )
    assert Hint(Hint(LOG, ", then "), command("init", "hello")) == AGAIN
    assert not Hint() and not Hint("") and not CorpusError("what").hint
    assert UsageError("what", "do it").hint == Hint("do it")
    assert Fault("what", LOG) == Fault("what", command("log", "hello", "3"))
    assert Spelling()(LOG) == str(LOG) == "corpus log hello 3"
