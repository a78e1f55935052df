"""The result of an operation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from corpushooks.core.errors import Fault


@dataclass(frozen=True)
class Report:
    """A result: its value for JSON, its lines for people, and faults of the projects concerned."""

    value: Any
    lines: Sequence[str]
    warnings: tuple[Fault, ...] = ()
    hint: str = ""  # spelled for the caller

    @property
    def plain(self) -> Any:
        """The value for JSON."""
        from corpushooks.protocol.gives import (
            plain,
        )  # here: its types take time to load, and often only the lines are needed

        return plain(self.value)
