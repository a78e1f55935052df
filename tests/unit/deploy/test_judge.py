"""What a push means, as values: judged, and reported in git's words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpushooks.core.deployment import Deployment, Request, enabled
from corpushooks.core.errors import UsageError
from corpushooks.deploy.push import NOW, PLAN, STEPS, ZERO, Command, Judgement, hint, judge, options, report, select

ONE, TWO = "1" * 40, "2" * 40
HEAD = "refs/heads/master"


def command(ref: str = HEAD, old: str = ONE, new: str = TWO) -> Command:
    return Command(old, new, ref)


def judged(*commands: Command, given: tuple[str, ...] = (), repo: str = "project", **more: bool) -> Judgement:
    return judge(repo, "master", commands, given, **{"atomic": False, **more})


def wanted(*commands: Command, given: tuple[str, ...] = (), repo: str = "project", **more: bool) -> Request:
    request = judged(*commands, given=given, repo=repo, **more).request
    assert request is not None
    return request


# options


def test_options_make_a_request() -> None:
    given = ("only=install, fixperms", "only=sync", "skip=notify", "steps=00_a.sls,10_b", "force", "nowait", "progress")
    assert options(given) == Request(
        only=("install", "fixperms", "sync"), skip=("notify",), steps=("00_a", "10_b"), force=True, nowait=True,
        progress=True,
    )  # fmt: skip
    assert options(("dry-run",)).kind == "plan"
    assert options(("deploy",)) == options(()) == Request()


def test_steps_of_old_are_aliases() -> None:
    request = select(Request(only=("release_sync", "rotate_archives"), skip=("rotate_archives",)))
    assert (request.only, request.skip) == (("sync", "rotate"), ("rotate",))
    assert select(Request(only=("deploy", "sync_modules", "rollback"))).only == ("deploy", "sync_modules", "rollback")


BAD_OPTIONS = {
    "fast": "unknown push option 'fast'",
    "": "unknown push option ''",
    "only": "unknown push option 'only'",
    "force=yes": "unknown push option 'force=yes'",
    "Force": "unknown push option 'Force'",
    "env=dev": "unknown push option 'env=dev'",
    "only=instal": "only=instal: unknown step",
    "only=Install": "only=Install: unknown step",
    "skip=nothing": "skip=nothing: unknown step",
    "skip=deploy": "skip=deploy: this step cannot be skipped",
    "skip=publish": "skip=publish: this step cannot be skipped",
    "skip=rollback": "skip=rollback: this step cannot be skipped",
}


@pytest.mark.parametrize("option", BAD_OPTIONS)
def test_what_is_unknown_is_refused(option: str) -> None:
    with pytest.raises(UsageError) as caught:
        judged(command(), given=(option,))
    assert caught.value.message == BAD_OPTIONS[option]


@given(st.lists(st.sampled_from(STEPS), unique=True), st.lists(st.sampled_from(STEPS), unique=True))
@settings(deadline=None, max_examples=50)
def test_a_step_runs_where_it_is_wanted(only: list[str], skip: list[str]) -> None:
    request = Request(only=tuple(only), skip=tuple(skip))
    for step in STEPS:
        assert enabled(request, step) == ((not only or step in only) and step not in skip)


# judging


def test_the_branch_deploys() -> None:
    assert judged(command()) == Judgement(
        request=Request(repo="project", ref=HEAD, old=ONE, new=TWO), deploying=(command(),)
    )
    assert wanted(command(old=ZERO)).old == ""


@pytest.mark.parametrize(("ref", "kind"), [(NOW, "deploy"), (PLAN, "plan")])
def test_pseudo_refs_deploy_and_plan_whatever_the_branch_is(ref: str, kind: str) -> None:
    request = wanted(command(ref, old=ZERO))
    assert (request.kind, request.ref, request.old, request.new) == (kind, ref, "", TWO)


def test_the_branch_is_the_one_that_is_compared() -> None:
    both = wanted(command(NOW, old=ZERO), command())
    assert (both.ref, both.old) == (HEAD, ONE)


def test_a_dry_run_is_a_plan() -> None:
    assert wanted(command(), given=("dry-run",)).kind == "plan"
    assert wanted(command(NOW), given=("dry-run",)).kind == "plan"


def test_other_refs_are_stored_with_a_hint() -> None:
    others = (
        command("refs/heads/topic"),
        command("refs/tags/v1"),
        command("refs/notes/x"),
        command("refs/heads/old", new=ZERO),
    )
    judgement = judged(*others)
    assert judgement == Judgement(stored=others)
    assert [hint("project", each, "master") for each in others] == [
        "topic is stored; only master deploys: git push REMOTE topic:master",
        "v1 is stored; only master deploys: git push REMOTE v1:master",
        "", "",
    ]  # fmt: skip


def test_one_push_may_deploy_and_store() -> None:
    judgement = judged(command("refs/heads/topic"), command(), command(NOW))
    assert judgement.stored == (command("refs/heads/topic"),)
    assert [c.ref for c in judgement.deploying] == [HEAD, NOW]


ALONE = {  # refused by themselves
    command(new=ZERO): "the branch that is deployed cannot be deleted",
    command(NOW, new=ZERO): "nothing to delete",
    command(PLAN, new=ZERO): "nothing to delete",
    **dict.fromkeys(
        (
            command("refs/deploy/soon"), command("refs/deploy/now/x"), command("refs/deploy/queued/7"),
            command("refs/deploy/soon", new=ZERO),
        ),
        f"unknown ref: {NOW} deploys, {PLAN} shows what would change",
    ),
    **dict.fromkeys(
        (
            command(f"refs/{name}")
            for name in (
                f"replace/{ONE}", "remotes/prod/master", "stash", "original/refs/heads/master", "heads", "tags",
                "notes", "corpus/7", "bisect/bad", "x/$(id)", "changes/01/1/1", "master",
            )
        ),
        "only branches, tags and notes are stored",
    ),
    **dict.fromkeys(
        (
            command(f"refs/{name}")
            for name in (
                "heads/HEAD", "heads/HEAD/x", "heads/refs/heads/master", "tags/refs/x", "tags/HEAD", "tags/master",
                "heads/-x", "heads/x/-y", "notes/-x",
            )
        ),
        "this name would be ambiguous",
    ),
    command("refs/heads/master/x"): f"it conflicts with {HEAD}",
}  # fmt: skip


@pytest.mark.parametrize("one", ALONE, ids=lambda one: f"{one.ref} {one.new[:1]}")
def test_one_ref_is_refused_by_itself_and_the_rest_goes_on(one: Command) -> None:
    topic = command("refs/heads/topic")
    judgement = judged(one, topic)
    assert judgement == Judgement(refused=((one, ALONE[one]),), stored=(topic,))
    if one.ref != HEAD:
        assert judged(one, command()).request
    with pytest.raises(UsageError, match=f"^{one.ref}: {ALONE[one]}$".replace("$(", r"\$\(").replace("id)", r"id\)")):
        judged(one, topic, atomic=True)


def test_what_is_there_can_be_deleted_whatever_it_is() -> None:
    old = [command(ref, new=ZERO) for ref in (f"refs/replace/{ONE}", "refs/heads/-x", "refs/tags/master", "refs/x/y")]
    assert judged(*old) == Judgement(stored=tuple(old))


REFUSED: dict[str, tuple[tuple[Command, ...], bool, str]] = {
    "two commits": ((command(), command(NOW, new=ONE)), False, "one push can deploy only one commit"),
    "plan and deploy": ((command(), command(PLAN)), False, "one push cannot both plan and deploy"),
    "atomic with more": ((command(), command("refs/heads/topic")), True, "an atomic push that deploys cannot change"),
    "atomic twice": ((command(), command(NOW)), True, "an atomic push that deploys cannot change other refs"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_whole(case: str) -> None:
    commands, atomic, message = REFUSED[case]
    with pytest.raises(UsageError, match=f"^{message}"):
        judged(*commands, atomic=atomic)


def test_atomic_is_no_matter_where_nothing_else_is_pushed() -> None:
    assert wanted(command(), atomic=True)
    assert len(judged(command("refs/heads/a"), command("refs/heads/b"), atomic=True).stored) == 2


BAD_REFS = (
    "master", "", "/refs/heads/x", "heads/x", "refs/heads/../x", "refs/heads/a b", "refs/heads/a\nb",
    "refs/heads/\ud83d",
    "refs/heads/x.lock", "refs/heads/x.lock/y", "refs/heads/.x", "refs/heads/x.", "refs/heads/x/", "refs//x",
    "refs/heads/a~1", "refs/heads/a^", "refs/heads/a:b", "refs/heads/a?", "refs/heads/a*", "refs/heads/[a",
    "refs/heads/a\\b", "refs/heads/a@{b", "refs/heads/a\x7f", "refs/heads/a\0b", "refs/heads/a\tb",
)  # fmt: skip


@pytest.mark.parametrize("ref", BAD_REFS, ids=ascii)
def test_what_is_no_ref_name_refuses_the_push(ref: str) -> None:
    with pytest.raises(UsageError, match=r"^invalid ref name '"):
        judged(command(), command(ref))


ODD = (
    "heads/ä",
    "heads/\udcff",
    "heads/a.b",
    "heads/a-b",
    "heads/a@b",
    "heads/HEADS",
    "heads/refsx",
    "tags/$(id)",
    "heads/head",
)


@pytest.mark.parametrize("ref", ODD, ids=ascii)
def test_odd_ref_names_are_gits_to_judge(ref: str) -> None:
    assert judged(command(f"refs/{ref}")).stored == (command(f"refs/{ref}"),)


def test_a_branch_that_only_begins_like_ours_is_another() -> None:
    assert judged(command("refs/heads/master-2")).request is None


def test_a_branch_that_leaves_no_place_for_ours_is_refused() -> None:
    judgement = judge("project", "team/prod", [command("refs/heads/team")], (), atomic=False)
    assert judgement.refused == ((command("refs/heads/team"), "it conflicts with refs/heads/team/prod"),)


# the pillar


def test_a_pillar_is_checked_and_stored() -> None:
    judgement = judged(command(), repo="pillar")
    assert (judgement.accept, judgement.request) == (command(), None)


@pytest.mark.parametrize(
    ("commands", "given", "more", "kind"),
    [
        ((command(),), ("deploy",), {}, "deploy"),
        ((command(),), (), {"deploy_pillar": True}, "deploy"),
        ((command(NOW),), (), {}, "deploy"),
        ((command(PLAN),), (), {}, "plan"),
        ((command(),), ("dry-run",), {}, "plan"),
    ],
)
def test_a_pillar_deploys_when_asked_to(
    commands: tuple[Command, ...], given: tuple[str, ...], more: dict[str, bool], kind: str
) -> None:
    request = wanted(*commands, given=given, repo="pillar", **more)
    assert (request.repo, request.kind) == ("pillar", kind)


def test_the_hint_for_a_pillar() -> None:
    assert hint("pillar", command("refs/heads/x"), "master") == (
        "x is stored; only master takes effect: git push REMOTE x:master"
    )


# reporting


LIVE = Deployment("hello", 7, "t", "deployed", Request(), ONE, TWO, "3" * 40, "4" * 40)


def told(deployment: Deployment, *refs: str, forced: bool = False, reason: str = "") -> list[str]:
    return report(deployment, [command(ref) for ref in refs], "master", forced=forced, reason=reason)


def test_a_deployment_is_reported_as_the_branch() -> None:
    assert told(LIVE, HEAD) == [f"ok {HEAD}"]
    assert told(LIVE, NOW) == [f"ok {NOW}", f"option refname {HEAD}", f"option old-oid {ONE}", f"option new-oid {TWO}"]
    assert told(LIVE, HEAD, NOW)[:2] == [f"ok {HEAD}", f"ok {NOW}"]
    assert f"option old-oid {ZERO}" in told(replace(LIVE, old_code=None), NOW)


def test_a_forced_update_is_reported_so() -> None:
    assert told(LIVE, HEAD, forced=True) == [f"ok {HEAD}", "option forced-update"]
    assert told(LIVE, NOW, forced=True)[-1] == "option forced-update"


def test_a_pillar_is_reported_with_its_own_commits() -> None:
    pillar = replace(LIVE, request=Request(repo="pillar"))
    assert told(pillar, NOW)[2:] == [f"option old-oid {'3' * 40}", f"option new-oid {'4' * 40}"]


def test_a_plan_and_a_queued_one_move_no_tracking_ref() -> None:
    plan = replace(LIVE, state="done", request=Request(kind="plan"))
    assert told(plan, HEAD) == [f"ok {HEAD}", f"option refname {PLAN}"]
    queued = replace(LIVE, state="queued", request=Request(nowait=True))
    assert told(queued, HEAD) == [f"ok {HEAD}", "option refname refs/deploy/queued/7"]


@pytest.mark.parametrize("state", ["refused", "cancelled", "failed", "rolled_back", "broken", "queued", "running"])
def test_what_did_not_deploy_is_rejected(state: str) -> None:
    assert told(replace(LIVE, state=state), HEAD, NOW, reason="why") == [f"ng {HEAD} why", f"ng {NOW} why"]


@pytest.mark.parametrize("state", ["refused", "failed", "running"])
def test_a_plan_that_failed_is_rejected(state: str) -> None:
    assert told(replace(LIVE, state=state, request=Request(kind="plan")), PLAN, reason="why") == [f"ng {PLAN} why"]
