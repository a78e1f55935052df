"""The settings of a project: what each is, and where it is from; and changes of them, in the file of the host."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import Any

import yaml

from corpushooks.core import editing, settings
from corpushooks.core.errors import RefusedError, UsageError
from corpushooks.core.schema import Key
from corpushooks.core.settings import Settings
from corpushooks.host.site import Site
from corpushooks.operations.call import Call
from corpushooks.protocol import asks, gives
from corpushooks.reports.report import Report
from corpushooks.system import safe_files
from corpushooks.system.locks import configuring
from corpushooks.system.obstacles import editing as by_hand

HIDDEN = "********"
AT_INIT = ("environment", "branch")  # those of a project are its own since it was created


def list_(call: Call[asks.OfProject]) -> Report:
    """List the settings of a project."""
    found = [_told(call.site.settings, call.row.name, key) for key in _keys().values()]
    width = max(len(each.name) for each in found)
    return Report(found, [f"{each.name:<{width}}  {each.value}  ({each.origin})" for each in found])


def set_(call: Call[asks.SettingSet]) -> Report:
    """Change a setting of a project."""
    key = _key(call.asked.name)
    try:
        value = yaml.safe_load(call.asked.value)
    except yaml.YAMLError:
        raise UsageError(f"expected {key.kind.words}") from None
    return _change(call, key, value)


def unset(call: Call[asks.OfSetting]) -> Report:
    """Return a setting of a project to that of the host."""
    return _change(call, _key(call.asked.name), editing.UNSET)


def _keys() -> dict[str, Key]:
    return {key.name: key for key in settings.schema() if key.per_project and key.name not in AT_INIT}


def _key(name: str) -> Key:
    keys = _keys()
    if name not in keys:
        raise UsageError(f"unknown setting of a project: {name!r}", hint=f"settings: {' '.join(keys)}")
    return keys[name]


def _change(call: Call[Any], key: Key, value: Any) -> Report:
    """Write the file anew, if it is right then; what runs now goes on with what it began with."""
    site, project = call.site, call.row.name
    with configuring(site.host, call.check):
        _write(site, project, key.name, value)
    site.event("setting", {"project": project, "setting": key.name, "by": call.principal.who})
    told = _told(site.settings, project, key)
    return Report(told, [f"{key.name} of {project} is {told.value} ({told.origin})"])


def _write(site: Site, project: str, name: str, value: Any) -> None:
    path = site.host.config_file
    try:
        data, st = safe_files.read(path) if os.path.lexists(path) else (b"", None)
        before = data.decode()
        settings.parse(before, str(path))
        after = editing.changed(before, project, name, value)
        found = settings.parse(after, str(path))
        found.for_project(project)
        if after != before:
            safe_files.write(
                path, after.encode(), st.st_mode & 0o7777 if st else 0o600, (st.st_uid, st.st_gid) if st else None,
                follow=True, make=0o755,
            )  # fmt: skip
    except (OSError, UnicodeDecodeError) as exc:
        raise RefusedError(f"cannot change {path}: {exc}", by_hand(path)) from exc
    except UsageError as exc:
        raise UsageError(exc.message, exc.hint or by_hand(path)) from exc
    others = {each: one for each, one in site.settings.projects.items() if each != project}
    own = {project: found.own[project]} if project in found.own else {}
    site.settings = replace(site.settings, projects={**others, **own})


def _told(given: Settings, project: str, key: Key) -> gives.Setting:
    own = given.own.get(project, {})
    host = getattr(given, key.name)
    value = own.get(key.name, host)
    origin = "project" if key.name in own else "host" if _text(key, host) != _text(key, key.default) else "default"
    return gives.Setting(
        name=key.name, value=_text(key, value), default=_text(key, key.default), origin=origin,
        expects=key.kind.words, says=key.doc,
    )  # fmt: skip


def _text(key: Key, value: Any) -> str:
    """Return a value as one types it; secrets hidden."""
    if key.kind.secret:
        value = [HIDDEN] * len(value)
    return json.dumps(gives.plain(value))
