"""cfg: the layers and who wins, the references, the origin of each value, and what is refused."""

from __future__ import annotations

import copy
import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpushooks.core.errors import ConfigError
from corpushooks.core.project import Host
from corpushooks.core.settings import Settings
from corpushooks.release import cfg as release_cfg
from corpushooks.release import keys as cfg_keys
from corpushooks.release.config import Cfg, Layers, compute, default_env, merge, sources
from corpushooks.release.references import resolve
from corpushooks.release.release import Release

PROJECT = Host().project("foo")
DEBIAN = {"os": "Debian", "os_family": "Debian"}
UBUNTU = {"os": "Ubuntu", "os_family": "Debian"}


def builtin(environment: str = "dev", keep_archives: int = 3) -> dict[str, Any]:
    return cfg_keys.builtin(
        PROJECT,
        environment,
        minion_id="m1",
        fqdn="host.example.org",
        archive_dir=Path("/srv/projects/foo/archives/2024-01-02_7"),
        chrono="2024-01-02_7",
        keep_archives=keep_archives,
    )


def layers(
    s: Any = None,
    p: Any = None,
    *,
    sample: Mapping[str, Any] | None = None,
    pillar: Mapping[str, Any] | None = None,
    grains: Mapping[str, Any] = DEBIAN,
    minion: Mapping[str, Any] | None = None,
    request: Mapping[str, Any] | None = None,
    environment: str = "dev",
    labels: Sequence[str] = (),
) -> Layers:
    """Return layers of which `s` is what the sample and `p` what the pillar says of the project."""
    return Layers(
        builtin={**builtin(environment), "node_labels": list(labels)},
        sample={"makina-projects.projectname": s} if sample is None else sample,
        pillar={"makina-projects.foo": p} if pillar is None else pillar,
        grains=grains,
        minion=minion or {},
        request=request or {},
    )


def cfg(given: Layers, env_defaults_win: bool = False) -> Cfg:
    return compute(given, name="foo", env_defaults_win=env_defaults_win)


def values(*args: Any, **kwargs: Any) -> dict[str, Any]:
    return cfg(layers(*args, **kwargs)).values


# -- the worked cases of the reference ----------------------------------------------------------------------

WORKED: dict[str, tuple[Any, Any, Any]] = {
    "mappings merge, lists replace": (
        {"data": {"a": 1, "b": {"x": 1, "y": 2}, "l": [1, 2]}},
        {"data": {"b": {"y": 3, "z": 4}, "l": [9], "new": "n"}},
        {"a": 1, "b": {"x": 1, "y": 3, "z": 4}, "l": [9], "new": "n"},
    ),
    "references": (
        {
            "data": {
                "domain": "{fqdn}",
                "url": "http://{domain}/{name}",
                "num": 5432,
                "dsn": "h:{num}",
                "lst": ["a", "{name}"],
                "whole": "{lst}",
                "part": "x{lst}",
                "un": "{nope}",
                "f": "{num:05d}",
                "flag": True,
                "b2": "{flag}",
            }
        },
        None,
        {
            "domain": "host.example.org",
            "url": "http://host.example.org/foo",
            "num": 5432,
            "dsn": "h:5432",
            "lst": ["a", "foo"],
            "whole": ["a", "foo"],
            "part": "x['a', 'foo']",
            "un": "{nope}",
            "f": "{num:05d}",
            "flag": True,
            "b2": "True",
        },
    ),
    "the pillar wins over env_defaults": (
        {
            "data": {"v": "sample", "w": "sample", "x": "sample"},
            "env_defaults": {"dev": {"v": "dev", "w": "dev"}},
        },
        {"data": {"v": "pillar", "x": "pillar"}},
        {"v": "pillar", "w": "dev", "x": "pillar"},
    ),
    "references see first-level keys only": (
        {"data": {"db": {"host": "h", "url": "x{host}"}}},
        None,
        {"db": {"host": "h", "url": "x{host}"}},
    ),
}


@pytest.mark.parametrize(("s", "p", "data"), WORKED.values(), ids=list(WORKED))
def test_worked_case(s: Any, p: Any, data: Any) -> None:
    assert values(s, p)["data"] == data


def test_env_defaults_win_where_the_host_says_so() -> None:
    s, p, data = WORKED["the pillar wins over env_defaults"]
    assert cfg(layers(s, p), env_defaults_win=True).values["data"] == {**data, "v": "dev"}


# -- the built-in layer -------------------------------------------------------------------------------------

KEYS = """
    name minion_id fqdn default_env user groups group no_user no_default_includes raw_console_return
    remote_less installer installer_path api_version keep_archives only only_steps skip_deploy
    skip_archive skip_release_sync skip_install skip_rotate_archives skip_rollback skip_fixperms
    skip_notify rollback deploy_summary deploy_ret defaults env_defaults os_defaults data
    sls_default_pillar projects_dir remote_projects_dir project_dir project_root pillar_root
    data_root archives_root git_root salt_root project_git_root pillar_git_root git_deploy_hook
    deploy_marker wired_salt_root wired_pillar_root chrono current_archive_dir push_pillar_url
    push_salt_url this_host this_localhost this_port remote_host remote_pillar_dir
    remote_project_dir cfg_is_prepared cfg_is_loaded force_reload ignored_keys health urls ports units logs
    backup dump_root drill node_defaults node nodes node_labels run_once
"""


