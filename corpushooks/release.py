"""A release as Salt sees it: where its SLS files and its pillar lie, which SLS files run, and its cfg.

The live release is seen through the wiring; a candidate lies in a folder of its own, with a shadow of Salt's
roots in which only this project's part is replaced.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from corpushooks import assigned, claims, config, disk, git, health, hostname, services, tree, wiring
from corpushooks.deployment import Request
from corpushooks.errors import ConfigError, Place, RefusedError, UsageError
from corpushooks.hints import Hint, command
from corpushooks.paths import flaw, strays
from corpushooks.project import Project, install_stems, task_names
from corpushooks.redaction import Redactor
from corpushooks.salt import Session
from corpushooks.settings import Settings
from corpushooks.sls import CFG, Minion, Problem, State, key_line, text_of
from corpushooks.text import shown

SAMPLE = "PILLAR.sample"
FIRST = Hint("add .salt/00_install.sls: ", command("help", "first-project"))
PILLAR_FILE = 1 << 20  # bytes of a pillar's file that is searched for secrets
SECRETS = "secrets.json"  # in a project's minion_dir
STEM = re.compile(r"[A-Za-z0-9_.+-]+")
SKIPS = {"sync": "release_sync", "rotate": "rotate_archives"}  # the flags of cfg have the names of the original


@dataclass(frozen=True)
class Release:
    """One state of a project's code and pillar, on the disk."""

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
        """Where its SLS files lie: .salt, or .salt/ENVIRONMENT where that holds any."""
        own = self.salt / self.environment
        linked = own.is_symlink() or not own.is_dir()
        return self.salt if linked or not any(p.suffix == ".sls" for p in own.iterdir()) else own

    @property
    def sample(self) -> Path | None:
        path = self.salt / SAMPLE
        return path if path.is_file() and not path.is_symlink() else None

    def names(self) -> list[str]:
        """Return the names of the files beside the SLS files."""
        return (
            [p.name for p in self.states.iterdir() if p.is_file() and not p.is_symlink()]
            if self.states.is_dir()
            else []
        )

    def has(self, stem: str) -> bool:
        return f"{stem}.sls" in self.names()

    def install(self, steps: tuple[str, ...] = ()) -> list[str]:
        """Return the install SLS in order; with `steps` only those, unknown ones are a UsageError."""
        stems = install_stems(self.names())
        unknown = [step for step in steps if step not in stems]
        if unknown:
            raise UsageError(f"there is no install SLS {unknown[0]!r}", hint=f"there are: {' '.join(stems)}")
        return [stem for stem in stems if not steps or stem in steps]

    def minion(self, settings: Settings) -> Minion:
        """Return what a session of Salt must know to see this release."""
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
    """Return the files of two commits, exported into `folder`, to be read: Salt does not see them."""
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
    """Return a release whose .salt and pillar lie anywhere; `folder` takes the shadow of Salt's roots."""
    found = _in_folder(project, environment, folder, salt, pillar)
    _shadow(project.host.salt_dir, folder / "salt-root", project.name, found.states)
    _shadow(project.host.pillar_dir, folder / "pillar-root", project.name, pillar)
    (folder / "pillar-root/top.sls").unlink(missing_ok=True)
    _own_top(project, folder / "pillar-root", wanted=(pillar / "init.sls").is_file())
    wiring.link_modules(project.name, salt, folder / "modules")
    return found


def _shadow(root: Path, shadow: Path, name: str, target: Path) -> None:
    """Link everything of one of Salt's roots into a shadow of it, but this project to `target`."""
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
    if not (folder / "top.sls").exists() or (folder / "top.sls").read_text() != text:  # torn is not equal
        (folder / "top.sls").write_text(text)


# what can be said before anything runs


def check_commit(
    project: Project, environment: str, code: str, request: Request, entries: git.Listing | None = None
) -> None:
    """Raise where a commit cannot be deployed as it lies in the repository; `entries` are what it has."""
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
    own = git.folder(entries, f".salt/{environment}") or {}
    read = own if any(name.endswith(".sls") for name in own) else names
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
        raise UsageError(f"steps={unknown[0]}: no such install SLS", hint=f"there are: {' '.join(stems)}")


