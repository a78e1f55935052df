"""Convert values to plain data and back by their types: for stored JSON and for input from outside.

The only user of msgspec. Unknown fields, such as those of a newer version, are ignored.
"""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar

import msgspec

Value = TypeVar("Value")
OfRow = TypeVar("OfRow", bound="Row")


class Row(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """The base of values of which there are tens of thousands: rows of plain fields, as JSON a list.

    They are made and compared faster than named tuples, and Python's garbage collector does not look at them.
    """

    def but(self: OfRow, **changes: Any) -> OfRow:
        """Return this row with some fields changed."""
        return msgspec.structs.replace(self, **changes)


def plain(value: Any) -> Any:
    """Return a value as JSON types: mappings, lists, strings, numbers."""
    return msgspec.to_builtins(value)


def brief(value: Any) -> Any:
    """Return a value as JSON types, without the fields of dataclasses that have their default."""
    if is_dataclass(value) and not isinstance(value, type):
        found = ((each, getattr(value, each.name)) for each in fields(value))
        return {each.name: brief(one) for each, one in found if each.default is MISSING or one != each.default}
    if isinstance(value, (tuple, list)):
        return [brief(each) for each in value]
    return plain(value)


def read(data: bytes, kind: type[Value]) -> Value:
    """Return JSON as a value of a type, several times as fast as `json` and `typed`; raise ValueError."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise ValueError(str(exc)) from exc


def written(value: Any) -> bytes:
    """Return a value as JSON in ASCII, as `json` without spaces does, but fast; raise ValueError if it is not ASCII."""
    found = msgspec.json.encode(value)
    if not found.isascii():
        raise ValueError("not ASCII")
    return found


def typed(data: Any, kind: type[Value]) -> Value:
    """Return plain data as a value of a type; raise ValueError that names the wrong field."""
    return msgspec.convert(data, kind)
