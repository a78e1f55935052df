"""The wiring: the links by which Salt sees a project, its line in the pillar's top file, and its modules.

Links are made aside and renamed into place; correct ones are left alone, and other files are never removed. Shared
files are changed under one lock.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from corpushooks.core.errors import DoorError
from corpushooks.core.project import MODULE_KINDS, Host, Project
from corpushooks.system import disk, safe_files

MARK = "# corpushooks"
TARGET = f"'**':  {MARK}"
TOP_HINT = "in the pillar's top.sls, write `base:` on its own line, with its targets below"


def wire(project: Project, environment: str) -> None:
    """Create or repair the wiring of a project."""
    with _shared(project.host):
        link(project.salt_link, Path("git/stage/.salt"))
        link(project.wired_salt, states_dir(project, environment))
        link(project.wired_pillar, project.pillar_stage)
        _list_in_top(project, wanted=(project.pillar_stage / "init.sls").is_file())
        _wire_modules(project)


def unwire(project: Project) -> None:
    """Remove the wiring of a project; its own folders stay."""
    with _shared(project.host):
        for path in (project.wired_salt, project.wired_pillar):
            if path.is_symlink():
                path.unlink()
        _list_in_top(project, wanted=False)
        for folder in _shared_module_dirs(project.host):
            _drop_links(folder, project, keep=set())


def states_dir(project: Project, environment: str) -> Path:
    """Return the folder of a project's SLS files: .salt, or .salt/ENVIRONMENT if that has any."""
    own = project.salt_link / environment
    return own if _has_sls(own) else project.salt_link


def _has_sls(folder: Path) -> bool:
    return folder.is_dir() and not folder.is_symlink() and any(p.suffix == ".sls" for p in folder.iterdir())


@contextmanager
def _shared(host: Host) -> Iterator[None]:
    host.locks_dir.mkdir(parents=True, exist_ok=True)
    with (host.locks_dir / "wiring.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def link(path: Path, target: Path) -> bool:
    """Make `path` a link to `target`; return whether anything changed. Raise DoorError if it is not a link."""
    if path.is_symlink() and os.readlink(path) == str(target):
        return False
    if path.exists() and not path.is_symlink():
        raise DoorError(f"cannot link {path} to {target}: the path exists", hint=f"move {path} away")
    path.parent.mkdir(parents=True, exist_ok=True)
    safe_files.link(path, str(target))
    return True


# the pillar's top file


def top_text(text: str, name: str, *, wanted: bool) -> str:
    """Return the text of a top.sls with or without the line of a project; other lines stay.

    Our lines are under a target of our own, '**', which matches the same as '*'. Raise DoorError if the file has a form
    to which no line can be added.
    """
    lines = [line for line in text.splitlines() if line.strip() != _entry(name)]
    if wanted:
        at, indent = _place(lines)
        lines.insert(at, indent + _entry(name))
    return _checked(_without_empty_targets(lines))


def only_own(text: str, name: str) -> str:
    """Return the text of a top.sls without the lines of other projects, whose secrets must stay hidden."""
    return _without_empty_targets(
        [line for line in text.splitlines() if not _is_entry(line) or line.strip() == _entry(name)]
    )


def _entry(name: str) -> str:
    return f"- makina-projects.{name}  {MARK}"


def _is_entry(line: str) -> bool:
    return line.lstrip().startswith("- makina-projects.") and line.endswith(MARK)


def _place(lines: list[str]) -> tuple[int, str]:
    """Return the position and indentation of our entries, adding our target if it is missing."""
    base = next((i for i, line in enumerate(lines) if re.fullmatch(r"(['\"]?)base\1\s*:\s*(#.*)?", line)), None)
    if base is None:
        lines += [f"base:  {MARK}", f"  {TARGET}"]
        return len(lines), "    "
    inner = (re.match(r" +(?=[^\s#])", line) for line in lines[base + 1 :])
    indent = next((found[0] for found in inner if found), "  ")
    if indent + TARGET not in lines:
        lines.insert(base + 1, indent + TARGET)
    return lines.index(indent + TARGET) + 1, indent + "  "


def _without_empty_targets(lines: list[str]) -> str:
    """Return lines as text, without our targets that have no entries left: Salt refuses empty ones."""
    kept: list[str] = []
    for line in reversed(lines):
        place = line.endswith(f":  {MARK}")
        if not place or (kept and _depth(kept[-1]) > _depth(line)):
            kept.append(line)
    return "".join(f"{line}\n" for line in reversed(kept))


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())


