"""Lay a project's default configuration under its pillar."""

from __future__ import annotations

import copy
from typing import Any

from salt.utils import dictupdate


def ext_pillar(_minion_id: str, pillar: dict[str, Any], defaults: dict[str, Any]) -> Any:
    """Return `defaults` overlaid by the pillar: mappings merge recursively, anything else replaces."""
    return dictupdate.update(copy.deepcopy(defaults), pillar, recursive_update=True, merge_lists=False)
