"""Refs that are pushed and deploy nothing: which are stored, which are refused, and that git moves none itself."""

from __future__ import annotations

import re

import pytest

from corpushooks.system.process import run
from tests.support.box import Box, Push

ALONE = {
    ":master": "the branch that is deployed cannot be deleted",
    ":refs/deploy/now": "nothing to delete",
    "HEAD:refs/deploy/soon": "unknown ref: refs/deploy/now deploys, refs/deploy/plan shows what would change",
    "HEAD:refs/replace/{HEAD}": "only branches, tags and notes are stored",
    "HEAD:refs/corpus/1": "deny updating a hidden ref",
    ":refs/corpus/1": "deny deleting a hidden ref",
    "HEAD:HEAD": "this name would be ambiguous",
    "HEAD:refs/heads/master/x": "it conflicts with refs/heads/master",
    "HEAD:refs/heads/refs/heads/master": "this name would be ambiguous",
    "HEAD:refs/tags/master": "this name would be ambiguous",
    "HEAD^{tree}:refs/heads/tree": "trying to write non-commit object",
    "HEAD:refs/heads/old/x": "cannot lock ref 'refs/heads/old/x': 'refs/heads/old' exists; cannot create",
    "HEAD:refs/heads/" + "x" * 300: "cannot lock ref",
}


@pytest.mark.parametrize("refspec", ALONE)
def test_one_ref_is_refused_by_itself_and_the_rest_of_the_push_goes_on(box: Box, refspec: str) -> None:
    work = box.app()
    work.push("HEAD:master", "HEAD:old")
    work.commit({"index.html": "two"})
    deploys = "HEAD:master" if "now" in refspec else "HEAD:refs/deploy/now"
    pushed = work.push("HEAD:refs/heads/topic", refspec.replace("{HEAD}", work.head), deploys)
    why = pushed.rejected.removeprefix("cannot update ref 'refs/heads/tree': ")  # which git has left out since 2.55
    assert (pushed.code, why[: len(ALONE[refspec])]) == (1, ALONE[refspec]), pushed.text
    assert box.ref(ref="refs/heads/topic") == box.ref() == box.row().code == work.head
    assert box.ref(ref="refs/heads/old") != work.head


def test_a_mirror_is_stored_but_for_what_is_nobody_elses(box: Box) -> None:
    work = box.app()
    work.push("HEAD:master", "HEAD:gone", "HEAD:refs/tags/gone")
    run(["git", "--git-dir", work.remote, "pack-refs", "--all"])
    first, second = work.head, work.commit({"index.html": "two"})
    work.git("config", "core.useReplaceRefs", "false")  # as git says of them: "replace depth too high"
    for ref in (
        f"refs/replace/{first}",
        f"refs/replace/{second}",
        "refs/remotes/prod/master",
        "refs/original/refs/heads/x",
    ):
        work.git("update-ref", ref, first if ref.endswith(second) else second)
    for name in ("branch", "tag"):
        work.git(name, f"new-{name}")
    work.git("notes", "add", "-m", "seen")
    pushed = Push.of(work.git("push", "--mirror", work.remote, check=False))
    assert (pushed.code, box.row().code) == (1, second), pushed.text
    refused = re.findall(r"\[remote rejected\] .* -> (\S+) \(only branches, tags and notes are stored\)", pushed.text)
    replaced = sorted((f"refs/replace/{first}", f"refs/replace/{second}"))
    assert sorted(refused) == ["prod/master", "refs/original/refs/heads/x", *replaced]
    listed = run(["git", "--git-dir", work.remote, "for-each-ref", "--format=%(refname)"]).text.split()
    assert [ref for ref in listed if not ref.startswith("refs/corpus/")] == [
        "refs/heads/master", "refs/heads/new-branch", "refs/notes/commits", "refs/tags/new-tag",
    ]  # fmt: skip
    assert work.push("HEAD:refs/deploy/now").code == 0


def test_replacements_that_an_older_version_stored_hurt_nobody_and_can_be_deleted(box: Box) -> None:
    work = box.app()
    work.push()
    first, second = work.head, work.commit({"index.html": "two"})
    work.push("HEAD:topic")
    for one, other in ((first, second), (second, first)):
        run(["git", "--git-dir", work.remote, "update-ref", f"refs/replace/{one}", other])
    assert work.push().code == 0
    assert (box.project().tree / "index.html").read_text() == "two"
    assert work.push(f":refs/replace/{first}", f":refs/replace/{second}").code == 0
    assert box.ref(ref=f"refs/replace/{first}") is None


def test_an_atomic_push_of_other_refs_is_stored_whole_or_not_at_all(box: Box) -> None:
    work = box.app()
    work.push("HEAD:old")
    assert work.push("HEAD:one", "HEAD:old/x", flags=("--atomic",)).code == 1
    assert box.ref(ref="refs/heads/one") is None
    assert work.push("HEAD:one", "HEAD:two", ":old", flags=("--atomic",)).code == 0
    assert box.ref(ref="refs/heads/one") == work.head
    assert box.ref(ref="refs/heads/old") is None
    assert work.push("HEAD:old/x").code == 0
