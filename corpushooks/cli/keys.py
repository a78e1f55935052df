"""The commands that say who may: ssh keys, and what is frozen."""

from __future__ import annotations

import getpass
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import IO, Any

import click

from corpushooks import authorized_keys, client, freezing, keys, lookup
from corpushooks.cli.base import JSON, NAME, Context, show
from corpushooks.errors import CorpusError, RefusedError, UsageError
from corpushooks.freezing import Frozen, Thawed
from corpushooks.hints import Hint, command
from corpushooks.history import History
from corpushooks.keyring import Keyring
from corpushooks.keys import Key
from corpushooks.shell import forced
from corpushooks.text import differences

FREEZE = Hint(command("freeze", "NAME"), ' "why"')
LIST = command("key", "list")
NO_KEYS = Hint("no keys: ", command("key", "add", "NAME", "FILE"))


@click.group("key")
def key_() -> None:
    """Say which ssh keys are let in, and what each may."""


@key_.command("add")
@NAME
@click.argument("file", type=click.File("r", encoding="utf-8", errors="replace"))
@click.option("--read", "right", flag_value=keys.READ, help="It may fetch, and see status, history and logs.")
@click.option("--push", "right", flag_value=keys.PUSH, default=True, help="It may deploy, too (the default).")
@click.option("--admin", "right", flag_value=keys.ADMIN, help="It may also freeze and thaw, and deploy what is frozen.")
@click.option("--project", "projects", multiple=True, metavar="P", help="Only this project; may be given again.")
@click.option("--expires", metavar="DAY", help="Until when: 2030-12-31, or 90d from now.")
@click.option("--authority", is_flag=True, help="It is that of an authority, whose certificates are let in.")
@click.option("--principal", "principals", multiple=True, help="Of a certificate: one that counts; may be given again.")
@JSON
@click.pass_obj
def add(
    context: Context, name: str, file: IO[str], right: str, projects: tuple[str, ...], expires: str | None,
    authority: bool, principals: tuple[str, ...], as_json: bool,
) -> None:  # fmt: skip
    """Add the public key in FILE (-: what is typed in) as NAME. A key that is here gets these rights as well.

    An existing key loses nothing: corpus key set replaces what it has.
    """
    if file.isatty():
        click.echo("Paste the public key; end it with Enter and Ctrl-D.", err=True)
    kind, blob, _ = keys.parse(file.read())
    if principals and not authority:
        raise UsageError("--principal is for the key of an authority", hint="give --authority too")
    end = keys.expiry(expires, time.time()) if expires else None
    asked = Key(
        keys.check_key_name(name), kind, blob, right, keys.check_projects(projects), end, authority,
        keys.check_principals(principals), by=getpass.getuser(),
    )  # fmt: skip
    ring = _ring(context)
    ring.check(asked)  # before the file is written: there it would open in the name of another
    before = ring.holding(blob)
    after = keys.gained(before, asked) if before else asked
    _put(context, ring, before, after, as_json)
    if before and not as_json and keys.levels(asked) != keys.levels(after):
        only = Hint("hint: for these rights only: ", command("key", "set", name, *_words(asked)))
        click.echo(context.host.spell(only), err=True)


def _words(key: Key) -> list[str]:
    """Return the options that ask for the first right of a key."""
    named = [word for each in key.projects for word in ("--project", each)]
    return [f"--{key.right}", *(named or ["--every-project"])]


@key_.command("set")
@NAME
@click.option("--read", "right", flag_value=keys.READ, help="Only fetch, and see status, history and logs.")
@click.option("--push", "right", flag_value=keys.PUSH, help="Also deploy.")
@click.option("--admin", "right", flag_value=keys.ADMIN, help="Also freeze and thaw, and deploy what is frozen.")
@click.option("--project", "projects", multiple=True, metavar="P", help="Only this project; may be given again.")
@click.option("--every-project", is_flag=True, help="Every project of this host.")
@click.option("--expires", metavar="DAY", help="Until when: 2030-12-31, 90d from now, or never.")
@click.option("--principal", "principals", multiple=True, help="Of a certificate: one that counts; may be given again.")
@JSON
@click.pass_obj
def set_(
    context: Context, name: str, right: str | None, projects: tuple[str, ...], every_project: bool,
    expires: str | None, principals: tuple[str, ...], as_json: bool,
) -> None:  # fmt: skip
    """Change what the key NAME has: its right, its projects, its expiry. What is not given stays as it is."""
    ring = _ring(context)
    before = ring.key(name)
    if before is None:
        raise UsageError(f"unknown key {name!r}", hint=LIST)
    if principals and not before.authority:
        raise UsageError(f"{name} is not an authority's key: it has no principals", hint=LIST)
    if every_project and projects:
        raise UsageError("give --project or --every-project, not both")
    after = _rights(before, right, keys.check_projects(projects) if projects or every_project else None)
    if expires:
        after = replace(after, expires=None if expires == "never" else keys.expiry(expires, time.time()))
    after = replace(after, by=getpass.getuser(), principals=keys.check_principals(principals) or after.principals)
    _put(context, ring, before, after, as_json)


def _rights(key: Key, right: str | None, projects: tuple[str, ...] | None) -> Key:
    """Return a key with another right, on other projects; where it has several, both must be said."""
    if right is None and projects is None and not key.source:
        return key
    if (key.more or key.source) and (right is None or projects is None):
        hint = Hint(command("key", "set", key.name, f"--{right or key.right}", "--every-project"), ", or --project P")
        raise UsageError(f"give a right and projects: {key.name} has {key.may}", hint)
    own = replace(key, source="", person="", seen=None, more=())  # by hand, where it was of a directory
    return replace(own, right=right or key.right, projects=key.projects if projects is None else projects)


