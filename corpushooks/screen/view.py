"""Projects and deployments in words and lines, for people. Values only."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from corpushooks.core.deployment import FAILURES, SUCCEEDED, TRANSITIONS, Deployment, Request, kind_of, state_of
from corpushooks.core.hints import Advice, Hint, command
from corpushooks.core.text import middle, one_line, shortened, shown

if TYPE_CHECKING:
    from corpushooks.salt import Result

NODES = 8  # nodes of a project that are named each in a line
NAMED = 48  # columns of a name in an error
PLURALS = {"process": "processes", "repository": "repositories"}


def outcome(state: str) -> str:
    """Return the word for a state; an unknown one (of a newer version) as it is."""
    return state_of(state).word


def short(commit: str | None) -> str:
    """Return the short form of a commit."""
    return commit[:7] if commit else "nothing"


def count(number: int, noun: str, nouns: str = "") -> str:
    """Return a number with its noun: 1 file, 2 files."""
    return f"{number} {noun if number == 1 else nouns or PLURALS.get(noun, noun + 's')}"


def course(old: str | None, new: str | None, old_pillar: str | None, new_pillar: str | None, commits: int) -> str:
    """Return the old and the new revision of a deployment."""
    code = f"{short(old)} -> {short(new)}" if old != new else short(new)
    parts = [code, *([count(commits, "commit")] if commits else [])]
    if old_pillar != new_pillar:
        parts.append(f"pillar {short(old_pillar)} -> {short(new_pillar)}")
    return ", ".join(parts) if parts != [short(new)] else f"{short(new)} again"


def failed_ids(result: Result) -> str:
    """Return what failed in an SLS, for the one line that git shows."""
    if result.errors:
        return (result.errors[0].strip() or "no reason given").splitlines()[0]
    names = [middle(state.id, NAMED) for state in result.states if state.result is False and not state.skipped]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def reason(deployment: Deployment) -> str:
    """Return why a push is rejected, for git's parentheses."""
    tails = {"rolled_back": "; rolled back", "broken": "; THE ROLLBACK FAILED", "failed": "; left in place"}
    if deployment.state in tails and deployment.request.sort.releases:
        return one_line(deployment.summary or deployment.reason) + tails[deployment.state]
    return one_line(deployment.reason)


def lasting(seconds: float) -> str:
    """Return a running time to the second."""
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def clock(at: float) -> str:
    """Return a time of today, by the clock of the host; one that is none, as a node can say it, as ?."""
    try:
        return time.strftime("%H:%M:%S", time.localtime(at))
    except (ValueError, OverflowError, OSError):
        return "?"


