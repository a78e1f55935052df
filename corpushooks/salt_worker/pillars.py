"""Have Salt list the files of a pillar only where a pattern is to be matched: the pillars of all projects lie there."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

PATTERN = re.compile(r"[*?\[]")
ODD = ("file_ignore_regex", "file_ignore_glob")  # options by which a file that is there is not listed


class Names:
    """The SLS files of one environment, as names; listed when first needed."""

    def __init__(self, roots: list[str], names: Callable[[], list[str]]) -> None:
        self._roots, self._list = roots, names
        self._names: list[str] | None = None

    def __iter__(self) -> Iterator[str]:
        if self._names is None:
            self._names = self._list()
        return iter(self._names)

    def has(self, name: str) -> bool:
        """Return whether there is an SLS of this name."""
        path = name.replace(".", "/")
        return any(Path(root, each).is_file() for root in self._roots for each in (f"{path}.sls", f"{path}/init.sls"))


def filtered(names: Any, pattern: str) -> list[str]:
    """Return what fnmatch.filter does."""
    if isinstance(names, Names) and not PATTERN.search(pattern):
        return [pattern] if names.has(pattern) else []
    return fnmatch.filter(names, pattern)


def install() -> None:
    """Take the place of what lists, in Salt's Pillar."""
    import salt.pillar

    pillar: Any = salt.pillar.Pillar
    original = pillar._Pillar__gather_avail

    def gather(self: Any) -> Any:
        opts, envs = self.opts, list(self._get_envs())
        roots, backends = opts["pillar_roots"], list(opts.get("fileserver_backend", []))
        if any(opts.get(key) for key in ODD) or backends != ["roots"] or not roots.keys() >= set(envs):
            return original(self)
        return {env: Names(list(roots[env]), partial(self.client.list_states, env)) for env in envs}

    pillar._Pillar__gather_avail = gather
    salt.pillar.fnmatch = SimpleNamespace(filter=filtered)
