"""docs/security.md, "Who can do what": each row with real accounts, over a path and over the real sshd."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from itertools import count

import pytest

from corpushooks.system.process import Output
from tests.support import machine
from tests.support.box import Push
from tests.support.machine import NAME
from tests.support.settled import SITE, Town, settled

PYTHON = "/opt/corpushooks/bin/python3"
EXPIRE = """\
import sqlite3, sys
store = sqlite3.connect("/var/lib/corpushooks/store.sqlite", isolation_level=None)
store.execute("UPDATE key SET expires = 1 WHERE name = ?", sys.argv[1:])
"""
GIT = "/srv/projects/hello/git"
PEOPLE = {  # name -> groups, options of `corpus key add`
    "anna": (("corpus",), ""),
    "dan": (("hello-deploy",), ""),
    "ted": (("hello-deploy",), ""),
    "olga": (("other-deploy",), ""),
    "eve": ((), ""),
    "rita": ((), "--read --project hello"),
    "kim": ((), "--push --project hello"),
    "ada": ((), "--admin"),
    "pat": ((), "--push"),
    "rob": ((), "--push"),
}
OVER_SSH = ("rita", "kim", "ada", "pat", "rob")
PUSH = ("root", "dan", "kim", "ada")  # who may push to hello
STRANGERS = ("olga", "eve", "hello-user")
CHANGES = count()


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Return a machine with everybody of the table, and a first deployment by root."""
    if not machine.possible():
        pytest.skip("no machine of our own can be made here: not root, or no namespaces")
    with settled(tmp_path_factory.mktemp("town")) as town:
        for name, (groups, key) in PEOPLE.items():
            town.add(name, *groups, key=key)
        town.root("corpus key remove rob")
        town.root(f"{PYTHON} -c '{EXPIRE}' pat")
        for name in ("root", *PEOPLE):
            town.by(name, f"mkdir -p ~/work; cd ~/work\n{SITE}git init -q; git add .; git commit -qm app", check=True)
        assert town.push("root", f"{GIT}/project.git", "HEAD:master").code == 0
        yield town


def remote(name: str, repo: str = "project", project: str = "hello") -> str:
    if name in OVER_SSH:
        return f"ssh://corpus@{NAME}/{project}" + (".pillar" if repo == "pillar" else "")
    return f"/srv/projects/{project}/git/{repo}.git"


def commit(town: Town, name: str, text: str = "") -> str:
    """Make a commit in somebody's working copy and return it."""
    return town.by(
        name,
        f"cd ~/work; echo '{text or next(CHANGES)}' >page; git add .; git commit -qm x; git rev-parse HEAD",
        check=True,
    ).text


def pillar(town: Town, name: str, value: str) -> str:
    """Make a commit of a pillar in somebody's working copy, on no branch, and return it."""
    text = f"makina-projects.hello: {{data: {{v: {value}}}}}"
    return town.by(
        name,
        f"cd ~/work; export GIT_INDEX_FILE=.git/pillar; git read-tree --empty; echo '{text}' >.git/init.sls\n"
        "git update-index --add --cacheinfo 100644,$(git hash-object -w .git/init.sls),init.sls\n"
        "git commit-tree -m p $(git write-tree)",
        check=True,
    ).text


def deploy(town: Town, name: str) -> Push:
    commit(town, name)
    return town.push(name, remote(name), "HEAD:master", "--force")


@pytest.mark.parametrize("name", PUSH)
def test_who_may_push_pushes_code_and_every_kind_of_ref(town: Town, name: str) -> None:
    head = commit(town, name)
    assert town.push(name, remote(name), "HEAD:master", "--force").code == 0
    assert town.ref("project", "refs/heads/master") == head
    town.by(name, "cd ~/work; git tag -f -a -m x v1; git notes add -f -m seen", check=True)
    refs = ("refs/heads/topic", "refs/heads/team/one/topic", "refs/tags/v1", "refs/notes/commits")
    sources = ("HEAD", "HEAD", "refs/tags/v1", "refs/notes/commits")
    stored = [f"{source}:{ref}" for source, ref in zip(sources, refs, strict=True)]
    pushed = town.push(name, remote(name), *stored, "--force")
    assert pushed.code == 0, pushed.text
    town.root(f"git -C {GIT}/project.git gc --quiet")  # packs them
    commit(town, name)
    assert town.push(name, remote(name), "HEAD:topic", "--atomic").code == 0
    assert town.push(name, remote(name), *(f":{ref}" for ref in refs)).code == 0
    assert [town.ref("project", ref) for ref in refs] == [""] * 4


