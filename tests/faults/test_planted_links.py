"""Every state, module and macro that we ship, given a path where an application has planted links: it gets nowhere."""

from __future__ import annotations

import ast
import os
import pwd
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from corpushooks import salt
from corpushooks.salt import WarmEngine
from corpushooks.system import process
from tests.support.box import tree_of
from tests.support.secret import SECRET
from tests.support.world import World

PACKAGE = Path(salt.__file__).parents[1]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")

APP = pwd.getpwnam("daemon").pw_uid  # the application
ROWS = {  # what is shipped -> an SLS that gives it a path; P is a folder of the application
    "webutil.user_exists": "x:\n"
    "  webutil.user_exists: [{name: one}, {password: secret}, {htpasswd_file: P/htpasswd}]\n",
    "file.delivered": "x:\n  file.delivered: [{name: P/htpasswd}, {contents: new}, {mode: '0666'}, {user: APP}]\n",
    "file.delivered below": "x:\n  file.delivered: [{name: P/m/htpasswd}, {contents: new}, {makedirs: true}]\n",
    "file.delivered source": "x:\n  file.delivered: [{name: OUT}, {source: P/htpasswd}, {user: APP}]\n",
    "file.delivered sources": "x:\n"
    "  file.delivered: [{name: OUT}, {source: ['file://P/none', 'file://P/m/../htpasswd': 'sha1=0']}, {user: APP}]\n",
    "file.delivered source_hash": "x:\n  file.delivered: [{name: OUT}, {source: P/old}, {source_hash: P/secret}]\n",
    "file.folder": "x:\n  file.folder: [{name: P/tree}, {mode: '0777'}, {user: APP}, {group: APP}]\n",
    "mc_service.configured": "x:\n  mc_service.configured:\n    - service: s\n"
    "    - files: [{path: P/htpasswd, contents: new, mode: '0666'}]\n"
    "    - links: {P/enabled: /none, P/old: ''}\n",
    "mc_service.unit": "x:\n  mc_service.unit: [{files: [{path: P/htpasswd, contents: new}]}]\n",
    "mc_service.mod_watch": "x:\n  mc_service.running: [{tested_by: ['false']}, {watch: [{mc_service: y}]}]\n"
    "y:\n  mc_service.configured: [{service: x}, {files: [{path: P/htpasswd, contents: new}]}]\n",
    "mc_service.running": "x:\n  mc_service.running: [{started_by: ['true']}, {pid_file: P/htpasswd}]\n",
    "mc_git.latest": "SOURCE:\n  mc_git.latest: [{target: P/tree/git}, {rev: master}]\n",
    "mc_git.latest as root": "SOURCE:\n  mc_git.latest: [{target: P/tree/git}, {rev: first}, {user: root}]\n",
    "buildout.installed": "P/tree:\n  buildout.installed: []\n",
    "mc_apache.include_module": "x:\n  mc_apache.include_module: [{modules: [P/tree/in]}]\n",
    "mc_apache.exclude_module": "x:\n  mc_apache.exclude_module: [{modules: [P/tree/in]}]\n",
    "mc_files.look": "{{ salt['mc_files.look']('P/htpasswd', follow=True) }}: test.nop\n",
    "mc_files.exists": "{% if salt['mc_files.exists']('P/htpasswd') %}x: test.nop{% endif %}\n",
    "mc_files.read": "x{{ salt['mc_files.read']('P/htpasswd') | string }}: test.nop\n",
    "mc_files.write": "{% do salt['mc_files.write']('P/htpasswd', 'new'.encode(), 438) %}x: test.nop\n",
    "mc_files.link": "{% do salt['mc_files.link']('P/htpasswd', '/none') %}x: test.nop\n",
    "mc_files.remove": "{% do salt['mc_files.remove']('P/htpasswd') %}x: test.nop\n",
    "mc_files.folder": "{% do salt['mc_files.folder']('P/tree', 511, APP, APP) %}x: test.nop\n",
    "mc_files.runner": "x{{ salt['mc_files.runner']('P/tree') }}: test.nop\n",
    "mc_files.check_firm": "{% do salt['mc_files.check_firm']('P/tree') %}x: test.nop\n",
    "mc_services.alive": "x{{ salt['mc_services.alive']('P/htpasswd') }}: test.nop\n",
    "mc_services.run": "{% do salt['mc_services.run'](['true', 'P/htpasswd']) %}x: test.nop\n",
    "mc_nodejs.archive": "{{ salt['mc_nodejs.archive']('1', dest='P/tree').dest }}: test.nop\n",
    "nodejs install": "{% import 'makina-states/localsettings/nodejs/prefix/prerequisites.sls' as node with context"
    " %}\n"
    "include: [makina-states.localsettings.nodejs.hooks]\n{{ node.install('1', dest='P/tree') }}",
    "h deliver_config_files": "{% import 'makina-states/_macros/h.jinja' as h with context %}\n"
    "{{ h.deliver_config_files({'a': {'target': 'P/htpasswd', 'source': 'salt://makina-projects/foo/t'}}, mode='666')"
    " }}\n"
    "x:\n  test.nop: [{require: [{file: config-a}]}]\n",
    "php fpm_pool": "{% import 'makina-states/services/php/macros.sls' as php with context %}\n"
    "include: [makina-states.services.php.hooks]\n{{ php.fpm_pool('htpasswd', project_root='P/tree', doc_root='P/tree',"
    " pool_dir='P', fpm_user=APP, fpm_group=APP, log_dir='P/tree/in',"
    " pool_template_source='salt://makina-projects/foo/t') }}",
    "nginx virtualhost": "{% import 'makina-states/services/http/nginx/macros.sls' as nginx with context %}\n"
    "include: [makina-states.services.http.nginx.hooks]\n{{ nginx.virtualhost('x', ssl_cert='-----BEGIN',"
    " ssl_key='-----BEGIN', vh_template_source='salt://makina-projects/foo/t',"
    " vh_top_source='salt://makina-projects/foo/t',"
    " vh_content_source='salt://makina-projects/foo/t') }}",
    "nginx virtualhost self-signed": "{% import 'makina-states/services/http/nginx/macros.sls' as nginx with context"
    " %}\ninclude: [makina-states.services.http.nginx.hooks]\n{{ nginx.virtualhost('x', ssl_redirect=True) }}",
    "apache virtualhost": "{% import 'makina-states/services/http/apache/macros.sls' as apache with context %}\n"
    "include: [makina-states.services.http.apache.hooks]\n{{ apache.virtualhost('x', 'P/tree') }}",
    "circus circusAddWatcher": "{% import 'makina-states/services/monitoring/circus/macros.jinja' as circus %}\n"
    "include: [makina-states.services.monitoring.circus.hooks]\n{{ circus.circusAddWatcher('htpasswd', 'true') }}",
    "projects.2.generic.fixperms": "include: [makina-states.projects.2.generic.fixperms]\n",
}  # fmt: skip
PATHLESS = {  # what makes arguments of the states above is with these: they only compute
    "mc_proxy": "hook mod_watch missing forced", "mc_apache": "deployed settings service vhost",
    "mc_circus": "settings watcher",
    "mc_certificates": "self_signed serves",
    "mc_nginx": "settings service vhost vhost_settings", "mc_nodejs": "settings ver",
    "mc_php": "settings service fpmpool_settings fpm_pool",
    "mc_services": "systemctl manage ask script succeeds listening",
    "mc_redis": "settings",
    "mc_check": "listening answers",
    "mc_www": "vhost vhost_settings",
    "mc_dbsmartbackup": "settings", "mc_locations": "settings", "mc_mysql": "settings query text name account",
    "mysql_database": "present absent", "mysql_user": "present absent", "mysql_grants": "present",
    "mc_pgsql": "settings",
    "pkgrepo": "unneeded", "mc_pkgs": "settings", "mc_rabbitmq": "settings", "mc_usergroup": "settings",
}  # fmt: skip
OURS = {"corpushooks", "mc_outside"}  # questions of our own, about files that only root can write
TEXTS = {"mc_utils"}  # values; and stored passwords, in a file that we name ourselves
COMMANDS = {"mc_project"}  # they run the command, with names
MACROS = {  # what takes no path, or makes no more than an error
    "h": "proxy service_restart_reload repomanaged retry_apt_get install_via_cops toggle_service",
    "packages": "packages service", "hooks": "hooks", "unsupported": "unsupported unsupported_file",
    "apache": "modules", "php": "toggle_ext", "rabbitmq": "rabbitmq_vhost rabbitmq_user",
    "postgresql": "only asked kept role_options postgresql_group postgresql_db postgresql_user install_pg_exts"
    " install_pg_ext", "mysql": "asked plain mysql_db mysql_user gen_settings", "mongodb": "mongodb_db mongodb_user",
    "users": "create_user", "rvm": "rvm install_ruby",
}  # fmt: skip


