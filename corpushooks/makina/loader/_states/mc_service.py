# ruff: noqa: F821  (Salt fills in the names with underscores)
"""A service and its configuration: a wrong one is noticed before the service reads it, and put back."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from salt.exceptions import CommandExecutionError

__salt__: dict[str, Callable[..., Any]]  # Salt's loader fills these in
__states__: dict[str, Callable[..., dict[str, Any]]]
__opts__: dict[str, Any]
__context__: dict[str, Any]

Ended = dict[str, Any]
# Not every service can reload (RabbitMQ, Redis, memcached): it is restarted then, as Debian's scripts do, too.
RELOAD, FORCE = "reload-or-restart", "force-reload"


def _ended(name: str, result: bool | None, comment: str, changes: Mapping[str, Any] | None = None) -> Ended:
    return {"name": name, "result": result, "comment": comment, "changes": dict(changes or {})}


# its files


def configured(
    name: str, service: str, files: Sequence[Mapping[str, Any]], links: Mapping[str, str] | None = None,
    self_signed: Mapping[str, Any] | None = None, **_given: Any,
) -> Ended:  # fmt: skip
    """Have the configuration files of a service, and links to them.

    A file has a path, and a source, which is a template that sees `data`, or contents; a mode and an owner if it
    shall. A link without a target shall not be. `self_signed` is a certificate (`crt`, `key`, `names`) that is made
    where there is none. How all this was before is remembered until the service has read it. Salt gives whatever else
    an SLS says.
    """
    changes: dict[str, Any] = {}
    try:
        for file in _certificate(self_signed) if self_signed else ():
            changes |= _write(service, file)
        for file in files:
            changes |= _write(service, file)
        for link, target in (links or {}).items():
            changes |= _link(service, link, target)
    except CommandExecutionError as exc:
        _put_back(service)
        return _ended(name, False, str(exc), changes)
    if changes and __opts__["test"]:
        return _ended(name, None, "would change", changes)
    return _ended(name, True, "changed" if changes else "in order", changes)


def _write(service: str, file: Mapping[str, Any]) -> dict[str, Any]:
    """Have one file; return the change. Raise what is wrong."""
    root, path = os.geteuid() == 0, file["path"]
    _remember(service, path, follow=True)
    given = {
        "source": file.get("source"), "contents": file.get("contents"), "mode": file.get("mode", "0644"),
        "user": file.get("user", "root") if root else None, "group": file.get("group", "root") if root else None,
    }  # fmt: skip
    if file.get("source"):
        given |= {"template": "jinja", "defaults": {"data": file.get("data", "{}")}}
    told = __states__["file.delivered"](path, makedirs=True, show_changes=not file.get("secret"), **given)
    if told["result"] is False:
        raise CommandExecutionError(f"{path}: {told['comment']}")
    return {path: told["changes"].get("diff", dict(told["changes"]))} if told["changes"] else {}


def _certificate(wanted: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the files of a certificate and its key: those that are there, if they serve."""
    was = [__salt__["mc_files.look"](wanted[what], follow=True) for what in ("crt", "key")]
    texts = [found[0].decode(errors="replace") if len(found) == 4 else "" for found in was]
    if not __salt__["mc_certificates.serves"](*(text.encode() for text in texts), wanted["names"]):
        texts = __salt__["mc_certificates.self_signed"](wanted["names"])
    return [
        {"path": wanted[what], "contents": text, "mode": "0600", "secret": True}
        for what, text in zip(("crt", "key"), texts, strict=True)
    ]


def _link(service: str, path: str, target: str) -> dict[str, str]:
    """Make a link what it shall be; return the change."""
    _remember(service, path, follow=False)
    if __salt__["mc_files.look"](path) == ((target,) if target else ()):
        return {}
    if not __opts__["test"] and target:
        __salt__["mc_files.link"](path, target)
    elif not __opts__["test"]:
        __salt__["mc_files.remove"](path)
    return {path: f"a link to {target}" if target else "removed"}


# how it was


def _before(service: str) -> dict[tuple[str, bool], Any]:
    """Return what the files of a service were before this run changed them: (path, whether a link is followed)."""
    found: dict[tuple[str, bool], Any] = __context__.setdefault(f"mc_service.{service}", {})
    return found


def _remember(service: str, path: str, *, follow: bool) -> None:
    before = _before(service)
    if not __opts__["test"]:
        __salt__["mc_outside.declare"](path, follow, service)
    if (path, follow) not in before:
        before[path, follow] = __salt__["mc_files.look"](path, follow=follow)


def _is_as_it_was(path: str, follow: bool, was: tuple[Any, ...]) -> bool:
    try:
        return bool(__salt__["mc_files.look"](path, follow=follow) == was)
    except CommandExecutionError:
        return False


def _put_back(service: str) -> None:
    """Make the files of a service what they were, so that nobody else's reload stumbles."""
    before = _before(service)
    for (path, follow), was in before.items():
        if not _is_as_it_was(path, follow, was) and not __opts__["test"]:
            with contextlib.suppress(CommandExecutionError):  # somebody swaps folders there: nothing of ours is in it
                _put_back_one(path, follow, was)
    before.clear()


