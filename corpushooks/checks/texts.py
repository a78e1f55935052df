"""Check a file before it is read: not a file, too large, not UTF-8, or an LFS pointer."""

from __future__ import annotations

import itertools
import re
import shlex
import stat
from collections.abc import Iterator

from corpushooks.checks.finding import Finding

POINTER = b"version https://git-lfs.github.com/spec/"
# Options of resetperms: those that take a value, and the others.
VALUED = ("--paths", "--user", "--group", "--dmode", "--fmode", "--users", "--groups", "--excludes")
FLAGS = ("--reset-acls", "--no-acls", "--only-acls", "--no-recursive", "--quiet", "--verbose", "--debug", "--help")
SHORT = frozenset("pugknoReqvh")
_CALL = re.compile(r"resetperms")
_OPTION = re.compile(r"(?<!\S)(--?[A-Za-z][\w-]*)")


LIMIT = 8 << 20  # bytes of an SLS file or a sample
_OTHERS = (
    (stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
)  # fmt: skip


def unusable(file: str, mode: int, size: int) -> Finding | None:
    """Return why an SLS file or a sample cannot be read, by its type and size."""
    if stat.S_ISDIR(mode):
        return Finding(
            "unread", file, None, "nothing reads it: a folder, not a file", "rename it, or replace it by a file"
        )
    if other := next((name for test, name in _OTHERS if test(mode)), ""):
        return Finding("file", file, None, f"{other}, not a file", "replace it by a file, or remove it")
    if size > LIMIT:
        what = f"too large: {-(-size >> 20)} MiB, at most {LIMIT >> 20} MiB are read"
        return Finding("file", file, None, what, "move the data to other files")
    return None


def uncommented(text: str) -> str:
    """Return a text without the comments of Jinja, with the same line numbers."""
    return re.sub(r"\{#.*?#\}", lambda found: "\n" * found[0].count("\n"), text, flags=re.DOTALL)


def encoding(file: str, data: bytes) -> Finding | None:
    """Return the error in the encoding of a text."""
    if data.startswith(POINTER):
        return Finding(
            "encoding", file, 1, "an LFS pointer, not the file itself", "remove it from LFS: git lfs untrack"
        )
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        help_ = "save it as UTF-8: iconv -f ISO-8859-1 -t UTF-8"
        return Finding("encoding", file, line, f"not UTF-8 (byte 0x{data[exc.start]:02x})", help_)
    if (at := data.find(b"\0")) >= 0:
        line = data.count(b"\n", 0, at) + 1
        return Finding("encoding", file, line, "not UTF-8 (byte 0x00)", "save it as UTF-8: iconv -f UTF-16 -t UTF-8")
    return None


def resetperms(file: str, text: str) -> list[Finding]:
    """Find unknown options in calls of resetperms."""
    return [
        Finding("option", file, line, f"resetperms has no option {option}", "see: resetperms --help")
        for line, option in options(text)
        if not known(option)
    ]


def options(text: str) -> list[tuple[int, str]]:
    """Return the options of calls of resetperms, with their lines; a backslash at its end continues a line."""
    found, within = [], False
    for number, line in enumerate(uncommented(text).splitlines(), 1):
        call = _CALL.search(line)
        begins = call is not None and not line.lstrip().startswith(("#", "{%", "{#"))
        if begins or within:
            part = line[call.end() :] if call else line
            found += [(number, option) for option in _OPTION.findall(_unquoted(part))]
        within = (begins or within) and line.rstrip().endswith("\\")
    return found


def _unquoted(line: str) -> str:
    """Return a line of a script without quoted text, Jinja, and other commands."""
    line = re.sub(r"{{.*?}}|{%.*?%}|\"[^\"]*\"|'[^']*'", " x ", line)
    return re.split(r"[;|&>]", line, maxsplit=1)[0]


def known(option: str) -> bool:
    """Return whether an option of resetperms exists, or is short for exactly one."""
    return bool(whole(option))


def whole(option: str) -> str:
    """Return the full name of an option of resetperms; nothing if it is unknown or ambiguous."""
    if not option.startswith("--"):
        return option if set(option[1:2]) <= SHORT else ""
    every = (*VALUED, *FLAGS)
    if option in every:
        return option
    fits = [each for each in every if each.startswith(option)]
    return fits[0] if len(fits) == 1 else ""


_GUARD = re.compile(r"^\s*-\s+(?:unless|onlyif|onfail|onfail_any|check_cmd|fromrepo|sources)\s*:", re.MULTILINE)


def guarded(text: str) -> set[int]:
    """Return the lines of states with a condition that depends on a command or another state."""
    lines = text.splitlines()
    begins = [number for number, line in enumerate(lines) if re.match(r"[^\s#{-]|\{\{", line)] + [len(lines)]
    found: set[int] = set()
    for begin, end in itertools.pairwise(begins):
        if _GUARD.search("\n".join(lines[begin:end])):
            found.update(range(begin + 1, end + 1))
    return found


_INCLUDE = re.compile(r"^\s*-\s+(['\"]?)((?:[\w.-]|\{\{.*?\}\})+)\1\s*(?:#.*)?$")
_SOURCE = re.compile(r"salt://((?:[\w./@+-]|\{\{.*?\}\})+)")
_NAME = re.compile(r"\{\{-?\s*(?:[\w.]+\.)?(?:name|project_name)\s*-?\}\}|\{\{-?\s*cfg\[['\"]name['\"]\]\s*-?\}\}")
_DEPTH = re.compile(r"{%-?\s*(if|for|macro|endif|endfor|endmacro)\b")


def includes(text: str, project: str) -> list[tuple[int, str]]:
    """Return the unconditional literal includes of a text, with their lines."""
    found, within = [], False
    for number, line, depth in _lines(text):
        if re.match(r"include\s*:\s*$", line):
            within = True
        elif re.match(r"[^\s#{-]", line):
            within = False
        elif within and not depth and (item := _INCLUDE.match(line)):
            found.append((number, _with_project_name(item[2], project)))
    return [(number, name) for number, name in found if name]


def sources(text: str, project: str) -> list[tuple[int, str]]:
    """Return the files of salt:// that a text names unconditionally, with their lines."""
    aside = guarded(text)
    found = [
        (number, _with_project_name(name, project))
        for number, line, depth in _lines(text)
        if not depth and number not in aside and re.search(r"\bsource\s*:", line)
        for name in _SOURCE.findall(line)[:1]
    ]
    return [(number, name) for number, name in found if name]


def _lines(text: str) -> Iterator[tuple[int, str, int]]:
    """Yield each line without comments, with its number and how many conditions, loops and macros it is in."""
    depth = 0
    for number, line in enumerate(uncommented(text).splitlines(), 1):
        if not line.lstrip().startswith(("#", "{#")):
            yield number, line, depth
        for word in _DEPTH.findall(line):
            depth = max(0, depth + (-1 if word.startswith("end") else 1))


def _with_project_name(name: str, project: str) -> str:
    """Return a name with the name of the project filled in; nothing if it has other Jinja expressions."""
    name = _NAME.sub(project, name)
    return "" if "{" in name else name


def words(command: str) -> list[str]:
    """Split a command as a shell does; empty if that is not possible."""
    try:
        return shlex.split(command, comments=True)
    except ValueError:
        return []