def functions(path: Path) -> Iterator[str]:
    body = ast.parse(path.read_text()).body
    name = next((ast.literal_eval(n.value) for n in body if isinstance(n, ast.Assign)
                 and ast.unparse(n.targets[0]) == "__virtualname__"), path.stem)  # fmt: skip
    yield from (f"{name}.{n.name}" for n in body if isinstance(n, ast.FunctionDef) and n.name[0] != "_")


def test_all_that_is_shipped_has_a_row() -> None:
    files = [*PACKAGE.glob("*/loader/_states/*.py"), *PACKAGE.glob("*/loader/_modules/*.py"),
             *PACKAGE.glob("makina/extension/modules/*.py")]  # fmt: skip
    shipped = {name for path in files for name in functions(path)}
    shipped = {name for name in shipped if name.partition(".")[0] not in OURS | TEXTS | COMMANDS}
    assert (
        shipped
        - {name.split(" ")[0] for name in ROWS}
        - {f"{module}.{name}" for module, names in PATHLESS.items() for name in names.split()}
        == set()
    )


def test_all_macros_have_a_row() -> None:
    states, missing = PACKAGE / "makina/states/makina-states", set()
    for path in [*states.rglob("*.sls"), *states.rglob("*.jinja")]:
        for name in re.findall(r"{%-? *macro (\w+)\(", path.read_text()):
            words = {path.stem, *path.relative_to(states).parts}
            rows = {row for row in ROWS if row.endswith(f" {name}") and row.split(" ")[0] in words}
            known = {word for word in words if name in MACROS.get(word, "").split()}
            missing |= set() if rows or known or name in ("listen", "host") else {(str(path), name)}
    assert missing == set()


