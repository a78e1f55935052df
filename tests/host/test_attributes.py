"""Projects with .gitattributes: deployed as git checks them out, filters named, and nothing of that is an edit."""

from __future__ import annotations

from collections.abc import Callable

from corpushooks import tree
from tests.support.box import Box

ATTRIBUTES = "*.bat text eol=crlf\n*.id ident\n*.u16 text working-tree-encoding=UTF-16LE\n*.key filter=git-crypt\n"


def test_a_project_is_deployed_as_git_checks_it_out(box: Box) -> None:
    work = box.app(files={".gitattributes": ATTRIBUTES, "run.bat": "echo\n", "a.id": "$Id$\n", "b.key": "plain\n"})
    (work.path / "c.u16").write_bytes("x\n".encode("utf-16-le"))
    work.commit({".salt/files/in.bat": "one\n"})
    pushed = work.push()
    assert pushed.code == 0, pushed.text
    project = box.project()
    assert (project.tree / "run.bat").read_bytes() == b"echo\r\n"
    assert (project.stage / ".salt/files/in.bat").read_bytes() == b"one\r\n"
    assert (project.tree / "a.id").read_bytes().startswith(b"$Id: ")
    assert (project.tree / "c.u16").read_bytes() == "x\n".encode("utf-16-le")
    assert "warning: .gitattributes line 4: *.key has the filter git-crypt, which is not run" in pushed.text
    assert not tree.drift(project.stage, project.tree, project.stamps)
    (project.tree / "run.bat").write_bytes(b"echo\n")
    assert list(tree.drift(project.stage, project.tree, project.stamps)) == ["run.bat"]


def test_what_a_commit_has_too_is_no_edit_in_whatever_form(new_box: Callable[..., Box]) -> None:
    box = new_box()
    box.init(env="dev")
    box.start()
    work = box.app(files={".gitattributes": ATTRIBUTES, "run.bat": "one\n"})
    assert work.push().code == 0
    box.ended(1)
    (box.project().tree / "run.bat").write_bytes(b"two\r\n")
    (box.project().tree / "new.bat").write_bytes(b"three\r\n")
    work.commit({"run.bat": "two\n", "new.bat": "three\n"})
    pushed = work.push()
    assert pushed.code == 0, pushed.text
    box.ended(2)
    (box.project().tree / "run.bat").write_bytes(b"mine\r\n")
    work.commit({"run.bat": "four\n"})
    assert "edited" in work.push().rejected


def test_a_release_is_judged_in_the_form_in_which_it_is_deployed(box: Box) -> None:
    work = box.app(files={".gitattributes": ".salt/10_b.sls text working-tree-encoding=UTF-16LE\n"})
    (work.path / ".salt/10_b.sls").write_bytes("a:\n  test.nop: []\n".encode("utf-16-le"))
    work.commit({})
    assert work.push().rejected == "10_b.sls line 1: not UTF-8 (byte 0x00)"