def size(number: float) -> str:
    """Return a number of bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def ago(seconds: float) -> str:
    """Return a duration for people; 0 if the clock was set back meanwhile."""
    seconds = max(0.0, seconds)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def status(found: Mapping[str, Any], now: float) -> list[Advice]:
    """Return the lines of `corpus status` for one project."""
    live = "nothing is live yet"
    if found["live"]:
        by = f" by {found['by']}" if found["by"] else ""  # unknown in a rebuilt store
        since = f", {ago(now - found['since'])} ago{by}" if found["since"] else ""
        live = f"live: {short(found['commit'])}, deployment {found['live']}{since}"
    lines: list[Advice] = [f"{found['project']:<16} {found['environment']:<9} {live}"]
    if found["broken"]:
        lines.append(Hint(f"    BROKEN: {found['broken']}; ", command("repair", found["project"])))
    if found["frozen"]:
        lines.append(f"    {found['frozen']}")
    if nodes := found.get("nodes"):
        lines.append(Hint(f"    on the nodes {', '.join(nodes)}: ", command("node", "list")))
        lines += _nodes(found.get("on_nodes") or [], now)
    elif found["tree"] != found["commit"]:
        lines.append(f"    project/ has the failed {short(found['tree'])}")
    lines += _moved_branch(found) if found["branch_moved"] else []
    if found["pillar_ahead"]:
        lines.append("    the pillar is ahead: it takes effect with the next deployment")
    if drift := found["drift"]:
        more = f" and {len(drift) - 3} more" if len(drift) > 3 else ""
        lines.append(f"    changed in project/ since: {', '.join(map(shown, drift[:3]))}{more}")
    lines += [_open_line(one, now) for one in found["open"]]
    lines += [f"    {_health(found['health'], now)}"] if found["health"] else []
    lines += _backup(found, now)
    lines += [f"    wrong: {fault['what']}; {fault['repair']}" for fault in found["faults"]]
    return [*lines, *_last(found, now)]


def _nodes(found: Sequence[Mapping[str, Any]], now: float) -> list[str]:
    """Return a line for each node of a project; of many, for those that are not as they should be."""
    usual = [each for each in found if each["state"] == "current" and not each["phase"] and not each["drained"]]
    named = found if len(found) <= NODES else [each for each in found if each not in usual]
    lines = []
    for each in named[:NODES]:
        at = f" {short(each['code'])}" if each["code"] else ""
        marks = [*(["drained"] if each["drained"] else []), *([each["phase"]] if each["phase"] else [])]
        seen = f"seen {ago(now - each['seen'])} ago" if each["seen"] else "never seen"
        said = ", ".join([each["state"] + at, *marks, seen])
        lines.append(f"        {each['name']:<12} {said}")
    if more := len(found) - len(lines):
        lines.append(f"        … and {count(more, 'more node')}")
    return lines


def _open_line(one: Mapping[str, Any], now: float) -> Advice:
    """Return a queued, running or held deployment."""
    said = f"    {outcome(one['state'])}: {named(one)} by {one['by']}"
    if one["left"] is None:
        return said
    until = f" until {clock(now + one['left'])} ({lasting(one['left'])} left); "
    return Hint(said, until, command("confirm", one["project"], one["number"]))


def _health(found: Mapping[str, Any], now: float) -> str:
    """Return the last health of a live release; not every one of many failures is recorded."""
    times = f"{'over ' if found['times'] > 8 else ''}{count(found['times'], 'time')}"
    more = f" ({times}): {found['reason']}" if found["times"] else ""
    return f"{found['state']} for {ago(now - found['since'])}{more}"


def _backup(found: Mapping[str, Any], now: float) -> list[Advice]:
    """Say how old the newest backup is and when one was last proved to come back; of a host that keeps none nothing."""
    one, name = found.get("backup"), found["project"]  # an older daemon says nothing
    if not one:
        return []
    made = f"{ago(now - one['at'])} ago" if one["at"] else "none"
    proved = f"{ago(now - one['proved'])} ago" if one["proved"] else "never"
    said = {"backup": f"the newest: {made}", "drill": f"the last that succeeded: {proved}"}
    lines: list[Advice] = [Hint(f"    {what} OVERDUE: {said[what]}; ", command(what, name)) for what in one["overdue"]]
    if one["wrong"]:
        lines.append(Hint(f"    drill FAILED: {one['wrong']}; ", command("drill", name)))
    return lines or [f"    backup: {made}, drill: {proved}"]


def _last(found: Mapping[str, Any], now: float) -> list[str]:
    """Return the last failure, and what was refused or cancelled since."""
    last, tried, failed = found["last"], found["last_deployment"], found["last_failure"]
    lines = []
    if tried and tried["state"] in FAILURES:
        lines.append(f"    last: {_ended_line(tried)}")
    if last and last["state"] not in (*SUCCEEDED, *TRANSITIONS) and not (tried and tried["number"] == last["number"]):
        lines.append(f"    last: {_ended_line(last)}")
    if failed and not lines:
        when = ago(now - (failed["decided"] or failed["queued"]))
        lines.append(f"    last failure, {when} ago: {named(failed)}{_reason_suffix(failed)}")
    return lines


def _ended_line(one: Mapping[str, Any]) -> str:
    return f"{named(one)} {outcome(one['state'])}{_reason_suffix(one)}"


def _reason_suffix(one: Mapping[str, Any]) -> str:
    return f": {one['reason']}" if one["reason"] else ""


def _moved_branch(found: Mapping[str, Any]) -> list[Advice]:
    """Return where a branch is that was moved without our hooks, and the commands to deploy it or to move it back."""
    branch, at, deploy = found["branch"], short(found["branch_at"]), command("deploy", found["project"])
    if not found["live"]:
        return [Hint(f"    {branch} is at {at}, which is not deployed yet: ", deploy)]
    if found["branch_at"] is None:
        return [Hint(f"    {branch} is missing, but no push removed it; to restore it: ", deploy)]
    return [
        f"    {branch} is at {at}, which is not live",
        Hint("    to deploy it: ", command("deploy", found["project"], branch), "; to move it back: ", deploy),
    ]


def named(one: Mapping[str, Any]) -> str:
    """Return the name of a request for people: deployment 3, rollback 4, task 5."""
    kind = kind_of(one.get("kind", Request.kind))
    return f"{kind.noun or kind.name} {one['number']}"


def history_row(one: Deployment, *, live: bool) -> str:
    """Return one line of `corpus history`."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.queued))
    took = f"{one.took:.1f} s" if one.took is not None else ""
    ways = course(one.old_code, one.new_code, one.old_pillar, one.new_pillar, 0) if one.new_code else ""
    mark = "*" if live else " "
    kind = "" if one.request.sort.usual else f"{one.request.kind} "
    left = f"{mark}{one.number:>5}  {when}  {outcome(one.state):<11} {took:>8}  {one.request.who:<10} {ways}"
    return f"{left}  {kind}{one.reason}".rstrip()


def backup_row(one: Mapping[str, Any]) -> str:
    """Return one line of `corpus backups`."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one["at"]))
    if not one["whole"]:
        return f"{one['number']:>5}  {when}  failed: {one['reason']}"
    has = [count(one["files"], "file"), *([count(one["databases"], "database")] if one["databases"] else [])]
    changed = f", {count(one['changed'], 'file')} changed meanwhile" if one["changed"] else ""
    if one["overtaken"]:
        changed += f", deployment {one['overtaken']} came between"
    sizes = f"{size(one['size'])}, {size(one['added'])} new"
    return f"{one['number']:>5}  {when}  at {short(one['code'])}  {', '.join(has)}, {sizes}{changed}{_last_drill(one)}"


def _last_drill(one: Mapping[str, Any]) -> str:
    """Return the last drill of a backup."""
    if one["drilled"] is None:
        return ""
    when = time.strftime("%Y-%m-%d", time.localtime(one["drilled"]))
    return f"; drill {when}: {one['wrong'] or 'ok'}"


def differences(old: Mapping[str, Any], new: Mapping[str, Any], where: str = "") -> list[str]:
    """Return a line for each value that differs between two mappings."""
    found: list[str] = []
    for key in sorted({*old, *new}, key=str):
        path = f"{where}{key}"
        mine, theirs = old.get(key), new.get(key)
        if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
            found += differences(mine, theirs, f"{path}.")
        elif key not in old:
            found.append(f"+ {path}: {_on_one_line(theirs)}")
        elif key not in new:
            found.append(f"- {path}: {_on_one_line(mine)}")
        elif mine != theirs:
            found.append(f"~ {path}: {_on_one_line(mine)} -> {_on_one_line(theirs)}")
    return found


def _on_one_line(value: Any) -> str:
    """Return a value of cfg on one line."""
    return shortened(json.dumps(value, default=str, ensure_ascii=False), 80)
