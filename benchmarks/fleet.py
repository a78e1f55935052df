"""One push to several nodes: what it costs beside a push to one, and for how long nodes differ where one fails."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from benchmarks.hosts import committed, last, push
from benchmarks.measure import Row, beside, in_turn, timed, within
from corpushooks.core.deployment import ROLLED_BACK, Deployment
from corpushooks.core.events import StepBegan
from corpushooks.store import log
from tests.support.box import Box
from tests.support.fleet import FleetBox, fleet_box

NODES = 8
EMPTY: dict[str, str | None] = {".salt/00_state.sls": "{}\n"}
WAITS = {".salt/01_wait.sls": "wait:\n  cmd.run:\n    - name: sleep 2\n"}
FAILS = {
    ".salt/01_wait.sls": None,
    ".salt/02_fail.sls": "fail:\n  cmd.run:\n    - name: test ! -e {{ cfg.data_root }}/fail\n",
}
MOST = 5  # rounds


def fleets(folder: Path, rounds: int) -> list[Row]:
    """A push to eight nodes against one to one node, on the same cores; and one that fails on one of eight."""
    rounds = min(rounds, MOST)
    with fleet(folder / "one", 1) as one, fleet(folder / "many", NODES) as many:
        beyond: list[float] = []
        sides = [lambda: committed(many.box.work(), lambda: _beyond(many, beyond)), lambda: _push(one)]
        empty, single = in_turn(rounds, *sides)
        for each in (one, many):
            given(each, {**EMPTY, **WAITS})
        waits, waited = in_turn(rounds, lambda: _push(many), lambda: _push(one))
        given(many, {**EMPTY, **FAILS})
        mixed = _failures(many, rounds)
    against = "rollout to one node"
    return [
        within(f"rollout to {NODES} nodes, one empty SLS", empty, against, single, 4),
        beside("the same, install waits 2 s", waits, against, waited),
        beside(f"rollout to {NODES} nodes, beyond its slowest node", statistics.median(beyond[1:]), against, single),
        within("install fails on one of them: nodes differ", *mixed, 0.5),
    ]


@contextmanager
def fleet(folder: Path, count: int) -> Iterator[FleetBox]:
    """Be a controller and so many nodes, on which `hello` is deployed."""
    folder.mkdir()
    with fleet_box(folder, *(f"n{number}" for number in range(1, count + 1)), salt=True) as found:
        found.know()
        found.link()
        given(found, EMPTY)
        yield found


def given(found: FleetBox, files: dict[str, str | None]) -> None:
    """Deploy files."""
    found.box.work().commit(files)
    push(found.box)


def _push(found: FleetBox) -> float:
    return committed(found.box.work(), lambda: push(found.box))


def _beyond(found: FleetBox, beyond: list[float]) -> float:
    """Push; note how much of it was beyond what its slowest node did."""
    took = push(found.box)
    beyond.append(took - max((done.ended or 0) - (done.started or 0) for done in map(newest, boxes(found))))
    return took


def boxes(found: FleetBox) -> list[Box]:
    return [each.box for each in found.nodes.values()]


def newest(box: Box) -> Deployment:
    with closing(box.history) as history:
        return history.deployment("hello", history.newest("hello"))


def _failures(found: FleetBox, rounds: int) -> tuple[float, str, float]:
    """Push what fails on the last node; return how long nodes differed, and how long the push took."""
    mark = found.nodes[f"n{NODES}"].box.project().data / "fail"
    mark.touch()
    mixed, pushes = [], []
    for _ in range(rounds + 1):
        found.box.work().commit({"changed": str(time.time_ns())})
        number = last(found.box) + 1
        pushes.append(timed(lambda: found.box.work().push()))
        assert found.box.ended(number).state == ROLLED_BACK
        mixed.append(max(newest(box).ended or 0.0 for box in boxes(found)) - min(map(installed, boxes(found))))
    mark.unlink()
    return statistics.median(mixed[1:]), "that push", statistics.median(pushes[1:])


def installed(box: Box) -> float:
    """Return when a node began to install, or never."""
    records = log.read(box.project().log_file(newest(box).number), 0)
    began = (each.at for each in records if isinstance(each.event, StepBegan) and each.event.step == "install")
    return next(began, float("inf"))
