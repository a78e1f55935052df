"""What SLS files written for makina-states call: the modules, the states and the program that they know."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from corpushooks import salt
from corpushooks.salt import Result, SaltCallEngine, WarmEngine
from corpushooks.system import process
from tests.support.box import Box
from tests.support.world import World

RESETPERMS = Path(sys.executable).with_name("resetperms")


@pytest.fixture(params=["warm", "salt-call"])
def world(request: pytest.FixtureRequest, worker: WarmEngine, tmp_path: Path) -> World:
    engines: Mapping[str, salt.Engine] = {"warm": worker, "salt-call": SaltCallEngine()}
    world = World(tmp_path, engines[request.param])
    world.minion = replace(world.minion, passwords=tmp_path / "passwords.json")
    return world


def run_one(world: World, text: str, cfg: Mapping[str, object] | None = None) -> Result:
    """Run one SLS with a cfg."""
    with world.session() as session:
        session.configure({"name": "foo", "group": "web", "data": {}, **(cfg or {})}, {})
        return session.run(world.sls("one", text))


ASKED = """\
{% set cfg = opts.ms_project %}
{% set scfg = salt['mc_utils.json_dump'](cfg) %}
{% set locs = salt['mc_locations.settings']() %}
told:
  file.managed:
    - name: OUT/told
    - contents: |
        {{ salt['mc_utils.is_a_str']('x') }} {{ salt['mc_utils.is_a_dict']([]) }} {{ salt['mc_utils.is_a_int'](1) }}
        {{ salt['mc_utils.uniquify']([2, 1, 2]) }} {{ salt['mc_utils.hash']('x') }}
        {{ salt['mc_utils.dictupdate']({'a': {'b': 1}}, {'a': {'c': 2}}) }}
        {{ salt['mc_usergroup.settings']().group }} {{ locs.conf_dir }} {{ locs.resetperms }}
        {{ salt['mc_project.get_configuration_item']('foo', 'group') }} {{ salt['mc_utils.unix_crypt']('x')[:3] }}
        {{ salt['mc_utils.format_resolve']('{a}/{b}/{c}', {'a': 'x', 'b': '{a}y', 'd': 1}) }}
        {{ salt['mc_utils.format_resolve']({'l': [1], 'same': '{l}', 'loop': '{loop}x', 'n': '{l}!'}).same }}
json:
  file.managed:
    - name: OUT/json
    - template: jinja
    - source: salt://makina-projects/foo/template
    - defaults:
        cfg: |
            {{ scfg }}
        project: {{ cfg.name }}
"""
TEMPLATE = """\
{% set given = salt['mc_utils.json_load'](cfg) %}{% set same = salt['mc_project.get_configuration'](project) %}\
{{ given.data.text }} {{ given == same }}
"""


def test_what_sls_files_and_templates_ask(world: World) -> None:
    (world.folder / "template").write_text(TEMPLATE)
    assert run_one(world, ASKED, {"data": {"text": "two\nlines"}}).ok
    told = world.read("told").splitlines()
    assert told[:3] == ["True False True", "[2, 1] 9dd4e461268c8034f5c8564e155c67a6", "{'a': {'b': 1, 'c': 2}}"]
    assert told[3:] == [f"web /etc {RESETPERMS}", "web $6$", "x/xy/{c}", "[1]"]
    assert world.read("json") == "two\nlines True"


def test_what_cannot_be_told_is_one_clear_line(world: World) -> None:
    found = run_one(world, "x:\n  test.nop:\n    - name: {{ salt['mc_project.get_configuration']('other').x }}\n")
    assert "project 'other' is unknown or was never deployed" in found.errors[0]


STORED = """\
{% set made = salt['mc_utils.generate_stored_password'] %}
x:
  file.managed:
    - name: OUT/NAME
    - contents: {{ made('db') }} {{ made('k', 4) }}
"""


def test_stored_passwords_are_made_once_and_for_nobody_else(world: World) -> None:
    passwords = world.minion.passwords
    assert passwords
    for name in ("one", "two"):
        assert run_one(world, STORED.replace("NAME", name)).ok
    first, short = world.read("one").split()
    assert (len(first), len(short), world.read("two")) == (16, 4, f"{first} {short}")
    assert json.loads(passwords.read_text()) == {"db": first, "k": short}
    assert stat.S_IMODE(passwords.stat().st_mode) == 0o600
    passwords.write_text("{")
    assert f"cannot read the passwords in {passwords}" in run_one(world, STORED).errors[0]


def test_what_may_not_write_has_placeholders(world: World) -> None:
    world.minion = replace(world.minion, writes=False)
    assert run_one(world, STORED.replace("NAME", "x")).ok
    assert world.read("x") == "not-generated-yet not-generated-yet"
    assert world.minion.passwords
    assert not world.minion.passwords.exists()


HOOKS = """\
before:
  mc_proxy.hook: []
