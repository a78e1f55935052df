"""What both engines say of SLS files that are checked, and do with packages that are named twice."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from corpushooks.salt import SaltCallEngine, WarmEngine
from tests.support.world import World


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmEngine]:
    engine = WarmEngine(Path(sys.executable), log=tmp_path_factory.mktemp("worker") / "log")
    engine.warm()
    yield engine
    engine.close()


@pytest.fixture(params=["warm", "salt-call"])
def world(request: pytest.FixtureRequest, worker: WarmEngine, tmp_path: Path) -> World:
    return World(tmp_path, worker if request.param == "warm" else SaltCallEngine())


PKG = """
import json

def installed(name, pkgs=None, **_):
    with open("OUT/" + name, "a") as file:
        print(json.dumps(pkgs), file=file)
    return {"name": name, "result": True, "changes": {}, "comment": ""}
"""


def test_a_package_named_twice_is_installed_once(world: World) -> None:
    (world.root / "modules/_states").mkdir()
    (world.root / "modules/_states/pkg.py").write_text(PKG.replace("OUT", str(world.out)))
    lists = {"plain": "[b, a, b]", "version": "[a, {a: '1'}, b, {a: '1'}]", "both": "[{a: '1'}, {a: '2'}]"}
    text = "".join(f"{name}:\n  pkg.installed:\n    - pkgs: {pkgs}\n" for name, pkgs in lists.items())
    with world.session() as session:
        assert session.run(world.sls("doubled", text)).ok
    assert world.read("plain") == '["b", "a"]'
    assert world.read("version") == '[{"a": "1"}, "b"]'
    assert world.read("both") == '[{"a": "1"}, {"a": "2"}]'  # Salt says that it cannot be


def test_a_check_runs_no_command_of_jinja(world: World) -> None:
    text = (
        "{% set out = salt['cmd.run']('touch OUT/ran') %}\n{% set code = salt.cmd.retcode('touch OUT/ran') %}\n"
        "{% set user = salt['user.info']('root') %}\na:\n  test.nop:\n    - name: '{{ out }}{{ code }}{{ user.uid }}'\n"
    )
    with world.session() as session:
        (found,) = session.compile([world.sls("commands", text)])
        assert found.problems == []
        assert [line for line, _ in found.commands] == [1, 2]
        assert found.states[0].arguments["name"] == "00"
        assert not (world.out / "ran").exists()
        assert session.run("makina-projects.foo.commands").ok
    assert (world.out / "ran").exists()


def test_values_that_json_cannot_carry(world: World) -> None:
    sample = world.sample(
        "makina-projects.x:\n  data:\n    a: !!binary aGk=\n    b: !!binary /w==\n    c: [.nan]\n    d: 1\n"
    )
    with world.session() as session:
        facts = session.facts(sample)
    data = facts.sample["makina-projects.x"]["data"]
    assert data == {"a": "hi", "b": "/w==", "c": [".nan"], "d": 1}
    assert {(key.rpartition(".")[2], what) for _, key, what in facts.odd} == {
        ("a", "binary"), ("b", "binary, as base64"), ("c", "not a finite number"),
    }  # fmt: skip


def test_an_error_in_a_macro_of_ours_names_its_caller(world: World) -> None:
    text = "{% import 'makina-states/_macros/h.jinja' as h with context %}\n\n{{ h.deliver_config_files(1) }}\n"
    with world.session() as session:
        (problem,) = session.check([world.sls("calls", text)])[0]
        (error,) = session.run("makina-projects.foo.calls").errors
    assert (Path(problem.file).name, problem.line) == ("calls.sls", 3)
    assert "(in makina-states/_macros/h.jinja)" in problem.message
    assert error.startswith("calls.sls line 3: ")
