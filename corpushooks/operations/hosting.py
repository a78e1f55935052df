"""The operations of the host: its projects, keys and freezes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

from corpushooks.access import authorized_keys, keys, lookup
from corpushooks.access.keyring import Keyring
from corpushooks.access.keys import Key
from corpushooks.admin import freezing, installer, projects
from corpushooks.core import hints, rights
from corpushooks.core.deployment import QUEUED
from corpushooks.core.errors import CorpusError, Fault, RefusedError, UsageError
from corpushooks.core.hints import Hint, command
from corpushooks.core.rights import Grant
from corpushooks.core.text import differences
from corpushooks.deploy import archives
from corpushooks.operations.call import Call
from corpushooks.operations.ssh_commands import forced
from corpushooks.protocol import asks, gives
from corpushooks.reports import reports
from corpushooks.reports.report import Report
from corpushooks.system.locks import locked

ALONE = 30.0  # seconds to wait for what runs in a project: a proxy before the pages would give up after 60
LIST = command("key", "list")
NO_KEYS = Hint("no keys: ", command("key", "add", "NAME", "FILE"))


# freezes


def freeze(call: Call[asks.Freeze]) -> Report:
    """Freeze a project, or the whole host."""
    project = call.asked.project
    found = freezing.freeze(call.site.history, project, call.asked.reason, call.principal.who)
    call.site.event("freeze", {"project": project, "by": call.principal.who})
    before = gives.Freeze(**asdict(found.before)) if found.before else None
    return Report(gives.Frozen(**asdict(found.freeze), before=before), found.lines())


def thaw(call: Call[asks.OfProjectOrHost]) -> Report:
    """End a freeze."""
    project = call.asked.project
    found = freezing.thaw(call.site.history, project)
    call.site.event("thaw", {"project": project, "by": call.principal.who})
    still = gives.Freeze(**asdict(found.still)) if found.still else None
    return Report(gives.Thawed(thawed=project or "--all", still=still), found.lines())


# projects


@contextmanager
def _alone(call: Call[Any], name: str) -> Iterator[None]:
    """Hold the lock of a project; raise RefusedError if something runs in it for longer than ALONE."""
    end = time.monotonic() + ALONE

    def check() -> None:
        call.check()
        if time.monotonic() > end:
            raise _busy(call, name)

    with locked(call.site.host.project(name), check):
        yield


def _busy(call: Call[Any], name: str) -> RefusedError:
    running = next((each for each in call.site.history.unfinished(name) if each.state != QUEUED), None)
    if running is None:  # `corpus deploy --here`, or a daemon that is starting
        return RefusedError(f"something else runs in {name}", hint="try again when it has ended")
    what = f"deployment {running.number} of {name} is {running.state}"
    return RefusedError(what, hint=Hint("try again when it has ended: ", command("log", name, running.number, "-f")))


def init(call: Call[asks.Init]) -> Report:
    """Create or repair a project."""
    asked, site = call.asked, call.site
    site.host.project(asked.project)
    if installer.is_folder(asked.installer) and not call.here:
        raise UsageError("your own installer can only be used on the host", "run it there, as root")
    with _alone(call, asked.project):
        made = projects.init(
            site.host, site.settings, site.history, asked.project, asked.env or None, asked.branch or None,
            asked.installer or None, own_key=asked.ssh_key, hashed=asked.object_format or None,
        )  # fmt: skip
    _note(call, made.project, "made" if made.new else "repaired")
    lines = [f"{'created' if made.new else 'repaired'} {made.project} ({made.environment}, deploys {made.branch})"]
    lines += [f"changed {change}" for change in made.changes]
    lines += [f"note: {note}" for note in made.notes]
    access = ["Its configuration and secrets:", f"    git clone {made.pillar_url}"]
    return Report(made, [*lines, "", *_next(call, made), "", *access])


def _note(call: Call[Any], project: str, what: str) -> None:
    """Log an event for the operators of the host."""
    call.site.event("project", {"project": project, "what": what, "by": call.principal.who})


def _next(call: Call[asks.Init], made: gives.Made) -> list[str]:
    """Return the next commands for a developer."""
    push = [f"git config remote.{made.environment}.push HEAD:refs/deploy/now", f"git push {made.environment}"]
    if not made.commit:
        return [*_other_hash(made), "In your working copy:", f"    git remote add {made.environment} {made.code_url}",
                *(f"    {line}" for line in push)]  # fmt: skip
    return [
        f"Its first commit, {made.commit[:7]}, can be deployed as it is:",
        f"    {call.spell(command('deploy', made.project))}",
        "",
        "To get a working copy, then add your files, commit and push:",
        f"    git clone --origin {made.environment} {made.code_url} {made.project}",
        f"    cd {made.project}",
        *(f"    {line}" for line in push),
    ]


def _other_hash(made: gives.Made) -> list[str]:
    """Return how to make a repository with the same hash, if that is not git's default."""
    if made.object_format == projects.DEFAULT_FORMAT:
        return []
    return [f"It uses {made.object_format}. A working copy needs the same hash:",
            f"    git init --object-format={made.object_format}"]  # fmt: skip