def test_every_key_of_the_original_is_there_and_ours() -> None:
    assert sorted(builtin()) == sorted(KEYS.split())
    assert sorted(values()) == sorted(KEYS.split())


def test_the_defaults() -> None:
    assert values() == {
        **builtin(),
        "env_defaults": {"prod": {}, "dev": {}, "qa": {}},
        "sls_default_pillar": {"makina-projects.projectname": None},
        "remote_host": "host.example.org",
        "installer_path": "/srv/salt/makina-states/projects/2/generic",
        "remote_pillar_dir": "/srv/remote-projects/host.example.org/foo/pillar",
        "remote_project_dir": "/srv/remote-projects/host.example.org/foo/project",
        "push_pillar_url": "ssh://root@host.example.org:22/srv/projects/foo/git/pillar.git",
        "push_salt_url": "ssh://root@host.example.org:22/srv/projects/foo/git/project.git",
    }


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("user", "foo-user"),
        ("group", "foo-grp"),
        ("groups", ["foo-grp"]),
        ("keep_archives", 3),
        ("api_version", "2"),
        ("installer", "generic"),
        ("only", None),
        ("skip_archive", False),
        ("skip_notify", True),
        ("rollback", False),
        ("remote_less", False),
        ("project_root", "/srv/projects/foo/project"),
        ("salt_root", "/srv/projects/foo/project/.salt"),
        ("data_root", "/srv/projects/foo/data"),
        ("wired_salt_root", "/srv/salt/makina-projects/foo"),
        ("current_archive_dir", "/srv/projects/foo/archives/2024-01-02_7"),
        ("chrono", "2024-01-02_7"),
    ],
)
def test_a_default(key: str, value: Any) -> None:
    assert values()[key] == value


def test_the_paths_are_those_of_an_embedded_host(tmp_path: Path) -> None:
    project = Host(tmp_path).project("foo")
    made = cfg_keys.builtin(project, "dev", minion_id="m", fqdn="f", archive_dir=project.archives / "x", chrono="x")
    for key in ("project_root", "archives_root", "wired_salt_root", "remote_projects_dir", "installer_path"):
        assert made[key].startswith(f"{tmp_path}/"), key


def test_the_environment_of_the_host_has_a_table_of_its_own() -> None:
    assert values(environment="staging")["env_defaults"] == {"prod": {}, "dev": {}, "qa": {}, "staging": {}}


# -- the sample ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["makina-projects.projectname", "makina-projects.other", "makina-states.x"])
def test_any_name_in_the_sample_counts(key: str) -> None:
    found = values(sample={key: {"data": {"a": 1}, "user": "u"}})
    assert (found["data"], found["user"]) == ({"a": 1}, "u")


@pytest.mark.parametrize("key", ["makina-states.services.http", "makina-projects", "data", "makina-project.x", 7])
def test_other_keys_of_the_sample_are_pillar_defaults_only(key: Any) -> None:
    found = cfg(layers(sample={key: {"user": "u", "data": {"a": "{name}"}}}))
    assert found.values["user"] == "foo-user"
    assert found.values["data"] == {}
    assert found.sample_defaults == {key: {"user": "u", "data": {"a": "foo"}}}
    assert sorted(found.values) == sorted(KEYS.split())
    assert found.sample_defaults == found.values["sls_default_pillar"]


def test_the_sections_of_a_sample_merge_in_their_order() -> None:
    sample = {"makina-projects.a": {"data": {"x": 1, "y": 1}}, "makina-states.b": {"data": {"y": 2}}}
    assert values(sample=sample)["data"] == {"x": 1, "y": 2}


def test_an_old_key_that_is_no_mapping_is_a_pillar_default() -> None:
    assert values(sample={"makina-states.version": 2})["sls_default_pillar"] == {"makina-states.version": 2}


def test_a_flat_key_of_the_sample_goes_where_it_points() -> None:
    found = values(sample={"makina-projects.x.data": {"user": "u"}})
    assert (found["data"], found["user"]) == ({"user": "u"}, "foo-user")


@pytest.mark.parametrize("empty", [{}, None, {"data": None, "env_defaults": None, "os_defaults": None}])
def test_an_empty_section_says_nothing(empty: Any) -> None:
    assert values(empty, empty)["data"] == {}
    assert values({"data": {"a": 1}}, empty)["data"] == {"a": 1}


def test_an_empty_sample_says_nothing() -> None:
    assert cfg(layers(sample={})).sample_defaults == {}


def test_first_level_keys_that_are_new_are_kept() -> None:
    found = values({"mine": 1}, {"other": "{mine}"})
    assert (found["mine"], found["other"]) == (1, "1")


def test_the_sample_cannot_say_which_environment_this_is() -> None:
    found = values({"default_env": "dev", "env_defaults": {"dev": {"a": 1}}}, environment="prod")
    assert (found["default_env"], found["data"]) == ("prod", {})


# -- the order of the layers --------------------------------------------------------------------------------


