"""Reports of changes to a tree. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field

from corpushooks.core.text import shown

WARNINGS = 50  # that are kept


@dataclass(frozen=True)
class Report:
    """The result of work on a tree."""

    files: int  # files in the tree, including links
    changed: int  # entries copied, created, removed or corrected
    copied: int  # bytes of content written
    warnings: tuple[str, ...]  # what could not be kept, a line each
    replaced: tuple[str, ...] = ()  # paths of foreign files that were replaced


@dataclass
class Tally:
    """The work so far."""

    changed: int = 0
    copied: int = 0
    warnings: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)

    def warn(self, path: str, what: str) -> None:
        self.warnings.append(f"{shown(path)}: {what}")

    def report(self, files: int) -> Report:
        lines = list(dict.fromkeys(self.warnings))
        if len(lines) > WARNINGS:
            lines[WARNINGS:] = [f"… and {len(lines) - WARNINGS} more warnings like these"]
        return Report(files, self.changed, self.copied, tuple(lines), tuple(dict.fromkeys(self.replaced)))
