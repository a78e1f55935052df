"""Judge a push: what each of its commands means, and what is reported to git. Values only.

The report uses the lines of git's proc-receive protocol (githooks(5)): `ok REF`, `ng REF REASON`, and `option …` lines
after an ok.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from corpushooks.core.deployment import AS_SET, DEPLOYED, DONE, Deployment, Request
from corpushooks.core.errors import UsageError

ZERO = "0" * 40
NOW, PLAN = "refs/deploy/now", "refs/deploy/plan"

# The steps that a request can select, and their names in the original.
STEPS = ("backup", "archive", "sync", "fixperms", "install", "rotate", "notify")
ALIASES = {"release_sync": "sync", "rotate_archives": "rotate"}
ALWAYS = frozenset({"deploy", "sync_modules", "rollback", "hold", "publish"})  # known, but never skipped

# Source: git-check-ref-format(1); and surrogates that stand for no byte.
BAD_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\\ud800-\udc7f\udd00-\udfff]|\.\.|@\{|//|/\.|\.lock(/|$)|[./]$")
STORED = ("refs/heads/", "refs/tags/", "refs/notes/")
# Names that git would read as an option, as HEAD, or as a full name. Source: gitrevisions(7).
ODD_REF = re.compile(r".*/-|refs/[a-z]+/(HEAD|refs)(/|$)")


@dataclass(frozen=True)
class Command:
    """One ref that the client wants to change."""

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
class Judgement:
    """The result for a push: refused refs, stored refs, and at most one request."""

    refused: tuple[tuple[Command, str], ...] = ()  # with the reason
    stored: tuple[Command, ...] = ()
    request: Request | None = None
    deploying: tuple[Command, ...] = ()  # the commands that the request covers
    accept: Command | None = None  # pillar.git's branch without a deployment: check it, then store it


def options(given: Sequence[str]) -> Request:
    """Parse push options into a request; raise UsageError for unknown ones."""
    request = Request()
    for option in given:
        name, has_value, value = option.partition("=")
        if name in ("only", "skip", "steps") and has_value:
            words = tuple(word.strip() for word in value.split(",") if word.strip())
            given_so_far: dict[str, Any] = {name: getattr(request, name) + words}
            request = replace(request, **given_so_far)
        elif option in ("force", "insist", "nowait", "progress"):
            flag: dict[str, Any] = {option: True}
            request = replace(request, **flag)
        elif name == "confirm":
            request = replace(request, confirm=_seconds(value) if has_value else AS_SET)
        elif option == "deploy":
            continue  # judge() handles it
        elif option == "dry-run":
            request = replace(request, kind="plan")
        else:
            raise UsageError(
                f"unknown push option {option!r}",
                hint="known: only=… skip=… steps=… confirm[=…] dry-run deploy force insist nowait progress",
            )
    return select(request)


def _seconds(text: str) -> int:
    """Return the number of seconds to hold a deployment."""
    if not re.fullmatch("[0-9]{1,9}", text) or not int(text):
        raise UsageError(f"confirm={text}: expected a number of seconds", hint="-o confirm=300")
    return int(text)


def select(request: Request) -> Request:
    """Return a request with our own step names; raise UsageError for an unknown one."""
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
            raise UsageError(f"{option}={name}: this step cannot be skipped")
        else:
            raise UsageError(f"{option}={name}: unknown step", hint=f"steps: {' '.join(STEPS)}")
    return tuple(known)


def judge(
    repo: str, branch: str, commands: Sequence[Command], given: Sequence[str], *, atomic: bool,
    deploy_pillar: bool = False,
) -> Judgement:  # fmt: skip
    """Judge a push to `repo` (project or pillar); raise UsageError if all of it is refused."""
    wanted = options(given)
    for command in commands:
        _check_ref(command.ref)
    head = f"refs/heads/{branch}"
    refused = tuple((command, why) for command in commands if (why := _refusal(command, branch)))
    if atomic and refused:
        raise UsageError(
            f"{refused[0][0].ref}: {refused[0][1]}", hint="an atomic push is accepted completely or not at all"
        )
    bad = {command for command, _ in refused}
    good = [command for command in commands if command not in bad]
    ours = [command for command in good if command.ref in (head, NOW, PLAN)]
    if atomic and ours and len(commands) > 1:
        raise UsageError("an atomic push that deploys cannot change other refs", hint="push twice")
    _check_one(ours)
    judgement = Judgement(refused, tuple(command for command in good if command not in ours))
    if not ours:
        return judgement
    asks = {"deploy", "dry-run"} & set(given) or deploy_pillar or any(c.ref != head for c in ours)
    if repo == "pillar" and not asks:
        return replace(judgement, accept=ours[0])
    first = next((c for c in ours if c.ref == head), ours[0])
    kind = "plan" if first.ref == PLAN else wanted.kind
    old = "" if first.ref != head or first.creates else first.old
    request = replace(wanted, kind=kind, repo=repo, ref=first.ref, old=old, new=first.new)
    return replace(judgement, request=request, deploying=tuple(ours))


def _check_ref(ref: str) -> None:
    """Raise UsageError for a name that is invalid in git: no git client sends one."""
    if not ref.startswith("refs/") or BAD_REF.search(ref):
        raise UsageError(f"invalid ref name {ref[:100]!r}")


def _check_one(ours: Sequence[Command]) -> None:
    """Raise UsageError if a push would deploy more than one commit."""
    if len({c.new for c in ours}) > 1:
        raise UsageError("one push can deploy only one commit", hint="push them one after the other")
    if len({c.ref == PLAN for c in ours}) > 1:
        raise UsageError("one push cannot both plan and deploy", hint="push twice")


def _refusal(command: Command, branch: str) -> str:
    """Return why one ref is refused while the rest of the push continues; '' if it is accepted."""
    ref, head = command.ref, f"refs/heads/{branch}"
    if ref == head or ref.startswith("refs/deploy/"):
        return _refusal_of_ours(command, branch)
    if command.deletes:
        return ""  # also refs that an older version stored, or that root created
    if not ref.startswith(STORED):
        return "only branches, tags and notes are stored"
    if ref.startswith(f"{head}/") or head.startswith(f"{ref}/"):
        return f"it conflicts with {head}"
    if ODD_REF.match(ref) or ref == f"refs/tags/{branch}":
        return "this name would be ambiguous"
    return ""


def _refusal_of_ours(command: Command, branch: str) -> str:
    if command.ref not in (f"refs/heads/{branch}", NOW, PLAN):
        return f"unknown ref: {NOW} deploys, {PLAN} shows what would change"
    if not command.deletes:
        return ""
    return "nothing to delete" if command.ref in (NOW, PLAN) else "the branch that is deployed cannot be deleted"


def hint(repo: str, command: Command, branch: str) -> str:
    """Return the hint for a ref that was stored and deploys nothing; '' if none is needed."""
    if command.deletes or command.ref.startswith("refs/notes/"):
        return ""
    short = command.ref.removeprefix("refs/heads/").removeprefix("refs/tags/")
    what = "takes effect" if repo == "pillar" else "deploys"
    return f"{short} is stored; only {branch} {what}: git push REMOTE {short}:{branch}"


def report(deployment: Deployment, commands: Sequence[Command], branch: str, *, forced: bool, reason: str) -> list[str]:
    """Return the report lines for the commands of a request, with its outcome, or its number if queued."""
    request = deployment.request
    old, new = deployment.old.of(request.repo), deployment.new.of(request.repo)
    lines: list[str] = []
    for command in commands:
        if request.sort.dry and deployment.state == DONE:
            lines += [f"ok {command.ref}", f"option refname {PLAN}"]
        elif request.nowait and not deployment.final:
            lines += [f"ok {command.ref}", f"option refname refs/deploy/queued/{deployment.number}"]
        elif deployment.state != DEPLOYED:
            lines.append(f"ng {command.ref} {reason}")
        elif command.ref == NOW:
            lines += [f"ok {command.ref}", f"option refname refs/heads/{branch}"]
            lines += [f"option old-oid {old or '0' * len(new or ZERO)}", f"option new-oid {new}"]
            lines += ["option forced-update"] if forced else []
        else:
            lines += [f"ok {command.ref}", *(["option forced-update"] if forced else [])]
    return lines