def flaws(names: Mapping[str, bool]) -> Iterator[tuple[str, str]]:
    """Say what is wrong with the files beside the SLS files, and what helps: name -> whether it is a link."""
    for name, is_link in names.items():
        if is_link and (name == SAMPLE or name.endswith(".sls")):
            yield f"{shown(name)} is a symbolic link", "it is not followed: put the file itself"
        elif not STEM.fullmatch(name) and name.endswith(".sls"):
            yield f"{shown(name)}: no name for an SLS", "use letters, digits, - and _"
    for stem in install_stems(list(names)):
        if "." in stem:
            yield f"{shown(stem)}.sls: Salt reads a dot in the name as a folder", "rename it without the dot"


def check_links(repo: Path, commit: str, where: str) -> None:
    """Refuse a commit with links below `where` (".salt/", "": anywhere) by which Salt would read what is not in it."""
    out = strays(git.links(repo, git.listing(repo, commit)), where)
    if out:
        raise RefusedError(f"{shown(out[0])} is a link that leads out of the commit", hint="put the file itself")


def check_paths(repo: Path, commit: str, entries: git.Listing) -> None:
    """Refuse a commit that cannot be checked out as it is, before anything is touched."""
    wrong = git.refusal(repo, commit) or flaw((path for _, _, path in entries), tree.DEPTH)
    if wrong:
        raise RefusedError(f"{commit[:7]} cannot be checked out: {shown(wrong)}", hint="git fsck tells more")


def check_pillar_commit(repo: Path, commit: str) -> git.Listing:
    """Refuse a commit of pillar.git that cannot be checked out as it is, or leads out of itself; return what it has."""
    entries = git.listing(repo, commit)
    check_paths(repo, commit, entries)
    check_links(repo, commit, "")
    return entries


def check_task(names: list[str], task: str) -> None:
    """Raise UsageError where there is no such task."""
    known = task_names(names)
    if task not in known:
        raise UsageError(f"there is no task {task!r}", hint=f"tasks: {' '.join(known) or 'none'}")


def files(release: Release) -> list[Path]:
    """Return the files of a release that Salt reads: the sample, the pillar, the SLS in the order in which they run."""
    install = install_stems(release.names())
    other = sorted(name[:-4] for name in release.names() if name.endswith(".sls") and name[:-4] not in install)
    pillar = release.pillar / "init.sls"
    first = [path for path in (release.sample, pillar if pillar.is_file() else None) if path]
    return [*first, *(release.states / f"{stem}.sls" for stem in (*install, *other))]


def syntax(session: Session, release: Release, redactor: Redactor, paths: Sequence[Path]) -> list[Problem]:
    """Return what is wrong with the syntax of files of a release; learn its secrets first."""
    look_for_secrets(release, redactor)
    return session.syntax(paths)


def scratch(project: Project) -> Path:
    """Return the folder for what lives no longer than the daemon: it is emptied when one starts."""
    project.host.scratch.mkdir(mode=0o700, exist_ok=True)
    return project.host.scratch


@dataclass
class Unheard:
    """A listener of a session that runs no SLS."""

    redactor: Redactor

    def child(self, pid: int, start: int, group: int) -> None:
        """A process begins; it ends with its control socket."""

    def state(self, state: State) -> None:
        """No state runs."""

    def output(self, data: bytes) -> None:
        """No command runs."""


# secrets


def redactor_of(settings: Settings) -> Redactor:
    """Return who hides the secrets of a project; it knows none yet."""
    return Redactor(settings.secret_keys, settings.secret_pillar)


def known_secrets(project: Project, settings: Settings) -> Redactor:
    """Return who hides the secrets that earlier deployments of a project knew."""
    redactor = redactor_of(settings)
    recall(project, redactor)
    return redactor


