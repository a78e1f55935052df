"""Make foreign text safe and limit its length: for terminals, logs, and git's one-line reasons."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

LINE = 4096  # characters that are kept of one line
PART = 1 << 19  # characters that are kept of each end of a long text,
ROWS = 10_000  # and lines

# C0 and C1 control characters except tab, and characters that change the direction of text: a terminal could obey them.
CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
ESCAPE = re.compile(r"\x1b(?:\][^\x07\x1b]*(?:\x07|\x1b\\)?|\[[0-?]*[ -/]*[@-~]|[@-Z\\-_])")


def clean(text: str) -> str:
    """Return text that is safe for a terminal: escape sequences are removed, control characters become a dot."""
    return CONTROL.sub("·", ESCAPE.sub("", text).expandtabs())


def one_line(text: str) -> str:
    """Return text as one line that is safe and not too long, as git needs for a reason."""
    line = " ".join(clean(" ".join(text.split())).split())
    return line if len(line) <= 200 else line[:197] + "..."


def whole(text: str) -> str:
    """Return text without lone surrogates: bytes that are not text become escapes."""
    if text.isascii():
        return text
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        data = text.encode("utf-8", "surrogatepass")
    return data.decode("utf-8", "backslashreplace")


def shown(path: str, limit: int = 4096) -> str:
    """Return a path as part of one line: control characters, and bytes that are not text, become escapes."""
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def lines(text: str) -> list[str]:
    """Return the lines of a program's output as a terminal shows them: of a rewritten line, its last form."""
    found = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    return found if found[-1] else found[:-1]


def shortened(line: str, limit: int = LINE) -> str:
    """Return a line, or its beginning and how much was cut."""
    return line if len(line) <= limit else f"{line[:limit]} … {len(line) - limit} more characters"


def middle(text: str, limit: int) -> str:
    """Return a name, shortened in the middle if it is too long."""
    if len(text) <= limit:
        return text
    end = max(0, limit - 1) // 2
    return f"{text[: max(0, limit - 1 - end)]}…{text[len(text) - end :]}"


def excerpt(texts: Sequence[str], limit: int) -> list[str]:
    """Return lines; if there are too many, the first and last and how many were omitted."""
    if len(texts) <= limit:
        return list(texts)
    half = limit // 2
    return [*texts[:half], f"… {len(texts) - 2 * half} lines omitted …", *texts[-half:]]


def bounded(text: str) -> str:
    """Return a text; if it is too long, both ends and how much was omitted between them."""
    if len(text) <= 2 * PART and text.count("\n") < 2 * ROWS:
        return text
    head = "\n".join(_without_cut_line(text[:PART].split("\n", ROWS), -1))
    tail = "\n".join(_without_cut_line(text[-PART:].rsplit("\n", ROWS), 0))
    middle = text[len(head) : len(text) - len(tail)].removeprefix("\n").removesuffix("\n")
    size = len(middle.encode("utf-8", "surrogatepass"))
    return f"{head}\n… {middle.count(chr(10)) + 1} lines, {size} bytes omitted …\n{tail}"


def _without_cut_line(found: list[str], place: int) -> list[str]:
    """Return lines without the one at the cut, unless that is longer than a line is kept."""
    if len(found) > ROWS or (len(found) > 1 and len(found[place]) < LINE):
        del found[place]
    return found


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Describe what changed, one line each: `what: before -> after`."""
    return [f"{name}: {before[name]} -> {text}" for name, text in after.items() if before.get(name, text) != text]
