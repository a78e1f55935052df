"""Hostile trees, by real pushes: what leads out is refused before anything is read, what is odd does no harm."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from corpushooks.release import paths
from corpushooks.system.process import run
from tests.support.box import FAILING, Box, Work, tree_of
from tests.support.command import corpus, ran
from tests.support.shared_box import shared_box

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="owners and devices need root")
SECRET = "the-secret-of-the-host"
PILLAR = {"init.sls": "makina-projects.hello:\n  data: {}\n"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """Return a host with a live release, which refuses all that the tests of this module push to it."""
    with shared_box(tmp_path_factory.mktemp("shared"), page="one") as box:
        (box.root / "secret").write_text(f"{SECRET}: x\n")
        yield box


@pytest.fixture
def refusing(shared: Box) -> Iterator[Box]:
    """Return the shared host; nothing of what is pushed to it may leave a trace."""
    before, work = looks(shared), shared.work()
    base = work.head
    yield shared
    work.git("reset", "--hard", "--quiet", base)
    work.git("clean", "-fdxq")
    assert looks(shared) == before
    assert shared.row().broken is None


def looks(box: Box) -> dict[str, object]:
    project = box.project()
    trees = {path.name: tree_of(path) for path in (project.tree, project.stage, project.pillar, project.data)}
    return {**trees, "refs": (box.ref(), box.ref(repo="pillar")), "archives": sorted(os.listdir(project.archives))}


def link(work: Work, path: str, target: str) -> None:
    place = work.path / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


# links that Salt would follow

STRAYS = {
    ".salt/files": "/etc",
    ".salt/files/app.conf": "../../../x",
    ".salt/sub/deep/more.sls": "/etc/shadow",
    ".salt/_modules/mine.py": "/tmp/mine.py",
    ".salt/_modules": "../../..",
    ".salt/_states/../_states": "..//./../..",
    ".salt/prod": "../..",
    ".salt/project": "../../../project",
    ".salt/up": "../index.html/../..",
    ".salt/odd\x1b]0;x\x07\nsuccess: live": "/etc",
}


@pytest.mark.parametrize("path", STRAYS)
def test_a_link_in_salt_that_leads_out_is_refused(refusing: Box, path: str) -> None:
    work = refusing.work()
    link(work, os.path.normpath(path), STRAYS[path])
    work.commit()
    pushed = work.push()
    assert pushed.rejected.endswith(" is a link that leads out of the commit"), pushed.text
    assert pushed.rejected.startswith(".salt/")
    assert not any(line.startswith("success") for line in pushed.lines)
    assert "\x1b" not in pushed.text


def test_a_link_in_salt_that_leads_out_by_way_of_another_is_refused(refusing: Box) -> None:
    work = refusing.work()
    link(work, "way", str(refusing.root))
    work.commit()
    link(work, ".salt/files", "../way")
    work.commit()
    assert work.push().rejected == ".salt/files is a link that leads out of the commit"


@pytest.mark.parametrize("how", ["link", "submodule"])
def test_salt_is_a_folder(refusing: Box, how: str) -> None:
    work = refusing.work()
    work.git("mv", ".salt", "other")
    if how == "link":
        link(work, ".salt", "other")
    else:
        work.git("add", "--all")
        work.git("update-index", "--add", "--cacheinfo", f"160000,{work.head},.salt")
        (work.path / ".salt").mkdir()
    work.git("add", "other")
    if how == "link":
        work.git("add", "--all")
    work.git("commit", "--quiet", "--message", how)
    assert work.push().rejected.endswith("has no .salt folder")


LINKS = {
    "a": "b", "b": "a", "dir/up": "../file", "dir/out": "../..", "abs": "/x", "by/way": "../abs/y",
    "round": "dir/up/..", "nul": "dir", "self/x": "../self/./x/../../..", "twice": "dir/../dir/out/../..",
    "gone": "nowhere/../..", "lower": "deep/under/x", "deep/under": "../dir/out", "dots": "..x/...", "end": "dir/",
    "top": ".",
}  # fmt: skip


def test_links_are_followed_as_the_kernel_would(tmp_path: Path) -> None:
    root = tmp_path / "outer/root"
    for path, target in LINKS.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).symlink_to(target)
    out = set(paths.strays(LINKS))
    assert out == {"dir/out", "abs", "by/way", "twice", "lower", "deep/under", "gone"}
    for path in LINKS.keys() - out:
        assert not (root / path).exists() or (root / path).resolve().is_relative_to(root), path
    assert paths.strays(LINKS, "dir/") == ["dir/out"]


def test_links_that_stay_in_the_commit_are_kept(box: Box) -> None:
    work = box.app(files={"conf/app.conf": "x", ".salt/files/real": "x"})
    link(work, ".salt/files/same", "real")
    link(work, ".salt/conf", "../conf")
    link(work, "anywhere", "/nowhere/at/all")
    work.commit()
    pushed = work.push()
    assert pushed.code == 0, pushed.text
    assert (box.project().salt_link / "conf/app.conf").read_text() == "x"
    assert os.readlink(box.project().tree / "anywhere") == "/nowhere/at/all"


PILLAR_LINKS = {
    "init.sls": "{root}/secret",
    "other.sls": "../../../../../secret",
    "sub": "{root}",
    "deep/in/here": "../../..",
}


@pytest.mark.parametrize("options", [(), ("deploy",)])
@pytest.mark.parametrize("path", PILLAR_LINKS)
def test_a_pillar_that_leads_out_is_neither_read_nor_stored(
    refusing: Box, path: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    work = pillar_of(tmp_path, refusing)
    work.commit(PILLAR)
    (work.path / path).unlink(missing_ok=True)
    link(work, path, PILLAR_LINKS[path].format(root=refusing.root))
    work.commit()
    pushed = work.push(options=options)
    assert pushed.rejected == f"{path} is a link that leads out of the commit"
    assert SECRET not in pushed.text


def pillar_of(folder: Path, box: Box) -> Work:
    """Return a working copy of the pillar that only this test has."""
    run(["git", "init", "--quiet", "--initial-branch=master", folder / "pillar"])
    return Work(folder / "pillar", str(box.project().pillar_git))


def test_a_pillar_that_came_another_way_is_refused_before_it_is_read(box: Box) -> None:
    box.app().push()
    pillar = box.work(repo="pillar")
    link(pillar, "init.sls", str(box.root / "secret"))
    (box.root / "secret").write_text(f"{SECRET}\n")
    pillar.commit()
    run(["git", "--git-dir", pillar.remote, "fetch", "--quiet", pillar.path, "HEAD:refs/heads/master"])
    pushed = box.work().push("HEAD:refs/deploy/now")
    assert pushed.rejected == "init.sls is a link that leads out of the commit"
    assert list(box.project().pillar.iterdir()) == []
    assert SECRET not in pushed.text + box.log(2)


# trees that no git makes


def raw_tree(work: Work, *entries: tuple[str, bytes, str]) -> str:
    """Write a tree object as it is given."""
    data = b"".join(f"{mode} ".encode() + name + b"\0" + bytes.fromhex(sha) for mode, name, sha in entries)
    words = ["git", "hash-object", "-t", "tree", "-w", "--literally", "--stdin"]
    return run(words, cwd=work.path, stdin=data).text


def blob(work: Work, text: str = "x") -> str:
    return run(["git", "hash-object", "-w", "--stdin"], cwd=work.path, stdin=text.encode()).text


def raw_commit(work: Work, base: str, *entries: tuple[str, bytes, str]) -> str:
    """Commit what `base` has and, in the same folder, entries as they are given."""
    lines = work.git("ls-tree", base).text.splitlines() if base else []
    rows = [(line.split()[0].lstrip("0"), line.partition("\t")[2].encode(), line.split()[2]) for line in lines]
    return work.git("commit-tree", "-m", "raw", raw_tree(work, *rows, *entries)).text


NAMES = {
    b".git": ".git/00_x.sls",
    b".GIT": ".GIT/00_x.sls",
    b"git~1": "git~1/00_x.sls",
    b"..": "../00_x.sls",
    b".": "./00_x.sls",
    b"/etc": "/etc/00_x.sls",
    b"a/../../b": "a/../../b/00_x.sls",
    b".salt": ".salt exists twice",
    b"index.html": "index.html exists twice",
    b"n" * 256: "nnn",
    b"/".join([b"d" * 200] * 21): "dddd",
    b"/".join([b"e"] * 101): "e/e/e",
}


@pytest.mark.parametrize(
    ("repo", "name"), [("project", name) for name in NAMES] + [("pillar", b".git"), ("pillar", b"..")]
)
def test_a_tree_that_cannot_be_is_refused_by_name_before_anything_is_touched(
    refusing: Box, tmp_path: Path, name: bytes, repo: str
) -> None:
    work = refusing.work() if repo == "project" else pillar_of(tmp_path, refusing)
    base = work.head if repo == "project" else work.commit({**PILLAR, ".salt/x": "x", "index.html": "x"})
    inner = raw_tree(work, ("100644", b"00_x.sls", blob(work, "")))
    commit = raw_commit(work, base, ("40000", name, inner))
    pushed = work.push(f"+{commit}:refs/heads/master")
    assert pushed.rejected.startswith(f"{commit[:7]} cannot be checked out: "), pushed.text
    assert NAMES[name] in pushed.rejected


def test_a_tag_of_a_tag_deploys_what_it_names_and_what_names_no_commit_is_refused(box: Box) -> None:
    work = box.app()
    work.git("tag", "-a", "-m", "x", "v1")
    work.git("tag", "-a", "-m", "x", "v2", "v1")
    work.git("tag", "-a", "-m", "x", "data", "HEAD:index.html")
    assert work.push("v2:refs/deploy/now").code == 0
    assert box.row().code == work.head
    assert "is a blob, not a commit" in work.push("data:refs/deploy/now").rejected


# names

NAME = "".join(chr(c) for c in (*range(1, 32), 127)) + " '\"\\$(id)`;&|<>*?[]{}!#~é\u202e\u2028%s"
ODD = [
    NAME, "-rf", "--", "with\nsuccess: hello is live", "\x1b]0;pwned\x07", os.fsdecode(b"\xff\xfe"), "n" * 255,
    "Case", "case", "CASE/x", "d" * 200 + "/" + "e" * 255, "/".join(["f"] * 101), "/".join(["g" * 200] * 15),
    "con", "a:b", " ", "...", ".salt/odd\nname/x", "*", "\\", ".corpushooks.tmp2",
]  # fmt: skip


def make(root: Path, name: str) -> None:
    """Write a file, whatever the length of its path."""
    fd = os.open(root, os.O_RDONLY)
    *folders, last = name.split("/")
    for folder in folders:
        if folder not in os.listdir(fd):
            os.mkdir(folder, dir_fd=fd)
        inner = os.open(folder, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    file = os.open(last, os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd)
    os.write(file, os.fsencode(last))
    os.close(file)
    os.close(fd)


def test_odd_names_go_all_the_way_and_come_back(box: Box) -> None:
    work, project = box.app(), box.project()
    assert work.push().code == 0
    for name in ODD:
        make(work.path, name)
        make(project.tree, f"of the app/{name}")
    work.commit({"index.html": "two"})
    plan = work.push("HEAD:refs/deploy/plan")
    assert plan.code == 0, plan.text
    pushed = work.push()
    assert pushed.code == 0, pushed.text
    box.ended(3)
    kept = tree_of(project.tree)
    assert len(kept) > 2 * len(ODD)
    work.git("rm", "-rq", "--ignore-unmatch", "--", *[f":(literal){name}" for name in ODD[:6]])
    work.commit({".salt/99_bad.sls": FAILING})
    failed = work.push()
    assert failed.rejected == "install 99_bad failed; rolled back"
    assert tree_of(project.tree) == kept
    for text in (plan.text, pushed.text, failed.text, *map(box.log, range(1, 5))):
        assert not any(c in text.replace("\n", "").replace("\r", "") for c in "\x1b\x07\u202e\u2028")
        assert not [
            line for line in text.splitlines() if line.startswith("success: hello is live") and " at " not in line
        ]
    assert json.loads(corpus(box, "status", "hello", "--json").stdout)["live"] == 3


def test_odd_names_of_what_is_refused_are_one_line(refusing: Box) -> None:
    work = refusing.work()
    for name in (".salt/10\nsuccess: x.sls", ".salt/sub\x1b]0;x\x07/\n"):
        link(work, name, "/etc/passwd")
        work.commit()
        pushed = work.push()
        assert pushed.code == 1
        assert [line for line in pushed.lines if "\x1b" in line or line.startswith("success")] == []
        work.git("reset", "--hard", "--quiet", "HEAD~1")


# what is no file


def test_what_the_application_made_comes_back_or_is_named(box: Box) -> None:
    work, project = box.app(), box.project()
    assert work.push().code == 0
    server = socket.socket(socket.AF_UNIX)
    server.bind(f"/proc/self/fd/{os.open(project.tree, os.O_RDONLY)}/app.sock")
    os.mkfifo(project.tree / "pipe", 0o620)
    (project.tree / "tool").write_text("x")
    (project.tree / "tool").chmod(0o6755)
    (project.tree / "out").symlink_to(box.root)
    made = device(project.tree / "null")
    run(["git", "init", "--quiet", project.tree / "nested"])
    kept = tree_of(project.tree)
    work.commit({".salt/99_bad.sls": SPOIL, "pipe": "now a file"})
    pushed = work.push()
    assert pushed.rejected == "install 99_bad failed; rolled back"
    assert "warning: app.sock: a socket cannot be archived" in pushed.lines
    now = tree_of(project.tree)
    assert now.pop("pipe")[0] == kept.pop("pipe")[0]
    assert now == kept
    assert (project.tree / "null").is_char_device() == made
    assert stat.S_IMODE((project.tree / "tool").stat().st_mode) == 0o6755
    server.close()


SPOIL = """\
spoil:
  cmd.run:
    - name: cd {{ cfg.project_root }} && rm -rf tool null out nested && touch out && exit 1
