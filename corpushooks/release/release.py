"""A release as Salt sees it: its SLS files, its pillar, which SLS files run, and its secrets.

The live release is seen through the wiring; a candidate is in its own folder, with a copy of Salt's roots made of
links, in which only this project's part is replaced.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from corpushooks import git
from corpushooks.core.errors import ConfigError, UsageError
from corpushooks.core.project import Project, install_stems
from corpushooks.core.redaction import Redactor
from corpushooks.core.settings import Settings
from corpushooks.host import wiring
from corpushooks.release import assigned
from corpushooks.salt import Minion, Problem, Session, State, text_of
from corpushooks.system import disk, hostname

SAMPLE = "PILLAR.sample"
PILLAR_FILE = 1 << 20  # bytes of a pillar file searched for secrets
SECRETS = "secrets.json"  # in a project's minion_dir


@dataclass(frozen=True)
class Release:
    """One version of a project's code and pillar, on disk."""

    project: Project
    environment: str
    salt: Path  # its .salt
    pillar: Path
    state_roots: tuple[Path, ...]
    pillar_roots: tuple[Path, ...]
    modules: Path
    minion_dir: Path

    @property
    def states(self) -> Path:
        """The folder of its SLS files: .salt, or .salt/ENVIRONMENT if that has any."""
        own = self.salt / self.environment
        linked = own.is_symlink() or not own.is_dir()
        return self.salt if linked or not any(p.suffix == ".sls" for p in own.iterdir()) else own

    @property
    def sample(self) -> Path | None:
        path = self.salt / SAMPLE
        return path if path.is_file() and not path.is_symlink() else None

    def names(self) -> list[str]:
        """Return the names of the files in the folder of its SLS files."""
        return (
            [p.name for p in self.states.iterdir() if p.is_file() and not p.is_symlink()]
            if self.states.is_dir()
            else []
        )

    def has(self, stem: str) -> bool:
        return f"{stem}.sls" in self.names()

    def install(self, steps: tuple[str, ...] = ()) -> list[str]:
        """Return the install SLS in order; with `steps` only those. Raise UsageError for unknown ones."""
        stems = install_stems(self.names())
        unknown = [step for step in steps if step not in stems]
        if unknown:
            raise UsageError(f"unknown install SLS {unknown[0]!r}", hint=f"install SLS: {' '.join(stems)}")
        return [stem for stem in stems if not steps or stem in steps]

    def minion(self, settings: Settings) -> Minion:
        """Return the minion configuration for a session on this release."""
        return Minion(
            name=self.project.name, dir=self.minion_dir, states=self.state_roots, pillars=self.pillar_roots,
            modules=self.modules, id=hostname.fqdn(), config=settings.minion,
            passwords=self.project.minion_dir / "passwords.json", writes=self.minion_dir == self.project.minion_dir,
        )  # fmt: skip


def live(project: Project, environment: str) -> Release:
    """Return the release that the wiring shows, with a pillar top of the host's entries plus this project."""
    own = project.minion_dir / "pillar"
    _own_top(project, own, wanted=None)
    return Release(
        project, environment, project.salt_link, project.pillar_stage,
        (project.host.salt_dir,), (own, project.host.pillar_dir), wiring.loader_dir(project), project.minion_dir,
    )  # fmt: skip


def exported(project: Project, environment: str, folder: Path, code: str | None, pillar: str | None) -> Release:
    """Return the files of two commits, exported into `folder` for reading only: Salt does not see them."""
    salt, pillar_tree = folder / "code/.salt", folder / "pillar"
    pillar_tree.mkdir(parents=True, exist_ok=True)
    if code:
        salt.mkdir(parents=True, exist_ok=True)
        git.export_part(project.work_git, folder / "code", code, ".salt")
    if pillar:
        git.export(project.work_git, pillar_tree, pillar)
    return _in_folder(project, environment, folder, salt, pillar_tree)


def candidate(project: Project, environment: str, folder: Path, code: str | None, pillar: str | None) -> Release:
    """Return the release of two commits, exported into the empty `folder`, as Salt would see it."""
    found = exported(project, environment, folder, code, pillar)
    return beside(project, environment, folder, found.salt, found.pillar)


def _in_folder(project: Project, environment: str, folder: Path, salt: Path, pillar: Path) -> Release:
    return Release(
        project, environment, salt, pillar, (folder / "salt-root",), (folder / "pillar-root",),
        folder / "modules", folder / "minion",
    )  # fmt: skip