def remove_archive(call: Call[asks.OfArchive]) -> Report:
    """Remove an archive of a project."""
    site, row, number = call.site, call.row, call.asked.number
    project = site.host.project(row.name)
    with _alone(call, row.name):
        found = next((each for each in reports.archives(site, row).value if each.number == number), None)
        name = archives.remove(project, site.known(row.name), number, call.check)
    _note(call, row.name, f"archive {number} removed")
    return Report(found, [f"removed archive {number} of {row.name}: {name}"])


def link(call: Call[asks.OfProject]) -> Report:
    """Make a project visible to Salt."""
    name = call.row.name
    with _alone(call, name):
        projects.link(call.site.host.project(name), call.site.history)
    return Report(gives.Linked(project=name, linked=True), [f"linked {name}"])


def unlink(call: Call[asks.OfProject]) -> Report:
    """Hide a project from Salt."""
    name = call.row.name
    with _alone(call, name):
        projects.unlink(call.site.host.project(name))
    return Report(gives.Linked(project=name, linked=False), [f"unlinked {name}; its next deployment links it again"])


def remove(call: Call[asks.Remove]) -> Report:
    """Remove a project."""
    name = call.row.name
    with _alone(call, name):
        left = projects.remove(call.site.host.project(name), call.site.history, purge=call.asked.purge)
    _note(call, name, "purged" if call.asked.purge else "removed")
    return Report(
        gives.Removed(project=name, left=[str(path) for path in left]),
        [f"removed {name}", *(f"left: {path}" for path in left)],
    )


def rename_branch(call: Call[asks.RenameBranch]) -> Report:
    """Rename the branch that is deployed."""
    site, name = call.site, call.row.name
    projects.check_idle(site.history, name)  # otherwise we would wait for its lock
    with _alone(call, name):
        row = site.known(name)
        lines = projects.rename_branch(site.host.project(name), site.history, row, call.asked.branch)
    return Report(gives.Renamed(project=name, before=row.branch, branch=call.asked.branch), lines)


# keys


def key_list(call: Call[asks.Nothing]) -> Report:
    """List the keys."""
    found = _ring(call).all()
    return Report([told(key) for key in found], [_line(key) for key in found] or [call.spell(NO_KEYS)])


def key_add(call: Call[asks.KeyAdd]) -> Report:
    """Add a key; a registered one gets these rights in addition."""
    asked, ring = call.asked, _ring(call)
    kind, blob, _ = keys.parse(asked.key)
    if asked.principals and not asked.authority:
        raise UsageError("--principal needs --authority", hint="add --authority")
    end = keys.expiry(asked.expires, time.time()) if asked.expires else None
    wanted = Key(
        keys.check_key_name(asked.name), kind, blob, rights.check_right(asked.right),
        rights.check_projects(asked.projects), end, asked.authority, keys.check_principals(asked.principals),
        by=call.principal.who,
    )  # fmt: skip
    ring.check(wanted)  # before the file is written: in it the key would act under another's name
    before = ring.holding(blob)
    after = keys.gained(before, wanted) if before else wanted
    report = _put(call, ring, before, after)
    if before and keys.levels(wanted) != keys.levels(after):
        only = Hint("for these rights only: ", command("key", "set", asked.name, *_words(wanted)))
        return replace(report, hint=call.spell(only))
    return report


def _words(key: Key) -> list[str]:
    """Return the options for the first right of a key."""
    named = [word for each in key.projects for word in ("--project", each)]
    return [f"--{key.right}", *(named or ["--every-project"])]


def key_set(call: Call[asks.KeySet]) -> Report:
    """Change the rights of a key; what is not given stays as it is."""
    asked, ring = call.asked, _ring(call)
    before = _known(ring, asked.name)
    if asked.principals and not before.authority:
        raise UsageError(f"{asked.name} is not the key of an authority; it has no principals", hint=LIST)
    if asked.every_project and asked.projects:
        raise UsageError("give --project or --every-project, not both")
    named = rights.check_projects(asked.projects) if asked.projects or asked.every_project else None
    after = _rights(before, rights.check_right(asked.right) if asked.right else None, named)
    if asked.expires:
        end = None if asked.expires == "never" else keys.expiry(asked.expires, time.time())
        after = replace(after, expires=end)
    principals = keys.check_principals(asked.principals) or after.principals
    return _put(call, ring, before, replace(after, by=call.principal.who, principals=principals))


