"""What a session has ready of Salt."""

from __future__ import annotations

import importlib
import site
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from .wire import Report

LOADER = Path(__file__).parents[1] / "loader"
CFG = ("ms_project", "ms_project_name", "ext_pillar")  # what a configuration gets when cfg is known


class Grains:
    """What is known of the host, as it was a moment ago."""

    def __init__(self, config: str) -> None:
        import salt.config
        import salt.loader

        importlib.reload(site)  # a package in a folder that is new to sys.path
        importlib.invalidate_caches()
        ahead = threading.Thread(target=ask_ahead)
        ahead.start()
        opts = salt.config.minion_config(config)
        self.values = salt.loader.grains(opts)
        self.own = has_own_grains(opts)
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
        import salt.config
        import salt.state

        self.opts = salt.config.minion_config(config)
        self.opts["grains"] = grains.values
        self.own_grains = grains.own
        self.high = salt.state.HighState(self.opts, initial_pillar={"none": "else it compiles its own"})
        self.state = self.high.state
        self.pillar: dict[str, Any] | None = None  # compiled, and known to all modules

    def configure(self, config: str) -> None:
        """Read cfg, and what belongs to it, from the configuration again."""
        import salt.config

        found = salt.config.minion_config(config)
        for key in CFG:
            if key in found:
                self.state.opts[key] = found[key]
            elif key in self.state.opts:
                del self.state.opts[key]
        self.pillar = None

    def compile(self) -> None:
        """Compile the pillar, and load modules that have it. Whatever grains and pillar run may raise."""
        import salt.loader
        import salt.pillar

        opts = self.state.opts
        self.own_grains = self.own_grains or has_own_grains(opts)
        if self.own_grains:
            opts["grains"] = salt.loader.grains(opts)
        else:
            salt.loader.grain_funcs(opts)["corpushooks.cfg"]()  # the one that depends on cfg
        opts["pillar"] = {}  # else merged into the new one
        found = salt.pillar.get_pillar(opts, opts["grains"], opts["id"], "base", funcs=self.state.functions)
        opts["pillar"] = pillar = found.compile_pillar()
        self.state.load_modules()
        for loader, name in (
            (self.state.rend, "jinja"),
            (self.state.rend, "yaml"),
            (self.state.functions, "config.get"),
        ):
            with suppress(KeyError):
                loader[name]  # every SLS needs it
        self.pillar = pillar

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
