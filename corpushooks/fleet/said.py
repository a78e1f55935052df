"""What a rollout shows of what its nodes say: a failure once, with its reason, whenever it is heard of.

Answers are asked for, not sent: the first one after a failure can say that the node is being rolled back, or that it
already was. Both tell the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from corpushooks.core.events import NodeCame
from corpushooks.core.rollouts import BROKEN, FINAL, GONE_BACK, HELD, PREPARED, RETURNING, UNTOUCHED, Ordered

SHOWN = frozenset({PREPARED, HELD, RETURNING, *FINAL})


@dataclass
class Said:
    """What was shown so far of one rollout."""

    failed: set[str] = field(default_factory=set)  # nodes of which a failure was shown

    def came(self, name: str, said: Ordered, *, blamed: bool, canary: bool) -> Iterator[NodeCame]:
        """Yield what to show of an answer with a new phase; of the node that is blamed with lines of its log."""
        took = round(said.took, 3) or None
        if _ends(said) and not said.revoked and name not in self.failed:
            self.failed.add(name)
            phase = UNTOUCHED if said.phase == UNTOUCHED else RETURNING
            yield NodeCame(name, phase, said.reason, said.lines if blamed else (), took, canary)
            if said.phase == phase:
                return
        if said.phase == RETURNING or said.phase not in SHOWN:
            return  # it was told to, or that was shown
        about = said.reason if said.phase == BROKEN else ""
        yield NodeCame(name, said.phase, about, (), took, canary)


def _ends(said: Ordered) -> bool:
    return said.phase in GONE_BACK or said.phase in (RETURNING, BROKEN)
