"""A project that is damaged on the disk: every report says so and how to repair it, and says all of the others."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from corpushooks.core.errors import CorpusError
from corpushooks.core.project import Project
from corpushooks.system.process import run
from tests.support.box import Box
from tests.support.shared_box import asked, corpus, harmless, world

NOBODY = 65534
SAMPLE = {".salt/PILLAR.sample": "makina-projects.NAME:\n  data:\n    colour: red\n"}


@dataclass
class Well:
    """A host with the projects a and b, without a daemon; each test gets it as it was."""

    box: Box
    kept: Path

    def renew(self) -> Box:
        self.box.stop()
        for path in (self.box.host.root, self.box.root / "works"):
            if path.exists():
                run(["chmod", "-R", "u+rwX", path])
                shutil.rmtree(path)
            shutil.copytree(self.kept / path.name, path, symlinks=True)
        return self.box


@pytest.fixture(scope="module")
def well() -> Iterator[Well]:
    with tempfile.TemporaryDirectory(prefix="well-", dir="/tmp") as name:  # where others may go, too
        Path(name).chmod(0o755)
        yield from made(Path(name))


def made(folder: Path) -> Iterator[Well]:
    """Make the host."""
    with world(folder / "home"):
        box = Box(folder / "box")
        box.root.mkdir()
        for name in ("a", "b"):
            box.init(name)
        box.start()
        for name in ("a", "b"):
            sample = {path: text.replace("NAME", name) for path, text in SAMPLE.items()}
            pillar = box.work(name, "pillar")
            pillar.commit({"init.sls": f"makina-projects.{name}: {{data: {{colour: blue}}}}\n"})
            assert pillar.push().code == 0
            assert box.app("one", name, sample).push().code == 0
            assert box.app("two", name, sample).push().code == 0
            box.ended(2, name)
        box.stop()
    well = Well(box, folder / "kept")
    for path in (box.host.root, box.root / "works"):
        shutil.copytree(path, well.kept / path.name, symlinks=True)
    yield well
    box.stop()


@pytest.fixture
def box(well: Well) -> Iterator[Box]:
    box = well.renew()
    yield box
    box.stop()


# what can be damaged


def gone(path: Path) -> None:
    """Remove what is there."""
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def empty(path: Path) -> None:
    if path.is_dir():
        gone(path)
        path.mkdir()
    else:
        path.chmod(0o600)
        path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.chmod(0o600)
    path.write_bytes(b"\0\xff[garbage\n{}\n" * 20)


def a_file(path: Path) -> None:
    gone(path)
    path.write_text("a file")


def a_folder(path: Path) -> None:
    gone(path)
    path.mkdir()


def a_link(path: Path) -> None:
    """Have a link where something was, to where that is now."""
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def a_dead_link(path: Path) -> None:
    gone(path)
    path.symlink_to("nowhere")


def locked(path: Path) -> None:
    path.chmod(0)


def truncated(path: Path) -> None:
    path.chmod(0o600)
    os.truncate(path, path.stat().st_size // 2)


def archive(project: Project) -> Path:
    return max(project.archives.iterdir()) / "project"


def pack(project: Project) -> Path:
    return max(project.code_git.glob("objects/pack/*.pack"), key=lambda path: path.stat().st_mtime_ns)


def all_packs(project: Project) -> Path:
    return project.code_git / "objects/pack"


def packed(project: Project) -> Path:
    run(["git", "--git-dir", project.code_git, "pack-refs", "--all"])
    return project.code_git / "packed-refs"


def manifest(project: Project) -> Path:
    return archive(project).with_name("project.manifest")


Where = Callable[[Project], Path]
DAMAGE: dict[str, tuple[Where, tuple[Callable[[Path], None], ...]]] = {
    "all of it": (lambda project: project.dir, (gone, a_file, a_dead_link)),
    "git/": (lambda project: project.git_dir, (gone, a_file)),
    "project.git": (lambda project: project.code_git, (gone, empty, a_file)),
    "pillar.git": (lambda project: project.pillar_git, (gone, empty, a_file)),
    "work.git": (lambda project: project.work_git, (gone, empty, a_file)),
    "stage": (lambda project: project.stage, (gone, empty, a_file, a_link)),
    "project/": (lambda project: project.tree, (gone, a_file, a_link, a_dead_link)),
    "pillar/": (lambda project: project.pillar, (gone, empty, a_file, a_link)),
    "data/": (lambda project: project.data, (gone, a_file, a_dead_link)),
    "archives/": (lambda project: project.archives, (gone, a_file, a_dead_link)),
    "an archive": (archive, (gone, a_file)),
    "a manifest": (manifest, (gone, empty, garbage, truncated, a_folder)),
    "Salt's folder": (lambda project: project.minion_dir, (gone, a_file)),
    "the logs": (lambda project: project.logs, (a_file, a_dead_link)),
    "a log": (lambda project: project.logs / "2.log", (a_folder,)),
    "HEAD": (lambda project: project.code_git / "HEAD", (gone, empty, garbage, a_folder)),
    "HEAD of the pillar": (lambda project: project.pillar_git / "HEAD", (gone, empty, garbage, a_folder)),
    "config": (lambda project: project.code_git / "config", (gone, empty, garbage, a_folder)),
    "config of the pillar": (lambda project: project.pillar_git / "config", (gone, empty, garbage)),
    "the hook": (lambda project: project.code_git / "hooks/proc-receive", (gone, empty, a_folder, locked)),
    "packed-refs": (packed, (garbage, a_folder)),
    "the branch": (lambda project: project.code_git / "refs/heads/master", (empty, garbage, a_folder)),
    "a pack": (pack, (gone, empty, garbage, truncated)),
    "all packs": (all_packs, (gone, empty)),
    "all objects": (lambda project: project.code_git / "objects", (gone, empty)),
    "all refs": (lambda project: project.code_git / "refs", (gone,)),
    ".salt": (lambda project: project.salt_link, (gone, a_file, a_folder)),
    "the lock": (lambda project: project.lock, (a_folder,)),
}
CASES = {f"{name} {how.__name__}": (where, how) for name, (where, hows) in DAMAGE.items() for how in hows}
FIRST = {f"{name} {hows[0].__name__}" for name, (_, hows) in DAMAGE.items()}
EACH = [case if case in FIRST else pytest.param(case, marks=pytest.mark.slow) for case in CASES]
PRIVATE: dict[str, Where] = {
    "all of it": lambda project: project.dir,
    "project.git": lambda project: project.code_git,
    "stage": lambda project: project.stage,
    "project/": lambda project: project.tree,
    "pillar/": lambda project: project.pillar,
    "archives/": lambda project: project.archives,
    "the logs": lambda project: project.logs,
    "a log": lambda project: project.logs / "2.log",
    "HEAD": lambda project: project.code_git / "HEAD",
    "config": lambda project: project.code_git / "config",
    "packed-refs": packed,
    "the branch": lambda project: project.code_git / "refs/heads/master",
    "a pack": pack,
    "all objects": lambda project: project.code_git / "objects",
}
OF_ONE = ("status", "history", "archives", "log", "stats", "diff", "config", "check")


# how it is told


def faults(box: Box, name: str) -> list[dict[str, str]]:
    return list(asked(box, "status", name)["faults"])


def see_all_told(box: Box, found: list[dict[str, str]]) -> None:
    """See that every report of all projects has both: what is wrong with a, and b as ever."""
    text = harmless(corpus(box, "status"))
    assert len(re.findall("^[ab] .* live: ", text, re.M)) == 2
    for fault in found:
        assert f"    wrong: {fault['what']}; {fault['repair']}\n" in text
    metrics = harmless(corpus(box, "metrics")).splitlines()
    assert f'corpushooks_faults{{project="a"}} {len(found)}' in metrics
    assert {'corpushooks_faults{project="b"} 0', 'corpushooks_drift_files{project="b"} 0'} < set(metrics)
    assert re.search("^b +2 of 2 succeeded", harmless(corpus(box, "stats")), re.M)
    doctor = harmless(corpus(box, "doctor"))
    for fault in found:
        assert f"wrong  files of projects    a: {fault['what']}; {fault['repair']}\n" in doctor
    assert " b: " not in doctor


def see_each_told(box: Box, found: list[dict[str, str]]) -> None:
    """See that every report of a names what is wrong with it and what helps."""
    for word in OF_ONE:
        text = harmless(corpus(box, word, "a"))
        assert any(fault["what"] in text and fault["repair"] in text for fault in found), (word, text)


def see_daemon_tells(box: Box) -> None:
    """See that the daemon starts, and answers as the command does."""
    box.start()
    for word in ("status", "stats", "metrics"):
        assert "b" in json.dumps(box.ask(op=word, project="")["value"])
    for word in ("status", "history", "archives"):
        text = ""
        with contextlib.suppress(CorpusError):
            text = json.dumps(box.ask(op=word, project="a"))
        assert "internal" not in text


def repair(box: Box, found: list[dict[str, str]]) -> None:
    """Do what is said to help until nothing is wrong: each command works as it is printed."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for _ in range(6):
        first = found[0]
        repo = "pillar" if "pillar.git" in first["repair"] else "project"
        done = run(["sh", "-c", first["repair"]], cwd=box.work("a", repo).path, env={"PATH": path}, check=False)
        assert done.code == 0, (found, done)
        found = faults(box, "a")
        assert first not in found, "it helped"
        if not found:
            return
    raise AssertionError(found)