def test_each_layer_wins_over_those_below() -> None:
    s = {
        "data": dict.fromkeys("abcde", "sample"),
        "env_defaults": {"dev": dict.fromkeys("bcde", "env"), "prod": {"a": "not me"}},
        "os_defaults": {"Debian": dict.fromkeys("cde", "os"), "RedHat": {"a": "not me"}},
    }
    found = cfg(layers(s, {"data": {"d": "pillar", "e": "pillar"}}, request={"e": "request"}))
    assert found.values["data"] == {"a": "sample", "b": "env", "c": "os", "d": "pillar", "e": "request"}
    assert {key: found.origin["data", key] for key in "abcde"} == {
        "a": "PILLAR.sample",
        "b": "env_defaults.dev",
        "c": "os_defaults.Debian",
        "d": "pillar",
        "e": "request",
    }


def test_env_defaults_of_sample_and_pillar_are_one_table_below_the_pillars_data() -> None:
    s = {"env_defaults": {"dev": {"a": "s", "b": "s"}}}
    p = {"env_defaults": {"dev": {"b": "p", "c": "p"}}, "data": {"c": "data"}}
    assert values(s, p)["data"] == {"a": "s", "b": "p", "c": "data"}
    assert cfg(layers(s, p), env_defaults_win=True).values["data"] == {"a": "s", "b": "p", "c": "p"}
    assert values(s, p)["env_defaults"]["dev"] == {"a": "s", "b": "p", "c": "p"}


@pytest.mark.parametrize(
    ("grains", "table", "data"),
    [
        (DEBIAN, {"Debian": {"a": 1}}, {"a": 1}),
        (UBUNTU, {"Debian": {"a": 1}}, {"a": 1}),
        (UBUNTU, {"Debian": {"a": 1, "b": 1}, "Ubuntu": {"a": 2}}, {"a": 2}),
        (UBUNTU, {"RedHat": {"a": 1}}, {}),
        ({}, {"Debian": {"a": 1}, "None": None}, {}),
    ],
)
def test_os_defaults_are_chosen_by_os_then_by_family(grains: Any, table: Any, data: Any) -> None:
    assert values({"os_defaults": table}, grains=grains)["data"] == data
    assert values(None, {"os_defaults": table}, grains=grains)["data"] == data


def test_os_defaults_win_over_env_defaults() -> None:
    s = {"os_defaults": {"Debian": {"a": "os"}}, "env_defaults": {"dev": {"a": "env"}}}
    assert values(s)["data"] == {"a": "os"}
    assert cfg(layers(s), env_defaults_win=True).values["data"] == {"a": "env"}


def test_the_defaults_of_labels_are_above_those_of_the_system_and_below_the_pillar() -> None:
    s = {
        "os_defaults": {"Debian": dict.fromkeys("abcd", "os")},
        "node_defaults": {"eu": dict.fromkeys("bcd", "eu"), "db": dict.fromkeys("cd", "db"), "us": {"a": "not me"}},
    }
    p = {"data": {"d": "pillar"}, "node_defaults": {"eu": {"e": "{node}"}}}
    found = cfg(layers(s, p, labels=("eu", "db", "none")))
    assert found.values["data"] == {"a": "os", "b": "eu", "c": "db", "d": "pillar", "e": ""}
    assert found.origin["data", "c"] == "node_defaults.db"
    assert found.origin["data", "b"] == "node_defaults.eu"
    assert cfg(layers(s, p, labels=("db", "eu"))).values["data"]["c"] == "eu"
    assert values(s, p)["data"] == {**dict.fromkeys("abc", "os"), "d": "pillar"}


@pytest.mark.parametrize("key", ["node", "nodes", "node_labels", "run_once"])
def test_the_place_among_the_nodes_is_fixed(key: str) -> None:
    with pytest.raises(ConfigError, match="is fixed by the host"):
        values({key: "x"})


def test_none_replaces_a_value() -> None:
    assert values({"data": {"a": {"b": 1}}}, {"data": {"a": None}})["data"] == {"a": None}


def test_the_data_of_the_pillar_never_reaches_the_first_level() -> None:
    found = values(None, {"data": {"user": "x", "keep_archives": "lots", "no_user": 3}})
    assert (found["user"], found["keep_archives"], found["no_user"]) == ("foo-user", 3, False)


def test_another_projects_pillar_is_not_ours() -> None:
    others = {"makina-projects.foobar": {"user": "x"}, "makina-projects.fo": {"user": "y"}}
    assert values(pillar=others)["user"] == "foo-user"


PLACES = {
    "one key": {"makina-projects.foo": {"user": "u", "data": {"a": {"b": 1}}}},
    "nested": {"makina-projects": {"foo": {"user": "u", "data": {"a": {"b": 1}}}}},
    "flat": {"makina-projects.foo.user": "u", "makina-projects.foo.data.a.b": 1},
    "half": {"makina-projects": {"foo.user": "u", "foo.data": {"a.b": 2}, "foo": {"data": {"a": {"b": 1}}}}},
    "old": {"makina-states.foo": {"user": "u", "data": {"a": {"b": 1}}}},
    "old and flat": {"makina-states.foo.user": "u", "makina-states.foo.data": {"a": {"b": 1}}},
}


@pytest.mark.parametrize("said", PLACES.values(), ids=list(PLACES))
@pytest.mark.parametrize("place", ["pillar", "minion", "grains"])
def test_where_and_how_the_host_may_say_it(said: Mapping[str, Any], place: str) -> None:
    given = layers(pillar={})
    found = cfg(Layers(**{**vars(given), place: said}))
    assert found.values["user"] == "u"
    assert found.values["data"]["a"] == {"b": 1}
    assert found.origin["user",] == place


