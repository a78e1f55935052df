"""Reports on projects, made by the command if it can read the store, else by the daemon."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import yaml

from corpushooks import git, tree
from corpushooks.core import command, hints
from corpushooks.core.deployment import Deployment, ProjectRow
from corpushooks.core.errors import ConfigError, CorpusError, DoorError, Fault, LogError, UsageError
from corpushooks.core.hints import Advice, Hint
from corpushooks.core.text import shown
from corpushooks.host import address, parts
from corpushooks.host.site import Site
from corpushooks.protocol.gives import (
    Addresses,
    Archive,
    Backup,
    Command,
    Difference,
    Metrics,
    OfHistory,
    Statistics,
    plain,
)
from corpushooks.release import assigned
from corpushooks.reports import inspection, on_nodes, statistics
from corpushooks.reports.report import Report
from corpushooks.reports.variables import listed
from corpushooks.screen import view
from corpushooks.store import log
from corpushooks.store.kept import COLUMNS, Backups, Kept
from corpushooks.store.ran import Commands

NONE = Hint("no projects: ", hints.command("init", "NAME"))
MOST = 1_000_000  # deployments listed
STATS, LOGS = 500, 50  # deployments counted, and logs read

Spell = Callable[[Advice], str]  # spells commands for the caller


def status(site: Site, rows: Sequence[ProjectRow], spell: Spell, *, urls: bool, one: bool) -> Report:
    """Report the status of projects; with `urls` also their remotes and addresses; `one`: of one project."""
    found, lines = [], []
    for row in rows:
        places = address.urls(site.host.project(row.name), site.settings) if urls else {}
        answers = site.history.addresses(row.name) if urls else []
        seen = inspection.status(site, row, spell)
        code, pillar = places.get("code_url"), places.get("pillar_url")
        found.append(replace(seen, code_url=code, pillar_url=pillar, urls=answers) if urls else seen)
        said = (spell(line) for line in view.status(plain(found[-1]), time.time()))
        lines += [*said, *(f"  {place}" for place in [*places.values(), *answers])]
    return Report(found[0] if one else found, lines or [spell(NONE)])


def addresses(site: Site, row: ProjectRow, *, needed: bool) -> Report:
    """Report the addresses of a project; if they are `needed`, none is an error."""
    found = site.history.addresses(row.name)
    if needed and not found:
        what = f"{row.name} has no addresses" if row.live else f"nothing is live in {row.name}; it has no addresses"
        raise CorpusError(what, hint=Hint("list them in `urls` next to data: ", hints.command("help", "claims")))
    return Report(Addresses(project=row.name, urls=found), found)


def history(site: Site, row: ProjectRow, limit: int) -> Report:
    """Report the newest `limit` deployments of a project, newest first."""
    found = site.history.deployments(row.name, min(limit, MOST))
    lines = [view.history_row(each, live=each.number == row.live) for each in found]
    nodes = on_nodes.outcomes(site, found)
    value = [
        OfHistory(**each.as_json(), live=each.number == row.live, nodes=nodes.get(each.number, [])) for each in found
    ]
    return Report(value, lines or [f"{row.name} was never deployed"])


def deployment(site: Site, row: ProjectRow, number: int) -> Report:
    """Report one deployment of a project (0: the newest)."""
    found = site.history.deployment(row.name, number) if number else site.history.last(row.name)
    live, nodes = found.number == row.live, on_nodes.outcomes(site, [found]).get(found.number, [])
    return Report(OfHistory(**found.as_json(), live=live, nodes=nodes), [view.history_row(found, live=live)])


def commands(site: Site, row: ProjectRow, limit: int) -> Report:
    """Report the newest `limit` commands run as the application, newest first."""
    found = Commands(site.history).newest(row.name, min(limit, MOST))
    lines = [command.row(each) for each in found]
    return Report([Command(**each.as_json()) for each in found], lines or [f"no command was run in {row.name}"])


def config(site: Site, row: ProjectRow, *, origin: bool, secrets: bool) -> Report:
    """Report the cfg of a project; with `origin` the source of each value, with `secrets` unmasked."""
    with tempfile.TemporaryDirectory(prefix="corpus-") as folder:
        cfg = inspection.cfg(site, row, Path(folder), secrets=secrets)
    if not origin:
        return Report(cfg.values, _own_values_first(cfg))
    columns = [(path, each["layer"], each["file"]) for path, each in cfg.origin.items()]
    paths, layers = (max(len(column[place]) for column in columns) for place in (0, 1))
    return Report(cfg.origin, [f"{path:<{paths}}  {layer:<{layers}}  {file}".rstrip() for path, layer, file in columns])


def variables(site: Site, row: ProjectRow, spell: Spell) -> Report:
    """Report the set variables in the newest commit of a project's pillar; secrets are masked."""
    data = listed(site, row)
    nothing = Hint("nothing is set: ", hints.command("set", row.name, "KEY=VALUE"))
    return Report(data, list(assigned.lines(data)) or [spell(nothing)])


