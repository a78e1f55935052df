"""An apt of a test's own: lists in a folder, made by the real apt-get from a repository in another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from corpushooks.system.process import run

CONFIG = """\
Dir "{root}";
Dir::State "{root}/state";
Dir::State::status "{root}/status";
Dir::State::lists "{root}/lists";
Dir::Cache "{root}/cache";
Dir::Etc::sourcelist "{root}/sources.list";
Dir::Etc::sourceparts "-";
Dir::Etc::main "-";
Dir::Etc::parts "-";
Dir::Etc::preferencesparts "-";
APT::Sandbox::User "root";
APT::Architecture "amd64";
"""


def apt_with(root: Path, packages: Iterable[str], provides: Mapping[str, str] | None = None) -> str:
    """Make lists that have these packages (`provides`: package -> what it provides); return its APT_CONFIG."""
    for name in ("repo", "state", "lists/partial", "cache/archives/partial"):
        (root / name).mkdir(parents=True)
    (root / "status").touch()
    (root / "sources.list").write_text(f"deb [trusted=yes] file:{root}/repo ./\n")
    known = provides or {}
    (root / "repo/Packages").write_text(
        "".join(
            f"Package: {name}\nVersion: 1\nArchitecture: amd64\nFilename: {name}.deb\nSize: 1\nMD5sum: {'0' * 32}\n"
            + (f"Provides: {known[name]}\n" if name in known else "")
            + f"Description: {name}\n\n"
            for name in packages
        )
    )
    (root / "apt.conf").write_text(CONFIG.format(root=root))
    run(["apt-get", "-qq", "update"], env={"APT_CONFIG": str(root / "apt.conf")})
    return str(root / "apt.conf")
