"""The files of a release that Salt can read, as text. No link is followed; unreadable files are findings."""

from __future__ import annotations

import functools
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from corpushooks.checks import texts
from corpushooks.checks.finding import Finding
from corpushooks.core.text import shown
from corpushooks.release.release import SAMPLE, Release, files
from corpushooks.salt import STATES

SIZE, TOTAL, MANY = 1 << 20, 1 << 25, 3000  # limits: bytes of a file, bytes and files of a release


@dataclass(frozen=True)
class Texts:
    """The files of a release that Salt can read, by their path in the repository."""

    contents: Mapping[str, bytes]
    unusable: Mapping[str, Finding] = field(default_factory=dict)  # unreadable ones that Salt would read

    @functools.cached_property
    def wrong(self) -> dict[str, Finding]:
        """Findings for files that must be text and are not."""
        read = filter(_is_run, self.contents)
        found = {path: texts.encoding(path, self.contents[path]) for path in sorted(read)}
        return {**self.unusable, **{path: finding for path, finding in found.items() if finding}}

    def text(self, path: str) -> str:
        return self.contents.get(path, b"").decode("utf-8", "replace")

    @functools.cached_property
    def sls(self) -> dict[str, str]:
        """The SLS files that are text."""
        every = (path for path in self.contents if path.endswith(".sls") and path.startswith(".salt/"))
        return {path: self.text(path) for path in sorted(every) if path not in self.wrong}

    def run_by(self, found: Release) -> dict[str, str]:
        """The SLS files that run, also in tasks, or that one of these includes, as far as the text shows."""
        own = {named(found, path) for path in files(found)}
        every = "\n".join(self.sls.values())
        root = named(found, found.states)
        reached = {}
        for path, text in self.sls.items():
            dotted = path.removeprefix(f"{root}/").removesuffix(".sls").removesuffix("/init").replace("/", ".")
            if path in own or f".{dotted}" in every or f".{dotted.rpartition('.')[0]}.{{" in every:
                reached[path] = text
        return reached

    @functools.cached_property
    def words(self) -> frozenset[str]:
        """All words in the files of .salt, except the keys of the sample."""
        found: set[str] = set()
        for path in self.contents:
            text = self.text(path)
            if path == f".salt/{SAMPLE}":
                text = " ".join(re.findall(r"\{[^{}]*\}", text))
            if path.startswith(".salt/"):
                found.update(re.findall(r"[\w-]+|\w+", text), re.findall(r"\w+", text))
        return frozenset(found)


def read(found: Release) -> Texts:
    """Read the files of a release, following no link; SLS files first, since the limits may be reached."""
    paths = [(folder, name, path) for folder, name in ((found.salt, ".salt"), (found.pillar, "pillar"))
             for path in folder.rglob("*")]  # fmt: skip
    contents: dict[str, bytes] = {}
    unusable: dict[str, Finding] = {}
    size = 0
    for folder, name, path in sorted(paths, key=lambda each: (each[2].suffix != ".sls", each[2].name != SAMPLE, each)):
        if len(contents) >= MANY or size >= TOTAL:
            break
        file = f"{name}/{path.relative_to(folder)}"
        if _is_run(file) and (finding := _unusable(file, path)):
            unusable[file] = finding
        elif (data := bytes_of(path, texts.LIMIT if _is_run(file) else SIZE)) is not None:
            contents[file] = data
            size += len(data)
    return Texts(contents, unusable)


def _is_run(file: str) -> bool:
    """Say whether Salt runs a file, or computes the cfg from it."""
    return file.endswith(".sls") or file == f".salt/{SAMPLE}"


def _unusable(file: str, path: Path) -> Finding | None:
    try:
        st = path.lstat()
    except OSError:
        return None
    return texts.unusable(shown(file), st.st_mode, st.st_size)


def bytes_of(path: Path, limit: int = texts.LIMIT) -> bytes | None:
    """Return the content of a regular file, unless it is too large."""
    try:
        with open(path, "rb", opener=_opened) as file:
            st = os.fstat(file.fileno())
            return file.read(limit) if stat.S_ISREG(st.st_mode) and st.st_size <= limit else None
    except OSError:
        return None


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def readable(found: Release, read_: Texts) -> list[Path]:
    """Return the files to check with Salt: those that are text."""
    return [path for path in files(found) if named(found, path) not in read_.wrong]


def named(found: Release, path: Path) -> str:
    """Return the path in the repository of a file of a release; for our own files their name in Salt, else the name."""
    for root, name in ((found.salt, ".salt"), (found.pillar, "pillar"), (STATES, "")):
        if path.is_relative_to(root):
            return f"{name}/{path.relative_to(root)}".lstrip("/")
    parts = path.parts
    if "makina-projects" in parts and parts[-1] != "makina-projects":  # below one of Salt's roots
        inner = "/".join(parts[parts.index("makina-projects") + 2 :])
        folder = found.pillar if any(path.is_relative_to(root) for root in found.pillar_roots) else found.states
        return named(found, folder / inner)
    return path.name