def look_for_secrets(release: Release, redactor: Redactor) -> None:
    """Learn what the files of a pillar show, before anything is said of it: it may not even compile."""
    for path in sorted(release.pillar.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= PILLAR_FILE:
            redactor.learn_text(text_of(path))
    with contextlib.suppress(ConfigError):  # which is said where it is read for cfg
        given = given_of(release)
        redactor.learn(given.data)
        redactor.know(given.hidden())


def given_of(release: Release) -> assigned.Given:
    """Return what `corpus set` gave a project; raise ConfigError."""
    path = release.pillar / assigned.FILE
    is_file = path.is_file() and not path.is_symlink()
    return assigned.load(path.read_bytes() if is_file and path.stat().st_size <= PILLAR_FILE else None)


def recall(project: Project, redactor: Redactor) -> None:
    """Learn what earlier deployments knew: what they wrote is still in files, and shows when these change."""
    with contextlib.suppress(OSError, ValueError):
        redactor.recall(map(str, json.loads((project.minion_dir / SECRETS).read_text())))


def remember(project: Project, redactor: Redactor, *, live: bool = False) -> None:
    """Keep what is known of a project's secrets, beside the configuration that Salt has of it.

    With `live` what was learnt is all that is needed any longer: the release that it comes from is live.
    """
    path = project.minion_dir / SECRETS
    values = redactor.values if live and redactor.values else redactor.values | redactor.earlier
    if values != redactor.earlier:
        with contextlib.suppress(OSError):  # a full disk: the next deployment knows less, this one goes on
            disk.write_file(path, json.dumps(sorted(values)).encode())


# cfg


def last_cfg(project: Project) -> Mapping[str, Any] | None:
    """Return the configuration of a project that Salt had last; None where there is none that can be read."""
    for name, read in ((CFG, json.loads), ("minion", lambda text: yaml.safe_load(text)["ms_project"])):
        with contextlib.suppress(OSError, ValueError, yaml.YAMLError, KeyError, TypeError):
            cfg = read((project.minion_dir / name).read_text())  # older versions wrote `minion` alone
            return cfg if isinstance(cfg, Mapping) else None
    return None


def compute(
    session: Session,
    release: Release,
    settings: Settings,
    request: Request,
    redactor: Redactor,
    *,
    archive: Path,
    chrono: str,
    port: claims.Give,
    timeout: float | None = None,
) -> config.Cfg:
    """Compute the cfg of a release from its sample, its pillar and this host, and give it to the session.

    The redactor learns the pillar's secrets before anything that Salt said is passed on. Raise ConfigError with layer,
    key and place.
    """
    read = layers(
        session, release, settings, request, redactor, archive=archive, chrono=chrono, port=port, timeout=timeout
    )
    cfg = cfg_of(read, release, settings)
    session.configure(cfg.values, cfg.sample_defaults, cfg.above)
    return cfg


def layers(
    session: Session,
    release: Release,
    settings: Settings,
    request: Request,
    redactor: Redactor,
    *,
    archive: Path,
    chrono: str,
    port: claims.Give,
    timeout: float | None = None,
) -> config.Layers:
    """Return what the cfg of a release is made of."""
    look_for_secrets(release, redactor)
    facts = session.facts(release.sample, timeout=timeout)
    redactor.learn(facts.pillar)
    fqdn = hostname.fqdn(str(facts.grains.get("fqdn") or ""))
    said: Mapping[str, Any] = {
        **({"only": list(request.only)} if request.only else {}),
        **({"only_steps": list(request.steps)} if request.steps else {}),
        **{f"skip_{SKIPS.get(step, step)}": True for step in request.skip},
    }
    builtin = config.builtin(
        release.project, release.environment, minion_id=str(facts.grains.get("id") or fqdn), fqdn=fqdn,
        archive_dir=archive, chrono=chrono, keep_archives=settings.keep_archives,
    )  # fmt: skip
    return config.Layers(
        builtin, facts.sample, facts.pillar, facts.grains, settings.minion, said, facts.odd, port, given_of(release)
    )


def cfg_of(read: config.Layers, release: Release, settings: Settings) -> config.Cfg:
    """Compute a cfg; raise ConfigError with layer, key and place."""
    try:
        cfg = config.compute(read, name=release.project.name, env_defaults_win=settings.env_defaults_win)
        health.checks(cfg.values["health"])  # now, and not when all is installed
        claims.of(cfg.values)
        services.of(cfg.values)
        return cfg
    except ConfigError as exc:
        raise ConfigError(exc.what, exc.hint, exc.where, at=_place(release, *map(str, exc.where[:2]))) from exc


def _place(release: Release, layer: str = "", key: str = "") -> Place | None:
    """Return where a layer has a key, as far as that can be told: file and line."""
    config_file = release.project.host.config_file
    files = {"PILLAR.sample": release.salt / SAMPLE, "pillar": release.pillar / "init.sls", "minion": config_file,
             assigned.LAYER: release.pillar / assigned.FILE}  # fmt: skip
    if layer in files and (line := key_line(text_of(files[layer]), key)):
        return Place(str(config_file) if layer == "minion" else files[layer].name, line)
    return Place(f"the pillar of the host, {release.project.host.pillar_dir}") if layer == "pillar" else None
