"""The page on JSON, and whether what is given agrees with it."""

from __future__ import annotations

import re
from typing import Any

from tests.support.places import TOP

PAGE = TOP / "docs/json.md"


TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,), "number": (int, float), "time": (int, float), "boolean": (bool,), "array": (list,),
    "object": (dict,), "null": (type(None),),
}  # fmt: skip


def sections() -> dict[str, dict[str, str]]:
    """Return what each section of the page says: key -> type."""
    found = {}
    for part in PAGE.read_text().split("\n## ")[1:]:
        rows = re.findall(r"^\| `(\w+)` \| ([\w ]+) \| ", part, re.MULTILINE)
        found[part.partition("\n")[0]] = dict(rows)
    return found


def agrees(value: Any, told: dict[str, str]) -> None:
    """See that a mapping has the keys that are told, and values of these types."""
    assert list(value) and set(value) == set(told)
    for key, kind in told.items():
        types = tuple(each for word in kind.split(" or ") for each in TYPES[word])
        assert isinstance(value[key], types), key
        assert bool in types or not isinstance(value[key], bool), key
