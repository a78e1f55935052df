"""Dev mode: what is edited on the server is deployed as it is saved, and no push loses it."""

from __future__ import annotations

import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from corpushooks import git, tree
from corpushooks.core.deployment import Request
from corpushooks.core.errors import StoreError, WatchError
from corpushooks.core.settings import Settings
from corpushooks.deploy import watches
from corpushooks.deploy.lanes import Lanes
from corpushooks.host.site import Site
from corpushooks.release import edits
from corpushooks.screen import screen
from corpushooks.store import log
from corpushooks.system.process import Child, run
from corpushooks.system.watch import Watch
from tests.support.box import SLS, Box, tree_of, until
from tests.support.command import begin, corpus
from tests.support.places import TOP

PAGE = SLS.replace("PAGE", "{{ cfg.data.get('word', 'none') }}")


@pytest.fixture
def dev(new_box: Callable[..., Box]) -> Box:
    """Return a host whose project is in dev, and deployed."""
    return deployed(new_box())


def deployed(box: Box, settings: str = "") -> Box:
    box.settings(settings)
    box.init(env="dev")
    box.start()
    work = box.work()
    work.commit({"index.html": "one", ".gitignore": "*.log\ncache/\n", ".salt/00_page.sls": PAGE})
    assert box.work("hello", "pillar").commit({"init.sls": "{}"})
    assert box.work("hello", "pillar").push().code == 0
    assert work.push().code == 0, box.log(1)
    return box


