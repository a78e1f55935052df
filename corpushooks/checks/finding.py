"""Findings: what is wrong in a file, where, and what helps; and the table of their kinds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True)
class Kind:
    """One kind of finding: how severe it is, what it means, what helps."""

    severity: str
    means: str
    helps: str
    unreadable: bool = False  # Salt cannot be asked about such a file
    of_salt: bool = False  # Salt says it, too, when it compiles the file
    passing: bool = False  # an SLS that runs before may change it


KINDS: Mapping[str, Kind] = {  # the page on makina-states has this table too
    "syntax": Kind(ERROR, "Jinja or YAML that cannot be read", "correct the line", unreadable=True, of_salt=True),
    "compile": Kind(ERROR, "what Salt refuses when it compiles the file", "correct the line", of_salt=True),
    "missing": Kind(
        ERROR, "an include, an import, a function or a `salt://` file that does not exist",
        "add it, or what the tables below have instead", of_salt=True,
    ),
    "package": Kind(
        ERROR, "a package that the lists of this host's apt do not have", "the successor it names, or `--fix`",
    ),
    "versions": Kind(ERROR, "a package named twice in one state, with two versions", "keep one"),
    "encoding": Kind(ERROR, "a file that is not UTF-8, or an LFS pointer", "save it as UTF-8", unreadable=True),
    "file": Kind(
        ERROR, "an SLS file or a sample that is a pipe, a socket or a device, or larger than 8 MiB", "put a plain file",
    ),
    "config": Kind(ERROR, "a cfg or a pillar that cannot be computed", "correct the key that it names"),
    "name": Kind(ERROR, "a name, a link or a path that Salt or git cannot use", "rename it, or put the file itself"),
    "option": Kind(ERROR, "an option that `resetperms` does not have", "`resetperms --help`"),
    "claim": Kind(
        ERROR, "a port or an address that belongs to another project of this host", "set the key that it names",
    ),
    "foreign": Kind(
        ERROR, "a pillar or a sample in which nothing is for this project",
        "correct the name of the project", unreadable=True,
    ),
    "absent": Kind(
        WARNING, "a package without a candidate now, where a state or a condition of the project may change that",
        "nothing, if it does",
    ),
    "gone": Kind(WARNING, "a package that Debian 12 no longer has; there are no apt lists here to ask", "`--fix`"),
    "doubled": Kind(WARNING, "a package named twice in one state", "nothing: it is installed once; or `--fix`"),
    "command": Kind(
        WARNING, "a command that is not on this host, and that no package of the project is known to bring",
        "add the package",
    ),
    "certificate": Kind(
        WARNING, "a virtual host for https without a certificate: a self-signed one is made, of which browsers warn",
        "`ssl_cert` and `ssl_key`, or the settings below",
    ),
    "left-out": Kind(WARNING, "what a file or a macro of makina-states did and ours does not", "what it says"),
    "not-run": Kind(WARNING, "a command that Jinja runs: a check runs none and takes its output as empty", "nothing"),
    "later": Kind(
        WARNING, "a state or a function that needs a program which is not installed yet",
        "nothing", of_salt=True, passing=True,
    ),
    "value": Kind(WARNING, "a value that cfg has as text, since JSON has no other form for it", "write it as text"),
    "unread": Kind(WARNING, "a key, a file or a folder that nothing reads", "the nearest name, which it says"),
    "submodule": Kind(WARNING, "a submodule: its files are not deployed", "fetch it in an SLS, or commit the files"),
    "filter": Kind(
        WARNING, "files with a filter of git (LFS, git-crypt), which is not run: they are deployed as git stores them",
        "commit the files themselves; put secrets into the pillar",
    ),
    "unsent": Kind(WARNING, "files of the working copy that a push would not send", "`git add`, `git commit`"),
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing, in a file of a project."""

    kind: str
    file: str  # its path in the repository
    line: int | None
    what: str
    help: str = ""

    @property
    def sort(self) -> Kind:
        """What its kind means."""
        return KINDS[self.kind]

    @property
    def severity(self) -> str:
        return self.sort.severity

    @property
    def is_error(self) -> bool:
        return self.severity == ERROR

    @property
    def short(self) -> str:
        """Return the file as people call it: below .salt by its path there."""
        return self.file.removeprefix(".salt/").removeprefix("pillar/") or self.file

    def __str__(self) -> str:
        place = f"{self.short} line {self.line}" if self.line else self.short
        return f"{place}: {self.what}"

    @property
    def text(self) -> str:
        """Return the whole of it: what is wrong, and what helps."""
        return f"{self}; {self.help}" if self.help else str(self)

    def as_json(self) -> dict[str, Any]:
        named = {"file": self.file, "line": self.line, "kind": self.kind, "severity": self.severity}
        return {**named, "what": self.what, "help": self.help}


def errors(findings: Iterable[Finding]) -> list[Finding]:
    return [each for each in findings if each.is_error]


def warnings(findings: Iterable[Finding]) -> list[Finding]:
    return [each for each in findings if not each.is_error]


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings by file and line, of those that say the same the most severe."""
    seen: dict[tuple[str, int | None, str], Finding] = {}
    for each in findings:
        key = each.file, each.line, each.what
        if key not in seen or each.is_error:
            seen[key] = each
    return sorted(seen.values(), key=lambda each: (each.file, each.line or 0))
