"""One contract for the three engines: warm, salt-call, and the fake that stands in for them elsewhere."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from corpushooks import salt
from corpushooks.core.errors import SaltError
from corpushooks.salt import Minion, Result, SaltCallEngine, Session, WarmEngine
from corpushooks.salt.configuration import configuration
from corpushooks.salt.warm import WarmSession
from corpushooks.system import process
from tests.support.engines import FakeEngine
from tests.support.places import TOP
from tests.support.world import World, written

KINDS = ("warm", "salt-call", "fake")
REAL = ("warm", "salt-call")
ONLY = {  # what not every engine can do
    # the fake has Jinja's own tags, one file, `contents` alone, no modules or grains, and no process that is Salt
    "test_syntax_knows_the_tags_of_salt": REAL,
    "test_a_problem_in_a_macro_or_an_included_file": REAL,
    "test_cfg_in_templates_and_renderers_of_its_own": REAL,
    "test_grains_and_modules_of_an_earlier_sls": REAL,
    "test_states_of_an_earlier_sls_and_of_its_own": REAL,
    "test_grains_of_the_project_are_read_each_time": REAL,
    "test_a_program_that_grains_ask_is_asked_again_once_it_changed": REAL,
    "test_the_minion_configuration_of_this_session": REAL,
    "test_what_an_sls_puts_into_its_environment_is_its_own": REAL,
    "test_includes_by_name_and_by_pattern": REAL,
    "test_the_pillar_of_a_host_is_found_by_name_and_by_pattern": REAL,
    "test_modules_of_the_project": REAL,
    "test_modules_see_the_pillar_unmasked": REAL,
    "test_salt_dies": REAL,
    "test_the_leader_of_the_group_is_killed": REAL,
    "test_the_owner_is_killed": REAL,
    "test_the_command_by_hand": REAL,
    # salt-call tells everything when it has ended, and runs commands as stock Salt does
    "test_a_service_that_holds_the_pipes": ("warm",),
    "test_output_is_live_and_states_come_as_they_end": ("warm",),
    "test_quiet_commands_input_timeouts_and_much_output": ("warm",),
    "test_parallel_states_are_reported_at_the_end": ("warm",),
    "test_a_module_that_exits_is_an_error_of_its_sls": ("warm",),
    # slow, and the same code for all
    "test_a_command_that_is_deaf_is_killed": ("warm",),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kind" in metafunc.fixturenames:
        metafunc.parametrize("kind", ONLY.get(metafunc.function.__name__, KINDS))


def until(happened: Callable[[], Any], seconds: float = 20) -> Any:
    """Wait for a condition; return what it gave."""
    end = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
    return found


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmEngine]:
    engine = WarmEngine(Path(sys.executable), log=tmp_path_factory.mktemp("worker") / "log")
    engine.warm()
    yield engine
    engine.close()


@pytest.fixture
def world(kind: str, warm: WarmEngine, tmp_path: Path) -> World:
    engines: Mapping[str, salt.Engine] = {"warm": warm, "salt-call": SaltCallEngine(), "fake": FakeEngine()}
    return World(tmp_path, engines[kind])


# What an SLS tells


def test_states(world: World) -> None:
    sls = world.sls(
        "10_app",
        "{% set who = 'it' %}\n"
        "changed:\n  test.succeed_with_changes: []\n"
        "same:\n  test.nop: []\n"
        "broken:\n  test.fail_without_changes:\n    - comment: no {{ who }}\n"
        "behind:\n  test.nop:\n    - require:\n      - test: broken\n"
        "'last':\n  cmd.run:\n    - name: exit 3\n",
    )
    with world.session() as session:
        result = session.run(sls)
    assert (result.ok, result.errors, result.warning) == (False, (), "")
    assert [s.id for s in result.states] == ["changed", "same", "broken", "behind", "last"]
    changed, same, broken, behind, last = result.states
    assert changed.result and changed.changes
    assert same.result and not same.changes
    assert (broken.result, broken.comment, broken.function) == (False, "no it", "test.fail_without_changes")
    assert (broken.sls, broken.line, broken.name) == ("10_app", 6, "broken")
    assert [s.skipped for s in result.states] == [False, False, False, True, False]
    assert behind.result is False and "requisite failed" in behind.comment
    assert (last.result, last.name, last.line, last.changes["retcode"]) == (False, "exit 3", 13, 3)
    assert [event for event in world.listener.events if isinstance(event, str)] == [s.id for s in result.states]


def test_an_empty_sls_is_fine(world: World) -> None:
    with world.session() as session:
        result = session.run(world.sls("empty", "# nothing\n"))
    assert result.ok and result.warning and not result.states


BROKEN = {
    "missing": (None, "missing.sls", "'makina-projects.foo.missing'"),
    "undefined": ("a:\n  test.nop: []\n{{ nope }}\n", "undefined.sls line 3", "'nope' is undefined"),
    "syntax": ("{% if x %}\na: b\n", "syntax.sls line 1", "Unexpected end of template"),
    "yaml": (
        "{% for i in [1, 2] %}\na{{ i }}:\n  test.nop: []\n{% endfor %}\nb:\n  test.nop:\n    - a: b: c\n",
        "yaml.sls line 7", "    - a: b: c    <====",
    ),
    "twice": ("a:\n  test.nop: []\nb:\n  test.nop: []\na:\n  test.nop: []\n", "twice.sls line 5", "conflicting ID 'a'"),
}  # fmt: skip


def test_errors_have_a_place(world: World) -> None:
    for stem, (text, place, message) in BROKEN.items():
        sls = world.sls(stem, text) if text else "makina-projects.foo.missing"
        with world.session() as session:
            result = session.run(sls)
        assert not result.ok and not result.states
        assert result.errors[0].startswith(f"{place}: ")
        assert message in result.errors[0]


def test_an_unknown_function(world: World) -> None:
    with world.session() as session:
        result = session.run(world.sls("unknown", "a:\n  file.manage: []\n"))
    (state,) = result.states
    assert not result.ok
    assert (state.id, state.function, state.result, state.line) == ("a", "file.manage", False, 1)
    assert "'file.manage' was not found" in state.comment


def test_check(world: World) -> None:
    broken = {name: text for name, (text, *_) in BROKEN.items() if text}
    with world.session() as session:
        assert session.check([world.sls("good", "a:\n  cmd.run:\n    - name: touch OUT/ran\n")]) == [[]]
        ((unknown,),) = session.check([world.sls("unknown", "b:\n  test.nop: []\na:\n  file.manage: []\n")])
        problem = session.check([world.sls("yaml", broken["yaml"])])[0][0]
    assert (unknown.file, unknown.line) == (str(world.folder / "unknown.sls"), 3)
    assert "'file.manage' was not found" in unknown.message
    assert (problem.file, problem.line) == (str(world.folder / "yaml.sls"), 7)
    assert not (world.out / "ran").exists()


SYNTAX = {
    "good": ("{% do x.update({}) %}\n{% for i in nope() %}{% break %}{% endfor %}\n", None),
    "jinja": ("a: 1\n{% if x %}\n", 2),
    "plain": ("a: 1\nb:\n  - c: d: e\n", 3),
    "twice": ("a: 1\nb: 2\na: 3\n", 3),
    "python": ("#!py\ndef run():\n    return {}: x: y\n", None),
    "yaml": ("#!yaml\na: 1\nb: c: d\n", 3),
}


def test_syntax(world: World) -> None:
    for stem, (text, _) in SYNTAX.items():
        world.sls(stem, text)
    with world.session() as session:
        found = session.syntax([world.folder / f"{stem}.sls" for stem in SYNTAX])
    wrong = {Path(problem.file).stem: problem.line for problem in found}
    assert wrong == {stem: line for stem, (_, line) in SYNTAX.items() if line}


def test_syntax_knows_the_tags_of_salt(world: World) -> None:
    world.sls("tags", "{% load_yaml as x %}\na: 1\n{% endload %}\n{% import_yaml 'a.yaml' as y %}\n{{ x | yaml }}\n")
    with world.session() as session:
        assert session.syntax([world.folder / "tags.sls"]) == []


def test_a_problem_in_a_macro_or_an_included_file(world: World) -> None:
    (world.folder / "m.jinja").write_text("{% macro m() %}\n\n{{ nope }}{% endmacro %}\n")
    macro = world.sls("macro", "{% from 'makina-projects/foo/m.jinja' import m %}\n{{ m() }}\n")
    world.sls("inner", "a:\n  test.nop: []\n{{ nope }}\n")
    outer = world.sls("outer", "include:\n  - makina-projects.foo.inner\n")
    requisite = world.sls("requisite", "b:\n  test.nop: []\na:\n  test.nop:\n    - require:\n      - file: zzz\n")
    with world.session() as session:
        found = [problems[0] for problems in session.check([macro, outer, requisite])]
    places = [(Path(problem.file).name, problem.line) for problem in found]
    assert places == [("m.jinja", 3), ("inner.sls", 3), ("requisite.sls", 3)]
    assert "cache" not in found[0].message


# What an SLS sees

MUTATE = """
{% from 'makina-projects/foo/m.jinja' import port %}
{% set own = opts.ms_project %}
{{ opts.ms_project_name }}:
  file.managed:
    - name: OUT/first
    - contents: "{{ cfg.data.port }} {{ own.data.port }} {{ port() }} {{ cfg == opts.ms_project }}"
{% do cfg.data.update({'port': 2}) %}
{% do own.data.update({'port': 3}) %}
after:
  file.managed:
    - name: OUT/{{ cfg.out }}
    - contents: "{{ cfg.data.port }} {{ own.data.port }}"
