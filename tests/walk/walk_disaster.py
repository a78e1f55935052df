"""docs/backups.md, followed literally on servers of Debian 12 and 13, of which the first is lost as a whole.

A project with a service, data, a database of PostgreSQL and a folder elsewhere is pushed with a key and backed up to
another disk. Nothing but that disk, the passphrase and the developer's own machine is left: a second bare server, which
has the name of the first, is set up and restored from it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from corpushooks.system.process import Output
from tests.support import nspawn
from tests.support.backups import page_blocks
from tests.support.box import until
from tests.support.deb import INSTALL, NEEDS, RELEASES, Built
from tests.support.newcomer import NEWCOMER
from tests.support.nspawn import Server

SITE = """\
import http.server, subprocess, sys
ASKED = ["psql", "-Atc", "select string_agg(name, ' and ' order by name) from visitor", "hello"]
class Site(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        parts = [open(f"{sys.argv[1]}/greeting").read(), subprocess.check_output(ASKED, text=True),
                 open("/var/lib/hello/note").read(), open("release").read()]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(", ".join(part.strip() for part in parts).encode())
http.server.HTTPServer(("127.0.0.1", 8080), Site).serve_forever()
"""
SAMPLE = """\
makina-projects.hello:
  backup:
    folders: [/var/lib/hello]
    databases:
      - {kind: postgresql, name: hello}
"""
INSTALLS = """\
packages:
  cmd.run:
    - name: DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-download postgresql
    - unless: test -d /var/lib/postgresql
database:
  cmd.run:
    - name: |
        until runuser -u postgres -- psql -c 'select 1'; do sleep 0.2; done
        runuser -u postgres -- createuser {{ cfg.user }}
        runuser -u postgres -- createdb --owner={{ cfg.user }} hello
    - unless: runuser -u postgres -- psql -c 'select 1' hello
folder:
  file.directory:
    - name: /var/lib/hello
    - user: {{ cfg.user }}
unit:
  file.managed:
    - name: /etc/systemd/system/hello.service
    - contents: |
        [Service]
        User={{ cfg.user }}
        WorkingDirectory={{ cfg.project_root }}
        ExecStart=/usr/bin/python3 site.py {{ cfg.data_root }}
        [Install]
        WantedBy=multi-user.target
runs:
  cmd.run:
    - name: systemctl daemon-reload && systemctl enable hello && systemctl restart hello
"""
DATA = """\
echo good morning >/srv/projects/hello/data/greeting
mkdir /srv/projects/hello/data/uploads
head -c 300000 /dev/urandom >/srv/projects/hello/data/uploads/photo
ln /srv/projects/hello/data/uploads/photo /srv/projects/hello/data/uploads/twin
chmod 0640 /srv/projects/hello/data/uploads/photo
echo precious >/var/lib/hello/note
psql --quiet hello -c "create table visitor (name text); insert into visitor values ('jo'), ('kim')"
"""
TREE = "cd {} && find . -printf '%P %y %m %u %g %T@ %n %l\\n' | sort; find . -type f -exec sha256sum {{}} + | sort"
DATA_ROOT = "/srv/projects/hello/data"
PHRASE = "/etc/corpushooks/backup.passphrase"
pytestmark = pytest.mark.timeout(3600)


@dataclass
class Seen:
    """What a host was like."""

    site: str
    data: str
    folder: str
    keys: str
    history: list[str]
    pillar: str


@dataclass
class Loss:
    """A host that was lost, and the server on which it came back."""

    before: Seen
    server: Server
    said: dict[str, Output] = field(default_factory=dict)


def block(first: str) -> str:
    """Return the last block of the page that begins so."""
    return [text for _, text in page_blocks() if text.startswith(first)][-1]


def install(server: Server, built: Built, release: int) -> None:
    """Install corpushooks and borg, as the pages say."""
    package = built(release)
    server.put(package, f"/root/{package.name}")
    server.run(f"{INSTALL} /root/{package.name} borgbackup", timeout=900)


def push(server: Server, release: str) -> Output:
    """Push a commit as jo, from a working copy of jo's."""
    script = f"echo {release} >release && git add --all && git commit --quiet --message={release} && git push prod"
    return server.run(script, user="jo", cwd="/home/jo/app", timeout=600, check=False)


def site(server: Server) -> str:
    """Return what the site answers, once it does."""
    asked = "python3 -c \"import urllib.request as r; print(r.urlopen('http://127.0.0.1:8080').read().decode())\""
    return until(lambda: server.run(f"{asked} 2>/dev/null", check=False).text, 60)


def seen(server: Server) -> Seen:
    history = server.run("corpus history hello").text.splitlines()
    return Seen(
        site(server), server.run(TREE.format(DATA_ROOT)).text, server.run(TREE.format("/var/lib/hello")).text,
        server.run("corpus key list").text, [line.lstrip(" *") for line in history],
        server.run("cat /srv/pillar/ours.sls").text,
    )  # fmt: skip


def make(server: Server) -> None:
    """Make the host: a project, and jo who may push to it."""
    server.run("corpus setup && corpus init hello", timeout=300)
    server.run(NEWCOMER)
    server.run("corpus key add jo /home/jo/.ssh/id_ed25519.pub --push --project hello")
    server.run("echo 'ours: 1' >/srv/pillar/ours.sls")
    server.run("git init --quiet --initial-branch=master app && mkdir app/.salt", user="jo")
    for path, text in {"site.py": SITE, ".salt/PILLAR.sample": SAMPLE, ".salt/00_site.sls": INSTALLS}.items():
        server.run(f"cat >{path}", user="jo", cwd="/home/jo/app", stdin=text.encode())
    server.run(
        "git remote add prod ssh://corpus@server.example.org/hello; git config remote.prod.push HEAD:refs/deploy/now",
        user="jo", cwd="/home/jo/app",
    )  # fmt: skip
    done = push(server, "one")
    assert done.code == 0, done.stderr.decode()
    server.run(DATA, user="hello-user")
    assert push(server, "two").code == 0


def back_up(server: Server) -> None:
    """Set backups up and make one, as the page says."""
    server.run("mkdir /mnt/backup")
    server.run("cat >>/etc/corpushooks/config.yaml", stdin=block("backup:\n  repository").encode())
    asked = server.run(block("corpus setup --backup\n"), check=False, timeout=300)
    assert asked.code == 1 and "keep a copy of" in asked.text + asked.stderr.decode()
    server.run(block("corpus setup --backup --exported\nsystemctl"), timeout=300)
    server.run(block("corpus backup hello"), timeout=900)


@pytest.fixture(scope="module", params=RELEASES)
def loss(request: pytest.FixtureRequest, built: Built) -> Iterator[Loss]:
    root = nspawn.bare(RELEASES[request.param]).fetched(*NEEDS, "borgbackup", "postgresql")
    with nspawn.memory() as folder, nspawn.booted(root, folder) as server:
        install(server, built, request.param)
        make(server)
        back_up(server)
        found = seen(server)  # the history ends with the backup
        server.run(block("corpus drill hello"), timeout=900)
        disk = server.run("tar -C /mnt -cf - backup", timeout=300).stdout
        jo = server.run("tar -C /home -cf - jo").stdout
        phrase = server.run(f"cat {PHRASE}").stdout
    with nspawn.memory() as folder, nspawn.booted(root, folder) as server:
        server.run("tar -C /mnt -xf -", stdin=disk)
        install(server, built, request.param)
        lost = Loss(found, server)
        server.run("mkdir -p /srv/pillar && echo 'ours: 2' >/srv/pillar/ours.sls")
        lost.said["restore"] = server.run(block("corpus setup\ncorpus restore --host"), stdin=phrase, timeout=1800)
        lost.said["timers"] = server.run(block("corpus setup --backup --exported\n"), timeout=300)
        server.run("useradd --create-home --shell /bin/sh jo && tar -C /home -xf -", stdin=jo)
        server.run("chown --recursive jo:jo /home/jo")
        yield lost


def test_the_site_answers_with_its_data(loss: Loss) -> None:
    assert loss.before.site == "good morning, jo and kim, precious, two"
    assert site(loss.server) == loss.before.site


def test_all_of_it_is_as_it_was(loss: Loss) -> None:
    found = seen(loss.server)
    assert (found.data, found.folder, found.keys, found.pillar) == (
        loss.before.data, loss.before.folder, loss.before.keys, loss.before.pillar,
    )  # fmt: skip
    assert found.history[-len(loss.before.history) :] == loss.before.history


def test_what_the_new_machine_had_is_kept(loss: Loss) -> None:
    """On the filesystem where it was: /srv is one of its own there."""
    said = loss.said["restore"].stderr.decode()
    assert "1 file was replaced and kept in /srv/pillar" in said
    assert "1 file was replaced and kept in /var/lib/corpushooks/replaced/" in said
    assert loss.server.run("cat /srv/pillar/ours.sls.replaced1").text == "ours: 2"
    assert loss.server.run("ls /var/lib/corpushooks/replaced/*/etc/corpushooks").text == "config.yaml.replaced1"


def test_doctor_finds_nothing_and_the_timers_run(loss: Loss) -> None:
    told = json.loads(loss.server.run("corpus doctor --json", check=False).text)
    assert [fault for each in told for fault in each["faults"]] == []
    for name in ("backup", "drill", "check"):
        assert loss.server.run(f"systemctl is-active corpushooks-{name}.timer").text == "active"


def test_keys_push_once_the_new_host_key_is_known(loss: Loss) -> None:
    refused = push(loss.server, "three")
    assert refused.code and "REMOTE HOST IDENTIFICATION HAS CHANGED" in refused.stderr.decode()
    loss.server.run(block("ssh-keygen -R"), user="jo")
    key = "server.example.org $(cat /etc/ssh/ssh_host_ed25519_key.pub)"
    loss.server.run(f'echo "{key}" >>/home/jo/.ssh/known_hosts')  # jo has said yes
    done = push(loss.server, "four")
    assert done.code == 0, done.stderr.decode()
    assert site(loss.server).endswith(", four")


def test_it_is_backed_up_again(loss: Loss) -> None:
    done = loss.server.run("corpus backup --all && corpus drill hello && corpus backups hello", timeout=900)
    assert "success" in done.text