@pytest.mark.parametrize("name", PUSH)
def test_who_may_push_pushes_the_pillar(town: Town, name: str) -> None:
    one, two = pillar(town, name, f"one-{name}"), pillar(town, name, f"two-{name}")
    for made, refspec in ((one, f"+{one}:refs/heads/master"), (two, f"+{two}:refs/heads/master")):
        pushed = town.push(name, remote(name, "pillar"), refspec)
        assert (pushed.code, town.ref("pillar", "refs/heads/master")) == (0, made), pushed.text
    town.root(f"git -C {GIT}/pillar.git gc --quiet")
    pushed = town.push(name, remote(name, "pillar"), f"+{one}:refs/heads/master", "--push-option=deploy")
    assert pushed.code == 0, pushed.text
    assert town.root("cat /srv/projects/hello/data/page").text == f"one-{name}"
    assert town.push(name, remote(name, "pillar"), f"{two}:refs/heads/topic").code == 0
    assert town.push(name, remote(name, "pillar"), ":refs/heads/topic").code == 0
    bad = town.by(name, "cd ~/work; git rev-parse HEAD").text  # has no init.sls
    assert town.push(name, remote(name, "pillar"), f"+{bad}:refs/heads/master").rejected == "the pillar has no init.sls"


def by(town: Town, name: str, script: str) -> Output:
    return town.by(name, script, group="hello-grp" if name == "hello-user" else "")


@pytest.mark.parametrize("name", ["anna", *STRANGERS])
def test_who_may_not_push_over_a_path_moves_nothing(town: Town, name: str) -> None:
    before = town.root(f"git -C {GIT}/project.git for-each-ref; git -C {GIT}/pillar.git for-each-ref").text
    for repo in ("project", "pillar"):
        home = "/home/eve" if name == "hello-user" else f"/home/{name}"
        pushed = by(town, name, f"cd {home}/work 2>/dev/null || cd /; git push {remote(name, repo)} HEAD:topic 2>&1")
        assert pushed.code != 0
        assert by(town, name, f"ls {GIT}/{repo}.git/").code != 0
    assert town.root(f"git -C {GIT}/project.git for-each-ref; git -C {GIT}/pillar.git for-each-ref").text == before


def test_a_member_of_the_hosts_group_does_what_the_daemon_does_for_every_project(town: Town) -> None:
    assert town.by("anna", "corpus deploy hello").code == 0
    assert "hello" in town.by("anna", "corpus status").text and "other" in town.by("anna", "corpus status").text
    for script in ("corpus history hello", "corpus log hello", "corpus config hello --show-secrets"):
        assert town.by("anna", script).code == 0, script


def test_a_member_of_one_project_does_all_of_that_and_nothing_of_others(town: Town) -> None:
    for script in ("status hello", "deploy hello", "history hello", "log hello", "config hello"):
        assert town.by("dan", f"corpus {script}").code == 0, script
        refused = town.by("dan", f"corpus {script.replace('hello', 'other')}")
        assert (refused.code, b"not allowed" in refused.stderr) == (3, True), script


@pytest.mark.parametrize("name", ["eve", "hello-user"])
def test_anybody_else_does_nothing_but_sees_which_projects_there_are(town: Town, name: str) -> None:
    for script in ("status", "status hello", "deploy hello", "log hello", "status nowhere"):
        refused = by(town, name, f"corpus {script}")
        assert refused.code == 3 and b"not allowed" in refused.stderr, (script, refused)
    assert by(town, name, "ls /srv/projects").text.split() == ["hello", "other"]
    assert "hello-deploy" in by(town, name, "getent group").text
    for path in (
        f"{GIT}/project.git",
        f"{GIT}/pillar.git",
        "/srv/projects/hello/pillar",
        "/srv/projects/hello/archives",
    ):
        assert by(town, name, f"ls {path}").code != 0, path