"""


def test_cfg(world: World) -> None:
    (world.folder / "m.jinja").write_text("{% macro port() %}{{ cfg.data.port }}{% endmacro %}")
    sls = world.sls("cfg", MUTATE)
    with world.session() as session:
        session.configure({"data": {"port": 1}, "out": "after1"}, {})
        assert session.run(sls).ok
        assert world.read("first") == "1 1 1 True"
        assert world.read("after1").split()[1] == "3"
        assert session.run(sls).ok
        assert world.read("first") == "1 1 1 True"
        session.configure({"data": {"port": 7}, "out": "after2"}, {})
        assert session.run(sls).ok
        assert world.read("first") == "7 7 7 True"
    with world.session() as session:  # it belongs to a session
        assert "'cfg' is undefined" in session.run(world.sls("none", "{{ cfg.data }}\n")).errors[0]


def test_cfg_in_templates_and_renderers_of_its_own(world: World) -> None:
    (world.folder / "t.jinja").write_text("{{ cfg.name }} {{ opts.ms_project.name }} {{ opts.ms_project_name }}\n")
    managed = "file.managed:\n    - template: jinja\n    - source: salt://makina-projects/foo/t.jinja\n"
    sls = world.sls("t", f"#!jinja|yaml\nOUT/{{{{ cfg.name }}}}:\n  {managed}")
    with world.session() as session:
        session.configure({"name": "foo"}, {})
        assert session.run(sls).ok
    assert world.read("foo") == "foo foo foo"


def test_pillar_over_its_defaults(world: World) -> None:
    world.pillar("a: {b: pillar, l: [9]}\nfoo: {{ grains.id }}\n")
    text = "{{ pillar.a.b }} {{ pillar.a.c }} {{ pillar.a.l }} {{ pillar.foo }} {{ pillar.d }}"
    sls = world.sls("pillar", f'x:\n  file.managed:\n    - name: OUT/pillar\n    - contents: "{text}"\n')
    with world.session() as session:
        session.configure({}, {"a": {"b": "default", "c": "default", "l": [1, 2]}, "d": 1})
        assert session.run(sls).ok
        assert world.read("pillar") == "pillar default [9] host.example.org 1"
        assert session.facts(None).pillar == {"a": {"b": "pillar", "l": [9]}, "foo": "host.example.org"}
        assert session.run(sls).ok  # facts() took nothing away


def test_facts(world: World) -> None:
    world.pillar("a: 1\nwhen: 2020-01-02\n")
    sample = world.sample("makina-projects.x:\n  data: {id: {{ grains.id }}, a: {{ salt['pillar.get']('a') }}}\n")
    with world.session() as session:
        facts = session.facts(sample)
        assert session.facts(world.sample("# nothing\n")).sample == {}
    assert facts.sample == {"makina-projects.x": {"data": {"id": "host.example.org", "a": 1}}}
    assert facts.grains["id"] == "host.example.org"
    assert facts.pillar == {"a": 1, "when": "2020-01-02"}


def test_broken_facts_have_a_place(world: World) -> None:
    with world.session() as session:
        with pytest.raises(SaltError, match=r"^PILLAR\.sample line 2: .*'nope' is undefined"):
            session.facts(world.sample("a: 1\nb: {{ nope }}\n"))
        with pytest.raises(SaltError, match=r"^PILLAR\.sample line 3: YAML"):
            session.facts(world.sample("a: 1\nb:\n  - c: d: e\n"))
        with pytest.raises(SaltError, match=r"^PILLAR\.sample: expected a mapping, got a list"):
            session.facts(world.sample("- a\n"))
        world.pillar("a: 1\nb: {{ nope }}\n")
        with pytest.raises(SaltError, match=r"^values\.sls line 2: .*'nope' is undefined"):
            session.facts(None)
        result = session.run(world.sls("any", "a:\n  test.nop: []\n"))
    assert not result.ok and result.errors[0].startswith("values.sls line 2: ")


def test_dry_run(world: World) -> None:
    sls = world.sls("dry", "a:\n  cmd.run:\n    - name: touch OUT/ran\nOUT/file:\n  file.managed:\n    - contents: x\n")
    with world.session() as session:
        result = session.run(sls, test=True)
        assert result.ok and [state.result for state in result.states] == [None, None]
        assert list(world.out.iterdir()) == []
        assert session.run(sls).ok
    assert len(list(world.out.iterdir())) == 2


def test_what_a_command_inherits(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    name = 'echo "$HELLO:$GIT_DIR:$(umask)" > OUT/env; ls /proc/self/fd > OUT/fds; readlink /proc/$$/fd/0 >> OUT/env'
    sls = world.sls("env", f"a:\n  cmd.run:\n    - name: '{name}'\n    - env:\n      - HELLO: world\n")
    with world.session() as session:
        assert session.run(sls).ok
    assert world.read("env").splitlines() == ["world::0022", "/dev/null"]
    assert world.read("fds").splitlines() == ["0", "1", "2", "3"]  # 3 is what ls reads


# What an SLS changes for the next


def test_grains_and_modules_of_an_earlier_sls(world: World) -> None:
    module = world.root / "modules/_modules/late.py"
    first = world.sls(
        "first",
        "colour:\n  grains.present:\n    - value: green\n"
        f"{module}:\n  file.managed:\n    - contents: 'def word(): return \"hello\"'\n",
    )
    text = "{{ grains.colour }} {{ salt['late.word']() }}"
    second = world.sls("second", f'x:\n  file.managed:\n    - name: OUT/x\n    - contents: "{text}"\n')
    with world.session() as session:
        assert session.run(first).ok
        assert session.run(second).ok
        assert session.facts(None).grains["colour"] == "green"
    assert world.read("x") == "green hello"


def test_states_of_an_earlier_sls_and_of_its_own(world: World) -> None:
    """A state module that came with the SLS before, and one that the SLS writes itself and has reloaded."""
    code = "def done(name): return dict(name=name, result=True, changes={}, comment=__name__.rpartition('.')[2])"
    write = "{}:\n  file.managed:\n    - contents: '{}'\n    - makedirs: True\n".format
    states = world.root / "modules/_states"
    states.mkdir()
    first = world.sls("first", write(states / "early.py", code.replace("'", "''")))
    late = write(states / "late.py", code.replace("'", "''")) + "    - reload_modules: True\n"
    second = world.sls("second", f"a:\n  early.done: []\n{late}b:\n  late.done: []\n")
    with world.session() as session:
        assert session.run(first).ok
        told = session.run(second)
    assert told.ok
    assert [state.comment for state in told.states if state.id in "ab"] == ["early", "late"]


def test_grains_of_the_project_are_read_each_time(world: World) -> None:
    """What a grain of its own depends on nobody knows: here a file that something else writes."""
    (world.root / "modules/_grains").mkdir()
    (world.root / "modules/_grains/mine.py").write_text(f"def colour(): return dict(c=open('{world.out}/c').read())\n")
    sls = world.sls(
        "show", "x:\n  test.configurable_test_state:\n    - comment: {{ grains.c }}\n    - changes: False\n"
    )
    with world.session() as session:
        for colour in ("red", "green", "blue"):
            (world.out / "c").write_text(colour)
            assert session.run(sls).states[0].comment == colour
        assert session.facts(None).grains["c"] == "blue"


def test_a_program_that_grains_ask_is_asked_again_once_it_changed(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked"

    def program(name: str, version: int) -> None:
        text = f"#!/bin/sh\necho {name} >> {asked}\necho systemd {version}\necho +FEATURE\n"
        (tmp_path / "new").write_text(text)
        (tmp_path / "new").chmod(0o755)
        (tmp_path / "new").rename(tmp_path / name)

    def known() -> tuple[str, bool]:
        """Return the grain, and whether the program was asked for it."""
        before = asked.read_text() if asked.exists() else ""
        with world.session() as session:
            return session.facts(None).grains["systemd"]["version"], asked.read_text() != before

    program("systemctl", 1)
    program("localectl", 1)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    worker = WarmEngine(Path(sys.executable), log=tmp_path / "log")
    world = World(tmp_path / "world", worker if kind == "warm" else SaltCallEngine())
    with contextlib.closing(world.engine):
        assert known()[0] == "1"
        if kind == "warm":
            until(lambda: known() == ("1", False))
        program("systemctl", 2)
        assert known() == ("2", True)


def test_the_minion_configuration_of_this_session(world: World) -> None:
    sls = world.sls(
        "show", "x:\n  test.configurable_test_state:\n    - comment: {{ opts.colour }}\n    - changes: False\n"
    )
    for colour in ("red", "green"):
        world.minion = replace(world.minion, config={"colour": colour})
        with world.session() as session:
            assert session.run(sls).states[0].comment == colour


def test_pillar_that_came_after_the_session_was_opened(world: World) -> None:
    """As a push brings it, and as an SLS writes it."""
    world.pillar("colour: red\n")
    show = world.sls("show", "x:\n  file.managed:\n    - name: OUT/x\n    - contents: {{ pillar['colour'] }}\n")
    values = world.root / "pillar/values.sls"
    write = world.sls("write", f"{values}:\n  file.managed:\n    - contents: 'colour: blue'\n")
    with world.session() as session:
        session.prepare()
        assert session.facts(None).pillar == {"colour": "red"}
        world.pillar("colour: green\n")
        assert session.facts(None).pillar == {"colour": "green"}
        session.configure({}, {})
        assert session.run(show).ok
        assert world.read("x") == "green"
        assert session.run(write).ok
        assert session.run(show).ok
        assert world.read("x") == "blue"


def test_the_pillar_of_a_host_is_found_by_name_and_by_pattern(world: World) -> None:
    """Also where an include is relative, and its name is that of another file."""
    root = world.root / "pillar"
    (root / "top.sls").write_text("base:\n  '*': [one, 'many.*', deep]\n")
    for name, text in {
        "one.sls": "include: [two, many.a]\none: 1\n", "two.sls": "two: 2\n", "many/a.sls": "a: 1\n",
        "many/b.sls": "b: 2\n", "deep/init.sls": "include: [.inner, '.p*']\ndeep: 1\n",
        "deep/inner.sls": "inner: here\n", "deep/part.sls": "part: 1\n", "unnamed.sls": "unnamed: 1\n",
    }.items():  # fmt: skip
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    with world.session() as session:
        first = session.facts(None).pillar
        assert first == {"one": 1, "two": 2, "a": 1, "b": 2, "deep": 1, "inner": "here", "part": 1}
        (root / "inner.sls").write_text("inner: above\nabove: 1\n")
        assert session.facts(None).pillar.get("above") == 1  # Salt includes that one, too
        (root / "two.sls").unlink()
        with pytest.raises(SaltError, match="two"):
            session.facts(None)


def test_what_an_sls_puts_into_its_environment_is_its_own(world: World) -> None:
    first = world.sls("first", "FOO:\n  environ.setenv:\n    - value: bar\n")
    second = world.sls("second", 'x:\n  cmd.run:\n    - name: echo "<$FOO>" > OUT/x\n')
    with world.session() as session:
        assert session.run(first).ok
        assert session.run(second).ok
    assert world.read("x") == "<>"


def test_commands_have_what_the_session_puts_into_their_environment(world: World) -> None:
    world.minion = replace(world.minion, env={"CORPUS_REPORTS": "/the folder"})
    with world.session() as session:
        assert session.run(world.sls("one", 'x:\n  cmd.run:\n    - name: echo "<$CORPUS_REPORTS>" > OUT/x\n')).ok
    assert world.read("x") == "</the folder>"


def test_includes_by_name_and_by_pattern(world: World) -> None:
    (world.folder / "parts").mkdir()
    for name in ("one", "two"):
        (world.folder / f"parts/{name}.sls").write_text(f"{name}:\n  test.nop: []\n")
    named = world.sls("named", "include:\n  - .parts.one\nme:\n  test.nop: []\n")
    several = world.sls("several", "include:\n  - makina-projects.foo.parts.*\nme:\n  test.nop: []\n")
    with world.session() as session:
        assert {state.id for state in session.run(named).states} == {"one", "me"}
        assert {state.id for state in session.run(several).states} == {"one", "two", "me"}


def test_what_is_prepared_serves_until_something_is_touched(tmp_path: Path, warm: WarmEngine) -> None:
    """Salt is made ready once for several SLS that run nothing, and again after each that does."""
    world = World(tmp_path, warm)
    calm = world.sls("calm", "a:\n  test.nop: []\nb:\n  file.exists:\n    - name: OUT\n")
    busy = world.sls("busy", "a:\n  cmd.run:\n    - name: 'true'\n")
    for sls, fewest, most in ((calm, 1, 4), (busy, 5, 5)):
        with world.session() as session:
            for _ in range(5):
                assert session.run(sls).ok
        assert isinstance(session, WarmSession)
        assert fewest <= session.prepared <= most  # it serves for a second: on a slow machine once is not enough


def test_modules_of_the_project(world: World) -> None:
    sls = world.sls("m", "x:\n  file.managed:\n    - name: OUT/x\n    - contents: {{ salt['foo_m.word']() }}\n")
    world.module("m", "def word(): return 'one'")
    (world.root / "modules/_modules/foo_m.py").symlink_to("m.py")
    with world.session() as session:
        assert session.run(sls).ok
    assert world.read("x") == "one"
    world.module("m", "def word(): return 'two'")
    with world.session() as session:
        assert session.run(sls).ok
        assert world.read("x") == "two"
        (world.root / "modules/_modules/foo_m.py").unlink()
        assert "foo_m.word" in session.run(sls).errors[0]


def test_modules_see_the_pillar_unmasked(world: World) -> None:
    """Salt 3008 hides what pillar.get gives to a module."""
    world.pillar("secret: hello\n")
    world.module("m", "def word(): return __salt__['pillar.get']('secret')\n")
    sls = world.sls("m", "x:\n  file.managed:\n    - name: OUT/x\n    - contents: {{ salt['m.word']() }}\n")
    late = world.sls("e", "y:\n  module.run:\n    - m.word: []\n")
    with world.session() as session:
        assert session.run(sls).ok
        assert session.run(late).states[0].changes == {"m.word": "hello"}
    assert world.read("x") == "hello"


def test_packages_of_an_earlier_sls(tmp_path: Path) -> None:
    """Salt's own environment is a copy here, since it is written to."""
    process.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"])
    site = next((tmp_path / "venv/lib").glob("python3*/site-packages"))
    (site / "ours.pth").write_text("\n".join(p for p in sys.path if p.endswith("site-packages")))
    engine = WarmEngine(tmp_path / "venv/bin/python", log=tmp_path / "log")
    world = World(tmp_path / "world", engine)
    world.module("m", "def word():\n    import latecomer\n    return latecomer.WORD\n")
    package = f"{tmp_path}/new/latecomer.py:\n  file.managed:\n    - contents: WORD = 'hello'\n    - makedirs: True\n"
    first = world.sls("first", f"{package}{site}/late.pth:\n  file.managed:\n    - contents: {tmp_path}/new\n")
    second = world.sls("second", "x:\n  file.managed:\n    - name: OUT/x\n    - contents: {{ salt['m.word']() }}\n")
    log = tmp_path / "log"
    with contextlib.closing(engine):
        with world.session() as session:
            assert session.run(first).ok
            assert session.run(second).ok
        assert world.read("x") == "hello"
        assert "reloading Salt" not in log.read_text()
        until(lambda: again(world, second) and "reloading Salt" in log.read_text())


