"""`corpus check` on whole trees; the same findings in a plan, at the start of a deployment and at a pillar's push."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from corpushooks.system import apt
from corpushooks.system.process import run
from tests.support.aptlists import apt_with
from tests.support.box import Box
from tests.support.command import asked, corpus

DEBIAN = ("git", "python3-dev", "php-cli", "default-libmysqlclient-dev", "nginx", "mawk-only", "curl")
TREE = {
    ".salt/PILLAR.sample": "makina-projects.projectname:\n  dta: 1\n  data:\n    port: 80\n    bin: !!binary aGVsbG8=\n"
    "    big: .inf\n",
    ".salt/000_prereqs.sls": "{% set cfg = opts.ms_project %}\n{% set out = salt['cmd.run']('touch MARK') %}\n"
    "prereqs-{{cfg.name}}:\n  pkg.installed:\n    - pkgs:\n      - git\n      - python-dev\n      - git\n"
    "      - {{ 'libmysql' ~ 'client-dev' }}\n      - editor\n",
    ".salt/010_imports.sls": '{% import "makina-states/none.sls" as none1 with context %}\n'
    '{% import "makina-projects/x/none.jinja" as none2 %}\n{% set x = salt["mc_foo.bar"]() %}\n'
    "{% if 0 %}{% import 'makina-states/other.sls' as none3 %}{% endif %}\n"
    "include:\n  - makina-projects.{{ opts.ms_project.name }}.include.one\n  - makina-states.services.none\n",
    ".salt/020_files.sls": "{% set cfg = opts.ms_project %}\ninclude:\n  - makina-projects.{{cfg.name}}.include.one\n"
    "  - makina-projects.{{cfg.name}}.include.two\na:\n  file.managed:\n    - name: OUT/x\n"
    "    - source: salt://makina-projects/{{cfg.name}}/files/none.conf\nb:\n  cmd.run:\n    - name: no-such-program x\n"
    "c:\n  cmd.run:\n    - name: {{ salt['mc_locations.settings']().resetperms }} --path x --wrong\n",
    ".salt/040_macro.sls": '{% import "makina-states/_macros/h.jinja" as h with context %}\n\n'
    "{{ h.deliver_config_files(1) }}\n",
    ".salt/050_last.SLS": "a:\n  test.nop: []\n",
}
LATIN = "a:\n  test.nop: []\n# café\n".encode("latin-1")
SAID = [  # severity, file, line, kind, what it begins with
    ("warning", "000_prereqs.sls", 2, "not-run", "Jinja would run 'touch MARK'"),
    ("error", "000_prereqs.sls", 3, "package", "package libmysqlclient-dev has no candidate on this host"),
    ("error", "000_prereqs.sls", 7, "package", "package python-dev has no candidate on this host"),
    ("warning", "000_prereqs.sls", 8, "doubled", "duplicate package git in this state"),
    ("error", "010_imports.sls", 1, "missing", "makina-states/none.sls is not supported here"),
    ("error", "010_imports.sls", 2, "missing", "imported file makina-projects/x/none.jinja does not exist"),
    ("error", "010_imports.sls", 3, "missing", "mc_foo.bar is not supported here"),
    ("error", "010_imports.sls", 6, "missing", "included SLS makina-projects.projectname.include.one does not exist"),
    ("error", "010_imports.sls", 7, "missing", "makina-states.services.none is not supported here"),
    ("error", "020_files.sls", 3, "missing", "included SLS makina-projects.projectname.include.one does not exist"),
    ("error", "020_files.sls", 4, "missing", "included SLS makina-projects.projectname.include.two does not exist"),
    ("error", "020_files.sls", 8, "missing", "salt://makina-projects/projectname/files/none.conf does not exist"),
    ("warning", "020_files.sls", 11, "command", "command no-such-program not found on this host"),
    ("error", "020_files.sls", 14, "option", "resetperms has no option --wrong"),
    ("error", "030_latin.sls", 3, "encoding", "not UTF-8 (byte 0xe9)"),
    ("error", "040_macro.sls", 3, "compile", "Jinja variable 'int object' has no attribute 'items'"),
    ("warning", "050_last.SLS", None, "unread", "nothing reads it"),
    ("warning", "PILLAR.sample", 2, "unread", "nothing reads the key dta"),
    ("warning", "PILLAR.sample", 5, "value", "data.bin is binary"),
    ("warning", "PILLAR.sample", 6, "value", "data.big is not a finite number"),
]


@pytest.fixture
def lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the real apt know a few packages of today's Debian, and no others."""
    root = tmp_path / "apt"
    root.mkdir()
    monkeypatch.setenv("APT_CONFIG", apt_with(root, (*DEBIAN, "vim"), {"vim": "editor"}))
    yield


