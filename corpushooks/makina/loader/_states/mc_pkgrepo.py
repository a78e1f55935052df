"""Package repositories that makina-states added, and that are not needed on Debian, which has these packages.

They are also named `pkgrepo`, so that `require: [pkgrepo: ID]` finds them.
"""

from __future__ import annotations

from typing import Any

__virtualname__ = "pkgrepo"


def __virtual__() -> str:
    return __virtualname__


def unneeded(name: str, **_given: Any) -> dict[str, Any]:
    """Do nothing, as a requisite for others. Salt passes all other arguments of the SLS."""
    comment = f"{name} is not needed: Debian has these packages"
    return {"name": name, "result": True, "changes": {}, "comment": comment}