def again(world: World, sls: str) -> bool:
    """Run an SLS in a session of its own: the worker has begun anew if no other session was open."""
    with world.session() as session:
        return session.run(sls).ok


# Processes


@pytest.fixture
def sleeping(world: World) -> str:
    return world.sls("sleep", "a:\n  cmd.run:\n    - name: echo $$ > OUT/pid; sleep 60; true\n")


class Running:
    """A run in a thread of its own, whose SaltError is kept."""

    def __init__(self, session: Session, sls: str, timeout: float | None = None) -> None:
        self.error: SaltError | None = None
        self.result: Result | None = None
        self._thread = threading.Thread(target=self._run, args=(session, sls, timeout))
        self._thread.start()

    def _run(self, session: Session, sls: str, timeout: float | None) -> None:
        try:
            self.result = session.run(sls, timeout=timeout)
        except SaltError as exc:
            self.error = exc

    def message(self) -> str:
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self.error.message if self.error else f"no error: {self.result}"


def test_a_child_is_registered_before_it_acts(world: World) -> None:
    def refuse() -> None:
        assert not (world.out / "ran").exists()
        raise RuntimeError("the store is full")

    sls = world.sls("touch", "a:\n  cmd.run:\n    - name: touch OUT/ran\n")
    world.listener.before = refuse
    with pytest.raises(RuntimeError, match="the store is full"), world.session() as session:
        session.run(sls)
    assert not (world.out / "ran").exists()
    world.listener.before = lambda: None
    with world.session() as session:
        assert session.run(sls).ok
    assert (world.out / "ran").exists() and world.listener.groups


