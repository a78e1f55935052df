"""The files that SLS files written for makina-states include and import."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import stat
import sys
from collections.abc import Callable

from corpushooks import salt
from corpushooks.system import process
from tests.support.box import Box
from tests.support.makina import configured, problems, run_one
from tests.support.places import TESTS
from tests.support.world import World

PROJECTS = TESTS / "projects"

FILES = salt.STATES / "makina-states"
NAMES = sorted(
    str(path.relative_to(salt.STATES).with_suffix("")).replace("/", ".").removesuffix(".init")
    for path in FILES.rglob("*.sls")
)
UNSUPPORTED = {"localsettings.rvm", "localsettings.phantomjs", "localsettings.casperjs", "services.db.mongodb"}


HOOKS = (  # what projects of that time require or watch
    "nginx-pre-install-hook nginx-pre-conf-hook nginx-post-conf-hook nginx-pre-restart-hook nginx-pre-hardrestart-hook"
    " makina-apache-pre-inst makina-apache-post-inst makina-apache-pre-conf makina-apache-vhostconf"
    " makina-apache-post-conf makina-apache-pre-restart makina-apache-php-pre-restart makina-php-pre-inst"
    " makina-php-pre-restart ftpd-pre-configuration-hook ftpd-post-configuration-hook circus-pre-conf"
    " circus-pre-restart circus-post-conf-watchers ubuntugis-post-hardrestart-hook nodejs-post-install"
    " nodejs-post-prefix-install makina-postgresql-pre-base makina-postgresql-post-pkg makina-postgresql-presetup"
    " mysql-post-conf-hook redis-pre-conf redis-post-conf mongodb-post-conf mongodb-pre-restart postfix-postconf"
    " makina-states-jdk_last"
)


def test_every_file_can_be_included(world: World) -> None:
    """All in one, so that no hook is made in two files."""
    names = "".join(f"  - {name}\n" for name in NAMES if name.removeprefix("makina-states.") not in UNSUPPORTED)
    with configured(world) as session:
        known = "x:\n  test.nop:\n    - require:\n" + "".join(f"      - mc_proxy: {id}\n" for id in HOOKS.split())
        assert problems(session, world.sls("one", f"include:\n{names}{known}")) == []


RUBY = "Debian's ruby and bundler, by pkg.installed"
INSTEAD = {
    "localsettings.rvm": RUBY, "rvm.install_ruby": RUBY,
    "mysql.gen_settings": "a file of the project in /etc/mysql/conf.d",
    "services.db.mongodb": "services.db.postgresql, or a repository of MongoDB's by pkgrepo.managed",
    "localsettings.phantomjs": "chromium, by pkg.installed, which runs without a display",
    "h.install_via_cops": "pkg.installed, or the SLS files of the project",
}  # fmt: skip
FOREIGN = {  # what an SLS says -> what is not here
    "include: [makina-states.localsettings.rvm]": "localsettings.rvm",
    "include: [makina-states.services.db.mongodb]": "services.db.mongodb",
    "include: [makina-states.localsettings.phantomjs]": "localsettings.phantomjs",
    "{% import 'makina-states/_macros/h.jinja' as h with context %}{{ h.install_via_cops('x') }}": "h.install_via_cops",
    "include: [makina-states.services.foo]": "makina-states.services.foo",
    "{% import 'makina-states/services/foo.sls' as foo %}": "makina-states/services/foo.sls",
    "{% set foo = salt['mc_foo.settings']() %}": "mc_foo.settings",
    "{% set foo = salt['mc_nginx.foo']() %}": "mc_nginx.foo",
    "foo: mc_foo.bar": "mc_foo.bar",
    "{% import 'makina-states/localsettings/rvm/init.sls' as rvm %}{{ rvm.install_ruby(1, b=2) }}": "rvm.install_ruby",
    "{% import 'makina-states/services/db/mysql/init.sls' as db %}{{ db.gen_settings(1) }}": "mysql.gen_settings",
}  # fmt: skip


def test_what_is_not_here_is_one_line_with_its_name_and_the_page(world: World) -> None:
    with configured(world) as session:
        for text, name in FOREIGN.items():
            found = session.check([world.sls("one", f"x:\n  test.nop: []\n{text}\n")])[0]
            instead = f": use {INSTEAD[name]}" if name in INSTEAD else ""
            assert [str(each) for each in found] == [
                f"one.sls line 3: {name} is not supported here{instead}; see: corpus help makina-states"
            ]
    skipped = ["localsettings.rvm", "rvm.install_ruby"]
    with configured(world, **{"makina-states.skipped": skipped}) as session:
        text = next(text for text, name in FOREIGN.items() if name == skipped[1])
        assert problems(session, world.sls("one", f"include: [makina-states.{skipped[0]}]\n{text}")) == []


MACROS = """\
{% import 'makina-states/services/db/postgresql/init.sls' as pg with context %}
{% import 'makina-states/localsettings/nodejs/prefix/prerequisites.sls' as node with context %}
{% import 'makina-states/_macros/h.jinja' as h with context %}
include:
  - makina-states.services.db.postgresql
  - makina-states.localsettings.nodejs
  - makina-states.services.queue.rabbitmq
{{ pg.postgresql_group('staff', createdb=True, rolepassword='x', encrypted=True, full=False) }}
{% for db in ('one', 'two') %}
{{ pg.postgresql_db(db, template='postgis', wait_for_template=False, lc_collate='C', extensions=['hstore'], suf=db) }}
{{ pg.postgresql_user('owner', password='x', groups=['crew'], db=db, suf=db) }}
{{ pg.install_pg_ext('unaccent', db, versions=none, watch_in=[{'mc_proxy': 'makina-postgresql-post-inst'}]) }}
{% endfor %}
{% import 'makina-states/services/queue/rabbitmq/init.sls' as rabbit with context %}
{{ rabbit.rabbitmq_vhost('vhost', user='u', password='x') }}
{{ rabbit.rabbitmq_user('u', 'x', state_uid='again', tags=['administrator']) }}
{{ node.install('0.10.28', hash='4b9cf9437decea3d9913b694ea2e9b0a06ced2dd') }}
{{ h.deliver_config_files({'a.ini': {}, '/etc/b': {}}, dir='makina-projects/foo/files') }}
"""


def test_macros_take_what_projects_give_them(world: World) -> None:
    with configured(world) as session:
        assert problems(session, world.sls("one", MACROS)) == []


MODULES = """\
enabled:
  mc_apache.include_module:
    - modules: [rewrite, headers, mpm_prefork]
    - require_in:
      - mc_apache: makina-apache-main-conf