def ssh(town: Town, name: str, words: str) -> tuple[int, str]:
    done = town.by(name, f"ssh -o BatchMode=yes corpus@{NAME} {words} 2>&1")
    return done.code, done.text


def test_a_read_key_reads_and_pushes_nothing(town: Town) -> None:
    assert town.by("rita", f"git clone -q {remote('rita')} ~/clone && test -f ~/clone/.salt/00_page.sls").code == 0
    assert ssh(town, "rita", "status hello")[0] == 0
    for words in ("deploy hello", "config hello"):
        code, text = ssh(town, "rita", words)
        assert (code, text.splitlines()[0]) == (3, "error: the key rita: it has the right read, not push"), words
    assert town.by("rita", f"git clone -q {remote('rita', 'pillar')} ~/pillar").code != 0
    commit(town, "rita")
    before = town.ref("project", "HEAD")
    for repo, refspec in (("project", "HEAD:master"), ("project", "HEAD:topic"), ("pillar", "HEAD:master")):
        assert town.push("rita", remote("rita", repo), refspec, "--force").code == 128
    assert town.ref("project", "HEAD") == before


def test_a_push_key_does_all_of_its_project_and_nothing_of_others(town: Town) -> None:
    assert deploy(town, "kim").code == 0
    for words in ("plan hello", "rollback hello"):
        assert ssh(town, "kim", words)[0] == 0, words
    for project in ("other", "nowhere"):
        refused = town.push("kim", remote("kim", project=project), "HEAD:master")
        assert f"unknown project '{project}' for the key kim" in refused.text
    assert town.by("kim", "corpus status hello").code == 3  # the account has no rights, the key has


@pytest.mark.parametrize("name", ["pat", "rob"])
def test_a_key_that_expired_or_was_removed_opens_nothing(town: Town, name: str) -> None:
    assert ssh(town, name, "whoami")[0] == 255
    for repo in ("project", "pillar"):
        pushed = town.push(name, remote(name, repo), "HEAD:topic")
        assert (pushed.code, "Permission denied (publickey)" in pushed.text) == (128, True), pushed.text


def test_a_push_from_a_shallow_clone(town: Town) -> None:
    """For which git writes a file into the git dir that it pushes to."""
    town.by(
        "kim",
        f"git clone -q --depth 1 {remote('kim')} ~/shallow; cd ~/shallow; git commit -qm x --allow-empty",
        check=True,
    )
    pushed = town.by("kim", "cd ~/shallow; git push origin HEAD:master HEAD:shallow 2>&1; git rev-parse HEAD")
    assert pushed.code == 0, pushed.text
    head = pushed.text.splitlines()[-1]
    assert town.ref("project", "refs/heads/master") == town.ref("project", "refs/heads/shallow") == head
    left = town.root(f"cd {GIT}; ls push/project.git; stat -c '%A %U' push/project.git push/project.git/*").text
    assert left.split("\n")[:2] == ["HEAD", "commondir"] and left.count("root") == 3 and left.count("-rw-r--r--") == 2
    assert not town.root(f"ls {GIT}/project.git | grep shallow || true").text


# a member of NAME-deploy who goes past the hook

