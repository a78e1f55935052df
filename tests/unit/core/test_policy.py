"""The setting `rollout`: which nodes, in which groups, and on which one migrations run."""

from __future__ import annotations

import json

import pytest

from corpushooks.core import records
from corpushooks.core.errors import ConfigError, RefusedError
from corpushooks.core.policy import Policy, policy
from corpushooks.core.rollouts import Node

NODES = (
    Node(name="db1", address="c@db1", labels=("db",)), Node(name="web1", address="c@web1", labels=("web", "eu")),
    Node(name="web2", address="c@web2", labels=("web",), drained=True),
)  # fmt: skip


@pytest.mark.parametrize("given, names", [
    ((), "db1 web1 web2"), (("label:web",), "web1 web2"), (("db1", "label:eu"), "db1 web1"), (("web2",), "web2"),
])  # fmt: skip
def test_nodes_are_chosen_by_name_or_label(given: tuple[str, ...], names: str) -> None:
    assert " ".join(each.name for each in Policy(nodes=given).chosen(NODES)) == names


@pytest.mark.parametrize("given, name", [
    (Policy(), "db1"), (Policy(nodes=("label:web",)), "web1"), (Policy(run_once="label:eu"), "web1"),
    (Policy(run_once="web2"), None), (Policy(nodes=("web2",)), None), (Policy(run_once="label:web"), "web1"),
])  # fmt: skip
def test_migrations_run_on_one_node_that_takes_part(given: Policy, name: str | None) -> None:
    once = given.once(NODES)
    assert (once.name if once else None) == name


def test_what_is_not_among_the_nodes_is_refused() -> None:
    for wrong, why in (
        (Policy(nodes=("web9",)), "rollout.nodes: hello is not on the node web9"),
        (Policy(nodes=("label:us",)), "rollout.nodes: no node has the label us"),
        (Policy(nodes=("label:web",), run_once="db1"), "rollout.run_once: hello is not on the node db1, or"),
    ):
        with pytest.raises(RefusedError) as found:
            wrong.check("hello", NODES)
        assert found.value.message.startswith(why) and "\n" not in found.value.message and found.value.hint
    Policy(nodes=("label:web", "db1"), run_once="db1").check("hello", NODES)


def test_where_migrations_run_is_a_group_of_its_own() -> None:
    names = ("a", "b", "c")
    assert Policy().groups(names) == [names]
    assert Policy(run_once="a").groups(names) == [("a",), ("b", "c")]
    assert Policy(run_once="a", canary=2).groups(names) == [("a", "b"), ("c",)]


def test_the_first_line_has_what_is_not_usual() -> None:
    assert Policy().words == Policy(nodes=("a",)).words == ""
    assert Policy(batch="50%", canary=1, run_once="db1").words == "batch 50%, canary 1, run_once db1"


def test_a_policy_is_recorded_whole() -> None:
    for each in (Policy(), Policy(nodes=("a", "label:b"), batch=3, lease=7.5, run_once="a", absent="later")):
        assert records.typed(json.loads(json.dumps(records.brief(each))), Policy) == each


@pytest.mark.parametrize("key, value", [
    ("nodes", "web1"), ("nodes", ["Web"]), ("nodes", ["label:"]), ("nodes", ["label:A b"]), ("nodes", [1]),
    ("run_once", "x/y"), ("run_once", 3), ("batch", 0), ("batch", "101"), ("canary", -1), ("lease", 4),
    ("absent", "maybe"),
])  # fmt: skip
def test_what_is_wrong_is_named(key: str, value: object) -> None:
    with pytest.raises(ConfigError) as found:
        policy({key: value})
    assert found.value.where == (f"rollout.{key}",) and "\n" not in str(found.value)
