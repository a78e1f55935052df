"""The desk: what a caller may ask the daemon for, and how that is answered.

Every operation names the right that it needs; who has it, and on which project, is judged before it begins.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from corpushooks import (
    app_log,
    assigned,
    freezing,
    git,
    hints,
    hold,
    inspection,
    layout,
    prepare,
    release,
    release_checks,
    restart,
    running,
    setting,
    survey,
    view,
    watches,
)
from corpushooks.checks.finding import Finding
from corpushooks.deployment import DEPLOYED, QUEUED, Deployment, ProjectRow, Request
from corpushooks.errors import NotAllowedError, RefusedError, UsageError
from corpushooks.follower import Feed, follow
from corpushooks.freezing import Frozen, Thawed
from corpushooks.gate import Gate, Visitor
from corpushooks.history import History
from corpushooks.keys import ADMIN, PUSH, READ
from corpushooks.lanes import Lanes
from corpushooks.peer import NUMBER_LIMIT, Asked, Connection, Places, not_understood
from corpushooks.push import Command, Judgement, hint, judge, report
from corpushooks.reports import EVERY, REPORTS, naming, tell
from corpushooks.rights import Rights
from corpushooks.run import came_by
from corpushooks.screen.rows import complaint
from corpushooks.site import Site
from corpushooks.text import clean, one_line, shown
from corpushooks.watches import Watches

ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class Desk:
    """Where callers are answered."""

    site: Site
    lanes: Lanes
    watches: Watches
    places: Places
    rights: Rights
    turns: setting.Turns  # shared by all connections

    def serve(self, peer: Connection, asked: Asked) -> None:
        """Do what a caller asks for."""
        gate = Gate(self.site.host, self.site.history, self.rights, self.site.settings)
        name = str(asked.values.get("op"))
        if name == "ping":
            self.ping(peer)
        elif name == "admit":
            peer.send(result=gate.admit(peer, asked))
        elif name == "report" or name in OPERATIONS or name in SWITCHES:
            visitor = gate.visitor(peer, asked)
            if visitor.key is None and not self.rights.anything(visitor.caller):  # the account of ssh, by itself
                raise self.not_allowed()
            with self.places.of_key(visitor.key.name) if visitor.key else nullcontext():
                self._act(name, peer, visitor, asked)
        else:
            raise not_understood()

    def _act(self, name: str, peer: Connection, visitor: Visitor, asked: Asked) -> None:
        if name == "report":
            self.report(peer, visitor, asked)
        elif name in SWITCHES:
            self._switch(name, peer, visitor, asked)
        else:
            right, act = OPERATIONS[name]
            act(self, peer, visitor, self._allowed(visitor, asked.text("project"), right), asked)

    def _allowed(self, visitor: Visitor, project: str, right: str) -> ProjectRow:
        """Return a project of which a visitor may ask; say nothing of any other, not even whether it exists."""
        if not (visitor.admin(project) if right == ADMIN else visitor.may(project, right)):
            raise self.not_allowed(right)
        return self.site.known(project)

    def not_allowed(self, right: str = "") -> NotAllowedError:
        """Return the refusal of whoever has too few rights."""
        people = "" if right == ADMIN else ", for its project the group NAME-deploy"
        by_ssh = "admin keys" if right == ADMIN else "keys"
        hint = f"who may: root, the group {self.rights.group}{people}, and {by_ssh} by ssh"
        return NotAllowedError("not allowed", hint)

    def _still(self, peer: Connection, asked: Asked, project: str, right: str) -> Callable[[], ProjectRow]:
        """Return what judges a caller anew: a key can be revoked meanwhile, and a project removed."""
        gate = Gate(self.site.host, self.site.history, self.rights, self.site.settings)
        return lambda: self._allowed(gate.visitor(peer, asked), project, right)

    def _check_frozen(self, project: str, request: Request) -> None:
        """Refuse what would change a project that is frozen; whoever may do everything can insist."""
        frozen = self.site.history.frozen(project) if request.sort.changes else None
        if frozen and not request.insist:
            raise RefusedError(
                str(frozen), hint=hints.Hint("wait for: ", hints.command("thaw", frozen.project or "--all"))
            )

    # what may be asked

    def push(self, peer: Connection, visitor: Visitor, row: ProjectRow, asked: Asked) -> None:
        """Answer git's hook."""
        self.site.engine.warm()  # it may have left: it loads while we check
        repo, commands = _repo(asked), _commands(asked)
        settings = self.site.settings_of(row)
        path = layout.repo_path(self.site.host.project(row.name), repo)
        git.check_objects(path)
        git.flush_objects(path)
        verdict = judge(
            repo, row.branch, commands, asked.words("options"),
            atomic=asked.flag("atomic"), deploy_pillar=settings.deploy_on_pillar_push,
        )  # fmt: skip
        if verdict.accept:
            for finding in self._check_pillar(row, verdict.accept.new):
                peer.send(say=complaint("warning", finding.text))
        before = self.site.history.asked(row.name, asked.text("token"))
        stored = _stored(path, verdict, atomic=asked.flag("atomic"))
        for text in self._hints(visitor, row, repo, verdict, stored) if before is None else ():
            peer.send(say=f"hint: {clean(text)}")
        reports = [f"ng {each.ref} {why}" if why else f"ok {each.ref}" for each, why in stored.items()]
        if verdict.request:
            reports += self._deploy_pushed(peer, visitor, asked, row, verdict, new=before is None)
        peer.send(report=reports)

    def _hints(
        self, visitor: Visitor, row: ProjectRow, repo: str, verdict: Judgement, stored: Mapping[Command, str]
    ) -> list[str]:
        """Return what to tell of the refs of a push that were stored and deploy nothing."""
        found = [hint(repo, each, row.branch) for each in verdict.stored if not stored[each]]
        if verdict.accept and not stored[verdict.accept] and row.code:
            now = self.site.spell(hints.command("deploy", row.name), ssh=visitor.key is not None)
            found.append(f"stored; it takes effect with the next deployment, or now with: {now}")
        return [each for each in found if each]

    def _check_pillar(self, row: ProjectRow, name: str) -> list[Finding]:
        project = self.site.host.project(row.name)
        commit = git.commit(project.pillar_git, name)
        return survey.check_pillar(project, row.environment, self.site.settings_of(row), self.site.engine, commit)

    def _deploy_pushed(
        self, peer: Connection, visitor: Visitor, asked: Asked, row: ProjectRow, verdict: Judgement, *, new: bool
    ) -> list[str]:
        """Queue what was pushed, unless it was before the daemon went away, and follow it."""
        assert verdict.request is not None
        repo = layout.repo_path(self.site.host.project(row.name), verdict.request.repo)
        prepare.lease(self.site.settings_of(row), verdict.request)  # must be right
        commit = git.commit(repo, verdict.request.new)
        if new and verdict.request.repo == "pillar":
            self._check_pillar(row, commit)
        request = replace(_by(peer, visitor, row, verdict.request), new=commit, via="push", token=asked.text("token"))
        if new:
            self._check_frozen(row.name, request)
            self._check_now(peer, row, request)
        deployment = self._enqueue(row.name, request)
        peer.send(number=deployment.number)
        if not request.nowait:
            deployment = follow(
                self.lanes, peer, deployment, asked.number("offset", 0), progress=request.progress
            )  # fmt: skip
        else:
            see = self.site.spell(hints.command("log", row.name, deployment.number, "-f"), ssh=visitor.key is not None)
            peer.send(say=f"queued as deployment {deployment.number}: {see}")
        forced = self._forced(repo, deployment)
        return report(deployment, verdict.deploying, row.branch, forced=forced, reason=view.reason(deployment))

    def _check_now(self, peer: Connection, row: ProjectRow, request: Request) -> None:
        """Refuse at once what need not wait for its turn."""
        project = self.site.host.project(row.name)
        number, named = prepare.lost(project, row, request)
        if number and not request.force and request.sort.releases:
            for line in named:
                peer.send(say=f"      lacks {shown(line, 60)}")
            raise prepare.refusal(row, request, number)
        if request.repo == "project":
            release_checks.check_commit(project, row.environment, request.new, request)

    def _forced(self, repo: Path, deployment: Deployment) -> bool:
        old, new = (each.of(deployment.request.repo) for each in (deployment.old, deployment.new))
        if deployment.state != DEPLOYED or not old or not new or old == new:
            return False
        return git.change(repo, old, new).lost > 0

    def _enqueue(self, name: str, request: Request) -> Deployment:
        deployment = self.site.history.enqueue(name, request)
        if not deployment.request.is_again(request):
            raise UsageError("the token is that of another request")
        self.lanes.wake(name)
        return deployment

    def request(self, peer: Connection, visitor: Visitor, row: ProjectRow, asked: Asked) -> None:
        """Queue what the command asks for and follow it to its end."""
        self.site.settings_of(row)  # must be right
        request = prepare.requested(self.site, row, replace(_by(peer, visitor, row, _request(asked)), via="command"))
        self._check_frozen(row.name, request)
        if request.sort.restarts:
            restart.check(self.site, row, request)
        deployment = self._enqueue(row.name, request)
        peer.send(number=deployment.number)
        if not request.nowait:
            deployment = follow(self.lanes, peer, deployment, 0, progress=request.progress)
        peer.send(result=deployment.as_json())

    def assign(self, peer: Connection, visitor: Visitor, row: ProjectRow, asked: Asked) -> None:
        """Commit to the pillar what is to be set and unset, and deploy that, unless it is only to be stored."""
        change, progress = assigned.change(asked.rows("set", 3), asked.words("unset")), asked.flag("progress")
        token, deploys = asked.text("token"), asked.flag("deploy") and bool(row.code)
        before = self.site.history.asked(row.name, token)
        if before:  # the daemon went away meanwhile
            peer.send(number=before.number)
            peer.send(result=follow(self.lanes, peer, before, 0, progress=progress).as_json())
            return
        request = _by(peer, visitor, row, Request(repo="pillar", via="set", token=token, progress=progress))
        if deploys:
            self._check_frozen(row.name, request)
        still = self._still(peer, asked, row.name, PUSH)
        ask = setting.Call(self.lanes, peer, request, change, still, ssh=visitor.key is not None)
        peer.send(result=ask.answer(row.name, self._enqueue if deploys else None, self.turns))

    def follow(self, peer: Connection, visitor: Visitor, row: ProjectRow, asked: Asked) -> None:
        """Feed a log from an offset on, to its end."""
        number = asked.number("number")
        deployment = self.site.history.deployment(row.name, number) if number else self.site.history.last(row.name)
        with naming(self.site, [row]):
            inspection.check_log(self.site.host.project(row.name), deployment)
        deployment = follow(
            self.lanes, peer, deployment, asked.number("offset", 0),
            whole=asked.flag("whole"), progress=asked.flag("progress"), typed=asked.flag("events"),
        )  # fmt: skip
        peer.send(result=deployment.as_json())

    def watch(self, peer: Connection, visitor: Visitor, row: ProjectRow, asked: Asked) -> None:
        """Deploy what is edited in a project as it is saved, and show that, until the caller leaves."""
        steps, history = tuple(asked.words("steps")), self.site.history
        watches.check(row)
        release.live(self.site.host.project(row.name), row.environment).install(steps)
        shown = history.newest(row.name)
        with self.watches.hold(row, steps, visitor.who) as watched:
            peer.send(
                say=f"watching project/ and pillar/ of {row.name}: what is saved there is deployed; Ctrl-C ends it"
            )
            while not self.site.stopping:
                peer.check()
                watched.check()
                for deployment in history.edits_since(row.name, shown):
                    follow(self.lanes, peer, deployment, 0, progress=asked.flag("progress"))
                    shown = deployment.number
                self.lanes.await_change(0.2)

    def app_log(self, peer: Connection, visitor: Visitor, row: ProjectRow, asked: Asked) -> None:
        """Feed what an application writes; followed, until the caller leaves."""
        named, lines = app_log.named(self.site.host.project(row.name)), min(asked.number("lines", 100), app_log.MOST)
        wanted = app_log.Wanted(named, lines, asked.flag("follow"), asked.number("offset", 0))
        feed = Feed(peer, self.site, wanted, self._still(peer, asked, row.name, PUSH), as_json=asked.flag("json"))
        with naming(self.site, [row]):
            app_log.show(self.site, row, wanted, feed.tell, feed.check)
        peer.send(result={"lines": feed.lines, "notes": feed.notes})

    def cancel(self, peer: Connection, visitor: Visitor, row: ProjectRow, asked: Asked) -> None:
        """Cancel what runs or waits in a project."""
        deployment = self.lanes.cancel(row.name, visitor.who)
        if deployment is None:
            raise RefusedError(f"nothing runs or waits in {row.name}")
        if deployment.state != QUEUED:
            peer.send(say=f"deployment {deployment.number} of {row.name} is cancelled; what it did is taken back")
            deployment = follow(self.lanes, peer, deployment, 0, quiet=True)
        peer.send(result={**deployment.as_json(), "cancelled": visitor.who})

    def confirm(self, peer: Connection, visitor: Visitor, row: ProjectRow, asked: Asked) -> None:
        """Confirm what is held, and follow it to its end."""
        number = asked.number("number")
        hold.check_connection(self.site.history.deployment(row.name, number), came_by(peer.pid))
        deployment = self.lanes.confirm(row.name, number, visitor.who)
        self.site.event("confirm", {"project": row.name, "deployment": number, "by": deployment.confirmed})
        peer.send(number=number)
        peer.send(say=f"deployment {number} of {row.name} is confirmed")
        deployment = follow(self.lanes, peer, deployment, 0, quiet=True)
        peer.send(result=deployment.as_json())

    def run(self, peer: Connection, visitor: Visitor, row: ProjectRow, asked: Asked) -> None:
        """Run a command as the application of a project, while the caller stays and may."""
        still = self._still(peer, asked, row.name, ADMIN)
        still()
        caller = running.Caller(visitor.who, visitor.key.name if visitor.key else "", still)
        with self.places.of_command(self.site.settings.max_commands):
            running.run(self.site, peer, row, running.wanted(asked), caller)

    def report(self, peer: Connection, visitor: Visitor, asked: Asked) -> None:
        """Tell of a project, or of all that a visitor may see."""
        kind, name, options = asked.text("report"), asked.text("project"), json.loads(asked.json("options"))
        if kind not in REPORTS or not (name or kind in EVERY):
            raise not_understood("report")
        if options.get("secrets") and not visitor.admin(name):
            raise RefusedError("secrets are shown to root, the host's group and keys that may admin")
        right, _ = REPORTS[kind]
        if name:
            rows = [self._allowed(visitor, name, right)]
        else:
            rows = [row for row in self.site.history.projects() if visitor.may(row.name, right)]
        told = tell(kind, self.site, rows, {**options, "ssh": visitor.key is not None})
        answer = {"value": told.value, "lines": list(told.lines), "warnings": [asdict(each) for each in told.warnings]}
        peer.send(result=json.loads(json.dumps(answer, default=str)))

    def _switch(self, name: str, peer: Connection, visitor: Visitor, asked: Asked) -> None:
        """Freeze or thaw a project, or the whole host."""
        if project := asked.text("project"):
            project = self._allowed(visitor, project, ADMIN).name
        elif not visitor.admin_of_all():
            raise self.not_allowed(ADMIN)
        done = SWITCHES[name](self.site.history, project, visitor.who, asked)
        about = {"project": project, "by": visitor.who}
        self.site.event("freeze", about) if name == "freeze" else self.site.event("thaw", about)
        peer.send(result={"value": done.as_json(), "lines": done.lines()})

    def ping(self, peer: Connection) -> None:
        """Say that we are here."""
        peer.send(result={"pid": os.getpid(), "busy": self.lanes.busy()})


