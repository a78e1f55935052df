"""Two projects of each installer on one bare Debian 12, with real units, nginx, PHP-FPM and Node, in a real browser.

    make walk ARGS='tests/walk/walk_installers.py --basetemp=/tmp/seen'

leaves a picture of all sites: `sites.png`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from corpushooks.admin import installer
from tests.support import browser, nspawn
from tests.support.deb import INSTALL, NEEDS, Built
from tests.support.nspawn import Server

SITES = ("node", "php", "python", "static")  # installers of what answers
UNITS = ("node", "python")  # installers whose program a unit of its own runs, behind nginx
PACKAGES = ("nginx", "nodejs", "php-fpm", "php-cli", "python3-venv")
FAILS = "fails:\n  test.fail_without_changes:\n    - name: this fails after all else\n"
FRAMES = """\
<!doctype html><meta charset="utf-8"><title>sites</title>
<style>
body { display: flex; flex-wrap: wrap; font: 1rem sans-serif }
figure { margin: .5rem } iframe { width: 18rem }</style>
"""

pytestmark = pytest.mark.timeout(1800)


def numbered(name: str) -> tuple[str, str]:
    """Return the names of the two projects of an installer."""
    return f"{name}1", f"{name}2"


def address(project: str) -> str:
    return f"{project}.example.org"


@pytest.fixture(scope="module")
def server(built: Built) -> Iterator[Server]:
    """Return a host with the package, on which nothing that a project needs is installed, only downloaded."""
    root = nspawn.bare("bookworm").fetched(*NEEDS, *PACKAGES)
    with nspawn.memory() as folder, nspawn.booted(root, folder) as there:
        there.put(built(12), "/root/1.deb")
        there.run(f"{INSTALL} /root/1.deb && corpus setup", timeout=600)
        there.run("git config --global user.name Root; git config --global user.email root@localhost")
        yield there


def said(server: Server, script: str, *, code: int = 0) -> str:
    """Run a script that ends with a code; return what it wrote."""
    done = server.run(script, timeout=900, check=False)
    text = done.text + "\n" + done.stderr.decode()
    assert done.code == code, f"{script}\n{text}"
    return text


def configure(server: Server, project: str, **data: Any) -> None:
    """Push a pillar to a project."""
    pillar = json.dumps({f"makina-projects.{project}": {"data": data}})
    server.run(
        f"""
        cd /root
        test -d {project}.pillar || git clone --quiet /srv/projects/{project}/git/pillar.git {project}.pillar
        cd {project}.pillar && cat >init.sls && git add init.sls && git commit --quiet --message=x
        git push --quiet origin HEAD:master
        """,
        stdin=pillar.encode(),
    )


def value(server: Server, project: str, key: str) -> Any:
    return json.loads(server.run(f"corpus config {project} --json").text)["data"][key]


def claims(server: Server, project: str) -> list[str]:
    return json.loads(server.run(f"corpus status {project} --json --urls").text)["urls"]


def asked(server: Server, host: str, path: str = "/", port: int = 80) -> str:
    """Return what the server answers for a name, by the Python that is there."""
    script = f"""
