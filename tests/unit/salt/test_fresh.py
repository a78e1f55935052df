"""When what the Salt worker has ready is out of date."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from corpushooks.salt_worker import question
from corpushooks.salt_worker import session as sessions
from corpushooks.salt_worker.known import Answers
from corpushooks.salt_worker.pillars import Names, filtered
from corpushooks.salt_worker.warm import Listings

CACHE = "/var/cache/x"
ACTIONS = {  # what an SLS may do -> whether that may change what the next one finds
    "open('here').read(); os.listdir('/'); os.stat('/'); os.environ.update(A='b'); os.chdir('/')": False,
    "import colorsys; exec('1'); socket.socket().close(); socket.gethostname()": False,
    "open(os.devnull, 'w').close()": False,
    "open(f'{cache}/files/x', 'w').close(); os.remove(f'{cache}/files/x'); os.mkdir(f'{cache}/files/d')": False,
    "open(rendered, 'w').close(); os.remove(rendered)": False,
    "open(f'{cache}/x', 'w').close()": True,
    "open(f'{cache}/files/../x', 'w').close()": True,
    "os.open('x', os.O_RDONLY | os.O_CREAT)": True,
    "os.rename('here', 'there')": True,
    "os.rename(f'{cache}/files/here', 'there')": True,
    "os.mkdir('x')": True,
    "os.symlink('a', 'b')": True,
    "os.chmod('here', 0o600)": True,
    "os.utime('here')": True,
    "os.kill(os.getpid(), 0)": True,
    "os.system('true')": True,
    "subprocess.run(['true'])": True,
    "os.waitpid(os.fork() or os._exit(0), 0)": True,
    "socket.socket(socket.AF_UNIX).connect_ex('nowhere')": True,
    "ctypes.CDLL(None).getpid()": True,
    "import decimal": True,  # a library, of which Python does not hear what it does
}
PROGRAM = """
import ctypes, importlib.util, os, socket, subprocess, sys, tempfile
spec = importlib.util.spec_from_file_location("touch", sys.argv[1])
touch = importlib.util.module_from_spec(spec)
spec.loader.exec_module(touch)
cache, rendered = sys.argv[2], tempfile.gettempdir() + "/__salt.tmp.x"
watched = touch.Touch(cache)
watched.watch()
exec(sys.argv[3])
os._exit(watched.any)
"""


@pytest.mark.parametrize("action", ACTIONS)
def test_what_touches_anything(action: str, tmp_path: Path) -> None:
    (tmp_path / "cache/files").mkdir(parents=True)
    (tmp_path / "cache/files/here").touch()
    (tmp_path / "here").touch()
    module = Path(sessions.__file__).with_name("touch.py")
    words = [sys.executable, "-I", "-c", PROGRAM, module, tmp_path / "cache", action]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, env={"TMPDIR": str(tmp_path)}, check=False)
    assert (done.returncode, done.stderr.decode()) == (int(ACTIONS[action]), "")


class Stub:
    """A helper without a process; what it answers next stands in `answers`."""

    answers: ClassVar[list[tuple[int | None, bool]]] = []
    made: ClassVar[list[Stub]] = []

    def __init__(self, act: object, *ours: object) -> None:
        self.told, self.heard = False, list[bytes]()
        self.sock = SimpleNamespace(sendall=self.heard.append, close=lambda: self.heard.append(b"closed"))
        Stub.made.append(self)


def test_a_question_that_comes_too_late_is_asked_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "Helper", Stub)
    monkeypatch.setattr(sessions.Session, "follow", lambda self, helper: Stub.answers.pop(0))
    session = sessions.Session(None, None, None)  # type: ignore[arg-type]
    kept, touched, late = (question.ANSWERED << 8, True), (question.TOUCHED << 8, False), (None, False)
    Stub.answers[:] = [kept, kept, late, touched, kept]
    session.prepare()
    for _ in range(4):
        session.ask({"do": "run"})
    assert [len(helper.heard) for helper in Stub.made] == [5, 3, 2]
    assert [helper.heard[-1] for helper in Stub.made] == [b"closed", b"closed", b'{"do": "run"}\n']
    assert session.count == 3


def test_what_was_read_serves_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(question, "time", SimpleNamespace(monotonic=lambda: now[0]))
    desk = question.Preparation(ValueError("no options"), Answers())
    now[0] += question.FRESH
    assert not desk.is_stale
    now[0] += 0.1
    assert desk.is_stale


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of modules, with one in it."""
    (tmp_path / "modules/inner").mkdir(parents=True)
    return tmp_path / "modules"


@pytest.fixture
def loader(folder: Path) -> Any:
    """Return what a loader of Salt's has."""
    return SimpleNamespace(
        module_dirs=[str(folder), str(folder / "gone")], opts={}, suffix_order=[".py"], suffix_map={},
        disabled=set(), static_modules=[], file_mapping={},
    )  # fmt: skip


