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
from corpushooks.core.policy import Policy, policy
from corpushooks.core.project import check_branch, check_environment, check_name
from corpushooks.core.provider import Provider, provider
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
OIDC = Kind("a mapping, or null", is_mapping, provider)
BACKUP = Kind("a mapping, or null", is_mapping, backup)
ROLLOUT = Kind("a mapping, or null", is_mapping, policy)
ADDRESS = Kind(
    "a host name, name:port, or null",
    lambda value: value is None or (isinstance(value, str) and bool(HOST_NAME.fullmatch(value))),
)
WEB = re.compile(r"https://[A-Za-z0-9.-]+(:[0-9]{1,5})?/?|http://(localhost|127\.0\.0\.1)(:[0-9]{1,5})?/?")
WEB_URL = Kind(
    "https://HOST, or null",
    lambda value: value is None or (isinstance(value, str) and bool(WEB.fullmatch(value))),
    lambda value: value and value.rstrip("/"),
)


def _urls(found: list[str] | None) -> tuple[str, ...]:
    for index, url in enumerate(found or (), 1):
        if not URL.fullmatch(url):
            raise UsageError(f"item {index} is not a URL: expected scheme://…")
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
    """The settings of a host; the order of the fields is the order in the documentation."""

    environment: str = _key("prod", ENVIRONMENT, "What kind of host this is; only dev is special.", True)
    branch: str = _key("master", BRANCH, "The branch whose pushes deploy.", True)
    engine: str = _key("warm", ENGINE, "How Salt runs: in a warm process, or as one salt-call for each SLS.")
    salt_python: Path | None = _key(None, PROGRAM, "The Python that has Salt installed; null: the one of corpushooks.")  # noqa: RUF009
    salt_call: Path | None = _key(None, PROGRAM, "The salt-call program; null: the one on PATH.")  # noqa: RUF009
    keep_archives: int = _key(3, COUNT, "How many archives of a project are kept.", True)
    rollback: str = _key(
        "on_failure",
        ROLLBACK,
        "In dev, whether a failed tree stays in place (on_failure) or is rolled back (always).",
        True,
    )
    rollback_install: bool = _key(
        True, BOOLEAN, "Whether a rollback runs the install SLS of the restored release again.", True
    )
    env_defaults_win: bool = _key(False, BOOLEAN, "Whether env_defaults override the data of the pillar.", True)
    deploy_on_pillar_push: bool = _key(
        False,
        BOOLEAN,
        "Whether a push to pillar.git deploys at once instead of with the next deployment.",
        True,
    )
    watch: bool = _key(
        False, BOOLEAN, "In dev, whether edits in project/ and pillar/ are deployed when they are saved.", True
    )
    enlarge: tuple[str, ...] = _key(
        (), WORDS, "The command that makes room when the disk is nearly full, as a list; empty: none."
    )
    reserve: int = _key(64, SIZE, "The disk space that must stay free.")
    max_parallel: int = _key(4, COUNT, "How many projects of this host can be deployed at once.")
    max_commands: int = _key(20, COUNT, "How many commands of `corpus run` can run on this host at once.")
    worker_idle_timeout: float = _key(
        600, SECONDS, "The idle time after which the process that has Salt loaded exits, to free its memory."
    )
    idle_timeout: float = _key(300, SECONDS, "The idle time after which an embedded daemon exits.")
    stop_timeout: float | None = _key(
        60, LIMIT, "How long a stopping daemon waits for running deployments before it rolls them back; null: no limit."
    )
    step_timeout: float | None = _key(3600, LIMIT, "The timeout of one step; null: none.", True)
    timeout: float | None = _key(7200, LIMIT, "The timeout of a deployment; null: none.", True)
    confirm: float = _key(
        0,
        INTERVAL,
        "How long each deployment is held for confirmation before it is rolled back; 0: it is not held.",
        True,
    )
    confirm_limit: float = _key(3600, SECONDS, "The longest hold that a request can ask for.")
    health_every: float = _key(
        60,
        INTERVAL,
        "How often the health checks of each live project run between deployments; 0: never.",
        True,
    )
    health_failures: int = _key(3, COUNT, "How many health checks in a row must fail before a notification.", True)
    secret_keys: tuple[str, ...] = _key(
        SECRET_KEYS,
        PARTS,
        "Words that mark a key of the pillar as secret where they are part of it; case, - and _ make no difference.",
        True,
    )
    secret_pillar: bool = _key(False, BOOLEAN, "Whether every value of the pillar is hidden as a secret.", True)
    notify: tuple[str, ...] = _key(
        (), URLS, "Who is notified, as apprise URLs. Passwords in them are never shown.", True
    )
    notify_on: tuple[str, ...] = _key(
        (FAILURE, RECOVERY, HELD, INIT, UNHEALTHY, HEALTHY, OVERDUE),
        HAPPENINGS,
        "What is notified: failure, recovery (the first success after one), success, held (it waits for confirmation),"
        " init (a new project), unhealthy and healthy (the health checks between deployments), overdue (a backup or a"
        " drill).",
        True,
    )
    group: str = _key("corpus", GROUP, "The system group whose members have every right.")
    account: str = _key("corpus", GROUP, "The account that ssh keys log in as; it has no rights without a key.")
    web_account: str = _key("corpus-web", GROUP, "The account of `corpus web`; it has no rights without a token.")
    web_url: str | None = _key(
        None,
        WEB_URL,
        "The address of the pages, for links to them; null: port 8040 of this machine.",
    )
    address: str | None = _key(
        None, ADDRESS, "The address of this host for ssh, a name or name:port; null: its own name."
    )
    authorized_keys: Path | None = _key(  # noqa: RUF009
        None, PROGRAM, "A file that keys are also written to, if sshd cannot ask for them; null: none."
    )
    auth: str = _key("keys", AUTH, "Which ssh keys are accepted: those that were added, or also those of a directory.")
    ldap: Directory | None = _key(None, LDAP, "The directory for auth: ldap; see corpus help ldap.")  # noqa: RUF009
    oidc: Provider | None = _key(  # noqa: RUF009
        None, OIDC, "The provider of OpenID Connect by which people sign in to the pages; see corpus help oidc."
    )
    backup: Backup | None = _key(None, BACKUP, "The repository of backups; see corpus help backups.")  # noqa: RUF009
    rollout: Policy | None = _key(  # noqa: RUF009
        None, ROLLOUT, "How a project with several nodes is rolled out; see corpus help fleet.", True
    )
    minion: Mapping[str, Any] = _key({}, MAPPING, "Further configuration of the Salt minion.")
    projects: Mapping[str, Mapping[str, Any] | ConfigError] = _key(  # an error concerns that project alone
        {}, PROJECTS, "Settings of single projects, by name; for example {hello: {keep_archives: 5}}."
    )

    def for_project(self, name: str) -> Settings:
        """Return the settings of the project `name`; raise ConfigError if its own are wrong."""
        own = self.projects.get(name, {})
        if isinstance(own, ConfigError):
            raise ConfigError.of(own)
        return dataclasses.replace(self, **own)

    def sound(self, name: str) -> Settings:
        """Return the settings of the project `name`, or the host's if its own are wrong."""
        return self if isinstance(self.projects.get(name), ConfigError) else self.for_project(name)

    @property
    def own(self) -> dict[str, Mapping[str, Any]]:
        """The valid settings of single projects."""
        return {name: own for name, own in self.projects.items() if not isinstance(own, ConfigError)}

    @property
    def wrong(self) -> dict[str, ConfigError]:
        """The projects whose own settings are wrong."""
        return {name: own for name, own in self.projects.items() if isinstance(own, ConfigError)}


