"""Findings: a problem in a file, its position and a remedy; and the table of their kinds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True)
class Kind:
    """One kind of finding: its severity, its meaning, and a remedy."""

    severity: str
    means: str
    helps: str
    unreadable: bool = False  # Salt cannot compile such a file
    of_salt: bool = False  # Salt also reports it when it compiles the file
    passing: bool = False  # an earlier SLS can fix it


KINDS: Mapping[str, Kind] = {  # also on the page on makina-states
    "syntax": Kind(ERROR, "invalid Jinja or YAML", "correct the line", unreadable=True, of_salt=True),
    "compile": Kind(ERROR, "an error of Salt when it compiles the file", "correct the line", of_salt=True),
    "missing": Kind(
        ERROR, "an include, an import, a function or a `salt://` file that does not exist",
        "add it, or use the replacement in the tables below", of_salt=True,
    ),
    "package": Kind(
        ERROR, "a package that is not in the apt lists of this host", "use the successor, or `--fix`",
    ),
    "versions": Kind(ERROR, "a duplicate package in one state with two versions", "keep one"),
    "encoding": Kind(ERROR, "a file that is not UTF-8, or an LFS pointer", "save it as UTF-8", unreadable=True),
    "file": Kind(
        ERROR, "an SLS file or a sample that is a pipe, a socket or a device, or larger than 8 MiB", "use a plain file",
    ),
    "config": Kind(ERROR, "a cfg or a pillar that cannot be computed", "correct the named key"),
    "name": Kind(ERROR, "a name, a link or a path that Salt or git cannot use", "rename it, or use the file itself"),
    "option": Kind(ERROR, "an option that `resetperms` does not have", "`resetperms --help`"),
    "claim": Kind(
        ERROR, "a port or an address that belongs to another project of this host", "set the named key",
    ),
    "foreign": Kind(
        ERROR, "a pillar or a sample without anything for this project",
        "correct the name of the project", unreadable=True,
    ),
    "absent": Kind(
        WARNING, "a package without a candidate now, but a state or a condition of the project can change that",
        "nothing, if it does",
    ),
    "gone": Kind(WARNING, "a package that Debian 12 no longer has, on a host without apt lists", "`--fix`"),
    "doubled": Kind(WARNING, "a duplicate package in one state", "nothing: it is installed once; or `--fix`"),
    "command": Kind(
        WARNING, "a command that is missing on this host, and that no package of the project is known to install",
        "add the package",
    ),
    "certificate": Kind(
        WARNING, "a virtual host without a certificate for https: it gets a self-signed one, which browsers warn about",
        "`ssl_cert` and `ssl_key`, or the settings below",
    ),
    "left-out": Kind(WARNING, "what a file or a macro of makina-states did and ours does not", "follow the advice"),
    "not-run": Kind(WARNING, "a command that Jinja runs: a check does not run it, and assumes empty output", "nothing"),
    "later": Kind(
        WARNING, "a state or a function that needs a program that is not installed yet",
        "nothing", of_salt=True, passing=True,
    ),
    "value": Kind(WARNING, "a value that becomes text in cfg, since JSON has no such type", "write it as text"),
    "unread": Kind(WARNING, "a key, a file or a folder that nothing reads", "use the suggested name"),
    "submodule": Kind(WARNING, "a submodule: its files are not deployed", "fetch it in an SLS, or commit the files"),
    "filter": Kind(
        WARNING, "files with a filter of git (LFS, git-crypt), which is not run: they are deployed as git stores them",
        "commit the files themselves; put secrets into the pillar",
    ),
    "unsent": Kind(WARNING, "files of the working copy that a push would not send", "`git add`, `git commit`"),
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """An error, or a warning, in a file of a project."""

    kind: str
    file: str  # its path in the repository
    line: int | None
    what: str
    help: str = ""

    @property
    def sort(self) -> Kind:
        """Its kind."""
        return KINDS[self.kind]

    @property
    def severity(self) -> str:
        return self.sort.severity

    @property
    def is_error(self) -> bool:
        return self.severity == ERROR

    @property
    def short(self) -> str:
        """Return the short name of the file: below .salt, its path there."""
        return self.file.removeprefix(".salt/").removeprefix("pillar/") or self.file

    def __str__(self) -> str:
        place = f"{self.short} line {self.line}" if self.line else self.short
        return f"{place}: {self.what}"

    @property
    def text(self) -> str:
        """Return the whole text: the problem, and the remedy."""
        return f"{self}; {self.help}" if self.help else str(self)

    def as_json(self) -> dict[str, Any]:
        named = {"file": self.file, "line": self.line, "kind": self.kind, "severity": self.severity}
        return {**named, "what": self.what, "help": self.help}


def errors(findings: Iterable[Finding]) -> list[Finding]:
    return [each for each in findings if each.is_error]


def warnings(findings: Iterable[Finding]) -> list[Finding]:
    return [each for each in findings if not each.is_error]


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings by file and line; of equal ones the most severe."""
    seen: dict[tuple[str, int | None, str], Finding] = {}
    for each in findings:
        key = each.file, each.line, each.what
        if key not in seen or each.is_error:
            seen[key] = each
    return sorted(seen.values(), key=lambda each: (each.file, each.line or 0))
