# ruff: noqa: F821  (Salt fills in the names with underscores)
"""A service and its configuration: an invalid one is detected before the service reads it, and reverted."""

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
# Not every service can reload (RabbitMQ, Redis, memcached): it is restarted instead, as by Debian's scripts.
RELOAD, FORCE = "reload-or-restart", "force-reload"


def _ended(name: str, result: bool | None, comment: str, changes: Mapping[str, Any] | None = None) -> Ended:
    return {"name": name, "result": result, "comment": comment, "changes": dict(changes or {})}


# its files


def configured(
    name: str, service: str, files: Sequence[Mapping[str, Any]], links: Mapping[str, str] | None = None,
    self_signed: Mapping[str, Any] | None = None, **_given: Any,
) -> Ended:  # fmt: skip
    """Manage the configuration files of a service, and links to them.

    A file has a path, and a source, which is a template with `data`, or contents; optionally a mode and an owner. A
    link without a target is removed. `self_signed` is a certificate (`crt`, `key`, `names`) that is created if it is
    missing. The previous state is remembered until the service has read the new one. Salt passes all other arguments
    of the SLS.
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
    """Manage one file; return the change. Raise errors."""
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
    """Return the files of a certificate and its key: the existing ones, if they are valid."""
    was = [__salt__["mc_files.look"](wanted[what], follow=True) for what in ("crt", "key")]
    texts = [found[0].decode(errors="replace") if len(found) == 4 else "" for found in was]
    if not __salt__["mc_certificates.serves"](*(text.encode() for text in texts), wanted["names"]):
        texts = __salt__["mc_certificates.self_signed"](wanted["names"])
    return [
        {"path": wanted[what], "contents": text, "mode": "0600", "secret": True}
        for what, text in zip(("crt", "key"), texts, strict=True)
    ]


def _link(service: str, path: str, target: str) -> dict[str, str]:
    """Manage a link; return the change."""
    _remember(service, path, follow=False)
    if __salt__["mc_files.look"](path) == ((target,) if target else ()):
        return {}
    if not __opts__["test"] and target:
        __salt__["mc_files.link"](path, target)
    elif not __opts__["test"]:
        __salt__["mc_files.remove"](path)
    return {path: f"a link to {target}" if target else "removed"}


# the previous state


def _before(service: str) -> dict[tuple[str, bool], Any]:
    """Return the files of a service before this run changed them, by (path, whether a link is followed)."""
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
    """Revert the files of a service, so that reloads by others do not fail."""
    before = _before(service)
    for (path, follow), was in before.items():
        if not _is_as_it_was(path, follow, was) and not __opts__["test"]:
            with contextlib.suppress(CommandExecutionError):  # the folder was replaced, and has nothing of ours
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
    """Ensure that a service runs, and reload its configuration if a watched state changed.

    `tested_by` is the program that checks the configuration. Without systemd, the service is `started_by` and
    `reloaded_by` its own programs, and `pid_file` shows whether it runs, or its script in /etc/init.d does all this.
    Salt passes all other arguments of the SLS.
    """
    if __opts__["test"]:
        return _ended(name, True, "whether it runs is only checked in a deployment")
    __salt__["mc_outside.service"](name, tested_by, reloaded_by, __salt__["mc_services.systemctl"]())
    try:
        begun = _begin(name, tested_by, started_by, pid_file)
    except CommandExecutionError as exc:
        return {**_wrong(name, str(exc)), "skip_watch": True}
    if begun:
        _before(name).clear()
    return _ended(name, True, "started" if begun else "running", {name: "started"} if begun else {})


def _begin(name: str, test: Sequence[str], start: Sequence[str], pid_file: str) -> bool:
    """Start a service if it does not run; return whether it was started."""
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
        raise CommandExecutionError(f"cannot start {name}: systemd is not running here")
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
    return _ended(name, False, f"{said}\nthe changes were reverted" if changed else said)


def unit(name: str, files: Sequence[Mapping[str, Any]], **_given: Any) -> Ended:
    """Ensure that a systemd unit is enabled and runs, and restart it if its files changed.

    Salt passes all other arguments of the SLS.
    """
    told = configured(name, name, files)
    if __opts__["test"] or not told["result"]:
        return {**told, "skip_watch": not told["result"]}
    try:
        _have(name, changed=bool(told["changes"]))
    except CommandExecutionError as exc:
        wrong = _wrong(name, str(exc))
        with contextlib.suppress(CommandExecutionError):  # otherwise systemd keeps the reverted unit
            __salt__["mc_services.manage"]("daemon-reload")
        return {**wrong, "skip_watch": True}
    _before(name).clear()
    return told


def _have(name: str, *, changed: bool) -> None:
    if not __salt__["mc_services.systemctl"]():
        raise CommandExecutionError(f"cannot start {name}: systemd is not running here")
    if changed:
        __salt__["mc_services.manage"]("daemon-reload")
        __salt__["mc_services.manage"]("enable", name)
    if changed or not __salt__["mc_services.ask"]("is-active", name):
        __salt__["mc_services.manage"]("restart", name)


def mod_watch(
    name: str, sfun: str, tested_by: Sequence[str] = (), reloaded_by: Sequence[str] = (),
    restart: bool = False, **_given: Any,
) -> Ended:  # fmt: skip
    """Test the configuration and reload the service; revert an invalid one and leave the service alone."""
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