@pytest.mark.parametrize("case", EACH)
def test_what_is_damaged_blinds_nobody_and_what_is_said_to_help_does(box: Box, case: str) -> None:
    where, how = CASES[case]
    how(where(box.project("a")))
    both = {one["project"]: one for one in asked(box, "status")}
    found = both["a"]["faults"]
    assert found and all(str(box.host.root) in fault["what"] for fault in found), "it is seen"
    assert both["a"]["live"] == both["b"]["live"] == 2
    assert both["b"]["faults"] == both["b"]["drift"] == []
    see_all_told(box, found)
    see_each_told(box, found)
    see_daemon_tells(box)
    repair(box, found)
    assert box.app("three", "a").push().code == 0
    assert (box.project("a").tree / "index.html").read_text() == "three"
    assert faults(box, "a") == []


@pytest.fixture(scope="module")
def loaded(well: Well) -> None:
    """Load what the commands load: another user may not be able to read where this Python lies."""
    "x".encode("idna")
    for word in OF_ONE:
        corpus(well.box, word, "a")
    corpus(well.box, "doctor")


@pytest.mark.usefixtures("loaded")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("name", PRIVATE)
def test_what_its_owner_cannot_read_blinds_nobody(box: Box, name: str) -> None:
    project = box.project("a")
    path = PRIVATE[name](project)
    run(["chown", "-R", str(NOBODY), box.host.root, box.root / "works"])
    path.chmod(0)
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        both = {one["project"]: one for one in asked(box, "status")}
        found = both["a"]["faults"]
        assert found and both["b"]["faults"] == both["b"]["drift"] == []
        see_all_told(box, found)
        see_each_told(box, found)
        assert found[0]["repair"].startswith("chmod ")
        assert run(["sh", "-c", found[0]["repair"]]).code == 0
        assert faults(box, "a") == []
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.mark.parametrize("line", ["{keep_archives: three}", "{unknown: 1}", "3", "{engine: warm}"])
def test_wrong_settings_of_a_project_are_its_own(box: Box, line: str) -> None:
    box.settings(f"projects:\n  a: {line}\n  b: {{keep_archives: 2}}\n")
    found = faults(box, "a")
    assert len(found) == 1 and found[0]["what"].startswith(f"{box.host.config_file}: projects.a")
    see_all_told(box, found)
    box.start()
    assert "projects.a" in box.app("three", "a").push().text
    assert "projects.a" in harmless(corpus(box, "deploy", "a"))
    assert box.app("three", "b").push().code == 0
    box.settings("projects: {b: {keep_archives: 2}}\n")
    box.stop()
    box.start()
    assert box.work("a").push().code == 0


LINES = {"not JSON": b"{", "a list": b"[]", "no text": b"{}", "a number": b'{"text": 1, "at": 2}', "bytes": b"\xff\0"}


@pytest.mark.parametrize("line", LINES)
def test_a_damaged_line_of_a_log_is_one_line(box: Box, line: str) -> None:
    path = box.project("a").logs / "2.log"
    path.write_bytes(LINES[line] + b"\n" + path.read_bytes())
    shown = harmless(corpus(box, "log", "a"))
    assert shown.startswith("(this line cannot be read)\na (prod) deployment 2: ")
    assert corpus(box, "stats").code == 0


def test_a_log_that_is_gone_is_said_to_be(box: Box) -> None:
    (box.project("a").logs / "2.log").unlink()
    told = corpus(box, "log", "a")
    assert told.code == 1 and b"the log of deployment 2 of a is missing" in told.stderr and b"history a" in told.stderr
    assert corpus(box, "log", "b").code == 0
    box.start()
    with pytest.raises(CorpusError, match="the log of deployment 2 of a is missing"):
        box.ask(op="log", project="a", number=2, whole=True)
