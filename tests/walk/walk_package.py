"""The Debian package, on bare servers of Debian 12 and 13: installed, at work, upgraded, removed and purged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from corpushooks.system.process import run
from tests.support import nspawn
from tests.support.box import until
from tests.support.deb import FETCHED, INSTALL, NEEDS, RELEASES, Built
from tests.support.nspawn import Server

SLOW = """\
wait:
  cmd.run:
    - name: touch /root/runs; until test -e /root/go; do sleep 0.1; done
"""
PAGE = """\
page:
  file.managed:
    - name: {{ cfg.project_root }}/page.html
    - contents: Hello from {{ cfg.name }}
"""

pytestmark = pytest.mark.timeout(1800)


def newer(package: Path, folder: Path) -> Path:
    """Return the next revision of a package."""
    run(["dpkg-deb", "--raw-extract", package, folder / "root"])
    control = folder / "root/DEBIAN/control"
    control.write_text(control.read_text().replace("-1~deb", "-2~deb"))
    run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", folder / "root", folder / "2.deb"])
    return folder / "2.deb"


@pytest.mark.parametrize("release", RELEASES)
def test_lintian_finds_nothing(release: int, built: Built) -> None:
    done = run(["lintian", "--fail-on=warning", "--allow-root", built(release)], check=False)
    assert done.code == 0, done.text


@pytest.fixture(scope="module", params=RELEASES)
def server(request: pytest.FixtureRequest, built: Built) -> Iterator[Server]:
    """Return a server on which the package is installed, and nothing of it done."""
    root = nspawn.bare(RELEASES[request.param]).fetched(*NEEDS)
    with nspawn.memory() as folder, nspawn.booted(root, folder) as there:
        package = built(request.param)
        there.put(package, "/root/1.deb")
        with nspawn.memory() as aside:
            there.put(newer(package, aside), "/root/2.deb")
        there.run(f"{INSTALL} man-db bash-completion")
        yield there


def installed(server: Server, revision: int) -> str:
    """Install the package as the page says; return what that said."""
    done = server.run(f"{INSTALL} /root/{revision}.deb", timeout=600)
    return done.text + done.stderr.decode()


def pushing(server: Server, name: str, sls: str) -> None:
    """Begin to push a commit to a project, as root on the server."""
    server.run(
        f"""
        cd /root/{name} && cat >.salt/10_app.sls && date +%N >file && git add --all && git commit --quiet --message=x
        rm -f /root/{name}.code
        systemd-run --quiet --setenv=HOME=/root --working-directory=/root/{name} \
            sh -c 'git push prod >/root/{name}.log 2>&1; echo $? >/root/{name}.code'
        """,
        stdin=sls.encode(),
    )


def pushed(server: Server, name: str) -> tuple[str, str]:
    """Await the end of a push; return its exit code and what it said."""
    code = server.root / f"root/{name}.code"
    until(lambda: code.exists() and code.read_text(), 300)
    return code.read_text().strip(), (server.root / f"root/{name}.log").read_text()


def test_it_installs_without_a_compiler_and_says_what_is_next(server: Server) -> None:
    said = installed(server, 1)
    assert FETCHED in said
    assert "corpushooks is installed. To make this machine a host: corpus setup" in said
    server.run("! command -v cc gcc pip")
    assert server.run("systemctl is-active corpushooks.socket", check=False).text == "inactive"
    assert server.run("corpus --version").text.startswith("corpus")
    loaded = server.run("find /opt/corpushooks -name '*.so*' -exec ldd {} + 2>&1 || true", timeout=300).text
    assert "libc.so" in loaded and "not found" not in loaded
    assert "corpus \\- Deploy" in server.run("man --where corpus; zcat /usr/share/man/man1/corpus.1.gz").text


def test_setup_makes_it_a_host_that_deploys(server: Server) -> None:
    said = server.run("corpus setup", timeout=300).text
    assert "wrong" not in said and "/usr/local" not in said and "/etc/systemd" not in said
    assert server.run("systemctl is-active corpushooks.socket corpushooks.service").text == "active\nactive"
    server.run(
        """
        git config --global user.name Root
        git config --global user.email root@localhost
        for name in one two; do
            corpus init $name
            git init --quiet --initial-branch=master /root/$name
            cd /root/$name
            mkdir .salt
            git remote add prod /srv/projects/$name/git/project.git
            git config remote.prod.push HEAD:refs/deploy/now
        done
        """
    )
    pushing(server, "one", PAGE)
    code, said = pushed(server, "one")
    assert code == "0" and "success: one is live" in said
    assert server.run("cat /srv/projects/one/project/page.html").text == "Hello from one"


def test_after_a_mistake_was_mended_a_restart_works_at_once(server: Server) -> None:
    """However many asked for the daemon meanwhile, which systemd started for each of them."""
    server.run("cp /etc/corpushooks/config.yaml /root/kept; echo 'stop_timeout: soon' >>/etc/corpushooks/config.yaml")
    assert server.run("systemctl restart corpushooks.socket corpushooks.service", check=False).code
    for _ in range(8):
        said = server.run("cd /root/one && git push prod HEAD:refs/deploy/now", check=False).stderr.decode()
        assert "error: the deployment daemon cannot start: /etc/corpushooks/config.yaml: stop_timeout: " in said
    assert server.run("systemctl is-active corpushooks.socket").text == "active"
    server.run("mv /root/kept /etc/corpushooks/config.yaml; systemctl restart corpushooks.socket corpushooks.service")
    assert "live:" in server.run("corpus status one").text


def test_a_command_has_a_control_group_of_its_own_which_ends_with_the_daemon(server: Server) -> None:
    script = "echo $$ >pid; cat /proc/self/cgroup >group; setsid sleep 1000 & echo $! >pid; exec sleep 1000"
    server.run(
        f"""
        systemd-run --quiet --unit=command --remain-after-exit corpus run one sh -c '{script}'
        cd /srv/projects/one/project && until test -s group && test -s pid; do sleep 0.1; done
        """
    )
    tree = server.root / "srv/projects/one/project"
    (group,) = (line[3:] for line in (tree / "group").read_text().splitlines() if line.startswith("0::"))
    assert group.startswith("/system.slice/corpushooks.service/corpus-run-") and group.endswith(".scope")
    assert server.run("stat -c %U /srv/projects/one/project/group").text == "one-user"
    pid = (tree / "pid").read_text().strip()
    place = f"$(findmnt -n -t cgroup2 -o TARGET | head -n 1){group}"
    server.run(f"test -d {place} && test -e /proc/{pid} && systemctl restart corpushooks.service")
    until(lambda: server.run(f"test -e /proc/{pid} || test -e {place}", check=False).code, 60)
    assert "the daemon" in server.run("corpus history one --commands").text
    server.run(
        "systemctl is-active corpushooks.service; rm /srv/projects/one/project/pid /srv/projects/one/project/group"
    )


def test_an_upgrade_lets_a_deployment_end_and_loses_no_push(server: Server) -> None:
    pushing(server, "one", SLOW)
    until((server.root / "root/runs").exists)
    server.run(
        """
        systemd-run --quiet --unit=upgrade --remain-after-exit --setenv=DEBIAN_FRONTEND=noninteractive \
            sh -c 'exec apt-get install --yes /root/2.deb >/root/upgrade.log 2>&1'
        """
    )
    log = server.root / "root/upgrade.log"
    until(lambda: log.exists() and "a running deployment can end first" in log.read_text(), 120)
    (server.root / "root/go").touch()
    code, said = pushed(server, "one")
    assert code == "0" and "success: one is live" in said
    until(lambda: server.run("systemctl show --property=SubState upgrade").text != "SubState=running", 600)
    assert server.run("systemctl show --property=Result upgrade").text == "Result=success", log.read_text()
    assert "-2~deb" in server.run("dpkg-query --show corpushooks").text
    assert server.run("systemctl is-active corpushooks.socket corpushooks.service").text == "active\nactive"
    server.run("! find /opt/corpushooks -name '*.pyc' | grep -v __pycache__")


def test_a_deployment_cannot_replace_what_runs_it(server: Server) -> None:
    pushing(server, "two", f"up:\n  cmd.run:\n    - name: {INSTALL} --reinstall /root/2.deb\n")
    code, said = pushed(server, "two")
    assert code == "1" and "cannot replace what runs it" in said
    assert server.run("systemctl is-active corpushooks.service").text == "active"
    server.run("dpkg --verify corpushooks; dpkg --audit")
    pushing(server, "two", PAGE)
    assert pushed(server, "two")[0] == "0"


def test_removed_it_stops_and_keeps_the_projects(server: Server) -> None:
    pid = server.run("systemctl show --value --property=MainPID corpushooks.service").text
    server.run("echo 'stop_timeout: 5' >>/etc/corpushooks/config.yaml")
    server.run("apt-get remove --yes corpushooks", timeout=300)
    server.run(f"test ! -e /proc/{pid}; test ! -e /opt/corpushooks; test ! -e /run/corpushooks/corpushooks.sock")
    server.run('test -z "$(getent passwd corpus)"; sshd -t; test -e /etc/corpushooks/config.yaml')
    said = server.run("apt-get purge --yes corpushooks 2>&1").text
    assert "/srv/projects is kept" in said and "/var/lib/corpushooks is kept" in said
    left = (
        "ls /etc/corpushooks /etc/logrotate.d/corpushooks /etc/systemd/system/corpushooks* /usr/bin/corpus 2>&1 || true"
    )
    assert all("No such file" in line for line in server.run(left).text.splitlines())
    assert server.run("cat /srv/projects/two/project/page.html").text == "Hello from two"
    server.run("test -s /var/lib/corpushooks/corpushooks.db || ls /var/lib/corpushooks | grep .")


def test_installed_again_it_goes_on(server: Server) -> None:
    installed(server, 2)
    server.run("corpus setup", timeout=300)
    assert "live:" in server.run("corpus status one").text