"""


def device(path: Path) -> bool:
    """Make a device node, where that is allowed; say whether it was."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except PermissionError:
        return False
    return True


def test_what_lies_too_deep_to_be_kept_is_named_and_stays(box: Box) -> None:
    work, project = box.app(), box.project()
    assert work.push().code == 0
    make(project.tree, "/".join(["deep"] * 150))
    work.commit({".salt/99_bad.sls": FAILING})
    pushed = work.push()
    assert pushed.rejected == "install 99_bad failed; rolled back"
    assert any("more than 100 folders deep" in line for line in pushed.lines)
    fd = os.open(project.tree, os.O_RDONLY)
    for _ in range(149):
        inner = os.open("deep", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    assert os.listdir(fd) == ["deep"]
    os.close(fd)


def test_submodules_and_hooks_in_a_tree_are_files_or_nothing(box: Box) -> None:
    work = box.app(files={"hooks/post-checkout": f"#!/bin/sh\ntouch {box.root}/ran\n",
                          ".githooks/pre-push": f"#!/bin/sh\ntouch {box.root}/ran\n",
                          ".gitattributes": "* filter=mark\n"})  # fmt: skip
    (work.path / "hooks/post-checkout").chmod(0o755)
    work.git("add", "--all")
    text = f'[submodule "s"]\n path = s\n url = {box.root}/evil\n update = !touch {box.root}/ran\n'
    work.write({".gitmodules": text})
    work.git("add", ".gitmodules")
    work.git("update-index", "--add", "--cacheinfo", f"160000,{work.head},sub\nmodule")
    work.git("commit", "--quiet", "--message", "sub")
    pushed = work.push()
    assert pushed.code == 0, pushed.text
    assert "warning: sub\\nmodule: a submodule, not fetched: the folder is deployed empty" in pushed.text
    assert "warning: .gitattributes line 1: * has the filter mark, which is not run" in pushed.text
    assert not (box.root / "ran").exists()
    assert (box.project().tree / "hooks/post-checkout").exists()


# a plain folder


def test_check_of_a_plain_folder_follows_nothing_out_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "plain\x1b[31m"
    salt = folder / ".salt"
    (salt / "deep").mkdir(parents=True)
    (salt / "00_page.sls").write_bytes(b"a: {% if %}\xff\n")
    (salt / os.fsdecode(b"10_\xff\n.sls")).write_text("a: [")
    os.mkfifo(salt / "20_pipe.sls")
    (tmp_path / "secret").write_text(f"{SECRET}: [\n")
    for name, target in (("30_link.sls", "00_page.sls"), ("_modules", "deep")):
        (salt / name).symlink_to(target)
    checked = check(folder)
    assert "00_page.sls line 1: " in checked
    assert "10_\\xff\\n.sls" in checked
    out = ["40_out.sls", "PILLAR.sample", "_states", "deep/x", "prod"]
    for name in out:
        (salt / name).symlink_to(tmp_path / "secret" if "." in name else tmp_path)
    told = [f".salt: .salt/{name} is a link that leads out of the folder; put the file itself" for name in out]
    assert sorted(check(folder).splitlines()) == told
    salt.rename(folder / "other")
    salt.symlink_to("other")
    assert ".salt is a symbolic link, which is not followed" in check(folder)


def check(folder: Path) -> str:
    """Return what `corpus check` says, the path of the folder left out."""
    output = ran("check", f"{folder}/")
    text = (output.stdout + output.stderr).decode()
    assert output.code in (1, 2), text
    assert SECRET not in text and "Traceback" not in text and "\x1b" not in text
    return text.replace(f"{folder}: ", "")
