"""The command `corpus`, as a process: what it prints, where it prints it, and its exit codes."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from corpushooks import __version__
from corpushooks.core.deployment import Request
from corpushooks.system.process import PIPE, Child, run, spawn
from tests.support.box import FAILING, SLS, Box, Work, tree_of, until
from tests.support.command import GATE, ME, asked, complains, corpus, plain, said, words
from tests.support.shared_box import shared_box, world

TASKS = {
    ".salt/task_good.sls": "good:\n  test.succeed_with_changes: []\n",
    ".salt/task_bad.sls": FAILING,
    ".salt/10_more.sls": "more:\n  test.succeed_with_changes: []\n",
    ".salt/PILLAR.sample": "makina-projects.hello:\n  data:\n    colour: blue\n",
}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """Return a host that the tests of this module share: two releases, then a failure that was rolled back."""
    folder = tmp_path_factory.mktemp("live")
    with shared_box(folder, page="one") as box:
        with world(folder / "second"):
            work = box.work()
            work.commit({"index.html": "two", ".salt/00_page.sls": SLS.replace("PAGE", "two"), **TASKS}, "two")
            assert work.push().code == 0
            box.ended(2)
            work.commit({".salt/20_broken.sls": FAILING}, "broken")
            assert work.push().code == 1
            box.ended(3)
            work.git("reset", "--quiet", "--hard", "HEAD~")
        yield box


@pytest.fixture
def pushed(box: Box) -> Work:
    """Return a working copy whose commit is in the repository, under `topic`, and not deployed."""
    work = box.app(files=TASKS)
    fetch(box, work, "topic")
    return work


def fetch(box: Box, work: Work, branch: str, name: str = "hello") -> None:
    """Bring HEAD into the repository without a push, so that no daemon and no hook has to do with it."""
    run(["git", "--git-dir", box.project(name).code_git, "fetch", "--quiet", work.path, f"+HEAD:refs/heads/{branch}"])


# the command itself


def test_help_and_version(live: Box) -> None:
    assert said(corpus(live, "--version")) == f"corpus, version {__version__}\n"
    shown = said(corpus(live, "-h"))
    names = {command.split()[0] for command in COMMANDS} | {"init", "daemon", "demo"}
    assert set(re.findall(r"^  ([a-z]+)  ", shown, re.MULTILINE)) >= names


def test_no_and_unknown_commands_are_wrong_usage(live: Box) -> None:
    assert corpus(live).code == 2
    assert corpus(live, "explode").code == 2
    assert corpus(live, "status", "--explode").code == 2


COMMANDS = (
    "deploy NAME", "deploy NAME --here", "rollback NAME", "cancel NAME", "repair NAME", "task NAME x", "config NAME",
    "check NAME", "status NAME", "history NAME", "log NAME", "link NAME", "unlink NAME", "remove NAME",
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_project_is_named(live: Box, command: str) -> None:
    output = corpus(live, *command.replace("NAME", "nobody").split())
    complains(output, 2, "unknown project 'nobody'", "corpus status, or: corpus init nobody")


BAD_NAMES = ("../x", "UPPER", "-x", "", "x" * 28, "a\nb", "x\n", "a b", "é", "_x", "a/b")


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_bad_name_makes_no_project(live: Box, name: str) -> None:
    before = sorted(p.name for p in live.host.projects_dir.iterdir())
    complains(
        corpus(live, "init", "--", name),
        2,
        "(invalid project name .*: use a-z.*|project name .* is too long: use at most 27 characters)",
    )
    assert sorted(p.name for p in live.host.projects_dir.iterdir()) == before


def test_the_longest_name_is_a_name(new_box: Callable[..., Box]) -> None:
    box = new_box()
    assert asked(box, "init", "x" * 27)["new"] is True


def test_a_host_without_projects_says_so(new_box: Callable[..., Box]) -> None:
    box = new_box()
    complains(corpus(box, "status"), 2, f"no projects exist under {box.host.root}", "corpus init NAME")
    assert not box.host.root.exists()


def test_the_root_can_come_from_the_environment(live: Box) -> None:
    output = run([sys.executable, "-m", "corpushooks", "status"], env={"CORPUS_ROOT": str(live.host.root)})
    assert "hello " in output.text


def test_a_traceback_is_shown_only_when_asked_for(live: Box) -> None:
    brief, verbose = corpus(live, "log", "nobody"), corpus(live, "-v", "log", "nobody")
    assert b"Traceback" not in brief.stderr
    assert verbose.stderr.startswith(b"Traceback (most recent call last):\n")
    assert verbose.stderr.endswith(brief.stderr)
    assert brief.code == verbose.code == 2


@pytest.mark.parametrize("command", ["log hello 99", "deploy hello nowhere"])
def test_what_does_not_exist_is_wrong_usage(live: Box, command: str) -> None:
    assert corpus(live, *command.split()).code == 2


def test_what_does_not_exist_is_said_in_one_line(live: Box) -> None:
    absent = corpus(live, "log", "hello", "99")
    complains(absent, absent.code, "hello has no deployment 99", "corpus history hello")
    absent = corpus(live, "deploy", "hello", "nowhere")
    complains(absent, absent.code, "unknown revision 'nowhere'")
    assert absent.code != 0


def test_settings_with_an_unknown_key_are_named(new_box: Callable[..., Box]) -> None:
    box = new_box()
    box.init()
    box.settings("keep_archive: 3\n")
    message = f'{box.host.config_file}: unknown key "keep_archive"; did you mean "keep_archives"\\?'
    for command in ("init hello", "config hello", "check ./x", "deploy hello --here", "daemon"):
        complains(corpus(box, *command.split()), 2, message, "corpus help settings describes every key")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a store to somebody else")
def test_a_daemon_that_is_not_ours_to_start_is_an_error(new_box: Callable[..., Box]) -> None:
    box = new_box()
    box.init()
    os.chown(box.host.state_dir, 1, 1)
    for command in ("deploy hello", "task hello x", "cancel hello", "repair hello"):
        output = corpus(box, *command.split())
        complains(output, 3, "cannot connect to the daemon: No such file or directory", "corpus daemon")


needs_setpriv = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root can give up root's rights"
)


@needs_setpriv
@pytest.mark.parametrize("command", ["status", "history hello"])
def test_a_host_that_is_not_ours_is_an_error(new_box: Callable[..., Box], command: str) -> None:
    box = new_box()
    box.init()
    os.chown(box.host.state_dir, 1, 1)
    less = "-dac_override,-dac_read_search"
    drop = ["setpriv", f"--bounding-set={less}", f"--inh-caps={less}"]
    output = run([*drop, *words(box, *command.split())], check=False)
    assert b"Traceback" not in output.stderr
    assert output.stderr.startswith(b"error: ")
    assert output.code in (1, 3)


# init


def test_init_makes_a_project_and_says_where_to_push(new_box: Callable[..., Box]) -> None:
    box = new_box()
    output = corpus(box, "init", "hello", "--env", "staging", "--branch", "main")
    project = box.project()
    assert said(output).splitlines() == [
        "created hello (staging, deploys main)",
        "note: system users are not created: not root, or a host in a folder",
        "",
        "In your working copy:",
        f"    git remote add staging {project.code_git}",
        "    git config remote.staging.push HEAD:refs/deploy/now",
        "    git push staging",
        "",
        "Its configuration and secrets:",
        f"    git clone {project.pillar_git}",
    ]
    assert (output.code, output.stderr) == (0, b"")
    assert (box.row().environment, box.row().branch) == ("staging", "main")
    assert (project.code_git / "HEAD").read_text() == "ref: refs/heads/main\n"


def quiet_tree(box: Box) -> dict[str, tuple[Any, ...]]:
    """Return all that init makes; the store and the locks are opened each time."""
    found = {**tree_of(box.host.root / "srv"), **tree_of(box.host.state_dir / "salt", times=False)}
    return {key: value for key, value in found.items() if not key.endswith(".lock")}


def test_init_again_changes_nothing(new_box: Callable[..., Box]) -> None:
    box = new_box()
    corpus(box, "init", "hello", "--env", "dev", "--branch", "main")
    before = quiet_tree(box)
    assert said(corpus(box, "init", "hello")).startswith("repaired hello (dev, deploys main)\n")
    assert quiet_tree(box) == before


def test_init_says_what_it_changes_in_a_project(new_box: Callable[..., Box]) -> None:
    box = new_box()
    box.init()
    told = said(corpus(box, "init", "hello", "--env", "dev", "--branch", "main")).splitlines()
    assert told[:3] == [
        "repaired hello (dev, deploys main)", "changed environment: prod -> dev", "changed branch: master -> main",
    ]  # fmt: skip
    assert not any(line.startswith("changed") for line in said(corpus(box, "init", "hello")).splitlines())


def test_init_repairs_what_was_damaged(new_box: Callable[..., Box]) -> None:
    box = new_box()
    corpus(box, "init", "hello")
    project, whole = box.project(), tree_of(box.host.root / "srv", times=False)
    (project.code_git / "hooks/proc-receive").unlink()
    (project.pillar_git / "hooks/proc-receive").chmod(0o644)
    run(["git", "--git-dir", project.code_git, "config", "core.hooksPath", "/nonexistent"])
    run(["git", "--git-dir", project.code_git, "config", "--add", "receive.procReceiveRefs", "refs/none"])
    run(["git", "--git-dir", project.pillar_git, "config", "--unset", "core.fsync"])
    (project.work_git / "info/attributes").write_text("* text=auto\n")
    (project.pillar_git / "HEAD").write_text("ref: refs/heads/other\n")
    project.data.rmdir()
    project.archives.rmdir()
    project.pillar.chmod(0o777)
    project.salt_link.unlink()
    project.wired_salt.unlink()
    project.wired_salt.symlink_to("/nonexistent")
    project.wired_pillar.unlink()
    assert said(corpus(box, "init", "hello")).startswith("repaired hello")
    after = tree_of(box.host.root / "srv", times=False)
    changed = [key for key in whole if after.get(key) != whole[key] and not key.endswith(("/config", ".git"))]
    assert changed == []
    for repo in (project.code_git, project.pillar_git):
        found = run(["git", "--git-dir", repo, "config", "--get-all", "receive.procReceiveRefs"]).text
        assert found == "refs"
        assert run(["git", "--git-dir", repo, "config", "core.hooksPath"]).text == str(repo / "hooks")
        assert run(["git", "--git-dir", repo, "config", "core.fsync"]).text == "committed,reference"


def test_init_keeps_the_branch_that_is_live(live: Box) -> None:
    output = corpus(live, "init", "hello", "--branch", "other")
    complains(output, 3, "hello is deployed from master", "corpus rename-branch hello other")
    assert live.row().branch == "master"


@pytest.mark.parametrize("given", ["--env=UP", "--env=../x", "--branch=../x", "--branch=a..b", "--branch=-x", "--env="])
def test_init_refuses_bad_words(new_box: Callable[..., Box], given: str) -> None:
    box = new_box()
    output = corpus(box, "init", "hello", given)
    if given == "--env=":
        assert output.code == 0  # nothing was said
        return
    complains(output, 2, "invalid (environment|branch name) .*")
    assert not box.project().dir.exists()


# deploy


def test_deploy_of_a_revision(box: Box, pushed: Work) -> None:
    output = corpus(box, "deploy", "hello", "topic")
    assert output.code == 0
    assert said(output).splitlines()[0] == f"hello (prod) deployment 1: nothing -> {pushed.head[:7]}"
    assert f"success: hello is live at {pushed.head[:7]}" in said(output)
    assert box.ref() == box.row().code == pushed.head
    again = asked(box, "deploy", "hello")
    assert (again["number"], again["state"], again["by"], again["via"]) == (2, "deployed", ME, "command")
    selected = said(corpus(box, "deploy", "hello", "--only", "install", "--steps", "10_more")).splitlines()
    assert next(line for line in selected if "skipped" in line).startswith("[2/8] sync")
    assert next(line for line in selected if "install" in line).startswith("[4/8] install 10_more")
    skipped = said(corpus(box, "deploy", "hello", "--skip", "fixperms, notify")).splitlines()
    assert [line[:14] for line in skipped if "skipped" in line] == ["[3/8] fixperms", "[5/8] fixperms"]


def test_deploy_dry_run_changes_nothing(live: Box) -> None:
    before, row = tree_of(live.project().tree), live.row()
    result = asked(live, "deploy", "hello", "HEAD~", "--dry-run")
    assert (result["kind"], result["state"]) == ("plan", "done")
    assert (tree_of(live.project().tree), live.row()) == (before, row)


def test_deploy_nowait_is_answered_at_once(box: Box, pushed: Work) -> None:
    pushed.commit({".salt/10_gate.sls": GATE.format(box.root)})
    fetch(box, pushed, "gated")
    result = asked(box, "deploy", "hello", "gated", "--nowait")
    assert (result["number"], result["state"]) == (1, "queued")
    assert box.deployment(1).state in ("queued", "running")
    (box.root / "gate").touch()
    assert box.ended(1).state == "deployed"


def test_deploy_nowait_says_the_number(live: Box) -> None:
    output = corpus(live, "deploy", "hello", "--nowait")
    number = live.history.deployments("hello", 1)[0].number
    live.ended(number)
    assert str(number) in said(output)


def test_json_stands_alone_on_stdout(live: Box) -> None:
    output = corpus(live, "deploy", "hello", "--json")
    assert json.loads(output.stdout)["state"] == "deployed"
    assert b"[1/8] archive" in output.stderr


def test_wrong_selections_are_refused(live: Box) -> None:
    number = live.history.deployments("hello", 1)[0].number
    for given, message in (
        (("--only", "instal"), "only=instal: unknown step"),
        (("--skip", "publish"), "skip=publish: this step cannot be skipped"),
        (("HEAD", "--steps", "99_none"), "steps=99_none: unknown install SLS"),
    ):
        output = corpus(live, "deploy", "hello", *given)
        assert output.code == 2
        assert output.stderr.decode().splitlines()[0] == f"error: {message}"
    assert live.history.deployments("hello", 1)[0].number == number


def test_a_failing_deployment_exits_with_1(box: Box, pushed: Work) -> None:
    pushed.commit({".salt/20_broken.sls": FAILING})
    fetch(box, pushed, "bad")
    output = corpus(box, "deploy", "hello", "bad")
    assert output.code == 1
    assert said(output).splitlines()[-1] == "hint: the whole log: corpus log hello 1"
    assert asked(box, "deploy", "hello", "bad", code=1)["state"] == "rolled_back"


def test_deploy_here_needs_no_daemon(new_box: Callable[..., Box]) -> None:
    box = new_box(salt=True)
    box.init()
    fetch(box, box.app(), "master")
    output = corpus(box, "deploy", "hello", "--here")
    assert output.code == 0
    assert said(output).splitlines()[-1].startswith("[8/8] notify")
    assert (box.project().data / "page").read_text() == "one\n"
    assert not box.host.socket.exists()


def test_deploy_here_is_recorded_with_who_asked(new_box: Callable[..., Box]) -> None:
    box = new_box()
    box.init()
    assert corpus(box, "deploy", "hello", "--here").code == 3  # nothing to deploy yet
    assert box.deployment(1).request.who == ME


def test_the_command_starts_a_daemon_where_that_is_its_to_do(new_box: Callable[..., Box]) -> None:
    box = new_box(salt=True)
    box.settings("idle_timeout: 1\n")
    box.init()
    fetch(box, box.app(), "master")
    assert asked(box, "deploy", "hello")["state"] == "deployed"
    until(lambda: not box.host.socket.exists(), 60)


# running, and being stopped


def start(box: Box, *given: str) -> Child[bytes]:
    return spawn(words(box, *given), stdout=PIPE, stderr=PIPE)


@pytest.fixture
def gated(box: Box, pushed: Work) -> Iterator[Child[bytes]]:
    """Return a command that follows a deployment, which waits for the gate to open."""
    pushed.commit({".salt/10_gate.sls": GATE.format(box.root)})
    fetch(box, pushed, "gated")
    child = start(box, "deploy", "hello", "gated")
    until(lambda: box.exists(1) and "install 00_page" in box.log(1))
    yield child
    (box.root / "gate").touch()
    child.communicate(timeout=30)


def test_cancel_of_what_runs_rolls_back_and_says_by_whom(box: Box, gated: Child[bytes]) -> None:
    output = corpus(box, "cancel", "hello")
    assert output.code == 0
    assert said(output) == f"deployment 1 of hello: rolled back: cancelled by {ME}\n"
    out, _ = gated.communicate(timeout=30)
    assert gated.returncode == 1
    assert f"error: cancelled by {ME}\n" in out.decode()
    assert box.row().live is None


def test_cancel_of_what_waits(box: Box, gated: Child[bytes]) -> None:
    waiting = start(box, "deploy", "hello", "topic")
    until(lambda: box.exists(2))
    assert asked(box, "cancel", "hello")["number"] == 1
    gated.communicate(timeout=30)
    until(lambda: box.deployment(2).ended)
    assert waiting.communicate(timeout=30)[0].splitlines()[-1].startswith(b"success: hello is live")
    assert box.deployment(2).state == "deployed"


@pytest.fixture
def held(box: Box, pushed: Work) -> Iterator[Callable[[], None]]:
    """Hold the lane's lock, so that what is asked for waits; return what lets go."""
    lock = os.open(box.project().lock, os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    box.ask(op="deploy", project="hello", rev=pushed.head, token="t", nowait=True)
    yield lambda: fcntl.flock(lock, fcntl.LOCK_UN)
    os.close(lock)


def test_what_is_cancelled_while_it_waits_never_runs(box: Box, held: Callable[[], None]) -> None:
    result = asked(box, "cancel", "hello")
    assert (result["number"], result["cancelled"]) == (1, ME)
    held()
    assert box.ended(1).state == "cancelled"
    assert box.deployment(1).started is None
    assert box.log(1).splitlines()[-1] == f"error: cancelled by {ME} before it ran"


def test_cancel_says_that_what_waited_is_cancelled(box: Box, held: Callable[[], None]) -> None:
    output = said(corpus(box, "cancel", "hello"))
    held()
    box.ended(1)
    assert "cancelled" in output


def test_nothing_to_cancel_is_refused(live: Box) -> None:
    complains(corpus(live, "cancel", "hello"), 3, "nothing is running or waiting in hello")


def test_ctrl_c_leaves_the_deployment_alone(box: Box, gated: Child[bytes]) -> None:
    gated.send_signal(signal.SIGINT)
    _, err = gated.communicate(timeout=30)
    assert gated.returncode == 130
    assert plain(err).strip() == "the deployment continues; see: corpus log hello -f, corpus cancel hello"
    (box.root / "gate").touch()
    assert box.ended(1).state == "deployed"


def test_log_follows_what_runs(box: Box, gated: Child[bytes]) -> None:
    followers = [start(box, "log", "hello", "-f"), start(box, "log", "hello", "1", "-f", "--short")]
    outs = [follower.stdout for follower in followers if follower.stdout]
    assert [out.readline()[:25] for out in outs] == [b"hello (prod) deployment 1"] * 2
    (box.root / "gate").touch()
    whole, short = (out.read().decode().splitlines() for out in outs)
    for follower in followers:
        follower.communicate(timeout=30)
    assert [follower.returncode for follower in followers] == [0, 0]
    assert any(line.startswith("success: hello is live") for line in whole)
    assert set(short) < set(whole)
    assert gated.wait(30) == 0


def test_a_reader_that_leaves_is_no_traceback(live: Box) -> None:
    child = start(live, "log", "hello", "1")
    assert child.stdout and child.stderr
    child.stdout.close()
    assert b"Traceback" not in child.stderr.read()
    child.stderr.close()
    child.wait(30)


# rollback, repair, task


def test_rollback_returns_to_an_earlier_release(box: Box) -> None:
    work = box.app()
    work.push()
    first = work.head
    complains(corpus(box, "rollback", "hello"), 2, "hello has no earlier release to return to", "corpus history hello")
    box.app("two").push()
    result = asked(box, "rollback", "hello")
    assert (result["kind"], result["state"], result["new_code"]) == ("rollback", "deployed", first)
    assert box.ref() == box.row().code == first
    assert (box.project().data / "page").read_text() == "one\n"
    output = corpus(box, "rollback", "hello", "2")
    assert (output.code, box.row().code) == (0, work.head)
    assert said(output).splitlines()[0].startswith("hello (prod) rollback 4: ")
    assert (box.project().tree / "index.html").read_text() == "two"


def test_rollback_to_what_was_never_live_is_refused(live: Box) -> None:
    output = corpus(live, "rollback", "hello", "3")
    assert output.code == 3
    assert "error: deployment 3 was never live" in said(output)
    assert live.row().code == live.work().head


def test_a_broken_project_exits_with_4_until_it_is_repaired(box: Box) -> None:
    box.app().push()
    box.stop()
    box.start("undo restore", "before", "EIO")
    work = box.work()
    work.commit({".salt/20_broken.sls": FAILING})
    fetch(box, work, "bad")
    output = corpus(box, "deploy", "hello", "bad")
    assert output.code == 4
    assert "error: THE ROLLBACK FAILED" in said(output)
    assert "BROKEN" in said(corpus(box, "status"))
    assert asked(box, "status", "hello")["broken"]
    assert corpus(box, "deploy", "hello").code == 4
    repaired = corpus(box, "repair", "hello")
    assert repaired.code == 0
    assert "success: hello is repaired" in said(repaired)
    assert asked(box, "status", "hello")["broken"] is None
    assert asked(box, "repair", "hello")["state"] == "done"


def test_tasks(live: Box) -> None:
    good = asked(live, "task", "hello", "good")
    assert (good["kind"], good["state"]) == ("task", "done")
    assert "success: task good is done" in said(corpus(live, "task", "hello", "good"))
    bad = corpus(live, "task", "hello", "bad")
    assert bad.code == 1
    assert "FAILED" in said(bad) and "error: task bad failed: " in said(bad)
    unknown = corpus(live, "task", "hello", "../none")
    assert unknown.code == 3
    assert said(unknown).splitlines()[-2:] == ["error: unknown task '../none'", "hint: tasks: bad good"]
    assert live.row().code == live.work().head


# looking


def test_config_is_the_cfg_of_the_sls_files(live: Box) -> None:
    output = corpus(live, "config", "hello")
    cfg = yaml.safe_load(output.stdout)
    own, _, rest = output.stdout.decode().partition("# names, paths and flags\n")
    assert "data" in yaml.safe_load(own) and "project_root" in yaml.safe_load(rest), "what the project says comes first"
    assert (cfg["name"], cfg["default_env"], cfg["data"]["colour"]) == ("hello", "prod", "blue")


def test_config_says_where_a_value_is_from(live: Box) -> None:
    origins = asked(live, "config", "hello", "--origin")
    assert origins["name"] == {"layer": "built-in", "file": ""}
    assert origins["data.colour"] == {"layer": "PILLAR.sample", "file": ".salt/PILLAR.sample"}
    lines = said(corpus(live, "config", "hello", "--origin")).splitlines()
    assert ["data.colour", "PILLAR.sample", ".salt/PILLAR.sample"] in [line.split() for line in lines]


SAMPLE = "makina-projects.hello:\n  data: {a: s, b: s, pw: s}\n  env_defaults:\n    prod: {b: s}\n"
PILLAR = "makina-projects.hello:\n  data: {a: p, password: s3cret-of-mine}\n"


def test_config_names_files_and_hides_secrets(new_box: Callable[..., Box]) -> None:
    box = new_box(salt=True)
    box.settings("keep_archives: 4\nminion:\n  makina-projects.hello.data.m: 1\n")
    box.init()
    pillar = box.work(repo="pillar")
    pillar.commit({"init.sls": PILLAR})
    assert pillar.push().code == 0
    (box.host.pillar_dir / "top.sls").write_text("base:\n  '*':\n    - shared\n")
    (box.host.pillar_dir / "shared.sls").write_text("makina-projects.hello.data.h: 1\n")
    assert box.app(files={".salt/PILLAR.sample": SAMPLE}).push().code == 0
    origins = asked(box, "config", "hello", "--origin")
    config, host = box.host.config_file, box.host.pillar_dir
    for key, layer, file in (
        ("data.a", "pillar", "pillar/init.sls"),
        ("data.b", "env_defaults.prod", ".salt/PILLAR.sample"),
        ("data.h", "pillar", f"{host}: the pillar of the host"),
        ("data.m", "minion", f"{config}: minion"),
        ("keep_archives", "built-in", f"{config}: keep_archives"),
        ("default_env", "built-in", "corpus init --env"),
    ):
        assert origins[key] == {"layer": layer, "file": file}, key
    masked, plain_ = corpus(box, "config", "hello"), corpus(box, "config", "hello", "--show-secrets")
    assert b"s3cret-of-mine" not in masked.stdout and b"s3cret-of-mine" in plain_.stdout


def test_check_of_a_project(new_box: Callable[..., Box]) -> None:
    box = new_box()
    box.init()
    complains(corpus(box, "check", "hello"), 2, "hello has no master yet", "git push first")
    work = box.app()
    fetch(box, work, "master")
    assert said(corpus(box, "check", "hello")) == "00_page.sls: fine\n"
    work.commit({".salt/10_x.sls": "a:\n  {% if %}\n", ".salt/20_y.sls": "a:\n  - b\n c: d\n"})
    fetch(box, work, "master")
    found = asked(box, "check", "hello", code=1)
    assert [problem.partition(":")[0] for problem in found["problems"]] == ["10_x.sls line 2", "20_y.sls line 3"]
    assert found["target"] == "hello"


def test_check_of_a_folder(new_box: Callable[..., Box], tmp_path: Path) -> None:
    box = new_box()
    complains(corpus(box, "check", f"{tmp_path}/"), 2, f"{tmp_path} has no .salt folder", "add .salt/00_install.sls")
    (tmp_path / ".salt").mkdir()
    (tmp_path / ".salt/00_x.sls").write_text("a:\n  test.nop: []\n")
    before = tree_of(tmp_path / ".salt")
    assert asked(box, "check", str(tmp_path)) == {
        "target": str(tmp_path), "problems": [], "findings": [],
        "files": [{"file": ".salt/00_x.sls", "problems": [], "warnings": []}],
    }  # fmt: skip
    assert tree_of(tmp_path / ".salt") == before
    assert not box.host.root.exists()
    (tmp_path / ".salt/10_link.sls").symlink_to("00_x.sls")
    (tmp_path / ".salt/20.x.sls").write_text("")
    problems = asked(box, "check", str(tmp_path), code=1)["problems"]
    assert problems == [
        ".salt: 10_link.sls is a symbolic link; links are not followed; commit the file itself",
        ".salt: 20.x.sls: Salt reads a dot in the name as a folder; rename it without the dot",
    ]


BROKEN = {
    "PILLAR.sample": "makina-projects.projectname:\n  data:\n    port: 8080\n",
    "00_fine.sls": "a:\n  file.exists:\n    - name: /{{ cfg.data.port }}\nb:\n  mc_proxy.hook: []\n",
    "10_undefined.sls": "a:\n  test.nop:\n    - name: {{ cfg.data.nothing.here }}\n",
    "20_requires.sls": "a:\n  test.nop:\n    - require:\n      - file: /gone\n",
    "25_include.sls": "a:\n  test.nop: []\ninclude:\n  - makina-projects.{{ cfg.name }}.gone\n",
    "30_unknown.sls": "\n{{ cfg.name }}-a:\n  file.manage: []\n",
    "40_runs.sls": "a:\n  cmd.run:\n    - name: touch MARK\n",
    "50_password.sls": "a:\n  test.nop:\n    - name: {{ salt['mc_utils.generate_stored_password']('k') }}\n",
    "task_fine.sls": "a:\n  test.nop: []\n",
}


def test_check_compiles_each_sls_and_runs_none(new_box: Callable[..., Box], tmp_path: Path) -> None:
    box = new_box(salt=True)
    (tmp_path / "app/.salt").mkdir(parents=True)
    for name, text in BROKEN.items():
        (tmp_path / "app/.salt" / name).write_text(text.replace("MARK", str(tmp_path / "mark")))
    found = asked(box, "check", f"{tmp_path}/app", code=1)
    assert [each["file"] for each in found["files"]] == [f".salt/{name}" for name in BROKEN]
    wrong = {each["file"].removeprefix(".salt/"): each["problems"] for each in found["files"] if each["problems"]}
    for name, told in (
        ("10_undefined", " line 3: Jinja variable 'dict object' has no attribute 'nothing'"),
        ("20_requires", " line 1: Referenced state does not exist for requisite [require: (file: /gone)] in state [a]"),
        ("25_include", " line 4: included SLS makina-projects.projectname.gone does not exist"),
        ("30_unknown", " line 2: State 'file.manage' was not found"),
    ):
        assert wrong.pop(f"{name}.sls")[0].startswith(f"{name}.sls{told}")
    assert not wrong
    assert not (tmp_path / "mark").exists()
    (tmp_path / "app/.salt/PILLAR.sample").write_text("makina-projects.projectname: [1]\n")
    lines = corpus(box, "check", f"{tmp_path}/app").stdout.decode().splitlines()
    (line,) = [line for line in lines if line.startswith("PILLAR.sample")]
    assert line.startswith("PILLAR.sample line 1: makina-projects.projectname: expected a mapping")


def test_status(live: Box) -> None:
    found = asked(live, "status", "hello")
    assert found in asked(live, "status")
    assert (found["project"], found["environment"], found["branch"], found["commit"]) == (
        "hello", "prod", "master", live.row().code,
    )  # fmt: skip
    told = said(corpus(live, "status"))
    live_now = f"hello            prod      live: {live.work().head[:7]}, deployment {live.row().live}"
    assert re.search(rf"^{live_now}, \d+ \w+ ago by {ME}$", told, re.MULTILINE)


def test_history(live: Box) -> None:
    found = asked(live, "history", "hello", "-n", "1000")
    assert [one["number"] for one in found] == sorted((one["number"] for one in found), reverse=True)
    assert [one["state"] for one in found[-3:]] == ["rolled_back", "deployed", "deployed"]
    assert "token" not in found[0]
    lines = said(corpus(live, "history", "hello", "-n", "1000")).splitlines()
    assert len(lines) == len(found)
    assert "rolled back" in lines[-3] and lines[-3].endswith("install 20_broken failed: broken")
    assert [line[0] for line in lines].count("*") == 1
    assert len(asked(live, "history", "hello", "--limit", "2")) == 2
    assert corpus(live, "history", "hello", "--limit", "0").code == 2


def test_log(live: Box) -> None:
    whole = said(corpus(live, "log", "hello", "3")).splitlines()
    short = said(corpus(live, "log", "hello", "3", "--short")).splitlines()
    (hint,) = set(short) - set(whole)
    assert hint.startswith("hint: the whole log: "), "whoever reads that need not be told"
    assert any("by hand: " in line for line in set(whole) - set(short))
    told = "\n".join(one["text"] for one in asked(live, "log", "hello", "3") if one["text"])
    assert plain(told.encode()).splitlines() == whole
    ended = corpus(live, "log", "hello", "3", "-f")
    assert said(ended).splitlines() == whole
    newest = live.history.deployments("hello", 1)[0].number
    assert f" {newest}: " in said(corpus(live, "log", "hello")).splitlines()[0]


def test_log_of_what_failed_exits_as_the_follower_does(live: Box) -> None:
    assert corpus(live, "log", "hello", "3", "-f").code == 1


def test_a_project_that_was_never_deployed(live: Box) -> None:
    corpus(live, "init", "fresh")
    assert said(corpus(live, "status", "fresh")) == "fresh            prod      nothing is live yet\n"
    assert said(corpus(live, "history", "fresh")) == "fresh was never deployed\n"
    complains(corpus(live, "log", "fresh"), 2, "fresh was never deployed", "git push first")
    task = corpus(live, "task", "fresh", "x")
    assert (task.code, said(task).splitlines()[-2]) == (3, "error: nothing is deployed yet")


# link, unlink, remove


def test_link_and_unlink(new_box: Callable[..., Box]) -> None:
    box = new_box()
    box.init()
    project = box.project()
    assert said(corpus(box, "unlink", "hello")) == "unlinked hello; its next deployment links it again\n"
    assert not project.wired_salt.is_symlink() and not project.wired_pillar.is_symlink()
    assert said(corpus(box, "link", "hello")) == "linked hello\n"
    assert os.readlink(project.wired_salt) == str(project.salt_link)
    assert os.readlink(project.wired_pillar) == str(project.pillar_stage)


def test_remove_keeps_the_files_and_purge_keeps_the_data(new_box: Callable[..., Box]) -> None:
    box = new_box()
    box.init()
    project = box.project()
    (project.data / "kept").write_text("for ever")
    (project.tree / "file").write_text("x")
    store = box.history
    store.enqueue("hello", Request(token="t"))
    store.close()
    assert said(corpus(box, "remove", "hello")) == f"removed hello\nleft: {project.dir}\n"
    assert (project.tree / "file").exists() and not project.wired_salt.is_symlink()
    assert corpus(box, "status", "hello").code == 2
    assert said(corpus(box, "init", "hello")).startswith("created hello")
    assert box.exists(1)
    assert asked(box, "remove", "hello", "--purge") == {"project": "hello", "left": [str(project.data)]}
    assert sorted(p.name for p in project.dir.iterdir()) == ["data"]
    assert (project.data / "kept").read_text() == "for ever"
    assert not project.logs.exists() and not project.minion_dir.exists()
    assert not box.exists(1)
    assert stat.S_ISDIR(project.data.stat().st_mode)
