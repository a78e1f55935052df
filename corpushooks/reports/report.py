"""What an operation tells, which changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from corpushooks.core.errors import Fault


@dataclass(frozen=True)
class Report:
    """What is told: as JSON has it, as people read it, and what else is wrong with the projects that are told of."""

    value: Any
    lines: Sequence[str]
    warnings: tuple[Fault, ...] = ()
    hint: str = ""  # what to do beside it, as whoever asks types it

    @property
    def plain(self) -> Any:
        """What is told, as JSON has it."""
        from corpushooks.protocol.gives import plain  # here: its types take time to load, and the command has texts

        return plain(self.value)