Act = Callable[[Desk, Connection, Visitor, ProjectRow, Asked], None]
OPERATIONS: dict[str, tuple[str, Act]] = {  # what may be asked, and the right that it needs
    "push": (PUSH, Desk.push),
    "request": (PUSH, Desk.request),
    "set": (PUSH, Desk.assign),
    "follow": (READ, Desk.follow),
    "watch": (PUSH, Desk.watch),
    "cancel": (PUSH, Desk.cancel),
    "confirm": (PUSH, Desk.confirm),
    "run": (ADMIN, Desk.run),
    "app-log": (PUSH, Desk.app_log),
}
SWITCHES: dict[str, Callable[[History, str, str, Asked], Frozen | Thawed]] = {  # of a project, or ("") of the host
    "freeze": lambda history, project, who, asked: freezing.freeze(history, project, asked.text("reason"), who),
    "thaw": lambda history, project, who, asked: freezing.thaw(history, project),
}


def _by(peer: Connection, visitor: Visitor, row: ProjectRow, request: Request) -> Request:
    """Return a request as that of a visitor; only who may insist does so, also where a freeze comes while it waits."""
    admin = visitor.admin(row.name)
    if request.insist and not admin:
        raise RefusedError("only root, the host's group and admin keys can insist", hint="leave out insist")
    key, insist = visitor.key.name if visitor.key else "", (request.force or request.insist) and admin
    return replace(request, who=visitor.who, key=key, insist=insist, connection=came_by(peer.pid))