def test_stop(world: World, sleeping: str) -> None:
    with world.session() as session:
        running = Running(session, sleeping)
        until(lambda: written(world.out / "pid"))
        session.stop()
        assert running.message() == "Salt was stopped"
        assert not any(process.group_alive(group) for group in world.listener.groups)
        with pytest.raises(SaltError, match="stopped"):
            session.run(sleeping)
        session.stop()  # again is no error


def test_timeout(world: World, sleeping: str) -> None:
    with world.session() as session, pytest.raises(SaltError, match=r"timed out after 2\.5 s"):
        session.run(sleeping, timeout=2.5)
    assert not any(process.group_alive(group) for group in world.listener.groups)


def test_a_command_that_is_deaf_is_killed(world: World) -> None:
    sls = world.sls("deaf", "a:\n  cmd.run:\n    - name: trap '' TERM; echo $$ > OUT/pid; sleep 60; true\n")
    with world.session() as session:
        running = Running(session, sls)
        until(lambda: written(world.out / "pid"))
        session.stop()
        assert running.message() == "Salt was stopped"
    assert not process.group_alive(world.listener.groups[0])


@pytest.mark.parametrize("sent", ["KILL", "TERM"])
def test_salt_dies(world: World, sent: str) -> None:
    """salt-call exits 0 on SIGTERM, which is no success; and what it ran when it died must not run on."""
    name = f"echo $$ > OUT/pid; kill -{sent} $PPID; sleep 60; true"
    sls = world.sls("die", f"a:\n  cmd.run:\n    - name: {name}\n")
    with world.session() as session, pytest.raises(SaltError, match=r"signal 9|signal 15|exit code 0"):
        session.run(sls)
    assert not any(process.group_alive(group) for group in world.listener.groups)