def schema() -> tuple[Key, ...]:
    """Return every key of the file, in the order of the documentation."""
    return tuple(keys_of(Settings).values())


def document() -> str:
    """Return a configuration file with every key explained and commented out, with its default."""
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
    """Read the settings from `path`; if the file does not exist, all have their default.

    Raise ConfigError for the first error, with the file and the key or line.
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
    """Return the settings in `text`; errors call it `source`. Raise ConfigError."""
    try:
        found = _yaml(text)
        if not is_mapping(found):
            raise ConfigError(f"expected a mapping of settings, got {shown(found)}")
        settings = Settings(**taken(keys_of(Settings), found or {}))
        if settings.auth == "ldap" and settings.ldap is None:
            raise ConfigError('"ldap" requires the key ldap with the address of the directory', where=("auth",))
        if settings.oidc and not settings.web_url:
            raise ConfigError('"oidc" requires the key web_url, where people come back to', where=("oidc",))
        wrong = {name: ConfigError.of(exc, source, hint=HINT) for name, exc in settings.wrong.items()}
        return dataclasses.replace(settings, projects={**settings.projects, **wrong})
    except UsageError as exc:
        raise ConfigError.of(exc, source, hint=HINT) from exc


def _yaml(text: bytes | str) -> Any:
    """Read YAML and refuse duplicate keys, of which PyYAML would silently drop one."""
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
    """Find duplicate keys; `seen` are the nodes already visited (aliases)."""
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
    """Check the settings of single projects; an error concerns that project alone."""
    result: dict[str, dict[str, Any] | ConfigError] = {}
    for project, body in projects.items():
        if not isinstance(project, str):  # 0123 would be project "83"
            raise ConfigError(f"expected a quoted name, got {shown(project)}", where=("projects",))
        try:
            result[check_name(project)] = _override(f"projects.{project}", body)
        except ConfigError as exc:
            result[project] = exc
    return result


def _override(above: str, body: Any) -> dict[str, Any]:
    """Return the settings of one project; raise ConfigError."""
    keys = keys_of(Settings)
    own = {name: key for name, key in keys.items() if key.per_project}
    if not MAPPING.accepts(body):
        raise ConfigError(f"expected a mapping, got {shown(body)}", where=(above,))
    for name in body or {}:
        if name in keys and name not in own:
            raise ConfigError("this setting applies to the whole host, not to a project", where=(f"{above}.{name}",))
    return taken(own, body or {}, f"{above}.")
