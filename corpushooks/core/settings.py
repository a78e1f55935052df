"""The settings of a host, /etc/corpushooks/config.yaml: one schema is defaults, checks and documentation."""

from __future__ import annotations

import dataclasses
import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from corpushooks.core.backups import Backup, backup
from corpushooks.core.directory import Directory, directory
from corpushooks.core.errors import ConfigError, NotAllowedError, UsageError
from corpushooks.core.hints import Hint, command
from corpushooks.core.notification import EVENTS, FAILURE, HEALTHY, HELD, INIT, OVERDUE, RECOVERY, UNHEALTHY
from corpushooks.core.project import check_branch, check_environment, check_name
from corpushooks.core.schema import (
    BOOLEAN,
    PROGRAM,
    SECONDS,
    Key,
    Kind,
    is_mapping,
    is_positive,
    is_whole,
    keys_of,
    one_of,
    shown,
    taken,
)
from corpushooks.core.schema import setting as _key

HINT = Hint(command("help", "settings"), " describes every key")
HEADER = "The settings of this host for corpushooks. A line that is commented out shows the default."
SECRET_KEYS = (
    "password", "passwd", "passphrase", "_pass", "secret", "token", "credential", "apikey", "api_key", "access_key",
    "private_key", "encryption_key",
)  # fmt: skip
GROUP_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


def _is_words(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(word, str) for word in value))


HOST_NAME = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?")
ENVIRONMENT = Kind("an environment", lambda value: isinstance(value, str), check_environment)
ENGINE = one_of("warm", "salt-call")
AUTH = one_of("keys", "ldap")
ROLLBACK = one_of("on_failure", "always")
BRANCH = Kind("a branch", lambda value: isinstance(value, str), check_branch)
GROUP = Kind("a group name", lambda value: isinstance(value, str) and bool(GROUP_NAME.fullmatch(value)))
COUNT = Kind("a positive whole number", lambda value: is_whole(value) and value > 0)
SIZE = Kind("a whole number of MiB", lambda value: is_whole(value) and value >= 0)
INTERVAL = Kind("a number of seconds, or 0", lambda value: is_positive(value) or (is_whole(value) and value == 0))
LIMIT = Kind("a positive number of seconds, or null", lambda value: value is None or is_positive(value))
WORDS = Kind("a list of words", _is_words, lambda value: tuple(value or ()))
PARTS = Kind(
    "a list of words",
    lambda value: isinstance(value, list) and all(isinstance(word, str) and word.strip() for word in value),
    tuple,
)
MAPPING = Kind("a mapping", is_mapping, lambda value: value or {})
PROJECTS = Kind("a mapping", is_mapping, lambda value: _overrides(value or {}))
LDAP = Kind("a mapping, or null", is_mapping, directory)
BACKUP = Kind("a mapping, or null", is_mapping, backup)
ADDRESS = Kind(
    "a host name, name:port, or null",
    lambda value: value is None or (isinstance(value, str) and bool(HOST_NAME.fullmatch(value))),
)


def _urls(found: list[str] | None) -> tuple[str, ...]:
    for index, url in enumerate(found or (), 1):
        if not URL.fullmatch(url):
            raise UsageError(f"number {index} of the list is no URL: scheme://…")
    return tuple(found or ())


URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
URLS = Kind("a list of URLs", _is_words, _urls, secret=True)
HAPPENINGS = Kind(
    f"a list of {', '.join(EVENTS)}",
    lambda value: _is_words(value) and set(value or ()) <= set(EVENTS),
    lambda value: tuple(value or ()),
)


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
    watch: bool = _key(
        False, BOOLEAN, "Whether what is edited in project/ and pillar/ is deployed as it is saved, in dev.", True
    )
    enlarge: tuple[str, ...] = _key(
        (), WORDS, "The program, with its arguments, that makes room when the disk is short; empty is none."
    )
    reserve: int = _key(64, SIZE, "How much space must stay free on the disk.")
    max_parallel: int = _key(4, COUNT, "How many projects of this host may be deployed at once.")
    max_commands: int = _key(20, COUNT, "How many commands of `corpus run` may run on this host at once.")
    worker_idle_timeout: float = _key(
        600, SECONDS, "After how long without work the process that has Salt loaded leaves, to give its memory back."
    )
    idle_timeout: float = _key(300, SECONDS, "After how long without work an embedded daemon leaves.")
    stop_timeout: float | None = _key(
        60, LIMIT, "How long a daemon that stops waits for what runs, before it rolls that back; null is no limit."
    )
    step_timeout: float | None = _key(3600, LIMIT, "How long one step may take; null is no limit.", True)
    timeout: float | None = _key(7200, LIMIT, "How long a deployment may take; null is no limit.", True)
    confirm: float = _key(
        0,
        INTERVAL,
        "How long each deployment is held for somebody to confirm it, before it is rolled back; 0 is not at all.",
        True,
    )
    confirm_limit: float = _key(3600, SECONDS, "The longest time that a request can ask for to be held.")
    health_every: float = _key(
        60,
        INTERVAL,
        "How often each live project is asked, between deployments, what its health says; 0 is never.",
        True,
    )
    health_failures: int = _key(3, COUNT, "After how many failures of that in a row people are notified.", True)
    secret_keys: tuple[str, ...] = _key(
        SECRET_KEYS,
        PARTS,
        "What is part of a key under which a secret stands in the pillar; - and _, small and capital are alike.",
        True,
    )
    secret_pillar: bool = _key(False, BOOLEAN, "Whether every value of the pillar is hidden as a secret is.", True)
    notify: tuple[str, ...] = _key(
        (), URLS, "Who is notified: URLs as apprise has them. They may hold passwords, which nothing shows.", True
    )
    notify_on: tuple[str, ...] = _key(
        (FAILURE, RECOVERY, HELD, INIT, UNHEALTHY, HEALTHY, OVERDUE),
        HAPPENINGS,
        "Of what: failure, recovery (the first success after one), success, held (it waits for confirmation), init (a"
        " new project), unhealthy and healthy (what health asks between deployments), overdue (a backup or a drill).",
        True,
    )
    group: str = _key("corpus", GROUP, "The system group whose members may do everything.")
    account: str = _key("corpus", GROUP, "The account that ssh lets keys in as; it may nothing without one.")
    web_account: str = _key("corpus-web", GROUP, "The account of `corpus web`; it has no rights without a token.")
    address: str | None = _key(
        None, ADDRESS, "What people call this host in ssh, a name or name:port; null is its own name."
    )
    authorized_keys: Path | None = _key(  # noqa: RUF009
        None, PROGRAM, "The file that keys are written to as well, where sshd cannot ask for them; null: none."
    )
    auth: str = _key("keys", AUTH, "Whose ssh keys are let in: those that were added, or those of a directory too.")
    ldap: Directory | None = _key(None, LDAP, "The directory, for auth: ldap; its keys: corpus help ldap.")  # noqa: RUF009
    backup: Backup | None = _key(None, BACKUP, "Where backups are kept; its keys: corpus help backups.")  # noqa: RUF009
    minion: Mapping[str, Any] = _key({}, MAPPING, "Further configuration of the Salt minion.")
    projects: Mapping[str, Mapping[str, Any] | ConfigError] = _key(  # the error, where it is wrong: it is its own alone
        {}, PROJECTS, "What is different for a project, by its name; for example {hello: {keep_archives: 5}}."
    )

    def for_project(self, name: str) -> Settings:
        """Return the settings as the project `name` has them; raise ConfigError where its own are wrong."""
        own = self.projects.get(name, {})
        if isinstance(own, ConfigError):
            raise ConfigError.of(own)
        return dataclasses.replace(self, **own)

    def sound(self, name: str) -> Settings:
        """Return the settings as the project `name` has them, or the host's where its own are wrong."""
        return self if isinstance(self.projects.get(name), ConfigError) else self.for_project(name)

    @property
    def own(self) -> dict[str, Mapping[str, Any]]:
        """What is different for projects, without what is wrong."""
        return {name: own for name, own in self.projects.items() if not isinstance(own, ConfigError)}

    @property
    def wrong(self) -> dict[str, ConfigError]:
        """The projects whose own settings are wrong."""
        return {name: own for name, own in self.projects.items() if isinstance(own, ConfigError)}


def schema() -> tuple[Key, ...]:
    """Return every key of the file, in the order of the documentation."""
    return tuple(keys_of(Settings).values())


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
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise ConfigError("not a file", HINT, (str(path),))
        return parse(path.read_bytes(), str(path))
    except FileNotFoundError:
        return Settings()
    except PermissionError:
        raise NotAllowedError(f"this account cannot read {path}") from None
    except OSError as exc:
        raise ConfigError(str(exc.strerror), HINT, (str(path),)) from exc


def parse(text: bytes | str, source: str) -> Settings:
    """Return the settings that `text` gives; `source` is what errors call it. Raise ConfigError."""
    try:
        found = _yaml(text)
        if not is_mapping(found):
            raise ConfigError(f"expected a mapping of settings, got {shown(found)}")
        settings = Settings(**taken(keys_of(Settings), found or {}))
        if settings.auth == "ldap" and settings.ldap is None:
            raise ConfigError("ldap needs the key ldap, which says where the directory is", where=("auth",))
        wrong = {name: ConfigError.of(exc, source, hint=HINT) for name, exc in settings.wrong.items()}
        return dataclasses.replace(settings, projects={**settings.projects, **wrong})
    except UsageError as exc:
        raise ConfigError.of(exc, source, hint=HINT) from exc


def _yaml(text: bytes | str) -> Any:
    """Read YAML, refusing a duplicate key, of which PyYAML would drop one without a word."""
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        for twice in _twice(node, set()):
            raise ConfigError(f'duplicate key "{twice.value}"', where=(f"line {twice.start_mark.line + 1}",))
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as exc:
        where = (f"line {exc.problem_mark.line + 1}",) if exc.problem_mark else ()
        raise ConfigError(str(exc.problem), where=where) from exc
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


def _overrides(projects: Mapping[Any, Any]) -> dict[str, dict[str, Any] | ConfigError]:
    """Check what is said of single projects; what is wrong there is wrong for that project alone."""
    result: dict[str, dict[str, Any] | ConfigError] = {}
    for project, body in projects.items():
        if not isinstance(project, str):  # 0123 would be project "83"
            raise ConfigError(f"expected a name, in quotes, got {shown(project)}", where=("projects",))
        try:
            result[check_name(project)] = _override(f"projects.{project}", body)
        except ConfigError as exc:
            result[project] = exc
    return result


def _override(above: str, body: Any) -> dict[str, Any]:
    """Return what is said of one project; raise ConfigError."""
    keys = keys_of(Settings)
    own = {name: key for name, key in keys.items() if key.per_project}
    if not MAPPING.accepts(body):
        raise ConfigError(f"expected a mapping, got {shown(body)}", where=(above,))
    for name in body or {}:
        if name in keys and name not in own:
            raise ConfigError("is a setting of the host, not of a project", where=(f"{above}.{name}",))
    return taken(own, body or {}, f"{above}.")
