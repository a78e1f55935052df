"""The settings of rollouts: how a project with several nodes is rolled out. Values only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from corpushooks.core.schema import Kind, is_positive, is_whole, keys_of, one_of, setting, taken

SIZE = re.compile(r"([1-9][0-9]{0,2})%")
BATCH = Kind(
    "a whole number of nodes, or a percentage like 50%",
    lambda value: (is_whole(value) and value > 0) or (isinstance(value, str) and bool(SIZE.fullmatch(value))),
)
NUMBER = Kind("a whole number", lambda value: is_whole(value) and value >= 0)
LEASE = Kind("a number of seconds from 5 to 3600", lambda value: is_positive(value) and 5 <= value <= 3600)


@dataclass(frozen=True)
class Policy:
    """How a project is rolled out to its nodes."""

    batch: int | str = setting("100%", BATCH, "How many nodes switch at once: a number, or a share of them.")
    canary: int = setting(0, NUMBER, "How many nodes switch before the others.")
    absent: str = setting(
        "refuse", one_of("refuse", "later"), "A node that does not answer: refuse the rollout, or bring it up later."
    )
    lease: float = setting(60.0, LEASE, "How long a node waits for a word of the controller before it goes back.")
    on_silence: str = setting(
        "back", one_of("back", "keep"), "What a node does then: back, or keep what it holds until it hears."
    )

    def groups(self, nodes: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Return the nodes in the groups that switch together, in order."""
        first, rest = nodes[: self.canary], nodes[self.canary :]
        share = SIZE.fullmatch(str(self.batch))
        size = max(1, -(-len(rest) * int(share[1]) // 100)) if share else int(self.batch)
        return [*([first] if first else []), *(rest[at : at + size] for at in range(0, len(rest), size))]


def policy(body: Mapping[Any, Any] | None) -> Policy | None:
    """Check the settings; an empty mapping is none. Raise ConfigError."""
    return Policy(**taken(keys_of(Policy), body, "rollout.")) if body else None
