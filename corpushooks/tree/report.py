"""What was done to a tree. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field

from corpushooks.core.text import shown

WARNINGS = 50  # more than these nobody reads


@dataclass(frozen=True)
class Report:
    """What was done to a tree."""

    files: int  # files in the tree, links among them
    changed: int  # entries copied, made, removed or corrected
    copied: int  # bytes of content written
    warnings: tuple[str, ...]  # what could not be kept, a line each
    replaced: tuple[str, ...] = ()  # paths of what was not ours and had to give way


@dataclass
class Tally:
    """What has been done so far."""

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
