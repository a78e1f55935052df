"""The command that checks projects and folders, and fixes some findings."""

from __future__ import annotations

import difflib
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from corpushooks.checks import fixes, packages
from corpushooks.checks.finding import Finding, errors, warnings
from corpushooks.cli.base import JSON, Context, show, warn
from corpushooks.core.errors import CorpusError, UsageError
from corpushooks.core.hints import Advice, Hint, command
from corpushooks.release import contents
from corpushooks.reports import checkup
from corpushooks.reports.checkup import Checked
from corpushooks.reports.reports import naming
from corpushooks.reports.reports import warnings as warnings_of
from corpushooks.system import apt, disk


@click.command()
@click.argument("targets", metavar="NAME|PATH...", nargs=-1, required=True)
@click.option("--strict", is_flag=True, help="Fail on warnings, too.")
@click.option("--fix", is_flag=True, help="Show a diff of what can be fixed automatically in the SLS files.")
@click.option("--write", is_flag=True, help="With --fix: write the changes.")
@JSON
@click.pass_obj
def check(context: Context, targets: tuple[str, ...], strict: bool, fix: bool, write: bool, as_json: bool) -> None:
    """Check whether projects or folders would deploy.

    A folder is a path with a slash: ./hello. Each file is read, rendered and compiled with the cfg. No state runs, and
    no command called from Jinja. The exit code is 1 if a deployment would fail, else 0.
    """
    if fix:
        sys.exit(_fix([_folder(target) for target in targets], write=write))
    if write:
        raise UsageError("--write needs --fix", hint=command("check", "--fix", "--write", "./hello"))
    found = list(_checked(context, targets))
    if as_json:
        told = [_json(target, each) for target, each in zip(targets, found, strict=True)]
        show(True, told if len(told) > 1 else told[0], [])
    else:
        show(False, None, _lines(found[0]) if len(found) == 1 else _table(targets, found, context.host.spell))
    sys.exit(1 if any(each.wrong(strict=strict) for each in found) else 0)


def _checked(context: Context, targets: Sequence[str]) -> Iterator[Checked]:
    """Check each target; of several, one that cannot be checked counts as wrong, and the others are still checked."""
    paths = [target for target in targets if is_path(target)]
    with tempfile.TemporaryDirectory(prefix="corpus-") as folder:
        trees = [Path(path).absolute() for path in paths]
        of_folders = checkup.check_folders(trees, context.settings().environment, Path(folder) / "folders")
        for number, target in enumerate(targets):
            if is_path(target):
                yield next(of_folders)
            else:
                yield _project(context, target, Path(folder) / str(number), alone=len(targets) == 1)


def _project(context: Context, name: str, folder: Path, *, alone: bool) -> Checked:
    try:
        _, row = context.known(name)
    except CorpusError as exc:
        if Path(name).is_dir():
            exc.hint = Hint("for the folder: ", command("check", f"./{name}"))
        if alone:
            raise
        return Checked(name, (), (Finding("name", name, None, exc.message, context.host.spell(exc.hint)),))
    folder.mkdir()
    site = context.site()
    with naming(site, [row]):
        checked = checkup.check_project(site, row, folder)
    warn(warnings_of(site, [row], context.host.spell))
    return checked


def is_path(target: str) -> bool:
    return "/" in target or target in (".", "..")


def _folder(target: str) -> Path:
    if not is_path(target):
        raise UsageError(
            f"--fix works on folders; {target} is the name of a project", command("check", "--fix", f"./{target}")
        )
    if not (Path(target) / ".salt").is_dir():
        raise UsageError(f"{target} has no .salt folder", hint="add .salt/00_install.sls")
    return Path(target)


# output


def _lines(found: Checked) -> list[str]:
    lines = []
    for file, said in found.by_file().items():
        lines += [f"warning: {each.text}" if not each.is_error else each.text for each in said]
        if not said:
            lines.append(f"{file.removeprefix('.salt/').removeprefix('pillar/')}: fine")
    return lines


def _table(targets: Sequence[str], found: Sequence[Checked], spell: Callable[[Advice], str]) -> list[str]:
    """Return a line for each target: whether it would deploy, and its findings by kind."""
    width = max(len("project"), *(len(target) for target in targets))
    lines = [f"{'project'.ljust(width)}  deploys  errors  warnings  kinds"]
    for target, each in zip(targets, found, strict=True):
        wrong, odd = len(errors(each.findings)), len(warnings(each.findings))
        kinds = Counter(finding.kind for finding in each.findings)
        named = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
        verdict = "no" if wrong else "yes"
        lines.append(f"{target.ljust(width)}  {verdict.ljust(7)}  {wrong:>6}  {odd:>8}  {named}".rstrip())
    return [*lines, spell(Hint("for file and line, check one alone: ", command("check", targets[0])))]


def _json(target: str, found: Checked) -> dict[str, Any]:
    return {
        "target": target,
        "problems": [each.text for each in errors(found.findings)],
        "findings": [each.as_json() for each in found.findings],
        "files": [
            {
                "file": file,
                "problems": [each.text for each in errors(said)],
                "warnings": [each.text for each in warnings(said)],
            }
            for file, said in found.by_file().items()
        ],
    }


# --fix


def _fix(folders: Sequence[Path], *, write: bool) -> int:
    """Show what can be fixed in folders, and write it if asked to; return the exit code."""
    texts = {path: contents.bytes_of(path) for folder in folders for path in _sls(folder)}
    read = {path: data.decode() for path, data in texts.items() if data is not None and _is_text(data)}
    names = {each.name for text in read.values() for each in packages.declared(text)}
    known = apt.candidates(packages.asked(names))
    changed = {path: new for path, text in read.items() if (new := fixes.fix(text, known)) != text}
    for path, new in changed.items():
        click.echo("".join(_diff(str(path), read[path], new)), nl=False)
        if write:
            disk.write_file(path, new.encode(), path.stat().st_mode & 0o7777)
    if not changed:
        click.echo("nothing to fix")
    elif not write:
        click.echo("nothing written; add --write to write it")
    return 0


def _sls(folder: Path) -> list[Path]:
    """Return the SLS files of a folder, without symbolic links."""
    found = sorted((folder / ".salt").rglob("*.sls"))
    return [path for path in found if path.is_file() and not path.is_symlink()]


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _diff(name: str, old: str, new: str) -> Iterator[str]:
    lines = difflib.unified_diff(old.splitlines(keepends=True), new.splitlines(keepends=True), name, name)
    return (line if line.endswith("\n") else f"{line}\n" for line in lines)


COMMANDS = (check,)