def _stored(path: Path, verdict: Judgement, *, atomic: bool) -> dict[Command, str]:
    """Store what deploys nothing; say of each ref of a push that does not why it was not, or nothing.

    git itself moves no ref: where it could, those who push could too, past us.
    """
    wanted = [*verdict.stored, *([verdict.accept] if verdict.accept else [])]
    wrong = git.update_refs(path, [(each.ref, each.old, each.new) for each in wanted], atomic=atomic)
    return {**dict(verdict.refused), **{each: one_line(wrong.get(each.ref, "")) for each in wanted}}


def _repo(asked: Asked) -> str:
    name = asked.text("repo")
    if name not in layout.REPOS:
        raise not_understood("repo")
    return name


def _commands(asked: Asked) -> list[Command]:
    commands = [Command(*row) for row in asked.rows("commands", 3)]
    if not all(ID.fullmatch(name) for command in commands for name in (command.old, command.new)):
        raise not_understood("commands")
    return commands


def _request(asked: Asked) -> Request:
    """Return what the command asks for; only a push says of a repository and its ref."""
    try:
        found = Request.load(asked.json("request"))
    except TypeError as exc:
        raise not_understood(f"request: {exc}") from None
    if not 0 <= found.target < NUMBER_LIMIT:
        raise not_understood("request: target")
    return replace(found, repo="project", ref="", old="")
