"""Projects written for makina-states, one of each kind, on one bare server of Debian 12: judged, deployed and asked.

What `corpus check` says is held against what a push does. Each is then put right as its team would (`--fix`, and by
hand what is left), pushed, and asked as those ask who use it: sites by HTTP, databases by logging in, writing and
reading. The server has no network: apt and pip have what they fetch at hand.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from corpushooks.system.process import Output, run
from tests.support import nspawn
from tests.support.box import until
from tests.support.deb import INSTALL, NEEDS, Built
from tests.support.nspawn import Server
from tests.support.places import TESTS

TREES = TESTS / "trees"
WHEELS = ("Django==4.2.16", "gunicorn==22.0.0", "zc.buildout", "setuptools", "wheel", "pip")
pytestmark = pytest.mark.timeout(3600)


@dataclass(frozen=True)
class Tree:
    """A project: what apt fetches for it, how its users ask, what it answers, and how it is judged at first."""

    packages: str
    ask: str
    answer: str
    wrong: int = 0  # errors that a check finds at first
    by_hand: str = ""  # what its team does where --fix cannot
    site: bool = False
    # Functions of states that change something at each deployment, as they are told to: a service that is always to be
    # restarted, a file to which fixperms.sls gives another owner or mode than its SLS does.
    again: str = ""
    rebooted: str = ""  # what it answers after a reboot, where that is something else


PASSWORD = """\
password() { python3 -c "import json; print(json.load(open('/var/lib/corpushooks/salt/$1/passwords.json'))['$2'])"; }
site() { curl -sf --resolve "$1.example.org:80:127.0.0.1" --cookie jar --cookie-jar jar "http://$1.example.org$2"; }
"""
QUEUE = """\
cat >queue.py <<EOF
import pika
login = pika.PlainCredentials("rabbitmq", "$(password rabbitmq rabbit)")
link = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", 5672, "rabbitmq", login))
channel = link.channel()
channel.queue_declare("orders")
channel.basic_publish("", "orders", b"an order")
print(channel.basic_get("orders", auto_ack=True)[2].decode())
EOF
python3 queue.py
"""
BUILD = (
    "build-essential libjpeg62-turbo-dev libpng-dev libreadline-dev libxml2-dev libxslt1-dev python3-dev"
    " python3-libxml2 wv"
)
DJANGO = (
    "autoconf automake build-essential gettext git libbz2-dev libcurl4-openssl-dev libssl-dev libtool libxml2-dev"
    " libxslt1-dev m4 pkg-config python3-dev python3-virtualenv python3-pil tcl8.6 zlib1g-dev"
)
PASSING = ("mc_proxy.hook", "mc_proxy.forced", "cmd.run")  # states that say a change without one
KINDS = {
    "static": Tree("nginx rsync apache2-utils", "site static /", "<h1>static</h1>", site=True),
    "django": Tree(
        DJANGO, "site django / >/dev/null; site django /", "django: [0-9]+ rows", wrong=3, site=True,
        again="file.managed mc_service.unit",
    ),
    "php": Tree(
        "php-fpm php-cli php-curl php-gd apache2-utils curl",
        "site php /; site php /visits.php >/dev/null; site php /visits.php",
        "php 42\nvisits: [0-9]*[02468]", wrong=4,
        by_hand="sed -i /php5-mcrypt/d .salt/000_prereqs.sls", site=True,
    ),
    "drupal": Tree(
        "default-mysql-server default-mysql-client php-mysql php-pear unzip",
        "site drupal / >/dev/null; site drupal /; corpus task drupal task_cron >/dev/null", "drupal: [0-9]+ nodes",
        wrong=4, site=True, again="file.symlink file.delivered",
    ),
    "mariadb": Tree(
        "default-libmysqlclient-dev python3-mysqldb",
        'mariadb -h 127.0.0.1 -u mariadb -p"$(password mariadb my-db)" mariadb -N'
        ' -e "create or replace table t (n int); insert into t values (7); select n from t"',
        "7", wrong=3,
    ),
    "postgresql": Tree(
        "postgresql postgresql-contrib postgresql-client libpq-dev postgresql-server-dev-all",
        'export PGPASSWORD="$(password postgresql pg-db)"; psql -h 127.0.0.1 -U postgresql -Atq postgresql -c'
        " \"drop table if exists t; create table t (h hstore); insert into t values ('a=>7');"
        " select h->'a', unaccent('\\303\\251') from t\"".replace("\\303\\251", "é"),
        r"7\|e", wrong=1,
    ),
    "redis": Tree(
        "redis-server redis-tools python3-redis",
        "redis-cli set k 7 >/dev/null; redis-cli get k; redis-cli config get maxmemory | tail -1", "7\n67108864",
        wrong=1, rebooted="7\n0",  # it says "config set", which Redis forgets
    ),
    "rabbitmq": Tree("rabbitmq-server python3-pika", QUEUE, "an order", wrong=1),
    "circus": Tree(
        "supervisor",
        "systemctl is-active circus-circus-web circus-circus-beat;"
        " curl --silent http://127.0.0.1:8765/ | grep -o 'Directory listing for /' | tail -1",
        "active\nactive\nDirectory listing for /",
    ),
    "buildout": Tree(
        f"{BUILD} python3-venv",
        "cd /srv/projects/buildout/project; .buildout/bin/buildout -c buildout-prod.cfg query settings:name",
        "buildout", wrong=5, again="buildout.installed",
    ),
}  # fmt: skip
BEGIN = """\
printf '[global]\\nno-index = true\\nfind-links = /opt/wheels\\n' >/etc/pip.conf
git config --global user.name Root
git config --global user.email root@localhost
for name in *; do
    corpus init $name --env prod
    cd $name
    git init --quiet --initial-branch=master
    git add --all
    git commit --quiet --message=one
    git remote add prod /srv/projects/$name/git/project.git
    git config remote.prod.push HEAD:refs/deploy/now
    cd ..
