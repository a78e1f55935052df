"""What may be asked over ssh: git's three programs, and a few words. Values only."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from corpushooks.errors import UsageError
from corpushooks.hints import Spelling, command
from corpushooks.keys import ADMIN, PUSH, READ
from corpushooks.project import NAME, NAME_LIMIT, Host
from corpushooks.services import UNIT

GIT = {"receive-pack": PUSH, "upload-pack": READ, "upload-archive": READ}  # git's programs and what they need
PATH = re.compile(r"/?([a-z0-9][a-z0-9_-]*?)(\.pillar)?(?:\.git)?/?")
REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./~^-]*")
NUMBER = re.compile(r"[0-9]{1,9}")
TOPIC = re.compile(r"[a-z][a-z-]{0,30}")
TASK = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
REASON = re.compile(r".*\S.*")
PAIR = re.compile(r"[^-].*", re.DOTALL)  # whether it is one the command says
KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
LIMIT = 1000  # characters that a command may have
FREE_LIMIT = 60_000  # and one that is passed on
FREE = re.compile(r"\s*([a-z]+)\s+([a-z0-9][a-z0-9_-]*)\s+(?:--\s+)?(\S.*)", re.DOTALL)
GIVES, GIVES_LIMIT = re.compile(r"(un)?set\s"), 64 << 10  # one that gives values, and its limit
HELP = command("help")
GIVEN = "CORPUS_GIVEN"  # in the environment of the command: words that others shall not see among its arguments
ALL = "--all"  # in the place of a project


@dataclass(frozen=True)
class Word:
    """One word that may be asked: what it needs, what may follow it, and what it does."""

    right: str
    takes: tuple[tuple[str, re.Pattern[str]], ...]  # (what people call it, what it looks like)
    needs: int  # how many of these must be there
    flags: frozenset[str]
    does: str
    more: tuple[str, ...] = ()  # of the command that does it
    rest: str = ""  # what people call all that follows, which is the caller's own: nothing in it is ours to judge
    many: bool = False  # of the last of these any number, and nobody else sees them
    again: bool = False  # of the last of these any number
    text: bool = False  # the last that it takes is all the rest of the line: ssh passes on no quotes
    values: Mapping[str, tuple[str, re.Pattern[str]]] = field(default_factory=dict)  # of flags that have one

    @property
    def usage(self) -> str:
        names = [name if place < self.needs else f"[{name}]" for place, (name, _) in enumerate(self.takes)]
        if ALL in self.flags:
            names[0] = f"{names[0]}|{ALL}"
        names[-1:] = [f"{name}..." if self.many or self.again else name for name in names[-1:]]
        given = [f"[{flag} {value}]" for flag, (value, _) in self.values.items() if flag not in self.flags]
        rest = [self.rest] if self.rest else []
        flags = (f"[{flag}]" for flag in sorted(self.flags - {"--json", "--no-deploy", ALL, *self.values}))
        return " ".join([*names, *flags, *given, *rest])


PROJECT = ("PROJECT", NAME)
JSON = frozenset({"--json"})
WORDS: Mapping[str, Word] = {
    "help": Word("", (("TOPIC", TOPIC),), 0, frozenset(), "this, or a page of the documentation"),
    "whoami": Word("", (), 0, frozenset(), "your key, and what it may"),
    "status": Word(READ, (PROJECT,), 0, JSON, "what is live, and what runs"),
    "history": Word(
        READ, (PROJECT,), 1, JSON | {"--commands"}, "the deployments of a project, or what was run in it (right: push)"
    ),
    "open": Word(READ, (PROJECT,), 1, JSON, "the addresses where a project answers"),
    "log": Word(READ, (PROJECT, ("NUMBER", NUMBER)), 1, JSON | {"-f"}, "the log of a deployment; -f follows it"),
    "app-log": Word(
        PUSH,
        (PROJECT,),
        1,
        JSON | {"-f"},
        "what the application writes; -f follows it",
        values={"-n": ("LINES", NUMBER)},
    ),
    "restart": Word(
        PUSH, (PROJECT, ("UNIT", UNIT)), 1, JSON, "restart the units of a project, or some of them", again=True
    ),
    "deploy": Word(
        PUSH,
        (PROJECT, ("REV", REVISION)),
        1,
        JSON | {"--confirm"},
        "deploy what is live again, or a commit (--confirm: hold it)",
        values={"--confirm": ("SECONDS", NUMBER)},
    ),
    "plan": Word(PUSH, (PROJECT, ("REV", REVISION)), 1, JSON, "what would change", ("deploy", "--dry-run")),
    "rollback": Word(
        PUSH,
        (PROJECT, ("NUMBER", NUMBER)),
        1,
        JSON | {"--confirm"},
        "return to an earlier deployment (--confirm: hold it)",
        values={"--confirm": ("SECONDS", NUMBER)},
    ),
    "confirm": Word(PUSH, (PROJECT, ("NUMBER", NUMBER)), 2, JSON, "confirm a deployment that is held"),
    "cancel": Word(PUSH, (PROJECT,), 1, JSON, "stop what runs or waits"),
    "config": Word(PUSH, (PROJECT,), 1, JSON | {"--origin"}, "the configuration that SLS files see"),
    "set": Word(
        PUSH,
        (PROJECT, ("KEY=VALUE", PAIR)),
        1,
        JSON | {"--no-deploy"},
        "set variables and deploy (--no-deploy: not yet), or list them",
        many=True,
    ),
    "unset": Word(
        PUSH,
        (PROJECT, ("KEY", KEY)),
        2,
        JSON | {"--no-deploy"},
        "take that back, and deploy (--no-deploy: not yet)",
        many=True,
    ),
    "task": Word(PUSH, (PROJECT, ("TASK", TASK)), 2, JSON, "run a task"),
    "run": Word(
        ADMIN, (PROJECT,), 1, frozenset(), "run a command as the application; a terminal: ssh -t", rest="COMMAND..."
    ),
    "freeze": Word(ADMIN, (PROJECT, ("REASON", REASON)), 2, JSON | {ALL}, "refuse to deploy until it thaws", text=True),
    "thaw": Word(ADMIN, (PROJECT,), 1, JSON | {ALL}, "deploy again"),
}


@dataclass(frozen=True)
class Wanted:
    """What a session of ssh asks for."""

    right: str
    project: str = ""
    git: str = ""  # one of git's programs, on …
    repo: str = "project"  # … this repository
    words: tuple[str, ...] = ()  # or words for the command
    given: tuple[str, ...] = ()  # and words for it that others shall not see


def parse(command: str) -> Wanted:
    """Return what a command line asks for; raise UsageError for anything that is not in the tables above."""
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
    if words[0] == "git":
        words[:2] = ["git-" + "".join(words[1:2])]
    program = words[0].removeprefix("git-")
    if program != words[0] and program in GIT:
        return _git(program, words[1:])
    return _word(words[0], *_apart(words[1:], WORDS.get(words[0])))


def _free(command: str) -> Wanted | None:
    """Return what a command asks for whose end is the caller's own: it is split as a shell would, and not looked at."""
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
    return Wanted(word.right, found[2], words=(found[1], found[2], "--", *rest))