@pytest.fixture
def world(worker: WarmEngine, tmp_path: Path) -> World:
    world = World(tmp_path, worker)
    (world.folder / "t").write_text("new {{ data }}\n")
    source = tmp_path / "source"
    process.run(["git", "init", "--quiet", "--initial-branch=master", source])
    (source / "config").write_text("new")
    process.run(["git", "-C", source, "add", "config"])
    process.run(["git", "-C", source, "commit", "--quiet", "-m", "1"])
    process.run(["git", "-C", source, "tag", "first"])
    return world


def victim_of(world: World) -> Path:
    """Return a folder of root's that has all the names which the application has."""
    folder = world.root / "victim"
    for inner in ("tree/in", "tree/log", "tree/tmp/sessions", "tree/private", "tree/sites-available", "tree/git/.git",
                  "tree/sites-enabled", "tree/ssl", "tree/bin", "m"):  # fmt: skip
        (folder / inner).mkdir(parents=True)
    for name in ("htpasswd", "m/htpasswd", "old", "enabled", "htpasswd.conf", "circus-htpasswd", "tree/in.load",
                 "circus-htpasswd.service", "tree/sites-available/x.conf", "tree/ssl/x.key",
                 "tree/ssl/x.self-signed.crt", "tree/ssl/x.self-signed.key", "secret"):  # fmt: skip
        (folder / name).write_text(f"{SECRET}\n")
        (folder / name).chmod(0o600)
    (folder / "tree/bin/buildout").write_text(f"#!/bin/sh\ntouch {world.root}/ran-as-root\n")
    (folder / "tree/bin/buildout").chmod(0o700)
    folder.chmod(0o700)
    return folder


def plant(kind: str, way: Path, victim: Path) -> None:
    """Have the application's folder lead to root's: the folder itself, what is in it, or what is written aside."""
    if kind == "parent":
        way.symlink_to(victim)
        return
    way.mkdir()
    for path in victim.iterdir():
        if kind == "name":
            (way / path.name).symlink_to(path)
        elif kind == "hard" and path.is_file():
            os.link(path, way / path.name)
        elif kind == "inside" and path.is_dir():
            (way / path.name).mkdir()
            for inner in path.iterdir():
                (way / path.name / inner.name).symlink_to(inner)
        else:
            for aside in (f".{path.name}.new", f"{path.name}.tmp", f"{path.name}~", f".{path.name}.swp"):
                (way / aside).symlink_to(path)
    (way / "htpasswd").exists() or (way / "htpasswd").write_text("own:own\n")


def given_to(app: Path) -> None:
    """Give a folder to the application, with all that it can own; what root linked is what it would link itself."""
    for path in (app, *app.rglob("*")):
        if path.is_symlink() or path.is_dir() or path.stat().st_nlink == 1:
            os.lchown(path, APP, APP)


def laid(text: str, world: World) -> str:
    """Return an SLS with the paths of this world."""
    way = world.root / "app/way"
    words = {
        "OUT": f"{world.root}/app/out",
        "P/": f"{way}/",
        "'P'": f"'{way}'",
        "APP": str(APP),
        "SOURCE": str(world.root / "source"),
    }
    for word, meant in words.items():
        text = text.replace(word, meant)
    return text


