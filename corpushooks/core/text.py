"""Text that comes from elsewhere, made harmless and not too long: for terminals, logs, and git's one line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

LINE = 4096  # characters that are kept of one line
PART = 1 << 19  # characters that are kept of each end of a long text,
ROWS = 10_000  # and lines

# C0 and C1 control characters but the tab, and what changes the direction of text: all could drive a terminal.
CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
ESCAPE = re.compile(r"\x1b(?:\][^\x07\x1b]*(?:\x07|\x1b\\)?|\[[0-?]*[ -/]*[@-~]|[@-Z\\-_])")


def clean(text: str) -> str:
    """Return text that cannot drive a terminal: escape sequences go, control characters show as a dot."""
    return CONTROL.sub("·", ESCAPE.sub("", text).expandtabs())


def one_line(text: str) -> str:
    """Return text as git takes it for a reason: harmless, one line, not too long."""
    line = " ".join(clean(" ".join(text.split())).split())
    return line if len(line) <= 200 else line[:197] + "..."


def whole(text: str) -> str:
    """Return text without halves of characters: bytes that were no text are written as escapes."""
    if text.isascii():
        return text
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        data = text.encode("utf-8", "surrogatepass")
    return data.decode("utf-8", "backslashreplace")


def shown(path: str, limit: int = 4096) -> str:
    """Return a path as a part of one line: what could steer a terminal, or is no text, is written as an escape."""
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def lines(text: str) -> list[str]:
    """Return the lines of a program's output as a terminal shows them: of a line that was rewritten, its last form."""
    found = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    return found if found[-1] else found[:-1]


def shortened(line: str, limit: int = LINE) -> str:
    """Return a line, or its beginning and how much more there was."""
    return line if len(line) <= limit else f"{line[:limit]} … {len(line) - limit} characters more"


def middle(text: str, limit: int) -> str:
    """Return a name, of one that is too long its beginning and its end."""
    if len(text) <= limit:
        return text
    end = max(0, limit - 1) // 2
    return f"{text[: max(0, limit - 1 - end)]}…{text[len(text) - end :]}"


def excerpt(texts: Sequence[str], limit: int) -> list[str]:
    """Return lines, of too many the first and the last and how many are left out."""
    if len(texts) <= limit:
        return list(texts)
    half = limit // 2
    return [*texts[:half], f"… {len(texts) - 2 * half} lines are left out …", *texts[-half:]]


def bounded(text: str) -> str:
    """Return a text, of one that is too long both ends and how much is left out between them."""
    if len(text) <= 2 * PART and text.count("\n") < 2 * ROWS:
        return text
    head = "\n".join(_but_the_cut(text[:PART].split("\n", ROWS), -1))
    tail = "\n".join(_but_the_cut(text[-PART:].rsplit("\n", ROWS), 0))
    middle = text[len(head) : len(text) - len(tail)].removeprefix("\n").removesuffix("\n")
    size = len(middle.encode("utf-8", "surrogatepass"))
    return f"{head}\n… {middle.count(chr(10)) + 1} lines, {size} bytes, are left out …\n{tail}"


def _but_the_cut(found: list[str], place: int) -> list[str]:
    """Return lines without the one at the cut, unless it is worth more than what a line may have."""
    if len(found) > ROWS or (len(found) > 1 and len(found[place]) < LINE):
        del found[place]
    return found


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Say what changed, a line for each: `what: before -> after`."""
    return [f"{name}: {before[name]} -> {text}" for name, text in after.items() if before.get(name, text) != text]