def _split(command: str) -> list[str]:
    gives = bool(GIVES.match(command))
    limit = GIVES_LIMIT if gives else LIMIT
    try:
        words = shlex.split(command[:limit])
    except ValueError:
        raise _unknown() from None
    plain = words[:2] if gives else words  # what is given is judged by the daemon
    odd = not all(word.isprintable() and word.isascii() for word in plain) or ("\n" in command and not gives)
    if len(command) > limit or odd:
        raise _unknown()
    return words


def _apart(given: list[str], word: Word | None) -> tuple[list[str], list[str]]:
    """Return the flags, each with its value, and the other words."""
    flags, plain, left = list[str](), list[str](), given[::-1]
    while left:
        each = left.pop()
        (flags if each.startswith("-") else plain).append(each)
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
    """Return flags and words of a line that ends with a text: flags come before it, or last of all."""
    flags = []
    while parts and parts[-1] in word.flags:
        flags.append(parts.pop())
    plain: list[str] = []
    while parts and (parts[0] in word.flags or len(plain) < len(word.takes) - 1 - (ALL in flags)):
        (flags if parts[0] in word.flags else plain).append(parts.pop(0))
    return flags, [*plain, *([_bare(" ".join(parts))] if parts else [])]


def _bare(text: str) -> str:
    """Return a text without the quotes around all of it."""
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" and text.count(text[0]) == 2
    return text[1:-1] if quoted else text


def _unknown() -> UsageError:
    return UsageError("unknown command", hint=HELP)


def _git(program: str, given: list[str]) -> Wanted:
    found = PATH.fullmatch(given[0]) if len(given) == 1 else None
    if not found or len(found[1]) > NAME_LIMIT:
        raise UsageError("this is no address of a project", hint="it is ssh://ACCOUNT@HOST/PROJECT or …/PROJECT.pillar")
    pillar = bool(found[2])
    # who may read a pillar reads its secrets: that is for those who deploy it
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
    project = plain[0] if plain and takes[0] == PROJECT else ""
    if len(project) > NAME_LIMIT:
        raise UsageError("this is no name of a project")
    if word.many:
        return Wanted(word.right, project, words=(name, *flags, "--", *plain[:1]), given=tuple(plain[1:]))
    end = ["--"] if word.text else []
    return Wanted(word.right, project, words=(*(word.more or (name,)), *_for_click(flags), *end, *plain))


def _is_flag(word: Word, flag: str) -> bool:
    name, found, value = flag.partition("=")
    return bool(word.values[name][1].fullmatch(value)) if found and name in word.values else flag in word.flags


def _for_click(flags: list[str]) -> list[str]:
    """Return flags as the command reads them: the value of a short one is a word of its own."""
    return [part for flag in flags for part in ([flag] if flag.startswith("--") else flag.split("=", 1))]


def help_lines() -> list[str]:
    """Return what `help` says."""
    uses = {name: f"{name} {word.usage}".rstrip() for name, word in WORDS.items()}
    width = max(map(len, uses.values()))
    git = "and git push, fetch and clone: ACCOUNT@HOST:PROJECT, its pillar ACCOUNT@HOST:PROJECT.pillar"
    return [*(f"{uses[name]:<{width}}  {word.does}" for name, word in WORDS.items()), git]


def called(account: str, address: str) -> str:
    """Return how ssh is told of an account at a host: name or name:port."""
    name, _, port = address.partition(":")
    return f"{f'-p {port} ' if port else ''}{account}@{name}"


def can_ask(words: Sequence[str]) -> bool:
    """Say whether a command of the host can be given over ssh as it is."""
    try:
        return parse(shlex.join(words)).words != ()
    except UsageError:
        return False


def spelling(host: Host, address: str) -> Spelling:
    """Return how commands are typed by whoever comes over ssh; those that cannot be asked there as on the host."""
    return Spelling(str(host.root) if host.embedded else "", address, can_ask)