def write(folder: Path, tree: dict[str, str], mark: Path) -> None:
    for name, text in tree.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text.replace("MARK", str(mark)))


@pytest.mark.usefixtures("lists")
def test_all_that_is_wrong_is_named_and_nothing_is_run(new_box: Callable[..., Box], tmp_path: Path) -> None:
    box, app, mark = new_box(salt=True), tmp_path / "app", tmp_path / "m"
    write(app, TREE, mark)
    (app / ".salt/030_latin.sls").write_bytes(LATIN)
    found = asked(box, "check", f"{app}", code=1)["findings"]
    told = [(each["severity"], each["file"].removeprefix(".salt/"), each["line"], each["kind"]) for each in found]
    assert told == [each[:4] for each in SAID]
    for each, (*_, begins) in zip(found, SAID, strict=True):
        assert each["what"].startswith(begins.replace("MARK", str(mark)))
    assert not mark.exists()
    assert not box.host.root.exists()
    helps = {each["line"]: each["help"] for each in found if each["kind"] == "package"}
    assert helps == {3: "use default-libmysqlclient-dev", 7: "use python3-dev"}
    strict = {".salt/000_a.sls": "a:\n  pkg.installed:\n    - pkgs: [git, git]\n"}
    write(tmp_path / "strict", strict, mark)
    assert corpus(box, "check", f"{tmp_path}/strict").code == 0
    assert corpus(box, "check", "--strict", f"{tmp_path}/strict").code == 1


@pytest.mark.usefixtures("lists")
def test_what_apt_could_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert apt.candidates(["git", "editor", "python-dev", "-o", "a b"]) == {"git", "editor"}
    (tmp_path / "none").mkdir()
    (tmp_path / "apt.conf").write_text(f'Dir::State::lists "{tmp_path}/none";\n')
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    assert apt.candidates(["git"]) is None
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    assert apt.candidates(["git"]) is None


def test_several_targets_are_a_table(
    new_box: Callable[..., Box], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = new_box(salt=True)
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "fine", {".salt/00_a.sls": "a:\n  test.nop: []\n"}, tmp_path)
    write(tmp_path / "broken", {".salt/00_a.sls": "a: {% if %}\n", ".salt/10_b.SLS": ""}, tmp_path)
    (tmp_path / "empty").mkdir()
    done = corpus(box, "check", "./fine", "./broken", "./empty", "fine")
    rows = [line.split(None, 4) for line in done.stdout.decode().splitlines()]
    assert rows[:5] == [
        ["project", "deploys", "errors", "warnings", "kinds"], ["./fine", "yes", "0", "0"],
        ["./broken", "no", "1", "1", "syntax 1, unread 1"], ["./empty", "no", "1", "0", "name 1"],
        ["fine", "no", "1", "0", "name 1"],
    ]  # fmt: skip
    assert done.code == 1
    assert [each["target"] for each in asked(box, "check", "./fine", "./broken", code=1)] == ["./fine", "./broken"]
    alone = corpus(box, "check", "fine")
    assert b"hint: for the folder: corpus " in alone.stderr and b"check ./fine" in alone.stderr


@pytest.mark.usefixtures("lists")
def test_fix_shows_a_diff_and_writes_only_when_told(new_box: Callable[..., Box], tmp_path: Path) -> None:
    box, app = new_box(), tmp_path / "app"
    write(app, TREE, tmp_path)
    (app / ".salt/030_latin.sls").write_bytes(LATIN)
    (app / ".salt/linked.sls").symlink_to("000_prereqs.sls")
    path = app / ".salt/000_prereqs.sls"
    path.chmod(0o640)
    before = path.read_text()
    shown = corpus(box, "check", "--fix", str(app)).stdout.decode()
    assert "-      - python-dev\n-      - git\n+      - python3-dev\n" in shown
    assert shown.endswith("nothing written; add --write to write it\n")
    assert path.read_text() == before
    assert corpus(box, "check", "--fix", "--write", str(app)).code == 0
    assert path.read_text() == before.replace("python-dev\n      - git\n", "python3-dev\n")
    assert f"{path.stat().st_mode & 0o777:o}" == "640"
    assert "--paths x" in (app / ".salt/020_files.sls").read_text()
    assert (app / ".salt/linked.sls").is_symlink()
    assert corpus(box, "check", "--fix", str(app)).stdout == b"nothing to fix\n"
    assert corpus(box, "check", "--write", str(app)).code == 2
    assert corpus(box, "check", "--fix", "hello").code == 2


