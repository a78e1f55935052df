"""What people read of a deployment, as plain lines. Values only."""

from __future__ import annotations

import json
import re
import textwrap
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from corpushooks.deployment import FAILURES, SUCCEEDED, TRANSITIONS, Deployment
from corpushooks.failure import command_output, condensed, failure
from corpushooks.sls import Result, State
from corpushooks.text import excerpt, lines, middle, one_line, shortened, shown

LABEL, WIDTH = 29, 66  # columns; git puts "remote: " in front, and terminals have 80
NAMED = 48  # columns of a name in an error
FITS = 72  # columns that no line of ours exceeds
REQUIRED = re.compile(r"requisites? failed: (.*)", re.S)  # as Salt says why a state was not run
# What the terminal of a push is spared; the whole log has more.
COMMENT_LINES = 12  # of what a state says
SCREEN = 200  # lines of an output or an error, states of one kind
FAILED = 20  # states that failed
DIFFERENCE = 40  # lines of what a plan would change in a file, or an SLS that failed did
COLUMNS = 400

OUTCOMES = {
    "queued": "waits", "running": "runs", "rolling_back": "rolls back", "deployed": "deployed", "done": "done",
    "refused": "refused", "cancelled": "cancelled", "failed": "failed", "rolled_back": "rolled back",
    "broken": "broken",
}  # fmt: skip


def outcome(state: str) -> str:
    """Return a state as people say it; one of a newer version as it is."""
    return OUTCOMES.get(state, state)


def short(commit: str | None) -> str:
    """Return a commit as people write it."""
    return commit[:7] if commit else "nothing"


def count(number: int, noun: str, nouns: str = "") -> str:
    """Return a number with its noun: 1 file, 2 files."""
    return f"{number} {noun if number == 1 else nouns or noun + 's'}"


def row(label: str, detail: str, seconds: float | None) -> str:
    """Return one line of the procedure: what, what came of it, how long it took."""
    detail = middle(detail, FITS - 8 - LABEL)
    label = middle(label, max(LABEL - 1, WIDTH - 8 - 2 - len(detail)))
    left = f"{label:<{LABEL}}{detail}" if len(label) < LABEL else f"{label}  {detail}"
    took = "" if seconds is None else f"{seconds:.1f} s"
    return f"{left:<{WIDTH - 8}}{took:>8}".rstrip()


def file_row(letter: str, path: str, counts: str) -> str:
    """Return one file that a plan would change."""
    room = FITS - 10 - len(counts)
    return f"      {letter} {middle(path, room)}  {counts}".rstrip()


def heartbeat(what: str, since: str, last: str) -> str:
    """Return the line that says that a step still runs, with the last thing its command wrote."""
    line = f"      … {middle(what, NAMED)}, {since}"
    room = FITS - len(line) - 2
    return f"{line}: {shown(last.strip(), room)}" if last.strip() and room > 8 else line


def part_of(label: str) -> str:
    """Return the label of a part of a step without the mark of its step."""
    bare = label.lstrip("[0123456789/] ")
    return " " * (len(label) - len(bare)) + bare


def step_label(index: int, total: int, name: str, part: str = "", *, first: bool = True) -> str:
    """Return the label of a step, or of a part of one: [4/8] install 00_app."""
    mark = f"[{index}/{total}] " if first else " " * len(f"[{index}/{total}] ")
    return f"{mark}{name} {part}".rstrip()


def opening(deployment: Deployment, environment: str, what: str) -> str:
    """Return the first line of a deployment."""
    kind = {"deploy": "deployment"}.get(deployment.request.kind, deployment.request.kind)
    by = f", by {deployment.request.who}" if deployment.request.key else ""
    return f"{deployment.project} ({environment}) {kind} {deployment.number}: {what}{by}"


def course(old: str | None, new: str | None, old_pillar: str | None, new_pillar: str | None, commits: int) -> str:
    """Say from where to where a deployment goes."""
    code = f"{short(old)} -> {short(new)}" if old != new else short(new)
    parts = [code, *([count(commits, "commit")] if commits else [])]
    if old_pillar != new_pillar:
        parts.append(f"pillar {short(old_pillar)} -> {short(new_pillar)}")
    return ", ".join(parts) if parts != [short(new)] else f"{short(new)} again"


