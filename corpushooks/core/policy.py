"""The settings of rollouts: how a project with several nodes is rolled out. Values only."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from corpushooks.core.errors import RefusedError
from corpushooks.core.hints import command
from corpushooks.core.rollouts import LABEL, NODE_NAME, Node
from corpushooks.core.schema import Kind, is_positive, is_whole, keys_of, one_of, setting, taken

OF_LABEL = "label:"

SIZE = re.compile(r"([1-9][0-9]{0,2})%")
BATCH = Kind(
    "a whole number of nodes, or a percentage like 50%",
    lambda value: (is_whole(value) and value > 0) or (isinstance(value, str) and bool(SIZE.fullmatch(value))),
)
NUMBER = Kind("a whole number", lambda value: is_whole(value) and value >= 0)


def is_chosen(value: Any) -> bool:
    """Return whether a value chooses nodes: a name, or label:LABEL."""
    if not isinstance(value, str):
        return False
    label = value.removeprefix(OF_LABEL)
    return bool((NODE_NAME if label == value else LABEL).fullmatch(label))


CHOSEN = Kind(
    "a list of names of nodes and of label:LABEL",
    lambda value: isinstance(value, list) and all(map(is_chosen, value)),
    tuple,
)
ONE = Kind("the name of a node, label:LABEL, or null", lambda value: value is None or is_chosen(value))
PATIENCE = Kind("a number of seconds from 1 to 600", lambda value: is_positive(value) and 1 <= value <= 600)
LEASE = Kind("a number of seconds from 5 to 3600", lambda value: is_positive(value) and 5 <= value <= 3600)


@dataclass(frozen=True)
class Policy:
    """How a project is rolled out to its nodes."""

    nodes: tuple[str, ...] = setting((), CHOSEN, "Which nodes of the project: names, or label:LABEL; empty: all.")
    batch: int | str = setting("100%", BATCH, "How many nodes switch at once: a number, or a share of them.")
    canary: int = setting(0, NUMBER, "How many nodes switch before the others.")
    absent: str = setting(
        "refuse", one_of("refuse", "later"), "A node that does not answer: refuse the rollout, or bring it up later."
    )
    patience: float = setting(10.0, PATIENCE, "How many seconds a node can be silent before it counts as absent.")
    lease: float = setting(60.0, LEASE, "How long a node waits for a word of the controller before it goes back.")
    on_silence: str = setting(
        "back", one_of("back", "keep"), "What a node does then: back, or keep what it holds until it hears."
    )

    run_once: str | None = setting(
        None, ONE, "The node on which migrations run, which switches before the others; null: the first one."
    )

    def chosen(self, nodes: Sequence[Node]) -> tuple[Node, ...]:
        """Return those of the nodes of a project that its rollouts concern."""
        return tuple(each for each in nodes if not self.nodes or any(_is(each, one) for one in self.nodes))

    def check(self, project: str, nodes: Sequence[Node]) -> None:
        """Refuse a policy that chooses what is not among the nodes of a project."""
        for key, wanted in (("nodes", self.nodes), ("run_once", (self.run_once,) if self.run_once else ())):
            among = nodes if key == "nodes" else self.chosen(nodes)
            for one in wanted:
                if not any(_is(each, one) for each in among):
                    label = one.removeprefix(OF_LABEL)
                    chosen = ", or it is not one of rollout.nodes" if key != "nodes" and self.nodes else ""
                    wrong = f"{project} is not on the node {one}" if label == one else f"no node has the label {label}"
                    raise RefusedError(f"rollout.{key}: {wrong}{chosen}", command("node", "list"))

    def once(self, nodes: Sequence[Node]) -> Node | None:
        """Return the node on which migrations run: of those that are chosen, the first that takes part."""
        here = [each for each in self.chosen(nodes) if not self.run_once or _is(each, self.run_once)]
        return next((each for each in here if not each.drained), None)

    def groups(self, nodes: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Return the nodes in the groups that switch together, in order; with run_once the first is one of its own."""
        alone = max(self.canary, 1 if self.run_once else 0)
        first, rest = nodes[:alone], nodes[alone:]
        share = SIZE.fullmatch(str(self.batch))
        size = max(1, -(-len(rest) * int(share[1]) // 100)) if share else int(self.batch)
        return [*([first] if first else []), *(rest[at : at + size] for at in range(0, len(rest), size))]

    @property
    def words(self) -> str:
        """Return the settings that are not the usual ones, in a line."""
        usual = Policy()
        said = ((each.name, getattr(self, each.name)) for each in fields(self) if each.name != "nodes")
        return ", ".join(f"{name} {value}" for name, value in said if value != getattr(usual, name))


def _is(node: Node, wanted: str) -> bool:
    label = wanted.removeprefix(OF_LABEL)
    return node.name == wanted if label == wanted else label in node.labels


def policy(body: Mapping[Any, Any] | None) -> Policy | None:
    """Check the settings; an empty mapping is none. Raise ConfigError."""
    return Policy(**taken(keys_of(Policy), body, "rollout.")) if body else None
