"""The host's configuration file: defaults, documentation, what it refuses and in which words."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import yaml

from corpushooks.core.backups import Backup
from corpushooks.core.directory import Directory
from corpushooks.core.errors import ConfigError
from corpushooks.core.policy import Policy
from corpushooks.core.provider import Provider
from corpushooks.core.rights import Grant
from corpushooks.core.settings import Settings, document, load, parse, schema


def test_a_missing_file_says_nothing(tmp_path: Path) -> None:
    assert load(tmp_path / "absent" / "config.yaml") == Settings()


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "minion:\nprojects:\nenlarge:\n"])
def test_an_empty_file_says_nothing(text: str) -> None:
    assert parse(text, "F") == Settings()


def test_the_defaults_are_the_documented_ones() -> None:
    given = Settings()
    assert (given.environment, given.branch, given.engine) == ("prod", "master", "warm")
    assert (given.salt_python, given.salt_call, given.enlarge) == (None, None, ())
    assert (given.keep_archives, given.reserve, given.max_parallel) == (3, 64, 4)
    assert (given.idle_timeout, given.step_timeout, given.timeout) == (300, 3600, 7200)
    assert (given.rollback, given.rollback_install, given.group) == ("on_failure", True, "corpus")
    assert (given.notify, given.notify_on) == (
        (),
        ("failure", "recovery", "held", "init", "unhealthy", "healthy", "overdue"),
    )
    assert (given.health_every, given.health_failures) == (60, 3)
    assert (given.env_defaults_win, given.deploy_on_pillar_push) == (False, False)
    assert (given.minion, given.projects, given.secret_pillar) == ({}, {}, False)
    assert {"password", "token", "secret", "private_key"} < set(given.secret_keys)


def test_every_key_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        """\
environment: staging
branch: release/1.x
engine: salt-call
salt_python: /opt/saltstack/salt/bin/python3
salt_call: /usr/bin/salt-call
keep_archives: 5
rollback: always
rollback_install: false
env_defaults_win: true
deploy_on_pillar_push: true
watch: true
account: git
web_account: www
web_url: https://deploy.example.org/
authorized_keys: /var/lib/corpushooks/.ssh/authorized_keys
address: deploy.example.org:2222
enlarge: [lvextend, -L, +1G]
reserve: 0
max_parallel: 1
max_commands: 3
worker_idle_timeout: 5
idle_timeout: 0.5
stop_timeout: 10
step_timeout: null
timeout: 60
confirm: 90
confirm_limit: 100
health_every: 0
health_failures: 1
secret_keys: [word]
secret_pillar: true
notify: [mailto://ops@example.org]
notify_on: [success]
group: admins
auth: ldap
ldap: {uri: "ldaps://ldap.example.org/", base: "dc=example", groups: {ops: {right: admin}}}
oidc: {issuer: "https://id.example.org", client_id: corpus, groups: {ops: {right: admin}}}
backup: {repository: /mnt/backup, rate: 100}
rollout: {batch: 2, canary: 1, absent: later, lease: 30}
minion: {log_level: debug}
projects: {hello: {branch: main}}
"""
    )
    assert load(path) == Settings(
        environment="staging",
        branch="release/1.x",
        engine="salt-call",
        salt_python=Path("/opt/saltstack/salt/bin/python3"),
        salt_call=Path("/usr/bin/salt-call"),
        keep_archives=5,
        rollback="always",
        rollback_install=False,
        env_defaults_win=True,
        deploy_on_pillar_push=True,
        account="git",
        web_account="www",
        web_url="https://deploy.example.org",
        authorized_keys=Path("/var/lib/corpushooks/.ssh/authorized_keys"),
        address="deploy.example.org:2222",
        watch=True,
        enlarge=("lvextend", "-L", "+1G"),
        reserve=0,
        max_parallel=1,
        max_commands=3,
        worker_idle_timeout=5,
        idle_timeout=0.5,
        stop_timeout=10,
        step_timeout=None,
        timeout=60,
        confirm=90,
        confirm_limit=100,
        health_every=0,
        health_failures=1,
        secret_keys=("word",),
        secret_pillar=True,
        notify=("mailto://ops@example.org",),
        notify_on=("success",),
        group="admins",
        auth="ldap",
        oidc=Provider(issuer="https://id.example.org", client_id="corpus", groups={"ops": Grant("admin")}),
        ldap=Directory(uri="ldaps://ldap.example.org", base="dc=example", groups={"ops": Grant("admin")}),
        backup=Backup("/mnt/backup", rate=100),
        rollout=Policy(batch=2, canary=1, absent="later", lease=30),
        minion={"log_level": "debug"},
        projects={"hello": {"branch": "main"}},
    )
    assert set(yaml.safe_load(path.read_text())) == {field.name for field in dataclasses.fields(Settings)}


def test_settings_cannot_be_changed_and_share_nothing() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().branch = "other"  # type: ignore[misc]
    assert Settings().minion is not Settings().minion


# -- single projects --------------------------------------------------------------------------------------


def test_a_project_sees_the_hosts_settings_and_its_own() -> None:
    host = parse("{branch: main, timeout: 60, projects: {hello: {keep_archives: 9, timeout: null}}}", "F")
    hello = host.for_project("hello")
    assert (hello.keep_archives, hello.timeout, hello.branch) == (9, None, "main")
    assert host.for_project("other") == host
    assert hello.for_project("hello") == hello


@pytest.mark.parametrize(
    "line",
    [
        "environment: dev", "branch: main", "keep_archives: 1", "rollback: always", "rollback_install: false",
        "deploy_on_pillar_push: true", "step_timeout: 1", "timeout: null", "env_defaults_win: true",
        "secret_pillar: true", "watch: true",
    ],
)  # fmt: skip
def test_what_a_project_may_have_of_its_own(line: str) -> None:
    ((key, value),) = yaml.safe_load(line).items()
    assert getattr(parse(f"projects: {{hello: {{{line}}}}}", "F").for_project("hello"), key) == value


def test_the_keys_of_a_project_are_those_the_schema_marks() -> None:
    assert {key.name for key in schema() if key.per_project} == {
        "environment", "branch", "keep_archives", "rollback", "rollback_install", "deploy_on_pillar_push",
        "step_timeout", "timeout", "env_defaults_win", "secret_keys", "secret_pillar", "notify", "notify_on", "watch",
        "health_every", "health_failures", "confirm", "rollout",
    }  # fmt: skip


def test_an_empty_project_says_nothing() -> None:
    assert parse("projects:\n  hello:\n    # branch: main\n", "F").for_project("hello").branch == "master"


# -- errors -----------------------------------------------------------------------------------------------

WRONG = [
    ("enviroment: dev", 'unknown key "enviroment"; did you mean "environment"?'),
    ("xyzzy: 1", 'unknown key "xyzzy"'),
    ("1: 2", "unknown key 1"),
    ("on: 2", "unknown key true"),
    ("- a", "expected a mapping of settings, got a list"),
    ("text", 'expected a mapping of settings, got "text"'),
    ("environment: Prod", "environment: invalid environment 'Prod': use a-z, 0-9, - and _, starting with a letter"),
    ("environment: on", "environment: expected an environment, got true"),
    ("branch: a..b", "branch: invalid branch name 'a..b'"),
    ("branch: 1.5", "branch: expected a branch, got 1.5"),
    ("engine: hot", 'engine: expected warm or salt-call, got "hot"'),
    ("engine: [warm]", "engine: expected warm or salt-call, got a list"),
    ("salt_python: python3", 'salt_python: expected an absolute path, or null, got "python3"'),
    ("keep_archives: 0", "keep_archives: expected a positive whole number, got 0"),
    ("keep_archives: true", "keep_archives: expected a positive whole number, got true"),
    ("keep_archives: 3.0", "keep_archives: expected a positive whole number, got 3.0"),
    ("keep_archives:", "keep_archives: expected a positive whole number, got null"),
    ("max_parallel: -1", "max_parallel: expected a positive whole number, got -1"),
    ("reserve: -1", "reserve: expected a whole number of MiB, got -1"),
    ("rollback: never", 'rollback: expected on_failure or always, got "never"'),
    ("rollback_install: 1", "rollback_install: expected true or false, got 1"),
    ("enlarge: lvextend -L", 'enlarge: expected a list of words, got "lvextend -L"'),
    ("enlarge: [lvextend, 1]", "enlarge: expected a list of words, got a list"),
    ("secret_keys: password", 'secret_keys: expected a list of words, got "password"'),
    ("secret_keys: [password, ' ']", "secret_keys: expected a list of words, got a list"),
    ("secret_keys:", "secret_keys: expected a list of words, got null"),
    ("secret_pillar: 1", "secret_pillar: expected true or false, got 1"),
    ("idle_timeout: null", "idle_timeout: expected a positive number of seconds, got null"),
    ("idle_timeout: .inf", "idle_timeout: expected a positive number of seconds, got Infinity"),
    ("timeout: .nan", "timeout: expected a positive number of seconds, or null, got NaN"),
    ("timeout: 0", "timeout: expected a positive number of seconds, or null, got 0"),
    ("timeout: false", "timeout: expected a positive number of seconds, or null, got false"),
    ("group: My Group", 'group: expected a group name, got "My Group"'),
    ("minion: [a]", "minion: expected a mapping, got a list"),
    ("branch: 2020-01-01", 'branch: expected a branch, got "2020-01-01"'),
    (f"engine: {'x' * 99}", f'engine: expected warm or salt-call, got "{"x" * 56}...'),
    (
        "projects: {hello: {keep_archives: three}}",
        'projects.hello.keep_archives: expected a positive whole number, got "three"',
    ),
    (
        "projects: {hello: {enviroment: dev}}",
        'projects.hello: unknown key "enviroment"; did you mean "environment"?',
    ),
    (
        "projects: {hello: {engine: warm}}",
        "projects.hello.engine: this setting applies to the whole host, not to a project",
    ),
    ("projects: {hello: {branch: a..b}}", "projects.hello.branch: invalid branch name 'a..b'"),
    ("projects: {hello: 3}", "projects.hello: expected a mapping, got 3"),
    ("projects: {0123: {}}", "projects: expected a quoted name, got 83"),
    ("projects: 3", "projects: expected a mapping, got 3"),
]


@pytest.mark.parametrize(("text", "message"), WRONG, ids=[text[:40] for text, _ in WRONG])
def test_what_is_wrong_is_said_with_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path).for_project("hello")
    assert caught.value.message == f"{path}: {message}"
    assert str(caught.value.hint) == "corpus help settings describes every key"
    assert caught.value.exit_code == 2


def test_what_is_wrong_for_a_project_is_wrong_for_no_other() -> None:
    found = parse("keep_archives: 7\nprojects: {hello: {keep_archives: three}, other: {branch: main}}", "F")
    assert (found.for_project("other").branch, found.for_project("third").keep_archives) == ("main", 7)
    assert found.sound("hello").keep_archives == 7 and list(found.wrong) == ["hello"]


def test_a_project_name_is_checked() -> None:
    told = "invalid project name 'Hello': use a-z, 0-9, - and _, starting with a letter or digit"
    with pytest.raises(ConfigError, match=f"^F: projects: {told}$"):
        parse("projects: {Hello: {}}", "F")


def test_the_first_problem_is_the_one_that_is_told() -> None:
    with pytest.raises(ConfigError, match=r"^F: timeout: "):
        parse("timeout: x\nbranhc: y\nengine: z\n", "F")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("branch: main\nengine: [warm\n", "line 3: expected ',' or ']', but got '<stream end>'"),
        ("a: b: c", "line 1: mapping values are not allowed here"),
        ("branch: a\nengine: warm\nbranch: b\n", 'line 3: duplicate key "branch"'),
        ("projects:\n  hello: {branch: a, branch: b}\n", 'line 2: duplicate key "branch"'),
        ("minion: [{a: 1, a: 2}]", 'line 1: duplicate key "a"'),
        ("branch: !!python/name:os.system\n", "line 1: could not determine a constructor for the tag"),
        ("a: 1\n---\nb: 2\n", "line 2: but found another document"),
        ("minion: {d: 2020-13-01}", "month must be in 1..12"),
        ("branch: a\0b", "unacceptable character #x0000: special characters are not allowed"),
    ],
)
def test_yaml_that_cannot_be_read_is_said_with_its_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "F")
    assert caught.value.message.startswith(f"F: {message}")
    assert "\n" not in caught.value.message


def test_aliases_are_no_repetition() -> None:
    given = parse("minion: {a: &x {k: 1}, b: *x, c: &y [*x]}", "F")
    assert given.minion == {"a": {"k": 1}, "b": {"k": 1}, "c": [{"k": 1}]}


def test_a_mapping_that_holds_itself_is_read_to_its_end() -> None:
    assert list(parse("minion: &x {a: *x}", "F").minion) == ["a"]


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert caught.value.message == f"{tmp_path}: Is a directory"


def test_bytes_that_are_no_text_are_said(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"branch: \xff\xfe\n")
    with pytest.raises(ConfigError, match=re.escape(str(path))):
        load(path)


# -- documentation ----------------------------------------------------------------------------------------


def test_the_document_changes_nothing() -> None:
    assert parse(document(), "F") == Settings()


def test_the_document_names_every_key_with_its_default() -> None:
    told = re.sub(r"^#(?=\w|    )", "", document(), flags=re.MULTILINE)
    assert list(yaml.safe_load(told)) == [field.name for field in dataclasses.fields(Settings)]
    assert parse(told, "F") == Settings()


def test_the_document_says_a_sentence_and_the_type_of_each_key() -> None:
    for key in schema():
        assert key.doc.endswith("."), key.name
        assert f"{key.kind.words}{'; also per project' if key.per_project else ''})" in " ".join(
            document().replace("\n# ", " ").split()
        )
    assert max(map(len, document().splitlines())) <= 110