PAST = {  # what is tried -> in which folder of a repository that git of the daemon reads
    "a branch": "git push --receive-pack='git -c receive.procReceiveRefs=none -c core.hooksPath=/dev/null receive-pack'"
    " {repo} HEAD:refs/heads/past",
    "a branch, by a library without hooks": PYTHON + " -c 'from dulwich import porcelain;"
    ' porcelain.push(".", "{repo}", "HEAD:refs/heads/past")\'',
    "a ref as a file": "git rev-parse HEAD >{repo}/refs/heads/past",
    "a link among refs": "ln -s /etc/shadow {repo}/refs/heads/past",
    "a reflog": "ln -s /etc/shadow {repo}/logs/refs/heads/past",
    "packed refs": "echo $(git rev-parse HEAD) refs/heads/past >>{repo}/packed-refs",
    "HEAD": "echo ref: refs/heads/past >{repo}/HEAD",
    "a lock": "touch {repo}/HEAD.lock",
    "configuration": "git config --file {repo}/config core.fsmonitor /tmp/x",
    "a hook": "touch {repo}/hooks/update",
    "grafts": "mkdir -p {repo}/info && touch {repo}/info/grafts",
    "a boundary": "touch {repo}/shallow",
    "another object store": "echo /tmp >{repo}/objects/info/alternates",
    "another object store, swapped": "mv {repo}/objects/info {repo}/objects/x",
    "no packs": "rm -rf {repo}/objects/pack || test ! -e {repo}/objects/pack",
    "nobody's packs": "rm -f {repo}/objects/pack/*.pack; ls {repo}/objects/pack/*.pack && false",
    "other packs": "mv {repo}/objects/pack {repo}/objects/x",
    "the entrance of others": "rm -f {repo}/../push/project.git/HEAD",
    "another entrance": "mv {repo}/../push/project.git {repo}/../push/x",
}


def test_a_member_of_one_project_moves_no_ref_and_plants_nothing_past_the_daemon(town: Town) -> None:
    commit(town, "dan")
    town.root(f"git -C {GIT}/project.git gc --quiet")
    before = town.root(f"cd {GIT}/project.git; git for-each-ref; cat HEAD config; ls . info logs/refs/heads").text
    for what, script in PAST.items():
        tried = town.by("dan", f"cd ~/work; {script.format(repo=f'{GIT}/project.git')}")
        assert tried.code != 0, what
    assert (
        town.root(f"cd {GIT}/project.git; git for-each-ref; cat HEAD config; ls . info logs/refs/heads").text == before
    )
    assert deploy(town, "kim").code == 0


def test_what_a_member_writes_is_for_others_to_read_and_is_not_waited_for(town: Town) -> None:
    commit(town, "dan")
    assert town.by("dan", f"cd ~/work; umask 077; git push -q {remote('dan')} HEAD:topic").code == 0
    assert (
        town.by(
            "ted",
            f"cd ~/work; git fetch -q {remote('ted')} topic && git push -q {remote('ted')} FETCH_HEAD:refs/heads/two",
        ).code
        == 0
    )
    taken = town.root(f"ls {GIT}/project.git/objects").text.split()
    free = next(name for name in map("{:02x}".format, range(256)) if name not in taken)
    for place in ("pack/pack-1.idx", f"{free}/{'c' * 38}"):  # the daemon's own folders of objects are closed to members
        path = f"{GIT}/project.git/objects/{place}"
        town.by("dan", f"mkdir -p {path.rpartition('/')[0]}; mkfifo {path}", check=True)
        pushed = deploy(town, "kim")
        assert pushed.rejected == f"{path} is not a regular file"
        (hint,) = (line.removeprefix("hint: ") for line in pushed.lines if line.startswith("hint: "))
        town.root(hint)
        assert deploy(town, "kim").code == 0


def test_what_is_frozen_is_for_those_who_may_everything_and_admin_keys(town: Town) -> None:
    town.root('corpus freeze hello "moving"')
    try:
        for name in ("dan", "kim"):
            assert "frozen by root: moving" in deploy(town, name).rejected
        for name in ("root", "ada"):
            commit(town, name)
            assert town.push(name, remote(name), "HEAD:master", "--force", "--push-option=force").code == 0
    finally:
        town.root("corpus thaw hello")


# corpus run

