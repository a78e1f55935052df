"""How corpushooks was installed, and the command that installs missing dependencies."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOCK = "requirements.txt"
PACKAGE = "debian"  # .debian/build.py says so in INSTALLER
AGAIN = "apt-get install --reinstall ./corpushooks_*.deb"  # as Getting started has it


def completing() -> str:
    """Return the command that installs all our Python dependencies: Salt, apprise, ldap3."""
    installer, url = _metadata_text("INSTALLER"), _metadata_text("direct_url.json")
    if installer == PACKAGE:
        return AGAIN
    return f"{sys.executable} -m pip install --no-deps --require-hashes -r {shlex.quote(_lock(url))}"


def with_salt(python: Path) -> str:
    """Return the command that installs Salt for an interpreter, which need not be ours."""
    if python.parent == Path(sys.executable).parent:
        return completing()
    return f"{shlex.quote(str(python))} -m pip install 'salt>=3007'"


def _metadata_text(name: str) -> str:
    """Return the content of a file of our metadata; nothing if it does not exist."""
    from importlib import metadata  # here: it takes a megabyte, and is needed when something is missing

    try:
        return (metadata.distribution("corpushooks").read_text(name) or "").strip()
    except metadata.PackageNotFoundError:
        return ""


def _lock(url: str) -> str:
    """Return the lock file: the one of the checkout that was installed from, if it still exists."""
    try:
        place = urlsplit(json.loads(url)["url"])
    except (ValueError, KeyError, TypeError):
        return LOCK
    found = Path(unquote(place.path)) / LOCK
    return str(found) if place.scheme == "file" and found.is_file() else LOCK
