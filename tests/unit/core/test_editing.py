"""One setting is changed in the text of the settings: the rest of the text stays, and it says what was wanted."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from corpushooks.core.editing import UNSET, changed
from corpushooks.core.errors import UsageError

FULL = """\
# ours
keep_archives: 5  # enough

projects:
  # the shop
  shop:
    timeout: 600  # slow
    notify:
      - mailto://a
      # and
      - mailto://b
    # last
  blog:
    watch: true
engine: warm
"""
FLOW = "projects: {shop: {timeout: 600}, blog: {watch: true}}\nengine: warm\n"
TEXTS = {
    "full": FULL, "flow": FLOW, "empty": "", "nothing": "# a comment\n", "null": "projects:\nengine: warm\n",
    "braces": "projects: {}\n", "own flow": "projects:\n  shop: {timeout: 600}\n  blog:\n    watch: true\n",
    "own null": "projects:\n  shop:\n  blog:\n    watch: true\n", "no end": "engine: warm",
    "text": "projects:\n  shop:\n    rollback: |\n      always\n    watch: true\n",
    "deep": "projects:\n      shop:\n          rollout:\n              canaries: 1\n          timeout: 1\n",
}  # fmt: skip
CHANGES: list[tuple[str, Any]] = [
    ("timeout", 5), ("timeout", None), ("notify", ["mailto://c", "x: # y"]), ("watch", False), ("timeout", UNSET),
    ("notify", UNSET), ("rollback", "always"), ("rollback", UNSET), ("rollout", {"canaries": 2}),
]  # fmt: skip


@pytest.mark.parametrize(
    "change", CHANGES, ids=lambda change: f"{change[0]}-{'unset' if change[1] is UNSET else change[1]}"
)
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("project", ["shop", "new", "blog"])
def test_it_says_what_was_wanted_and_nothing_else(text: str, project: str, change: tuple[str, Any]) -> None:
    key, value = change
    before = yaml.safe_load(text) or {}
    own = dict((before.get("projects") or {}).get(project) or {})
    had = key in own
    own.pop(key, None)
    if value is not UNSET:
        own[key] = value
    new = yaml.safe_load(changed(text, project, key, value)) or {}
    if value is UNSET and not had:
        assert new == before
        return
    assert ((new.get("projects") or {}).get(project) or {}) == own
    for each in {*(before.get("projects") or {}), *(new.get("projects") or {})} - {project}:
        assert new["projects"][each] == before["projects"][each]
    assert {n: v for n, v in new.items() if n != "projects"} == {n: v for n, v in before.items() if n != "projects"}


def test_all_other_lines_stay() -> None:
    assert changed(FULL, "shop", "timeout", 5) == FULL.replace("600", "5")
    assert changed(FULL, "shop", "watch", True) == FULL.replace("    timeout", "    watch: true\n    timeout")
    assert changed(FULL, "blog", "watch", UNSET) == FULL.replace("  blog:\n    watch: true\n", "")
    assert changed(FULL, "new", "watch", True) == FULL.replace("  shop:", "  new:\n    watch: true\n  shop:")
    notified = changed(FULL, "shop", "notify", ["a"])
    assert notified.splitlines()[-5:] == [
        '    notify: ["a"]',
        "    # last",
        "  blog:",
        "    watch: true",
        "engine: warm",
    ]


def test_what_a_program_cannot_change_is_left_to_people() -> None:
    for text in ("{projects: {shop: {timeout: 1}}}", "x: &a {timeout: 1}\nprojects:\n  shop: *a\n"):
        try:
            assert yaml.safe_load(changed(text, "shop", "watch", True))["projects"]["shop"]["watch"] is True
        except UsageError as exc:
            assert "changed by a program" in exc.message
