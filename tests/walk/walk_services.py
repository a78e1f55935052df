"""Logs and restarts on a server with systemd, through its sshd: real units, real accounts, a real journal."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from corpushooks.system.process import Output
from tests.support import nspawn
from tests.support.box import until
from tests.support.deb import INSTALL, NEEDS, RELEASES, Built
from tests.support.nspawn import Server

SAMPLE = """\
makina-projects.hello:
  units: [hello, hello-odd, hello-bad, ssh, nothing-there]
  logs: ["{data_root}/app.log", "{project_root}/planted.log", /var/log/private.log]
"""
UNITS = """\
{% for name, command in {
    'hello': 'echo started with hunter2-secret; exec sleep infinity',
    'hello-odd': 'test ! -e /srv/odd || exec false; exec sleep infinity',
    'hello-bad': 'echo it cannot be; exit 3',
}.items() %}
/etc/systemd/system/{{ name }}.service:
  file.managed:
    - contents: |
        [Service]
        User={{ cfg.user }}
        ExecStart=/bin/sh -c '{{ command }}'
        Restart=on-failure
        RestartSec=1
{% endfor %}
reread:
  cmd.run:
    - name: systemctl daemon-reload && systemctl restart hello hello-odd
"""
SET_UP = """\
corpus setup >/dev/null
corpus init hello >/dev/null
for right in read push admin; do
    ssh-keygen -q -t ed25519 -N '' -f /root/$right
    corpus key add $right /root/$right.pub --$right --project hello
done
git config --global user.name jo; git config --global user.email jo@example.org
git init --quiet --initial-branch=master /root/app; git init --quiet --initial-branch=master /root/pillar
cd /root/pillar
echo 'makina-projects.hello: {data: {password: hunter2-secret}}' >init.sls
git add . && git commit --quiet -m pillar && git push --quiet /srv/projects/hello/git/pillar.git HEAD:master
echo nobody >/var/log/private.log; chmod 600 /var/log/private.log
"""
SSH = "ssh -o StrictHostKeyChecking=no -o LogLevel=ERROR -o BatchMode=yes"
pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module", params=RELEASES)
def server(request: pytest.FixtureRequest, built: Built) -> Iterator[Server]:
    root = nspawn.bare(RELEASES[request.param]).fetched(*NEEDS)
    with nspawn.memory() as folder, nspawn.booted(root, folder) as there:
        package = built(request.param)
        there.put(package, f"/root/{package.name}")
        there.run(f"{INSTALL} git openssh-server /root/{package.name}", timeout=600)
        there.run(SET_UP, timeout=300)
        for path, text in {"PILLAR.sample": SAMPLE, "00_units.sls": UNITS}.items():
            there.run(f"mkdir -p .salt; cat >.salt/{path}", cwd="/root/app", stdin=text.encode())
        there.run("git add .; git commit --quiet -m app; git push /srv/projects/hello/git/project.git HEAD:master",
                  cwd="/root/app", timeout=300)  # fmt: skip
        there.run("echo from a file >app.log; ln -s /etc/shadow ../project/planted.log", user="hello-user",
                  cwd="/srv/projects/hello/data")  # fmt: skip
        yield there


def asked(server: Server, right: str, words: str) -> Output:
    """Ask with a key."""
    return server.run(f"{SSH} -i /root/{right} corpus@127.0.0.1 {words}", check=False)


def pid(server: Server, unit: str) -> str:
    return server.run(f"systemctl show --property=MainPID {unit}").text


def test_the_journal_and_the_files_are_shown_as_far_as_they_are_the_projects(server: Server) -> None:
    told = asked(server, "push", "app-log hello")
    text, warned = told.text, told.stderr.decode()
    assert told.code == 0, warned
    assert "hello.service: started with ********" in text and "data/app.log: from a file" in text
    assert "root:" not in text and "nobody" not in text and "hunter2" not in text + warned
    for what in ("ssh.service: not shown: it runs as root", "nothing-there.service: not shown: no",
                 "project/planted.log: ", "/var/log/private.log: "):  # fmt: skip
        assert f"warning: {what}" in warned, warned
    assert warned.count("Permission denied") == 2
    assert (asked(server, "read", "app-log hello").code, asked(server, "read", "restart hello").code) == (3, 3)
    lines = json.loads(asked(server, "push", "app-log hello --json -n 3").stdout)
    assert {line["source"] for line in lines} >= {"data/app.log"} and len(lines) <= 6


def test_a_unit_is_restarted_and_that_is_recorded(server: Server) -> None:
    before, odd = pid(server, "hello"), pid(server, "hello-odd")
    told = asked(server, "push", "restart hello hello")
    assert told.code == 0, told.text
    assert pid(server, "hello") != before and pid(server, "hello-odd") == odd
    assert "success: restart is done" in told.text
    last = json.loads(server.run("corpus history hello --json").stdout)[0]
    assert (last["kind"], last["by"], last["key"], last["state"]) == ("restart", "push", "push", "done")
    assert asked(server, "admin", "freeze hello for the weekend").code == 0
    assert asked(server, "push", "restart hello hello").code == 0  # the release stays
    assert asked(server, "admin", "thaw hello").code == 0


@pytest.mark.parametrize(
    ("units", "code", "why"),
    [
        ("hello-bad", 1, "it cannot be"),
        ("hello-bad hello", 1, "not running: hello-bad.service"),
        ("", 3, "cannot restart ssh.service: it runs as root"),
        ("ssh", 3, "cannot restart ssh.service"),
        ("nothing-there", 3, "no such unit"),
        ("nginx", 2, "unknown unit nginx.service of hello"),
        ("'*'", 2, "usage: restart"),
    ],
)
def test_what_cannot_be_restarted_is_said(server: Server, units: str, code: int, why: str) -> None:
    before = pid(server, "ssh")
    told = asked(server, "push", f"restart hello {units}")
    assert told.code == code and why in told.text + told.stderr.decode(), (told.text, told.stderr)
    assert pid(server, "ssh") == before


def test_a_unit_that_ends_after_it_was_started_has_failed(server: Server) -> None:
    server.run("touch /srv/odd")
    told = asked(server, "push", "restart hello hello-odd")
    server.run("rm /srv/odd")
    assert told.code == 1 and "FAILED   hello-odd.service: " in told.text, told.text


def test_what_is_followed_comes_and_ends_with_who_follows(server: Server) -> None:
    server.run(f"{SSH} -i /root/push corpus@127.0.0.1 app-log hello -f -n 0 >/root/out 2>&1 & echo $! >/root/pid")
    until(lambda: server.run("pgrep -f '[j]ournalctl.*--follow' && pgrep -f '[t]ail --lines'", check=False).code == 0)
    server.run("echo more >>/srv/projects/hello/data/app.log", user="hello-user")
    server.run("mv app.log app.log.1; echo rotated >app.log", user="hello-user", cwd="/srv/projects/hello/data")
    server.run("systemctl restart hello")
    for text in ("data/app.log: more", "data/app.log: rotated", "hello.service: started with ********"):
        until(lambda text=text: text in server.run("cat /root/out").text)
    assert server.run("ps -o user:20= -C tail", check=False).text.split()[0] == "hello-user"
    server.run("kill $(cat /root/pid)")
    until(lambda: server.run("pgrep -f '[j]ournalctl.*--follow|[t]ail --lines|[a]pp-log hello'", check=False).code == 1)
