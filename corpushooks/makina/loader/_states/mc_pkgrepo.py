"""Repositories of packages that makina-states added, and that Debian does not need: it has those packages itself.

They are called `pkgrepo` too, so that `require: [pkgrepo: ID]` finds them.
"""

from __future__ import annotations

from typing import Any

__virtualname__ = "pkgrepo"


def __virtual__() -> str:
    return __virtualname__


def unneeded(name: str, **_given: Any) -> dict[str, Any]:
    """Add nothing, and be there for others to require. Salt gives whatever else an SLS says."""
    comment = f"{name} is not added: Debian has these packages itself"
    return {"name": name, "result": True, "changes": {}, "comment": comment}
