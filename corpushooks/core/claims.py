"""The claims of a project on its host: TCP ports, and the addresses at which it answers. Values only."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from corpushooks.core import hints
from corpushooks.core.errors import ConfigError
from corpushooks.core.text import shown

PORT, NAME = "port", "name"
HINT = hints.command("help", "claims")
AUTO = "auto"  # the value of a port that we choose
CHOICE = range(20000, 30000)  # below the ephemeral ports of the kernel
SCHEMES = {"http": 80, "https": 443}
HOST = re.compile(r"[^\s/@?#{}]+")

Give = Callable[[str], int]  # the port for a key of data


@dataclass(frozen=True)
class Claim:
    """One port, or one address. `key` is the key of data that names the port, or the URL of the address."""

    kind: str
    value: str  # 8000, or example.org:80 and possibly a path
    key: str

    def __str__(self) -> str:
        if self.kind == NAME:
            return f"address {shown(self.key, 100)}"
        return f"port {self.value}{f' ({shown(self.key)})' if self.key else ''}"


@dataclass(frozen=True)
class Held:
    """A claim and the project that has it."""

    claim: Claim
    project: str
    asked: int  # the newest deployment that asked for it


def given(cfg: Mapping[str, Any], give: Give) -> dict[str, Any]:
    """Return a cfg in which every port `auto` is replaced by its number."""
    data, keys = cfg["data"], [each for each in flat(cfg.get("ports")) if isinstance(each, str)]
    return {**cfg, "data": {**data, **{key: give(key) for key in keys if data.get(key) == AUTO}}}


def first(key: str) -> int:
    """Give a port without knowledge of the host."""
    return CHOICE.start


def giver(project: str, held: Sequence[Held], is_free: Callable[[int], bool]) -> Give:
    """Return a function that gives a project its ports: those that it has, otherwise free ones."""
    own = {
        each.claim.key: int(each.claim.value)
        for each in sorted(held, key=lambda each: each.asked)
        if each.claim.kind == PORT and each.project == project
    }
    taken = {each.claim.value for each in held if each.claim.kind == PORT}

    def give(key: str) -> int:
        if key not in own:
            free = (port for port in CHOICE if str(port) not in taken and is_free(port))
            if (port := next(free, None)) is None:
                raise ConfigError(f"no free port from {CHOICE.start} to {CHOICE.stop - 1}", where=("cfg", key))
            own[key] = port
            taken.add(str(port))
        return own[key]

    return give


def of(cfg: Mapping[str, Any]) -> list[Claim]:
    """Return the claims in the `ports` and `urls` of a cfg; raise ConfigError."""
    every = [*(_port(each, cfg["data"]) for each in flat(cfg.get("ports"))), *_names(flat(cfg.get("urls")))]
    return list({(each.kind, each.value): each for each in reversed(every)}.values())[::-1]


def flat(value: Any) -> Iterator[Any]:
    """Yield the entries of a list that can contain other lists, put there by references."""
    if isinstance(value, (list, tuple)):
        for inner in value:
            yield from flat(inner)
    elif value not in (None, ""):
        yield value


def _port(entry: Any, data: Mapping[str, Any]) -> Claim:
    key = "" if str(entry).isdigit() else str(entry)
    if key and key not in data:
        raise ConfigError(f"unknown key of data {shown(key)!r}", "use a key of data, or a number", ("cfg", "ports"))
    number = data[key] if key else entry
    text = str(number)
    if isinstance(number, bool) or not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        where = ("cfg", "ports", *([f"data.{shown(key)}"] if key else []))
        raise ConfigError("expected a port from 1 to 65535, or auto", HINT, where)
    return Claim(PORT, str(int(text)), key)


def _names(entries: Iterable[Any]) -> Iterator[Claim]:
    """Parse URLs; a name without a scheme has the scheme and port of the entry before it."""
    scheme, port = "http", SCHEMES["http"]
    for entry in map(str, entries):
        head, found, rest = entry.partition("://")
        if found and head.lower() not in SCHEMES:
            raise ConfigError(f"invalid URL {shown(entry)!r}: expected http:// or https://", HINT, ("cfg", "urls"))
        if found:
            scheme, port = head.lower(), SCHEMES[head.lower()]
        host, _, path = (rest if found else entry).partition("/")
        name, colon, number = host.rpartition(":")
        if colon and number.isascii() and number.isdigit():
            host, port = name, int(number)
        host, path = host.lower().rstrip("."), f"/{path}".rstrip("/")
        if not HOST.fullmatch(host) or not 0 < port < 65536 or not HOST.fullmatch(path.replace("/", "-") or "-"):
            raise ConfigError(f"invalid URL {shown(entry)!r}", HINT, ("cfg", "urls"))
        place = "" if port == SCHEMES[scheme] else f":{port}"
        yield Claim(NAME, f"{host}:{port}{path}", f"{scheme}://{host}{place}{path}")


def remedy(project: str, claim: Claim, cfg: Mapping[str, Any]) -> str:
    """Return which key to set if another project has a claim."""
    own = f"makina-projects.{project}"
    if claim.kind == PORT:
        what = f"{own}.data.{claim.key}: {AUTO}" if claim.key else f"another number in {own}.ports"
        return f"set {what} in the pillar"
    host = claim.value.partition("/")[0].rpartition(":")[0]
    found = (key for key, value in cfg["data"].items() if host in [str(each).lower() for each in flat(value)])
    key = next(found, "")
    return f"set another name in the pillar: {own}.{f'data.{key}' if key else 'urls'}"