def beside(project: Project, environment: str, folder: Path, salt: Path, pillar: Path) -> Release:
    """Return a release whose .salt and pillar are anywhere; the copy of Salt's roots goes to `folder`."""
    found = _in_folder(project, environment, folder, salt, pillar)
    _link_root(project.host.salt_dir, folder / "salt-root", project.name, found.states)
    _link_root(project.host.pillar_dir, folder / "pillar-root", project.name, pillar)
    (folder / "pillar-root/top.sls").unlink(missing_ok=True)
    _own_top(project, folder / "pillar-root", wanted=(pillar / "init.sls").is_file())
    wiring.link_modules(project.name, salt, folder / "modules")
    return found


def _link_root(root: Path, shadow: Path, name: str, target: Path) -> None:
    """Link the content of one of Salt's roots into `shadow`, with this project linked to `target`."""
    inner = shadow / "makina-projects"
    inner.mkdir(parents=True)
    for path in root.iterdir() if root.is_dir() else ():
        if path.name != "makina-projects" and not path.name.startswith("_"):
            (shadow / path.name).symlink_to(path)
    others = root / "makina-projects"
    for path in others.iterdir() if others.is_dir() else ():
        if path.name != name:
            (inner / path.name).symlink_to(path)
    (inner / name).symlink_to(target)


def _own_top(project: Project, folder: Path, *, wanted: bool | None) -> None:
    top = project.host.pillar_dir / "top.sls"
    text = wiring.only_own(top.read_text() if top.exists() else "", project.name)
    if wanted is not None:
        text = wiring.top_text(text, project.name, wanted=wanted)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not (folder / "top.sls").exists() or (folder / "top.sls").read_text() != text:  # a partial file is not equal
        (folder / "top.sls").write_text(text)


# its files


def files(release: Release) -> list[Path]:
    """Return the files of a release that Salt reads: the sample, the pillar, and the SLS in the order they run."""
    install = install_stems(release.names())
    other = sorted(name[:-4] for name in release.names() if name.endswith(".sls") and name[:-4] not in install)
    pillar = release.pillar / "init.sls"
    first = [path for path in (release.sample, pillar if pillar.is_file() else None) if path]
    return [*first, *(release.states / f"{stem}.sls" for stem in (*install, *other))]


def syntax(session: Session, release: Release, redactor: Redactor, paths: Sequence[Path]) -> list[Problem]:
    """Return the syntax errors in files of a release; learn its secrets first."""
    look_for_secrets(release, redactor)
    return session.syntax(paths)


def scratch(project: Project) -> Path:
    """Return the folder for temporary files, which is emptied when a daemon starts."""
    project.host.scratch.mkdir(mode=0o700, exist_ok=True)
    return project.host.scratch


@dataclass
class Unheard:
    """A listener for a session that runs no SLS."""

    redactor: Redactor

    def child(self, pid: int, start: int, group: int) -> None:
        """Ignore: the process ends with its control socket."""

    def state(self, state: State) -> None:
        """No state runs."""

    def output(self, data: bytes) -> None:
        """No command runs."""


# secrets


def redactor_of(settings: Settings) -> Redactor:
    """Return a redactor for a project that knows no secrets yet."""
    return Redactor(settings.secret_keys, settings.secret_pillar)


def known_secrets(project: Project, settings: Settings) -> Redactor:
    """Return a redactor with the secrets known to earlier deployments of a project."""
    redactor = redactor_of(settings)
    recall(project, redactor)
    return redactor


def look_for_secrets(release: Release, redactor: Redactor) -> None:
    """Learn the secrets in the files of a pillar, before anything about it is shown: it may not even compile."""
    for path in sorted(release.pillar.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= PILLAR_FILE:
            redactor.learn_text(text_of(path))
    with contextlib.suppress(ConfigError):  # reported when it is read for the cfg
        given = given_of(release)
        redactor.learn(given.data)
        redactor.know(given.hidden())


def given_of(release: Release) -> assigned.Given:
    """Return the variables set by `corpus set`; raise ConfigError."""
    path = release.pillar / assigned.FILE
    is_file = path.is_file() and not path.is_symlink()
    return assigned.load(path.read_bytes() if is_file and path.stat().st_size <= PILLAR_FILE else None)


def recall(project: Project, redactor: Redactor) -> None:
    """Learn the secrets of earlier deployments: they are still in files, and show up in diffs."""
    with contextlib.suppress(OSError, ValueError):
        redactor.recall(map(str, json.loads((project.minion_dir / SECRETS).read_text())))


def remember(project: Project, redactor: Redactor, *, live: bool = False) -> None:
    """Keep the known secrets of a project, beside its minion configuration.

    With `live` only secrets of this release are kept: it is live now.
    """
    path = project.minion_dir / SECRETS
    values = redactor.values if live and redactor.values else redactor.values | redactor.earlier
    if values != redactor.earlier:
        with contextlib.suppress(OSError):  # a full disk: the next deployment knows fewer secrets, this one continues
            disk.write_file(path, json.dumps(sorted(values)).encode())
