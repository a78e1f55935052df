"""Creates notifications: of deployments, new projects, health and overdue backups. A failure here fails nothing."""

from __future__ import annotations

import contextlib
import grp
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path

from corpushooks.access.keyring import Keyring
from corpushooks.core.deployment import FAILURES, RELEASING, Deployment, ProjectRow, enabled
from corpushooks.core.errors import CorpusError, LogError, UsageError
from corpushooks.core.hints import command
from corpushooks.core.notification import (
    FAILURE,
    HEALTHY,
    HELD,
    INIT,
    OVERDUE,
    RECOVERY,
    SUCCESS,
    TEST,
    UNHEALTHY,
    Notification,
)
from corpushooks.core.project import Host, Project
from corpushooks.core.rights import PUSH
from corpushooks.core.settings import Settings
from corpushooks.host.site import Site
from corpushooks.notify import send
from corpushooks.screen import screen, view
from corpushooks.store import log
from corpushooks.store.history import History
from corpushooks.store.vitals import FAILING, Vital
from corpushooks.system import hostname

LINES = 20  # of the log to send
TEMPLATE = "notify.jinja"  # in .salt, and next to the host's settings


@dataclass(frozen=True)
class Subject:
    """A deployment to notify about."""

    site: Site
    settings: Settings
    row: ProjectRow
    deployment: Deployment
    log: Path

    @property
    def project(self) -> Project:
        return self.site.host.project(self.row.name)

    @property
    def is_wanted(self) -> bool:
        return bool(self.settings.notify) and enabled(self.deployment.request, "notify")


def ended(subject: Subject) -> tuple[int, str]:
    """Notify of the outcome of a deployment; return how many notifications were sent, and the error, or ''."""
    try:
        event = _event(subject) if subject.is_wanted else None
        if event is None:
            return 0, ""
        notification = _notification(subject, event)
        with subject.site.effect("hand over a notification"):
            wrong = _send(subject.settings, subject.project, notification)
    except CorpusError as exc:
        wrong = exc.message
    return 0 if wrong else len(subject.settings.notify), wrong


def held(subject: Subject) -> str:
    """Notify that a deployment waits for confirmation; return the error, or ''."""
    if not subject.is_wanted or HELD not in subject.settings.notify_on:
        return ""
    done = subject.deployment
    until = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(time.time() + (done.lease or 0)))
    confirm = subject.site.spell(command("confirm", done.project, done.number))
    try:
        notification = replace(_notification(subject, HELD), log=(), command=confirm, until=until)
        with subject.site.effect("hold notification"):
            return _send(subject.settings, subject.project, notification)
    except CorpusError as exc:
        return exc.message


def _send(settings: Settings, project: Project, notification: Notification) -> str:
    """Hand a notification to the process that sends it; return the error, or ''."""
    if wrong := send.missing():
        return f"{wrong.message}; {wrong.hint}"
    try:
        send.hand_over(addressed(settings, project, notification), project.host.state_dir / "notify.log")
    except CorpusError as exc:
        return exc.message
    return ""


def _event(subject: Subject) -> str | None:
    """Return the event for the outcome of a deployment, or None if it is not in `notify_on`."""
    wanted = subject.settings.notify_on
    if subject.deployment.state in FAILURES:
        return FAILURE if FAILURE in wanted else None
    if RECOVERY in wanted and _recovered(subject.site.history, subject.deployment):
        return RECOVERY
    return SUCCESS if SUCCESS in wanted else None


def _recovered(history: History, done: Deployment) -> bool:
    """Say whether the previous release failed; tasks, plans and edits do not count."""
    last = history.tried(done.project, RELEASING, before=done.number)
    return last is not None and last.state in FAILURES


def _notification(subject: Subject, event: str) -> Notification:
    """Return the notification for a deployment; its log and its reason are redacted already."""
    done, first, last = subject.deployment, "", deque[str](maxlen=LINES)
    with contextlib.suppress(LogError, OSError):
        for text in screen.texts(log.read(subject.log), whole=False):
            first = first or text
            last.append(text)
    return Notification(
        event=event, host=_host(subject.settings), project=done.project, environment=subject.row.environment,
        number=done.number, outcome=view.outcome(done.state), what=first, who=done.request.who, key=done.request.key,
        via=done.request.via, seconds=done.took or 0.0, reason=done.reason,
        log=tuple(last), command=subject.site.spell(command("log", done.project, done.number)),
        branch=subject.row.branch,
    )  # fmt: skip


