"""The door to other processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from corpushooks.core.errors import ProcessError
from corpushooks.system.process import PIPE, Child, clean_env, group_alive, run, spawn, start_time, stop_group
from tests.support.box import until


def test_git_variables_do_not_reach_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/elsewhere")
    monkeypatch.setenv("GIT_QUARANTINE_PATH", "/elsewhere")
    monkeypatch.setenv("LC_ALL", "tlh_KLINGON")
    assert not [key for key in clean_env() if key.startswith("GIT_")]
    assert clean_env()["LC_ALL"] == "C.UTF-8"
    assert clean_env({"GIT_DIR": "ours", "LC_ALL": "C"})["GIT_DIR"] == "ours"
    assert "GIT_" not in run(["env"]).text


def test_what_a_program_gave() -> None:
    output = run(["sh", "-c", "cat; echo out; echo one >&2; echo two >&2; exit 3"], stdin=b"in ", check=False)
    assert (output.code, output.text, output.complaint) == (3, "in out", "two")
    assert run(["sh", "-c", "echo only; exit 1"], check=False).complaint == "only"
    assert run(["sh", "-c", "exit 7"], check=False).complaint == "exit code 7"
    assert run(["printf", r"\377"]).text == "\udcff"


def test_failures_are_process_errors(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match=r"^/nonexistent: No such file or directory$"):
        run(["/nonexistent"])
    with pytest.raises(ProcessError, match=r"^/nonexistent: No such file or directory$"):
        spawn(["/nonexistent"])
    with pytest.raises(ProcessError, match=r"^sh -c echo why >&2; exit 2: why$"):
        run(["sh", "-c", "echo why >&2; exit 2"])
    with pytest.raises(ProcessError, match=r"^sleep: timed out after 0\.1 s$"):
        run(["sleep", "60"], timeout=0.1)
    with pytest.raises(ProcessError, match="No such file or directory"):
        run(["true"], cwd=tmp_path / "none")


def test_arguments_are_never_a_shells(tmp_path: Path) -> None:
    assert run(["echo", "$(id); *", tmp_path]).text == f"$(id); * {tmp_path}"


def test_what_is_spawned_has_a_session_and_nothing_of_ours() -> None:
    ours = os.open("/dev/zero", os.O_RDONLY)
    os.set_inheritable(ours, True)
    child = spawn(["ls", "-l", "/proc/self/fd"], stdout=PIPE)
    out, _ = child.communicate()
    os.close(ours)
    assert "/dev/zero" not in out.decode()
    waiting = spawn(["sleep", "60"])
    assert os.getpgid(waiting.pid) == os.getsid(waiting.pid) == waiting.pid
    assert stop_group(waiting.pid)
    waiting.wait(10)


def test_a_process_is_known_by_its_start() -> None:
    child = spawn(["sleep", "60"])
    start = start_time(child.pid)
    assert start and start == start_time(child.pid)
    assert start >= (start_time(os.getpid()) or 0)
    child.kill()
    child.wait(10)
    assert start_time(child.pid) is None


def test_a_name_with_brackets_is_no_obstacle(tmp_path: Path) -> None:
    script = tmp_path / "a) R 1 (b"
    script.write_text("#!/bin/sh\nsleep 60\n")
    script.chmod(0o755)
    child = spawn([script])
    until(lambda: b"a) R 1 (b" in Path(f"/proc/{child.pid}/stat").read_bytes())
    start, alive = start_time(child.pid), group_alive(child.pid)
    assert start and start >= (start_time(os.getpid()) or 0)
    assert alive
    assert stop_group(child.pid)
    child.wait(10)


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Child[bytes]]:
    """Return a group of two processes, of which the second ignores TERM."""
    ready = tmp_path / "ready"
    deaf = f"trap '' TERM; touch {ready}; while :; do sleep 0.05; done"
    child = spawn(["sh", "-c", f'(exec sh -c "{deaf}") & wait'])
    until(ready.exists)
    yield child
    if group_alive(child.pid):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait(10)


def test_a_group_is_stopped_whole(family: Child[bytes]) -> None:
    assert stop_group(family.pid, grace=0.2)
    assert not group_alive(family.pid)


def test_what_ends_at_once_is_not_killed(tmp_path: Path) -> None:
    said, ready = tmp_path / "said", tmp_path / "ready"
    child = spawn(["sh", "-c", f"trap 'touch {said}; exit' TERM; touch {ready}; while :; do sleep 0.02; done"])
    until(ready.exists)
    assert stop_group(child.pid, grace=20)
    child.wait(10)
    assert said.exists()


def test_a_group_that_is_gone_is_stopped() -> None:
    child = spawn(["true"])
    child.wait(10)
    assert stop_group(child.pid)


def test_a_zombie_is_not_alive() -> None:
    child = spawn(["true"])
    until(lambda: not group_alive(child.pid))
    assert child.wait(10) == 0
