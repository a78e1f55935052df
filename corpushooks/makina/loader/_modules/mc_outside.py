# ruff: noqa: F821  (Salt fills in the names with underscores)
"""Files that our states write outside a project: each path is registered first, so that a rollback finds it.

outside.py of our package restores them, and documents the format.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

__salt__: dict[str, Callable[..., Any]]  # Salt's loader fills these in
__opts__: dict[str, Any]


def declare(path: str, follow: bool = False, service: str = "") -> None:
    """Declare that a project has a path, changed or not; `service` reads it."""
    place, name = _place(), _name(path, follow)
    if place and _is_outside(path) and not any((place / kind / name).exists() for kind in ("kept", "pending")):
        _write(place / "pending" / name, path, follow, service)


def register(path: str, follow: bool = False) -> None:
    """Save the content of a path before it is written."""
    place, name = _place(), _name(path, follow)
    if not place or not _is_outside(path) or (place / "pending" / name).exists():
        return
    kept = place / "kept" / name
    service = json.loads(kept.read_text())["service"] if kept.exists() else ""
    _write(place / "pending" / name, path, follow, service)


def service(name: str, test: Sequence[str], reload: Sequence[str], systemctl: str) -> None:
    """Record how a service tests and reloads its configuration."""
    place = _place()
    if not place or "/" in name:
        return
    data = json.dumps({"test": list(test), "reload": list(reload), "systemctl": systemctl}).encode()
    file = place / "services" / f"{name}.json"
    if not file.exists() or file.read_bytes() != data:
        __salt__["mc_files.write"](str(file), data, 0o600, make=0o700)


def _place() -> Path | None:
    """Return the folder of the records; None outside a deployment."""
    said = __opts__.get("corpushooks", {}).get("outside")
    return Path(said) if said else None


def _name(path: str, follow: bool) -> str:
    return f"{hashlib.sha256(f'{os.path.normpath(path)} {bool(follow)}'.encode()).hexdigest()[:40]}.json"


def _is_outside(path: str) -> bool:
    """Return whether a path is neither in the project, which is archived, nor in the folder of Salt."""
    own = (__opts__.get("ms_project", {}).get("project_dir"), __opts__["root_dir"])
    return not any(Path(os.path.normpath(path)).is_relative_to(folder) for folder in own if folder)


def _write(file: Path, path: str, follow: bool, service: str) -> None:
    was = list(__salt__["mc_files.look"](path, follow=follow))
    if len(was) == 3:  # a folder: writing to it fails anyway
        return
    if len(was) == 4:
        was[0] = base64.b64encode(was[0]).decode()
    told = {"path": os.path.normpath(path), "follow": bool(follow), "was": was, "service": service}
    __salt__["mc_files.write"](str(file), json.dumps(told).encode(), 0o600, make=0o700)
