"""The pillar of a project that was pushed."""

from __future__ import annotations

from tests.support.box import Box

SLS = "value:\n  file.managed:\n    - name: {{ cfg.data_root }}/value\n    - contents: '{{ cfg.data.v }}'\n"


def pillar_of(value: str) -> dict[str, str | None]:
    return {"init.sls": f"makina-projects.hello:\n  data:\n    v: {value}\n"}


def value(box: Box) -> str:
    return (box.project().data / "value").read_text().strip()