# what git would send


def test_a_working_copy_is_judged_by_what_git_sends(new_box: Callable[..., Box], tmp_path: Path) -> None:
    box, app = new_box(), tmp_path / "app"
    write(app, {".salt/00_a.sls": "a:\n  test.nop: []\n", ".gitignore": "20_*.sls\n"}, tmp_path)
    run(["git", "init", "--quiet", app])
    run(["git", "add", "."], cwd=app)
    run(["git", "commit", "--quiet", "-m", "one"], cwd=app)
    assert corpus(box, "check", str(app)).stdout == b"00_a.sls: fine\n"
    hook = app / ".git/fsmonitor"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    run(["git", "config", "core.fsmonitor", str(hook)], cwd=app)
    write(app, {".salt/10_new.sls": "a:\n  test.nop: []\n", ".salt/20_x.sls": "b:\n  test.nop: []\n"}, tmp_path)
    (app / ".salt/00_a.sls").write_text("c:\n  test.nop: []\n")
    (app / ".salt/.00_a.sls.swp").write_text("")
    (app / ".gitattributes").write_text("*.psd filter=lfs\n")
    run(["git", "add", ".gitattributes"], cwd=app)
    (tmp_path / "ran").unlink()
    found = asked(box, "check", str(app))["findings"]
    assert [(each["file"], each["kind"], each["what"].partition(":")[0]) for each in found] == [
        (".gitattributes", "filter", "*.psd has the filter lfs, which is not run"),
        (".salt/00_a.sls", "unsent", "changed since the last commit"),
        (".salt/10_new.sls", "unsent", "not in git"),
        (".salt/20_x.sls", "unsent", "ignored by git"),
    ]
    assert not (tmp_path / "ran").exists()
    assert "only the .salt at the top is deployed" in corpus(box, "check", str(nested(app))).stdout.decode()


def nested(app: Path) -> Path:
    write(app / "inner", {".salt/00_a.sls": "a:\n  test.nop: []\n"}, app)
    return app / "inner"


