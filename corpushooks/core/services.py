"""The services of a project, named by its cfg: units of systemd and log files. Values only."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from corpushooks.core.claims import flat
from corpushooks.core.errors import ConfigError
from corpushooks.core.hints import command
from corpushooks.core.text import shown

SUFFIXES = (".service", ".socket", ".timer", ".path")
UNIT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9:_.\\-]{0,199}(@[A-Za-z0-9:_.\\-]{1,50})?")  # no pattern, no template
OWN = "corpushooks."  # units of ours
MADE_HERE = ("/etc/systemd/system", "/run/systemd/system")  # unit files that belong to no package
LOGS = "/var/log"
HINT = command("help", "services")


@dataclass(frozen=True)
class Named:
    """Units and files, by their full names."""

    units: tuple[str, ...]
    files: tuple[str, ...]


def of(cfg: Mapping[str, Any]) -> Named:
    """Return the `units` and `logs` of a cfg; raise ConfigError."""
    own = [str(cfg[key]) for key in ("project_root", "data_root")]
    units = (unit(str(each)) for each in flat(cfg.get("units")))
    files = (_file(str(each), own) for each in flat(cfg.get("logs")))
    return Named(tuple(dict.fromkeys(units)), tuple(dict.fromkeys(files)))


def unit(name: str) -> str:
    """Return the full name of a unit; raise ConfigError."""
    whole = name if name.endswith(SUFFIXES) else f"{name}.service"
    if not UNIT.fullmatch(whole.rpartition(".")[0]):
        raise ConfigError(f"invalid unit name {shown(name, 100)!r}", HINT, ("cfg", "units"))
    if whole.startswith(OWN):
        raise ConfigError(f"{shown(name)} belongs to corpushooks itself", HINT, ("cfg", "units"))
    return whole


def _file(path: str, own: Sequence[str]) -> str:
    clean = posixpath.normpath(path)
    inside = any(clean.startswith(f"{folder}/") for folder in (*own, LOGS))
    if not path.isprintable() or ".." in path.split("/") or not inside:
        where = "project/, data/ or /var/log"
        raise ConfigError(
            f"invalid log file {shown(path, 100)!r}: expected an absolute path below {where}", HINT, ("cfg", "logs")
        )
    return clean


@dataclass(frozen=True)
class Origin:
    """What systemd knows of the origin of a unit: its name, its file, and its user."""

    name: str
    file: str
    user: str


def foreign(found: Origin, user: str, project: str, projects: Iterable[str]) -> str:
    """Return why a unit does not belong to a project, whose account is `user`; nothing if it does.

    It does if it runs as that account, or if it has the name of the project and belongs to no package. `projects` are
    all of them: a unit that matches two belongs to the longer name.
    """
    if found.name.startswith(OWN):
        return "it belongs to corpushooks itself"
    if found.user == user:
        return ""
    named = [each for each in projects if _has_name(found.name, each)]
    if posixpath.dirname(found.file) in MADE_HERE and max(named, key=len, default="") == project:
        return ""
    runs = f"runs as {shown(found.user, 40)}" if found.user else "runs as root"
    return f"it {runs}, and its name is not {project} or {project}-…"


def _has_name(name: str, project: str) -> bool:
    stem = name.rpartition(".")[0]
    stems = (stem, stem.removeprefix("circus-"))  # as makina-states called its watchers
    return any(each == project or each.startswith(tuple(f"{project}{sign}" for sign in "-@_.")) for each in stems)
