"""The prepared state of Salt in a session."""

from __future__ import annotations

import copy
import functools
import importlib
import site
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .known import Answers
from .stamps import Stamp, stamp
from .wire import Report

PACKAGE = Path(__file__).parents[1]
LOADER = PACKAGE / "salt/loader"
EXTENSIONS = (PACKAGE / "makina/loader", PACKAGE / "makina/extension")


def read(config: str) -> Any:
    """Return the options of a minion."""
    import salt.config

    return salt.config.minion_config(config)


class Grains:
    """The grains of the host, read just before, and the options they were read with."""

    def __init__(self, options: Any, answers: Answers) -> None:
        import salt.loader

        if packages() != LOADED:
            importlib.reload(site)  # sys.path can have new folders
            importlib.invalidate_caches()
        self.opts = options
        with interfaces_once(), answers.given():
            ahead = threading.Thread(target=ask_ahead)
            ahead.start()
            self.opts["grains"] = salt.loader.grains(self.opts)
            ahead.join()  # before anything is forked
        self.own = has_own(salt.loader.grain_funcs(self.opts))


def ask_ahead() -> None:
    """Look up in advance what grains run programs for one after the other; Salt caches it."""
    import salt.utils.network
    import salt.utils.platform

    with suppress(AttributeError, OSError, subprocess.SubprocessError):
        salt.utils.network.interfaces()
        salt.utils.platform.linux_distribution()


@contextmanager
def interfaces_once() -> Iterator[None]:
    """Look up the network interfaces once: reading the grains does so three times, with two programs each."""
    import salt.utils.network

    original = salt.utils.network.interfaces
    found, lock = functools.cache(original), threading.Lock()

    def interfaces() -> Any:
        with lock:  # for concurrent calls
            return copy.deepcopy(found())

    salt.utils.network.interfaces = interfaces
    try:
        yield
    finally:
        salt.utils.network.interfaces = original


class Runner:
    """A HighState that is prepared once and never used itself: each question forks and uses its copy."""

    def __init__(self, grains: Grains) -> None:
        """Prepare the part that is independent of pillar and cfg."""
        import salt.state

        self.opts, self.own_grains = grains.opts, grains.own
        self.high = salt.state.HighState(self.opts, initial_pillar={"none": "otherwise it compiles its own"})
        self.state = self.high.state
        self.pillar: dict[str, Any] | None = None  # compiled
        self.loaded = False  # all modules have that pillar

    def renew(self, cfg: dict[str, Any]) -> None:
        """Discard the pillar, and update cfg and related options from the configuration; None: remove one."""
        self.pillar, self.loaded = None, False
        opts = self.state.opts
        for key, value in cfg.items():
            if value is not None:
                opts[key] = value
            elif key in opts:
                del opts[key]

    def compile(self) -> None:
        """Compile the pillar, which suffices for questions that run nothing. Grains and pillar can raise anything."""
        import salt.loader
        import salt.pillar

        opts = self.state.opts
        grains = salt.loader.grain_funcs(opts)
        self.own_grains = self.own_grains or has_own(grains)
        if self.own_grains:
            opts["grains"] = salt.loader.grains(opts)
        else:
            grains["corpushooks.cfg"]()  # the one that depends on cfg
        opts["pillar"] = {}  # otherwise it is merged into the new one
        functions = self.state.functions
        found = salt.pillar.get_pillar(opts, opts["grains"], opts["id"], "base", funcs=functions)
        opts["pillar"] = functions.pack["__pillar__"] = self.pillar = found.compile_pillar()

    def load(self) -> None:
        """Load the modules that every SLS needs, with the pillar."""
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
    """The available SLS files. The one to run is known by name, so that nothing need be listed for it."""

    def __init__(self, original: Any, sls: str) -> None:
        self._original, self._sls = original, [sls]

    def __contains__(self, env: str) -> bool:
        return env in self._original

    def __getitem__(self, env: str) -> Any:
        found, self._sls = self._sls, []
        return found or self._original[env]

    def items(self) -> Any:
        return self._original.items()


def has_own(grains: Any) -> bool:
    """Return whether a loader has foreign grains, whose dependencies are unknown."""
    import salt.loader

    ours = (f"{LOADER}/", f"{Path(salt.loader.__file__).parents[1]}/grains/")
    return not all(path.startswith(ours) for path, *_ in grains.file_mapping.values())


def report_states(state: Any, report: Report) -> None:
    """Make a salt.state.State report each state when it ends; parallel ones are only in the result."""
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


def packages() -> list[Stamp | None]:
    """Return stamps that change when a package is installed for this interpreter."""
    return [stamp(folder) for folder in sys.path]


LOADED = packages()  # before Salt was imported
