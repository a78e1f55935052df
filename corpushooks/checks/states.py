"""Check the states of a rendered SLS: packages, files of salt://, commands."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from corpushooks.checks.finding import Finding
from corpushooks.checks.packages import judged, twice
from corpushooks.checks.programs import INSTEAD, PROVIDED_BY, programs

INSTALLS = ("pkg.installed", "pkg.latest")
RUNS = ("cmd.run", "cmd.wait", "cmd.script")
LEFT_OUT = "see: corpus help makina-states"
CONDITIONS = ("unless", "onlyif", "onfail", "creates", "check_cmd", "sources", "fromrepo")


@dataclass(frozen=True)
class Rendered:
    """One state of an SLS as it would run, and its position."""

    id: str
    function: str
    arguments: dict[str, Any]
    file: str  # its path in the repository, or the name of one of our files
    line: int | None
    place: Callable[[str], int | None]  # the line of a text below the state's id


def packages(states: Iterable[Rendered]) -> Iterator[tuple[Rendered, str, str]]:
    """Yield each package that states install, and its version."""
    for state in states:
        if state.function in INSTALLS:
            for name, version in _listed(state):
                yield state, name, version


def _listed(state: Rendered) -> list[tuple[str, str]]:
    """Return the names and versions of the packages of a state."""
    listed = state.arguments.get("pkgs")
    if not isinstance(listed, list):
        name = state.arguments.get("name", state.id)
        return [] if "sources" in state.arguments else [(str(name), str(state.arguments.get("version") or ""))]
    found = []
    for each in listed:
        pairs = each.items() if isinstance(each, dict) else [(each, "")]
        found += [(str(name), str(version or "")) for name, version in pairs]
    return found


def installed(
    states: Iterable[Rendered], known: Collection[str] | None, *, sure: bool, among: Collection[str]
) -> Iterator[Finding]:
    """Find packages that cannot be installed here, of those in `among`, which were looked up."""
    for state, name, _ in packages(states):
        if name not in among:
            continue
        always = sure and not any(word in state.arguments for word in CONDITIONS)
        if finding := judged(state.file, state.place(name) or state.line, name, known, sure=always):
            yield finding


def doubled(states: Iterable[Rendered]) -> Iterator[Finding]:
    """Find duplicate packages in a state."""
    for state in states:
        if state.function not in INSTALLS:
            continue
        versions: dict[str, list[str]] = {}
        for name, version in _listed(state):
            versions.setdefault(name.partition(":")[0], []).append(version)
        for name, said in versions.items():
            if len(said) > 1:
                yield twice(state.file, state.place(name) or state.line, name, set(said) - {""})


def sources(states: Iterable[Rendered], exists: Callable[[str], bool]) -> Iterator[Finding]:
    """Find missing files of salt://; one of several alternatives is enough."""
    for state in states:
        given = state.arguments.get("source")
        every = [each for each in (given if isinstance(given, list) else [given]) if isinstance(each, str)]
        ours = [each.partition("?")[0].removeprefix("salt://") for each in every if each.startswith("salt://")]
        if ours and len(ours) == len(every) and not any(map(exists, ours)):
            name = ours[0]
            line = state.place(name) or state.place(name.rpartition("/")[2]) or state.line
            yield missing(state.file, line, name)


def missing(file: str, line: int | None, name: str) -> Finding:
    return Finding("missing", file, line, f"salt://{name} does not exist", "add the file, or correct its path")


def commands(states: Iterable[Rendered], present: Callable[[str], bool], brought: Collection[str]) -> Iterator[Finding]:
    """Find programs that are missing on this host and that no package of the project (`brought`) installs."""
    for state in states:
        if state.function not in RUNS or "://" in str(state.arguments.get("source", "")):
            continue
        for name in programs(str(state.arguments.get("name", state.id))):
            providers = PROVIDED_BY.get(name)
            if present(name) or any(provider in brought for provider in providers or ()):
                continue
            line = state.place(name) or state.line
            yield Finding(
                "command", state.file, line, f"command {name} not found on this host", _advice(name, providers)
            )


def _advice(name: str, providers: tuple[str, ...] | None) -> str:
    if providers:
        return f"install the package {providers[0]}"
    return INSTEAD.get(name, "provide it by a file or a package of the project")


def left_out(states: Iterable[Rendered]) -> Iterator[Finding]:
    """Find parts of makina-states that our files leave out."""
    for state in states:
        if state.function == "mc_proxy.missing":
            yield Finding("left-out", state.file, state.line, str(state.arguments.get("what")), LEFT_OUT)


def certificates(states: Iterable[Rendered]) -> Iterator[Finding]:
    """Find virtual hosts that get a self-signed certificate."""
    for state in states:
        names = dict(state.arguments.get("self_signed") or {}).get("names")
        if names and state.function == "mc_service.configured":
            what = f"no certificate for {names[0]}: a self-signed one is created, which browsers warn about"
            yield Finding(
                "certificate", state.file, state.place(names[0]) or state.line, what, "set ssl_cert and ssl_key"
            )
