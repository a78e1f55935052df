"""The contract of an engine of backups, held by a real one."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from corpushooks.backup import Borg
from corpushooks.backup.borg import _Done
from corpushooks.core.backups import Backup, backup
from corpushooks.core.errors import CancelledError, ConfigError, ProcessError
from corpushooks.system.process import Child, group_alive, spawn
from tests.support.backups import differing, eight_kinds
from tests.support.box import tree_of, until


@dataclass
class Started:
    """Starts programs, and remembers them."""

    children: list[Child[bytes]] = field(default_factory=list)
    environments: list[Mapping[str, str]] = field(default_factory=list)

    def __call__(
        self, words: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str], stdout: int, stderr: int
    ) -> Child[bytes]:
        self.children.append(spawn(words, cwd=cwd, env=env, stdout=stdout, stderr=stderr))
        self.environments.append(env)
        return self.children[-1]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a folder with eight kinds of entries."""
    base = tmp_path / "source"
    eight_kinds(base / "data")
    return base


@pytest.fixture
def engine(tmp_path: Path) -> Borg:
    """Return an engine with a repository."""
    secret = tmp_path / "passphrase"
    secret.write_text("correct horse\n")
    made = Borg(Backup(str(tmp_path / "repository"), lock_wait=1), secret, tmp_path / "state", Started())
    made.begin()
    return made


def started(engine: Borg) -> Started:
    assert isinstance(engine.start, Started)
    return engine.start


def test_what_is_kept_comes_back_as_it_was(engine: Borg, source: Path, tmp_path: Path) -> None:
    kept = engine.keep("one", source, ["data"])
    assert kept.size > 8 << 20 and 300_000 < kept.added < 2 << 20
    assert not kept.changed and not kept.unread
    assert [copy.name for copy in engine.copies()] == ["one"]
    (into := tmp_path / "into").mkdir()
    engine.bring("one", into)
    assert tree_of(into / "data") == tree_of(source / "data")
    assert os.getxattr(into / "data/file", "user.kind") == b"\x00\xff"
    assert (into / "data/file").stat().st_ino == (into / "data/folder/hard").stat().st_ino
    assert (into / "data/sparse").stat().st_blocks < 1000
    assert differing(source / "data", into / "data") == []


def test_what_is_kept_again_adds_little(engine: Borg, source: Path) -> None:
    first = engine.keep("one", source, ["data"])
    second = engine.keep("two", source, ["data"])
    assert second.size == first.size
    assert second.added < 10_000


def test_parts_come_back_and_parts_are_left_out(engine: Borg, source: Path, tmp_path: Path) -> None:
    engine.keep("one", source, ["data"], without=["data/folder", "data/fi"])
    (into := tmp_path / "into").mkdir()
    engine.bring("one", into, ["data/setuid", "data/file"])
    assert sorted(path.name for path in (into / "data").iterdir()) == ["file", "setuid"]
    (whole := tmp_path / "whole").mkdir()
    engine.bring("one", whole)
    assert not (whole / "data/folder").exists()
    assert (whole / "data/fifo").exists()


def test_no_name_is_used_twice(engine: Borg, source: Path) -> None:
    engine.keep("one", source, ["data"])
    with pytest.raises(ProcessError, match="already exists"):
        engine.keep("one", source, ["data"])


def test_what_is_missing_is_no_copy(engine: Borg, source: Path) -> None:
    with pytest.raises(ProcessError, match="nowhere"):
        engine.keep("one", source, ["nowhere"])


def test_what_is_forgotten_gives_its_room_back(engine: Borg, source: Path) -> None:
    engine.keep("one", source, ["data"])
    (source / "data/big").write_bytes(os.urandom(4 << 20))
    engine.keep("two", source, ["data"])
    full = size(Path(engine.settings.repository))
    engine.forget(["two"])
    assert [copy.name for copy in engine.copies()] == ["one"]
    assert size(Path(engine.settings.repository)) < full - (3 << 20)
    engine.verify()


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_link_in_the_place_of_a_folder_is_not_followed(engine: Borg, source: Path, tmp_path: Path) -> None:
    (source / "data/away").symlink_to("/etc")
    engine.keep("one", source, ["data"])
    (into := tmp_path / "into").mkdir()
    engine.bring("one", into)
    assert (into / "data/away").is_symlink()


def test_the_passphrase_is_in_no_argument_and_no_environment(engine: Borg, source: Path) -> None:
    engine.keep("one", source, ["data"])
    for child, env in zip(started(engine).children, started(engine).environments, strict=True):
        assert "correct horse" not in json.dumps([list(map(str, child.args)), dict(env)])  # type: ignore[call-overload]


def test_a_wrong_passphrase_opens_nothing(engine: Borg, source: Path, tmp_path: Path) -> None:
    engine.keep("one", source, ["data"])
    (tmp_path / "passphrase").write_text("wrong\n")
    with pytest.raises(ProcessError, match="wrong passphrase for the backup repository"):
        engine.copies()


def test_a_repository_is_not_made_twice(engine: Borg) -> None:
    with pytest.raises(ProcessError, match="there is a backup repository at"):
        engine.begin()


def test_no_repository(engine: Borg, source: Path, tmp_path: Path) -> None:
    other = replace(engine, settings=replace(engine.settings, repository=str(tmp_path / "other")))
    with pytest.raises(ProcessError, match="no backup repository at"):
        other.keep("one", source, ["data"])