def test_a_salt_folder_that_is_a_submodule_or_a_link(new_box: Callable[..., Box], tmp_path: Path) -> None:
    box, app, other = new_box(), tmp_path / "app", tmp_path / "other"
    for path in (app, other):
        path.mkdir()
        run(["git", "init", "--quiet", path])
    write(other, {"00_a.sls": "a:\n  test.nop: []\n"}, tmp_path)
    run(["git", "add", "."], cwd=other)
    run(["git", "commit", "--quiet", "-m", "one"], cwd=other)
    run(["git", "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other), ".salt"], cwd=app)
    found = asked(box, "check", str(app), code=1)
    assert ".salt: .salt is a submodule, and submodules are not deployed" in found["problems"][0]
    link = tmp_path / "link"
    link.mkdir()
    (link / ".salt").symlink_to(other)
    assert b".salt is a symbolic link" in corpus(box, "check", str(link)).stdout


# deployments


def test_a_deployment_begins_with_what_a_check_says(lists: None, new_box: Callable[..., Box]) -> None:
    box = new_box()
    box.init()
    box.start()
    work = box.app(files={".salt/10_b.SLS": "", ".salt/PILLAR.sample": "makina-projects.x:\n  dta:\n    port: 1\n"})
    pushed = work.push()
    assert pushed.code == 0, pushed.text
    warned = [
        "PILLAR.sample line 2: nothing reads the key dta; did you mean data?",
        "10_b.SLS: nothing reads it: its name does not end in .sls; rename it to 10_b.sls",
    ]
    check = asked(box, "check", "hello")
    assert {text for each in check["files"] for text in each["warnings"]} == set(warned)
    for text in warned:
        assert f"warning: {text}" in pushed.lines
        assert pushed.text.count(text) == 1
    work.commit({".salt/20_c.sls": "a:\n  pkg.installed:\n    - pkgs:\n      - git\n      - git\n      - php5-cli\n"})
    planned = work.push("HEAD:refs/deploy/plan")
    refused = work.push()
    assert refused.code == planned.code == 1
    for push in (planned, refused):
        assert "warning: 20_c.sls line 5: duplicate package git in this state; it is installed once" in push.lines
        assert "error: 20_c.sls line 6: package php5-cli has no candidate on this host" in push.lines
    assert any("hint: use php-cli; nothing was changed" in line for line in refused.lines)
    (work.path / ".salt/20_c.sls").write_bytes(LATIN)
    work.commit({})
    assert work.push().rejected.startswith("20_c.sls line 3: not UTF-8 (byte 0xe9)")


GONE = "a:\n  file.managed:\n    - name: /tmp/x\n    - source: salt://makina-projects/hello/files/gone\n"


def test_what_no_deployment_runs_refuses_none(box: Box) -> None:
    work = box.app(files={".salt/disabled/10_a.sls": GONE, ".salt/task_a.sls": GONE})
    pushed = work.push()
    assert pushed.code == 0, pushed.text
    said = "task_a.sls line 4: salt://makina-projects/hello/files/gone does not exist"
    assert [line for line in pushed.lines if "gone" in line] == [f"warning: {said}; add the file, or correct its path"]
    work.commit({".salt/10_a.sls": GONE})
    assert work.push().rejected == said.replace("task_a", "10_a")


def test_a_plan_and_a_deployment_say_what_shows_once_it_is_rendered(lists: None, new_box: Callable[..., Box]) -> None:
    box = new_box(salt=True)
    box.init()
    work = box.work()
    late = "{% set one = 'php5-cli' %}\na:\n  pkg.installed:\n    - name: {{ one }}\n    - onlyif: /bin/false\n"
    work.commit({".salt/00_a.sls": "a:\n  test.nop: []\n", ".salt/10_b.sls": late})
    text = "warning: 10_b.sls line 1: package php5-cli has no candidate on this host; use php-cli (so far)"
    assert text in work.push("HEAD:refs/deploy/plan").lines
    pushed = work.push()
    assert (pushed.code, text in pushed.lines) == (0, True), pushed.text


def test_a_pillar_before_any_code_is_not_said_to_be_unread(box: Box) -> None:
    pillar = box.work(repo="pillar")
    pillar.commit({"init.sls": "makina-projects.hello:\n  custom: 1\n  data:\n    port: 2\n"})
    pushed = pillar.push()
    assert (pushed.code, "warning" in pushed.text) == (0, False), pushed.text


def test_a_pillar_in_which_nothing_is_for_this_project_is_refused(box: Box) -> None:
    box.app(files={".salt/PILLAR.sample": "makina-projects.x:\n  data:\n    port: 1\n"}).push()
    pillar = box.work(repo="pillar")
    pillar.commit({"init.sls": "makina-projects.projectname:\n  data:\n    port: 2\n"})
    refused = pillar.push()
    assert refused.rejected == "init.sls: it has nothing for the project hello"
    assert any("use the key makina-projects.hello: nothing was stored" in line for line in refused.lines)
    pillar.commit({"init.sls": "makina-projects.hello:\n  data:\n    prot: 2\nmakina-projets.hello: {}\n"})
    taken = pillar.push()
    assert taken.code == 0, taken.text
    assert "warning: init.sls line 3: nothing reads data.prot; did you mean port?" in taken.lines
    assert (
        "warning: init.sls line 4: nothing reads makina-projets.hello; did you mean makina-projects.hello?"
        in taken.lines
    )
    (pillar.path / "init.sls").write_bytes(b"a: caf\xe9\n")
    pillar.commit({})
    assert pillar.push().rejected == "init.sls line 1: not UTF-8 (byte 0xe9)"


def test_no_json_has_half_a_character(new_box: Callable[..., Box], tmp_path: Path) -> None:
    box = new_box()
    app = tmp_path / os.fsdecode(b"app\xff")
    write(app, {".salt/00_a.sls": "a:\n  test.nop: []\n"}, tmp_path)
    text = corpus(box, "check", "--json", str(app)).stdout.decode()
    assert json.loads(text)["target"].endswith("app\\xff")
    assert "\\ud" not in text


def test_a_sample_that_is_no_text_and_the_other_files(lists: None, new_box: Callable[..., Box], tmp_path: Path) -> None:
    box, app = new_box(salt=True), tmp_path / "app"
    write(app, {".salt/00_a.sls": "a: {% if %}\n", ".salt/10_b.sls": TREE[".salt/000_prereqs.sls"]}, tmp_path / "m")
    (app / ".salt/PILLAR.sample").write_bytes(LATIN)
    found = asked(box, "check", str(app), code=1)["findings"]
    assert [(each["file"].removeprefix(".salt/"), each["line"], each["kind"]) for each in found] == [
        ("00_a.sls", 1, "syntax"), ("10_b.sls", 7, "package"), ("10_b.sls", 8, "doubled"),
        ("PILLAR.sample", 3, "encoding"),
    ]  # fmt: skip


def enormous(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(15 << 40)


def odd_files(app: Path) -> Iterator[tuple[str, str]]:
    """Make one odd file after the other in a folder; give each with what is said of it."""
    write(app, {".salt/00_a.sls": "include: [makina-projects.project.inner.x]\na:\n  test.nop: []\n"}, app)
    (app / ".salt/inner").mkdir()
    for name, make, said in (
        (".salt/10_b.sls", enormous, "too large: 15728640 MiB, at most 8 MiB are read"),
        (".salt/PILLAR.sample", enormous, "too large: 15728640 MiB, at most 8 MiB are read"),
        (".salt/inner/x.sls", enormous, "too large: 15728640 MiB, at most 8 MiB are read"),
        (".salt/PILLAR.sample", os.mkfifo, "a named pipe, not a file"),
        (".salt/inner/x.sls", os.mkfifo, "a named pipe, not a file"),
        (".salt/10_b.sls", lambda path: os.mknod(path, stat.S_IFSOCK), "a socket, not a file"),
    ):
        make(app / name)
        yield name, said
        (app / name).unlink()


def test_what_nobody_could_read_is_one_clear_line(new_box: Callable[..., Box], tmp_path: Path) -> None:
    """Larger than any memory, or never ending: nothing reads it, and nothing waits for it."""
    box, app = new_box(salt=True), tmp_path / "app"
    for name, said in odd_files(app):
        findings = asked(box, "check", str(app), code=1)["findings"]
        told = [(each["kind"], each["file"], each["what"]) for each in findings]
        assert [each for each in told if each[0] != "missing"] == [("file", name, said)]
        done = corpus(box, "check", "--fix", str(app))
        assert (done.code, done.text) == (0, "nothing to fix")
    (app / ".salt/inner").rmdir()
    write(app, {".salt/00_a.sls": "a:\n  test.nop: []\n", ".salt/10_b.sls/x": ""}, app)
    (finding,) = asked(box, "check", str(app))["findings"]
    assert (finding["kind"], finding["what"]) == ("unread", "nothing reads it: a folder, not a file")
    (app / ".gitattributes").symlink_to("/dev/zero")
    assert len(asked(box, "check", str(app))["findings"]) == 1


def test_a_push_of_an_enormous_sls_is_refused(box: Box) -> None:
    box.init()
    work = box.work()
    work.commit({".salt/00_a.sls": "a:\n  test.nop: []\n", ".salt/10_b.sls": "#" * ((8 << 20) + 1)})
    assert work.push().rejected == "10_b.sls: too large: 9 MiB, at most 8 MiB are read"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_a_check_needs_no_rights(lists: None, tmp_path: Path) -> None:
    app = tmp_path / "app"
    write(app, {".salt/00_a.sls": "a:\n  pkg.installed:\n    - name: php5-cli\n"}, tmp_path)
    for path in (tmp_path, *tmp_path.parents):
        path.chmod(path.stat().st_mode | 0o011)
    read = "+dac_read_search"  # the interpreter may lie where only root can read; nothing else is allowed
    drop = [
        "setpriv",
        "--reuid=nobody",
        "--regid=nogroup",
        "--clear-groups",
        f"--inh-caps={read}",
        f"--ambient-caps={read}",
    ]
    words = [*drop, sys.executable, "-m", "corpushooks", "--root", "/nonexistent", "check", str(app)]
    done = run(words, env={"HOME": "/nonexistent"}, check=False)
    assert done.stdout.decode().startswith("00_a.sls line 3: package php5-cli has no candidate on this host"), done
