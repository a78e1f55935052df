"""What Salt says is wrong, as problems of a kind, with their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from corpushooks.checks.finding import KINDS
from corpushooks.salt import problem

SAID = {
    "Specified SLS a.b in saltenv base is not available on the salt master or through a configured fileserver": (
        "missing", "included SLS a.b does not exist",
    ),
    "Jinja error: lib/none.jinja; line 2": ("missing", "imported file lib/none.jinja does not exist"),
    "Jinja variable 'salt' has no attribute 'a.b'; line 2": ("missing", "function a.b does not exist"),
    "Jinja error: PostgreSQL 9.4 is not supported here: use 15; line 2": (
        "missing", "Jinja error: PostgreSQL 9.4 is not supported here: use 15",
    ),
    "Jinja error: mc_none.jinja is not supported here: use another; line 2": (
        "missing", "mc_none.jinja is not supported here: use another; see: corpus help makina-states",
    ),
    "Rendering SLS 'base:one' failed: YAML: mapping values; line 2\n\n---\n a: b: c    <======================\n---": (
        "syntax", "YAML: mapping values (line 2 as rendered)",
    ),
    "State 'no.such' was not found in SLS 'one'": ("compile", "State 'no.such' was not found in SLS 'one'"),
    "Jinja syntax error: unexpected end; line 2": ("compile", "Jinja syntax error: unexpected end"),
}  # fmt: skip


@pytest.mark.parametrize("text", SAID)
def test_a_problem_has_its_kind_from_where_it_is_read(text: str, tmp_path: Path) -> None:
    file = tmp_path / "one.sls"
    file.write_text("first\n a: b: c\n")
    found = problem(text, file, [tmp_path])
    assert (found.kind, found.brief) == SAID[text]
    assert found.kind in KINDS
