"""What a session has ready of Salt."""

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
    """What is known of the host, as it was a moment ago, and the options with which it was asked."""

    def __init__(self, options: Any, answers: Answers) -> None:
        import salt.loader

        if packages() != LOADED:
            importlib.reload(site)  # a folder may be new to sys.path
            importlib.invalidate_caches()
        self.opts = options
        with interfaces_once(), answers.given():
            ahead = threading.Thread(target=ask_ahead)
            ahead.start()
            self.opts["grains"] = salt.loader.grains(self.opts)
            ahead.join()  # before anything is forked
        self.own = has_own(salt.loader.grain_funcs(self.opts))


def ask_ahead() -> None:
    """Find out beforehand what grains start programs for, one after the other; what was found is kept."""
    import salt.utils.network
    import salt.utils.platform

    with suppress(AttributeError, OSError, subprocess.SubprocessError):
        salt.utils.network.interfaces()
        salt.utils.platform.linux_distribution()


@contextmanager
def interfaces_once() -> Iterator[None]:
    """Ask once for the interfaces of the network: the grains of one reading ask three times, two programs each."""
    import salt.utils.network

    original = salt.utils.network.interfaces
    found, lock = functools.cache(original), threading.Lock()

    def interfaces() -> Any:
        with lock:  # whoever comes while another asks
            return copy.deepcopy(found())

    salt.utils.network.interfaces = interfaces
    try:
        yield
    finally:
        salt.utils.network.interfaces = original


class Runner:
    """A HighState that is prepared once and never used: each question forks and uses its copy."""

    def __init__(self, grains: Grains) -> None:
        """Make what is the same for every pillar and every cfg."""
        import salt.state

        self.opts, self.own_grains = grains.opts, grains.own
        self.high = salt.state.HighState(self.opts, initial_pillar={"none": "else it compiles its own"})
        self.state = self.high.state
        self.pillar: dict[str, Any] | None = None  # compiled
        self.loaded = False  # all modules have that pillar

    def renew(self, cfg: dict[str, Any]) -> None:
        """Let go of the pillar, and take cfg and what belongs to it, as the configuration has it now; None: nothing."""
        self.pillar, self.loaded = None, False
        opts = self.state.opts
        for key, value in cfg.items():
            if value is not None:
                opts[key] = value
            elif key in opts:
                del opts[key]

    def compile(self) -> None:
        """Compile the pillar; questions that run nothing need no more. Whatever grains and pillar run may raise."""
        import salt.loader
        import salt.pillar

        opts = self.state.opts
        grains = salt.loader.grain_funcs(opts)
        self.own_grains = self.own_grains or has_own(grains)
        if self.own_grains:
            opts["grains"] = salt.loader.grains(opts)
        else:
            grains["corpushooks.cfg"]()  # the one that depends on cfg
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


def has_own(grains: Any) -> bool:
    """Return whether a loader has grains from anywhere but Salt and us: what they depend on nobody knows."""
    import salt.loader

    ours = (f"{LOADER}/", f"{Path(salt.loader.__file__).parents[1]}/grains/")
    return not all(path.startswith(ours) for path, *_ in grains.file_mapping.values())


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


def packages() -> list[Stamp | None]:
    """Return what changes when a package is installed for this interpreter."""
    return [stamp(folder) for folder in sys.path]


LOADED = packages()  # when this was imported, and Salt was not yet