conf:
  file.managed:
    - name: OUT/conf
    - contents: TEXT
    - watch:
      - mc_proxy: before
    - watch_in:
      - mc_proxy: after
after:
  mc_proxy.hook:
    - watch_in:
      - mc_proxy: last
last:
  mc_proxy.hook: []
restart:
  cmd.wait:
    - name: echo restarted >> OUT/restarts
    - watch:
      - mc_proxy: last
"""


def test_a_hook_passes_a_change_on(world: World) -> None:
    for text in ("one", "one", "two"):
        assert run_one(world, HOOKS.replace("TEXT", text)).ok
    assert world.read("restarts").splitlines() == ["restarted", "restarted"]


WEB_USERS = """\
{% for name, word in {'one': 'PASSWORD', 'two:': 'x'}.items() %}
{{ name }}:
  webutil.user_exists:
    - password: {{ word }}
    - htpasswd_file: OUT/users
    - options: m
    - force: true
{% endfor %}
"""


def test_users_of_a_web_server(world: World) -> None:
    """The file has those of others too; a password that is right already is left alone."""
    (world.out / "users").write_text("other:hash\none:$apr1$x$y\n")
    (world.out / "users").chmod(0o640)
    found = [run_one(world, WEB_USERS.replace("PASSWORD", word)) for word in ("secret", "secret", "changed")]
    assert [bool(result.states[0].changes) for result in found] == [True, False, True]
    assert [state.result for state in found[0].states] == [True, False]
    assert "invalid user name" in found[0].states[1].comment
    lines = dict(line.split(":") for line in world.read("users").splitlines())
    assert (lines["other"], lines["one"][:3]) == ("hash", "$6$")
    assert stat.S_IMODE((world.out / "users").stat().st_mode) == 0o640


def test_a_checkout_that_follows_a_branch(world: World) -> None:
    source = world.root / "source"
    process.run(["git", "init", "--quiet", "--initial-branch=master", source])
    for number in ("1", "2"):
        (source / "file").write_text(number)
        process.run(["git", "-C", source, "add", "file"])
        process.run(["git", "-C", source, "commit", "--quiet", "-m", number])
        text = f"{source}:\n  mc_git.latest:\n    - target: OUT/checkout\n    - rev: master\n"
        result = run_one(world, text)
        assert result.ok, result
        assert world.read("checkout/file") == number


GENERIC = """include:
  - makina-states.projects.2.generic.archive
  - makina-states.projects.2.generic.rollback
  - makina-states.projects.2.generic.notify
  - makina-states.projects.2.generic.fixperms
mine:
  test.nop: []
