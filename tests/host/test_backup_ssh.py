"""A repository on another host, over ssh: a key that only appends, several hosts, and a disk that is full."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from corpushooks.backup import Borg
from corpushooks.core.backups import Backup
from corpushooks.core.errors import ProcessError
from corpushooks.system.process import run, spawn
from tests.support.box import until
from tests.support.mounts import mounting
from tests.support.sshd import Server, serving

RESTRICTED = 'command="borg serve --restrict-to-path {path} --append-only",restrict {key}'
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Server]:
    """Yield an sshd whose one key may append to the repository and nothing else."""
    folder = tmp_path / "sshd"
    folder.mkdir()
    with serving(folder) as server:
        key = (folder / "key.pub").read_text()
        (folder / "key.pub").write_text(RESTRICTED.format(path=tmp_path / "repository", key=key))
        (folder / "known").write_text(f"[127.0.0.1]:{server.port} {(folder / 'host.pub').read_text()}")
        yield server


def host(tmp_path: Path, far: Server, name: str, path: str = "repository") -> Borg:
    """Return the engine of a host, with a state of its own."""
    secret = tmp_path / "passphrase"
    secret.write_text("correct horse\n")
    settings = Backup(
        far.url(str(tmp_path / path)), ssh_key=far.folder / "key", ssh_known_hosts=far.folder / "known", lock_wait=60
    )
    return Borg(settings, secret, tmp_path / name, spawn)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source/data").mkdir(parents=True)
    (tmp_path / "source/data/file").write_bytes(os.urandom(2_000_000))
    return tmp_path / "source"


def size(tmp_path: Path) -> int:
    return sum(path.stat().st_size for path in (tmp_path / "repository/data").rglob("*") if path.is_file())


def test_two_hosts_use_one_repository(far: Server, source: Path, tmp_path: Path) -> None:
    one, two = host(tmp_path, far, "one"), host(tmp_path, far, "two")
    one.begin()
    failed: list[ProcessError] = []

    def keep(engine: Borg, name: str) -> None:
        try:
            engine.keep(name, source, ["data"])
        except ProcessError as exc:
            failed.append(exc)

    threads = [threading.Thread(target=keep, args=pair) for pair in ((one, "a@one"), (two, "a@two"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    for number, engine in enumerate((one, two)):
        assert {copy.name for copy in engine.copies()} == {"a@one", "a@two"}
        into = tmp_path / f"into{number}"
        into.mkdir()
        engine.bring("a@one", into)
        assert (into / "data/file").read_bytes() == (source / "data/file").read_bytes()


def test_a_key_that_appends_destroys_nothing(far: Server, source: Path, tmp_path: Path) -> None:
    engine = host(tmp_path, far, "one")
    engine.begin()
    engine.keep("a", source, ["data"])
    before = size(tmp_path)
    engine.forget(["a"])
    assert size(tmp_path) >= before
    transactions = (tmp_path / "repository/transactions").read_text().splitlines()
    assert len(transactions) >= 2  # what borg's manual rolls back to


def test_a_key_opens_no_other_folder(far: Server, tmp_path: Path) -> None:
    with pytest.raises(ProcessError):
        host(tmp_path, far, "one", "elsewhere").begin()
    assert not (tmp_path / "elsewhere").exists()


def test_a_host_key_that_is_not_known_is_refused(far: Server, tmp_path: Path) -> None:
    engine = host(tmp_path, far, "one")
    engine.begin()
    (far.folder / "known").write_text("")
    with pytest.raises(ProcessError, match="cannot be reached"):
        engine.copies()


def test_a_connection_that_breaks_leaves_no_copy_and_no_lock(far: Server, source: Path, tmp_path: Path) -> None:
    engine = host(tmp_path, far, "one")
    engine.begin()

    def cut() -> None:
        """End what serves us, once it writes."""
        served = run(["pgrep", "-f", f"borg serve --restrict-to-path {tmp_path}/repository"], check=False).text.split()
        if served and (tmp_path / "repository/lock.exclusive").exists():
            for pid in served:
                os.kill(int(pid), signal.SIGKILL)
            raise _CutError

    with pytest.raises((ProcessError, _CutError)):
        engine.keep("a", source, ["data"], (), cut)
    assert engine.copies() == []
    engine.keep("a", source, ["data"])
    assert [copy.name for copy in engine.copies()] == ["a"]


class _CutError(Exception):
    """The connection was cut."""


@needs_root
def test_a_disk_that_is_full_takes_no_half_copy(source: Path, tmp_path: Path) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text("correct horse\n")
    place = tmp_path / "small"
    place.mkdir()
    with mounting() as mount:
        mount(place)
        engine = Borg(Backup(str(place / "repository"), lock_wait=5), secret, tmp_path / "state", spawn)
        engine.begin()
        (source / "data/little").write_text("little")
        engine.keep("first", source, ["data/little"])
        with pytest.raises(ProcessError):
            engine.keep("second", source, ["data"])
        assert [copy.name for copy in engine.copies()] == ["first"]
        assert not (place / "repository/lock.exclusive").exists()
        into = tmp_path / "into"
        into.mkdir()
        engine.bring("first", into)
        assert (into / "data/little").read_text() == "little"
    until(lambda: not os.path.ismount(place))