def _own_values_first(cfg: inspection.Seen) -> list[str]:
    """Return a cfg as YAML: the project's own values, then the names, paths and flags of every project."""
    said = {path.partition(".")[0] for path, each in cfg.origin.items() if each["layer"] != "built-in"}
    own = {key: value for key, value in cfg.values.items() if key in said or key == "data"}
    rest = {key: value for key, value in cfg.values.items() if key not in own}
    texts = (yaml.safe_dump(part, sort_keys=True, allow_unicode=True).rstrip() for part in (own, rest))
    return ["\n\n# names, paths and flags\n".join(texts)]


def archives(site: Site, row: ProjectRow) -> Report:
    """Report the archives of a project, newest first: the tree before a deployment, and failed trees."""
    found = []
    for number, path in parts.numbered(site.host.project(row.name)):
        found.append(_archive(site, row, path, number))
    found.sort(key=lambda one: -one.number)
    lines = [
        f"{one.number:>5}  {one.name}  before: {view.short(one.commit)}"
        f"{'  failed tree: ' + view.short(one.failed) if one.failed else ''}"
        f"{'' if one.whole else '  cannot be restored'}"
        for one in found
    ]
    return Report(found, lines or [f"{row.name} has no archives"])


def _archive(site: Site, row: ProjectRow, path: Path, number: int) -> Archive:
    deployment = site.history.deployment(row.name, number) if number <= site.history.newest(row.name) else None
    failed = (path / "project.failed").exists()
    return Archive(
        number=number,
        name=path.name,
        path=str(path),
        whole=tree.is_whole(path / "project"),
        commit=deployment.old_code if deployment else None,
        failed=deployment.new_code if deployment and failed else None,
    )


def backups(site: Site, row: ProjectRow, limit: int) -> Report:
    """Report the newest `limit` backups of a project, with failed ones, newest first."""
    kept = {one.number: one for one in Backups(site.history).of(row.name)}
    tried = [one for one in site.history.deployments(row.name, MOST) if one.request.sort.keeps and one.final]
    numbers = sorted({*kept, *(one.number for one in tried if not one.succeeded)}, reverse=True)[:limit]
    ended = {one.number: one for one in tried}
    found = [_backup(number, kept.get(number), ended.get(number)) for number in numbers]
    return Report(found, [view.backup_row(plain(one)) for one in found] or [f"{row.name} has no backups"])


def _backup(number: int, kept: Kept | None, ended: Deployment | None) -> Backup:
    """Return one backup for JSON, complete or failed."""
    about = kept.as_json() if kept else dict.fromkeys(COLUMNS)
    said = {"at": ended.started or ended.queued, "project": ended.project} if ended and not kept else {}
    reason = ended.reason if ended and not kept else ""
    return Backup(**{**about, **said, "number": number, "whole": kept is not None, "reason": reason})


def stats(site: Site, rows: Sequence[ProjectRow], spell: Spell) -> Report:
    """Report success rates, durations and slow SLS files of projects."""
    found = []
    for row in rows:
        deployments = site.history.deployments(row.name, STATS)
        took = [pair for one in deployments[:LOGS] for pair in _install_times(site, one)]
        found.append(statistics.figures(row.name, deployments, took))
    lines = [line for one in found for line in statistics.lines(one)]
    return Report([Statistics(**one.as_json()) for one in found], lines or [spell(NONE)])


