"""Work that a worker does once for all sessions."""

from __future__ import annotations

import copy
import importlib
import importlib.machinery
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import pillars
from .runner import EXTENSIONS, LOADER
from .stamps import TICK_NS, Stamp, stamp
from .wire import LOG_LINE

LISTING = ("cython_enable", "enable_zip_modules", "optimization_order")  # options that affect a loader's list
FIRST = "config loader pillar state template utils.jinja utils.timed_subprocess"  # modules of Salt that sessions use
# Modules that Salt imports when it first renders and runs something.
LATER = (
    "grains.extra loader.dunder modules.cmdmod modules.file modules.network modules.smbios renderers.yaml utils.cloud"
    " utils.dns utils.find utils.locales utils.nb_popen utils.package utils.pkg.rpm utils.validate.net utils.win_system"
    " utils.win_update utils.winapi"
)
# Modules that Salt's loaders execute again for each session, in its folder and in ours.
AGAIN = ("grains/*.py", "fileserver/roots.py", "modules/config.py")
OURS = ("_grains/*.py", "_pillar/*.py", "_renderers/*.py", "_modules/corpushooks.py")
Stamps = dict[str, "Stamp | None"]


def load_salt() -> str:
    """Import the modules that sessions need, so that they inherit them; return an error, or nothing."""
    try:
        from salt.version import __saltstack_version__ as version
    except ImportError as exc:
        return f"Salt is not installed for {sys.executable} ({exc})"
    if version.major < 3006:
        return f"Salt {version.string} of {sys.executable} is too old: use 3006 or newer"
    for name in FIRST.split():
        importlib.import_module(f"salt.{name}")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LOG_LINE)
    handler.setLevel(logging.WARNING)
    logging.getLogger().handlers[:] = [handler]  # Salt's own buffer records, and repeat them in each child
    logging.disable(logging.INFO)  # not shown anyway
    Listings().install()
    pillars.install()
    _speed_up_truth()
    return ""


def warm_up() -> None:
    """Do in advance what every session would do first. It runs no foreign code, and reads no grains."""
    import jinja2
    import salt.config
    import salt.loader
    import salt.pillar
    import salt.state

    Codes().install(Path(str(salt.config.__file__)).parents[1])
    importlib.import_module("encodings.ascii")  # used by grains
    for name in LATER.split():
        with suppress(ImportError):
            importlib.import_module(f"salt.{name}")
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "minion")
        config.write_text(
            f"{{id: warm, file_client: local, local: true, root_dir: {folder}, log_level_logfile: quiet,"
            f" module_dirs: {[*map(str, (LOADER, *EXTENSIONS))]}, cython_enable: false, enable_zip_modules: false,"
            " lazy_loader_strict_matching: true}"  # as in sessions; else Salt loads all file servers, and GitPython
        )
        opts = salt.config.minion_config(str(config))
        opts["grains"] = {}
        salt.loader.grain_funcs(opts)
        salt.pillar.get_pillar(opts, {}, "warm", "base")
        salt.state.HighState(opts, initial_pillar={"none": ""})
    environment = jinja2.Environment(extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"])
    environment.from_string("{% set one = 1 %}{{ one }}").render()  # compiles the regular expressions of Jinja


class Listings:
    """Caches the listings of folders of modules and packages, which Salt makes repeatedly, until they change."""

    def __init__(self) -> None:
        self._known: dict[Any, tuple[Stamps, Any]] = {}
        self.hits = 0

    def install(self) -> None:
        """Replace Salt's functions for listing."""
        import salt.loader.lazy
        import salt.utils.entrypoints

        loader, entry_points = salt.loader.lazy.LazyLoader, salt.utils.entrypoints
        loader._refresh_file_mapping = self._memoized(loader._refresh_file_mapping)
        original = entry_points.iter_entry_points
        entry_points.iter_entry_points = lambda group: self._cached(
            ("", group), lambda: sys.path, lambda: original(group)
        )

    def _memoized(self, original: Any) -> Any:
        """Return a replacement of a loader's method that repeats its last result while that is valid."""
        names = ("file_mapping", "suffix_map", "suffix_order")

        def listed(loader: Any) -> Any:
            original(loader)
            return {name: copy.copy(vars(loader)[name]) for name in names}

        def refresh(loader: Any) -> None:
            folders = [folder for folder in loader.module_dirs if os.path.isdir(folder)]
            options = [str(loader.opts.get(name)) for name in LISTING]
            key = (*folders, "", *options, *loader.suffix_order, *sorted(loader.disabled), "", *loader.static_modules)
            found = self._cached(
                key,
                lambda: [*folders, *(inner for folder in folders for inner in _subfolders(folder))],
                lambda: listed(loader),
            )
            vars(loader).update({name: copy.copy(value) for name, value in found.items()})

        return refresh

    def _cached(self, key: Any, folders: Callable[[], Sequence[str]], make: Callable[[], Any]) -> Any:
        """Return the cached value of a key if the folders are unchanged, or make it."""
        stamps, made = self._known.get(key, ({}, None))
        if stamps and all(stamp(path) == was for path, was in stamps.items()):
            self.hits += 1
            return made
        seen = time.time_ns()
        stamps = {path: stamp(path) for path in folders()}
        made = make()
        if all(was is None or was[2] < seen - TICK_NS for was in stamps.values()):
            self._known[key] = stamps, made
        return made


class Codes:
    """Caches the code of modules that Salt's loaders execute repeatedly, until their files change."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Stamp, Any]] = {}
        self.hits = 0

    def install(self, salt: Path) -> None:
        """Compile them, and replace the function that reads them."""
        loader: Any = importlib.machinery.SourceFileLoader
        original = loader.get_code
        self.learn(
            [path for folder, names in ((salt, AGAIN), (LOADER, OURS)) for each in names for path in folder.glob(each)]
        )

        def get_code(module: Any, name: str) -> Any:
            was, code = self._known.get(module.path, (None, None))
            if was is None or stamp(module.path) != was:
                return original(module, name)
            self.hits += 1
            return code

        loader.get_code = get_code

    def learn(self, paths: Sequence[Path]) -> None:
        """Compile files, except those that changed just now."""
        now = time.time_ns()
        for path in paths:
            was = stamp(str(path))
            if was and was[2] < now - TICK_NS:
                with suppress(SyntaxError):  # for another Python; the error comes when it is executed
                    code = importlib.machinery.SourceFileLoader(path.stem, str(path)).get_code(path.stem)
                    self._known[str(path)] = was, code


def _subfolders(folder: str) -> list[str]:
    with suppress(OSError), os.scandir(folder) as entries:
        return [entry.path for entry in entries if entry.is_dir()]
    return []


def _speed_up_truth() -> None:
    """Make the options of Salt 3008 report whether they are empty without counting, which every copy does."""
    with suppress(ImportError):
        from salt.utils.optsdict import OptsDict

        OptsDict.__bool__ = lambda opts: any(key in opts for key in opts._get_all_keys())