def test_minion_configuration_wins_over_pillar_and_pillar_over_grains() -> None:
    found = cfg(
        layers(
            None,
            {"data": {"a": "pillar", "b": "pillar"}},
            minion={"makina-projects.foo": {"data": {"a": "minion"}}},
            grains={**DEBIAN, "makina-projects.foo": {"data": dict.fromkeys("abc", "grains")}},
        )
    )
    assert found.values["data"] == {"a": "minion", "b": "pillar", "c": "grains"}
    assert [found.origin["data", key] for key in "abc"] == ["minion", "pillar", "grains"]


def test_a_new_key_wins_over_an_old_one_and_a_flat_over_a_nested() -> None:
    new = {"makina-projects.foo": {"user": "new"}, "makina-states.foo": {"user": "old"}}
    assert values(pillar=new)["user"] == "new"
    assert values(pillar={"makina-projects.foo.user": "flat", **new})["user"] == "flat"


def test_old_keys_that_are_not_of_a_project_do_not_count() -> None:
    assert "http" not in values(pillar={"makina-states.foo": {"http": 1}})


def test_the_short_form_says_a_few_keys_below_the_sample() -> None:
    said = {"keep_archives": 7, "no_user": True, "no_default_includes": True, "user": "x", "data": {"a": 1}}
    found = values(pillar={"foo": said})
    assert (found["keep_archives"], found["no_user"], found["no_default_includes"]) == (7, True, True)
    assert (found["user"], found["data"]) == ("foo-user", {})
    assert values({"keep_archives": 5}, pillar={"foo": said})["keep_archives"] == 5
    assert values(pillar={"foo": ["something else"]})["keep_archives"] == 3


# -- the request --------------------------------------------------------------------------------------------


def test_a_request_wins_over_all() -> None:
    s = {"skip_install": True, "only": ["install"], "user": "s", "keep_archives": 1}
    said = {"only": ["archive"], "skip_install": False, "steps": ["10_a"], "user": "r", "keep_archives": 9}
    found = cfg(layers(s, s, request=said))
    assert found.values["only"] == ["archive"]
    assert found.values["only_steps"] == ["10_a"]
    assert found.values["skip_install"] is False
    assert (found.values["user"], found.values["keep_archives"]) == ("r", 9)
    assert found.origin["only_steps",] == "request"


def test_what_is_no_key_of_cfg_is_a_variable() -> None:
    found = values(None, {"data": {"port": 1, "db": {"a": 1}}}, request={"port": 2, "data": {"db": {"b": 2}}})
    assert found["data"] == {"port": 2, "db": {"a": 1, "b": 2}}
    assert "port" not in found


# -- the environment ----------------------------------------------------------------------------------------

ENVIRONMENTS = [
    ({}, ("prod", "built-in")),
    ({"grains": {"default_env": "qa"}}, ("qa", "grains")),
    ({"grains": {"default_env": "qa"}, "pillar": {"default_env": "dev"}}, ("dev", "pillar")),
    ({"pillar": {"default_env": "qa"}, "minion": {"default_env": "dev"}}, ("dev", "minion")),
    ({"minion": {"default_env": "qa"}, "grains": {"foo": {"default_env": "dev"}}}, ("dev", "grains")),
    ({"pillar": {"foo.default_env": "qa", "default_env": "dev"}}, ("qa", "pillar")),
    ({"pillar": {"foo": {"default_env": "qa"}, "makina-projects.foo.default_env": "dev"}}, ("dev", "pillar")),
    ({"pillar": {"makina-projects.foo": {"default_env": "qa"}}}, ("qa", "pillar")),
    ({"pillar": {"makina-projects": {"foo": {"default_env": "qa"}}}}, ("qa", "pillar")),
    (
        {"pillar": {"makina-projects.foo.default_env": "qa", "makina-projects.foo": {"default_env": "dev"}}},
        ("qa", "pillar"),
    ),
    ({"pillar": {"makina-states.foo": {"default_env": "qa"}, "default_env": "dev"}}, ("qa", "pillar")),
    ({"pillar": {"makina-states.localsettings.env.env": "qa", "default_env": "dev"}}, ("qa", "pillar")),
    ({"pillar": {"makina-states.localsettings.env": {"env": "qa"}}}, ("qa", "pillar")),
    ({"pillar": {"default_env": ""}, "grains": {"default_env": None}}, ("prod", "built-in")),
    ({"pillar": {"makina-projects.foo": {"default_env": None}}}, ("prod", "built-in")),
    (
        {"request": {"default_env": "qa"}, "pillar": {"makina-projects.foo.default_env": "dev"}},
        ("qa", "request"),
    ),
    ({"request": {"default_env": None}}, ("prod", "built-in")),
]


@pytest.mark.parametrize(("said", "expected"), ENVIRONMENTS, ids=[str(said) for said, _ in ENVIRONMENTS])
def test_who_decides_the_environment(said: Any, expected: tuple[str, str]) -> None:
    given = layers(**{"pillar": {}, "environment": "prod", **said})
    found = cfg(given)
    assert default_env(given, "foo") == expected
    assert (found.values["default_env"], found.origin["default_env",]) == expected


