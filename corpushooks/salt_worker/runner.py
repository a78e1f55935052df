"""What a session has ready of Salt."""

from __future__ import annotations

import importlib
import os
import site
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from .wire import Report

Stamp = tuple[int, int, int]

LOADER = Path(__file__).parents[1] / "loader"
CFG = ("ms_project", "ms_project_name", "ext_pillar")  # what a configuration gets when cfg is known


class Grains:
    """What is known of the host, as it was a moment ago, and the options with which it was asked."""

    def __init__(self, config: str) -> None:
        import salt.config
        import salt.loader

        if packages() != LOADED:
            importlib.reload(site)  # a folder may be new to sys.path
            importlib.invalidate_caches()
        ahead = threading.Thread(target=ask_ahead)
        ahead.start()
        self.opts = salt.config.minion_config(config)
        self.opts["grains"] = salt.loader.grains(self.opts)
        self.own = has_own_grains(self.opts)
        ahead.join()  # before anything is forked


def ask_ahead() -> None:
    """Find out beforehand what grains start three programs for, one after the other; Salt keeps what was found."""
    import salt.utils.platform

    with suppress(AttributeError, OSError, subprocess.SubprocessError):
        salt.utils.platform.linux_distribution()


class Runner:
    """A HighState that is prepared once and never used: each question forks and uses its copy."""

    def __init__(self, config: str, grains: Grains) -> None:
        """Make what is the same for every pillar and every cfg."""
        import salt.state

        self.config, self.opts, self.own_grains = config, grains.opts, grains.own
        self.text = Path(config).read_bytes()
        self.high = salt.state.HighState(self.opts, initial_pillar={"none": "else it compiles its own"})
        self.state = self.high.state
        self.pillar: dict[str, Any] | None = None  # compiled
        self.loaded = False  # all modules have that pillar

    def renew(self) -> None:
        """Let go of the pillar, and read cfg and what belongs to it from the configuration again."""
        import salt.config

        self.pillar, self.loaded = None, False
        text = Path(self.config).read_bytes()
        if text != self.text:
            found, self.text = salt.config.minion_config(self.config), text
            for key in CFG:
                if key in found:
                    self.state.opts[key] = found[key]
                elif key in self.state.opts:
                    del self.state.opts[key]

    def compile(self) -> None:
        """Compile the pillar; questions that run nothing need no more. Whatever grains and pillar run may raise."""
        import salt.loader
        import salt.pillar

        opts = self.state.opts
        self.own_grains = self.own_grains or has_own_grains(opts)
        if self.own_grains:
            opts["grains"] = salt.loader.grains(opts)
        else:
            salt.loader.grain_funcs(opts)["corpushooks.cfg"]()  # the one that depends on cfg
        opts["pillar"] = {}  # else merged into the new one
        functions = self.state.functions
        found = salt.pillar.get_pillar(opts, opts["grains"], opts["id"], "base", funcs=functions)
        opts["pillar"] = functions.pack["__pillar__"] = self.pillar = found.compile_pillar()

    def load(self) -> None:
        """Load what every SLS needs, in modules that have the pillar."""
        self.state.load_modules()
        for loader, name in (
            (self.state.rend, "jinja"),
            (self.state.rend, "yaml"),
            (self.state.functions, "config.get"),
        ):
            with suppress(KeyError):
                loader[name]
        self.loaded = True

    def run(self, sls: str, test: bool, report: Report) -> Any:
        """Run one SLS; return what state.sls returns: a mapping of results, or a list of errors."""
        errors = (self.pillar or {}).get("_errors")
        if errors:
            return ["Pillar failed to render with the following messages:", *errors]
        self.state.opts["test"] = test
        report_states(self.state, report)
        self.high.push_active()
        self.high.avail = Avail(self.high.avail, sls)
        high, errors = self.high.render_highstate({"base": [sls]})
        return errors or self.state.call_high(high)


class Avail:
    """The SLS files there are. The one that is run is given by its name, so that for it nothing need be listed."""

    def __init__(self, original: Any, sls: str) -> None:
        self._original, self._sls = original, [sls]

    def __contains__(self, env: str) -> bool:
        return env in self._original

    def __getitem__(self, env: str) -> Any:
        found, self._sls = self._sls, []
        return found or self._original[env]

    def items(self) -> Any:
        return self._original.items()


def has_own_grains(opts: Any) -> bool:
    """Say whether grains come from anywhere but Salt and us: what they depend on nobody knows."""
    import salt.loader

    ours = (f"{LOADER}/", f"{Path(salt.loader.__file__).parents[1]}/grains/")
    found = salt.loader.grain_funcs(opts).file_mapping.values()
    return not all(path.startswith(ours) for path, *_ in found)


def report_states(state: Any, report: Report) -> None:
    """Make a salt.state.State report each state as it ends; those that run in parallel are in the result."""
    call_chunk = state.call_chunk
    seen: set[str] = set()

    def call_and_report(low: Any, running: dict[str, Any], chunks: Any, depth: int = 0) -> Any:
        result = call_chunk(low, running, chunks, depth)
        for tag in [tag for tag in running if tag not in seen]:
            seen.add(tag)
            if isinstance(running[tag], dict) and not low.get("parallel"):
                report.send({"state": [tag, running[tag]]})
        return result

    state.call_chunk = call_and_report


# Folders


def stamp(path: str) -> Stamp | None:
    """Return what changes whenever an entry of a folder does."""
    with suppress(OSError):
        st = os.stat(path)
        return st.st_dev, st.st_ino, st.st_ctime_ns
    return None


def packages() -> list[Stamp | None]:
    """Return what changes when a package is installed for this interpreter."""
    return [stamp(folder) for folder in sys.path]


LOADED = packages()  # when this was imported, and Salt was not yet
