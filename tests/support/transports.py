"""What every transport does: the same cases are run over each, as methods of `Contract`."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from corpushooks.core.errors import CorpusError, GitError, RefusedError, UnreachableError, UsageError
from corpushooks.core.project import Project
from corpushooks.core.rollouts import Node
from corpushooks.fleet.transport import Transport
from corpushooks.protocol.answers import VERSION
from corpushooks.system.patience import beside
from tests.support.box import until

ANSWER = 60.0  # seconds; a slow machine needs many
SHORT = 2.0  # seconds, where no answer will come
EPOCH = 1_700_000_000


class Reach(ABC):
    """A transport, and one node at the end of it, which was given the project `hello`."""

    transport: Transport
    node: Node
    project: Project  # of the controller
    commits: list[str]  # of it

    @abstractmethod
    def frozen(self) -> AbstractContextManager[None]:
        """Let the node hear, and say nothing."""

    @abstractmethod
    def cut(self) -> AbstractContextManager[None]:
        """Cut the line to the node: what was asked is never answered, and nothing can be asked."""

    @abstractmethod
    def brought(self, number: int, repo: str = "project") -> str | None:
        """Return the commit that the node has for a rollout."""

    @abstractmethod
    def others(self) -> Project:
        """Return a project of the controller that the node was not given."""

    def ask(self, name: str, limit: float = ANSWER, **fields: Any) -> dict[str, Any]:
        return self.transport.ask(self.node, f"node {name}", fields, limit)

    def order(self, number: int, **fields: Any) -> dict[str, Any]:
        """Return the fields of an order."""
        given = {"epoch": EPOCH, "number": number, "not_after": time.time() + 60, "lease": 60.0, "keeps": False}
        return {"project": "hello", "code": self.commits[-1], "pillar": "", "who": "ann", **given, **fields}


class Contract:
    """The cases. A class with a fixture `reach` runs them."""

    def test_a_node_says_what_it_is(self, reach: Reach) -> None:
        found = reach.ask("hello")["value"]
        assert found["protocol"] == VERSION and "hello" in found["projects"]

    def test_the_error_of_a_node_is_ours(self, reach: Reach) -> None:
        with pytest.raises(RefusedError, match=r"^the order is \d+ s late; nothing was changed$"):
            reach.ask("prepare", **reach.order(1, not_after=time.time() - 60))
        with pytest.raises(RefusedError, match="rollout 1 was not prepared here"):
            reach.ask("switch", project="hello", epoch=EPOCH, number=1, not_after=time.time() + 60)
        with pytest.raises(UsageError, match=r"^invalid request: epoch$"):
            reach.ask("outcome", project="hello")
        with pytest.raises(RefusedError, match="all nodes of a project have one environment") as wrong:
            reach.ask("adopt", project="hello", environment="dev", branch="master", epoch=EPOCH, node="n1")
        assert "init hello --env dev" in str(wrong.value.hint)

    def test_no_error_of_a_node_is_silence(self, reach: Reach) -> None:
        for name, fields in (("prepare", reach.order(1, code="0" * 40)), ("outcome", {"project": "hello"})):
            with pytest.raises(CorpusError) as wrong:
                reach.ask(name, **fields)
            assert not isinstance(wrong.value, UnreachableError)

    def test_of_what_a_node_has_not_heard_it_knows_nothing(self, reach: Reach) -> None:
        assert reach.ask("outcome", project="hello", epoch=EPOCH, number=1)["phase"] == "unknown"

    def test_what_has_not_arrived_has_no_log(self, reach: Reach) -> None:
        with pytest.raises(RefusedError, match="rollout 1 of hello never arrived here"):
            reach.ask("log", project="hello", epoch=EPOCH, number=1)

    def test_a_controller_lets_nodes_run_plans_and_tasks_only(self, reach: Reach) -> None:
        about = {"project": "hello", "epoch": EPOCH, "number": 1, "not_after": time.time() + 60}
        for kind in ("deploy", "rollback", "repair", "edit", "no such"):
            with pytest.raises(UsageError, match=r"^invalid request: kind$"):
                reach.ask("request", kind=kind, **about)
        with pytest.raises(RefusedError, match=r"^the order is \d+ s late; nothing was changed$"):
            reach.ask("request", kind="task", task="x", **{**about, "not_after": time.time() - 60})

    def test_commits_are_brought_and_can_be_brought_twice(self, reach: Reach) -> None:
        first, second = reach.commits
        for _ in range(2):
            reach.transport.send(reach.node, reach.project, 1, first, "", ANSWER)
        reach.transport.send(reach.node, reach.project, 2, second, "", ANSWER)
        assert (reach.brought(1), reach.brought(2), reach.brought(2, "pillar")) == (first, second, None)
        reach.transport.send(reach.node, reach.project, 1, second, "", ANSWER)  # another controller store began anew
        assert reach.brought(1) == second

    def test_what_is_not_here_cannot_be_brought(self, reach: Reach) -> None:
        with pytest.raises(GitError):
            reach.transport.send(reach.node, reach.project, 3, "0" * 40, "", ANSWER)
        assert reach.brought(3) is None

    def test_what_was_not_given_to_a_node_is_not_brought(self, reach: Reach) -> None:
        with pytest.raises((GitError, UnreachableError)):
            reach.transport.send(reach.node, reach.others(), 3, reach.commits[0], "", ANSWER)

    def test_a_node_that_is_silent_is_unreachable_for_as_long(self, reach: Reach) -> None:
        with reach.frozen(), pytest.raises(UnreachableError):
            reach.ask("hello", SHORT)
        assert reach.ask("hello")

    def test_bringing_commits_to_a_silent_node_ends(self, reach: Reach) -> None:
        with reach.frozen(), pytest.raises(UnreachableError):
            reach.transport.send(reach.node, reach.project, 4, reach.commits[0], "", SHORT)
        reach.transport.send(reach.node, reach.project, 5, reach.commits[0], "", ANSWER)
        assert reach.brought(5)

    def test_a_check_is_asked_while_a_node_is_silent_and_can_end_it(self, reach: Reach) -> None:
        calls = []

        def check() -> None:
            calls.append(1)
            if len(calls) > 5:
                raise KeyError("no more")

        with reach.frozen():
            for act in (self._hello, self._send):
                calls.clear()
                with pytest.raises(KeyError):
                    act(reach, check)
        assert reach.ask("hello")

    @staticmethod
    def _hello(reach: Reach, check: Callable[[], None]) -> None:
        reach.transport.ask(reach.node, "node hello", {}, ANSWER, check)

    @staticmethod
    def _send(reach: Reach, check: Callable[[], None]) -> None:
        reach.transport.send(reach.node, reach.project, 6, reach.commits[0], "", ANSWER, check)

    def test_after_a_cut_line_nothing_is_known_and_later_it_is_asked(self, reach: Reach) -> None:
        asked = threading.Event()

        def check() -> None:
            asked.set()

        with reach.frozen():  # it takes the question, and the line is cut before there is an answer
            answer = beside(lambda: reach.transport.ask(reach.node, "node hello", {}, ANSWER, check))
            until(asked.is_set)
            with reach.cut():
                with pytest.raises(UnreachableError):
                    answer.result(2 * ANSWER)
                with pytest.raises(UnreachableError):
                    reach.ask("hello", SHORT)
                with pytest.raises(UnreachableError):
                    reach.transport.send(reach.node, reach.project, 7, reach.commits[0], "", SHORT)
        assert reach.ask("hello")
        assert reach.brought(7) is None

    def test_a_line_that_was_cut_while_nobody_asked_is_not_noticed(self, reach: Reach) -> None:
        assert reach.ask("hello")
        with reach.cut():
            pass
        assert reach.ask("hello")

    def test_several_ask_one_node_at_once(self, reach: Reach) -> None:
        fields = {"project": "hello", "epoch": EPOCH, "number": 1}
        answers = [beside(lambda: reach.ask("outcome", **fields)) for _ in range(6)]
        assert {each.result(ANSWER)["phase"] for each in answers} == {"unknown"}
