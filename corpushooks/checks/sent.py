"""Find files of a project that git does not send, or that are not deployed or read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from corpushooks.checks.finding import Finding

LINK, SUBMODULE = 0o120000, 0o160000
SAMPLE = "PILLAR.sample"
ENVIRONMENTS = ("dev", "staging", "prod", "preprod", "production", "qa", "test", "testing", "recette", "integration")
_FILTER = re.compile(r"(?:^|\s)filter=(\S+)")
FILTER_HELP = {
    "lfs": "commit the files themselves, or fetch them in an SLS",
    "git-crypt": "put secrets into the pillar",
}
NAMED = 3  # files of one kind that are listed individually


@dataclass(frozen=True)
class Sent:
    """The state of a working tree in git."""

    modes: Mapping[str, int]  # path -> mode, of the index
    untracked: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()  # since the last commit


def of_commit(modes: Mapping[str, int], attributes: Mapping[str, str], environment: str) -> list[Finding]:
    """Check the paths of a commit (path -> mode) and its .gitattributes files (path -> text)."""
    return [*_salt(modes), *_submodules(modes), *_filters(attributes), *_names(modes, environment)]


def of_folder(sent: Sent) -> Iterator[Finding]:
    """Find files in the .salt of a working tree that would not be sent."""
    for paths, state, sends, help_ in (
        (sent.untracked, "not in git", "does not send", "git add"),
        (sent.ignored, "ignored by git", "does not send", "git add -f"),
        (sent.changed, "changed since the last commit", "sends the committed form of", "git commit"),
    ):
        for path in paths if len(paths) <= NAMED else ():
            yield Finding("unsent", path, None, f"{state}: a push {sends} it", f"{help_} {path}")
        if len(paths) > NAMED:
            some = ", ".join(path.removeprefix(".salt/") for path in paths[:NAMED])
            what = f"{len(paths)} files are {state} ({some}, …): a push {sends} them"
            yield Finding("unsent", ".salt", None, what, f"{help_} .salt")


def _salt(modes: Mapping[str, int]) -> Iterator[Finding]:
    mode = modes.get(".salt")
    if mode == SUBMODULE:
        help_ = "add its files to this repository: git rm --cached .salt, then git add .salt"
        yield Finding("name", ".salt", None, ".salt is a submodule, and submodules are not deployed", help_)
    if mode == LINK:
        yield Finding("name", ".salt", None, ".salt is a symbolic link, which is not followed", "use the folder itself")


def _submodules(modes: Mapping[str, int]) -> Iterator[Finding]:
    for path in (path for path, mode in modes.items() if mode == SUBMODULE and path != ".salt"):
        help_ = "fetch it in an SLS (git.latest), or add its files to the repository"
        yield Finding("submodule", path, None, "a submodule, not fetched: the folder is deployed empty", help_)


def _filters(attributes: Mapping[str, str]) -> Iterator[Finding]:
    for file, text in attributes.items():
        for number, line in enumerate(text.splitlines(), 1):
            if (found := _FILTER.search(line)) and not line.lstrip().startswith("#"):
                pattern, name = line.split()[0], found[1]
                what = f"{pattern} has the filter {name}, which is not run: the files are deployed as git stores them"
                yield Finding("filter", file, number, what, FILTER_HELP.get(name, "commit what the filter makes"))


def _names(modes: Mapping[str, int], environment: str) -> Iterator[Finding]:
    """Find files and folders of .salt that are not read, although they look as if they were."""
    own = {path.split("/")[1] for path in modes if path.startswith(f".salt/{environment}/") and path.endswith(".sls")}
    for path in modes:
        folder, _, name = path.rpartition("/")
        if folder not in (".salt", f".salt/{environment}"):
            continue
        if name.lower().endswith(".sls") and not name.endswith(".sls"):
            yield Finding(
                "unread", path, None, "nothing reads it: its name does not end in .sls", f"rename it to {name[:-4]}.sls"
            )
        elif name != SAMPLE and name.lower().startswith(SAMPLE.lower()) and SAMPLE not in _names_in(modes, folder):
            yield Finding(
                "unread", path, None, f"nothing reads it: the name must be {SAMPLE}", f"rename it to {SAMPLE}"
            )
    for name in () if own else _environments(modes):
        what = f"nothing reads the SLS files of .salt/{name}: the environment here is {environment}"
        help_ = f"the folder of this environment would be .salt/{environment}"
        yield Finding("unread", f".salt/{name}", None, what, help_)


def _names_in(modes: Iterable[str], folder: str) -> set[str]:
    return {path.rpartition("/")[2] for path in modes if path.rpartition("/")[0] == folder}


def _environments(modes: Mapping[str, int]) -> list[str]:
    """Return the folders of .salt that have the name of an environment, and SLS files."""
    found = {path.split("/")[1] for path in modes if re.fullmatch(r"\.salt/[^/]+/[^/]+\.sls", path)}
    return sorted(name for name in found if name.lower() in ENVIRONMENTS)
