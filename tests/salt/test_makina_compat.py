"""What SLS files written for makina-states require and call, in the forms that they have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from corpushooks.salt import Engine, SaltCallEngine, WarmEngine
from tests.support.makina import configured, problems, run_one
from tests.support.world import World

ORDERED = """\
{% set made = salt['mc_utils.odict'](instance=False) %}
{% set one = made() %}{% do one.update({'z': 1}) %}{% do one.update({'a': 2}) %}
{% set two = salt['mc_utils.odict']() %}{% do two.update({'b': 3}) %}
{% set three = salt['mc_utils.odict']([('c', 4)]) %}
{{ made([('y', 1)]).keys() | join }} {{ one.keys() | join }} {{ two.keys() | join }} {{ three.keys() | join }}:
  test.nop: []
"""


def test_ordered_mappings_in_each_form(world: World) -> None:
    (state,) = run_one(world, ORDERED).states
    assert state.id == "y za b c"


REQUIRED = """\
include:
  - makina-states.localsettings.python
  - makina-states.services.db.postgresql
x:
  test.nop:
    - require:
      - pkgrepo: deadsnakes-ppa
      - pkg: deadsnakes
      - pkgrepo: pgsql-repo
      - pkg: postgresql-pkgs-client
      - pkg: postgresql-pkgs
"""


def test_ids_that_projects_require(world: World) -> None:
    with configured(world) as session:
        assert problems(session, world.sls("one", REQUIRED)) == []


VHOST = """\
{% set given = ARGUMENTS %}
{% do given.update({'active': given.get('active', True)}) %}
{% set vhost = salt['mc_WEB.vhost']('www.example.org', **given) %}
{{ vhost.self_signed.names | default(['none']) | join(' ') }}:
  test.nop: []
"""
CONTENTS = {  # what a template says -> whether the site is sent to https of its own
    "return 301 https://$host$request_uri;": True,
    "if ($x) { return 302 https://www.example.org/; }": True,
    "rewrite ^ https://$server_name$request_uri? permanent;": True,
    "return https://{{ domain }}/;": True,
    "RewriteRule ^ https://%{HTTP_HOST}%{REQUEST_URI} [R=301]": True,
    "Redirect permanent / https://www.example.org/": True,
    "# return 301 https://$host;": False,
    "return 301 https://elsewhere.example.net/;": False,
    "proxy_pass https://$host;": False,
    "return 301 $scheme://$host/;": False,
}


def test_which_sites_get_a_certificate(world: World) -> None:
    given: dict[str, bool] = {
        "{}": False, "{'ssl_redirect': True}": True, "{'ssl_redirect': True, 'active': False}": False,
        "{'ssl_redirect': True, 'ssl_cert': False}": False, "{'ssl_redirect': True, 'ssl_cert': ''}": True,
        "{'ssl_redirect': True, 'ssl_cert': '/c', 'ssl_key': '/k'}": False,
    }  # fmt: skip
    for number, (text, wanted) in enumerate(CONTENTS.items()):
        (world.folder / f"content{number}").write_text(f"# of the site\n  {text}\n")
        given[f"{{'vh_content_source': 'salt://makina-projects/foo/content{number}'}}"] = wanted
    wrong = []
    with configured(world) as session:
        for arguments, wanted in given.items():
            for web in ("nginx", "apache"):
                text = VHOST.replace("ARGUMENTS", arguments).replace("WEB", web)
                (state,) = session.run(world.sls("one", text)).states
                if (state.id == "www.example.org") is not wanted:
                    wrong.append((web, arguments, state.id))
    assert wrong == []


MADE = """\
x:
  mc_service.configured:
    - service: s
    - files: []
    - self_signed: {crt: OUT/crt, key: OUT/key, names: NAMES}