@pytest.fixture
def listings(monkeypatch: pytest.MonkeyPatch) -> Listings:
    """Return listings for which a tick is over at once."""
    monkeypatch.setattr("corpushooks.salt_worker.warm.TICK_NS", 0)
    return Listings()


def listed(loader: Any) -> None:
    loader.file_mapping = {name: name for name in os.listdir(loader.module_dirs[0])}


def test_a_folder_is_listed_again_where_it_changed(loader: Any, listings: Listings, folder: Path) -> None:
    refresh = listings._memoized(listed)
    refresh(loader)
    loader.file_mapping = {}
    refresh(loader)
    assert (loader.file_mapping, listings.hits) == ({"inner": "inner"}, 1)
    loader.file_mapping["spoilt"] = ""
    refresh(loader)
    assert (loader.file_mapping, listings.hits) == ({"inner": "inner"}, 2)
    for change in (
        lambda: (folder / "new.py").touch(),
        lambda: (folder / "inner/__init__.py").touch(),
        lambda: (folder / "new.py").rename(folder / "other.py"),
        lambda: (folder / "gone").mkdir(),
        lambda: loader.disabled.add("x"),
    ):
        hits = listings.hits
        time.sleep(0.005)  # a tick of the kernel's clock, so that it can be seen
        change()
        refresh(loader)
        assert listings.hits == hits


def test_a_folder_that_changed_just_now_is_not_believed(loader: Any) -> None:
    listings = Listings()
    refresh = listings._memoized(listed)
    refresh(loader)
    refresh(loader)
    assert listings.hits == 0


ONCE = """
import salt.utils.network
from corpushooks.salt_worker import known, runner
asked, options = [], runner.read("/nowhere")
original = salt.utils.network.interfaces
salt.utils.network.interfaces = counted = lambda: asked.append(1) or original()
grains = runner.Grains(options, known.Answers()).opts["grains"]
assert len(asked) == 1, asked
assert grains["ip4_interfaces"]["lo"] == ["127.0.0.1"], grains["ip4_interfaces"]
assert salt.utils.network.interfaces is counted
"""


def test_grains_ask_for_the_network_once_in_one_reading(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", ONCE], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


CODES = """
import importlib.util, sys, time
from pathlib import Path
from corpushooks.salt_worker import warm
warm.TICK_NS, path = 0, Path("one.py")
path.write_text("x = 1")
codes = warm.Codes()
codes.learn([path.absolute()])
codes.install(Path.cwd())
def run():
    spec = importlib.util.spec_from_file_location("any", path.absolute())
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.x, codes.hits
assert [run(), run()] == [(1, 1), (1, 2)]
path.with_suffix(".new").write_text("x = 2")
path.with_suffix(".new").rename(path)
assert run() == (2, 2)
"""


def test_a_module_is_compiled_again_where_it_changed(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-B", "-c", CODES], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


WARM = """
import tempfile
from pathlib import Path
from corpushooks.salt import configuration
from corpushooks.salt import Minion
from corpushooks.salt_worker import runner, warm
from corpushooks.salt_worker.known import Answers
from corpushooks.salt_worker.pillars import Names, filtered
kept = []
original = warm.Listings.__init__
warm.Listings.__init__ = lambda self: (original(self), kept.append(self))[0]
assert not warm.load_salt()
warm.warm_up()
folder = Path(tempfile.mkdtemp())
minion = Minion("foo", folder / "minion", (folder / "states",), (folder / "pillar",), folder / "modules")
configuration.prepare(minion)
known = dict(kept[0]._known)
runner.Runner(runner.Grains(runner.read(str(folder / "minion/minion")), Answers()))
assert kept[0]._known == known, set(kept[0]._known) - set(known)
"""


def test_a_session_lists_no_folder_that_the_worker_has_listed(tmp_path: Path) -> None:
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", WARM], cwd=tmp_path, env=env, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_a_pillar_is_listed_only_for_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "many/deep").mkdir(parents=True)
    for name in ("one.sls", "many/a.sls", "many/deep/init.sls"):
        (tmp_path / name).touch()
    listed: list[int] = []
    names = Names([str(tmp_path)], lambda: listed.append(1) or ["one", "many.a", "many.deep"])  # type: ignore[func-returns-value]
    found = {each: filtered(names, each) for each in ("one", "many.a", "many.deep", "many", "many.b", "a")}
    assert found == {
        "one": ["one"],
        "many.a": ["many.a"],
        "many.deep": ["many.deep"],
        "many": [],
        "many.b": [],
        "a": [],
    }
    assert not listed
    assert filtered(names, "many.*") == filtered(names, "m[a]ny.?*") == ["many.a", "many.deep"]
    assert listed == [1]
