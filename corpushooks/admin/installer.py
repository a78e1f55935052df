"""Installers: folders of templates that become the first commit of a project."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from corpushooks.core.errors import UsageError
from corpushooks.core.project import install_stems
from corpushooks.core.text import shown

BUILT_IN = Path(__file__).parents[1] / "share/installers"
SUFFIX = ".jinja"  # of files to render; all others are copied
LEFT_OUT = frozenset({".git", "__pycache__"})
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def known() -> list[str]:
    """Return the names of the built-in installers."""
    return sorted(path.name for path in BUILT_IN.iterdir() if (path / ".salt").is_dir())


def is_folder(installer: str) -> bool:
    """Say whether an installer is given as the path of a folder."""
    return "/" in installer or installer in (".", "..")


def find(installer: str) -> Path:
    """Return the folder of an installer, built-in or given by its path; raise UsageError."""
    if not is_folder(installer):
        if installer not in known():
            raise UsageError(
                f"unknown installer {shown(installer)!r}",
                hint=f"use one of: {' '.join(known())}; or the path of a folder, with a / in it",
            )
        return BUILT_IN / installer
    folder = Path(installer).resolve()
    if not folder.is_dir():
        raise UsageError(f"the installer {shown(installer)} is not a folder", hint=f"built in: {' '.join(known())}")
    if not NAME.fullmatch(folder.name):
        raise UsageError(f"invalid installer name {shown(folder.name)!r}", hint="use letters, digits, - and _")
    return folder


def render(folder: Path, tree: Path, about: Mapping[str, str]) -> None:
    """Write the files of an installer to the empty folder `tree`.

    Files whose name ends in .jinja are rendered with `about` and lose that suffix; all others are copied. Raise
    UsageError, with file and line, for errors.
    """
    for path in _files(folder):
        name = path.relative_to(folder)
        target = tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix != SUFFIX:
            shutil.copy(path, target)
            continue
        target = target.with_suffix("")
        if target.exists() or (folder / name.with_suffix("")).exists():
            raise UsageError(f"the installer has both {shown(str(name))} and {shown(str(name.with_suffix('')))}")
        target.write_text(_rendered(path, name, about), encoding="utf-8")
        shutil.copymode(path, target)
    salt = tree / ".salt"
    if not install_stems([path.name for path in salt.iterdir()] if salt.is_dir() else []):
        raise UsageError(f"the installer {shown(folder.name)} has no install SLS", hint="add .salt/300_app.sls")


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of an installer; raise UsageError for anything that is neither a file nor a folder."""
    for path in sorted(folder.iterdir()):
        if path.name in LEFT_OUT:
            continue
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise UsageError(f"{shown(str(path))} in the installer is not a regular file", hint="use a regular file")
        if path.is_dir():
            yield from _files(path)
        else:
            yield path


def _rendered(path: Path, name: Path, about: Mapping[str, str]) -> str:
    import jinja2.sandbox  # here, to save the time and memory elsewhere

    environment = jinja2.sandbox.SandboxedEnvironment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    try:
        return environment.from_string(path.read_text(encoding="utf-8")).render(about)
    except (jinja2.TemplateError, TypeError, ArithmeticError, ValueError) as exc:  # these are raised by templates
        line = exc.lineno if isinstance(exc, jinja2.TemplateSyntaxError) else _line(exc)
        raise UsageError(f"the installer's {shown(str(name))}{f' line {line}' if line else ''}: {exc}") from exc


def _line(exc: BaseException) -> int | None:
    """Return the template line where an exception was raised."""
    trace, line = exc.__traceback__, None
    while trace:
        line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == "<template>" else line
        trace = trace.tb_next
    return line
