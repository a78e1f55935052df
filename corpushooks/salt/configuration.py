"""The generated minion configuration of a project, for both engines and for salt-call by hand."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from corpushooks.salt.results import CFG, Minion
from corpushooks.system import hostname, safe_files

PACKAGE = Path(__file__).parents[1]
LOADERS = (PACKAGE / "salt/loader", PACKAGE / "makina/loader")
EXTENSION = PACKAGE / "makina/extension"  # modules that stock Salt also loads
STATES = PACKAGE / "makina/states"  # SLS files that makina-states projects include
DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


SAME: Mapping[str, Any] = {  # of every minion
    "file_client": "local",
    "local": True,  # otherwise each refresh of modules waits a second for a master
    "master_type": "disable",
    "log_level_logfile": "quiet",  # it would contain secrets: rendered SLS files and commands
    "__fs_update": True,  # otherwise all state roots are walked repeatedly, for unused events
    "fileserver_list_cache_time": 0,  # otherwise changed files are not seen for 20 s
    "lazy_loader_strict_matching": True,  # otherwise an unknown state function costs a second
    "pillar_safe_render_error": False,  # show errors: it is our own pillar
    "cython_enable": False,  # modules are Python; looking for others takes time
    "enable_zip_modules": False,
    "enable_fqdns_grains": False,  # no name service
    "enable_gpu_grains": False,
    "autoload_dynamic_modules": False,
}


def configuration(
    minion: Minion, cfg: Mapping[str, Any] | None, defaults: Mapping[str, Any], above: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the minion configuration of a session; `cfg` None: SLS files have none.

    `defaults` are merged under the pillar, `above` over it.
    """
    own: dict[str, Any] = {
        **SAME,
        "id": minion.id or hostname.fqdn(),
        "root_dir": str(minion.dir),
        "cachedir": str(minion.dir / "cache"),
        "pki_dir": str(minion.dir / "pki"),
        "sock_dir": str(minion.dir / "run"),
        "log_file": str(minion.dir / "log/minion"),
        "extension_modules": str(minion.dir / "cache/extmods"),
        "file_roots": {"base": [str(path) for path in (*minion.states, STATES)]},
        "pillar_roots": {"base": [str(path) for path in minion.pillars]},
        "module_dirs": [str(minion.modules), *map(str, LOADERS), str(EXTENSION)],
        "corpushooks": _for_loader(minion),
    }
    if cfg is not None:
        own |= {"ms_project": cfg, "ms_project_name": minion.name}
        under_and_over = [defaults, *([above] if above else [])]
        own["ext_pillar"] = [{"corpushooks": under_and_over}, *minion.config.get("ext_pillar", [])]
    return _plain_types({**minion.config, **own})


def _for_loader(minion: Minion) -> dict[str, Any]:
    """Return the settings of our own modules in loader/."""
    return {
        "passwords": str(minion.passwords or ""),
        "writes": minion.writes,
        "outside": str(minion.dir / "outside") if minion.writes else "",
        "resetperms": str(Path(sys.executable).with_name("resetperms")),
    }


def _plain_types(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping in plain types: no aliases, no subclasses, no dates."""
    return dict(json.loads(json.dumps(content)))


def prepare(minion: Minion) -> None:
    minion.dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    (minion.dir / "log").mkdir(mode=0o700, exist_ok=True)
    for cache in minion.modules.glob("*/__pycache__"):  # of salt-call by hand; removed modules would load from it
        shutil.rmtree(cache, ignore_errors=True)
    write_configuration(minion, configuration(minion, None, {}))


def write_configuration(minion: Minion, content: dict[str, Any]) -> None:
    """Write `dir/minion` atomically, readable by us only; with a cfg in it also `dir/cfg.json`.

    `minion` has no cfg at the beginning of a deployment, which can fail there; cfg.json always has the last one.
    """
    text = yaml.dump(content, Dumper=DUMPER, sort_keys=False)
    safe_files.write(minion.dir / "minion", text.encode("ascii"), flush=False)  # rewritten each time
    if "ms_project" in content:
        safe_files.write(minion.dir / CFG, json.dumps(content["ms_project"]).encode("ascii"), flush=False)


def private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
