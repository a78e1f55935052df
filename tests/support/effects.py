"""The labels of the effects within steps, as the source of the package has them."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import corpushooks


@functools.cache
def parts() -> list[str]:
    """Return the labels of the effects within steps, as the package's source has them: a new one is covered at once."""
    found = []
    for path in sorted(Path(corpushooks.__file__).parent.rglob("*.py")):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)) if ".effect(" in text else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "effect":
                assert isinstance(node.args[0], (ast.Constant, ast.JoinedStr))
                found += [str(node.args[0].value)] if isinstance(node.args[0], ast.Constant) else []
    return list(dict.fromkeys(found))


MOMENTS = ("before", "after")
