"""The cfg of a release, computed from its sample, its pillar and this host; and what of it is backed up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corpushooks.core import backups, claims, services
from corpushooks.core.deployment import ProjectRow, Request
from corpushooks.core.errors import ConfigError, Place
from corpushooks.core.hints import Hint, command
from corpushooks.core.project import Project
from corpushooks.core.redaction import Redactor
from corpushooks.core.rollouts import Placed
from corpushooks.core.settings import Settings
from corpushooks.host.last import last_cfg
from corpushooks.release import assigned, config
from corpushooks.release import keys as cfg_keys
from corpushooks.release.release import SAMPLE, Release, given_of, look_for_secrets
from corpushooks.salt import CFG, Session, key_line, text_of
from corpushooks.system import health, hostname

SKIPS = {"sync": "release_sync", "rotate": "rotate_archives"}  # the flags of cfg use the names of the original


def backup_of(project: Project, row: ProjectRow) -> backups.Wanted:
    """Return what the live release wants to be backed up; raise ConfigError, also where its cfg cannot be read.

    One that is live on nodes only has no cfg here, and nothing that it would name.
    """
    cfg = last_cfg(project)
    if cfg is None and row.live is not None and not is_elsewhere(row):
        hint = Hint("write it again: ", rewriting(row.name))
        raise ConfigError(f"the cfg of deployment {row.live} cannot be read", hint, (str(project.minion_dir / CFG),))
    return backups.of(cfg or {"data_root": str(project.data)})


def is_elsewhere(row: ProjectRow) -> bool:
    """Say whether a project is live on nodes only: there is no tree of it here."""
    return row.live is not None and row.tree_code is None


def rewriting(name: str) -> Hint:
    """Return the command that writes the cfg of the live release again, also on a host that keeps backups."""
    return command("deploy", name, "--skip", "backup")


@dataclass(frozen=True)
class Inputs:
    """The inputs for computing a cfg, besides the facts from Salt."""

    release: Release
    settings: Settings
    request: Request
    redactor: Redactor  # it learns the pillar's secrets before any output of Salt is passed on
    port: claims.Give
    archive: Path
    chrono: str
    timeout: float | None = None
    placed: Placed = field(default_factory=Placed)  # among the nodes of the project
    more: Mapping[str, Any] = field(default_factory=dict)  # other values of what is built in


def compute(session: Session, given: Inputs) -> config.Cfg:
    """Compute the cfg of a release and give it to the session.

    Raise ConfigError with layer, key and place.
    """
    cfg = cfg_of(layers(session, given), given.release, given.settings)
    session.configure(cfg.values, cfg.sample_defaults, cfg.above)
    return cfg


def layers(session: Session, given: Inputs) -> config.Layers:
    """Return the layers of the cfg of a release."""
    release, settings, request = given.release, given.settings, given.request
    look_for_secrets(release, given.redactor)
    facts = session.facts(release.sample, timeout=given.timeout)
    given.redactor.learn(facts.pillar)
    fqdn = hostname.fqdn(str(facts.grains.get("fqdn") or ""))
    said: Mapping[str, Any] = {
        **({"only": list(request.only)} if request.only else {}),
        **({"only_steps": list(request.steps)} if request.steps else {}),
        **{f"skip_{SKIPS.get(step, step)}": True for step in request.skip},
    }
    builtin = cfg_keys.builtin(
        release.project, release.environment, minion_id=str(facts.grains.get("id") or fqdn), fqdn=fqdn,
        archive_dir=given.archive, chrono=given.chrono, keep_archives=settings.keep_archives,
    )  # fmt: skip
    return config.Layers(
        {**builtin, **given.placed.cfg, **given.more}, facts.sample, facts.pillar, facts.grains, settings.minion,
        said, facts.odd, given.port, given_of(release),
    )  # fmt: skip


def cfg_of(read: config.Layers, release: Release, settings: Settings) -> config.Cfg:
    """Compute a cfg; raise ConfigError with layer, key and place."""
    try:
        cfg = config.compute(read, name=release.project.name, env_defaults_win=settings.env_defaults_win)
        health.checks(cfg.values["health"])  # fail now, not after install
        claims.of(cfg.values)
        services.of(cfg.values)
        if not cfg.values["drill"]:  # its paths are elsewhere
            backups.of(cfg.values)
        return cfg
    except ConfigError as exc:
        raise ConfigError(exc.what, exc.hint, exc.where, at=_place(release, *map(str, exc.where[:2]))) from exc


def _place(release: Release, layer: str = "", key: str = "") -> Place | None:
    """Return file and line of a key in a layer, if known."""
    config_file = release.project.host.config_file
    files = {"PILLAR.sample": release.salt / SAMPLE, "pillar": release.pillar / "init.sls", "minion": config_file,
             assigned.LAYER: release.pillar / assigned.FILE}  # fmt: skip
    if layer in files and (line := key_line(text_of(files[layer]), key)):
        return Place(str(config_file) if layer == "minion" else files[layer].name, line)
    return Place(f"the pillar of the host, {release.project.host.pillar_dir}") if layer == "pillar" else None
