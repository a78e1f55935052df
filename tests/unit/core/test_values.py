"""Dataclasses for modules with dozens of them, compared with those of Python."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from corpushooks.core import records
from corpushooks.core.values import dataclass as ours


def made(decorate: Any, **how: bool) -> Any:
    @decorate(frozen=True, **how)
    class Value:
        """A value."""

        one: int
        two: str = "two"
        many: list[int] = dataclasses.field(default_factory=list)

        @property
        def double(self) -> int:
            return 2 * self.one

    Value.__module__, Value.__qualname__ = __name__, "Value"
    return Value


Value = made(ours)
PAIRS = [(Value, made(dataclasses.dataclass)), (made(ours, kw_only=True), made(dataclasses.dataclass, kw_only=True))]
SAME: dict[str, Callable[[Any], object]] = {
    "shown": lambda kind: repr(kind(one=1, many=[3])),
    "equal": lambda kind: (kind(one=1) == kind(one=1), kind(one=1) == kind(one=2), kind(one=1) == 1),
    "as a mapping": lambda kind: dataclasses.asdict(kind(one=1)),
    "replaced": lambda kind: repr(dataclasses.replace(kind(one=1, many=[3]), one=2)),
    "its fields": lambda kind: [(each.name, each.kw_only) for each in dataclasses.fields(kind)],
    "a property": lambda kind: kind(one=2).double,
    "matched": lambda kind: kind.__match_args__,
    "read": lambda kind: repr(records.typed({"one": 1, "more": 2}, kind)),
    "written": lambda kind: records.plain(kind(one=1)),
    "copied": lambda kind: repr(copy.deepcopy(kind(one=1))),
    "no default is shared": lambda kind: kind(one=1).many is kind(one=1).many,
}
WRONG: dict[str, Callable[[Any], object]] = {
    "missing": lambda kind: kind(two="a"),
    "unknown": lambda kind: kind(one=1, three=3),
    "twice": lambda kind: kind(1, one=1),
    "too many": lambda kind: kind(1, "2", [3], 4),
    "assigned": lambda kind: setattr(kind(one=1), "one", 2),
    "assigned anew": lambda kind: setattr(kind(one=1), "three", 2),
    "deleted": lambda kind: delattr(kind(one=1), "one"),
    "hash of a list": lambda kind: hash(kind(one=1)),
}


@pytest.mark.parametrize("what", SAME)
@pytest.mark.parametrize("kinds", PAIRS, ids=["by position", "by name"])
def test_they_do_the_same(kinds: tuple[Any, Any], what: str) -> None:
    assert SAME[what](kinds[0]) == SAME[what](kinds[1])


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("kinds", PAIRS, ids=["by position", "by name"])
def test_they_refuse_the_same(kinds: tuple[Any, Any], what: str) -> None:
    with pytest.raises((TypeError, AttributeError)) as theirs:
        WRONG[what](kinds[1])
    with pytest.raises(theirs.type):
        WRONG[what](kinds[0])


def test_by_position() -> None:
    value = Value(1, "b", [2])
    assert (value.one, value.two, value.many) == (1, "b", [2])
    assert Value(1, many=[2]) == Value(one=1, many=[2])


def test_equal_values_have_one_hash_and_can_be_pickled() -> None:
    @ours(frozen=True)
    class Key:
        a: int
        b: str = ""

    assert len({Key(1), Key(1), Key(2)}) == 2
    assert pickle.loads(pickle.dumps(Value(1, "x"))) == Value(1, "x")


def test_a_nested_value_is_read_by_its_type() -> None:
    @dataclasses.dataclass(frozen=True)
    class Outer:
        inner: Value  # type: ignore[valid-type]

    Outer.__annotations__["inner"] = Value
    Outer.__dataclass_fields__["inner"].type = Value
    assert records.typed({"inner": {"one": 5}}, Outer) == Outer(Value(5))