disabled:
  mc_apache.exclude_module:
    - modules: [autoindex]
makina-apache-main-conf:
  mc_apache.deployed: []
"""


def test_modules_of_apache(world: World) -> None:
    enabled, programs = world.root / "apache/mods-enabled", world.root / "programs"
    for folder in (enabled, programs):
        folder.mkdir(parents=True)
    for name, verb in (("a2enmod", "touch"), ("a2dismod", "rm")):
        file = programs / name
        file.write_text(f"#!/bin/sh\nshift; for each; do {verb} {enabled}/$each.load || exit 1; done\n")
        file.chmod(0o755)
    (enabled / "headers.load").touch()
    (enabled / "mpm_event.load").touch()
    (enabled / "autoindex.load").touch()
    settings = {"makina-states.services.http.apache.basedir": str(enabled.parent)}
    path = f"path:\n  environ.setenv:\n    - value: {{PATH: '{programs}:{os.environ['PATH']}'}}\n"
    ran = [run_one(world, path + MODULES, **settings).states[1:] for _ in "12"]
    changed = [{state.id: dict(state.changes) for state in states} for states in ran]
    assert changed[0] == {
        "enabled": {"mpm_event": "off", "rewrite": "on", "mpm_prefork": "on"},
        "disabled": {"autoindex": "off"},
        "makina-apache-main-conf": {},
    }
    assert changed[1] == {"enabled": {}, "disabled": {}, "makina-apache-main-conf": {}}
    assert sorted(path.name for path in enabled.iterdir()) == ["headers.load", "mpm_prefork.load", "rewrite.load"]


NODE = """\
{% import 'makina-states/localsettings/nodejs/prefix/prerequisites.sls' as node with context %}
include: [makina-states.localsettings.nodejs.hooks]
{{ node.install('0.10.28', HASH) }}
"""


def test_another_version_of_node(world: World) -> None:
    machine = {"x86_64": "x64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    name, site = f"node-v0.10.28-linux-{machine}", world.root / "site/v0.10.28"
    (site / name / "bin").mkdir(parents=True)
    (site / name / "bin/node").touch(0o755)
    process.run(["tar", "-C", site, "-czf", site / f"{name}.tar.gz", name])
    data = (site / f"{name}.tar.gz").read_bytes()
    (site / "SHASUMS256.txt").write_text(f"{hashlib.sha256(data).hexdigest()}  {name}.tar.gz\n")
    settings = {"url": f"file://{site.parent}", "prefix": str(world.out)}
    for given, well in ((f"hash='{'a' * 40}'", False), ("", True), (f"hash='{hashlib.sha1(data).hexdigest()}'", True)):
        text = NODE.replace("HASH", given)
        assert run_one(world, text, **{"makina-states.localsettings.nodejs": settings}).ok is well
        assert (world.out / "0.10.28/bin/node").exists() is well


def test_what_needs_a_program_that_is_not_installed_yet_is_no_fault(world: World) -> None:
    text = "a: rabbitmq_cluster.join\nb: rabbitmq_cluster.jion\nc: win_dacl.present\nd: rabbitmq_clutser.join\n"
    with configured(world) as session:
        found = session.check([world.sls("one", text)])[0]
    assert [(each.line, each.kind) for each in found] == [(1, "later"), (2, "compile"), (3, "compile"), (4, "compile")]
    assert "rabbitmq_cluster.join in state [a] is not available yet: Command not found: rabbitmqctl" in found[0].message


WEB_USER = """\
one:
  webutil.user_exists:
    - password: secret
    - htpasswd_file: OUT/users
