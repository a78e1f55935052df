"""When fixperms.sls may fail, and the groups and users that a project makes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import machine
from tests.support.box import Box
from tests.support.settled import SITE, Town, settled

SEEN = "seen:\n  cmd.run:\n    - name: test -e {{ cfg.data_root }}/made\n"
MADE = "made:\n  cmd.run:\n    - name: touch {{ cfg.data_root }}/made\n"


def test_what_install_has_to_bring_first_fails_no_deployment(box: Box) -> None:
    work = box.app(files={".salt/fixperms.sls": SEEN, ".salt/10_made.sls": MADE})
    pushed = work.push()
    assert pushed.code == 0, pushed.text
    assert "warning: fixperms.sls failed: seen; it runs again after install" in pushed.text
    work.commit({"index.html": "two"})
    pushed = work.push()
    assert (pushed.code, "runs again" in pushed.text) == (0, False), pushed.text


def test_after_install_it_has_to_succeed(box: Box) -> None:
    pushed = box.app(files={".salt/fixperms.sls": SEEN}).push()
    assert (pushed.code, pushed.rejected) == (1, "fixperms.sls failed; rolled back")
    assert box.row().live is None


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    if not machine.possible():
        pytest.skip("no machine of our own can be made here: not root, or no namespaces")
    with settled(tmp_path_factory.mktemp("town")) as town:
        yield town


def test_accounts_that_a_sample_names_are_made_and_others_left_alone(town: Town) -> None:
    groups = "makina-projects.hello: {groups: [webs, www-data, 'no name'], user: web}"
    work = f'mkdir -p ~/work; cd ~/work; git init -q -b master\n{SITE}echo "{groups}" >.salt/PILLAR.sample\n'
    town.by("root", f"{work}git add .; git commit -qm app", check=True)
    before = town.root("getent group www-data").text
    pushed = town.push("root", "/srv/projects/hello/git/project.git", "HEAD:master")
    assert pushed.code == 0, pushed.text
    made = town.root("getent group webs").text.split(":")
    assert (int(made[2]) < 1000, made[3]) == (True, "")
    assert town.root("getent group www-data").text == before
    assert town.root("stat -c %U:%G /srv/projects/hello/project").text == "web:webs"
    assert town.root("id -Gn web; getent shadow web | cut -d: -f2").text == "webs\n!"
    assert "warning: cannot create group 'no name': invalid name" in pushed.text


def test_no_project_makes_the_user_of_another(town: Town) -> None:
    for name, why in (
        ("later-user", "cannot create user later-user: the name is reserved for the project later"),
        ("Bad Name", "cannot create user 'Bad Name': invalid name"),
    ):
        work = f'cd ~/work; echo "makina-projects.hello: {{user: {name}}}" >.salt/PILLAR.sample; git commit -qam x\n'
        town.by("root", work, check=True)
        pushed = town.push("root", "/srv/projects/hello/git/project.git", "HEAD:master")
        assert (pushed.code, f"warning: {why}" in pushed.text) == (0, True), pushed.text
        assert town.root(f"getent passwd '{name}'", check=False).code


PEOPLE = """\
{% import 'makina-states/localsettings/users/init.sls' as users with context %}
include: [makina-states.localsettings.users]
{{ users.create_user('paul', {'admin': True, 'groups': ['video', 'not-here'], 'ssh_keys': ['a']}) }}
{{ users.create_user('robot', {'group': 'machines', 'home': '/srv/robot', 'system': True, 'password': '*'}) }}
"""


def test_people_of_create_user_are_there_with_their_homes(town: Town) -> None:
    work = "mkdir -p ~/people; cd ~/people; git init -q -b master; mkdir -p .salt\n"
    text = f"{work}cat >.salt/00_people.sls <<'END'\n{PEOPLE}END\ngit add .; git commit -qm people\n"
    town.root(text)
    for again in (False, True):
        told = town.root(
            "cd ~/people; git push -q /srv/projects/other/git/project.git HEAD:refs/deploy/now 2>&1", check=False
        )
        assert told.code == 0, told.text
        said = "create_user paul ignores ssh_keys; for keys use ssh_auth.present"
        assert again or said in " ".join(told.text.replace("remote:", "").split())
    known = town.root("id -Gn paul; id -gn robot; stat -c '%U %a' /home/users ~paul ~robot; getent passwd paul").text
    groups, machines, *homes, passwd = known.splitlines()
    assert set(groups.split()) >= {"paul", "video", "adm", "sudo"}
    assert (machines, passwd.split(":")[5:]) == ("machines", ["/home/users/paul", "/bin/bash"])
    assert homes[0] == "root 755" and [home.split()[0] for home in homes[1:]] == ["paul", "robot"]