LOOK = """\
id -un; id -Gn; pwd; env | cut -d= -f1 | sort | tr "\\n" " "; echo
grep -hE "^(Cap|NoNew)" /proc/self/status | tr -d "\\t" | tr "\\n" " "; echo
ls -l /proc/self/fd | grep -vc pipe: ; echo >&2 said; : >made; : >/dev/stdout; : >/dev/stderr
exec 2>/dev/null
cd /srv/projects/hello
for each in pillar git/pillar-stage archives /var/lib/corpushooks; do ls $each && echo read $each; done
daemon=$(sed -n "s/^PPid:[^0-9]*//p" /proc/$PPID/status)
for each in $PPID $daemon; do kill -0 $each && echo killed; cat /proc/$each/environ; ls /proc/$each/fd; done
tr "\\0" " " </proc/$PPID/cmdline | grep -c become.py; tr "\\0" " " </proc/$daemon/cmdline | grep -c "corpus daemon"
sudo -n true 2>/dev/null && echo root; exit 7
"""


@pytest.mark.parametrize("name", ["root", "anna", "ada"])
def test_who_administers_runs_commands_as_the_application(town: Town, name: str) -> None:
    quoted = shlex.quote(LOOK)
    over = f"ssh -o BatchMode=yes corpus@{NAME} run hello sh -c {shlex.quote(quoted)}"
    done = town.by(name, over if name in OVER_SSH else f"corpus run hello sh -c {quoted}")
    none = "0" * 16
    assert (done.code, [line.strip() for line in done.text.splitlines()]) == (
        7,
        ["hello-user", "hello-grp", "/srv/projects/hello/project", "HOME LANG LOGNAME PATH PWD SHELL USER",
         f"CapInh:{none} CapPrm:{none} CapEff:{none} CapBnd:{none} CapAmb:{none} NoNewPrivs:1", "2", "1", "1"],
    ), done  # fmt: skip
    assert done.stderr == b"said\n"
    assert town.root("stat -c %U:%G:%a /srv/projects/hello/project/made").text == "hello-user:hello-grp:644"
    assert f" {name} " in town.root("corpus history hello --commands -n 1").text


@pytest.mark.parametrize("name", ["dan", "kim", "rita", *STRANGERS])
def test_nobody_else_runs_commands(town: Town, name: str) -> None:
    if name in OVER_SSH:
        assert ssh(town, name, "run hello true")[0] == 3
    else:
        refused = by(town, name, "corpus run hello true")
        assert (refused.code, b"not allowed" in refused.stderr) == (3, True), refused
    assert by(town, name, "corpus run other true").code == 3


def test_an_account_with_the_group_root_runs_nothing(town: Town) -> None:
    town.root("usermod -aG root hello-user")
    try:
        refused = town.by("root", "corpus run hello id")
        assert refused.code == 3 and b"hello-user has the rights of root" in refused.stderr
    finally:
        town.root("gpasswd -d hello-user root")


ASK = """\
import sys, urllib.error, urllib.request
for path in sys.argv[2:]:
    address, headers = f"http://127.0.0.1:8040/api/v1{path}", {"Authorization": f"Bearer {sys.argv[1]}"}
    asked = urllib.request.Request(address, headers=headers)
    try:
        with urllib.request.urlopen(asked) as found:
            print(found.status, b"other" in found.read())
    except urllib.error.HTTPError as exc:
        print(exc.code)
"""
WEB = f"""\
corpus setup --web
token=$(corpus token add look --read --project hello | head -n 1)
become='setpriv --reuid=corpus-web --regid=corpus-web --clear-groups'
$become corpus web >/tmp/web.log 2>&1 </dev/null &
until grep -q listening /tmp/web.log; do kill -0 $! || {{ cat /tmp/web.log >&2; exit 1; }}; sleep 0.1; done
{PYTHON} -c '{ASK}' "$token" /projects /projects/hello /projects/other
{PYTHON} -c '{ASK}' nothing /projects
code=0
$become corpus status >/dev/null 2>&1 || code=$?
echo "status: $code"
kill $!
"""


def test_the_account_of_the_pages_relays_tokens_and_has_no_rights(town: Town) -> None:
    said = town.root(WEB).stdout.decode().splitlines()
    assert "created    user corpus-web" in said
    assert said[-5:] == ["200 False", "200 False", "403", "401", "status: 3"]