"""


def test_the_web_server_may_read_a_new_file_of_users(world: World) -> None:
    assert run_one(world, WEB_USER, **{"makina-states.services.http.nginx": {"group": "daemon"}}).ok
    st = (world.out / "users").stat()
    assert stat.S_IMODE(st.st_mode) == 0o640
    assert st.st_gid == (grp.getgrnam("daemon").gr_gid if os.geteuid() == 0 else os.getegid())


def test_a_checkout_of_a_tag_makes_no_branch(world: World) -> None:
    source = world.root / "source"
    process.run(["git", "init", "--quiet", "--initial-branch=master", source])
    for number in ("1", "2"):
        (source / "file").write_text(number)
        process.run(["git", "-C", source, "add", "file"])
        process.run(["git", "-C", source, "commit", "--quiet", "-m", number])
    process.run(["git", "-C", source, "tag", "first", "HEAD~"])
    text = f"{source}:\n  mc_git.latest:\n    - target: OUT/checkout\n    - rev: REV\n"
    for rev, content in (("first", "1"), ("master", "2")):
        assert run_one(world, text.replace("REV", rev)).ok
        assert world.read("checkout/file") == content
    branches = process.run(["git", "-C", world.out / "checkout", "branch", "--format=%(refname:short)"]).text
    assert "first" not in branches.splitlines()
    missing = run_one(world, text.replace(str(source), str(world.root / "none")))
    assert "does not appear to be a git repository" in missing.states[0].comment


def test_a_php_site_with_a_module_of_its_own_compiles(new_box: Callable[..., Box]) -> None:
    words = [sys.executable, "-m", "corpushooks", "--root", new_box(salt=True).host.root, "check", PROJECTS / "php"]
    done = process.run(words, check=False)
    assert (done.code, done.stderr) == (0, b""), done


WEB = """\
{% import 'makina-states/services/http/nginx/init.sls' as nginx with context %}
{% import 'makina-states/services/php/init.sls' as php %}
{% import 'makina-states/services/http/apache/init.sls' as apache with context %}
include:
  - makina-states.services.http.nginx.hooks
  - makina-states.services.php.hooks
{{ nginx.virtualhost('www.example.org', 'OUT/www', ssl_cert='-----BEGIN CERT-----', ssl_key='-----BEGIN KEY-----',
                     server_aliases='a.example.org b.example.org', redirect_aliases=False, ssl_redirect=True) }}
{{ nginx.virtualhost('off.example.org', active=False) }}
{{ apache.virtualhost('www.example.org', 'OUT/www', server_aliases=['example.org'], allow_htaccess=True,
                     fpm_sock='www.sock') }}
{{ php.fpm_pool(domain='www.example.org', doc_root='OUT/www', fpm_user=ME, fpm_group=GROUP, memory_limit='64M',
                modules={'opcache': {'enable': True}}, open_basedir='/srv:/tmp') }}
