"""Salt's Jinja renderer, with the calling line in the errors of imported macros, since the caller can fix them."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any

import salt.renderers.jinja as stock
from salt.exceptions import SaltRenderError

__opts__: dict[str, Any]  # Salt's loader fills these in
__salt__: dict[str, Any]
__grains__: dict[str, Any]
__pillar__: dict[str, Any]
__proxy__: dict[str, Any]
__salt_system_encoding__: str

NAMES = ("__opts__", "__salt__", "__grains__", "__pillar__", "__proxy__")
OWN = "<template>"  # Jinja's name of a text without a file: the SLS itself


def render(template_file: Any, saltenv: str = "base", sls: str = "", argline: str = "", **given: Any) -> Any:
    """Render as Salt does. Salt's loader gives the arguments; **given is part of that interface."""
    for name in NAMES:
        setattr(stock, name, globals().get(name, {}))
    stock.__salt_system_encoding__ = "utf-8"
    try:
        return stock.render(template_file, saltenv, sls, argline, **given)
    except SaltRenderError as exc:
        caller = _caller(exc)
        if caller and isinstance(exc.args[0], str):
            exc.args = (f"{exc.args[0]}\n(called from line {caller})", *exc.args[1:])
        raise


def _caller(exc: BaseException) -> int | None:
    """Return the line of the SLS whose call failed in another file; None if the error is in the SLS itself."""
    frames = list(_frames(exc.__context__.__traceback__ if exc.__context__ else None))
    if not frames or frames[-1][0] == OWN:
        return None
    return next((line for name, line in reversed(frames) if name == OWN), None)


def _frames(trace: TracebackType | None) -> Iterator[tuple[str, int]]:
    """Yield the templates of a traceback rewritten by Jinja, the outermost first: name, line."""
    while trace is not None:
        if "__jinja_exception__" in trace.tb_frame.f_globals:
            yield trace.tb_frame.f_code.co_filename, trace.tb_lineno
        trace = trace.tb_next