"""


def test_the_generic_files_can_be_included(world: World) -> None:
    (world.out / "tree").mkdir()
    paths = {key: str(world.out / "tree") for key in ("project_root", "data_root", "pillar_root")}
    result = run_one(world, GENERIC, {**paths, "api_version": "2", "installer": "generic"})
    assert result.ok, result
    assert "mine" in {state.id for state in result.states}


# the program


def modes(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): f"{stat.S_IMODE(p.lstat().st_mode):o}" for p in sorted(folder.rglob("*"))}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    (folder / "in").mkdir(parents=True)
    for name, mode in (("in/file", 0o600), ("in/run", 0o700), ("alone", 0o600)):
        (folder / name).touch(mode)
        (folder / name).chmod(mode)
    (folder / "in").chmod(0o700)
    (folder / "link").symlink_to("/etc")
    return folder


def test_resetperms_as_fixperms_files_call_it(tree: Path) -> None:
    flags = ["-q", "--no-acls", "--reset-acls", "--users", "root", "--users", "www-data", "--groups", "editor"]
    owner = ["--user", "root", "--group", "root"] if os.geteuid() == 0 else []
    modes_of = ["--dmode", "0771", "--fmode", "0640"]
    done = process.run([RESETPERMS, *flags, *owner, *modes_of, "--paths", tree / "in", f"--paths={tree}/alone"])
    assert done.stderr == b""
    assert modes(tree) == {"alone": "640", "in": "771", "in/file": "640", "in/run": "750", "link": "777"}
    process.run([RESETPERMS, "-n", "--no-recursive", "--dmode", "0700", "--paths", tree / "in"])
    assert modes(tree)["in"], modes(tree)["in/file"] == ("700", "640")
    process.run([RESETPERMS, "-n", "--fmode", "0600", "--excludes=.*/ru.+", "--paths", tree / "in"])
    assert (modes(tree)["in/file"], modes(tree)["in/run"]) == ("600", "750")
    process.run([RESETPERMS, "-n", "--dmode", "0700", "--no-recursive", "--paths", tree / "in"])
    process.run([RESETPERMS, "--only-acls", "--dmode", "0777", "--paths", tree / "in"])
    assert f"{(tree / 'in').stat().st_mode & 0o707:o}" == "700"  # the middle is what its access list lets through


def test_resetperms_follows_no_link_and_says_so(tree: Path) -> None:
    done = process.run([RESETPERMS, "--paths", tree / "link", "--paths", tree / "none"])
    assert done.stderr.decode().splitlines() == [
        f"{tree}/link: neither a file nor a folder", f"{tree}/none: No such file or directory",
    ]  # fmt: skip
    os.link(tree / "alone", tree / "other")
    done = process.run([RESETPERMS, "--paths", tree / "alone"])
    assert "it has other names" in done.stderr.decode()
    assert modes(tree)["alone"] == "600"


def test_resetperms_names_what_is_wrong(tree: Path) -> None:
    for words, said in (
        (["--user", "nobody-at-all"], "unknown user 'nobody-at-all'"),
        (["--group", "none-of-them"], "unknown group 'none-of-them'"),
        (["--dmode", "rwx"], "invalid mode 'rwx'"),
        (["--excludes", "("], "invalid regular expression '('"),
    ):
        done = process.run([RESETPERMS, *words, "--paths", tree], check=False)
        assert (done.code, said in done.stderr.decode()) == (1, True)


# a project of that time

FIXPERMS = """\
{% set cfg = opts.ms_project %}
{% set locs = salt['mc_locations.settings']() %}
{% set ugs = salt['mc_usergroup.settings']() %}
{{cfg.name}}-restricted-perms:
  file.managed:
    - name: {{cfg.project_dir}}/global-reset-perms.sh
    - mode: 750
    - contents: |
            #!/usr/bin/env bash
            if [ -e "{{cfg.project_root}}" ];then
              "{{locs.resetperms}}" --no-acls -q \\
                --dmode '0770' --fmode '0760' \\
                --paths "{{cfg.project_root}}" --paths "{{cfg.data_root}}"
            fi
  cmd.run:
    - name: {{cfg.project_dir}}/global-reset-perms.sh
    - cwd: {{cfg.project_root}}
"""
APP = """\
{% set cfg = opts.ms_project %}
{% set data = cfg.data %}
{% set scfg = salt['mc_utils.json_dump'](cfg) %}
include:
  - makina-projects.{{cfg.name}}.include.configs
{{cfg.name}}-conf:
  file.managed:
    - name: {{cfg.data_root}}/app.ini
    - source: salt://makina-projects/{{cfg.name}}/files/app.ini
    - template: jinja
    - mode: 640
    - defaults:
        cfg: |
             {{scfg}}
    - watch:
      - mc_proxy: {{cfg.name}}-configs-before
    - watch_in:
      - mc_proxy: {{cfg.name}}-configs-after
"""
CONFIGS = """\
{% set cfg = opts.ms_project %}
{{cfg.name}}-configs-before:
  mc_proxy.hook: []
{{cfg.name}}-configs-after:
  mc_proxy.hook: []
"""
INI = """\
{% set cfg = salt['mc_utils.json_load'](cfg) %}{% set data = cfg.data %}\
url = {{data.url}}
password = {{data.password}}
"""
PROJECT = {
    ".salt/PILLAR.sample": """\
makina-projects.projectname:
  data:
    domain: "{fqdn}"
    url: "http://{domain}/{name}"
    password: "{{ salt['mc_utils.generate_stored_password']('app-db') }}"
""",
    ".salt/fixperms.sls": FIXPERMS,
    ".salt/000_prereqs.sls": "{% set cfg = opts.ms_project %}\n{{cfg.name}}-dirs:\n  file.directory:\n"
    "    - names:\n      - {{cfg.data_root}}/media\n    - makedirs: true\n",
    ".salt/300_app.sls": APP,
    ".salt/include/configs.sls": CONFIGS,
    ".salt/files/app.ini": INI,
    "index.html": "one",
}


def test_a_project_of_that_time_deploys_as_it_is(new_box: Callable[..., Box]) -> None:
    box = new_box(salt=True)
    box.init()
    work = box.work()
    work.commit(PROJECT)
    pushed = work.push()
    assert pushed.code == 0, pushed.text
    ini = (box.project().data / "app.ini").read_text()
    password = json.loads((box.project().minion_dir / "passwords.json").read_text())["app-db"]
    assert ini.splitlines()[0].endswith("/hello")
    assert ini.splitlines()[1] == f"password = {password}"
    assert f"{stat.S_IMODE((box.project().tree / 'index.html').stat().st_mode):o}" == "760"
    assert password not in box.log(1)
    work.commit({"index.html": "two"})
    assert work.push().code == 0
    assert (box.project().data / "app.ini").read_text() == ini