def test_the_environment_chooses_its_defaults() -> None:
    s = {"env_defaults": {"qa": {"a": "{default_env}"}, "dev": {"b": 1}}}
    assert values(s, {"default_env": "qa"})["data"] == {"a": "qa"}


# -- groups -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("s", "p", "group", "groups", "origin"),
    [
        (None, None, "foo-grp", ["foo-grp"], "built-in"),
        ({"groups": ["a", "b"]}, None, "a", ["a", "b"], "PILLAR.sample"),
        ({"group": "a"}, None, "a", ["a", "foo-grp"], "PILLAR.sample"),
        (None, {"group": "a"}, "a", ["a", "foo-grp"], "pillar"),
        ({"groups": ["a", "b"]}, {"group": "c"}, "c", ["c", "a", "b"], "pillar"),
        ({"groups": ["a", "b"]}, {"group": "b"}, "b", ["b", "a"], "pillar"),
        ({"group": "c"}, {"groups": ["a", "b"]}, "a", ["a", "b"], "pillar"),
        ({"group": "c", "groups": ["a", "b"]}, None, "c", ["c", "a", "b"], "PILLAR.sample"),
        ({"group": "{name}-grp"}, None, "foo-grp", ["foo-grp"], "PILLAR.sample"),
    ],
)
def test_the_main_group(s: Any, p: Any, group: str, groups: list[str], origin: str) -> None:
    found = cfg(layers(s, p))
    assert (found.values["group"], found.values["groups"], found.origin["group",]) == (group, groups, origin)


def test_the_group_can_be_referred_to() -> None:
    assert values({"groups": ["a"], "data": {"g": "{group}"}})["data"] == {"g": "a"}


# -- references ---------------------------------------------------------------------------------------------


def test_data_shadows_cfg_in_data_and_cfg_shadows_data_elsewhere() -> None:
    s = {"data": {"user": "mine", "a": "{user}"}, "mine": "{user}", "other": "{a}"}
    found = values(s)
    assert (found["data"]["a"], found["mine"], found["other"]) == ("mine", "foo-user", "mine")


def test_a_variable_that_names_itself_means_cfgs() -> None:
    s = {"data": {"user": "{user}-x", "home": "/home/{user}", "all": ["{all}"]}}
    assert values(s)["data"] == {"user": "foo-user-x", "home": "/home/foo-user-x", "all": ["{all}"]}


def test_cfg_may_refer_to_data_and_data_to_that() -> None:
    s = {"user": "{prefix}-u", "data": {"prefix": "{name}", "home": "/home/{user}"}}
    found = values(s)
    assert (found["user"], found["data"]["home"]) == ("foo-u", "/home/foo-u")


def test_references_in_tables_are_resolved_where_they_arrive() -> None:
    s = {"data": {"domain": "a.b"}, "env_defaults": {"dev": {"url": "http://{domain}"}}}
    assert values(s)["data"]["url"] == "http://a.b"
    assert values(s)["env_defaults"]["dev"]["url"] == "http://a.b"


def test_the_sample_is_resolved_as_pillar_defaults() -> None:
    sample = {
        "makina-projects.x": {"data": {"d": "{fqdn}"}},
        "nginx": {"vhosts": ["{d}", "{data_root}", "{z}"]},
    }
    found = cfg(layers(sample=sample))
    assert found.sample_defaults["nginx"] == {"vhosts": ["host.example.org", "/srv/projects/foo/data", "{z}"]}
    assert found.sample_defaults["makina-projects.x"] == {"data": {"d": "host.example.org"}}
    assert found.origin["sls_default_pillar", "nginx", "vhosts"] == "PILLAR.sample"


VERBATIM = [
    "http://{s}.tile.openstreetmap.org/{z}/{x}/{y}.png",
    '{"json": {"a": [1, {}]}}',
    "%(asctime)s {levelname:<8} {message!r} {} {0} {a.b} {l[0]} { a } {a:b}",
    'log_format main \'$remote_addr - "$request" $status {\' "}";',
    "${HOME} #{ruby} {{",
    "}{",
    "{",
    "}",
    "",
    "{a\n}",
    "{A}",
    "{{nope}}",
]


@pytest.mark.parametrize("text", VERBATIM)
def test_unknown_braces_stay(text: str) -> None:
    assert resolve({"t": [text]}, {"a": 1, "l": [1], "": 2}) == {"t": [text]}
    assert values({"data": {"t": text}})["data"]["t"] == text


REFERENCES = {
    "n": 5,
    "f": 1.5,
    "yes": True,
    "no": None,
    "t": "T",
    "l": [1, "{t}"],
    "m": {"k": "{t}"},
    "e": "prod",
    "db_prod": "D{n}",
    "lb": "{",
    "l2": ["{l}"],
    "q": "it's",
    "lq": ["{q}"],
    "alias": "{l}",
    8: "int",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{n}", "5"),
        ("{f}", "1.5"),
        ("{yes}", "True"),
        ("{no}", "None"),
        ("a{t}{t}", "aTT"),
        ("{l}", [1, "T"]),
        ("{m}", {"k": "T"}),
        ("{l2}", [[1, "T"]]),
        ("{alias}", [1, "T"]),
        ("x{l}", "x[1, 'T']"),
        ("x{m}", "x{'k': 'T'}"),
        ("x{l2}", "x[[1, 'T']]"),
        ("x{lq}", 'x["it\'s"]'),
        ("{l} ", "[1, 'T'] "),
        ("{db_{e}}", "D5"),
        ("{lb}n}", "5"),
        ("{{t}}", "{T}"),
        ("{8}", "int"),
        ("{l}{nope}", "[1, 'T']{nope}"),
    ],
)
def test_a_reference(text: str, expected: Any) -> None:
    assert resolve(text, REFERENCES) == expected
    assert resolve([{"k": text}], REFERENCES) == [{"k": expected}]


