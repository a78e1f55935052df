"""What a worker does once, so that no session need do it again."""

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

LISTING = ("cython_enable", "enable_zip_modules", "optimization_order")  # options on which a loader's list depends
FIRST = "config loader pillar state template utils.jinja utils.timed_subprocess"  # what sessions use of Salt
# What Salt imports when it first renders and runs something.
LATER = (
    "grains.extra loader.dunder modules.cmdmod modules.file modules.network modules.smbios renderers.yaml utils.cloud"
    " utils.dns utils.find utils.locales utils.nb_popen utils.package utils.pkg.rpm utils.validate.net utils.win_system"
    " utils.win_update utils.winapi"
)
# What Salt's loaders run again for each session, in its folder and in ours.
AGAIN = ("grains/*.py", "fileserver/roots.py", "modules/config.py")
OURS = ("_grains/*.py", "_pillar/*.py", "_renderers/*.py", "_modules/corpushooks.py")
Stamps = dict[str, "Stamp | None"]


def load_salt() -> str:
    """Import what sessions need, so that they inherit it; return what is wrong, or nothing."""
    try:
        from salt.version import __saltstack_version__ as version
    except ImportError as exc:
        return f"Salt is not installed for {sys.executable} ({exc})"
    if version.major < 3006:
        return f"Salt {version.string} of {sys.executable} is too old; 3006 is the oldest that works"
    for name in FIRST.split():
        importlib.import_module(f"salt.{name}")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LOG_LINE)
    handler.setLevel(logging.WARNING)
    logging.getLogger().handlers[:] = [handler]  # Salt's own keep what they saw, and repeat it in each child
    logging.disable(logging.INFO)  # nobody would hear it
    Listings().install()
    pillars.install()
    _say_truth_at_once()
    return ""


def warm_up() -> None:
    """Do beforehand what every session would do first. It runs nothing of anybody's, and reads no grains."""
    import jinja2
    import salt.config
    import salt.loader
    import salt.pillar
    import salt.state

    Codes().install(Path(str(salt.config.__file__)).parents[1])
    importlib.import_module("encodings.ascii")  # of which grains ask
    for name in LATER.split():
        with suppress(ImportError):
            importlib.import_module(f"salt.{name}")
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "minion")
        config.write_text(
            f"{{id: warm, file_client: local, local: true, root_dir: {folder}, log_level_logfile: quiet,"
            f" module_dirs: {[*map(str, (LOADER, *EXTENSIONS))]}, cython_enable: false, enable_zip_modules: false}}"
        )
        opts = salt.config.minion_config(str(config))
        opts["grains"] = {}
        salt.loader.grain_funcs(opts)
        salt.pillar.get_pillar(opts, {}, "warm", "base")
        salt.state.HighState(opts, initial_pillar={"none": ""})
    environment = jinja2.Environment(extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"])
    environment.from_string("{% set one = 1 %}{{ one }}").render()  # compiles the expressions it reads with


class Listings:
    """Folders of modules and of packages, which Salt lists again and again, are only where they have changed."""

    def __init__(self) -> None:
        self._known: dict[Any, tuple[Stamps, Any]] = {}
        self.hits = 0

    def install(self) -> None:
        """Take the place of what Salt lists with."""
        import salt.loader.lazy
        import salt.utils.entrypoints

        loader, entry_points = salt.loader.lazy.LazyLoader, salt.utils.entrypoints
        loader._refresh_file_mapping = self._once(loader._refresh_file_mapping)
        original = entry_points.iter_entry_points
        entry_points.iter_entry_points = lambda group: self._kept(
            ("", group), lambda: sys.path, lambda: original(group)
        )

    def _once(self, original: Any) -> Any:
        """Return a loader's method which does what the original did, if that would do the same."""
        names = ("file_mapping", "suffix_map", "suffix_order")

        def listed(loader: Any) -> Any:
            original(loader)
            return {name: copy.copy(vars(loader)[name]) for name in names}

        def refresh(loader: Any) -> None:
            folders = [folder for folder in loader.module_dirs if os.path.isdir(folder)]
            options = [str(loader.opts.get(name)) for name in LISTING]
            key = (*folders, "", *options, *loader.suffix_order, *sorted(loader.disabled), "", *loader.static_modules)
            found = self._kept(
                key,
                lambda: [*folders, *(inner for folder in folders for inner in _inner(folder))],
                lambda: listed(loader),
            )
            vars(loader).update({name: copy.copy(value) for name, value in found.items()})

        return refresh

    def _kept(self, key: Any, folders: Callable[[], Sequence[str]], make: Callable[[], Any]) -> Any:
        """Return what was made for a key while the folders were as they are now, or make it."""
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
    """What was compiled of modules that Salt's loaders run again and again, as long as their files stay the same."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Stamp, Any]] = {}
        self.hits = 0

    def install(self, salt: Path) -> None:
        """Compile them, and take the place of what reads them."""
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
        """Compile what has not changed just now."""
        now = time.time_ns()
        for path in paths:
            was = stamp(str(path))
            if was and was[2] < now - TICK_NS:
                with suppress(SyntaxError):  # of another Python; whoever runs it is told
                    code = importlib.machinery.SourceFileLoader(path.stem, str(path)).get_code(path.stem)
                    self._known[str(path)] = was, code


def _inner(folder: str) -> list[str]:
    with suppress(OSError), os.scandir(folder) as entries:
        return [entry.path for entry in entries if entry.is_dir()]
    return []


def _say_truth_at_once() -> None:
    """Have the options of Salt 3008 say whether they are empty without counting them, which every copy asks."""
    with suppress(ImportError):
        from salt.utils.optsdict import OptsDict

        OptsDict.__bool__ = lambda opts: any(key in opts for key in opts._get_all_keys())