def summary(result: Result) -> str:
    """Return what an SLS did, in a few words."""
    if not result.states:
        return "nothing to do"
    changed = sum(bool(state.changes) for state in result.states)
    return count(len(result.states), "state") + (f", {changed} changed" if changed else "")


def complaint(word: str, text: str) -> str:
    """Return an error or a warning: the word once, and of an error lines that a terminal holds."""
    first, *rest = [line.rstrip() for line in text.strip().splitlines() if line.strip()] or [""]
    inner, wrapped = " " * (len(word) + 2), [first]
    if word == "error":  # a warning may have a command in it, to be pasted
        wrapped = textwrap.wrap(first, FITS - len(inner), break_long_words=False, break_on_hyphens=False) or [""]
    return f"{word}: " + f"\n{inner}".join([*wrapped, *rest])


def states(result: Result, *, test: bool = False, doubt: str = "") -> list[str]:
    """Return the states of an SLS that did something or failed, with what is to be said of each.

    In a plan, states that mention the path `doubt` are marked: they looked at the old tree.
    """
    seen: Counter[str] = Counter()
    told = [state(one, seen, test=test, doubt=doubt, diffs=not result.ok) for one in result.states]
    return [line for one in told for line in one] + more(seen)


def state(found: State, seen: Counter[str], *, test: bool = False, doubt: str = "", diffs: bool = False) -> list[str]:
    """Return a state that did something or failed, unless too many like it were seen; nothing of one that did not.

    With `diffs` also what it changed: what failed later may have failed because of it.
    """
    word = _word(found, test)
    seen[word] += 1
    if not word or seen[word] > _limit(word):
        return []
    said = screen(diff(found.changes), DIFFERENCE) if diffs and word == "changed" else _said(word, found, doubt)
    return [*state_lines(word, found), *indent(said, 10)]


def diffs(found: Sequence[State]) -> list[str]:
    """Return what states changed that were shown before it was known that a later one fails."""
    told = [(one, screen(diff(one.changes), DIFFERENCE)) for one in found if _word(one, False) == "changed"]
    return [line for one, said in told if said for line in [*state_lines("diff", one), *indent(said, 10)]]


def more(seen: Counter[str]) -> list[str]:
    """Say how many were left out."""
    left = {word: number - _limit(word) for word, number in seen.items() if word and number > _limit(word)}
    return [f"        … {number} more {word}, in the whole log" for word, number in left.items()]


def _limit(word: str) -> int:
    return FAILED if word == "FAILED" else SCREEN


def _word(state: State, test: bool) -> str:
    """Say what became of a state; nothing where nothing did."""
    if state.skipped:
        return "not run"
    if state.result is False or (state.result is None and not test):
        return "FAILED"
    if state.changes or (test and state.result is None):
        return "would" if test else "changed"
    return ""


def _said(word: str, state: State, doubt: str) -> list[str]:
    if word == "FAILED":
        which = [f"name: {middle(one_line(state.name), FITS - 16)}"] if _says_more(state) else []
        return [*which, *tail(condensed(failure(state))), *screen(diff(state.changes), DIFFERENCE)]
    if word != "would":
        return []
    unsure = doubt and doubt in f"{state.name} {state.comment} {state.changes}"
    return [
        *(["(not sure: seen with the old files in project/)"] if unsure else []),
        *(screen(diff(state.changes), DIFFERENCE) or tail(state.comment, 4)),
    ]


def _says_more(state: State) -> bool:
    """Say whether the name of a state says which of several it is; a command is seen by what it writes."""
    silent = not command_output(state.changes)
    return state.name != state.id and (silent or not state.function.startswith("cmd."))


def all_states(result: Result) -> list[str]:
    """Return the states of an SLS with comment and changes, for the whole log: a text of lines for each.

    Without those that failed and were shown whole above.
    """
    texts: list[str] = []
    failed = [state for state in result.states if state.result is False and not state.skipped][:FAILED]
    for state in result.states:
        if state in failed and _is_shown_whole(state):
            continue
        word = {True: "ok", False: "FAILED", None: "would"}[state.result]
        said = [state.comment, diff(state.changes), command_output(state.changes)]
        inner = [line for text in said for line in lines(text)]
        texts.append("\n".join([*state_lines(word, state), *indent(inner, 10)]))
    return texts