"""


def test_a_certificate_is_made_anew_only_where_it_does_not_serve(world: World) -> None:
    def made(names: str) -> tuple[str, str]:
        assert run_one(world, MADE.replace("NAMES", names)).ok
        return world.read("crt"), world.read("key")

    first = made("[a.example.org]")
    assert made("[a.example.org]") == first
    (world.out / "key").chmod(0o644)
    assert made("[a.example.org]") == first
    assert (world.out / "key").stat().st_mode & 0o777 == 0o600
    other = made("['~^[a-z]+$', '*.example.org', 192.0.2.1, 'b\u00fccher.example']")
    assert other != first
    (world.out / "key").write_text("not a key")
    assert made("['~^[a-z]+$']")[1].startswith("-----BEGIN PRIVATE KEY-----")


SCRIPT = """\
#!/bin/sh
here=$(dirname "$0")
case $1 in
status) test -e "$here/active" ;;
start) touch "$here/active" ;;
esac || exit 3
test "$1" = status || echo "$1" >>"$here/asked"
"""
WITHOUT_SYSTEMD = """\
conf:
  mc_service.configured:
    - service: redis-server
    - files: [{path: OUT/conf, contents: TEXT}]
redis-server:
  mc_service.running:
    - watch: [{mc_service: conf}]
"""


def test_services_are_started_by_their_script_without_systemd(world: World) -> None:
    (world.out / "redis-server").write_text(SCRIPT)
    (world.out / "redis-server").chmod(0o755)
    own = {"makina-states.systemctl": "", "makina-states.localsettings.locations.initd_dir": str(world.out)}
    for text in ("one", "one", "two"):
        result = run_one(world, WITHOUT_SYSTEMD.replace("TEXT", text), **own)
        assert result.ok, result
    assert world.read("asked").split() == ["start", "force-reload"]
    (world.out / "redis-server").unlink()
    result = run_one(world, WITHOUT_SYSTEMD.replace("TEXT", "three"), **own)
    assert "cannot start redis-server: systemd is not running here" in str(result.states)


INCLUDED = """\
{% import 'makina-states/localsettings/users/init.sls' as users with context %}
{% set redis = salt['mc_redis.settings']() %}
include:
  - makina-states.localsettings.users
  - makina-states.services.base.ssh.client
  - makina-states.services.dns.slapd
  - makina-states.services.monitoring.circus.services
  - makina-states.services.db.redis
{{ users.create_user('somebody', {'admin': True, 'groups': ['video']}) }}
{{ users.create_user('other', {'home': '/srv/other', 'password': '$6$x'}) }}
x:
  test.nop:
    - name: {{ redis.redis.port }}
    - require:
      - user: somebody
      - mc_proxy: slapd-post-conf
      - mc_proxy: users-ready-hook
"""


def test_files_and_macros_that_projects_include(world: World) -> None:
    with configured(world) as session:
        assert problems(session, world.sls("one", INCLUDED)) == []
    with configured(world, **{"makina-states.services.dns.slapd": {"dn": "dc=x"}}) as session:
        (found,) = problems(session, world.sls("one", "include: [makina-states.services.dns.slapd]\n"))
        assert found.startswith("makina-states.services.dns.slapd.dn is not supported here: use ldapmodify")


PYTHON = """\
#!py
def run():
    cfg["data"]["seen"] = "changed"
    own = [{"name": "OUT/file"}, {"source": "salt://makina-projects/foo/t"}, {"template": "py"}]
    return {cfg["name"]: {"test.nop": [{"name": cfg["group"]}]}, "file": {"file.managed": own}}
"""
TEMPLATE = """\
def run():
    return cfg["data"].get("seen", "as it was")
"""


@pytest.mark.parametrize("kind", ["warm", "salt-call"])
def test_python_sees_cfg(kind: str, worker: WarmEngine, tmp_path: Path) -> None:
    engine: Engine = worker if kind == "warm" else SaltCallEngine()
    world = World(tmp_path, engine)
    (world.folder / "t").write_text(TEMPLATE)
    result = run_one(world, PYTHON)
    assert [(each.id, each.name, each.result) for each in result.states][:1] == [("foo", "web", True)], result
    assert world.read("file") == "as it was"
