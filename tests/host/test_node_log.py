"""The log of each node of a rollout, fetched from the node: as the command, over ssh and by the API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from corpushooks.access import keys
from corpushooks.access.keyring import Keyring
from corpushooks.access.keys import Key
from corpushooks.core.errors import RefusedError, UnreachableError
from corpushooks.fleet import logs
from corpushooks.operations import node_logs
from corpushooks.store import log
from corpushooks.system.process import Output, run
from tests.support.box import Box, until
from tests.support.fleet import FleetBox, fleet_box
from tests.support.sshd import serving
from tests.support.web import Web

NAMES = ("n1", "n2")
WAITS = "while test -e {{ cfg.data_root }}/wait; do sleep 0.1; done; test ! -e {{ cfg.data_root }}/fail"
APP = {".salt/10_app.sls": f"app:\n  cmd.run:\n    - name: {WAITS}\n"}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetBox]:
    with fleet_box(tmp_path_factory.mktemp("fleet"), *NAMES) as found:
        found.know()
        found.link()
        assert found.box.app("one", files=APP).push().code == 0
        (found.nodes["n2"].box.project().data / "fail").touch()
        assert found.box.app("two").push().code == 1
        yield found


def newest(box: Box) -> int:
    with closing(box.history) as history:
        return history.newest("hello")


def whole(box: Box) -> str:
    """Return the newest log of a node, as the node shows it."""
    return box.log(newest(box))


def shown(fleet: FleetBox, *words: str) -> Output:
    return fleet.corpus("log", "hello", *words)


def test_each_node_gives_its_whole_log_of_a_rollout(fleet: FleetBox) -> None:
    for name, each in fleet.nodes.items():
        done = shown(fleet, "2", "--node", name)
        assert (done.code, done.stderr) == (0, b"")
        assert done.stdout.decode().rstrip("\n") == whole(each.box)
    assert "exit code 1, no output" in whole(fleet.nodes["n2"].box)
    assert shown(fleet, "--node", "n2").stdout == shown(fleet, "2", "--node", "n2").stdout
    first, second = (shown(fleet, number, "--node", "n1").stdout for number in ("1", "2"))
    assert first != second
    assert len(shown(fleet, "2", "--node", "n2", "--short").stdout) < len(second)


def test_the_log_of_a_node_as_json_has_its_events(fleet: FleetBox) -> None:
    found = json.loads(shown(fleet, "2", "--node", "n2", "--json").stdout)
    here = list(log.read(fleet.nodes["n2"].box.project().log_file(newest(fleet.nodes["n2"].box))))
    assert [each["at"] for each in found] == [each.at for each in here]
    assert found[-1]["event"] == "verdict"


def test_one_comes_over_ssh_and_by_the_api(fleet: FleetBox, tmp_path: Path) -> None:
    said = whole(fleet.nodes["n2"].box)
    (tmp_path / "sshd").mkdir()
    with serving(tmp_path / "sshd", fleet.box.host.root) as server:
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "ann"])
        kind, blob, _ = keys.parse((tmp_path / "ann.pub").read_text())
        with closing(fleet.box.history) as history:
            Keyring(history).add(Key("ann", kind, blob, "read", ("hello",)))
        ssh = server.command_with(tmp_path / "ann").split()
        user = server.url("").removeprefix("ssh://").rpartition(":")[0]
        words = [*ssh, "-T", "-p", str(server.port), user, "log hello 2 --node n2"]
        done = run(words, check=False, timeout=60)
        assert (done.code, done.stdout.decode().rstrip("\n")) == (0, said)
        done = run([*words[:-1], "log hello 2 --node n2;id"], check=False, timeout=60)
        assert done.code == 2 and b"usage: log" in done.stderr
    web = Web(fleet.box)
    web.start()
    try:
        path, token = "/api/v1/projects/hello/deployments/2/log?node=n2", web.token("read", "hello")
        answer = web.ask("GET", path, token=token)
        assert (answer.status, answer.text.rstrip("\n")) == (200, said)
        lines = web.ask("GET", path, token=token, headers={"Accept": "application/jsonl"}).text.splitlines()
        assert json.loads(lines[-1])["event"] == "verdict"
        assert web.ask("GET", path.replace("n2", "n9"), token=token).status == 400
    finally:
        web.stop()


def refused(done: Output) -> str:
    assert done.code != 0 and not done.stdout
    error, *hint = done.stderr.decode().splitlines()
    assert error.startswith("error: ") and len(hint) <= 1, done.stderr
    return error.removeprefix("error: ")


def test_what_was_not_on_a_node_is_said_in_a_line(fleet: FleetBox) -> None:
    not_on = "deployment 2 of hello was not on the node n9: it was on n1 n2"
    assert refused(shown(fleet, "2", "--node", "n9")) == not_on
    with closing(fleet.box.history) as history, history.change() as db:
        db.execute("INSERT INTO rollout (project, number, node, phase, epoch) VALUES ('hello', 2, 'n3', 'back', 1)")
    try:
        assert refused(shown(fleet, "2", "--node", "n3")) == "the node n3 was removed"
    finally:
        with closing(fleet.box.history) as history, history.change() as db:
            db.execute("DELETE FROM rollout WHERE node = 'n3'")


def test_a_silent_node_is_said_in_a_line(fleet: FleetBox) -> None:
    node = fleet.nodes["n2"]
    node.server.kill()
    try:
        assert refused(shown(fleet, "2", "--node", "n2")).startswith("n2 does not answer: ")
    finally:
        node.server.revive()
    assert shown(fleet, "2", "--node", "n2").code == 0


def test_a_running_rollout_is_followed_on_a_node(fleet: FleetBox) -> None:
    node = fleet.nodes["n1"].box
    number, there = newest(fleet.box) + 1, newest(node) + 1
    (fleet.nodes["n2"].box.project().data / "fail").unlink()
    (node.project().data / "wait").touch()
    pushing = fleet.box.app("three").start_push()
    until(lambda: node.exists(there) and any("install" in each for each in node.steps(there)), 60)
    now = shown(fleet, str(number), "--node", "n1")
    assert now.code == 0 and b"archive" in now.stdout and b"success" not in now.stdout
    (node.project().data / "wait").unlink()
    followed = shown(fleet, "--node", "n1", "-f")
    assert followed.code == 0
    assert followed.stdout.decode().rstrip("\n") == whole(node)
    assert pushing.wait(60) == 0


def test_the_key_of_a_controller_reads_no_other_log(fleet: FleetBox) -> None:
    """Neither of a deployment that is not its order, nor of a project that is not under it."""
    node = fleet.nodes["n1"]
    with fleet.store() as known:
        epoch = known.epoch()
    asked = [
        {"project": "hello", "epoch": epoch, "number": 999}, {"project": "own", "epoch": epoch, "number": 1},
        {"project": "hello", "epoch": 0, "number": 2}, {"project": "hello", "epoch": epoch, "number": 2, "offset": 3},
    ]  # fmt: skip
    lines = "".join(json.dumps({"v": 1, "op": "node log", **each}) + "\n" for each in asked)
    done = node.ssh(fleet.key, "node serve", stdin=lines.encode())
    unknown, other, epochless, odd = [json.loads(line)["error"] for line in done.stdout.splitlines()]
    assert unknown == "rollout 999 of hello never arrived here" == epochless.replace("rollout 2", "rollout 999")
    assert other == "own is not deployed by this controller"
    assert odd.startswith("invalid offset 3")


# what a node says


def part(*records: Any, ended: bool = True) -> dict[str, Any]:
    return {"records": list(records), "ended": ended}


def note(offset: int, text: str = "x", **more: Any) -> dict[str, Any]:
    return {"event": "note", "text": text, "at": 1.0, "offset": offset, **more}


WRONG = {
    "nothing": {}, "no list": {"records": 3, "ended": True}, "no mapping": part(3), "no offset": part({"at": 1}),
    "a text for an offset": part(note("1")),  # type: ignore[arg-type]
    "an offset that goes back": part(note(5), note(5)),
    "an offset without end": part(note(1 << 70)),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_nonsense_is_silence(what: str) -> None:
    with pytest.raises(UnreachableError, match="not understood"):
        logs.understood(WRONG[what], 0)


HOSTILE = {
    "no event": note(9, event=7), "one that is not known": note(9, event="sudo\x1b[31m"), "no time": note(9, at="now"),
    "a number to fill the memory": {"event": "step", "step": "x", "index": 10**2000, "at": 1, "offset": 9},
    "a wrong field": note(9, text=[1]), "too deep": note(9, text=json.loads("[" * 500 + "]" * 500)),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_a_record_that_is_no_event_is_a_line_that_cannot_be_read(what: str) -> None:
    (found,) = logs.understood(part(HOSTILE[what]), 0).records
    assert "cannot be read" in found.event.text or "unknown event" in found.event.text  # type: ignore[union-attr]
    assert found.event.text.isprintable() and found.offset == 9  # type: ignore[union-attr]


def test_what_a_node_says_is_cleaned_and_shortened() -> None:
    (found,) = logs.understood(part(note(9, "\x1b]0;title\x07red\x1b[31m\x00" + "y" * 9000)), 0).records
    text = found.event.text  # type: ignore[union-attr]
    assert text.startswith("red·yyy") and len(text) < 5000


def test_a_log_without_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MOST", 50)
    with pytest.raises(UnreachableError, match="more than 50 lines"):
        list(logs.parts(lambda more: part(note(more["offset"] + 1), ended=False), follow=False))
    asked: list[float] = []

    def silent(more: Any) -> Any:
        asked.append(more["wait"])
        return part(ended=len(asked) > 3)

    assert len(list(logs.parts(silent, follow=True))) == 4
    assert len(list(logs.parts(lambda more: part(ended=False), follow=False))) == 1


def test_a_long_log_comes_in_parts(fleet: FleetBox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_logs, "PART", 300)
    path = fleet.nodes["n1"].box.project().log_file(newest(fleet.nodes["n1"].box))
    here = list(log.read(path))
    parts = list(logs.parts(lambda more: _given(path, more["offset"]), follow=False))
    assert len(parts) > 3
    assert [each.offset for one in parts for each in one.records] == [each.offset for each in here]


def _given(path: Path, offset: int) -> dict[str, Any]:
    found = node_logs._part(log.read(path, offset), ended=True)
    return part(*found.records, ended=found.ended)


def test_an_older_node_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from corpushooks.core.rollouts import Node
    from corpushooks.protocol.messages import not_understood

    def ask(more: Any) -> Any:
        raise not_understood("op")

    named = node_logs._named(Node(name="n1", address="a@b"), logs.parts(ask, follow=False))
    with pytest.raises(RefusedError, match=r"^n1: invalid request: op$") as wrong:
        list(named)
    assert "upgrade corpushooks there" in str(wrong.value.hint)
