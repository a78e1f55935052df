"""Templates and static files. Whatever is put into a page is escaped."""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
from starlette.responses import HTMLResponse, Response

from corpushooks.screen import view
from corpushooks.web import chart

HERE = Path(__file__).parent
MEDIA = {".css": "text/css", ".js": "text/javascript"}


def when(at: float | None) -> str:
    """Return a moment as people read it."""
    return "" if at is None else time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))


def moment(at: float) -> str:
    """Return a moment as programs read it."""
    return datetime.datetime.fromtimestamp(at, datetime.timezone.utc).isoformat(timespec="seconds")


def amount(size: float) -> str:
    """Return a number of bytes as people read it."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def _environment() -> jinja2.Environment:
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    found.filters |= {"when": when, "moment": moment, "short": view.short, "outcome": view.outcome, "ago": view.ago,
                      "named": view.named, "sort": chart.sort_of, "amount": amount}  # fmt: skip
    found.tests["covering"] = lambda projects, name: not projects or name in projects
    return found


def _static() -> dict[str, tuple[bytes, str]]:
    files = sorted((HERE / "static").iterdir())
    return {path.name: (path.read_bytes(), MEDIA[path.suffix]) for path in files if path.suffix in MEDIA}


@dataclass(frozen=True)
class Renderer:
    """What makes pages."""

    templates: jinja2.Environment = field(default_factory=_environment)
    static: Mapping[str, tuple[bytes, str]] = field(default_factory=_static)

    def page(self, name: str, shown: Mapping[str, Any], *, status: int = 200) -> Response:
        """Return a page."""
        return HTMLResponse(self.templates.get_template(name).render(shown), status)