def test_the_leader_of_the_group_is_killed(world: World, sleeping: str) -> None:
    with world.session() as session:
        running = Running(session, sleeping)
        until(lambda: written(world.out / "pid"))
        os.kill(world.listener.groups[0], signal.SIGKILL)
        assert running.message().startswith("the Salt worker died")
    assert not process.group_alive(world.listener.groups[0])


OWNER = """
import sys
from pathlib import Path
from corpushooks.core.redaction import Redactor
from corpushooks.salt import Minion, SaltCallEngine, WarmEngine
class Deaf:
    redactor = Redactor()
    def child(self, pid, start, group): Path(sys.argv[2], "out/group").write_text(str(group))
    def state(self, state): pass
    def output(self, data): pass
root = Path(sys.argv[2])
engine = SaltCallEngine() if sys.argv[1] == "salt-call" else WarmEngine(Path(sys.executable), log=root / "log")
minion = Minion("foo", root / "minion", (root / "states",), (root / "pillar",), root / "modules")
with engine.session(minion, Deaf()) as session:
    session.run("makina-projects.foo.sleep")
"""


def test_the_owner_is_killed(world: World, sleeping: str) -> None:
    owner = process.spawn([sys.executable, "-c", OWNER, world_kind(world), world.root], cwd=TOP)
    until(lambda: written(world.out / "pid"))
    group = written(world.out / "group")
    assert process.group_alive(group)
    owner.kill()
    owner.wait()
    until(lambda: not process.group_alive(group))