done
"""
PILLAR = """\
git init --quiet --initial-branch=master /root/pillar-NAME
cd /root/pillar-NAME
printf 'makina-projects.NAME:\\n  data:\\n    domain: NAME.example.org\\n' >init.sls
git add --all
git commit --quiet --message=pillar
git push --quiet /srv/projects/NAME/git/pillar.git HEAD:master
"""


@pytest.fixture(scope="module")
def server(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server with corpushooks and one project for each tree, nothing deployed."""
    assert sorted(KINDS) == sorted(path.name for path in TREES.iterdir())
    root = nspawn.bare("bookworm").fetched(*NEEDS, "curl")
    for each in KINDS.values():
        root = root.fetched(*each.packages.split())
    wheels = tmp_path_factory.mktemp("wheels")
    wheels.chmod(0o755)
    words = ["--quiet", "--only-binary=:all:", "--python-version=3.11", f"--dest={wheels}"]
    run([sys.executable, "-m", "pip", "download", *words, *WHEELS], timeout=600)
    package = built(12)
    with nspawn.memory() as folder, nspawn.booted(root, folder) as there:
        for source, target in ((wheels, "/opt/wheels"), (package, "/root/1.deb"), (TREES, "/root/trees")):
            there.put(source, target)
        there.run(f"{INSTALL} /root/1.deb curl && corpus setup", timeout=600)
        there.run(BEGIN, cwd="/root/trees", timeout=600)
        for name in (name for name, tree in KINDS.items() if tree.site):
            there.run(PILLAR.replace("NAME", name))
        yield there


def pushed(server: Server, name: str) -> Output:
    return server.run("git push prod 2>&1", cwd=f"/root/trees/{name}", timeout=900, check=False)


def errors(server: Server, name: str) -> list[str]:
    done = server.run("corpus check --json .", cwd=f"/root/trees/{name}", timeout=300, check=False)
    found: list[str] = json.loads(done.stdout)["problems"]
    assert (done.code == 1) is bool(found)
    return found


@pytest.mark.parametrize("name", KINDS)
def test_what_a_check_finds_refuses_the_push_and_touches_nothing(server: Server, name: str) -> None:
    found = errors(server, name)
    assert len(found) == KINDS[name].wrong, found
    if found:
        packages = server.run("dpkg --list | sha256sum").text
        done = pushed(server, name)
        assert done.code == 1 and "nothing was changed; fix it and push again" in done.text
        assert server.run("dpkg --list | sha256sum").text == packages
        assert server.run(f"ls -A /srv/projects/{name}/project").text == ""


@pytest.mark.parametrize("name", KINDS)
def test_what_a_check_calls_fine_is_deployed(server: Server, name: str) -> None:
    fix = "corpus check --fix --write . >/dev/null; git commit --quiet --all --message=fixed || true"
    server.run(f"{KINDS[name].by_hand}\n{fix}", cwd=f"/root/trees/{name}", timeout=300)
    assert errors(server, name) == []
    done = pushed(server, name)
    assert done.code == 0, done.text


@pytest.mark.parametrize("name", KINDS)
def test_its_users_are_answered(server: Server, name: str) -> None:
    answered(server, name, KINDS[name].answer)


def answered(server: Server, name: str, answer: str) -> None:
    """Ask a project as its users would; a program that has just been started gets its time."""
    said = [""]

    def right() -> bool:
        said.append(server.run(f"{PASSWORD}{KINDS[name].ask}", cwd="/root", check=False).text.strip())
        return bool(re.fullmatch(answer, said[-1]))

    with contextlib.suppress(AssertionError):
        until(right, 60)
    assert re.fullmatch(answer, said[-1]), said[-1]


@pytest.mark.parametrize("name", KINDS)
def test_deployed_again_nothing_changes_but_what_is_told_to(server: Server, name: str) -> None:
    done = pushed(server, name)
    assert done.code == 0, done.text
    events = json.loads(server.run(f"corpus log {name} --json").stdout)  # rows of a quick SLS are not shown
    states = [each["data"] for each in events if each["event"] == "state" and each["data"].get("changed")]
    changed = [each["function"] for each in states]
    assert [each for each in changed if each not in PASSING] == KINDS[name].again.split(), states


def test_all_is_there_again_after_a_reboot(server: Server) -> None:
    server.reboot()
    for name, each in KINDS.items():
        answered(server, name, each.rebooted or each.answer)
    assert server.run("systemctl is-system-running", check=False).text == "running"
