"""Text that comes from elsewhere, made harmless: for terminals, logs, and git's one line."""

from __future__ import annotations

import re

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


def shown(path: str, limit: int = 4096) -> str:
    """Return a path as a part of one line: what could steer a terminal, or is no text, is written as an escape."""
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
