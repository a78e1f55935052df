"""A push from git's hook: judged, then stored or deployed and followed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from corpushooks import git
from corpushooks.checks.finding import Finding
from corpushooks.core import hints
from corpushooks.core.deployment import DEPLOYED, Deployment, Request
from corpushooks.core.errors import GitError
from corpushooks.core.project import Host
from corpushooks.core.text import clean, one_line, shown
from corpushooks.deploy import prepare
from corpushooks.deploy.push import Command, Judgement, hint, judge, report
from corpushooks.host import layout
from corpushooks.operations import governing
from corpushooks.operations.call import Conversation
from corpushooks.operations.follower import follow
from corpushooks.operations.requests import signed
from corpushooks.protocol import asks
from corpushooks.protocol.messages import not_understood
from corpushooks.release import commits, survey
from corpushooks.screen import view
from corpushooks.screen.rows import complaint
from corpushooks.store.fleet import Obedience

ROLLOUT_REF = re.compile(r"refs/rollout/[0-9]{1,18}")
ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")

Call = Conversation[asks.Push]


def push(call: Call) -> None:
    """Answer git's hook."""
    site, row, asked = call.site, call.row, call.asked
    if call.principal.key and call.principal.key.is_controller:
        _fetch(call)
        return
    Obedience(site.history).check_free(row.name)
    site.engine.warm()  # if it has exited, it loads while we check
    repo, commands = _repo(asked), _commands(asked)
    settings = site.settings_of(row)
    path = layout.repo_path(site.host.project(row.name), repo)
    git.check_objects(path)
    git.flush_objects(path)
    call.work.lanes.untidy.add(row.name)
    judgement = judge(
        repo, row.branch, commands, asked.options, atomic=asked.atomic, deploy_pillar=settings.deploy_on_pillar_push
    )
    if judgement.accept:
        for finding in _check_pillar(call, judgement.accept.new):
            call.connection.send(say=complaint("warning", finding.text))
    before = site.history.asked(row.name, asked.token)
    stored = _stored(path, judgement, atomic=asked.atomic)
    for text in _hints(call, judgement, stored) if before is None else ():
        call.connection.send(say=f"hint: {clean(text)}")
    reports = [f"ng {each.ref} {why}" if why else f"ok {each.ref}" for each, why in stored.items()]
    if judgement.request:
        reports += _deploy(call, judgement, judgement.request, new=before is None)
    call.connection.send(report=reports)


def _fetch(call: Call) -> None:
    """Store the commits of a rollout, which the controller of the project pushes; it can change no other ref."""
    governing.controlled(call)
    path = layout.repo_path(call.site.host.project(call.row.name), _repo(call.asked))
    commands = _commands(call.asked)
    git.check_objects(path)
    git.flush_objects(path)
    good = [each for each in commands if ROLLOUT_REF.fullmatch(each.ref)]
    wrong = git.update_refs(path, [(each.ref, each.old, each.new) for each in good], atomic=True)
    refused = {each.ref: "a controller can only push refs/rollout/NUMBER" for each in commands if each not in good}
    said = {**{each.ref: one_line(wrong.get(each.ref, "")) for each in good}, **refused}
    call.connection.send(report=[f"ng {ref} {why}" if why else f"ok {ref}" for ref, why in said.items()])


def _repo(asked: asks.Push) -> str:
    if asked.repo not in layout.REPOS:
        raise not_understood("repo")
    return asked.repo


def _commands(asked: asks.Push) -> list[Command]:
    commands = [Command(*row) for row in asked.commands]
    if not all(ID.fullmatch(name) for command in commands for name in (command.old, command.new)):
        raise not_understood("commands")
    return commands


