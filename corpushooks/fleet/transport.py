"""What carries orders to nodes, and their answers back.

A transport says nothing of outcomes: it delivers an answer of the node, or an error that the node itself gave, or it
raises UnreachableError, after which the order may have arrived or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from corpushooks.core.project import Project
from corpushooks.core.rollouts import Node
from corpushooks.system.patience import Check, endless


class Transport(Protocol):
    """Reaches nodes. Its methods can be called from several threads, one for each node."""

    def ask(
        self, node: Node, name: str, fields: Mapping[str, Any], limit: float, check: Check = endless
    ) -> dict[str, Any]:
        """Ask a node for an operation of the table, and return its result.

        `limit`: seconds for the answer, besides those for a connection that has to be made; `check` is called
        meanwhile, and can raise. Raise the error that the node gave, or UnreachableError.
        """

    def send(
        self, node: Node, project: Project, number: int, code: str, pillar: str, limit: float, check: Check = endless
    ) -> None:
        """Bring the commits of a rollout to a node, under refs/rollout/NUMBER; an empty commit is none.

        Raise UnreachableError; GitError if the node does not take them.
        """

    def close(self) -> None:
        """End all connections."""