def _rights(key: Key, right: str | None, projects: tuple[str, ...] | None) -> Key:
    """Return a key with another right, on other projects; if it has several, both are required."""
    if right is None and projects is None and not key.source:
        return key
    if (key.more or key.source) and (right is None or projects is None):
        hint = Hint(command("key", "set", key.name, f"--{right or key.right}", "--every-project"), ", or --project P")
        raise UsageError(f"give a right and projects; {key.name} has several: {key.may}", hint)
    own = replace(key, source="", person="", seen=None, more=())  # no longer managed by a directory
    return replace(own, right=right or key.right, projects=key.projects if projects is None else projects)


def _put(call: Call[Any], ring: Keyring, before: Key | None, after: Key) -> Report:
    """Record a key, and report what changed. Callers cannot grant more than they have, nor for longer."""
    keys.check_grants(after)
    if call.principal.key:
        keys.check_within(call.principal.key, after)
    write_keys(call, [*(key for key in ring.all() if key.name != after.name), after])
    made, was = ring.add(after), told(before) if before else None
    call.site.event("key", {"key": made.name, "may": made.may, "by": call.principal.who})
    if before is None:
        lines = [_line(made)]
    elif changes := differences({"name": before.name, **before.told}, {"name": made.name, **made.told}):
        lines = [f"changed {made.name}", *changes]
    else:
        lines = [f"unchanged: {_line(made)}"]
    return Report(gives.Changed(**_about(made), before=was), lines)


def key_remove(call: Call[asks.OfKey]) -> Report:
    """Revoke a key."""
    ring, name = _ring(call), call.asked.name
    key = ring.key(name)
    if key and key.source and call.site.settings.auth == key.source:
        raise RefusedError(
            f"{name} is managed by the directory", hint="remove it there, or remove its person from the groups"
        )
    found = ring.remove(name)
    write_keys(call, ring.all())
    call.site.event("key", {"key": name, "may": "", "by": call.principal.who})
    return Report(told(found), [f"revoked {name}: {found.may}"])


def key_test(call: Call[asks.KeyTest]) -> Report:
    """Report what a key can do with a project, and why; for a key from a directory, ask it."""
    ring, name, warned = _ring(call), call.asked.name, list[CorpusError]()
    found = lookup.still(ring, call.site.settings, _known(ring, name), warned.append)
    if found is None:
        raise RefusedError(f"the directory no longer admits {name}", hint=LIST)
    project = call.site.known(call.asked.project).name
    why = {right: found.refusal(right, project) for right in rights.RIGHTS}
    lines = [f"{right:<6} {'no: ' + refusal if refusal else 'yes'}" for right, refusal in why.items()]
    faults = tuple(Fault(exc.message, exc.hint or hints.command("doctor")) for exc in warned)
    return Report(gives.Rights(**{right: not refusal for right, refusal in why.items()}), lines, faults)


def _known(ring: Keyring, name: str) -> Key:
    found = ring.key(name)
    if found is None:
        raise UsageError(f"unknown key {name!r}", hint=LIST)
    return found


def _ring(call: Call[Any]) -> Keyring:
    return Keyring(call.site.history)


def write_keys(call: Call[Any], found: list[Key]) -> None:
    """Write the keys to sshd's file, where sshd does not ask us: keys from a directory are not in it."""
    settings = call.site.settings
    if path := settings.authorized_keys:
        taken = (key for key in found if not (key.source or key.is_master or key.refusal(key.least)))
        lines = [key.line(forced(call.site.host, key), settings.account) for key in taken]
        authorized_keys.write(path, lines)


def _about(key: Key) -> dict[str, Any]:
    return {**asdict(key), "more": [gives.Grant(**asdict(each)) for each in key.more], "fingerprint": key.fingerprint}


def told(key: Key) -> gives.Key:
    """Return a key for --json."""
    return gives.Key(**_about(key))


def _line(key: Key) -> str:
    end = f", until {keys.day(key.expires)} UTC" if key.expires else ""
    kind = f"authority of {' '.join(key.principals) or 'the account'}" if key.authority else key.kind
    source = f", of {key.source}, seen {keys.day(key.seen)} UTC" if key.source and key.seen else ""
    first, *more = key.grants
    may = "; ".join([_granted(first), *map(str, more)])
    return f"{key.name:<16} {may}{end}  {key.fingerprint} ({kind}{source})"


def _granted(grant: Grant) -> str:
    return f"{grant.right:<6} {' '.join(grant.projects) or 'every project'}"
