"""Merge a project's default configuration under its pillar, and the values of `corpus set` over it."""

from __future__ import annotations

import copy
from typing import Any

from salt.utils import dictupdate


def ext_pillar(
    _minion_id: str, pillar: dict[str, Any], defaults: dict[str, Any], above: dict[str, Any] | None = None
) -> Any:
    """Return `defaults` overlaid by the pillar, and that by `above`: mappings merge, anything else replaces."""
    found = copy.deepcopy(defaults)
    for layer in (pillar, above or {}):
        found = dictupdate.update(found, copy.deepcopy(layer), recursive_update=True, merge_lists=False)
    return found