def _checked(text: str) -> str:
    """Check that text is valid YAML; text with Jinja is not checked."""
    if "{%" in text or "{{" in text:
        return text
    try:
        root = yaml.compose(text)
    except yaml.YAMLError as exc:
        raise DoorError(f"top.sls: {exc}", hint=TOP_HINT) from exc
    keys = [key.value for key, _ in root.value] if isinstance(root, yaml.MappingNode) else []
    if len(keys) != len(set(keys)):
        raise DoorError("top.sls: cannot add an entry to base in this form", hint=TOP_HINT)
    return text


def _list_in_top(project: Project, *, wanted: bool) -> None:
    top = project.host.pillar_dir / "top.sls"
    text = top.read_text() if top.exists() else ""
    new = top_text(text, project.name, wanted=wanted)
    if new != text:
        top.parent.mkdir(parents=True, exist_ok=True)
        disk.write_file(top, new.encode(), 0o644)


# modules


def modules_of(states: Path) -> dict[str, list[Path]]:
    """Return loader folder -> modules of a project; links and folders do not count."""
    found: dict[str, list[Path]] = {}
    for kind in MODULE_KINDS:
        folder = states / kind
        if folder.is_dir() and not folder.is_symlink():
            files = [p for p in sorted(folder.iterdir()) if p.suffix == ".py" and not p.is_symlink() and p.is_file()]
            found[kind] = files
    return found


def link_modules(name: str, states: Path, target: Path) -> dict[str, set[str]]:
    """Link each module of `states` into the loader folders of `target` twice, foo.py and NAME_foo.py.

    Return loader folder -> the names linked there.
    """
    linked: dict[str, set[str]] = {}
    for kind, files in modules_of(states).items():
        names = linked.setdefault(kind, set())
        for file in files:
            for alias in (file.name, f"{name}_{file.name}"):
                if not _is_of_administrator(target / kind / alias):
                    link(target / kind / alias, file)
                    names.add(alias)
    return linked


def _is_of_administrator(path: Path) -> bool:
    """Return whether a module belongs to no project: it is the administrator's, and stays."""
    return os.path.lexists(path) and not (path.is_symlink() and "/.salt/" in os.readlink(path))


def _wire_modules(project: Project) -> None:
    shared = link_modules(project.name, project.salt_link, project.host.salt_dir)
    for folder in _shared_module_dirs(project.host):
        _drop_links(folder, project, keep=shared.get(folder.name, set()))
    own = loader_dir(project)
    kept = link_modules(project.name, project.salt_link, own)
    for kind in MODULE_KINDS:
        if (own / kind).is_dir():
            _drop_links(own / kind, project, keep=kept.get(kind, set()))


def loader_dir(project: Project) -> Path:
    """Return the folder of the loader folders that only this project's deployments use."""
    return project.minion_dir / "modules"


def _shared_module_dirs(host: Host) -> list[Path]:
    return [host.salt_dir / kind for kind in MODULE_KINDS if (host.salt_dir / kind).is_dir()]


def _drop_links(folder: Path, project: Project, keep: set[str]) -> None:
    """Remove obsolete links to this project's modules."""
    mine = f"{project.salt_link}/"
    for path in folder.iterdir():
        if path.name not in keep and path.is_symlink() and os.readlink(path).startswith(mine):
            path.unlink()