def world_kind(world: World) -> str:
    return "salt-call" if isinstance(world.engine, SaltCallEngine) else "warm"


def test_the_worker_is_killed(tmp_path: Path) -> None:
    """A session outlives it, and the next one starts another."""
    engine = WarmEngine(Path(sys.executable), log=tmp_path / "log")
    world = World(tmp_path / "world", engine)
    sls = world.sls("nop", "a:\n  test.nop: []\n")
    with contextlib.closing(engine), world.session() as session:
        os.kill(parent(world.listener.groups[0]), signal.SIGKILL)
        assert session.run(sls).ok
        second = World(tmp_path / "second", engine)
        with second.session() as other:
            assert other.run(second.sls("nop", "a:\n  test.nop: []\n")).ok


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_the_worker_ends_with_its_owner(tmp_path: Path) -> None:
    engine = WarmEngine(Path(sys.executable), log=tmp_path / "log")
    world = World(tmp_path / "world", engine)
    with world.session():
        worker = parent(world.listener.groups[0])
    engine.close()
    assert process.start_time(worker) is None


def test_two_projects_at_once(warm: WarmEngine, tmp_path: Path) -> None:
    worlds = [World(tmp_path / name, warm, name) for name in ("one", "two")]
    wait = "cmd.run:\n    - name: touch OUT/here; until test -e OTHER/here; do sleep 0.02; done"
    for world, other in zip(worlds, reversed(worlds), strict=True):
        world.module("foo", f"def word(): return '{world.name}'")
        text = f"wait:\n  {wait.replace('OTHER', str(other.out))}\n"
        world.sls("a", f"{text}OUT/x:\n  file.managed:\n    - contents: {{{{ salt['foo.word']() }}}} {{{{ cfg.n }}}}\n")
    with worlds[0].session() as first, worlds[1].session() as second:
        first.configure({"n": 1}, {})
        second.configure({"n": 2}, {})
        runs = [Running(first, "makina-projects.one.a", 30), Running(second, "makina-projects.two.a", 30)]
        assert all(each.message().startswith("no error") for each in runs)
    assert [world.read("x") for world in worlds] == ["one 1", "two 2"]


