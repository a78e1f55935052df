"""The first and last lines of a deployment, and its lists. Values only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from corpushooks.core import rollouts
from corpushooks.core.deployment import kind_of, state_of
from corpushooks.core.events import (
    ITEMS,
    BackedUp,
    Began,
    Detail,
    Drilled,
    Held,
    Item,
    Listed,
    NodeCame,
    NodesDid,
    SuiteEnded,
    Verdict,
)
from corpushooks.core.text import lines, middle, shortened, shown
from corpushooks.screen.rows import (
    BOTH,
    FITS,
    NAMED,
    SCREEN,
    TERMINAL,
    WHOLE,
    Line,
    aside,
    both,
    complaint,
    ends,
    file_row,
    indent,
    row,
    row_of,
)
from corpushooks.screen.view import clock, count, course, lasting, outcome, short, size

NODES = 8  # nodes that are named in a line
FAILURES = 20  # tests that failed, on a terminal
EDITED = 3  # files that are listed of an edit


def opening(began: Began) -> str:
    """Return the first line of a deployment."""
    word, about = OPENINGS.get(began.kind, (began.kind, _course))
    on = f" on {count(began.nodes, 'node')}" if began.nodes else ""
    if began.nodes and kind_of(began.kind).releases:
        to = f"rollout {began.number} to {count(began.nodes, 'node')}"
        how = f" ({began.how})" if began.how else ""
        return f"{began.project} ({began.environment}) {to}{how}: {_course(began)}"
    by = f", by {began.by}" if began.by else ""
    return f"{began.project} ({began.environment}) {word} {began.number}{on}: {about(began)}{by}"


def _course(began: Began) -> str:
    return course(began.old, began.new, began.old_pillar, began.new_pillar, began.commits)


def edited(paths: tuple[str, ...]) -> str:
    """List the first of the edited files."""
    more = f" and {len(paths) - EDITED} more" if len(paths) > EDITED else ""
    return ", ".join(shown(path, 40) for path in paths[:EDITED]) + more


def detail(found: Detail) -> str:
    """Return the result of a step in a few words."""
    if found.count is None:
        return found.note
    number = count(found.count, found.noun) if found.noun else str(found.count)
    if found.of is not None:
        number = f"{found.count} of {count(found.of, found.noun)}"
    return f"{number} {found.note}".rstrip()


OPENINGS: Mapping[str, tuple[str, Callable[[Began], str]]] = {  # kind -> its word, and its subject
    "deploy": ("deployment", _course),
    "task": ("task", lambda began: began.task),
    "restart": ("restart", lambda began: began.task or "its units"),
    "edit": ("edit", lambda began: edited(began.edited)),
    "repair": ("repair", lambda began: f"at {short(began.new)}"),
    "backup": ("backup", lambda began: f"at {short(began.new)}"),
    "drill": ("drill", lambda began: "the newest backup" if not began.task else f"backup {began.task}"),
    "restore": ("restore", lambda began: began.task or "everything, to a folder"),
}


def held(found: Held) -> list[Line]:
    """Return until when a deployment is held, and the command that confirms it."""
    if not found.command:
        return both(["      waiting for the controller to confirm it"])
    until = f"      waiting for confirmation until {clock(found.until)} ({lasting(found.seconds)})"
    return both([until, f"      then it is rolled back; to confirm it: {found.command}"])


def drilled(found: Drilled) -> list[str]:
    """Return the result of a drill."""
    loaded = f", {count(found.databases, 'database')} with {count(found.tables, 'table')}" if found.databases else ""
    passed = "; the battletest has passed" if found.battletest else ""
    return [f"      {found.name} can be restored: {count(found.files, 'file')}{loaded}{passed}"]


def tested(found: SuiteEnded) -> list[Line]:
    """Return the result of a suite of tests, with those that failed; the whole log has their output."""
    numbers = [count(found.tests, "test"), *(f"{n} {word}" for n, word in _bad(found) if n)]
    told = both([row(f"      {found.suite or found.file}", ", ".join(numbers), found.seconds)])
    wrong = [case for case in found.cases if case.result in ("failed", "error")]
    for index, case in enumerate(wrong):
        name = f"{case.group}.{case.name}" if case.group else case.name
        said, *_ = [*filter(None, lines(f"{case.message}\n{case.text}")), ""]
        text = f"        FAILED   {middle(name, NAMED)}{': ' if said else ''}{shortened(said, SCREEN)}"
        told.append(Line(text, BOTH if index < FAILURES else WHOLE))
        told += aside(*indent(lines(case.text), 10)) if case.text else []
    return told


def _bad(found: SuiteEnded) -> list[tuple[int, str]]:
    return [(found.failed, "failed"), (found.errors, "with errors"), (found.skipped, "skipped")]


def backed_up(found: BackedUp) -> list[str]:
    """Return the content of a backup."""
    has = [count(found.files, "file"), *([count(found.databases, "database")] if found.databases else [])]
    sizes = f"{size(found.size)}, {size(found.added)} of it new"
    return [f"      {found.name}: {', '.join(has)}, {sizes}"]


def node(found: NodeCame) -> list[Line]:
    """Return what a node of a rollout has done; what only says that all goes well is for the whole log."""
    word = "FAILED" if found.about and found.phase == rollouts.UNTOUCHED else NODE_WORDS.get(found.phase, found.phase)
    label = f"      {found.node}{' (canary)' if found.canary else ''}"
    if found.phase == rollouts.HELD:
        return both([row(label, word, found.seconds)])
    if found.phase in (rollouts.RETURNING, rollouts.BROKEN) or found.about or found.lines:
        head = row_of(label, f"{word}: {found.about}" if found.about else word)
        return both([*head, *(f"      {found.node}  {line.lstrip()}" for line in found.lines)])
    return aside(row(label, word, found.seconds))


def nodes(found: NodesDid) -> list[str]:
    """Return what some nodes answered to a plan or a task."""
    named = " ".join(found.nodes[:NODES])
    named += f" and {len(found.nodes) - NODES} more" if len(found.nodes) > NODES else ""
    did = "done"
    if found.kind == "plan":
        did = f"{count(found.changes, 'state')} would change" if found.changes else "nothing would change"
        did += f", {found.failed} FAILED" if found.failed else ""
    head = row_of(f"      {named}", f"FAILED: {found.reason}" if found.reason else did)
    more = [f"        … {count(found.more, 'more line')} …"] if found.more else []
    deeper = 2 if found.kind == "plan" else 8  # the lines of a task begin at the left
    return [*head, *indent(list(found.lines), deeper), *more]


NODE_WORDS: Mapping[str, str] = {
    rollouts.HELD: "healthy", rollouts.RETURNING: "FAILED", rollouts.BROKEN: "THE ROLLBACK FAILED",
    rollouts.BACK: "rolled back", rollouts.LIVE: "live",
}  # fmt: skip


# lists


@dataclass(frozen=True)
class Sort:
    """How things of one sort are listed: the line of each, and how many on a terminal and in the whole log."""

    line: Callable[[Item], str]
    terminal: int = SCREEN
    whole: int = 0  # if more than on a terminal
    full: Callable[[Item], str] | None = None  # the line in the whole log


LISTS: Mapping[str, Sort] = {
    "commits": Sort(lambda one: f"      {middle(one.text, FITS - 6)}"),
    "files": Sort(lambda one: file_row(one.mark, one.text, one.detail)),
    "cfg": Sort(lambda one: f"      cfg {one.text}"),
    "lacks": Sort(lambda one: f"      lacks {shown(one.text, 60)}"),
    "edited": Sort(lambda one: f"      edited {shown(one.text, 60)}", 20),
    "replaced": Sort(lambda one: f"        replaced {one.text}", 0, SCREEN),
    "processes": Sort(lambda one: f"        pid {one.mark}: {one.text}", 0, SCREEN),
    "changed": Sort(lambda one: f"        changed while it was read: {shown(one.text, NAMED)}", 5, ITEMS),
    "taken back": Sort(lambda one: f"      restored: {one.text}", 5),
    "differs": Sort(lambda one: f"        {shown(one.text, NAMED)}", 5, ITEMS, lambda one: f"        {one.text}"),
}


def things(found: Listed) -> list[Line]:
    """Return a list, a line for each thing."""
    sort = LISTS.get(found.what, Sort(lambda one: f"      {found.what}: {one.text}"))
    texts = [sort.line(item) for item in found.items]
    lines = both(_head(found))
    if found.what == "commits":
        return lines + both([*texts, *(["      … and older ones"] if found.total > len(texts) else [])])
    if sort.terminal:
        lines += both(ends(texts, sort.terminal, found.total))
    if found.total > sort.terminal and sort.whole:
        full = [(sort.full or sort.line)(item) for item in found.items]
        lines += aside(*ends(full, sort.whole, found.total))
    return lines


def _head(found: Listed) -> list[str]:
    if found.what != "differs":
        return []
    differ = f"{count(found.total, 'file differs', 'files differ')} from the archive"
    return [f"      again: {middle(found.about, FITS - 15 - len(differ))}  {differ}"]


# the outcome


def verdict(found: Verdict) -> list[Line]:
    """Return the last lines of a deployment."""
    if found.how == "late":
        word = "success" if state_of(found.state).succeeded else "error"
        said = [f"{word}: {found.reason or found.kind} ({outcome(found.state)})"]
    else:
        said = ENDINGS.get(found.state, _error)(found)
    lines = both([line for text in said for line in text.split("\n")])
    if found.hint:
        lines.append(Line(f"hint: {found.hint}"))
    if found.see_log:
        lines.append(Line(f"hint: the whole log: {found.see_log}", TERMINAL))
    return lines


def _live(found: Verdict) -> list[str]:
    took = f", {found.seconds:.1f} s" if found.seconds is not None else ""
    head = f"success: {found.project} is live at {short(found.commit)} (deployment {found.number}{took})"
    return [head, *(f"  {url}" for url in found.urls)]


def _done(found: Verdict) -> list[str]:
    what = FINISHED.get(found.kind)
    return [f"success: {what(found) if what else f'{found.kind} is done'}"]


FINISHED: Mapping[str, Callable[[Verdict], str]] = {  # kind -> what is done
    "plan": lambda found: "a plan only: nothing was changed",
    "task": lambda found: f"task {found.task} is done",
    "edit": lambda found: f"{found.project} runs with these edits; they are not committed yet",
    "repair": lambda found: f"{found.project} is repaired, at {short(found.commit)}",
}


def _rolled_back(found: Verdict) -> list[str]:
    if found.how == "nodes":
        return [complaint("error", found.reason)]
    where = short(found.commit) if found.commit else "the empty project"
    kept = f"kept: archive {found.number}" if found.kept else "not kept"
    return [f"rolled back to {where}; the failed tree is {kept}"]


def _broken(found: Verdict) -> list[str]:
    if found.how in ("fault", "nodes"):
        return [complaint("error", found.reason)]
    return [
        complaint("error", f"THE ROLLBACK FAILED: {found.reason}"),
        complaint("error", f"{found.project} is broken; nothing was deleted, pushes are refused until it is repaired"),
    ]


def _error(found: Verdict) -> list[str]:
    said = [complaint("error", found.reason)]
    if found.how == "left":
        said.append(
            f"dev: the tree of deployment {found.number} is left in place;"
            f" {found.branch} is still at {short(found.live)}"
        )
    return said


ENDINGS: Mapping[str, Callable[[Verdict], list[str]]] = {
    "deployed": _live,
    "done": _done,
    "rolled_back": _rolled_back,
    "broken": _broken,
}