def test_keys_are_never_resolved() -> None:
    assert resolve({"{t}": "{t}"}, REFERENCES) == {"{t}": "T"}


@pytest.mark.parametrize(
    "table",
    [
        {"a": "{a}"},
        {"a": "{a}{a}"},
        {"a": "x{b}", "b": "{c}y", "c": "{a}{b}"},
        {"a": ["{a}", "{a}"]},
        {"a": {"k": "x{b}"}, "b": ["{a}"]},
        {f"k{n}": "".join(f"{{k{m}}}" for m in range(40)) for n in range(40)},
    ],
)
def test_a_cycle_ends_and_stays_as_it_is(table: dict[str, Any]) -> None:
    assert resolve(table, table) == table


def test_what_only_leads_to_a_cycle_is_resolved_up_to_it() -> None:
    table = {"a": "{b}", "b": "{a}", "ok": "fine", "url": "http://{ok}/{a}", "again": "{url}"}
    assert resolve(table, table) == {**table, "url": "http://fine/{a}", "again": "http://fine/{a}"}


@pytest.mark.parametrize(
    "table",
    [
        {"p": "{", "a": "{p}a}{p}a}"},
        {"p": "{", "a": ["{p}a}", "{p}a}"]},
        {"p": "{", "a": "{p}b}{p}b}", "b": "{p}a}{p}a}"},
        {"x0": "y", **{f"x{n}": f"{{x{n - 1}}}{{x{n - 1}}}" for n in range(1, 60)}},
    ],
)
def test_references_that_multiply_end(table: dict[str, Any]) -> None:
    assert resolve(table, table).keys() == table.keys()


def test_a_long_chain_is_followed_for_a_hundred_passes() -> None:
    chain = {f"k{n}": f"{{k{n + 1}}}" for n in range(99)} | {"k99": "end"}
    assert set(resolve(chain, chain).values()) == {"end"}


# -- origin -------------------------------------------------------------------------------------------------


def test_the_origin_of_every_leaf_is_told() -> None:
    found = cfg(layers({"data": {"a": {"b": 1}, "l": [1, {"x": 2}], "e": {}}}, {"data": {"a": {"c": 2}}}))
    assert {path: layer for path, layer in found.origin.items() if path[0] == "data"} == {
        ("data", "a", "b"): "PILLAR.sample",
        ("data", "a", "c"): "pillar",
        ("data", "l"): "PILLAR.sample",
        ("data", "e"): "PILLAR.sample",
    }
    assert {path[0] for path in found.origin} == set(found.values)
    assert found.origin["user",] == "built-in"


def test_the_origin_of_what_a_reference_brought_is_the_reference() -> None:
    found = cfg(layers({"data": {"m": {"k": 1}}}, {"data": {"n": "{m}", 80: 1}}))
    assert found.values["data"] == {"m": {"k": 1}, "n": {"k": 1}, 80: 1}
    assert found.origin["data", "n", "k"] == "pillar"
    assert found.origin["data", "80"] == "pillar"


def test_the_origin_is_the_layer_that_replaced_a_mapping() -> None:
    found = cfg(layers({"data": {"a": {"k": 1}}}, {"data": {"a": 5}}, request={"data": {"a": {"j": 2}}}))
    assert found.values["data"] == {"a": {"j": 2}}
    assert found.origin["data", "a", "j"] == "request"


def where(given: Layers, own: Mapping[str, Any] = {}, env_defaults_win: bool = False) -> dict[str, str]:
    found = sources(given, cfg(given, env_defaults_win), name="foo", own_pillar=own)
    assert found.keys() == cfg(given).origin.keys()
    return {".".join(path): source for path, source in found.items()}


def test_what_the_projects_pillar_says_is_known_from_what_the_hosts_does() -> None:
    own = {"makina-projects.foo": {"user": "u", "data": {"a": 1, 80: {"k": 1}}}, "foo": {"keep_archives": 2}}
    host = {"makina-projects.foo.data": {"b": 1}, "makina-projects.foo.groups": ["g"]}
    found = where(layers({"data": {"a": 0, "c": 1}}, pillar={**own, **host}), own)
    names = ("user", "data.a", "data.80.k", "keep_archives", "data.b", "groups", "data.c", "name")
    assert [found[name] for name in names] == [
        "init.sls", "init.sls", "init.sls", "init.sls", "pillar", "pillar", "PILLAR.sample", "built-in",
    ]  # fmt: skip