def test_a_service_survives_the_session(world: World) -> None:
    name = "sleep 60 < /dev/null > /dev/null 2>&1 & echo $! > OUT/pid"
    with world.session() as session:
        assert session.run(world.sls("service", f"a:\n  cmd.run:\n    - name: {name}\n")).ok
    pid = written(world.out / "pid")
    assert process.start_time(pid)
    os.kill(pid, signal.SIGKILL)


def test_a_service_that_holds_the_pipes(world: World) -> None:
    """Stock Salt, and so salt-call, waits for its end."""
    sls = world.sls("service", "a:\n  cmd.run:\n    - name: sleep 60 & echo $! > OUT/pid; echo done\n")
    with world.session() as session:
        result = session.run(sls)
    os.kill(written(world.out / "pid"), signal.SIGKILL)
    assert result.ok and result.states[0].changes["stdout"] == "done"


def test_output_is_live_and_states_come_as_they_end(world: World) -> None:
    os.mkfifo(world.out / "go")
    sls = world.sls("live", "a:\n  test.nop: []\nb:\n  cmd.run:\n    - name: echo one; cat OUT/go; echo two >&2\n")
    with world.session() as session:
        running = Running(session, sls)
        until(lambda: b"one" in world.listener.said)
        assert world.listener.events[0] == "a" and "b" not in world.listener.events
        (world.out / "go").write_text("between\n")
        assert running.message().startswith("no error")
    assert world.listener.said == b"one\nbetween\ntwo\n"
    assert world.listener.events[-1] == "b"
    assert running.result and running.result.states[1].changes["stdout"] == "one\nbetween"