def _put(context: Context, ring: Keyring, before: Key | None, after: Key, as_json: bool) -> None:
    """Record a key, and say what changed."""
    _write_file(context, [*(key for key in ring.all() if key.name != after.name), after])
    made, was = ring.add(after), _as_json(before) if before else None
    if before is None:
        lines = [_line(made)]
    elif changes := differences({"name": before.name, **before.told}, {"name": made.name, **made.told}):
        lines = [f"changed {made.name}", *changes]
    else:
        lines = [f"unchanged: {_line(made)}"]
    show(as_json, {**_as_json(made), "before": was}, lines)


@key_.command("list")
@JSON
@click.pass_obj
def list_(context: Context, as_json: bool) -> None:
    """List the keys that are let in."""
    found = _ring(context).all()
    lines = [_line(key) for key in found] or [context.host.spell(NO_KEYS)]
    show(as_json, [_as_json(key) for key in found], lines)


@key_.command("remove")
@NAME
@JSON
@click.pass_obj
def remove(context: Context, name: str, as_json: bool) -> None:
    """Revoke a key; its running deployments continue."""
    ring = _ring(context)
    if _is_the_directorys(context, ring.key(name)):
        raise RefusedError(f"{name} is the directory's", hint="take it out there, or its person out of the groups")
    found = ring.remove(name)
    _write_file(context, ring.all())
    show(as_json, _as_json(found), [f"revoked {name}: {found.may}"])


@key_.command("test")
@NAME
@click.argument("project")
@JSON
@click.pass_obj
def test(context: Context, name: str, project: str, as_json: bool) -> None:
    """Say what the key NAME may do with PROJECT, and why; of one of a directory, what that says now."""
    ring = _ring(context)
    found = ring.key(name)
    if found is None:
        raise UsageError(f"unknown key {name!r}", hint=LIST)
    found = lookup.still(ring, context.settings(), found, _warn)
    if found is None:
        raise RefusedError(f"the directory no longer admits {name}", hint=LIST)
    context.known(project)
    why = {right: found.refusal(right, project) for right in keys.RIGHTS}
    lines = [f"{right:<6} {'no: ' + refusal if refusal else 'yes'}" for right, refusal in why.items()]
    show(as_json, {right: not refusal for right, refusal in why.items()}, lines)
    sys.exit(1 if all(why.values()) else 0)


def _warn(exc: CorpusError) -> None:
    click.echo(f"warning: {exc.message}", err=True)


def _ring(context: Context) -> Keyring:
    return Keyring(context.history())


def _write_file(context: Context, found: list[Key]) -> None:
    """Write the keys where sshd reads them, on a host whose sshd does not ask: those of a directory are asked for."""
    settings = context.settings()
    if path := settings.authorized_keys:
        taken = (key for key in found if not key.source and not key.refusal(keys.READ))
        lines = [key.line(forced(context.host, key), settings.account) for key in taken]
        authorized_keys.write(path, lines)


def _is_the_directorys(context: Context, key: Key | None) -> bool:
    return key is not None and bool(key.source) and context.settings().auth == key.source


def _as_json(key: Key) -> dict[str, Any]:
    return {**asdict(key), "fingerprint": key.fingerprint}


def _line(key: Key) -> str:
    end = f", until {keys.day(key.expires)} UTC" if key.expires else ""
    kind = f"authority of {' '.join(key.principals) or 'the account'}" if key.authority else key.kind
    source = f", of {key.source}, seen {keys.day(key.seen)} UTC" if key.source and key.seen else ""
    first, *more = key.grants
    may = "; ".join([f"{first.right:<6} {' '.join(first.projects) or 'every project'}", *map(str, more)])
    return f"{key.name:<16} {may}{end}  {key.fingerprint} ({kind}{source})"


# what is frozen


@click.command()
@click.argument("name", required=False)
@click.argument("reason", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every project of this host.")
@JSON
@click.pass_obj
def freeze(context: Context, name: str | None, reason: tuple[str, ...], every: bool, as_json: bool) -> None:
    """Refuse to deploy NAME, or --all, until it thaws; who tries is told REASON."""
    if every:
        name, reason = "", tuple(filter(None, (name, *reason)))
    if not name and not every:
        raise UsageError("which project?", hint=Hint(FREEZE, ", or: ", command("freeze", "--all"), ' "why"'))
    said = {"op": "freeze", "project": name or "", "reason": " ".join(reason)}
    _switch(context, said, lambda history: freezing.freeze(history, name or "", said["reason"], getpass.getuser()),
            as_json)  # fmt: skip


@click.command()
@click.argument("name", required=False)
@click.option("--all", "every", is_flag=True, help="What was frozen with --all.")
@JSON
@click.pass_obj
def thaw(context: Context, name: str | None, every: bool, as_json: bool) -> None:
    """Deploy NAME, or --all, again."""
    if bool(name) == every:
        raise UsageError("which project?", hint=Hint(command("thaw", "NAME"), ", or: ", command("thaw", "--all")))
    said = {"op": "thaw", "project": name or ""}
    _switch(context, said, lambda history: freezing.thaw(history, name or ""), as_json)


def _switch(
    context: Context, asked: dict[str, str], act: Callable[[History], Frozen | Thawed], as_json: bool
) -> None:  # fmt: skip
    """Freeze or thaw: ourselves, or by the daemon where only that may use the store."""
    if context.far:
        told = client.ask(context.host, asked, click.echo)
        show(as_json, told["value"], told["lines"])
        return
    history = context.known(asked["project"])[0] if asked["project"] else context.history()
    done = act(history)
    show(as_json, done.as_json(), done.lines())


COMMANDS = (key_, freeze, thaw)