def _put_back_one(path: str, follow: bool, was: tuple[Any, ...]) -> None:
    if len(was) == 1:
        __salt__["mc_files.link"](path, was[0])
    elif was:
        __salt__["mc_files.write"](path, *was, follow=follow)
    else:
        __salt__["mc_files.remove"](path, follow=follow)


# the service


def running(
    name: str, tested_by: Sequence[str] = (), started_by: Sequence[str] = (), reloaded_by: Sequence[str] = (),
    pid_file: str = "", restart: bool = False, **_given: Any,
) -> Ended:  # fmt: skip
    """Have a service run, and read its configuration again where something that is watched has changed.

    `tested_by` is the program that says whether the configuration is right. Where systemd does not run, the service
    is `started_by` and `reloaded_by` programs of its own, and `pid_file` says whether it runs, or its script in
    /etc/init.d does all this. Salt gives whatever
    else an SLS says.
    """
    if __opts__["test"]:
        return _ended(name, True, "whether it runs is seen when it is deployed")
    __salt__["mc_outside.service"](name, tested_by, reloaded_by, __salt__["mc_services.systemctl"]())
    try:
        begun = _begin(name, tested_by, started_by, pid_file)
    except CommandExecutionError as exc:
        return {**_wrong(name, str(exc)), "skip_watch": True}
    if begun:
        _before(name).clear()
    return _ended(name, True, "started" if begun else "it runs", {name: "started"} if begun else {})


def _begin(name: str, test: Sequence[str], start: Sequence[str], pid_file: str) -> bool:
    """Start a service that does not run; say whether that was so."""
    if __salt__["mc_services.systemctl"]():
        if not __salt__["mc_services.ask"]("is-enabled", name):
            __salt__["mc_services.manage"]("enable", name)
        if __salt__["mc_services.ask"]("is-active", name):
            return False
        _test(test)
        __salt__["mc_services.manage"]("start", name)
        return True
    script = "" if start else __salt__["mc_services.script"](name)
    if not start and not script:
        raise CommandExecutionError(f"systemd does not run here, so {name} cannot be started")
    if __salt__["mc_services.succeeds"]([script, "status"]) if script else __salt__["mc_services.alive"](pid_file):
        return False
    _test(test)
    __salt__["mc_services.run"]([script, "start"] if script else start)
    return True


def _test(test: Sequence[str]) -> None:
    if test:
        __salt__["mc_services.run"](test)


def _wrong(name: str, said: str) -> Ended:
    changed = not all(_is_as_it_was(path, follow, was) for (path, follow), was in _before(name).items())
    _put_back(name)
    return _ended(name, False, f"{said}\nwhat was changed is put back" if changed else said)


def unit(name: str, files: Sequence[Mapping[str, Any]], **_given: Any) -> Ended:
    """Have a unit of systemd that is enabled and runs, started again when its files have changed.

    Salt gives whatever else an SLS says.
    """
    told = configured(name, name, files)
    if __opts__["test"] or not told["result"]:
        return {**told, "skip_watch": not told["result"]}
    try:
        _have(name, changed=bool(told["changes"]))
    except CommandExecutionError as exc:
        wrong = _wrong(name, str(exc))
        with contextlib.suppress(CommandExecutionError):  # or systemd knows what is no longer there
            __salt__["mc_services.manage"]("daemon-reload")
        return {**wrong, "skip_watch": True}
    _before(name).clear()
    return told


def _have(name: str, *, changed: bool) -> None:
    if not __salt__["mc_services.systemctl"]():
        raise CommandExecutionError(f"systemd does not run here, so {name} cannot be started")
    if changed:
        __salt__["mc_services.manage"]("daemon-reload")
        __salt__["mc_services.manage"]("enable", name)
    if changed or not __salt__["mc_services.ask"]("is-active", name):
        __salt__["mc_services.manage"]("restart", name)


def mod_watch(
    name: str, sfun: str, tested_by: Sequence[str] = (), reloaded_by: Sequence[str] = (),
    restart: bool = False, **_given: Any,
) -> Ended:  # fmt: skip
    """Test the configuration, and have the service read it; what is wrong is put back, and the service left alone."""
    if sfun == "configured":
        return _ended(name, True, "in order")
    verb = "restart" if restart or sfun == "unit" else "reload"
    if __opts__["test"]:
        return _ended(name, None, f"would {verb}", {name: verb})
    try:
        _test(tested_by)
        if __salt__["mc_services.systemctl"]():
            __salt__["mc_services.manage"](verb if verb == "restart" else RELOAD, name)
        else:
            script = __salt__["mc_services.script"](name)
            __salt__["mc_services.run"](reloaded_by or [script, verb if verb == "restart" else FORCE])
    except CommandExecutionError as exc:
        return _wrong(name, str(exc))
    _before(name).clear()
    return _ended(name, True, f"{verb}ed", {name: f"{verb}ed"})
