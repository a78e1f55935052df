"""SLS files of makina-states, run by a warm engine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from corpushooks import salt
from corpushooks.salt import Result, WarmEngine
from tests.support.world import World


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmEngine]:
    engine = WarmEngine(Path(sys.executable), log=tmp_path_factory.mktemp("worker") / "log")
    yield engine
    engine.close()


@pytest.fixture
def world(worker: WarmEngine, tmp_path: Path) -> World:
    return World(tmp_path, worker)


def configured(world: World, **config: Any) -> salt.Session:
    world.minion = replace(world.minion, config=config)
    session = world.session()
    session.configure({"name": "foo", "group": "web", "project_root": "/p", "data_root": "/d", "data": {}}, {})
    return session


def problems(session: salt.Session, sls: str) -> list[str]:
    """Return what is wrong with an SLS, but that a program which it installs is not there yet."""
    return [problem.message for problem in session.check([sls])[0] if problem.kind != "later"]


def run_one(world: World, text: str, **config: Any) -> Result:
    with configured(world, **config) as session:
        return session.run(world.sls("one", text))