def _is_shown_whole(state: State) -> bool:
    """Say whether all that is known of a failure is on the terminal."""
    known = [line for text in (failure(state), diff(state.changes)) for line in lines(text)]
    return set(known) <= set(_said("FAILED", state, ""))


def errors(result: Result) -> list[str]:
    """Return why no state of an SLS ran."""
    return indent(screen("\n".join(result.errors)), 8)


def state_lines(word: str, state: State) -> list[str]:
    """Return one state as a line; what is said of where it comes from, or what it waited for, may need another."""
    where = _where(word, state)
    took = f"{state.seconds:.1f} s" if word in ("changed", "ok") else ""
    room = FITS - 18 - len(state.function) - (10 if took else 0)
    left = f"        {word:<8} {middle(one_line(state.id), room):<12} {state.function}"
    if len(left) + 1 + len(where) > FITS:
        return [left, f"          {middle(where, FITS - 10)}"]
    left = f"{left} {where}".rstrip()
    return [f"{left:<{WIDTH - 8}}{took:>8}".rstrip()]


def _where(word: str, state: State) -> str:
    """Say of a state that failed where it comes from, of one that was not run because of which."""
    if word == "FAILED" and state.line:
        return f"({state.sls}.sls line {state.line})"
    found = REQUIRED.search(state.comment) if word == "not run" else None
    if not found:
        return ""
    names = [re.sub(r"^makina-projects\.[\w-]+\.", "", name.strip()) for name in one_line(found[1]).split(", ")]
    return f"(requires {', '.join(name.removeprefix(f'{state.sls}.') for name in names)})"


def diff(changes: Mapping[str, Any]) -> str:
    """Return the difference of a file, or of each of several, where a state reports one."""
    if text := changes.get("diff"):
        return str(text)
    each = {path: one["diff"] for path, one in changes.items() if isinstance(one, Mapping) and "diff" in one}
    return "\n".join(f"{path}\n{text}".rstrip() for path, text in each.items())


def tail(text: str, limit: int = COMMENT_LINES) -> list[str]:
    """Return the end of a text, saying how much was left out."""
    found = lines(text.strip())
    more = [f"… {len(found) - limit} lines more in the whole log"] if len(found) > limit else []
    return [*more, *(shortened(line, COLUMNS) for line in found[-limit:])]


def screen(text: str, limit: int = SCREEN) -> list[str]:
    """Return a text as a terminal gets it: of many lines the first and the last, and no long ones."""
    return [shortened(line, COLUMNS) for line in excerpt(lines(text), limit)]


def indent(found: Sequence[str], columns: int) -> list[str]:
    """Return lines moved to the right."""
    return [" " * columns + line for line in found]


def failed_ids(result: Result) -> str:
    """Name what failed in an SLS, for the one line that git shows."""
    if result.errors:
        return (result.errors[0].strip() or "it does not say why").splitlines()[0]
    names = [middle(state.id, NAMED) for state in result.states if state.result is False and not state.skipped]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def reason(deployment: Deployment) -> str:
    """Return why a push is rejected, as git shows it in brackets."""
    tails = {"rolled_back": "; rolled back", "broken": "; THE ROLL BACK FAILED", "failed": "; left as it is"}
    if deployment.state in tails and deployment.request.kind != "plan":
        return one_line(deployment.reason.partition(": ")[0]) + tails[deployment.state]
    return one_line(deployment.reason)


