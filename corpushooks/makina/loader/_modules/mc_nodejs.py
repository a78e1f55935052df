# ruff: noqa: F821  (Salt fills in the names with underscores)
"""node for SLS files written for makina-states: Debian's, and other versions beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__salt__: dict[str, Callable[..., Any]]  # Salt's loader fills these in
__grains__: dict[str, Any]

DEFAULTS: dict[str, Any] = {
    "version": "18",
    "location": "/usr",
    "bin": "/usr/bin/node",
    "npm": "/usr/bin/npm",
    "packages": ["nodejs"],
    "npm_packages": ["npm"],
    "prefix": "/srv/apps/node",
    "url": "https://nodejs.org/dist",
}


def settings() -> dict[str, Any]:
    """Return the settings of node; the host's configuration, pillar and grains can override them."""
    found: dict[str, Any] = __salt__["mc_utils.defaults"]("makina-states.localsettings.nodejs", DEFAULTS)
    return found


def ver(version: str = "") -> str:
    """Return the version of node, which is the only one, whatever `version` is."""
    return str(settings()["version"])


def archive(version: str, dest: str = "", hash: str | None = None) -> dict[str, str]:
    """Return the source, the hash and the destination of a version of node."""
    own = settings()
    place = dest or f"{own['prefix']}/{version}"
    __salt__["mc_files.check_firm"](place)  # root unpacks it
    machine = {"x86_64": "x64", "aarch64": "arm64"}.get(__grains__["cpuarch"], __grains__["cpuarch"])
    site = f"{own['url']}/v{version}"
    kinds = {32: "md5", 40: "sha1", 64: "sha256"}
    given = f"{kinds[len(hash)]}={hash}" if hash and len(hash) in kinds else hash
    return {
        "dest": place,
        "source": f"{site}/node-v{version}-linux-{machine}.tar.gz",
        "source_hash": given or f"{site}/SHASUMS256.txt",
    }
