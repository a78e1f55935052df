"""The settings of a host, /etc/corpushooks/config.yaml: one schema is defaults, checks and documentation."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import json
import math
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from corpushooks.errors import ConfigError, UsageError
from corpushooks.project import check_branch, check_environment, check_name

T = TypeVar("T")

HINT = "docs/settings.md describes every key"
HEADER = "The settings of this host for corpushooks. A line that is commented out shows the default."
SECRET_KEYS = (
    "password", "passwd", "passphrase", "_pass", "secret", "token", "credential", "apikey", "api_key", "access_key",
    "private_key", "encryption_key",
)  # fmt: skip
GROUP_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


@dataclass(frozen=True)
class Kind:
    """What a value must be: in words, as a test, and how it is then taken (which may raise UsageError)."""

    words: str
    accepts: Callable[[Any], bool]
    take: Callable[[Any], Any] = lambda value: value


@dataclass(frozen=True)
class Key:
    """One key of the file; `per_project` where `projects.NAME` may say otherwise."""

    name: str
    kind: Kind
    default: Any
    doc: str
    per_project: bool


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)  # to Python, true is an int


def _is_positive(value: Any) -> bool:
    return (_is_whole(value) or isinstance(value, float)) and 0 < value < math.inf


def _is_mapping(value: Any) -> bool:
    return value is None or isinstance(value, dict)  # an empty `minion:` is what commenting out leaves


def _is_words(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(word, str) for word in value))


def _one_of(*choices: str) -> Kind:
    return Kind(" or ".join(choices), lambda value: value in choices)


HOST_NAME = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?")
ENVIRONMENT = Kind("an environment", lambda value: isinstance(value, str), check_environment)
ENGINE = _one_of("warm", "salt-call")
ROLLBACK = _one_of("on_failure", "always")
BRANCH = Kind("a branch", lambda value: isinstance(value, str), check_branch)
GROUP = Kind("a group name", lambda value: isinstance(value, str) and bool(GROUP_NAME.fullmatch(value)))
BOOLEAN = Kind("true or false", lambda value: isinstance(value, bool))
COUNT = Kind("a positive whole number", lambda value: _is_whole(value) and value > 0)
SIZE = Kind("a whole number of MiB", lambda value: _is_whole(value) and value >= 0)
SECONDS = Kind("a positive number of seconds", _is_positive)
LIMIT = Kind("a positive number of seconds, or null", lambda value: value is None or _is_positive(value))
WORDS = Kind("a list of words", _is_words, lambda value: tuple(value or ()))
PARTS = Kind(
    "a list of words",
    lambda value: isinstance(value, list) and all(isinstance(word, str) and word.strip() for word in value),
    tuple,
)
MAPPING = Kind("a mapping", _is_mapping, lambda value: value or {})
PROGRAM = Kind(
    "an absolute path, or null",
    lambda value: value is None or (isinstance(value, str) and value.startswith("/")),
    lambda value: value and Path(value),
)


ADDRESS = Kind(
    "a host name, name:port, or null",
    lambda value: value is None or (isinstance(value, str) and bool(HOST_NAME.fullmatch(value))),
)


def _key(default: T, kind: Kind, doc: str, per_project: bool = False) -> T:
    """Declare one key; what mypy takes for the default is a dataclass field."""
    about = {"kind": kind, "default": default, "doc": doc, "per_project": per_project}
    return dataclasses.field(default_factory=lambda: copy.deepcopy(default), metadata=about)


@dataclass(frozen=True)
class Settings:
    """What the host says; the order of the fields is the order in the documentation."""

    environment: str = _key("prod", ENVIRONMENT, "What kind of host this is; only dev is special.", True)
    branch: str = _key("master", BRANCH, "The branch whose pushes deploy.", True)
    engine: str = _key("warm", ENGINE, "How Salt runs: in a process kept warm, or salt-call for each SLS.")
    salt_python: Path | None = _key(None, PROGRAM, "The Python that has Salt; null: ours.")  # noqa: RUF009
    salt_call: Path | None = _key(None, PROGRAM, "The salt-call program; null: found.")  # noqa: RUF009
    keep_archives: int = _key(3, COUNT, "How many archives of a project are kept.", True)
    rollback: str = _key(
        "on_failure", ROLLBACK, "Whether a failed tree is left in place in dev, or rolled back always.", True
    )
    rollback_install: bool = _key(
        True, BOOLEAN, "Whether a roll back runs the install SLS of the restored release again.", True
    )
    env_defaults_win: bool = _key(False, BOOLEAN, "Whether env_defaults win over the pillar's data.", True)
    deploy_on_pillar_push: bool = _key(
        False,
        BOOLEAN,
        "Whether a push to pillar.git deploys at once, and not with the next deployment.",
        True,
    )
    enlarge: tuple[str, ...] = _key(
        (), WORDS, "The program, with its arguments, that makes room when the disk is short; empty is none."
    )
    reserve: int = _key(64, SIZE, "How much space must stay free on the disk.")
    max_parallel: int = _key(4, COUNT, "How many projects of this host may be deployed at once.")
    worker_idle_timeout: float = _key(
        600, SECONDS, "After how long without work the process that has Salt loaded leaves, to give its memory back."
    )
    idle_timeout: float = _key(300, SECONDS, "After how long without work an embedded daemon leaves.")
    stop_timeout: float | None = _key(
        60, LIMIT, "How long a daemon that stops waits for what runs, before it rolls that back; null is no limit."
    )
    step_timeout: float | None = _key(3600, LIMIT, "How long one step may take; null is no limit.", True)
    timeout: float | None = _key(7200, LIMIT, "How long a deployment may take; null is no limit.", True)
    secret_keys: tuple[str, ...] = _key(
        SECRET_KEYS,
        PARTS,
        "What is part of a key under which a secret stands in the pillar; - and _, small and capital are alike.",
        True,
    )
    secret_pillar: bool = _key(False, BOOLEAN, "Whether every value of the pillar is hidden as a secret is.", True)
    group: str = _key("corpus", GROUP, "The system group whose members may do everything.")
    account: str = _key("corpus", GROUP, "The account that ssh lets keys in as; it may nothing without one.")
    address: str | None = _key(
        None, ADDRESS, "What people call this host in ssh, a name or name:port; null is its own name."
    )
    authorized_keys: Path | None = _key(  # noqa: RUF009
        None, PROGRAM, "The file that keys are written to as well, where sshd cannot ask for them; null: none."
    )
    minion: Mapping[str, Any] = _key({}, MAPPING, "Further configuration of the Salt minion.")
    projects: Mapping[str, Mapping[str, Any]] = _key(
        {}, MAPPING, "What is different for a project, by its name; for example {hello: {keep_archives: 5}}."
    )

    def for_project(self, name: str) -> Settings:
        """Return the settings as the project `name` has them."""
        return dataclasses.replace(self, **self.projects.get(name, {}))


def schema() -> tuple[Key, ...]:
    """Return every key of the file, in the order of the documentation."""
    return tuple(Key(name=field.name, **field.metadata) for field in dataclasses.fields(Settings))


def document() -> str:
    """Return a configuration file in which every key stands commented out, explained, with its default."""
    blocks = ["\n".join(_comment(HEADER))]
    for key in schema():
        scope = "; also per project" if key.per_project else ""
        lines = _comment(f"{key.doc} ({key.kind.words}{scope})")
        default = list(key.default) if isinstance(key.default, tuple) else key.default
        given = textwrap.wrap(f"{key.name}: {json.dumps(default)}", 100, initial_indent="#", subsequent_indent="#    ")
        blocks.append("\n".join([*lines, *given]))
    return "\n\n".join(blocks) + "\n"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, 100, initial_indent="# ", subsequent_indent="# ")


def load(path: Path) -> Settings:
    """Read the settings from `path`; a file that does not exist says nothing.

    Raise ConfigError for the first thing that is wrong, with the file and the key, or the line.
    """
    try:
        return parse(path.read_bytes(), str(path))
    except FileNotFoundError:
        return Settings()
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror}", HINT) from exc


def parse(text: bytes | str, source: str) -> Settings:
    """Return the settings that `text` gives; `source` is what errors call it. Raise ConfigError."""
    try:
        found = _yaml(text)
        if not _is_mapping(found):
            raise ConfigError(f"expected a mapping of settings, got {shown(found)}")
        keys = {key.name: key for key in schema()}
        return Settings(**{name: _taken(keys, name, value) for name, value in (found or {}).items()})
    except UsageError as exc:
        raise ConfigError(f"{source}: {exc.message}", HINT) from exc


def _yaml(text: bytes | str) -> Any:
    """Read YAML, refusing a key that stands twice, of which PyYAML would drop one without a word."""
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        for twice in _twice(node, set()):
            raise ConfigError(f'line {twice.start_mark.line + 1}: "{twice.value}" stands twice')
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as exc:
        where = f"line {exc.problem_mark.line + 1}: " if exc.problem_mark else ""
        raise ConfigError(f"{where}{exc.problem}") from exc
    except (yaml.YAMLError, ValueError) as exc:  # ValueError: a date with a month 13
        raise ConfigError(str(exc).partition("\n")[0]) from exc


def _twice(node: yaml.Node, seen: set[int]) -> Iterator[yaml.ScalarNode]:
    """Find the keys that stand a second time in their mapping; `seen` are the nodes behind us (aliases)."""
    if id(node) in seen or isinstance(node, yaml.ScalarNode):
        return
    seen.add(id(node))
    names: set[tuple[str, str]] = set()
    for part in node.value:
        key, value = part if isinstance(part, tuple) else (None, part)
        if isinstance(key, yaml.ScalarNode):
            if (key.tag, key.value) in names:
                yield key
            names.add((key.tag, key.value))
        yield from _twice(value, seen)


def _taken(keys: Mapping[str, Key], name: Any, value: Any, above: str = "") -> Any:
    """Check one value, with the path `above` it, and return it as Settings holds it."""
    if name not in keys:
        near = difflib.get_close_matches(str(name), keys, 1)
        guess = f'; did you mean "{near[0]}"?' if near else ""
        raise ConfigError(f"{above and above[:-1] + ': '}unknown key {shown(name)}{guess}")
    kind = keys[name].kind
    if not kind.accepts(value):
        raise ConfigError(f"{above}{name}: expected {kind.words}, got {shown(value)}")
    try:
        return _overrides(keys, value or {}) if name == "projects" else kind.take(value)
    except ConfigError:
        raise  # it names its key already
    except UsageError as exc:
        raise ConfigError(f"{above}{name}: {exc.message}") from exc


def _overrides(keys: Mapping[str, Key], projects: Mapping[Any, Any]) -> dict[str, dict[str, Any]]:
    """Check what is said of single projects."""
    own = {name: key for name, key in keys.items() if key.per_project}
    result: dict[str, dict[str, Any]] = {}
    for project, body in projects.items():
        above = f"projects.{project}"
        if not isinstance(project, str):  # 0123 would be project "83"
            raise ConfigError(f"projects: expected a name, in quotes, got {shown(project)}")
        if not MAPPING.accepts(body):
            raise ConfigError(f"{above}: expected a mapping, got {shown(body)}")
        for name in body or {}:
            if name in keys and name not in own:
                raise ConfigError(f"{above}.{name}: is a setting of the host, not of a project")
        values = {name: _taken(own, name, value, f"{above}.") for name, value in (body or {}).items()}
        result[check_name(project)] = values
    return result


def shown(value: Any) -> str:
    """Return how an error message shows a wrong value."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple, set)):
        return "a list"
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