"""


def test_what_virtual_hosts_and_pools_say(world: World) -> None:
    """Only files are written: the services and packages of this host are left alone."""
    base = {f"makina-states.services.{name}.basedir": str(world.out / name) for name in ("http.nginx", "http.apache")}
    enabled = world.out / "http.nginx/sites-enabled"
    enabled.mkdir(parents=True)
    (enabled / "off.example.org.conf").symlink_to("/nowhere")
    me, group = (repr(found) for found in (pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name))
    text = WEB.replace("ME", me).replace("GROUP", group)
    php = {"php_ver": 8.1, "etcdir": f"{world.out}/php/{{php_ver}}", "pools_directory": str(world.out / "pools")}
    result = run_one(world, text, **base, **{"makina-states.services.php": php})
    assert result.ok, result
    assert [path.name for path in enabled.iterdir()] == ["www.example.org.conf"]
    nginx = world.read("http.nginx/sites-enabled/www.example.org.conf")
    assert nginx.count("server_name www.example.org a.example.org b.example.org;") == 2
    assert nginx.count("listen 80;") == nginx.count("listen 443 ssl;") == 1
    key = world.out / "http.nginx/ssl/www.example.org.key"
    assert f"ssl_certificate_key {key};" in nginx
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    apache = world.read("http.apache/sites-enabled/www.example.org.conf")
    assert apache.count("<VirtualHost *:80>") == 2
    assert "AllowOverride All" in apache
    assert 'SetHandler "proxy:unix:/run/php/www.sock|fcgi://localhost"' in apache
    assert 'Redirect permanent "/" "http://www.example.org/"' in apache
    pool = world.read("php/8.1/fpm/pool.d/www_example_org.conf")
    assert 'php_admin_value[memory_limit] = "64M"' in pool
    assert 'php_admin_value[opcache.enable] = "on"' in pool
    own = world.out / "pools/www_example_org"  # fixperms does not reach it
    assert f':{own}/log:{own}/tmp/sessions:/srv"' in pool
    assert 'php_admin_value[session.gc_probability] = "1"' in pool
    assert (own / "tmp/sessions").is_dir()


SERVICE = """\
{% from 'makina-states/_macros/hooks.jinja' import hooks %}
{{ hooks('mysql') }}
conf:
  mc_service.configured:
    - service: mine
    - files: [{path: OUT/conf, contents: TEXT}]
    - links: {OUT/link: OUT/conf}
    - require:
      - mc_proxy: mysql-pre-conf-hook
    - watch_in:
      - mc_proxy: mysql-post-conf-hook
mine:
  mc_service.running:
    - tested_by: [grep, --quiet, fine, OUT/conf]
    - watch:
      - mc_proxy: mysql-pre-restart-hook
"""
SYSTEMCTL = """\
#!/bin/sh
here=$(dirname "$0")
case "$*" in
*is-active*) test -e "$here/active" ;;
*is-enabled*) test -e "$here/enabled" ;;
enable*) touch "$here/enabled" ;;
start*) touch "$here/active" ;;
esac || exit 1
case "$*" in --quiet*) ;; *) echo "$*" >>"$here/asked" ;; esac
"""


def test_a_service_of_systemd_reads_only_what_was_tested(world: World) -> None:
    (world.root / "systemctl").write_text(SYSTEMCTL)
    (world.root / "systemctl").chmod(0o755)
    systemd = {"makina-states.systemctl": str(world.root / "systemctl")}
    found = []
    for text, content in (("fine", "fine"), ("fine", "fine"), ("wrong", "fine"), ("fine too", "fine too")):
        found.append(run_one(world, SERVICE.replace("TEXT", text), **systemd))
        assert world.read("conf") == content
    assert [result.ok for result in found] == [True, True, False, True]
    assert (world.root / "asked").read_text().splitlines() == [
        "enable mine", "start mine", "reload-or-restart mine"
    ]  # fmt: skip
    assert "the changes were reverted" in next(state.comment for state in found[2].states if state.id == "mine")
    assert world.read("link") == "fine too"
    alone = run_one(world, SERVICE.replace("TEXT", "other"), **{"makina-states.systemctl": ""})
    assert "cannot start mine: systemd is not running here" in str(alone.states)
    assert world.read("conf") == "fine too"


BUILDOUT = """\
OUT/app:
  buildout.installed:
    - config: salt.cfg
    - parts: [a, b]
    - newest: true
    - use_vt: true
"""


def test_a_buildout_is_run(world: World) -> None:
    program = world.out / "app/bin/buildout"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "$PWD $*"\ntest ! -e broken\n')
    program.chmod(0o755)
    (state,) = run_one(world, BUILDOUT).states
    assert state.changes == {"buildout": f"{world.out}/app -c salt.cfg -n install a b"}
    (world.out / "app/broken").touch()
    (state,) = run_one(world, BUILDOUT).states
    assert (state.result, f"{world.out}/app -c salt.cfg" in state.comment) == (False, True)
