# ruff: noqa: F821  (Salt fills in the names with underscores)
"""RabbitMQ as SLS files written for makina-states know it: who manages it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__salt__: dict[str, Callable[..., Any]]  # Salt's loader fills it in

PREFIX = "makina-states.services.queue.rabbitmq"
KEY = "rabbitmq_admin"  # the password is stored under


def settings() -> dict[str, Any]:
    """Return `rabbitmq`: the name and the password of an administrator, whom whoever wants one makes."""
    defaults = {"rabbitmq": {"admin": "admin", "password": __salt__["mc_utils.generate_stored_password"](KEY)}}
    found: dict[str, Any] = __salt__["mc_utils.defaults"](PREFIX, defaults)
    return found