def made(
    settings: Settings, history: History, project: Project, environment: str, branch: str, urls: dict[str, str]
) -> str:
    """Notify of a new project, its remotes and who can push; return the error, or ''."""
    if not settings.notify or INIT not in settings.notify_on:
        return ""
    notification = Notification(
        event=INIT, host=_host(settings), project=project.name, environment=environment, branch=branch,
        may_push=_may_push(settings, history, project), code_url=urls["code_url"], pillar_url=urls["pillar_url"],
    )  # fmt: skip
    return _send(settings, project, notification)


def health(site: Site, found: Vital) -> str:
    """Notify that a live release fails its health checks, or passes again; return the error, or ''."""
    event = UNHEALTHY if found.state == FAILING else HEALTHY
    settings, row = site.settings.sound(found.project), site.history.project(found.project)
    if row is None or not settings.notify or event not in settings.notify_on:
        return ""
    failed = f"failed its health checks {view.count(found.times, 'time')} in a row"
    notification = Notification(
        event=event, host=_host(settings), project=row.name, environment=row.environment, number=row.live or 0,
        outcome=event, what=f"deployment {row.live} {failed if found.reason else 'answers its health checks again'}",
        reason=found.reason, command=site.spell(command("status", row.name)), branch=row.branch,
    )  # fmt: skip
    return _send(settings, site.host.project(row.name), notification)


def overdue(site: Site, row: ProjectRow, what: str, last: float | None) -> str:
    """Notify that a backup or a drill is overdue, and when the last succeeded; return the error, or ''."""
    settings = site.settings.sound(row.name)
    if not settings.notify or OVERDUE not in settings.notify_on:
        return ""
    when = f"the last {what} that succeeded was {view.ago(time.time() - last)} ago" if last else f"no {what} succeeded"
    notification = Notification(
        event=OVERDUE, host=_host(settings), project=row.name, environment=row.environment, number=row.live or 0,
        outcome=what, what=when, command=site.spell(command(what, row.name)), branch=row.branch,
    )  # fmt: skip
    return _send(settings, site.host.project(row.name), notification)


def _may_push(settings: Settings, history: History, project: Project) -> tuple[str, ...]:
    """Return who can push, in words."""
    if project.host.embedded:
        return (f"everyone with write access to {project.host.root}",)
    groups = {settings.group: "all rights", project.deploy_group: "this project"}
    found = ["root"]
    for group, what in groups.items():
        with contextlib.suppress(KeyError):
            found += [f"{name} (group {group}: {what})" for name in grp.getgrnam(group).gr_mem]
    account = f"{settings.account} (group "  # its callers are known by their keys
    keys = [f"the ssh key {key.name}" for key in Keyring(history).all() if not key.refusal(PUSH, project.name)]
    return tuple([one for one in found if not one.startswith(account)] + keys)


def test(settings: Settings, host: Host, project: Project | None, event: str = TEST) -> send.Report:
    """Send a test and return the results; raise UsageError if nothing can be sent."""
    if not settings.notify:
        raise UsageError("no notifications are configured: `notify` is empty", hint=f"add URLs to {host.config_file}")
    if wrong := send.missing():
        raise wrong
    name = project.name if project else ""
    notification = Notification(
        event=event, host=_host(settings), project=name, environment=settings.environment, who="a test"
    )
    return send.deliver(addressed(settings, project or host, notification))


def addressed(settings: Settings, whose: Project | Host, notification: Notification) -> send.Outgoing:
    """Return a notification with its recipients and templates."""
    host = whose.host if isinstance(whose, Project) else whose
    own = send.template_in(whose.salt_link / TEMPLATE) if isinstance(whose, Project) else None
    return send.Outgoing(notification, settings.notify, own, send.template_in(host.config_file.with_name(TEMPLATE)))


def _host(settings: Settings) -> str:
    return settings.address or hostname.fqdn()
