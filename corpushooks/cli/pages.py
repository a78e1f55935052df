"""The installed pages of the documentation, for reading on the host."""

from __future__ import annotations

import difflib
from importlib import resources

from corpushooks.core.errors import UsageError
from corpushooks.core.hints import command

FOLDER = "corpushooks.docs"


def topics() -> dict[str, str]:
    """Return the title of each page, by its name."""
    found = sorted(page.name for page in resources.files(FOLDER).iterdir() if page.name.endswith(".md"))
    return {name.removesuffix(".md"): _title(page(name.removesuffix(".md"), found)) for name in found}


def page(topic: str, names: list[str] | None = None) -> str:
    """Return the text of a page; raise UsageError for an unknown name."""
    names = names or [each.name for each in resources.files(FOLDER).iterdir()]
    if f"{topic}.md" in names:
        return (resources.files(FOLDER) / f"{topic}.md").read_text(encoding="utf-8")
    near = difflib.get_close_matches(topic, [name.removesuffix(".md") for name in names], 1)
    raise UsageError(f"unknown topic {topic!r}", hint=command("help", near[0]) if near else command("help"))


def listed() -> list[str]:
    """Return a line for each page: its name and its title."""
    found = topics()
    width = max(map(len, found))
    return [f"{name:<{width}}  {title}" for name, title in found.items()]


def _title(text: str) -> str:
    return text.partition("\n")[0].lstrip("# ")
