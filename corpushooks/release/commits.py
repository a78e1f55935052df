"""Check whether a commit can be deployed, before anything runs or is touched."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from corpushooks import git, tree
from corpushooks.core.deployment import Request
from corpushooks.core.errors import RefusedError, UsageError
from corpushooks.core.hints import Hint, command
from corpushooks.core.project import Project, install_stems, task_names
from corpushooks.core.text import shown
from corpushooks.release.paths import flaw, strays
from corpushooks.release.release import SAMPLE

FIRST = Hint("add .salt/00_install.sls: ", command("help", "first-project"))
STEM = re.compile(r"[A-Za-z0-9_.+-]+")


def check_commit(
    project: Project, environment: str, code: str, request: Request, entries: git.Listing | None = None
) -> None:
    """Raise an error if a commit cannot be deployed; `entries` is its listing."""
    repo = project.code_git
    entries = git.listing_below(repo, code, ".salt") if entries is None else entries
    names = git.folder(entries, ".salt")
    if names is None:
        pillar = "init.sls" in (git.folder(git.listing(repo, code), "") or {})
        raise RefusedError(
            f"{code[:7]} has no .salt folder",
            hint=f"this looks like a pillar: push it to pillar.git (over ssh: {project.name}.pillar)"
            if pillar
            else FIRST,
        )
    read = _read(entries, environment)
    for message, hint in flaws(
        {name: mode == git.LINK for name, mode in {**read, SAMPLE: names.get(SAMPLE, 0)}.items()}
    ):
        raise RefusedError(f".salt/{message}", hint)
    if any(mode == git.LINK and path.startswith(".salt/") for mode, _, path in entries):
        check_links(repo, code, ".salt/")
    stems = install_stems(list(read))
    if not stems:
        raise RefusedError("no install SLS in .salt", hint=FIRST)
    unknown = [step for step in request.steps if step not in stems]
    if unknown:
        raise UsageError(f"steps={unknown[0]}: unknown install SLS", hint=f"install SLS: {' '.join(stems)}")


def _read(entries: git.Listing, environment: str) -> dict[str, int]:
    """Return name -> mode of the files in the folder of the SLS files of a commit."""
    own = git.folder(entries, f".salt/{environment}") or {}
    return own if any(name.endswith(".sls") for name in own) else git.folder(entries, ".salt") or {}


def sls_names(project: Project, environment: str, code: str) -> list[str]:
    """Return the names of the SLS files of a commit, which need not be deployed here."""
    read = _read(git.listing_below(project.code_git, code, ".salt"), environment)
    return [name for name, mode in read.items() if stat.S_ISREG(mode) and name.endswith(".sls")]


def flaws(names: Mapping[str, bool]) -> Iterator[tuple[str, str]]:
    """Yield faults in the names of SLS files, with what helps; `names` maps a name to whether it is a link."""
    for name, is_link in names.items():
        if is_link and (name == SAMPLE or name.endswith(".sls")):
            yield f"{shown(name)} is a symbolic link", "links are not followed; commit the file itself"
        elif not STEM.fullmatch(name) and name.endswith(".sls"):
            yield f"{shown(name)}: invalid SLS name", "use letters, digits, - and _"
    for stem in install_stems(list(names)):
        if "." in stem:
            yield f"{shown(stem)}.sls: Salt reads a dot in the name as a folder", "rename it without the dot"


def check_links(repo: Path, commit: str, where: str) -> None:
    """Refuse a commit with links below `where` (".salt/", "": anywhere) that lead out of it."""
    out = strays(git.links(repo, git.listing(repo, commit)), where)
    if out:
        raise RefusedError(f"{shown(out[0])} is a link that leads out of the commit", hint="commit the file itself")


def check_paths(repo: Path, commit: str, entries: git.Listing) -> None:
    """Refuse a commit that cannot be checked out, before anything is touched."""
    wrong = git.refusal(repo, commit) or flaw((path for _, _, path in entries), tree.DEPTH)
    if wrong:
        raise RefusedError(f"{commit[:7]} cannot be checked out: {shown(wrong)}", hint="for details: git fsck")


def check_pillar_commit(repo: Path, commit: str) -> git.Listing:
    """Refuse a commit of pillar.git that cannot be checked out, or has links out of it; return its listing."""
    entries = git.listing(repo, commit)
    check_paths(repo, commit, entries)
    check_links(repo, commit, "")
    return entries


def check_task(names: list[str], task: str) -> None:
    """Raise UsageError for an unknown task."""
    known = task_names(names)
    if task not in known:
        raise UsageError(f"unknown task {task!r}", hint=f"tasks: {' '.join(known) or 'none'}")
