"""Edits: changes made by hand in project/ and pillar/, which are in no commit.

Changes by deployments themselves are recorded (`made`), as are edits already deployed (`ran`): both with size and
time, so that a file that changes again counts again.
"""

from __future__ import annotations

import contextlib
import json
import stat
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

from corpushooks import git, tree
from corpushooks.core.errors import DoorError, RefusedError
from corpushooks.core.project import Project
from corpushooks.core.text import shown
from corpushooks.release.paths import strays
from corpushooks.system import disk
from corpushooks.system.patience import Check, endless

Commits = tuple["str | None", "str | None"]  # of project.git and of pillar.git
Stamps = tree.Drift  # path from the project's folder -> size and time

KEPT = "edits.json"  # in a project's minion_dir
READ = ("pillar/", "project/.salt/")  # sources of SLS files: rarely changed by them, often by people
OFTEN = 3  # times in a row that a file changes while edits are deployed, until it counts as changed by them
LIMIT = 64 << 20  # bytes of a file to compare with a commit
DROPPINGS = ("*~", "*.swp", "*.swx", "*.swo", ".#*", "#*#", "4913", "*.pyc", ".corpushooks.tmp", "*.kate-swp")
OWN_FOLDERS = {".git", ".hg", ".svn", "__pycache__"}  # of tools: changes there are not edits


@dataclass(frozen=True)
class Known:
    """What is known about the edits of a project since its last deployment."""

    ran: Stamps = field(default_factory=dict)
    made: Stamps = field(default_factory=dict)
    meanwhile: dict[str, int] = field(
        default_factory=dict
    )  # changed during deployments of edits, and how often in a row


def look(project: Project, check: Check = endless) -> Stamps:
    """Return all differences of project/ and pillar/ from the deployed commits."""
    there = project.stage.is_dir() and project.tree.is_dir()
    code = tree.drift(project.stage, project.tree, project.stamps, check) if there else {}
    return {f"project/{path}": stamp for path, stamp in code.items()} | {
        f"pillar/{path}": stamp
        for path, stamp in _pillar(project, check).items()
        if not is_dropping(PurePosixPath(path))
    }


def _pillar(project: Project, check: Check = endless) -> Stamps:
    """Return changed and additional files of pillar/."""
    if not (project.pillar_stage.is_dir() and project.pillar.is_dir()):
        return {}
    changed = tree.drift(project.pillar_stage, project.pillar, project.pillar_stamps, check)
    staged = {path for path, _ in tree.scan(project.pillar_stage, check).entries}
    there = [(path, entry) for path, entry in tree.scan(project.pillar, check).entries if entry.kind != "folder"]
    besides = {path: (entry.size, entry.mtime_ns) for path, entry in there if path not in staged}
    return dict(sorted((changed | besides).items()))


def counts(project: Project, path: Path) -> bool:
    """Say whether a change at `path` can be an edit: not an editor's temporary file, and not ignored by git."""
    if path.is_relative_to(project.pillar):
        return not is_dropping(PurePosixPath(path.relative_to(project.pillar)))
    if not path.is_relative_to(project.tree) or path == project.tree:
        return False
    inner = PurePosixPath(path.relative_to(project.tree))
    if is_dropping(inner):
        return False
    return is_tracked(project, path) or not git.ignored(project.stage, str(inner))


def is_dropping(path: PurePosixPath) -> bool:
    """Say whether a path is a temporary file of an editor or tool."""
    return bool(OWN_FOLDERS & set(path.parts)) or any(path.match(name) for name in DROPPINGS)


def is_tracked(project: Project, path: Path) -> bool:
    """Say whether a path of project/ is in the commit; all of pillar/ counts as tracked."""
    if path.is_relative_to(project.pillar):
        return True
    staged = project.stage / path.relative_to(project.tree)
    return staged.is_symlink() or staged.exists()


# the record


