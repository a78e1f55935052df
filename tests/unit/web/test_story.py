"""The page of a deployment, from the events of its log: bounded, whatever a log has."""

from __future__ import annotations

from corpushooks.web.story import KEPT, MOST, Story


def test_a_long_log_keeps_its_newest_lines_and_costs_no_more_each() -> None:
    story = Story()
    for number in range(40_000):
        story.add({"event": "output", "text": f"line {number} " + "x" * 90, "data": {}}, number)
    assert story.text.endswith("line 39999 " + "x" * 90 + "\n")
    assert len(story.text) == KEPT
    assert sum(map(len, story._texts)) < KEPT + 200


def test_every_list_of_a_page_has_an_end() -> None:
    story = Story()
    state = {"id": "a", "function": "cmd.run", "result": False}
    for number in range(3 * MOST):
        story.add({"event": "state", "text": "", "data": state}, number)
        story.add({"event": "step", "text": "", "data": {"step": "install"}}, number)
        story.add({"event": "sls", "text": "", "data": {"sls": "a", "errors": ["wrong"]}}, number)
    assert (len(story.failed), len(story.steps), len(story.errors)) == (MOST, MOST, MOST)
