"""Make Salt list the pillar files only if a pattern must be matched, since the pillars of all projects are there."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

PATTERN = re.compile(r"[*?\[]")
ODD = ("file_ignore_regex", "file_ignore_glob")  # options that hide existing files


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
        """Return whether an SLS of this name exists."""
        path = name.replace(".", "/")
        return any(Path(root, each).is_file() for root in self._roots for each in (f"{path}.sls", f"{path}/init.sls"))


def filtered(names: Any, pattern: str) -> list[str]:
    """Do the same as fnmatch.filter."""
    if isinstance(names, Names) and not PATTERN.search(pattern):
        return [pattern] if names.has(pattern) else []
    return fnmatch.filter(names, pattern)


def install() -> None:
    """Replace the listing in Salt's Pillar."""
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
