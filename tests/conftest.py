"""What every test has, and what no test may do."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.box import Box
from tests.support.sshd import Server, serving
from tests.support.templates import Templates

pytest_plugins = [  # what has fixtures of several files
    "tests.support.backups",
    "tests.support.callers",
    "tests.support.deb",
    "tests.support.door",
    "tests.support.makina",
    "tests.support.misbehaving",
    "tests.support.receiver",
]
FORBIDDEN = (
    "/srv/projects",
    "/srv/pillar",
    "/srv/salt",
    "/etc/corpushooks",
    "/var/lib/corpushooks",
    "/run/corpushooks",
)
SYSTEM = ("nginx", "nginx/sites-available", "nginx/sites-enabled", "apache2", "php", "circus", "logrotate.d")  # in /etc
WRITING = {"open", "os.mkdir", "os.rename", "os.remove", "os.symlink", "os.link", "os.rmdir", "os.chmod", "os.chown"}


def _guard(event: str, values: tuple[Any, ...]) -> None:
    if event in WRITING:
        for value in values[:2]:
            if isinstance(value, (str, bytes, os.PathLike)) and os.fsdecode(value).startswith(FORBIDDEN):
                raise RuntimeError(f"a test touches the real host: {event} {os.fsdecode(value)}")


sys.addaudithook(_guard)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as whoever starts us in the background leaves it
    signal.signal(signal.SIGINT, signal.default_int_handler)  # else nobody that a test interrupts would notice


def _times() -> dict[str, int]:
    """Return when names last came or went where no test, and no Salt that it starts, has anything to write."""
    paths = [*FORBIDDEN, *(f"/etc/{name}" for name in SYSTEM)]
    return {path: os.stat(path).st_mtime_ns for path in paths if os.path.exists(path)}


@pytest.fixture(autouse=True, scope="session")
def real_host_untouched() -> Iterator[None]:
    """Fail where a process that a test started touched the real host."""
    before = _times()
    yield
    assert _times() == before


@pytest.fixture(autouse=True)
def own_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep git and the command away from whoever runs the tests, and from the real host."""
    home = tmp_path / "home"
    home.mkdir()
    for key in [key for key in os.environ if key.startswith(("GIT_", "CORPUS_", "SSH_"))]:
        monkeypatch.delenv(key)
    settings = {
        "HOME": str(home), "XDG_CONFIG_HOME": str(home), "CORPUS_ROOT": str(tmp_path / "no-root-was-named"),
        "GIT_CONFIG_NOSYSTEM": "1", "BORG_SELFTEST": "disabled",  # a quarter of the time of each call of borg
    }  # fmt: skip
    for key, value in settings.items():
        monkeypatch.setenv(key, value)
    (home / ".gitconfig").write_text(
        '[user]\n name = Dev\n email = dev@example.org\n[protocol "file"]\n allow = always\n'
        "[advice]\n pushUpdateRejected = false\n[gc]\n auto = 0\n[maintenance]\n auto = false\n"
    )


@pytest.fixture
def new_box(tmp_path: Path) -> Iterator[Callable[..., Box]]:
    """Return a maker of hosts whose daemons end with the test."""
    made: list[Box] = []

    def make(**given: Any) -> Box:
        box = Box(tmp_path / f"box{len(made)}", **given)
        box.root.mkdir()
        made.append(box)
        return box

    yield make
    for box in made:
        box.stop()


@pytest.fixture
def box(new_box: Callable[..., Box]) -> Box:
    """Return a host with the project `hello` and a running daemon of the fake engine."""
    box = new_box()
    box.init()
    box.start()
    return box


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    """Return the hosts that are made once."""
    return Templates(tmp_path_factory.mktemp("templates"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return an sshd of our own on loopback."""
    with serving(tmp_path_factory.mktemp("sshd")) as found:
        yield found
