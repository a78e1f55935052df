"""Values to plain data and back, as their types say: what is kept in JSON, and what comes from elsewhere.

The only user of msgspec. What a newer version wrote beside what is known here is left out.
"""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar

import msgspec

Value = TypeVar("Value")


def plain(value: Any) -> Any:
    """Return a value as JSON has it: mappings, lists, texts, numbers."""
    return msgspec.to_builtins(value)


def brief(value: Any) -> Any:
    """Return a value as JSON has it, without the fields of dataclasses that are as they are by default."""
    if is_dataclass(value) and not isinstance(value, type):
        found = ((each, getattr(value, each.name)) for each in fields(value))
        return {each.name: brief(one) for each, one in found if each.default is MISSING or one != each.default}
    if isinstance(value, (tuple, list)):
        return [brief(each) for each in value]
    return plain(value)


def typed(data: Any, kind: type[Value]) -> Value:
    """Return plain data as a value of a type; raise ValueError with the place of what does not fit."""
    return msgspec.convert(data, kind)