def test_one_byte_that_changed_is_noticed(engine: Borg, source: Path, tmp_path: Path) -> None:
    engine.keep("one", source, ["data"])
    segment = max(Path(engine.settings.repository).glob("data/0/*"), key=lambda path: path.stat().st_size)
    damaged = bytearray(segment.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    segment.write_bytes(damaged)
    (into := tmp_path / "into").mkdir()
    with pytest.raises(ProcessError):
        engine.bring("one", into)
    with pytest.raises(ProcessError):
        engine.verify()


def test_what_is_cancelled_leaves_no_lock_and_no_copy(engine: Borg, source: Path) -> None:
    with (source / "data/large").open("wb") as file:
        for _ in range(64):
            file.write(os.urandom(1 << 20))
    state, repository = engine.state, Path(engine.settings.repository)

    def cancel() -> None:
        if (repository / "lock.exclusive").exists() and state.exists():
            raise CancelledError("cancelled by somebody")

    with pytest.raises(CancelledError):
        engine.keep("one", source, ["data"], check=cancel)
    assert not group_alive(started(engine).children[-1].pid)
    assert engine.copies() == []
    engine.keep("one", source, ["data"])


def test_the_lock_of_one_that_was_killed_is_taken_away(engine: Borg, source: Path) -> None:
    with (source / "data/large").open("wb") as file:
        for _ in range(64):
            file.write(os.urandom(1 << 20))
    lock = Path(engine.settings.repository) / "lock.exclusive"

    def kill() -> None:
        if lock.exists():
            os.killpg(started(engine).children[-1].pid, signal.SIGKILL)

    with pytest.raises(ProcessError, match="ended by signal 9"):
        engine.keep("one", source, ["data"], check=kill)
    assert lock.exists()
    assert engine.copies() == []
    engine.keep("one", source, ["data"])


def test_the_lock_of_another_host_is_told(engine: Borg, source: Path) -> None:
    lock = Path(engine.settings.repository) / "lock.exclusive"
    lock.mkdir()
    (lock / "elsewhere@1.4711-1").touch()
    with pytest.raises(ProcessError, match="is locked by another process") as caught:
        engine.keep("one", source, ["data"])
    assert "borg break-lock" in str(caught.value.hint)


def test_one_that_takes_too_long_is_stopped(engine: Borg, source: Path) -> None:
    hurried = replace(engine, settings=replace(engine.settings, timeout=0.0001, lock_wait=100))
    (lock := Path(engine.settings.repository) / "lock.exclusive").mkdir()
    (lock / "elsewhere@1.4711-1").touch()
    with pytest.raises(ProcessError, match="timed out after"):
        hurried.keep("one", source, ["data"])
    until(lambda: not group_alive(started(engine).children[-1].pid))


def test_what_could_not_be_read_or_changed_is_named(engine: Borg, source: Path, tmp_path: Path) -> None:
    said = [
        {"type": "file_status", "status": "C", "path": "data/log"},
        {"type": "file_status", "status": "E", "path": "data/away"},
        {"type": "log_message", "levelname": "WARNING", "message": "data/away: gone"},
    ]
    text = json.dumps({"archive": {"stats": {"original_size": 3, "deduplicated_size": 2}}})
    kept = answering(engine, tmp_path, 1, text, said).keep("one", source, ["data"])
    assert (kept.size, kept.added, kept.changed, kept.unread) == (3, 2, ("data/log",), ("data/away",))
    with pytest.raises(ProcessError, match="data/away: gone"):  # a warning of something else
        answering(engine, tmp_path, 1, text, said[2:]).keep("one", source, ["data"])
    with pytest.raises(ProcessError, match="data/away: gone"):  # where no file is allowed to be amiss
        answering(engine, tmp_path, 1, text, said[2:]).bring("one", tmp_path)


def answering(engine: Borg, tmp_path: Path, code: int, text: str, said: list[dict[str, Any]]) -> Borg:
    """Return an engine whose program says what is given."""
    script = tmp_path / "borg.sh"
    told = "\n".join(map(json.dumps, said))
    script.write_text(f"cat <<'EOF'\n{text}\nEOF\ncat >&2 <<'EOF'\n{told}\nEOF\nexit {code}\n")
    begun: Callable[..., Child[bytes]] = started(engine)
    return replace(engine, start=lambda words, **given: begun(["sh", script], **given))


def test_what_is_no_json_is_kept_as_it_is() -> None:
    assert _Done(2, "", []).complaint == "exit code 2"


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"repository": "relative"}, "expected the path of a folder, or ssh://"),
        ({"repository": "/a::b"}, "expected the path of a folder, or ssh://"),
        ({"repository": "host:folder"}, "expected the path of a folder, or ssh://"),
        ({"compression": "zstd,3"}, "repository is missing"),
        ({"repository": "/a", "compression": "best"}, "expected none, lz4, or zstd"),
        ({"repository": "/a", "password": "x"}, "unknown key"),
    ],
)
def test_wrong_settings(body: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong):
        backup(body)


def test_right_settings() -> None:
    assert backup(None) is None
    assert backup({"repository": "/mnt/backup"}) == Backup("/mnt/backup")
    assert backup({"repository": "ssh://b@example.org:2222/./hosts/one"}) is not None