def test_quiet_commands_input_timeouts_and_much_output(world: World) -> None:
    sls = world.sls(
        "commands",
        "quiet:\n  cmd.run:\n    - name: echo secret; sleep 0.7\n    - output_loglevel: quiet\n"
        "input:\n  cmd.run:\n    - name: cat\n    - stdin: hello\n"
        "late:\n  cmd.run:\n    - name: sleep 60; true\n    - timeout: 1\n"
        "much:\n  cmd.run:\n    - name: yes | head -c 20000000\n",
    )
    with world.session() as session:
        quiet, given, late, much = session.run(sls).states
    assert quiet.result and b"secret" not in world.listener.said
    assert given.changes["stdout"] == "hello"
    assert late.result is False and "Timed out after 1 seconds" in str((late.changes, late.comment))
    assert "bytes omitted" in much.changes["stdout"] and len(much.changes["stdout"]) < 5 << 20


def test_parallel_states_are_reported_at_the_end(world: World) -> None:
    sls = world.sls("both", "a:\n  cmd.run:\n    - name: exit 3\n    - parallel: True\nb:\n  test.nop: []\n")
    with world.session() as session:
        result = session.run(sls)
    assert {state.id: state.result for state in result.states} == {"a": False, "b": True}
    assert world.listener.events == ["b", "a"]


def test_a_module_that_exits_is_an_error_of_its_sls(world: World) -> None:
    world.module("quit", "def now():\n    raise SystemExit(3)\n")
    world.module("vanish", "import os\ndef now():\n    os._exit(0)\n")
    with world.session() as session:
        with pytest.raises(SaltError, match="SystemExit"):
            session.run(world.sls("quit", "{{ salt['quit.now']() }}\n"))
        assert session.run(world.sls("nop", "a:\n  test.nop: []\n")).ok
        with pytest.raises(SaltError, match=r"died \(exit code 0\)"):
            session.run(world.sls("vanish", "{{ salt['vanish.now']() }}\n"))


def test_the_command_by_hand(world: World) -> None:
    world.pillar("a: 1\n")
    text = "{{ cfg.n }} {{ pillar.a }} {{ pillar.d }}"
    sls = world.sls("hand", f'x:\n  file.managed:\n    - name: OUT/x\n    - contents: "{text}"\n')
    with world.session() as session:
        session.configure({"n": 5}, {"a": 2, "d": 3})
        command = session.command(sls)
    assert (world.minion.dir / "minion").stat().st_mode & 0o777 == 0o600
    assert world.minion.dir.stat().st_mode & 0o777 == 0o700
    if world_kind(world) == "warm":  # it is the same for both
        process.run(command.split())
        assert world.read("x") == "5 1 3"


def engines_without_salt(folder: Path) -> Sequence[salt.Engine]:
    process.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"])
    python = folder / "venv/bin/python"
    nowhere = WarmEngine(folder / "nowhere/python", log=folder / "log")
    return WarmEngine(python, log=folder / "log"), SaltCallEngine(folder / "venv/bin/salt-call"), nowhere


def test_salt_is_missing(tmp_path: Path) -> None:
    *without, nowhere = engines_without_salt(tmp_path)
    for number, engine in enumerate(without):
        world = World(tmp_path / str(number), engine)
        with contextlib.closing(engine), pytest.raises(SaltError, match="Salt is not installed") as caught:
            world.session()
        assert "/venv/bin/" in str(caught.value.hint) and " -m pip install 'salt" in str(caught.value.hint)
    with pytest.raises(SaltError, match="nowhere/python"):
        World(tmp_path / "nowhere", nowhere).session()


def test_configuration_of_the_host_cannot_replace_ours(tmp_path: Path) -> None:
    config: dict[str, Any] = {"local": False, "extra": 1, "ext_pillar": [{"other": 1}]}
    minion = Minion("foo", tmp_path, (), (), tmp_path, config=config)
    bare, full = configuration(minion, None, {}), configuration(minion, {"a": 1}, {"b": 2})
    assert bare["local"] is True and bare["extra"] == 1 and "ms_project" not in bare
    assert full["ext_pillar"] == [{"corpushooks": [{"b": 2}]}, {"other": 1}]
