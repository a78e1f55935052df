"""What SLS files written for makina-states require and call, in the forms that they have it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from corpushooks.salt import WarmEngine
from tests.test_engines import World
from tests.test_makina_states import configured, problems, run_one


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmEngine]:
    engine = WarmEngine(Path(sys.executable), log=tmp_path_factory.mktemp("worker") / "log")
    yield engine
    engine.close()


@pytest.fixture
def world(worker: WarmEngine, tmp_path: Path) -> World:
    return World(tmp_path, worker)


ORDERED = """\
{% set made = salt['mc_utils.odict'](instance=False) %}
{% set one = made() %}{% do one.update({'z': 1}) %}{% do one.update({'a': 2}) %}
{% set two = salt['mc_utils.odict']() %}{% do two.update({'b': 3}) %}
{% set three = salt['mc_utils.odict']([('c', 4)]) %}
{{ made([('y', 1)]).keys() | join }} {{ one.keys() | join }} {{ two.keys() | join }} {{ three.keys() | join }}:
  test.nop: []
"""


def test_ordered_mappings_in_each_form(world: World) -> None:
    (state,) = run_one(world, ORDERED).states
    assert state.id == "y za b c"


REQUIRED = """\
include:
  - makina-states.localsettings.python
  - makina-states.services.db.postgresql
x:
  test.nop:
    - require:
      - pkgrepo: deadsnakes-ppa
      - pkg: deadsnakes
      - pkgrepo: pgsql-repo
      - pkg: postgresql-pkgs-client
      - pkg: postgresql-pkgs
"""


def test_ids_that_projects_require(world: World) -> None:
    with configured(world) as session:
        assert problems(session, world.sls("one", REQUIRED)) == []