def session_of(world: World) -> salt.Session:
    way = world.root / "app/way"
    config = {
        **{f"makina-states.services.http.{name}": {"basedir": f"{way}/tree"} for name in ("apache", "nginx")},
        "makina-states.systemctl": "/bin/true",
        "makina-states.services.monitoring.circus": {"unit_dir": str(way), "environment_dir": str(way)},
    }  # fmt: skip
    world.minion = replace(world.minion, config=config)
    return world.session()


def harm(world: World, before: Mapping[str, object]) -> list[str]:
    """Return what is no longer as it was among root's files, and what of them the application can read now."""
    now = tree_of(world.root / "victim")
    found = [f"changed: {path}" for path in sorted({*now, *before}) if before.get(path) != now.get(path)]
    for folder, _, names in os.walk(world.root / "app"):
        for path in (Path(folder, name) for name in names):
            if path.is_file() and not path.is_symlink() and path.stat().st_nlink == 1 and SECRET in path.read_text():
                found.append(f"read: {path}")
    return found + ["ran as root"] * (world.root / "ran-as-root").exists()


@as_root
@pytest.mark.parametrize("kind", ["name", "inside", "aside", "parent", "hard"])
def test_planted_links_lead_nowhere(kind: str, world: World) -> None:
    app, wrong = world.root / "app", {}
    app.mkdir()
    with session_of(world) as session:
        cfg = {"name": "foo", "group": "root", "user": "root", "project_root": f"{app}/way/tree", "data": {}}
        session.configure(cfg, {})
        for name, text in ROWS.items():
            shutil.rmtree(world.root / "victim", ignore_errors=True)
            (world.root / "ran-as-root").unlink(missing_ok=True)
            victim = victim_of(world)
            before = tree_of(victim)
            plant(kind, app / "way", victim)
            given_to(app)
            result = session.run(world.sls("one", laid(text, world)))
            assert not [each for each in result.errors if "expected" in each or "has no attribute" in each], result
            if found := harm(world, before) + [f"shown: {result}"] * (SECRET in str(result)):
                wrong[name] = found
            (app / "way").unlink() if kind == "parent" else shutil.rmtree(app / "way")
    assert wrong == {}


@as_root
def test_a_source_is_read_where_no_planted_link_leads_and_is_no_template_of_an_application(world: World) -> None:
    app = world.root / "app"
    app.mkdir()
    (app / "source").write_text(f"{{{{ salt['cmd.run']('touch {world.root}/ran-as-root') }}}}one\n")
    given_to(app)
    own, made = world.root / "own", world.root / "made"
    own.write_text("{{ 1 + 1 }}\n")
    sls = "x:\n  file.delivered: [{name: %s}, {source: [%s/none, 'file://%s']}%s]\n"
    with world.session() as session:
        session.configure({"name": "foo", "group": "root", "data": {}}, {})
        plain = session.run(world.sls("one", sls % (made, app, f"{app}/source", "")))
        assert (plain.ok, made.read_text()) == (True, (app / "source").read_text()), plain
        bad = session.run(world.sls("one", sls % (made, app, f"{app}/source", ", {template: jinja}")))
        assert bad.states[0].comment == f"{app}/source is writable by users other than root"
        good = session.run(world.sls("one", sls % (made, app, own, ", {template: jinja}")))
        assert (good.ok, made.read_text()) == (True, "2\n"), good
        none = session.run(world.sls("one", f"x:\n  file.delivered: [{{name: {made}}}, {{source: {app}/none}}]\n"))
        said = none.states[0].comment
        assert (none.ok, f"{app}/none" in said, "sources" in said) == (False, True, False), said
    assert not (world.root / "ran-as-root").exists()


@as_root
def test_root_runs_no_program_where_an_application_can_write(world: World) -> None:
    """There its owner does; where nobody is known but root, it is said."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "app")
        (place / "bin").mkdir(parents=True)
        (place / "bin/buildout").write_text("#!/bin/sh\nid -un\n")
        (place / "bin/buildout").chmod(0o755)
        for owner, path in ((0, Path(folder)), (APP, place)):
            os.chown(path, owner, owner)
            path.chmod(0o775)
        (Path(folder)).chmod(0o755)
        text = f"{place}:\n  buildout.installed: [{{user: USER}}]\n"
        with world.session() as session:
            session.configure({"name": "foo", "group": "root", "data": {}}, {})
            ran = {user: session.run(world.sls("one", text.replace("USER", user))) for user in ("null", "root", "sys")}
            os.chown(place, 0, APP)
            unknown = session.run(world.sls("one", text.replace("USER", "null")))
    said = {user: result.states[0].changes.get("buildout") for user, result in ran.items()}
    assert said == {"null": "daemon", "root": "daemon", "sys": "sys"}
    assert "is writable by others: set a user other than root to run this" in unknown.states[0].comment
