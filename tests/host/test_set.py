"""`corpus set` and `corpus unset`: a commit of the pillar that is deployed like a pushed one."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from corpushooks.core.errors import CorpusError
from corpushooks.operations import setting
from corpushooks.system.process import Output, run, spawn
from tests.support.box import FAILING, Box, Work, until
from tests.support.command import GATE, asked, corpus, plain, said, words
from tests.support.pillars import pillar_of
from tests.support.shared_box import shared_box, world
from tests.support.variables import (
    FILE,
    FILES,
    GATED,
    SAMPLE,
    at_a_terminal,
    commits,
    content,
    everywhere,
    git_data,
    value,
)

SECRET = "hunter2-{name}-s3cret"


@pytest.fixture
def work(box: Box) -> Work:
    work = box.app(files=FILES)
    assert work.push().code == 0
    return work


def sets(box: Box, *pairs: str, unset: tuple[str, ...] = (), deploy: bool = True, source: str = "") -> dict[str, Any]:
    """Ask the daemon as the command does."""
    rows = [[*pair.split("=", 1), source] for pair in pairs]
    return box.ask(op="set", project="hello", pairs=rows, keys=tuple(unset), deploy=deploy, token=os.urandom(8).hex())


def data(box: Box) -> dict[str, Any]:
    found: dict[str, Any] = asked(box, "config", "hello")["data"]
    return found


@pytest.mark.parametrize("hashed", ["sha1", "sha256"])
def test_what_is_set_is_committed_and_deployed(new_box: Callable[..., Box], hashed: str) -> None:
    box = new_box()
    box.init(hashed=hashed)
    box.start()
    path = box.root / "works/hello-project"
    run(["git", "init", "--quiet", "--initial-branch=master", f"--object-format={hashed}", path])
    box.works["hello-project"] = Work(path, str(box.project().code_git))
    assert box.app(files=FILES).push().code == 0
    output = corpus(box, "set", "hello", "v=one", "a.b=1")
    assert output.code == 0, output.stderr
    lines = said(output).splitlines()
    head = box.ref(repo="pillar") or ""
    assert lines[0] == f"pillar {head[:7]}: Set v, a.b"
    assert lines[-1].startswith("success: hello is live")
    assert value(box) == "one"
    assert box.row().pillar == head
    me = run(["id", "-un"]).text
    assert commits(box) == [f"{me}|corpus|Set v, a.b"]
    assert content(box, "init.sls") == "makina-projects.hello:\n  data: {}\n", "the pillar was empty"
    assert (box.deployment(2).request.via, box.deployment(2).request.who) == ("set", me)
    assert data(box)["a"] == {"b": 1}
    origin = asked(box, "config", "hello", "--origin")
    assert origin["data.a.b"] == origin["data.v"] == {"layer": "corpus set", "file": "pillar/corpus-set.yaml"}
    again = corpus(box, "set", "hello", "v=one", "a.b=1")
    assert (again.code, said(again)) == (0, "nothing changed\n")
    assert (box.ref(repo="pillar"), box.exists(3)) == (head, False)
    assert said(corpus(box, "set", "hello")) == "a.b=1\nv=one\n"
    assert asked(box, "set", "hello") == {"a": {"b": 1}, "v": "one"}
    assert corpus(box, "unset", "hello", "a").code == 0
    assert "a" not in data(box)


def test_it_wins_over_the_pillar_whose_files_stay(box: Box, work: Work) -> None:
    pillar = box.work(repo="pillar")
    jinja = "{% set v = 'jinja' %}\nmakina-projects.hello:\n  data:\n    v: {{ v }}\n"
    pillar.commit({"init.sls": jinja})
    pillar.push()
    sets(box, "v=set")
    assert value(box) == "set"
    assert content(box, "init.sls") == jinja
    pillar.commit(pillar_of("newer"))
    assert "[rejected]" in pillar.push(options=("deploy",)).text, "as with anybody's commit"
    pillar.git("pull", "--quiet", "--rebase", pillar.remote, "master")
    assert pillar.push(options=("deploy",)).code == 0
    assert value(box) == "set"
    assert sets(box, unset=("v",))["state"] == "deployed"
    assert value(box) == "newer"
    assert FILE not in run(["git", "ls-tree", "--name-only", "master"], cwd=Path(pillar.remote)).text.split()


def test_no_deploy_only_commits(box: Box, work: Work) -> None:
    output = corpus(box, "set", "hello", "v=later", "--no-deploy")
    assert output.code == 0
    assert said(output).splitlines()[1:] == [
        "stored; it takes effect with the next deployment, or now with: corpus deploy hello"
    ]
    assert (value(box), box.exists(2)) == ("default", False)
    output = corpus(box, "set", "hello", "v=later")
    assert said(output) == "nothing changed\nhint: the pillar is not deployed yet: corpus deploy hello\n"
    plan = corpus(box, "deploy", "hello", "--dry-run")
    assert "+later" in said(plan) and value(box) == "default"
    assert corpus(box, "deploy", "hello").code == 0
    assert value(box) == "later"


def test_before_the_first_deployment_it_waits_for_that(box: Box) -> None:
    assert sets(box, "v=early")["state"] == "stored"
    assert box.app(files=FILES).push().code == 0
    assert value(box) == "early"


def test_a_failure_takes_it_back_and_its_ref_stays(box: Box, work: Work) -> None:
    work.commit({".salt/20_maybe.sls": "{% if cfg.data.v == 'bad' %}\n" + FAILING + "{% endif %}\n"})
    work.push()
    sets(box, "v=good")
    before = box.ref(repo="pillar")
    output = corpus(box, "set", "hello", "v=bad")
    assert output.code == 1
    assert said(output).splitlines()[-1] == "hint: nothing was set; --no-deploy sets it without deploying"
    assert (box.ref(repo="pillar"), box.row().pillar, value(box)) == (before, before, "good")
    assert "v: good" in (box.project().pillar / FILE).read_text() == (box.project().pillar_stage / FILE).read_text()
    assert corpus(box, "set", "hello", "v=better").code == 0
    assert corpus(box, "rollback", "hello").code == 0, "to what was live before"
    assert value(box) == "good"
    assert data(box)["v"] == "good"


def test_two_at_once_are_both_set(box: Box, work: Work) -> None:
    work.commit({".salt/20_gate.sls": GATED.replace("{0}", str(box.root))})
    work.push()
    results: list[dict[str, Any]] = []
    asking = [
        threading.Thread(target=lambda pair=pair: results.append(sets(box, pair))) for pair in ("v=wait", "b=2", "c=3")
    ]
    asking[0].start()
    until(lambda: box.exists(3))
    for each in asking[1:]:
        each.start()
    (box.root / "gate").touch()
    for each in asking:
        each.join(60)
    assert [each["state"] for each in results] == ["deployed"] * 3
    found = data(box)
    assert (found["v"], found["b"], found["c"]) == ("wait", 2, 3)
    assert len(commits(box)) == 3


def test_many_at_once_take_turns(box: Box, work: Work) -> None:
    """More than there are attempts after a branch moved: each is made on top of the one before."""
    results: list[dict[str, Any]] = []
    pairs = [f"k{number}={number}" for number in range(2 * setting.AGAIN)]
    asking = [
        threading.Thread(target=lambda pair=pair: results.append(sets(box, pair, deploy=False))) for pair in pairs
    ]
    for each in asking:
        each.start()
    for each in asking:
        each.join(120)
    assert [each["state"] for each in results] == ["stored"] * len(pairs)
    assert len(commits(box)) == len(pairs)


def test_it_goes_on_top_of_a_pillar_that_is_being_deployed(box: Box, work: Work) -> None:
    work.commit({".salt/20_gate.sls": GATED.replace("{0}", str(box.root))})
    work.push()
    pillar = box.work(repo="pillar")
    pillar.commit(pillar_of("wait"))
    pushing = threading.Thread(target=lambda: pillar.push(options=("deploy",)))
    pushing.start()
    until(lambda: box.exists(3) and "install 20_gate" in box.steps(3))
    child = spawn(words(box, "set", "hello", "b=2"), stdout=os.open(box.root / "said", os.O_CREAT | os.O_RDWR))
    until(lambda: "waiting for pillar deployment 3" in (box.root / "said").read_text())
    (box.root / "gate").touch()
    assert child.wait(60) == 0
    pushing.join()
    assert (data(box)["v"], data(box)["b"]) == ("wait", 2)


def test_a_branch_that_moves_while_it_waits_is_no_obstacle(box: Box, work: Work) -> None:
    """A pillar is stored after the commit was made: its deployment is refused, and another made on top of that."""
    work.commit({".salt/20_gate.sls": GATE.replace("{0}", str(box.root))})
    pushing = work.start_push()
    until(lambda: box.exists(2) and "install 20_gate" in box.steps(2))
    results: list[dict[str, Any]] = []
    asking = threading.Thread(target=lambda: results.append(sets(box, "b=2")))
    asking.start()
    until(lambda: box.exists(3))
    pillar = box.work(repo="pillar")
    pillar.commit(pillar_of("pushed"))
    assert pillar.push().code == 0
    (box.root / "gate").touch()
    asking.join(60)
    assert pushing.wait(60) == 0
    assert (results[0]["state"], results[0]["number"], box.deployment(3).state) == ("deployed", 4, "refused")
    assert (data(box)["v"], data(box)["b"]) == ("pushed", 2)


def test_check_and_diff_see_what_is_set(box: Box, work: Work) -> None:
    work.commit({".salt/PILLAR.sample": SAMPLE + "    pw: none\n    dsn: 'db://me:{pw}@h/{v}'\n"})
    work.push()
    sets(box, "v=one", "db.host=x")
    sets(box, f"pw={SECRET}", source="stdin")
    assert said(corpus(box, "diff", "hello", "2", "3")).splitlines()[1:4] == [
        '  cfg ~ data.db.host: "localhost" -> "x"', '  cfg ~ data.dsn: "db://me:none@h/default" -> "db://me:none@h/one"',
        '  cfg ~ data.v: "default" -> "one"',
    ]  # fmt: skip
    found = said(corpus(box, "diff", "hello"))
    assert '  cfg ~ data.pw: "none" -> "********"' in found and "hunter2" not in found
    sets(box, "v={{ nothing }}", "debgu=1", deploy=False)
    checked = corpus(box, "check", "hello")
    assert (checked.code, "nothing reads data.debgu; did you mean debug?" in said(checked)) == (0, True), said(checked)
    assert asked(box, "status", "hello")["drift"] == []


# what is refused


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    folder = tmp_path_factory.mktemp("live")
    with shared_box(folder, page="one") as box:
        with world(folder / "second"):
            work = box.work()
            work.commit(FILES)
            work.push()
            sets(box, "a.b=1", "t=text", deploy=False)
        yield box


REFUSALS = [
    ("debug=yes", "debug must be true or false (PILLAR.sample), not text", "corpus set hello debug=true"),
    ("debug=off", "debug must be true or false (PILLAR.sample), not text", "corpus set hello debug=false"),
    ("db=x", "db is a mapping (PILLAR.sample)", "set keys in it: db.host, db.port"),
    ("a=x", "a is a mapping (corpus set)", "set keys in it: a.b"),
    ("hosts.first=x", "hosts.first cannot be set: hosts is a list (PILLAR.sample)", "set hosts itself"),
    ("v.x=1", "v.x cannot be set: v is text (PILLAR.sample)", "set v itself"),
    ("t.x=1", "t.x cannot be set: t is text (corpus set)", "set t itself"),
    ("name=x", "name is fixed by the host and cannot be set", "for a variable of that name use data.name"),
    (
        "project_root=/",
        "project_root is fixed by the host and cannot be set",
        "for a variable of that name use data.project_root",
    ),
    ("keep_archives=5", "keep_archives is a key of cfg, not a variable of the project", None),
    ("data=5", "data is a key of cfg, not a variable of the project", None),
    ("env_defaults.prod.v=5", "env_defaults is a key of cfg, not a variable of the project", None),
    ("=x", "empty key", None),
    ("a..b=x", "invalid key 'a..b'", None),
    ("v=a\x1bb", "v has the character U+001B in its value", None),
]


@pytest.mark.parametrize(("pair", "message", "hint"), REFUSALS)
def test_what_does_not_fit_is_refused_in_one_line(live: Box, pair: str, message: str, hint: str | None) -> None:
    before = live.ref(repo="pillar")
    with pytest.raises(CorpusError) as caught:
        sets(live, "ok=1", pair)
    assert (caught.value.message, caught.value.exit_code) == (message, 2)
    assert hint is None or plain(str(caught.value.hint).encode()) == hint
    assert str(caught.value.hint).isprintable() and caught.value.hint
    assert (live.ref(repo="pillar"), live.exists(3)) == (before, False)


def test_a_bool_takes_text_that_is_quoted(live: Box) -> None:
    assert sets(live, 'debug="no"', deploy=False)["state"] == "stored"
    sets(live, unset=("debug",), deploy=False)


def test_a_misspelt_key_is_named_as_in_a_pushed_pillar(live: Box) -> None:
    output = corpus(live, "set", "hello", "debg=true", "--no-deploy")
    assert "warning: corpus-set.yaml line 5: nothing reads data.debg; did you mean debug?" in said(output)
    sets(live, unset=("debg",), deploy=False)


@pytest.mark.parametrize(("key", "message"), [
    ("nope", "nope is not set"), ("a.c", "a.c is not set"),
    ("db.host", "db.host was not set by corpus set; its value is from PILLAR.sample"),
    ("db", "db was not set by corpus set; its value is from PILLAR.sample"),
])  # fmt: skip
def test_unset_says_where_a_value_is_from(live: Box, key: str, message: str) -> None:
    before = live.ref(repo="pillar")
    with pytest.raises(CorpusError) as caught:
        sets(live, unset=("t", key), deploy=False)
    assert caught.value.message == message
    assert live.ref(repo="pillar") == before, "all of it or nothing"


@pytest.mark.parametrize(("given", "message"), [
    (["set", "hello", "x"], "expected KEY=VALUE, found 'x'"),
    (["set", "hello", "a=-", "b=-"], "a and b cannot both come from standard input"),
    (["unset", "hello"], "name the keys to unset"),
    (["set", "nobody", "a=1"], "unknown project 'nobody'"),
])  # fmt: skip
def test_wrong_usage(live: Box, given: list[str], message: str) -> None:
    output = corpus(live, *given)
    assert (output.code, plain(output.stderr).splitlines()[0]) == (2, f"error: {message}")


def test_a_file_of_somebody_else_is_left_alone(box: Box, work: Work) -> None:
    pillar = box.work(repo="pillar")
    pillar.commit({**pillar_of("x"), FILE: "data: {v: theirs}\n"})
    pushed = pillar.push(options=("deploy",))
    assert "warning: corpus-set.yaml: it is ignored" in pushed.text
    assert value(box) == "x"
    with pytest.raises(CorpusError, match="was not written by corpus set") as caught:
        sets(box, "v=1")
    assert str(caught.value.hint) == f"rename it; or restore its first line, if it was removed: git log -p {FILE}"
    assert content(box) == "data: {v: theirs}\n"
    (pillar.path / FILE).unlink()
    (pillar.path / FILE).symlink_to("init.sls")
    pillar.commit()
    pillar.push()
    with pytest.raises(CorpusError, match="was not written by corpus set"):
        sets(box, "v=1")


@pytest.mark.parametrize(("text", "said_"), [
    ("data: [", "corpus-set.yaml line 3: YAML:"),
    ("data: {a: &x [b], c: *x}", "corpus-set.yaml line 2: YAML: found an alias"),
    ("dta: {v: 1}", "corpus-set.yaml: expected only the keys data and secrets"),
])  # fmt: skip
def test_a_pushed_file_that_is_damaged_is_refused(box: Box, work: Work, text: str, said_: str) -> None:
    sets(box, "b=1", deploy=False)
    pillar = box.work(repo="pillar")
    pillar.git("pull", "--quiet", pillar.remote, "master")
    pillar.commit({FILE: content(box).splitlines()[0] + "\n" + text + "\n"})
    pushed = pillar.push()
    assert pushed.code == 1 and said_ in pushed.text, pushed.text


def test_a_freeze_refuses_it_unless_it_deploys_nothing(box: Box, work: Work) -> None:
    assert corpus(box, "freeze", "hello", "moving house").code == 0
    output = corpus(box, "set", "hello", "v=1")
    assert output.code == 3 and "moving house" in plain(output.stderr)
    assert box.ref(repo="pillar") is None
    assert corpus(box, "set", "hello", "v=1", "--no-deploy").code == 0


# values


ODD = [
    "{{ 7*7 }}", "{name}", "{% raw %}", "#!py", "a: b", "- x", "&a *a", "NO", "1.10", "007", "a\nb\n",
    "\u00e4\U0001f600", "'\"\\", " ",
]  # fmt: skip


def test_values_reach_cfg_as_they_are(box: Box, work: Work) -> None:
    pairs = [f"odd{place}={text}" for place, text in enumerate(ODD)]
    assert sets(box, *pairs, f"list={json.dumps(ODD)}")["state"] == "deployed"
    found = data(box)
    assert [found[f"odd{place}"] for place in range(len(ODD))] == found["list"] == ODD
    assert sets(box, *pairs)["state"] == "unchanged"


# secrets


def given(box: Box, *words_: str, stdin: bytes) -> Output:
    return run(words(box, *words_), check=False, stdin=stdin, timeout=120)


def test_a_secret_from_standard_input_is_seen_nowhere(
    new_box: Callable[..., Box], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = tmp_path / "bin/git"
    recorder.parent.mkdir()
    real = run(["sh", "-c", "command -v git"]).text
    recorder.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >>{tmp_path}/argv\nenv >>{tmp_path}/argv\nexec {real} "$@"\n')
    recorder.chmod(0o755)
    monkeypatch.setenv("PATH", f"{recorder.parent}:{os.environ['PATH']}")
    box = new_box()
    box.init()
    box.start()
    gate = GATE.replace("{0}", str(box.root)).replace("- name: ", f"- name: env >{tmp_path}/env; ")
    show = "show:\n  cmd.run:\n    - name: echo {{ cfg.data.smtp.pw }}\n"
    work = box.app(files={**FILES, ".salt/PILLAR.sample": SAMPLE + "    smtp: {pw: default}\n",
                          ".salt/20_show.sls": show, ".salt/30_gate.sls": gate})  # fmt: skip
    (box.root / "gate").touch()
    assert work.push().code == 0
    (box.root / "gate").unlink()
    results: list[Output] = []
    asking = threading.Thread(
        target=lambda: results.append(given(box, "set", "hello", "smtp.pw=-", stdin=SECRET.encode() + b"\n"))
    )
    asking.start()
    until(lambda: box.exists(2) and "install 30_gate" in box.steps(2), 60)
    assert everywhere(b"smtp.pw=-"), "the command is among those that are looked at"
    assert not everywhere(SECRET.encode())
    (box.root / "gate").touch()
    asking.join(60)
    assert results[0].code == 0, results[0].stderr
    box.ended(2)
    assert data(box)["smtp"]["pw"] == "********" == asked(box, "set", "hello")["smtp"]["pw"]
    assert asked(box, "config", "hello", "--show-secrets")["data"]["smtp"]["pw"] == SECRET
    texts = [results[0].stdout + results[0].stderr, (tmp_path / "argv").read_bytes(), (tmp_path / "env").read_bytes()]
    state = box.host.state_dir
    texts += [
        path.read_bytes() for path in [*state.glob("store.sqlite*"), *state.rglob("*.log"), box.root / "daemon.log"]
    ]
    texts += [corpus(box, *words_, "hello").stdout for words_ in (("history", "--json"), ("log",), ("set",))]
    assert "********" in box.log(2)
    assert "commit-tree" in (tmp_path / "argv").read_text()
    assert not [text for text in texts if b"hunter2" in text]


def test_a_secret_on_a_command_line_is_warned_of(live: Box) -> None:
    output = corpus(live, "set", "hello", "api_token=abcdefghi", "token_ttl=30", "--no-deploy")
    assert said(output).splitlines()[0] == (
        "warning: api_token was on a command line, where others can see it; api_token=- reads standard input"
    )
    assert "token_ttl" not in said(output).splitlines()[1].partition(": ")[0]


def test_standard_input_is_text(live: Box) -> None:
    assert given(live, "set", "hello", "in=-", "--no-deploy", stdin=b" 8000\n\n").code == 0
    assert git_data(live)["in"] == " 8000\n"


@pytest.mark.parametrize("stdin", [b"", b"x" * (40 << 10), b"a\0b"])
def test_standard_input_that_is_no_value_is_refused(live: Box, stdin: bytes) -> None:
    output = given(live, "set", "hello", "in2=-", "--no-deploy", stdin=stdin)
    assert output.code == 2 and len(output.stderr.splitlines()) == 2, output.stderr
    assert "in2" not in git_data(live)


def test_a_terminal_asks_and_does_not_show(live: Box) -> None:
    seen = at_a_terminal(words(live, "set", "hello", "asked=-", "--no-deploy"), b"asked: ", b"typed-s3cret\n")
    assert b"typed" not in seen
    assert git_data(live)["asked"] == "typed-s3cret"