def _install_times(site: Site, deployment: Deployment) -> list[tuple[str, float]]:
    path = site.host.project(deployment.project).log_file(deployment.number)
    with suppress(LogError):  # reported as a fault
        return statistics.install_times(record.event for record in log.read(path))
    return []


def metrics(site: Site, rows: Sequence[ProjectRow]) -> Report:
    """Report metrics of projects for Prometheus."""
    found = [(inspection.status(site, row, str), site.history.deployments(row.name)) for row in rows]
    ages = {row.name: _backup_gauges(Backups(site.history).of(row.name), time.time()) for row in rows}
    lines = statistics.metrics(found, ages)
    return Report(Metrics(text="".join(f"{line}\n" for line in lines)), lines)


def _backup_gauges(found: Sequence[Kept], now: float) -> dict[str, float]:
    """Return the gauges for the backups of a project, which are newest first."""
    drills = [one.drilled for one in found if one.drilled and not one.wrong]
    ages = {"drill_age_seconds": max(0.0, now - max(drills))} if drills else {}
    newest = {"backup_age_seconds": max(0.0, now - found[0].at), "backup_size_bytes": found[0].size} if found else {}
    return {**ages, **newest}


def diff(site: Site, row: ProjectRow, first: int, second: int) -> Report:
    """Report the differences in files and cfg between two deployments; 0: the defaults."""
    old, new = _pair_to_compare(site, row, first, second)
    project = site.host.project(row.name)
    files = git.differing(project.work_git, old.new_code, new.new_code or git.empty_tree(project.work_git))
    cfgs = inspection.cfg_of(site, row, old), inspection.cfg_of(site, row, new)
    changed = view.differences(*cfgs)
    head = f"deployment {old.number} -> {new.number}: "
    head += view.course(old.new_code, new.new_code, old.new_pillar, new.new_pillar, 0)
    lines = [head, *(f"  {letter} {shown(path)}" for letter, path in files), *(f"  cfg {line}" for line in changed)]
    return Report(Difference(old=old.number, new=new.number, files=list(files), cfg=list(changed)), lines)


def _pair_to_compare(site: Site, row: ProjectRow, first: int, second: int) -> tuple[Deployment, Deployment]:
    """Return the deployments to compare; the first defaults to the one live before the second."""
    last = second or row.live
    if last is None:
        raise UsageError(f"nothing is live in {row.name}", hint="git push first")
    new = site.history.deployment(row.name, last)
    old = site.history.deployment(row.name, first) if first else None
    old = old or site.history.before(new)
    if old is None:
        raise UsageError(f"nothing was live before deployment {last}", hint=hints.command("history", row.name))
    for one in (old, new):
        if one.new_code is None:
            raise UsageError(f"deployment {one.number} had nothing to deploy", hint=hints.command("history", row.name))
    return old, new


def warnings(site: Site, rows: Sequence[ProjectRow], spell: Spell) -> list[Fault]:
    """Return the faults in the files of projects, with their names, and commands spelled for the caller."""
    found = ((row.name, each) for row in rows for each in inspection.faults(site, row))
    return [Fault(f"{name}: {each.what}", spell(each.repair)) for name, each in found]


@contextmanager
def naming(site: Site, rows: Sequence[ProjectRow]) -> Iterator[None]:
    """Make errors name the project and a fault in its files."""
    try:
        yield
    except (CorpusError, OSError) as exc:
        if isinstance(exc, UsageError) and not isinstance(exc, ConfigError):
            raise
        raise _error_with_cause(site, rows, exc) from exc


def _error_with_cause(site: Site, rows: Sequence[ProjectRow], exc: CorpusError | OSError) -> CorpusError:
    """Return an error with the name of the project and, if its files have a fault, the cause."""
    wrong = [(row.name, each) for row in rows for each in inspection.faults(site, row)]
    said = parts.told(exc)
    hint = exc.hint if isinstance(exc, CorpusError) else hints.command("doctor")
    if not wrong:
        return exc if isinstance(exc, CorpusError) else DoorError(said, hint)
    (name, first), *_ = wrong
    more = "" if said in first.what else f"; {said}"
    return DoorError(f"{name}: {first.what}{more}", first.repair)