def known(project: Project) -> Known:
    """Return the record; an empty one if it is unreadable."""
    try:
        found = json.loads((project.minion_dir / KEPT).read_text())
        ran, made = ({str(path): tuple(stamp) for path, stamp in found[key].items()} for key in ("ran", "made"))
        return Known(ran, made, {str(path): int(times) for path, times in found["meanwhile"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Known()


def _keep(project: Project, what: Known) -> None:
    with contextlib.suppress(OSError):  # a full disk: unknown changes count as edits
        disk.write_file(project.minion_dir / KEPT, json.dumps(asdict(what)).encode())


def deployed(project: Project, named: Iterable[str], *, synced: bool, check: Check = endless) -> None:
    """Record that commits were deployed: all differences now were made by the deployment.

    Except edits that it left (if nothing was `synced`), and files saved in pillar/ and .salt meanwhile.
    """
    with contextlib.suppress(DoorError):  # somebody is writing there
        last, now = known(project), look(project, check)
        own = _changed_by_sls(project, last, named)
        made = {path: stamp for path, stamp in now.items() if path in own or (synced and not path.startswith(READ))}
        before = {path: stamp for path, stamp in last.ran.items() if now.get(path) == stamp}
        _keep(project, Known(before | made, made))


def changed_by(project: Project, before: Mapping[str, tuple[int, ...]], named: Iterable[str]) -> None:
    """Record that SLS files made the changes since `before`; except in files that they read, unless `named`."""
    with contextlib.suppress(DoorError):
        last, now = known(project), look(project)
        own = _changed_by_sls(project, last, named)
        changed = {path for path in before.keys() | now.keys() if before.get(path) != now.get(path)}
        changed = {path for path in changed if path in own or not path.startswith(READ)}
        ran, made = ({path: s for path, s in each.items() if path not in changed} for each in (last.ran, last.made))
        fresh = _stamps_of(now, changed)
        _keep(project, Known(ran | fresh, made | fresh, last.meanwhile))


def _changed_by_sls(project: Project, last: Known, named: Iterable[str]) -> set[str]:
    """Return the paths known to be changed by SLS files: `named` by states, or recorded before."""
    return {str(Path(name)).removeprefix(f"{project.dir}/") for name in named} | last.made.keys()


def ran(project: Project, before: Stamps, named: Iterable[str]) -> None:
    """Record that the edits seen `before` were deployed; `named` are paths changed by states meanwhile.

    Other changes meanwhile can be edits, and are deployed next, unless they happen each time.
    """
    last, after = known(project), look(project)
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    times = {path: last.meanwhile.get(path, 0) + 1 for path in changed}
    known_own = _changed_by_sls(project, last, named)
    own = {path for path in changed if path in known_own or times[path] >= OFTEN}
    made = {path for path in own if path not in before} | last.made.keys() - (changed - own)
    _keep(
        project,
        Known(
            ran={path: stamp for path, stamp in before.items() if path not in own} | _stamps_of(after, own),
            made=_stamps_of(after, made),
            meanwhile=times,
        ),
    )


def _stamps_of(stamps: Stamps, paths: Iterable[str]) -> Stamps:
    return {path: stamps[path] for path in paths if path in stamps}


def pending(project: Project) -> list[str]:
    """Return the edits that are not deployed yet, and deployed ones that were reverted."""
    now, done = look(project), known(project).ran
    return sorted(path for path in now.keys() | done.keys() if now.get(path) != done.get(path))


# edits that a deployment would overwrite


def overwritten(
    project: Project,
    old: git.Listing,
    new: git.Listing,
    pillar: git.Listing,
    check: Check = endless,
    commits: Commits = (None, None),
) -> list[str]:
    """Return the edits in project/ and pillar/ that are lost when `commits`, with these listings, are deployed.

    An edit that is also in the new commit is not lost.
    """
    made = known(project).made
    ours = [path for path, stamp in look(project, check).items() if made.get(path) != stamp]
    folders = {f"project/{path}" for mode, _, path in new if mode in (stat.S_IFDIR, git.SUBMODULE)}
    names = {f"project/{path}": name for _, name, path in new} | {f"pillar/{path}": name for _, name, path in pillar}
    before = {f"project/{path}" for _, _, path in old}
    fresh = [path for path in names if path.startswith("project/") and path not in before]
    found = [path for path in ours if not _has_content(project, path, names.get(path))]
    found += [path for path in fresh if _is_obstructed(project, path, path in folders, names[path])]
    converts = any(path.rpartition("/")[2] == ".gitattributes" for path in names)
    return sorted(set(found) - (_converted(project, found, names, commits) if converts else set()))


def _converted(project: Project, paths: Iterable[str], names: Mapping[str, str], commits: Commits) -> set[str]:
    """Return those of `paths` that equal a checkout of the commits, with .gitattributes applied."""
    same = set()
    for folder, commit in zip(("project", "pillar"), commits, strict=True):
        ours = [path.partition("/")[2] for path in paths if path.startswith(f"{folder}/") and path in names]
        if not ours or not commit:
            continue
        with tempfile.TemporaryDirectory(prefix="edits-", dir=project.minion_dir) as place:
            made = Path(place) / "made"
            made.mkdir()
            git.export_files(project.work_git, made, commit, ours)
            for inner in ours:
                wanted = tree.content_at(made, inner, LIMIT)
                if wanted is not None and wanted == tree.content_at(project.dir / folder, inner, LIMIT):
                    same.add(f"{folder}/{inner}")
    return same


def _is_obstructed(project: Project, path: str, is_folder: bool, name: str) -> bool:
    """Say whether something different exists where a commit has a folder or a file."""
    there = _kind(project, path)
    if is_folder or there in ("", "folder"):
        return there != "" and is_folder != (there == "folder")
    return not _has_content(project, path, name)


def _kind(project: Project, path: str) -> str:
    folder, _, inner = path.partition("/")
    return tree.kind_at(project.dir / folder, inner)


def _has_content(project: Project, path: str, name: str | None) -> bool:
    """Say whether the content at a path equals the blob `name` of a commit (None: nothing)."""
    folder, _, inner = path.partition("/")
    if name is None:  # a folder stays
        return _kind(project, path) in ("", "folder")
    content = tree.content_at(project.dir / folder, inner, LIMIT)
    return content is not None and git.blob_name(content, name) == name


def keep_pillar(project: Project, place: Path, check: Check = endless) -> None:
    """Copy pillar/ to `place` if it was edited; raise TreeError."""
    if _pillar(project, check):
        tree.snapshot(tree.scan(project.pillar, check), place, None, check)


def edited_salt(project: Project, folder: Path, check: Check = endless) -> Path:
    """Copy the edited project/.salt into `folder`, where Salt can read it; raise TreeError or RefusedError."""
    tree.remove(folder, check)
    folder.mkdir(parents=True, mode=0o700)
    found = tree.scan(project.tree / ".salt", check)
    if out := strays({path: entry.target for path, entry in found.entries if entry.kind == "link"}):
        raise RefusedError(f".salt/{shown(out[0])} is a link that leads out of it", hint="use the file itself")
    tree.snapshot(found, folder / "salt", None, check)
    return folder / "salt"


def edited_pillar(project: Project, folder: Path, check: Check = endless) -> Path:
    """Copy the edited pillar/ into `folder`, where Salt can read it; raise TreeError or RefusedError."""
    found = tree.scan(project.pillar, check)
    if out := strays({path: entry.target for path, entry in found.entries if entry.kind == "link"}):
        raise RefusedError(f"pillar/{shown(out[0])} is a link that leads out of it", hint="use the file itself")
    tree.snapshot(found, folder / "pillar", None, check)
    return folder / "pillar"