@pytest.mark.parametrize("win", [False, True])
def test_what_env_and_os_defaults_bring_is_from_whom_they_are(win: bool) -> None:
    tables = {"env_defaults": {"dev": {"a": "s", "b": "s"}}, "os_defaults": {"Debian": {"c": "s", "d": "s"}}}
    own = {"makina-projects.foo": {"env_defaults": {"dev": {"b": {"x": 1}}}}}
    host = {"makina-projects.foo.os_defaults.Debian": {"d": "h"}}
    minion = {"makina-projects.foo": {"env_defaults": {"dev": {"e": "m"}}}}
    found = where(layers(tables, pillar={**own, **host}, minion=minion), own, win)
    assert [found[f"data.{key}"] for key in ("a", "b.x", "c", "d", "e")] == [
        "PILLAR.sample", "init.sls", "PILLAR.sample", "pillar", "minion",
    ]  # fmt: skip


# -- what SLS get -------------------------------------------------------------------------------------------


def test_cfg_is_one_line_of_json() -> None:
    day = datetime.date(2024, 1, 2)
    found = values({"data": {"text": "a\nb", "day": day, "set": {1}, "tuple": (1, day), day: 1, 80: "x"}})
    line = json.dumps(found)
    assert "\n" not in line
    assert json.loads(line)["data"] == {
        "text": "a\nb",
        "day": "2024-01-02",
        "set": [1],
        "tuple": [1, "2024-01-02"],
        "2024-01-02": 1,
        "80": "x",
    }


def test_nothing_is_shared_with_the_layers_or_within() -> None:
    shared = {"k": ["v"]}
    given = layers({"data": {"a": shared, "b": shared, "c": "{a}"}}, request={"v": shared})
    before = copy.deepcopy(given)
    found = cfg(given).values
    found["data"]["a"]["k"].append("mine")
    found["groups"].append("mine")
    found["env_defaults"]["dev"]["mine"] = 1
    assert found["data"]["b"] == found["data"]["c"] == found["data"]["v"] == {"k": ["v"]}
    assert given == before
    assert cfg(given).values["groups"] == ["foo-grp"]


# -- what is refused ----------------------------------------------------------------------------------------

WRONG = [
    ({"s": {"data": [1]}}, "PILLAR.sample: data: expected a mapping, got a list"),
    ({"s": "x"}, "PILLAR.sample: makina-projects.projectname: expected a mapping, got text"),
    ({"s": [1]}, "PILLAR.sample: makina-projects.projectname: expected a mapping, got a list"),
    ({"sample": ["x"]}, "PILLAR.sample: expected a mapping, got a list"),
    ({"s": {"env_defaults": 3}}, "PILLAR.sample: env_defaults: expected a mapping, got 3"),
    ({"s": {"env_defaults": {"dev": "x"}}}, "PILLAR.sample: env_defaults.dev: expected a mapping, got text"),
    ({"p": {"os_defaults": {"Debian": [1]}}}, "pillar: os_defaults.Debian: expected a mapping, got a list"),
    ({"p": [1]}, "pillar: makina-projects.foo: expected a mapping, got a list"),
    ({"p": {"data": "s3cret"}}, "pillar: data: expected a mapping, got text"),
    ({"p": {"keep_archives": 0}}, "pillar: keep_archives: expected a positive whole number, got 0"),
    ({"p": {"keep_archives": "5"}}, "pillar: keep_archives: expected a positive whole number, got text"),
    ({"p": {"keep_archives": True}}, "pillar: keep_archives: expected a positive whole number, got true"),
    (
        {"pillar": {"foo": {"keep_archives": -1}}},
        "pillar: keep_archives: expected a positive whole number, got -1",
    ),
    ({"s": {"user": 5}}, "PILLAR.sample: user: expected text, got 5"),
    ({"s": {"user": None}}, "PILLAR.sample: user: expected text, got null"),
    ({"s": {"user": ""}}, 'PILLAR.sample: user: expected text, got ""'),
    ({"p": {"groups": "a"}}, "pillar: groups: expected a list of names, got text"),
    ({"p": {"groups": [1]}}, "pillar: groups: expected a list of names, got a list"),
    ({"p": {"no_user": "yes"}}, "pillar: no_user: expected true or false, got text"),
    ({"p": {"skip_archive": 1}}, "pillar: skip_archive: expected true or false, got 1"),
    ({"request": {"only": 5}}, "request: only: expected a name or a list of names, got 5"),
    ({"request": {"steps": [1]}}, "request: only_steps: expected a name or a list of names, got a list"),
    ({"request": {"data": 5}}, "request: data: expected a mapping, got 5"),
    ({"s": {"project_root": "/x"}}, "PILLAR.sample: project_root: is fixed by the host and cannot be set"),
    ({"p": {"name": "bar"}}, "pillar: name: is fixed by the host and cannot be set"),
    (
        {"request": {"current_archive_dir": "/"}},
        "request: current_archive_dir: is fixed by the host and cannot be set",
    ),
    ({"minion": {"makina-projects.foo.user": 1}}, "minion: user: expected text, got 1"),
    ({"grains": {"makina-projects.foo.data": 1}}, "grains: data: expected a mapping, got 1"),
    ({"s": {"user": "{groups}"}}, "cfg: user: expected text, got a list"),
    (
        {"p": {"default_env": "Prod"}},
        "pillar: default_env: invalid environment 'Prod': use a-z, 0-9, - and _, starting with a letter",
    ),
    ({"minion": {"default_env": ["a"]}}, "minion: default_env: expected text, got a list"),
    ({"request": {"default_env": 1}}, "request: default_env: expected text, got 1"),
]


