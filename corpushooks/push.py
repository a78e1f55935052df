"""Judge a push: what each of its commands means, and what git is told of it. Values only.

The words of the answer are those of git's proc-receive protocol (githooks(5)): `ok REF`, `ng REF REASON` and
`option …` lines after an ok.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from corpushooks.deployment import DEPLOYED, Deployment, Request
from corpushooks.errors import UsageError

ZERO = "0" * 40
NOW, PLAN = "refs/deploy/now", "refs/deploy/plan"

# The steps that a request may select, and the names that the original had for them.
STEPS = ("archive", "sync", "fixperms", "install", "rotate", "notify")
ALIASES = {"release_sync": "sync", "rotate_archives": "rotate"}
ALWAYS = frozenset({"deploy", "sync_modules", "rollback", "publish"})  # known, and never left out

# Source: git-check-ref-format(1); a component that starts with a dash is ours to refuse.
BAD_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|/-|\.lock(/|$)|[./]$")


@dataclass(frozen=True)
class Command:
    """One ref that the client wants changed."""

    old: str
    new: str
    ref: str

    @property
    def deletes(self) -> bool:
        return set(self.new) == {"0"}

    @property
    def creates(self) -> bool:
        return set(self.old) == {"0"}


@dataclass(frozen=True)
class Verdict:
    """What becomes of a push: reports for the refs that do not deploy, and at most one request."""

    reports: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    request: Request | None = None
    deploying: tuple[Command, ...] = ()  # the commands that the request answers
    accept: Command | None = None  # pillar.git's branch without a deployment: check it, then let git store it


def options(given: Sequence[str]) -> Request:
    """Read push options into a request; raise UsageError for what is unknown."""
    request = Request()
    for option in given:
        name, has_value, value = option.partition("=")
        if name in ("only", "skip", "steps") and has_value:
            words = tuple(word.strip() for word in value.split(",") if word.strip())
            given_so_far: dict[str, Any] = {name: getattr(request, name) + words}
            request = replace(request, **given_so_far)
        elif option in ("force", "nowait", "progress"):
            flag: dict[str, Any] = {option: True}
            request = replace(request, **flag)
        elif option == "deploy":
            continue  # says where a pillar goes: judge() looks at it
        elif option == "dry-run":
            request = replace(request, kind="plan")
        else:
            raise UsageError(
                f"unknown push option {option!r}",
                hint="known: only=… skip=… steps=… dry-run deploy force nowait progress",
            )
    return select(request)


def select(request: Request) -> Request:
    """Return a request with its step names in our words; raise UsageError for an unknown one."""
    return replace(
        request,
        only=_steps(request.only, "only"),
        skip=_steps(request.skip, "skip"),
        steps=tuple(stem.removesuffix(".sls") for stem in request.steps),
    )


def _steps(names: Sequence[str], option: str) -> tuple[str, ...]:
    known: list[str] = []
    for name in names:
        step = ALIASES.get(name, name)
        if step in STEPS or (option == "only" and step in ALWAYS):
            known.append(step)
        elif step in ALWAYS:
            raise UsageError(f"{option}={name}: this step is never left out")
        else:
            raise UsageError(f"{option}={name}: no such step", hint=f"steps: {' '.join(STEPS)}")
    return tuple(known)


def enabled(request: Request, step: str) -> bool:
    """Say whether a request wants a step."""
    return (not request.only or step in request.only) and step not in request.skip


def judge(
    repo: str, branch: str, commands: Sequence[Command], given: Sequence[str], *, atomic: bool,
    deploy_pillar: bool = False,
) -> Verdict:  # fmt: skip
    """Say what a push to `repo` (project or pillar) means; raise UsageError for what refuses it whole."""
    wanted = options(given)
    for command in commands:
        _check_ref(command.ref)
    head = f"refs/heads/{branch}"
    ours = [c for c in commands if c.ref == head or c.ref.startswith("refs/deploy/")]
    others = [c for c in commands if c not in ours]
    for command in ours:
        _check_deploying(command, head)
    for command in others:
        if command.ref.startswith(f"{head}/") or head.startswith(f"{command.ref}/"):
            raise UsageError(f"{command.ref} cannot stand beside {head}", hint="give the branch another name")
    if atomic and ours and len(commands) > 1:
        raise UsageError("an atomic push can deploy or do something else, not both", hint="push twice")
    if len({c.new for c in ours}) > 1:
        raise UsageError("two different commits to deploy in one push", hint="push one after the other")
    if len({c.ref == PLAN for c in ours}) > 1:
        raise UsageError("a plan and a deployment in one push", hint="push one after the other")
    reports = tuple(line for c in others for line in (f"ok {c.ref}", "option fall-through"))
    verdict = Verdict(reports, tuple(_hint(repo, c, branch) for c in others if not c.deletes))
    if not ours:
        return verdict
    asks = {"deploy", "dry-run"} & set(given) or deploy_pillar or any(c.ref != head for c in ours)
    if repo == "pillar" and not asks:
        return replace(verdict, accept=ours[0])
    first = next((c for c in ours if c.ref == head), ours[0])
    kind = "plan" if first.ref == PLAN else wanted.kind
    old = "" if first.ref != head or first.creates else first.old
    request = replace(wanted, kind=kind, repo=repo, ref=first.ref, old=old, new=first.new)
    return replace(verdict, request=request, deploying=tuple(ours))


def _check_ref(ref: str) -> None:
    if not ref.startswith("refs/") or BAD_REF.search(ref):
        raise UsageError(f"{ref!r} is no ref name")


def _check_deploying(command: Command, head: str) -> None:
    if command.deletes:
        raise UsageError(f"{command.ref} cannot be deleted: it says what is deployed")
    if command.ref not in (head, NOW, PLAN):
        raise UsageError(f"there is no {command.ref}", hint=f"deploy with {NOW}, look ahead with {PLAN}")


def _hint(repo: str, command: Command, branch: str) -> str:
    short = command.ref.removeprefix("refs/heads/").removeprefix("refs/tags/")
    what = "takes effect" if repo == "pillar" else "deploys"
    return f"{short} is stored; only {branch} {what}: git push REMOTE {short}:{branch}"


def report(deployment: Deployment, commands: Sequence[Command], branch: str, *, forced: bool, reason: str) -> list[str]:
    """Return the report lines for the commands of a request whose outcome (or number: queued) is known."""
    request = deployment.request
    old, new = (
        (deployment.old_pillar, deployment.new_pillar)
        if request.repo == "pillar"
        else (deployment.old_code, deployment.new_code)
    )
    lines: list[str] = []
    for command in commands:
        if request.kind == "plan" and deployment.state == "done":
            lines += [f"ok {command.ref}", f"option refname {PLAN}"]
        elif request.nowait and not deployment.final:
            lines += [f"ok {command.ref}", f"option refname refs/deploy/queued/{deployment.number}"]
        elif deployment.state != DEPLOYED:
            lines.append(f"ng {command.ref} {reason}")
        elif command.ref == NOW:
            lines += [f"ok {command.ref}", f"option refname refs/heads/{branch}"]
            lines += [f"option old-oid {old or ZERO}", f"option new-oid {new}"]
            lines += ["option forced-update"] if forced else []
        else:
            lines += [f"ok {command.ref}", *(["option forced-update"] if forced else [])]
    return lines