python3 - <<'END'
from http.client import HTTPConnection
link = HTTPConnection("127.0.0.1", {port}, timeout=10)
link.request("GET", {path!r}, headers={{"Host": {host!r}}})
print(link.getresponse().read().decode())
END
"""
    return server.run(script).text


# what the first deployment of all leaves where it fails: what it installed is the first of its kind on the host


def fail(server: Server, project: str) -> str:
    """Push a commit that fails after all else; return what that said."""
    clone(server, project)
    server.run(f"cat >/root/{project}/.salt/900_fails.sls", stdin=FAILS.encode())
    return said(server, f"cd /root/{project} && git add --all && git commit --quiet -m x && git push prod", code=1)


def clone(server: Server, project: str) -> None:
    server.run(
        f"""
        cd /root && test -d {project} && exit
        git clone --quiet --origin prod /srv/projects/{project}/git/project.git {project}
        git -C {project} config remote.prod.push HEAD:refs/deploy/now
        """
    )


@pytest.mark.parametrize("name", SITES)
def test_a_first_deployment_that_fails_is_in_nobodys_way(server: Server, name: str) -> None:
    """Its unit, its pool and its virtual host are taken back; another project deploys, and then it itself."""
    project, other = f"{name}-first", f"{name}-other"  # /etc/python3 is Debian's
    for each in (project, other):
        server.run(f"corpus init {each} --installer {name}")
        configure(server, each, domain=address(each))
    assert "rolled back" in fail(server, project)
    server.run(f"test -z \"$(find /etc -name '{project}*')\"; nginx -t; test ! -e /etc/php || php-fpm8.2 -t")
    assert server.run(f"systemctl is-active {project}", check=False).text == "inactive"
    assert claims(server, project) == []
    assert f"{project} is deployed" not in asked(server, address(project))
    said(server, f"corpus deploy {other}")
    assert f"{other} is deployed" in asked(server, address(other))
    server.run(f"cd /root/{project} && git rm --quiet .salt/900_fails.sls && git commit --quiet --message=mended")
    said(server, f"cd /root/{project} && git push prod")
    assert f"{project} is deployed" in asked(server, address(project))


# they live beside each other


@pytest.fixture(scope="module")
def two_of_each(server: Server) -> Server:
    """Deploy the first of each at the name of the host, as it comes; then move it, and deploy the second beside it."""
    for name in installer.known():
        first, second = numbered(name)
        for project in (first, second):
            server.run(f"corpus init {project} --installer {name}")
        live = said(server, f"corpus deploy {first}")
        if name in SITES:
            assert live.rstrip().endswith("  http://server.example.org"), live
            assert_the_second_is_refused(server, first, second)
            configure(server, first, domain=address(first))
            configure(server, second, domain=address(second))
            live = said(server, f"corpus deploy {first}")
            assert live.rstrip().endswith(f"  http://{address(first)}"), live
        said(server, f"corpus deploy {second}")
    return server


def assert_the_second_is_refused(server: Server, first: str, second: str) -> None:
    before = asked(server, "server.example.org")
    assert f"{first} is deployed" in before
    refused = said(server, f"corpus deploy {second}", code=3)
    assert f"address http://server.example.org belongs to project {first}" in refused
    assert f"set another name in the pillar: makina-projects.{second}.data.domain" in refused
    assert asked(server, "server.example.org") == before
    assert claims(server, second) == []
    server.run(f"test ! -e /etc/nginx/sites-enabled/{second}; test ! -e /etc/systemd/system/{second}.service")


def test_each_is_live_and_answers_with_its_own_page(two_of_each: Server) -> None:
    for project in (each for name in SITES for each in numbered(name)):
        assert f"{project} is deployed" in asked(two_of_each, address(project)), project
        assert claims(two_of_each, project) == [f"http://{address(project)}"]
    for name in installer.known():
        for project in numbered(name):
            assert "live:" in two_of_each.run(f"corpus status {project}").text
    assert "conflicting server name" not in said(two_of_each, "nginx -t")


def test_each_unit_has_a_port_of_its_own(two_of_each: Server) -> None:
    ports = {project: value(two_of_each, project, "app_port") for name in UNITS for project in numbered(name)}
    assert len(set(ports.values())) == len(ports) and all(20000 <= port < 30000 for port in ports.values())
    for project, port in ports.items():
        state = two_of_each.run(f"systemctl is-active {project}; systemctl is-enabled {project}").text
        assert state == "active\nenabled"
        assert f"{project} is deployed" in asked(two_of_each, "localhost", port=port)


def test_a_browser_sees_each_of_them(two_of_each: Server, tmp_path: Path) -> None:
    projects = [each for name in SITES for each in numbered(name)]
    figures = [
        f'<figure><figcaption>{address(each)}</figcaption><iframe src="http://{address(each)}/"></iframe></figure>'
        for each in projects
    ]
    two_of_each.run("cat >/srv/projects/static1/project/public/all.html", stdin=(FRAMES + "\n".join(figures)).encode())
    with browser.opened(tmp_path / "browser", leader=two_of_each.leader) as chromium:
        for project in projects:
            page = chromium.page(f"http://{address(project)}/")
            assert f"<title>{project}</title>" in page and f"<p>{project} is deployed." in page
        chromium.picture(f"http://{address('static1')}/all.html", tmp_path / "sites.png", height=760)
    assert (tmp_path / "sites.png").stat().st_size > 5000


def test_they_are_there_after_a_reboot(two_of_each: Server) -> None:
    two_of_each.reboot()
    for project in (each for name in SITES for each in numbered(name)):
        assert f"{project} is deployed" in asked(two_of_each, address(project)), project


def test_a_pool_that_php_fpm_does_not_take_is_put_back(two_of_each: Server) -> None:
    clone(two_of_each, "php2")
    two_of_each.run("echo 'pm = nonsense' >>/root/php2/.salt/files/pool.conf")
    failed = said(two_of_each, "cd /root/php2 && git commit -qam wrong && git push prod", code=1)
    assert "rolled back" in failed
    two_of_each.run("php-fpm8.2 -t; systemctl is-active php8.2-fpm")
    for project in numbered("php"):
        assert f"{project} is deployed" in asked(two_of_each, address(project))
    said(two_of_each, "corpus deploy php1")
    said(two_of_each, "cd /root/php2 && git revert --no-edit HEAD && git push prod")


# what is released, and what is not to be had


@pytest.mark.parametrize("name", SITES)
def test_one_that_is_removed_releases_what_it_had(two_of_each: Server, name: str) -> None:
    first, second = numbered(name)
    ports = [value(two_of_each, second, "app_port")] if name in UNITS else []
    said(two_of_each, f"corpus remove {second}")
    two_of_each.run(f"test -z \"$(find /etc -name '{second}*')\"; nginx -t")
    assert f"{second} is deployed" not in asked(two_of_each, address(second))
    assert f"{first} is deployed" in asked(two_of_each, address(first))
    heir = f"{name}5"
    two_of_each.run(f"corpus init {heir} --installer {name}")
    configure(two_of_each, heir, domain=address(second), **({"app_port": ports[0]} if ports else {}))
    said(two_of_each, f"corpus deploy {heir}")
    assert f"{heir} is deployed" in asked(two_of_each, address(second))


@pytest.mark.parametrize("name", UNITS)
def test_a_port_that_the_host_uses_is_refused(two_of_each: Server, name: str) -> None:
    project = f"{name}6"
    two_of_each.run(
        "systemctl is-active taken || systemd-run --quiet --unit=taken python3 -m http.server --bind 127.0.0.1 8999\n"
        "until python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 8999))' 2>/dev/null; do :; done"
    )
    two_of_each.run(f"corpus init {project} --installer {name}")
    configure(two_of_each, project, domain=address(project), app_port=8999)
    refused = " ".join(said(two_of_each, f"corpus deploy {project}", code=3).split())
    assert "port 8999 (app_port) is in use on this host, by python3 (pid " in refused and "taken.service" in refused
    assert f"set makina-projects.{project}.data.app_port: auto in the pillar" in refused
    configure(two_of_each, project, domain=address(project))
    said(two_of_each, f"corpus deploy {project}")
    assert f"{project} is deployed" in asked(two_of_each, address(project))
