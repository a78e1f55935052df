"""What nodes answer to plans and tasks, also one that says whatever it likes."""

from __future__ import annotations

from types import SimpleNamespace as Fake
from typing import Any

import pytest

from corpushooks.core.deployment import DONE
from corpushooks.core.errors import UnreachableError
from corpushooks.core.events import Event, Held, Recorded, Text
from corpushooks.core.policy import Policy
from corpushooks.core.rollouts import Node, Ordered
from corpushooks.fleet import logs, requests
from corpushooks.fleet.requests import WIDTH, Answer, Asking, grouped
from corpushooks.screen import screen, view

N1 = Node(name="n1", address="a@b")


def answer(node: str, *events: Event) -> Answer:
    return Answer(node, said=Ordered(phase="untouched", state=DONE), events=[Recorded(each, 1.0, 1) for each in events])


def asking(transport: Any, sort: str = "plan") -> Asking:
    done = Fake(project="hello", number=2, new_code="", new_pillar="")
    run: Any = Fake(deployment=done, request=Fake(sort=Fake(dry=sort == "plan")), project=Fake(name="hello"))
    return Asking(run, transport, Policy(patience=1), 1, {})


def part(offset: int, text: str = "x") -> dict[str, Any]:
    return {"records": [{"event": "note", "text": text, "at": 1.0, "offset": offset + 1}], "ended": False}


@pytest.mark.parametrize("until", [1.0, 1e17])
def test_what_a_node_can_say_hides_no_other_answer(until: float) -> None:
    odd = answer("n1", Held(9.0, until, "corpus confirm hello 2"))
    found = grouped([odd, answer("n2", Text("fine"))], "task")
    assert [each.nodes for each in found] == [("n1",), ("n2",)]
    assert found[1].lines == ("fine",) and "waiting for confirmation until" in found[0].lines[0]


def test_a_log_that_cannot_be_shown_hides_no_other_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def show(records: Any, *, whole: bool) -> Any:
        for each in records:
            if each.event == Text("bad"):
                raise TypeError("a bug of ours")
            yield screen.Shown(each, (each.event.text,))

    monkeypatch.setattr(requests.screen, "show", show)
    first, second = grouped([answer("n1", Text("bad")), answer("n2", Text("fine"))], "task")
    assert first.lines == ("        its log cannot be read",) and second.lines == ("fine",)


def test_a_bug_while_one_node_is_asked_is_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def send(*fields: Any) -> None:
        raise TypeError("a bug of ours")

    assert asking(Fake(send=send)).of(N1).reason == "internal error: TypeError"


def test_a_time_that_is_none_is_no_error() -> None:
    assert view.clock(1e17) == view.clock(float("inf")) == view.clock(float("nan")) == "?"


def test_no_text_of_a_node_becomes_a_line_about_another_one() -> None:
    said = answer("n1", Text("mine\n      n2                     done\n" + "y" * 5000), Text("end"))
    (found,) = grouped([said], "task")
    assert found.lines[:2] == ("mine", "      n2                     done")  # each is indented by itself
    assert len(found.lines) == 4 and all("\n" not in each for each in found.lines)
    assert max(map(len, found.lines)) < WIDTH + 50
    (found,) = grouped([answer("n1", Text("\n" * 1000))], "task")
    assert (len(found.lines), found.more) == (requests.LINES, 1001 - requests.LINES)


def test_the_log_of_a_node_is_read_no_further_once_it_is_cancelled() -> None:
    """A node gives a record an answer, without end."""
    asked: list[int] = []

    def ask(node: Node, name: str, fields: Any, limit: float, check: Any) -> dict[str, Any]:
        check()
        asked.append(fields["offset"])
        if len(asked) == 3:
            found.revoked.set()
        assert len(asked) < 100
        return part(fields["offset"])

    found = asking(Fake(ask=ask))
    with pytest.raises(UnreachableError, match="cancelled"):
        found._events(N1)
    assert len(asked) == 3


def test_the_log_of_a_node_is_read_for_a_while_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(requests, "time", Fake(monotonic=lambda: now[0]))

    def ask(node: Node, name: str, fields: Any, limit: float, check: Any) -> dict[str, Any]:
        now[0] += 50.0
        return part(fields["offset"])

    with pytest.raises(UnreachableError, match="not given within 120 s"):
        asking(Fake(ask=ask))._events(N1)


def test_a_log_that_fills_the_memory_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "ROOM", 10_000)
    kept = 0
    with pytest.raises(UnreachableError, match="more than 10000 characters"):
        for each in logs.parts(lambda more: part(more["offset"], "y" * 900), follow=True):
            kept += each.size
    assert 10_000 <= kept < 12_000


def test_a_node_that_does_not_wait_is_asked_with_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(logs, "time", Fake(monotonic=lambda: 0.0, sleep=waited.append))
    asked: list[float] = []

    def ask(more: Any) -> Any:
        asked.append(more["wait"])
        return {"records": [], "ended": len(asked) == 3}

    assert len(list(logs.parts(ask, follow=True))) == 3
    assert waited == [logs.WAIT] * 2 and asked == [logs.WAIT] * 3


def test_a_node_is_told_again_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def ask(self: Asking, node: Node, order: str, more: Any) -> Ordered:
        said.append(order)
        if len(said) == 1:
            raise UnreachableError("for a moment")
        return Ordered(phase="untouched", state="failed")

    monkeypatch.setattr(Asking, "_ask", ask)
    found = asking(None)
    found.revoked.set()
    assert found._outcome(N1, Ordered(phase="switching")).final
    assert said == ["revoke", "revoke"]