class Watcher:
    """A `corpus watch` and what it shows."""

    def __init__(self, box: Box, *words: str) -> None:
        self.out = box.root / "watch.out"
        fd = os.open(self.out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self.child = begin(box, "watch", "hello", *words, out=fd)
        os.close(fd)

    @property
    def text(self) -> str:
        return self.out.read_text()

    def saw(self, text: str, times: int = 1) -> str:
        """Await that something was shown so often."""
        until(lambda: self.text.count(text) >= times)
        return self.text


@pytest.fixture
def watcher() -> Iterator[Callable[..., Watcher]]:
    made: list[Watcher] = []

    def make(box: Box, *words: str) -> Watcher:
        made.append(Watcher(box, *words))
        made[-1].saw("watching")
        return made[-1]

    yield make
    for each in made:
        each.child.terminate()
        each.child.wait(20)


def page(box: Box) -> str:
    return (box.project().data / "page").read_text()


def test_what_is_edited_is_deployed_as_it_is_saved(dev: Box, watcher: Callable[..., Watcher]) -> None:
    seen = watcher(dev)
    (dev.project().tree / ".salt/00_page.sls").write_text(SLS.replace("PAGE", "edited"))
    text = seen.saw("success: hello runs with these edits")
    assert "hello (dev) edit 2: project/.salt/00_page.sls" in text
    assert [line.split()[1] for line in text.splitlines() if line.startswith("[")] == [
        "wire", "fixperms", "install", "fixperms",
    ]  # fmt: skip
    assert page(dev).strip() == "edited"
    done = dev.ended(2)
    assert (done.state, done.request.kind, done.request.via, done.archive) == ("done", "edit", "watch", None)
    assert dev.row().live == 1
    assert dev.ref() == dev.work().head


def test_an_edit_of_the_pillar_reaches_cfg(dev: Box, watcher: Callable[..., Watcher]) -> None:
    seen = watcher(dev)
    (dev.project().pillar / "init.sls").write_text("makina-projects.hello: {data: {word: fresh}}")
    seen.saw("success")
    assert page(dev).strip() == "fresh"


def test_a_new_file_is_an_edit_and_what_git_ignores_is_none(dev: Box, watcher: Callable[..., Watcher]) -> None:
    seen, project = watcher(dev), dev.project()
    (project.tree / "cache").mkdir()
    for name in ("debug.log", "cache/one", ".index.html.swp", "index.html~"):
        (project.tree / name).write_text("not an edit")
    (project.tree / "new.html").write_text("an edit")
    assert "edit 2: project/new.html" in seen.saw("success")


def test_many_changes_are_one_deployment(dev: Box, watcher: Callable[..., Watcher]) -> None:
    seen, project = watcher(dev), dev.project()
    for number in range(30):
        (project.tree / "index.html").write_text(f"version {number}")
        (project.tree / f"new{number}").write_text("new")
    assert "edit 2: project/index.html, project/new0, project/new1 and 28 more" in seen.saw("success")
    (project.tree / "index.html").write_text("one")  # as the commit has it
    assert "edit 3: project/index.html" in seen.saw("success", 2)
    assert not dev.exists(4)


def test_only_the_sls_that_are_asked_for_run(dev: Box, watcher: Callable[..., Watcher]) -> None:
    other = SLS.replace("/page", "/other").replace("page:", "other:")
    assert dev.app("two", files={".salt/10_other.sls": other.replace("PAGE", "first")}).push().code == 0
    seen = watcher(dev, "--steps", "00_page")
    (dev.project().tree / ".salt/10_other.sls").write_text(other.replace("PAGE", "second"))
    (dev.project().tree / ".salt/00_page.sls").write_text(SLS.replace("PAGE", "second"))
    text = seen.saw("success")
    assert "install 00_page" in text
    assert "10_other" not in text.partition("\n[")[2]
    assert page(dev).strip() == "second"
    assert (dev.project().data / "other").read_text().strip() == "first"
    refused = corpus(dev, "watch", "hello", "--steps", "10_other").stderr.decode()
    assert refused.startswith("error: hello is already watched, for --steps 00_page")
    assert (
        corpus(dev, "watch", "hello", "--steps", "nothing")
        .stderr.decode()
        .startswith("error: unknown install SLS 'nothing'")
    )


def test_what_fails_is_shown_and_left_and_the_next_edit_is_deployed(dev: Box, watcher: Callable[..., Watcher]) -> None:
    seen, sls = watcher(dev), dev.project().tree / ".salt/00_page.sls"
    sls.write_text("broken:\n  test.fail_without_changes: []\n")
    text = seen.saw("hint: the whole log: corpus")
    assert "hint: nothing was rolled back; save a corrected file to deploy it" in text
    assert "error: install 00_page failed: broken" in text
    assert dev.ended(2).state == "failed"
    sls.write_text("page: [\n")
    assert "error: 00_page.sls line" in seen.saw("hint: fix it, and save it again")
    sls.write_text(SLS.replace("PAGE", "mended"))
    seen.saw("success")
    assert page(dev).strip() == "mended"
    assert dev.ended(4).state == "done"


def test_what_sls_files_change_is_no_edit(dev: Box, watcher: Callable[..., Watcher]) -> None:
    """Neither of the deployment of a push, nor of edits; and it keeps no push out."""
    project = dev.project()
    made = "\nmake:\n  cmd.run:\n    - name: date +%N >> {{ cfg.project_root }}/index.html\n"
    assert dev.app("two", files={".salt/00_page.sls": PAGE + made}).push().code == 0
    assert "index.html" in tree.drift(project.stage, project.tree, project.stamps)
    seen = watcher(dev)
    (project.tree / "new.html").write_text("an edit")
    seen.saw("edit 3: project/new.html")
    dev.ended(3)
    (project.tree / "other.html").write_text("an edit")
    seen.saw("edit 4: project/other.html")
    dev.ended(4)
    assert dev.app("three", files={".salt/00_page.sls": PAGE + made}).push().code == 0, seen.text
    assert not dev.exists(6)


def test_what_sls_files_change_each_time_ends(dev: Box, watcher: Callable[..., Watcher]) -> None:
    """An SLS that was edited, and changes a file of the commit each time, is not deployed for ever."""
    seen, project = watcher(dev), dev.project()
    sls = "make:\n  cmd.run:\n    - name: date +%N >> {{ cfg.project_root }}/index.html\n"
    (project.tree / ".salt/00_page.sls").write_text(sls)
    seen.saw("success", edits.OFTEN)
    (project.tree / "new.html").write_text("an edit")
    seen.saw(": project/new.html\n")
    number = 2 + edits.OFTEN
    assert "project/new.html" in dev.ended(number).request.edited, [dev.deployment(n).request for n in range(2, number)]
    assert edits.pending(project) == []


def test_what_is_saved_while_edits_are_deployed_is_deployed_next(dev: Box, watcher: Callable[..., Watcher]) -> None:
    seen, project = watcher(dev), dev.project()
    dev.faults(["edit install", "before", "wait"])
    (project.tree / "index.html").write_text("first")
    until(lambda: dev.happened() == ["edit install before"])
    (project.tree / ".salt/00_page.sls").write_text(SLS.replace("PAGE", "second"))
    (dev.host.root / "gate").touch()
    seen.saw("success", 2)
    assert page(dev).strip() == "second"
    assert dev.ended(3).request.edited == ("project/.salt/00_page.sls",)


def test_a_daemon_that_was_killed_deploys_what_it_had_not(new_box: Callable[..., Box]) -> None:
    """The settings watch: nobody needs to ask, and edits of before count."""
    box = deployed(new_box(), "watch: true")
    project = box.project()
    box.faults(["edit install", "before", "kill"])
    (project.tree / ".salt/00_page.sls").write_text(SLS.replace("PAGE", "edited"))
    until(lambda: box.daemon is not None and box.daemon.poll() is not None)
    box.daemon = None
    box.start()
    until(lambda: box.exists(3) and box.ended(3).state == "done")
    assert box.ended(2).reason.startswith("interrupted")
    assert page(box).strip() == "edited"
    box.stop()
    (project.tree / ".salt/00_page.sls").write_text(SLS.replace("PAGE", "meanwhile"))
    box.start()
    until(lambda: box.exists(4) and box.ended(4).state == "done")
    assert page(box).strip() == "meanwhile"


def test_only_dev_and_only_what_is_deployed_is_watched(new_box: Callable[..., Box]) -> None:
    box = new_box()
    box.init(env="dev")
    box.init("shop", env="prod")
    box.start()
    found = corpus(box, "watch", "shop")
    assert (found.code, found.stderr.decode().splitlines()) == (
        2, ["error: shop is prod: edits are deployed only in dev",
            f"hint: for a project in dev: corpus --root {box.host.root} init shop --env dev"],
    )  # fmt: skip
    assert corpus(box, "watch", "hello").code == 3
    assert corpus(box, "watch", "none").code == 2


def test_a_frozen_project_says_so_once(dev: Box, watcher: Callable[..., Watcher]) -> None:
    seen, store = watcher(dev), dev.history
    store.freeze("hello", "migrating", "alice")
    (dev.project().tree / "index.html").write_text("edited")
    seen.saw("error: hello is frozen by alice: migrating")
    store.thaw("hello")
    store.close()
    (dev.project().tree / "index.html").write_text("again")
    seen.saw("success")
    assert not dev.exists(4)


# no push loses an edit


def test_a_push_over_edits_is_refused_with_their_names(dev: Box) -> None:
    project, work = dev.project(), dev.work()
    (project.tree / "index.html").write_text("edited here")
    (project.pillar / "init.sls").write_text("edited: here")
    (project.tree / "fresh.html").write_text("here")
    before = tree_of(project.dir / "project"), tree_of(project.pillar)
    work.commit({"fresh.html": "there", "other.html": "there"})
    push = work.push()
    assert push.rejected == "3 files edited on the server would be lost"
    assert [line.strip() for line in push.lines if "edited " in line] == [
        "edited pillar/init.sls", "edited project/fresh.html", "edited project/index.html",
        "error: 3 files edited on the server would be lost",
    ]  # fmt: skip
    assert "hint: commit them, or overwrite them with -o force; the archive keeps them" in push.lines
    assert (tree_of(project.dir / "project"), tree_of(project.pillar)) == before
    assert dev.deployment(2).state == "refused"
    assert (
        "warning: 3 files edited on the server would be lost; a push would be refused"
        in work.push("HEAD:refs/deploy/plan").lines
    )


def test_whatever_is_in_the_way_of_a_commit_is_an_edit(dev: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    project = dev.project()
    for name in ("folder", "same"):
        (project.tree / name).mkdir()
    (project.tree / "folder/mine").write_text("mine")
    (project.tree / "large").write_text("mine, too")
    (project.tree / "index.html").write_text("mine, and large")
    new = [(0o100644, "1" * 40, "folder"), (0o100644, "2" * 40, "large"), (0o40000, "3" * 40, "same")]
    old = [(0o100644, "4" * 40, "index.html")]
    monkeypatch.setattr(edits, "LIMIT", 4)
    assert edits.overwritten(project, old, new, []) == [
        "project/folder", "project/index.html", "project/large"
    ]  # fmt: skip


def test_force_deploys_over_edits_and_the_archive_has_them(dev: Box) -> None:
    project, work = dev.project(), dev.work()
    (project.tree / "index.html").write_text("edited here")
    (project.pillar / "init.sls").write_text("edited: here")
    work.commit({"other.html": "there"})
    push = work.push(options=("force",))
    assert push.code == 0, push.text
    assert (project.tree / "index.html").read_text() == "one"
    assert (project.pillar / "init.sls").read_text() == "{}"
    kept = project.archives / str(dev.deployment(2).archive)
    assert (kept / "project/index.html").read_text() == "edited here"
    assert (kept / "pillar/init.sls").read_text() == "edited: here"


def test_an_edit_that_is_committed_as_it_is_keeps_no_push_out(dev: Box) -> None:
    project, work = dev.project(), dev.work()
    (project.tree / "index.html").write_text("edited here")
    (project.tree / ".gitignore").unlink()
    (project.tree / "new.html").write_text("new")
    work.commit({"index.html": "edited here", ".gitignore": None, "new.html": "new"})
    push = work.push()
    assert push.code == 0, push.text


def test_the_command_deploys_over_edits_only_with_force(dev: Box) -> None:
    (dev.project().tree / "index.html").write_text("edited here")
    assert corpus(dev, "deploy", "hello").code == 3
    assert corpus(dev, "deploy", "hello", "--force").code == 0
    assert (dev.project().tree / "index.html").read_text() == "one"


def test_a_roll_back_brings_edits_back(new_box: Callable[..., Box]) -> None:
    box = deployed(new_box(), "rollback: always")
    project = box.project()
    (project.tree / "index.html").write_text("edited here")
    (project.pillar / "init.sls").write_text("{edited: here}")
    box.work().commit({".salt/10_broken.sls": "broken:\n  test.fail_without_changes: []\n"})
    assert "rolled back" in box.work().push(options=("force",)).rejected
    assert (project.tree / "index.html").read_text() == "edited here"
    assert (project.pillar / "init.sls").read_text() == "{edited: here}"
    assert box.work().push().rejected.startswith("2 files edited on the server")


def test_elsewhere_a_push_writes_over_edits(new_box: Callable[..., Box]) -> None:
    box = new_box()
    box.init()
    box.start()
    assert box.app("one").push().code == 0
    (box.project().tree / "index.html").write_text("edited here")
    assert box.app("two").push().code == 0


MAKES = "\nmake:\n  cmd.run:\n    - name: date +%N >> {{ cfg.project_root }}/index.html\n"


def command(box: Box, *words: str) -> list[str]:
    return [sys.executable, "-m", "corpushooks", "--root", box.host.root, *words]


def everything(box: Box) -> set[str]:
    """Return the contents of all files that a project has, archives too."""
    return {path.read_text() for path in box.project().dir.rglob("*") if path.suffix in (".html", ".sls")}


def at(box: Box, place: str, when: str) -> Child[bytes]:
    """Push a commit, up to a place of its deployment; the file `gate` lets it go on."""
    box.faults([place, when, "wait"])
    work = box.work()
    work.commit({"other.html": "other"})
    push = work.start_push()
    until(lambda: box.happened() == [f"{place} {when}"])
    return push


def test_a_new_file_that_is_older_itself_is_an_edit(dev: Box, watcher: Callable[..., Watcher]) -> None:
    """As rsync -a and mv leave it; a folder of it is none."""
    seen, folder = watcher(dev), dev.root / "folder"
    folder.mkdir()
    (folder / "old.html").write_text("old")
    os.utime(folder / "old.html", (1e9, 1e9))
    folder.rename(dev.project().tree / "folder")
    assert "edit 2: project/folder/old.html\n" in seen.saw("success")


def test_a_new_file_that_comes_when_edits_were_deployed_is_an_edit(dev: Box) -> None:
    """The deployment of edits has decided, and is not at its end."""
    path = dev.project().tree / "new.html"
    path.write_text("new")
    at = path.stat().st_ctime
    done = SimpleNamespace(decided=at - 0.01, ended=at + 0.01, request=Request(kind="edit"))
    site = SimpleNamespace(history=SimpleNamespace(deployments=lambda *_: [done]))
    watched = watches._Watched(cast("Site", site), cast("Lanes", None), dev.project(), (), "alice")
    assert watched._new_files({path}) == ["project/new.html"]
    done.request = Request(kind="deploy")
    assert watched._new_files({path}) == []


def test_an_edit_that_comes_back_as_it_was_is_deployed_again(dev: Box) -> None:
    """As cp -p brings it from an archive."""
    asked: list[Request] = []
    history = SimpleNamespace(enqueue=lambda _, request: asked.append(request), deployments=lambda *_: [])
    site, lanes = SimpleNamespace(history=history), SimpleNamespace(wake=lambda _: None)
    watched = watches._Watched(cast("Site", site), cast("Lanes", lanes), dev.project(), (), "alice")
    file, kept = dev.project().tree / "index.html", dev.root / "kept"
    file.write_text("edited")
    shutil.copy2(file, kept)
    watched._deploy(set())
    watched._deploy(set())
    assert len(asked) == 1
    file.write_text("one")
    watched._deploy(set())
    shutil.copy2(kept, file)
    watched._deploy(set())
    assert len(asked) == 2


def test_what_is_saved_while_a_push_is_archived_is_in_the_archive(dev: Box) -> None:
    push = at(dev, "snapshot", "after")
    (dev.project().tree / "index.html").write_text("edited")
    (dev.project().pillar / "init.sls").write_text("edited: here")
    (dev.host.root / "gate").touch()
    assert push.wait(30) == 0
    assert {"edited", "edited: here"} <= everything(dev)


def test_what_is_saved_while_a_push_installs_is_deployed_next(dev: Box, watcher: Callable[..., Watcher]) -> None:
    seen, push = watcher(dev), at(dev, "4 install", "before")
    (dev.project().tree / ".salt/00_page.sls").write_text(SLS.replace("PAGE", "edited"))
    (dev.project().pillar / "init.sls").write_text("edited: here")
    (dev.host.root / "gate").touch()
    assert push.wait(30) == 0
    assert "edit 3: pillar/init.sls, project/.salt/00_page.sls" in seen.saw("success")
    assert dev.work().push("HEAD:refs/deploy/now").rejected.startswith("2 files edited")


def test_a_push_that_is_interrupted_keeps_what_was_saved_since(dev: Box) -> None:
    push = at(dev, "4 install", "before")
    (dev.project().tree / "index.html").write_text("edited")
    (dev.project().pillar / "init.sls").write_text("edited: here")
    dev.kill()
    dev.revive()
    push.wait(30)
    assert dev.ended(2).state == "failed"
    assert {"edited", "edited: here"} <= everything(dev)


def test_a_deployment_without_sync_leaves_edits_what_they_are(dev: Box) -> None:
    (dev.project().tree / "index.html").write_text("edited here")
    assert run(command(dev, "deploy", "hello", "--skip", "sync"), check=False).code == 0
    assert dev.work().push("HEAD:refs/deploy/now").rejected == "1 file edited on the server would be lost"


def test_what_sls_files_change_in_a_roll_back_is_no_edit(new_box: Callable[..., Box]) -> None:
    box = deployed(new_box(), "rollback: always")
    assert box.app("two", files={".salt/00_page.sls": PAGE + MAKES}).push().code == 0
    box.work().commit({".salt/10_broken.sls": "broken:\n  test.fail_without_changes: []\n"})
    assert "rolled back" in box.work().push().rejected
    push = box.app("three", files={".salt/10_broken.sls": None}).push()
    assert push.code == 0, push.text


def test_what_a_task_changes_is_no_edit(dev: Box) -> None:
    assert dev.app("two", files={".salt/task_make.sls": MAKES}).push().code == 0
    assert run(command(dev, "task", "hello", "make"), check=False).code == 0
    assert edits.pending(dev.project()) == []
    push = dev.app("three").push()
    assert push.code == 0, push.text


def test_an_editor_that_is_open_keeps_no_push_out(dev: Box) -> None:
    (dev.project().pillar / ".init.sls.swp").write_text("vim is open")
    assert dev.app("two").push().code == 0


def test_a_folder_that_is_removed_and_made_again_is_watched_again(dev: Box, watcher: Callable[..., Watcher]) -> None:
    seen, tree_ = watcher(dev), dev.project().tree
    tree_.rename(dev.root / "aside")
    assert dev.work().push("HEAD:refs/deploy/now", options=("force",)).code == 0
    for times in (1, 2):  # what the push did may have woken the watch of before, for the first
        (tree_ / "index.html").write_text(f"edit {times}")
        seen.saw("success", times)


def test_a_watch_that_the_settings_want_is_tried_again(new_box: Callable[..., Box]) -> None:
    """Somebody else watches at first; and a store that cannot be read ends no daemon."""
    box = deployed(new_box())
    history = box.history
    site = SimpleNamespace(
        host=box.host, history=history, settings=replace(Settings(), watch=True), stopping=False
    )  # fmt: skip
    found = watches.Watches(cast("Site", site), cast("Lanes", SimpleNamespace(wake=lambda _: None)))
    with found.hold(box.row(), ("00_page",), "alice"):
        found.keep()
        until(lambda: not found._starting)
        assert not found._kept
    found.keep()
    until(lambda: found._kept)

    def fail() -> None:
        raise StoreError("the store cannot be read")

    site.history = SimpleNamespace(projects=fail)
    assert found.keep()
    site.stopping = True
    history.close()


def test_a_watch_that_does_not_begin_holds_up_nobody(
    new_box: Callable[..., Box], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tree may be without end, or a share in it may hang."""
    box = deployed(new_box())
    box.init("other", "dev")
    box.app(name="other").push()
    box.ended(1, "other")
    history, hangs = box.history, threading.Event()
    start = watches._Watched.start
    monkeypatch.setattr(
        watches._Watched, "start", lambda self: hangs.wait() if self.project.name == "hello" else start(self)
    )
    site = SimpleNamespace(
        host=box.host, history=history, settings=replace(Settings(), watch=True), stopping=False
    )  # fmt: skip
    found = watches.Watches(cast("Site", site), cast("Lanes", SimpleNamespace(wake=lambda _: None)))
    assert found.keep()
    until(lambda: "other" in found._kept)
    assert found.keep()
    assert [*found._starting] == ["hello"]
    hangs.set()
    until(lambda: "hello" in found._kept)
    site.stopping = True
    history.close()


# what Salt reads


def test_a_link_that_leads_out_is_not_read(dev: Box, watcher: Callable[..., Watcher]) -> None:
    seen, salt = watcher(dev), dev.project().tree / ".salt"
    (salt / "files").symlink_to("/etc")
    assert "error: .salt/files is a link that leads out of it" in seen.saw("error: ")
    (salt / "files").unlink()
    (salt / "00_page.sls").unlink()
    (salt / "00_page.sls").symlink_to("../index.html")
    seen.saw("error: .salt/00_page.sls is a link that leads out of it")
    assert dev.ended(3).state == "refused"


def test_the_commit_is_what_salt_reads_again_after_the_watch(dev: Box, watcher: Callable[..., Watcher]) -> None:
    seen, project = watcher(dev), dev.project()
    (project.tree / ".salt/00_page.sls").write_text(SLS.replace("PAGE", "edited"))
    seen.saw("success")
    assert os.path.realpath(project.salt_link) == str(project.stage / ".salt")
    assert (project.stage / ".salt/00_page.sls").read_text() == PAGE


# the doors


@pytest.mark.parametrize(
    ("patterns", "path", "is_out"),
    [
        (b"*.log", "a.log", True),
        (b"cache/", "cache/deep/file", True),
        (b"*.log\n!keep.log", "keep.log", False),
        (b"[", "[", False),
        (b"\xff*", os.fsdecode(b"\xff1"), True),
        (b"x", "a\nb", False),
    ],
)
def test_git_ignores(tmp_path: Path, patterns: bytes, path: str, *, is_out: bool) -> None:
    (tmp_path / ".gitignore").write_bytes(patterns)
    assert git.ignored(tmp_path, path) is is_out


def test_ignore_files_that_cannot_be_read_leave_nothing_out(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").mkdir()
    assert not git.ignored(tmp_path, "a")


def test_changes_are_told_together(tmp_path: Path) -> None:
    with Watch([tmp_path], lambda path: path.name != "noise") as watch:
        assert watch.changed(0.01) == frozenset()
        (tmp_path / "one").write_text("1")
        (tmp_path / "deep").mkdir()
        until(lambda: (tmp_path / "deep").is_dir())
        (tmp_path / "noise").write_text("1")
        (tmp_path / "one").rename(tmp_path / "two")
        assert watch.changed(5) == {tmp_path / "one", tmp_path / "two"}


def test_what_never_rests_is_told_all_the_same(tmp_path: Path) -> None:
    over = threading.Event()

    def write() -> None:
        while not over.wait(0.02):
            (tmp_path / "busy").write_text("1")

    thread = threading.Thread(target=write)
    with Watch([tmp_path], lambda path: True) as watch:
        thread.start()
        try:
            assert watch.changed(20) == {tmp_path / "busy"}
        finally:
            over.set()
            thread.join()


def test_what_cannot_be_watched_is_said(tmp_path: Path) -> None:
    with pytest.raises(WatchError, match="cannot watch files"), Watch([tmp_path / "none"], lambda path: True):
        pass


def test_git_names_a_content_as_it_would(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"some\0content")
    for kind in ("sha1", "sha256"):
        run(["git", "init", "-q", f"--object-format={kind}", tmp_path / kind])
        name = run(["git", "-C", tmp_path / kind, "hash-object", tmp_path / "file"]).text
        assert git.blob_name(b"some\0content", name) == name


def test_the_page_shows_what_is_shown(new_box: Callable[..., Box], monkeypatch: pytest.MonkeyPatch) -> None:
    """With real Salt: the text blocks of docs/dev-mode.md, but for times, commits and the root."""
    page_ = (TOP / "docs/dev-mode.md").read_text()
    watched, refused = re.findall(r"```text\n(.*?)```", page_, re.S)
    box = new_box(salt=True)
    box.init(env="dev")
    box.start()
    assert box.app("one").push().code == 0
    sls = box.project().tree / ".salt/00_page.sls"
    seen = Watcher(box)
    try:
        seen.saw("watching")
        sls.write_text(SLS.replace("PAGE", "edited"))
        first, *lines = watched.splitlines()
        assert first in seen.saw("success").splitlines()
        monkeypatch.setattr(screen, "QUICK", 3600.0)  # a state that takes long on a busy machine has a line of its own
        assert [masked(line) for line in screen.texts(log.read(box.project().log_file(2)), whole=False)] == [
            masked(line) for line in lines
        ]
    finally:
        seen.child.terminate()
        seen.child.wait(20)
    box.work().commit({"other": "file"})
    assert set(refused.splitlines()) <= {line.rstrip() for line in box.work().push().text.splitlines()}


def masked(text: str) -> str:
    return re.sub(r"\d+\.\d s", "0.0 s", text).replace("To file", "To ")
