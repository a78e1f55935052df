"""What a rollout refuses instead of leaving it out without a word."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from corpushooks.core.deployment import Request
from corpushooks.core.errors import RefusedError
from corpushooks.fleet import rollout
from corpushooks.release import commits

ASKED = [{"only": ("sync",)}, {"skip": ("health",)}, {"steps": ("sync",)}]


def run_of(**asked: Any) -> Any:
    return SimpleNamespace(
        deployment=SimpleNamespace(new_code="c" * 40), request=Request(**asked), project=None,
        row=SimpleNamespace(environment="prod"),
    )  # fmt: skip


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_what_nodes_cannot_do_is_refused(asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "check_commit", lambda *_: None)
    (option,) = asked
    with pytest.raises(RefusedError, match=f"^{option} cannot be used with several nodes$"):
        rollout._check(run_of(**asked))
    rollout._check(run_of())
