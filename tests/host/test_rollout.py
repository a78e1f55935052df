"""Rollouts on real daemons behind a real sshd: prepared everywhere, decided once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.fleet import FleetBox, fleet_box

NAMES = ("n1", "n2", "n3")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetBox]:
    with fleet_box(tmp_path_factory.mktemp("fleet"), *NAMES) as found:
        found.know()
        found.link()
        yield found


def pages(fleet: FleetBox) -> dict[str, str]:
    """Return what each node serves."""
    places = {name: each.box.project().tree / "index.html" for name, each in fleet.nodes.items()}
    return {name: place.read_text() if place.exists() else "" for name, place in places.items()}


def live(fleet: FleetBox) -> set[str | None]:
    return {each.box.row().code for each in fleet.nodes.values()}


def test_one_push_is_live_on_all_nodes(fleet: FleetBox) -> None:
    work = fleet.box.app("one")
    pushed = work.push()
    print(pushed.transcript)
    assert pushed.code == 0
    assert set(pages(fleet).values()) == {"one"}
    assert live(fleet) == {work.head} == {fleet.box.ref()}
