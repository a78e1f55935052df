# ruff: noqa: F821  (Salt fills in the names with underscores)
"""RabbitMQ for SLS files written for makina-states: its administrator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__salt__: dict[str, Callable[..., Any]]  # Salt's loader fills it in

PREFIX = "makina-states.services.queue.rabbitmq"
KEY = "rabbitmq_admin"  # of the stored password


def settings() -> dict[str, Any]:
    """Return `rabbitmq`: the name and password of an administrator, which is not created automatically."""
    defaults = {"rabbitmq": {"admin": "admin", "password": __salt__["mc_utils.generate_stored_password"](KEY)}}
    found: dict[str, Any] = __salt__["mc_utils.defaults"](PREFIX, defaults)
    return found
