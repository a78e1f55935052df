"""A folder with states and a pillar, an engine, and a listener that remembers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from corpushooks import salt
from corpushooks.core.redaction import Redactor
from corpushooks.salt import Minion, Session, State
from corpushooks.system import process


class Recorder:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.redactor = Redactor()
        self.groups: list[int] = []
        self.events: list[Any] = []
        self.before: Callable[[], None] = lambda: None

    def child(self, pid: int, start: int, group: int) -> None:
        assert process.start_time(pid) == start
        assert os.getpgid(pid) == group
        self.before()
        self.groups.append(group)

    def state(self, state: State) -> None:
        self.events.append(state.id)

    def output(self, data: bytes) -> None:
        self.events.append(data)

    @property
    def said(self) -> bytes:
        return b"".join(event for event in self.events if isinstance(event, bytes))


class World:
    """A project as Salt sees it."""

    def __init__(self, root: Path, engine: salt.Engine, name: str = "foo") -> None:
        self.root, self.engine, self.name = root, engine, name
        self.listener = Recorder()
        self.folder = root / "states/makina-projects" / name
        for folder in (self.folder, root / "pillar", root / "modules/_modules", root / "out"):
            folder.mkdir(parents=True)
        self.out = root / "out"
        states, pillars = (root / "states",), (root / "pillar",)
        self.minion = Minion(name, root / "minion", states, pillars, root / "modules", id="host.example.org")

    def sls(self, stem: str, text: str) -> str:
        (self.folder / f"{stem}.sls").write_text(text.replace("OUT", str(self.out)))
        return f"makina-projects.{self.name}.{stem}"

    def pillar(self, text: str) -> None:
        (self.root / "pillar/top.sls").write_text("base:\n  '*': [values]\n")
        (self.root / "pillar/values.sls").write_text(text)

    def sample(self, text: str) -> Path:
        (self.root / "PILLAR.sample").write_text(text)
        return self.root / "PILLAR.sample"

    def module(self, name: str, text: str) -> None:
        (self.root / f"modules/_modules/{name}.py").write_text(text)

    def session(self) -> Session:
        return self.engine.session(self.minion, self.listener)

    def read(self, name: str) -> str:
        return (self.out / name).read_text().strip()


def written(path: Path) -> int:
    """Return the number in a file, 0 until there is one."""
    return int(path.read_text() or 0) if path.exists() else 0
