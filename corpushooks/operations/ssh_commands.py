"""The commands allowed over ssh: git's three programs, and operations by their words. Values only."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from corpushooks.access.keys import Key
from corpushooks.core.errors import UsageError
from corpushooks.core.hints import Spelling, command
from corpushooks.core.project import NAME, NAME_LIMIT, Host
from corpushooks.core.rights import HOST, NODE, OBJECTS, PUSH, READ
from corpushooks.operations.table import HOST_ITSELF, SSH, by_door
from corpushooks.operations.words import ALL, TOPIC, Word

PROGRAM = "corpus-shell"
SESSION = ("node", "serve")  # of a controller: the orders follow on standard input
GIT = {"receive-pack": PUSH, "upload-pack": READ, "upload-archive": READ}  # git's programs and the rights they need
NODE_GIT = "git-node-receive-pack"  # how a controller asks for the first of them, with its own right
NODE_FETCH = "git-node-upload-pack"  # how a node asks for the second, with its own
PATH = re.compile(r"/?([a-z0-9][a-z0-9_-]*?)(\.pillar)?(?:\.git)?/?")
LIMIT = 1000  # characters of a command
FREE_LIMIT = 60_000  # of one that is passed on
FREE = re.compile(r"\s*([a-z]+)\s+([a-z0-9][a-z0-9_-]*)\s+(?:--\s+)?(\S.*)", re.DOTALL)
GIVES, GIVES_LIMIT = re.compile(r"(un)?set\s"), 64 << 10  # one with values, and its limit
HELP = command("help")
GIVEN = "CORPUS_GIVEN"  # in the environment of the command: arguments hidden from other users

OWN: Mapping[str, Word] = {"help": Word((("TOPIC", TOPIC),)), "whoami": Word()}  # these need no right
DOES = {"help": "show this, or a page of the documentation", "whoami": "show your key and its rights"}
OPERATIONS = by_door(SSH)
WORDS: Mapping[str, Word] = {**OWN, **{name: row.word for name, row in OPERATIONS.items()}}


@dataclass(frozen=True)
class Wanted:
    """What an ssh session asks for."""

    right: str
    project: str = ""
    git: str = ""  # one of git's programs, on …
    repo: str = "project"  # … this repository
    words: tuple[str, ...] = ()  # or words for the command
    given: tuple[str, ...] = ()  # and arguments hidden from other users


def parse(command: str) -> Wanted:
    """Return what a command line asks for; raise UsageError for anything not in the tables above."""
    if free := _free(command):
        return free
    if not GIVES.match(command) and (len(command) > LIMIT or not command.isprintable()):
        raise _unknown()
    name, _, rest = command.strip().partition(" ")
    if name in WORDS and WORDS[name].text:
        return _word(name, *_texted(WORDS[name], rest.split()))
    words = _split(command)
    if not words:
        return Wanted("", words=("help",))
    if tuple(words) == SESSION:
        return Wanted(NODE, words=SESSION)
    if words[0] == NODE_GIT:
        return replace(_git("receive-pack", words[1:]), right=NODE)
    if words[0] == NODE_FETCH:
        return replace(_git("upload-pack", words[1:]), right=OBJECTS)
    if words[0] == "git":
        words[:2] = ["git-" + "".join(words[1:2])]
    program = words[0].removeprefix("git-")
    if program != words[0] and program in GIT:
        return _git(program, words[1:])
    size = 2 if " ".join(words[:2]) in WORDS else 1
    name = " ".join(words[:size])
    return _word(name, *_apart(words[size:], WORDS.get(name)))


def _is_of_host(name: str) -> bool:
    """Say whether a word concerns the host, though it may name a project that does not exist yet."""
    return name in OPERATIONS and OPERATIONS[name].about == HOST_ITSELF


def _right(name: str) -> str:
    """Return the right that a word needs."""
    return OPERATIONS[name].right if name in OPERATIONS else ""


def _free(command: str) -> Wanted | None:
    """Return what a command asks for whose rest is passed on: it is split as a shell would, and not checked."""
    found = FREE.fullmatch(command)
    word = WORDS.get(found[1]) if found else None
    if not found or not word or not word.rest:
        return None
    try:
        rest = shlex.split(found[3])
    except ValueError as exc:
        raise UsageError(f"the command cannot be split into words: {exc}".lower(), hint="quote it twice") from None
    if len(command) > FREE_LIMIT or len(found[2]) > NAME_LIMIT or rest in ([], ["--"]):
        raise UsageError(f"usage: {found[1]} {word.usage}", hint=HELP)
    return Wanted(_right(found[1]), found[2], words=(found[1], found[2], "--", *rest))


def _split(command: str) -> list[str]:
    gives = bool(GIVES.match(command))
    limit = GIVES_LIMIT if gives else LIMIT
    try:
        words = shlex.split(command[:limit])
    except ValueError:
        raise _unknown() from None
    plain = words[:2] if gives else words  # the daemon checks the values
    odd = not all(word.isprintable() and word.isascii() for word in plain) or ("\n" in command and not gives)
    if len(command) > limit or odd:
        raise _unknown()
    return words


def _apart(given: list[str], word: Word | None) -> tuple[list[str], list[str]]:
    """Return the flags, each with its value, and the other words."""
    flags, plain, left = list[str](), list[str](), given[::-1]
    while left:
        each = left.pop()
        (flags if each.startswith("-") and each != "-" else plain).append(each)
        if (
            word
            and each in word.values
            and each not in word.flags
            and left
            and word.values[each][1].fullmatch(left[-1])
        ):
            flags[-1] += f"={left.pop()}"
        elif word and each[:2] in word.values and word.values[each[:2]][1].fullmatch(each[2:]):
            flags[-1] = f"{each[:2]}={each[2:]}"
    return flags, plain


def _texted(word: Word, parts: list[str]) -> tuple[list[str], list[str]]:
    """Return flags and arguments of a line that ends with a text: flags come before the text, or at the end."""
    flags = []
    while parts and parts[-1] in word.flags:
        flags.append(parts.pop())
    plain: list[str] = []
    while parts and (parts[0] in word.flags or len(plain) < len(word.takes) - 1 - (ALL in flags)):
        (flags if parts[0] in word.flags else plain).append(parts.pop(0))
    return flags, [*plain, *([_bare(" ".join(parts))] if parts else [])]


def _bare(text: str) -> str:
    """Return a text without the quotes that enclose it."""
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" and text.count(text[0]) == 2
    return text[1:-1] if quoted else text


def _unknown() -> UsageError:
    return UsageError("unknown command", hint=HELP)


def _git(program: str, given: list[str]) -> Wanted:
    found = PATH.fullmatch(given[0]) if len(given) == 1 else None
    if not found or len(found[1]) > NAME_LIMIT:
        raise UsageError("invalid address of a project", hint="use ssh://ACCOUNT@HOST/PROJECT or …/PROJECT.pillar")
    pillar = bool(found[2])
    # reading a pillar reveals its secrets: it needs the right to deploy
    return Wanted(PUSH if pillar else GIT[program], found[1], program, "pillar" if pillar else "project")


def _word(name: str, flags: list[str], plain: list[str]) -> Wanted:
    word = WORDS.get(name)
    if word is None:
        raise _unknown()
    every = ALL in flags
    takes, needs = word.takes[every:], word.needs - every
    if word.many or word.again:
        takes = (*takes, *takes[-1:] * (len(plain) - len(takes)))
    known = all(_is_flag(word, each) for each in flags)
    fits = needs <= len(plain) <= len(takes) and known and not word.rest
    if not fits or not all(like.fullmatch(each) for each, (_, like) in zip(plain, takes, strict=False)):
        raise UsageError(f"usage: {name} {word.usage}".rstrip(), hint=HELP)
    project = plain[0] if plain and takes[0] == ("PROJECT", NAME) and not _is_of_host(name) else ""
    if len(project) > NAME_LIMIT:
        raise UsageError("invalid project name: too long")
    if word.many:
        return Wanted(_right(name), project, words=(name, *flags, "--", *plain[:1]), given=tuple(plain[1:]))
    end = ["--"] if word.text else []
    return Wanted(_right(name), project, words=(*(word.more or name.split()), *_for_click(flags), *end, *plain))


def _is_flag(word: Word, flag: str) -> bool:
    name, found, value = flag.partition("=")
    return bool(word.values[name][1].fullmatch(value)) if found and name in word.values else flag in word.flags


def _for_click(flags: list[str]) -> list[str]:
    """Return flags as the command expects them: the value of a short one is a separate argument."""
    return [part for flag in flags for part in ([flag] if flag.startswith("--") else flag.split("=", 1))]


def help_lines() -> list[str]:
    """Return the lines of `help`."""
    uses = {name: f"{name} {word.short}".rstrip() for name, word in WORDS.items()}
    width = max(map(len, uses.values()))
    git = "and git push, fetch and clone: ACCOUNT@HOST:PROJECT, pillar: ACCOUNT@HOST:PROJECT.pillar"
    does = {**DOES, **{name: row.does for name, row in OPERATIONS.items()}}
    return [*(f"{use:<{width}}  {does[name]}" for name, use in uses.items()), git]


def can_ask(words: Sequence[str]) -> bool:
    """Say whether a command of the host works over ssh unchanged, for most keys."""
    try:
        found = parse(shlex.join(words))
        return found.words != () and found.right != HOST
    except UsageError:
        return False


def spelling(host: Host, address: str) -> Spelling:
    """Return the spelling of commands for callers over ssh; commands unavailable there are spelled as on the host."""
    return Spelling(str(host.root) if host.embedded else "", address, can_ask)


def forced(host: Host, key: Key, certificate: str = "") -> list[str]:
    """Return the forced command of a key."""
    root = ["--root", str(host.root)] if host.embedded else []
    shown = re.sub(r"[^A-Za-z0-9._@+-]", "_", certificate)[:64]
    program = Path(sys.executable).with_name(PROGRAM)
    return [str(program), *root, "serve", "--mark", key.mark, key.name, *([f"--certificate={shown}"] if shown else [])]
