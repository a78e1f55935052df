# ruff: noqa: F821  (Salt fills in the names with underscores)
"""Salt's YAML renderer, with the line and the rendered text in every error (the C parser keeps no text)."""

from __future__ import annotations

from typing import Any

import salt.renderers.yaml as stock
import yaml
from salt.exceptions import SaltRenderError

__opts__: dict[str, Any]  # Salt's loader fills it in


def render(yaml_data: Any, saltenv: str = "base", sls: str = "", argline: str = "", **kws: Any) -> Any:
    """Load rendered text as Salt does. Salt's loader gives the arguments; **kws is part of that interface."""
    text = yaml_data if isinstance(yaml_data, str) else yaml_data.read()
    stock.__opts__ = __opts__
    try:
        return stock.render(text, saltenv, sls, argline)
    except SaltRenderError as exc:
        raise _located(text) or exc from None


def _located(text: str) -> Any:
    """Load `text` again to find the position that the first error lacks; return an error or None."""
    try:
        yaml.load(text, Loader=stock.get_yaml_loader(""))
    except yaml.MarkedYAMLError as exc:
        if exc.problem_mark:
            return SaltRenderError(f"YAML: {exc.problem}", exc.problem_mark.line + 1, text)
    return None