def _stored(path: Path, judgement: Judgement, *, atomic: bool) -> dict[Command, str]:
    """Store the refs that deploy nothing; return for each the reason for a failure, or ''.

    git itself cannot move refs here: if it could, so could the pushing users, without us.
    """
    wanted = [*judgement.stored, *([judgement.accept] if judgement.accept else [])]
    wrong = git.update_refs(path, [(each.ref, each.old, each.new) for each in wanted], atomic=atomic)
    return {**dict(judgement.refused), **{each: one_line(wrong.get(each.ref, "")) for each in wanted}}


def _hints(call: Call, judgement: Judgement, stored: Mapping[Command, str]) -> list[str]:
    """Return the hints for refs that were stored and deploy nothing."""
    row = call.row
    found = [hint(call.asked.repo, each, row.branch) for each in judgement.stored if not stored[each]]
    if judgement.accept and not stored[judgement.accept] and row.code:
        now = call.spell(hints.command("deploy", row.name))
        found.append(f"stored; it takes effect with the next deployment, or now with: {now}")
    return [each for each in found if each]


def _check_pillar(call: Call, name: str) -> list[Finding]:
    project, row = call.site.host.project(call.row.name), call.row
    commit = git.commit(project.pillar_git, name)
    return survey.check_pillar(project, row.environment, call.site.settings_of(row), call.site.engine, commit)


def _deploy(call: Call, judgement: Judgement, wanted: Request, *, new: bool) -> list[str]:
    """Queue the pushed commit, unless an earlier daemon did so already, and follow its deployment."""
    site, row, asked = call.site, call.row, call.asked
    repo = layout.repo_path(site.host.project(row.name), wanted.repo)
    commit = git.commit(repo, wanted.new)
    if new and wanted.repo == "pillar":
        _check_pillar(call, commit)
    request = replace(signed(call, wanted), new=commit, via="push", token=asked.token)
    if new:
        call.check_frozen(request)
        _check_now(call, request)
    deployment = call.enqueue(row.name, request)
    call.connection.send(number=deployment.number)
    if not request.nowait:
        deployment = follow(call.work.lanes, call.connection, deployment, asked.offset, progress=request.progress)
    else:
        see = call.spell(hints.command("log", row.name, deployment.number, "-f"))
        call.connection.send(say=f"queued as deployment {deployment.number}: {see}")
    forced = _forced(repo, deployment)
    return report(deployment, judgement.deploying, row.branch, forced=forced, reason=view.reason(deployment))


def _check_now(call: Call, request: Request) -> None:
    """Refuse early what does not depend on the queue."""
    row, project = call.row, call.site.host.project(call.row.name)
    prepare.lease(call.site.settings_of(row), request)  # raises if it is invalid
    number, named = prepare.lost(project, row, request)
    if number and not request.force and request.sort.releases:
        for line in named:
            call.connection.send(say=f"      lacks {shown(line, 60)}")
        raise prepare.refusal(row, request, number)
    if request.repo == "project":
        commits.check_commit(project, row.environment, request.new, request)


def _forced(repo: Path, deployment: Deployment) -> bool:
    old, new = (each.of(deployment.request.repo) for each in (deployment.old, deployment.new))
    if deployment.state != DEPLOYED or not old or not new or old == new:
        return False
    return git.change(repo, old, new).lost > 0


def paths(host: Host, asked: asks.Admit) -> dict[str, str]:
    """Return where git reads and pushes a repository, and the note before a first push."""
    if not asked.project:
        return {}
    found = host.project(asked.project)
    path = layout.repo_path(found, asked.repo)
    note = _of_first_push(asked.project, path)
    return {"path": str(path), "entrance": str(layout.entrance(found, asked.repo)), "note": note}


def _of_first_push(project: str, path: Path) -> str:
    """Return a note on the hash of an empty repository: git's own error does not explain the mismatch.

    The client fails before it sends anything, so every client gets the note.
    """
    try:
        hashed = git.object_format(path) if git.is_empty(path) else ""
    except GitError:
        return ""
    return hashed and f'note: {project} uses {hashed}; if git reports a "protocol error", your repository does not'