@pytest.mark.parametrize(("said", "message"), WRONG, ids=[message for _, message in WRONG])
def test_a_wrong_value_is_refused_with_layer_and_key(said: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        cfg(layers(**said))
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"s": {"no_user": 0}}, "PILLAR.sample: no_user: expected true or false, got 0 (PILLAR.sample line 3)"),
        ({"p": {"env_defaults": {"dev": 1}}}, "pillar: env_defaults.dev: expected a mapping, got 1 (init.sls line 2)"),
        ({"p": {"user": ""}}, 'pillar: user: expected text, got "" (the pillar of the host, ROOT/srv/pillar)'),
        ({"minion": {"makina-projects.foo.user": 1}}, "minion: user: expected text, got 1 (CONFIG line 2)"),
        ({"sample": ["x"]}, "PILLAR.sample: expected a mapping, got a list"),
        ({"s": {"user": "{groups}"}}, "cfg: user: expected text, got a list"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_with_file_and_line(tmp_path: Path, said: Any, message: str) -> None:
    texts = {
        "salt/PILLAR.sample": "# what\nmakina-projects.foo:\n  no_user: 0\n",
        "pillar/init.sls": "makina-projects.foo:\n  'env_defaults': {dev: 1}\n",
        "etc/corpushooks/config.yaml": "minion:\n  makina-projects.foo.user: 1\n",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    nowhere = tmp_path / "none"
    found = Release(
        Host(tmp_path).project("foo"), "dev", tmp_path / "salt", tmp_path / "pillar", (), (), nowhere, nowhere
    )
    with pytest.raises(ConfigError) as caught:
        release_cfg.cfg_of(layers(**said), found, Settings())
    assert caught.value.message == message.replace("CONFIG", f"{tmp_path}/etc/corpushooks/config.yaml").replace(
        "ROOT", str(tmp_path)
    )


# -- properties ---------------------------------------------------------------------------------------------

KEY = st.sampled_from("abcde")
SCALAR = st.none() | st.booleans() | st.integers() | st.text("ab{}", max_size=6)
VALUE = st.recursive(SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=3))
MAPPING = st.dictionaries(KEY, VALUE, max_size=5)
# Each name has its type at its level, so that merging cannot meet a scalar where a mapping is.
TYPED = st.fixed_dictionaries(
    {},
    optional={
        "a": SCALAR,
        "b": st.lists(SCALAR, max_size=3),
        "c": st.fixed_dictionaries({}, optional={"a": SCALAR, "c": st.dictionaries(KEY, SCALAR)}),
    },
)
TANGLE = st.dictionaries(KEY, st.text(st.sampled_from("{}abx"), max_size=12) | VALUE, max_size=5)


@given(TYPED, TYPED, TYPED)
def test_merge_is_associative_where_types_agree(one: Any, two: Any, three: Any) -> None:
    assert merge(merge(one, two), three) == merge(one, merge(two, three))


@given(MAPPING)
def test_merge_has_an_identity_and_is_idempotent(one: Any) -> None:
    assert merge({}, one) == merge(one, {}) == merge(one, one) == one


@given(MAPPING, MAPPING)
def test_merge_keeps_all_keys_and_changes_no_input(low: Any, high: Any) -> None:
    before = copy.deepcopy((low, high))
    merged = merge(low, high)
    assert (low, high) == before
    assert merged.keys() == low.keys() | high.keys()
    assert all(merged[key] == value for key, value in high.items() if not isinstance(value, dict))


@given(TANGLE, TANGLE)
def test_resolve_ends_and_changes_no_input(some: Any, references: Any) -> None:
    before = copy.deepcopy((some, references))
    assert resolve(some, references).keys() == some.keys()
    resolve(references, references)
    assert (some, references) == before


@given(MAPPING)
def test_resolve_leaves_what_mentions_nothing_known(some: Any) -> None:
    assert resolve(some, {"unknown": 1, "x": [2]}) == some


@st.composite
def acyclic(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a mapping whose values refer only to keys that come later."""
    names = list("abcdef")
    result: dict[str, Any] = {}
    for place, name in enumerate(names):
        later = [f"{{{other}}}" for other in names[place + 1 :]] or ["end"]
        word = st.sampled_from([*later, "{nope}", "x", " ", "5"])
        text = st.lists(word, max_size=4).map("".join)
        result[name] = draw(text | st.integers() | st.lists(text, max_size=2) | st.dictionaries(KEY, text))
    return result


@given(acyclic())
def test_resolve_reaches_a_fixed_point(table: Any) -> None:
    once = resolve(table, table)
    assert resolve(once, once) == resolve(once, table) == once
    assert not any(f"{{{name}}}" in json.dumps(once) for name in table)


@given(MAPPING, MAPPING, MAPPING)
def test_cfg_is_always_json_and_knows_all_its_origins(s: Any, p: Any, r: Any) -> None:
    given_layers = layers({"data": s, "env_defaults": {"dev": r}}, {"data": p}, request={"data": r})
    before = copy.deepcopy(given_layers)
    found = cfg(given_layers)
    assert json.loads(json.dumps(found.values)) == found.values
    assert given_layers == before
    assert {path[0] for path in found.origin} == set(found.values)
    assert where(given_layers, given_layers.pillar)
    assert cfg(given_layers) == found
