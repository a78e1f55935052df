"""Names and paths."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from corpushooks.core import errors
from corpushooks.core.errors import ConfigError, CorpusError, Place, SourceError, StepError, UsageError
from corpushooks.core.project import (
    Host,
    Project,
    check_branch,
    check_environment,
    check_name,
    install_stems,
    task_names,
)

GOOD_NAMES = ("a", "0", "hello", "hello-world_2", "x" * 27, "9lives")
BAD_NAMES = (
    "",
    "-x",
    "_x",
    "UP",
    "Hello",
    "a b",
    "a.b",
    "a/b",
    "..",
    "../x",
    "/x",
    "x" * 28,
    "é",
    "x\n",
    "\nx",
    "a\0b",
)


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_good_names(name: str) -> None:
    assert check_name(name) == name
    assert len(Host().project(name).user) <= 32


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_names(name: str) -> None:
    with pytest.raises(UsageError):
        check_name(name)
    with pytest.raises(UsageError):
        Host().project(name)


@pytest.mark.parametrize("name", ["dev", "staging", "prod", "qa-2", "x_y"])
def test_good_environments(name: str) -> None:
    assert check_environment(name) == name


@pytest.mark.parametrize("name", ["", "Prod", "2x", "-x", "a.b", "../x", "a/b", "dev\n", "a b"])
def test_bad_environments(name: str) -> None:
    with pytest.raises(UsageError):
        check_environment(name)


@pytest.mark.parametrize("name", ["master", "main", "release/1.x", "v2", "Team/x_y-z"])
def test_good_branches(name: str) -> None:
    assert check_branch(name) == name


@pytest.mark.parametrize(
    "name", ["", "-x", "/x", "x/", "a..b", "a//b", "x.", "x.lock", "a b", "a~1", "a^", "a:b", "a\n", ".x", "é", "@{-1}"]
)
def test_bad_branches(name: str) -> None:
    with pytest.raises(UsageError):
        check_branch(name)


@pytest.mark.parametrize("name", ["a/.b", "a.lock/b"])
def test_bad_components_of_branches(name: str) -> None:
    with pytest.raises(UsageError):
        check_branch(name)


def paths(host: Host) -> dict[str, Path]:
    """Return every path that a host and one of its projects name."""
    project = host.project("hello")
    return {
        f"{type(thing).__name__}.{name}": value
        for thing in (host, project)
        for name in dir(type(thing))
        if not name.startswith("_") and isinstance(value := getattr(thing, name), Path)
    }


def test_every_path_hangs_on_the_root() -> None:
    real, own = paths(Host()), paths(Host(Path("/own/root")))
    assert len(real) > 20
    assert {name: Path("/own/root") / path.relative_to("/") for name, path in real.items()} == own
    assert (Host().embedded, Host(Path("/own/root")).embedded) == (False, True)


def test_where_things_lie() -> None:
    host, project = Host(), Host().project("hello")
    for path, place in (
        (host.config_file, "/etc/corpushooks/config.yaml"),
        (host.store, "/var/lib/corpushooks/store.sqlite"),
        (host.socket, "/run/corpushooks/corpushooks.sock"),
        (project.code_git, "/srv/projects/hello/git/project.git"),
        (project.pillar_git, "/srv/projects/hello/git/pillar.git"),
        (project.work_git, "/srv/projects/hello/git/work.git"),
        (project.stage, "/srv/projects/hello/git/stage"),
        (project.tree, "/srv/projects/hello/project"),
        (project.salt_link, "/srv/projects/hello/.salt"),
        (project.pillar, "/srv/projects/hello/pillar"),
        (project.data, "/srv/projects/hello/data"),
        (project.archives, "/srv/projects/hello/archives"),
        (project.wired_pillar, "/srv/pillar/makina-projects/hello"),
        (project.wired_salt, "/srv/salt/makina-projects/hello"),
    ):
        assert str(path) == place
    assert (project.user, project.group, project.deploy_group) == ("hello-user", "hello-grp", "hello-deploy")
    assert project.sls_id("00_a") == "makina-projects.hello.00_a"


def test_no_two_paths_of_projects_meet() -> None:
    one, two = (Host().project(name) for name in ("hello", "hello-user"))
    names = [name for name in dir(Project) if isinstance(getattr(one, name, None), Path)]
    assert not {getattr(one, name) for name in names} & {getattr(two, name) for name in names}


def test_install_sls_in_order() -> None:
    names = ["10_b.sls", "2_c.sls", "00_a.sls", "task_x.sls", "fixperms.sls", "rollback.sls", "archive.sls",
             "post_archive.sls", "notify.sls", "PILLAR.sample", "README", "helper.sls", "task.sls"]  # fmt: skip
    assert install_stems(names) == ["00_a", "10_b", "2_c", "helper", "task"]
    assert task_names([*names, "task_a-b.sls", "task_.txt"]) == ["a-b", "x"]


def test_each_error_has_an_exit_code_and_takes_a_hint() -> None:
    seen, todo = set(), [CorpusError]
    while todo:
        error = todo.pop()
        seen.add((error.__name__, error.exit_code))
        todo += error.__subclasses__()
        assert str(error("what", "do")) == "what"
        assert str(error("what", "do").hint) == "do"
    assert {name: code for name, code in seen if code != 1} == {
        "UsageError": 2, "ConfigError": 2, "RefusedError": 3, "NotAllowedError": 3, "NoDaemonError": 3,
        "BrokenError": 4, "CredentialError": 3, "BusyError": 3, "UnknownError": 2,
    }  # fmt: skip
    drawn = errors.__doc__ or ""
    assert all(name in drawn for name, _ in seen)


def test_an_error_of_a_configuration_knows_where_it_is() -> None:
    inner = ConfigError("expected text, got 3: or what", "do", ("projects.hello", "user"))
    outer = ConfigError.of(inner, "/etc/x: y", hint="read it")
    assert outer.where == ("/etc/x: y", "projects.hello", "user") and str(outer.hint) == "read it"
    assert str(outer) == "/etc/x: y: projects.hello: user: expected text, got 3: or what"
    assert outer.inner == "projects.hello: user: expected text, got 3: or what" and outer.line is None
    placed = ConfigError(inner.what, inner.hint, ("pillar", "user"), at=Place("init.sls", 4))
    assert str(placed) == "pillar: user: expected text, got 3: or what (init.sls line 4)" and placed.line == 4
    far = ConfigError("wrong", where=("pillar", "user"), at=Place("the pillar of the host"))
    assert far.inner == "user: wrong (the pillar of the host)" and far.line is None
    assert ConfigError.of(UsageError("no name"), "here").where == ("here",)
    assert ConfigError("YAML", where=(Place("a.sls", 2),)).line == 2


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("secret", "do", ("pillar", "user"), at=Place("init.sls", 4)),
        SourceError("secret", "do", Place("a.sls", 3)),
        StepError("secret", "do"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_with_other_words_is_the_same_error(error: CorpusError) -> None:
    hidden, outer = error.reworded(lambda text: text.replace("secret", "***")), error.within("sync")
    assert type(hidden) is type(outer) is type(error)
    assert str(hidden) == hidden.message == error.message.replace("secret", "***")
    assert str(outer) == outer.message == f"sync: {error.message}" and str(outer.hint) == "do"
    assert (hidden.summary, outer.summary) == (hidden.message, "sync failed")
    assert getattr(outer, "at", None) == getattr(error, "at", None)


def test_values_do_not_change() -> None:
    host = Host()
    with pytest.raises(AttributeError):
        host.root = Path("/x")  # type: ignore[misc]
    assert [field.name for field in fields(Project)] == ["host", "name"]