def lasting(seconds: float) -> str:
    """Return how long something has run, to the second."""
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def ago(seconds: float) -> str:
    """Return a duration as people say it; none where the clock was set back meanwhile."""
    seconds = max(0.0, seconds)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def status(found: Mapping[str, Any], now: float) -> list[str]:
    """Return what `corpus status` says of one project."""
    live = "nothing is live yet"
    if found["live"]:
        by = f" by {found['by']}" if found["by"] else ""  # of a rebuilt store nobody knows
        since = f", {ago(now - found['since'])} ago{by}" if found["since"] else ""
        live = f"live: {short(found['commit'])}, deployment {found['live']}{since}"
    lines = [f"{found['project']:<16} {found['environment']:<9} {live}"]
    if found["broken"]:
        lines.append(f"    BROKEN: {found['broken']}; corpus repair {found['project']}")
    if found["frozen"]:
        lines.append(f"    {found['frozen']}")
    if found["tree"] != found["commit"]:
        lines.append(f"    project/ holds the failed {short(found['tree'])}")
    lines += _moved(found) if found["branch_moved"] else []
    if found["pillar_ahead"]:
        lines.append("    the pillar is ahead: it takes effect with the next deployment")
    if drift := found["drift"]:
        more = f" and {len(drift) - 3} more" if len(drift) > 3 else ""
        lines.append(f"    project/ was changed since: {', '.join(map(shown, drift[:3]))}{more}")
    lines += [f"    {outcome(one['state'])}: {named(one)} by {one['by']}" for one in found["open"]]
    lines += [f"    {_health(found['health'], now)}"] if found["health"] else []
    lines += [f"    wrong: {fault['what']}; {fault['repair']}" for fault in found["faults"]]
    return lines + _last(found, now)


def _health(found: Mapping[str, Any], now: float) -> str:
    """Say how a live release was when it was last asked; of many failures not each is recorded."""
    times = f"{'over ' if found['times'] > 8 else ''}{count(found['times'], 'time')}"
    more = f" ({times}): {found['reason']}" if found["times"] else ""
    return f"{found['state']} for {ago(now - found['since'])}{more}"


def _last(found: Mapping[str, Any], now: float) -> list[str]:
    """Say what failed last, and, where that is another, what came to nothing since."""
    last, tried, failed = found["last"], found["last_deployment"], found["last_failure"]
    lines = []
    if tried and tried["state"] in FAILURES:
        lines.append(f"    last: {_ended(tried)}")
    if last and last["state"] not in (*SUCCEEDED, *TRANSITIONS) and not (tried and tried["number"] == last["number"]):
        lines.append(f"    last: {_ended(last)}")
    if failed and not lines:
        when = ago(now - (failed["decided"] or failed["queued"]))
        lines.append(f"    last failure, {when} ago: {named(failed)}{_because(failed)}")
    return lines


def _ended(one: Mapping[str, Any]) -> str:
    return f"{named(one)} {outcome(one['state'])}{_because(one)}"


def _because(one: Mapping[str, Any]) -> str:
    return f": {one['reason']}" if one["reason"] else ""


def _moved(found: Mapping[str, Any]) -> list[str]:
    """Say of a branch that something without hooks moved what it is, and how it is what is live again."""
    branch, at, deploy = found["branch"], short(found["branch_at"]), f"corpus deploy {found['project']}"
    if not found["live"]:
        return [f"    {branch} is at {at}, which is not deployed yet: {deploy}"]
    if found["branch_at"] is None:
        return [f"    {branch} is gone, though no push removed it; it comes back with: {deploy}"]
    return [
        f"    {branch} is at {at}, which is not what is live",
        f"    deploy it: {deploy} {branch}; or take it back: {deploy}",
    ]


def named(one: Mapping[str, Any]) -> str:
    """Return what people call a request: deployment 3, rollback 4, task 5."""
    kind = one.get("kind", "deploy")
    return f"{'deployment' if kind in ('deploy', 'edit') else kind} {one['number']}"


def history_row(one: Deployment, *, live: bool) -> str:
    """Return one line of `corpus history`."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.queued))
    took = f"{max(0.0, one.decided - one.started):.1f} s" if one.decided and one.started else ""
    ways = course(one.old_code, one.new_code, one.old_pillar, one.new_pillar, 0) if one.new_code else ""
    mark = "*" if live else " "
    kind = "" if one.request.kind == "deploy" else f"{one.request.kind} "
    left = f"{mark}{one.number:>5}  {when}  {outcome(one.state):<11} {took:>8}  {one.request.who:<10} {ways}"
    return f"{left}  {kind}{one.reason}".rstrip()


def differences(old: Mapping[str, Any], new: Mapping[str, Any], where: str = "") -> list[str]:
    """Return a line for each value that is not the same in two mappings."""
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
