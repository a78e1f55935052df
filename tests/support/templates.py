"""Hosts that cost much to make: made once, and given to each test as they were then, at the same place."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from corpushooks.system.process import run
from tests.support.box import Box, Work


@dataclass
class Template:
    """A host without a daemon, and a copy of its folder."""

    root: Path
    copy: Path
    salt: bool
    works: dict[str, Work]

    def again(self) -> Box:
        """Return the host as it was, whatever became of it."""
        shutil.rmtree(self.root)
        run(["cp", "-a", self.copy, self.root])
        return Box(self.root, salt=self.salt, works=dict(self.works))


@dataclass
class Templates:
    """The hosts of a run, by who makes them."""

    folder: Path
    made: dict[Callable[[Box], None], Template] = field(default_factory=dict)

    @contextmanager
    def host(self, make: Callable[[Box], None], *, salt: bool = False) -> Iterator[Box]:
        """Give the host that `make` makes, without a daemon; what runs of it at the end is stopped."""
        box = self._new(make, salt) if make not in self.made else self.made[make].again()
        try:
            yield box
        finally:
            box.stop()

    def _new(self, make: Callable[[Box], None], salt: bool) -> Box:
        folder = self.folder / f"{len(self.made)}-{make.__name__}"
        shutil.rmtree(folder, ignore_errors=True)  # of a test in which it failed
        box = Box(folder / "box", salt=salt)
        box.root.mkdir(parents=True)
        try:
            make(box)
        finally:
            box.stop()
        run(["cp", "-a", box.root, folder / "copy"])
        self.made[make] = Template(box.root, folder / "copy", salt, dict(box.works))
        return self.made[make].again()
