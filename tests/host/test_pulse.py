"""Health between deployments: live releases are asked, changes are recorded and told, nothing is rolled back."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from corpushooks.core.deployment import Request
from corpushooks.core.settings import Settings, parse
from corpushooks.daemon import pulse
from corpushooks.daemon.pulse import Pulse
from corpushooks.host.site import Site
from corpushooks.protocol import gives
from corpushooks.reports import inspection, statistics
from corpushooks.screen import view
from corpushooks.store.history import History
from corpushooks.store.vitals import FAILING, HEALTHY, Vital
from corpushooks.system.process import carrying
from tests.support.box import Box, Work, until
from tests.support.engines import FakeEngine
from tests.support.receiver import Receiver

QUICK = {"health_every": 0.1, "health_failures": 2}


def settings(box: Box, **more: Any) -> None:
    box.settings(json.dumps({**QUICK, **more}))


def app(box: Box, check: dict[str, Any], name: str = "hello") -> Work:
    """Deploy an application with a health check."""
    sample = json.dumps({f"makina-projects.{name}": {"health": {"retries": 0, **check}}})
    work = box.app(name=name, files={".salt/PILLAR.sample": sample})
    assert work.push().code == 0
    return work


def there(path: Path) -> dict[str, Any]:
    return {"command": f"test -e {path}"}


def known(box: Box, name: str = "hello") -> Vital | None:
    with closing(box.history) as history:
        return history.health(name)


def awaited(box: Box, state: str, times: int = 0, name: str = "hello") -> Vital:
    found = until(lambda: (one := known(box, name)) and one.state == state and one.times >= times and one)
    assert isinstance(found, Vital)
    return found


def said(box: Box) -> list[str]:
    return box.ask(op="status", project="hello")["lines"]


@contextlib.contextmanager
def asking(box: Box, told: Settings | None = None) -> Iterator[tuple[Site, Pulse]]:
    """Be the pulse of a host without a daemon."""
    found = told or parse(box.host.config_file.read_bytes(), "config")
    with closing(History(box.host.store)) as history:
        site = Site(box.host, found, history, FakeEngine())
        yield site, Pulse(site, lambda name: False)


def test_a_change_is_shown_and_told_once_and_nothing_is_rolled_back(
    new_box: Callable[..., Box],
    hook: Receiver,
) -> None:
    box = new_box()
    settings(box, notify=[hook.url()])
    box.init()
    box.start()
    flag = box.root / "well"
    flag.touch()
    app(box, there(flag))
    awaited(box, HEALTHY)
    assert "    healthy for 0 s" in said(box)
    flag.unlink()
    awaited(box, FAILING, 2)
    (line,) = [line for line in said(box) if "failing" in line]
    assert line.startswith("    failing for ") and line.endswith(f"): command test -e {flag}: exited with 1")
    until(lambda: "unhealthy: hello (prod)" in hook.titles)
    assert (box.row().live, [each.number for each in box.history.deployments("hello")]) == (1, [1])
    metrics = box.ask(op="metrics", project="")["lines"]
    assert 'corpushooks_healthy{project="hello"} 0' in metrics
    box.kill()  # the next daemon knows what was told
    box.start()
    awaited(box, FAILING, 5)
    flag.touch()
    awaited(box, HEALTHY)
    until(lambda: "healthy again: hello (prod)" in hook.titles)
    assert [title for title in hook.titles if "healthy" in title] == [
        "unhealthy: hello (prod)",
        "healthy again: hello (prod)",
    ]
    (told, well) = [one["message"] for one in hook.got if "healthy" in one["title"]]
    assert f"Reason:  command test -e {flag}: exited with 1" in told and "corpus" in told
    assert "deployment 1 answers its health checks again" in well


def test_what_was_owed_when_the_daemon_was_killed_is_told_by_the_next(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the record of a failure and the notification, and again before that is recorded as sent."""
    flag, told = box.root / "well", list[str]()
    flag.touch()
    app(box, there(flag))
    box.stop()
    flag.unlink()
    settings(box, health_failures=1)

    def tell(site: Site, found: Vital) -> str:
        told.append(found.state)
        if len(told) == 1:
            raise KeyboardInterrupt  # as if killed
        return ""

    monkeypatch.setattr(pulse.announce, "health", tell)
    with asking(box) as (_, first), pytest.raises(KeyboardInterrupt):
        first._ask("hello")
    for _ in range(3):
        with asking(box) as (_, later):
            later._ask("hello")
    assert told == [FAILING, FAILING]


def test_a_restart_goes_on_counting(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    told = list[str]()
    flag = box.root / "well"
    flag.touch()
    app(box, there(flag))
    box.stop()
    flag.unlink()
    settings(box, health_failures=3)
    monkeypatch.setattr(pulse.announce, "health", lambda site, found: told.append(found.state) or "")
    for number in range(1, 7):
        with asking(box) as (_, one):
            one._ask("hello")
        assert told == ([FAILING] if number >= 3 else [])
    assert awaited(box, FAILING).times == 6


def test_of_many_failures_few_are_written(box: Box) -> None:
    app(box, {"command": "true"})
    box.stop()
    settings(box)
    with asking(box) as (site, one):
        row = site.history.vital("hello")
        assert row
        writes = 0
        before = site.history.rows("PRAGMA data_version")[0][0]
        for _ in range(100):
            found = site.history.vital("hello")
            assert found
            one._record_and_notify(found, "no answer")
            now = site.history.vital("hello")
            writes += now != found
        assert writes == 8 + 3  # each of 8; 16, 32 and 64; with the second that people were told
        assert before == site.history.rows("PRAGMA data_version")[0][0]
        last = site.history.health("hello")
        assert last and last.times == 64
        lines = view.status(gives.plain(inspection.status(site, box.row(), str)), time.time())
        assert "    failing for 0 s (over 64 times): no answer" in lines


def test_healthy_ones_are_not_written_at_all(box: Box) -> None:
    app(box, {"command": "true"})
    box.stop()
    settings(box)
    with asking(box) as (site, one):
        one._ask("hello")
        before = site.history.rows("SELECT * FROM vitals")[0]
        with closing(History(box.host.store)) as other:
            version = other.rows("PRAGMA data_version")[0][0]
            for _ in range(5):
                one._ask("hello")
            assert other.rows("PRAGMA data_version")[0][0] == version  # nobody else committed anything
        assert tuple(site.history.rows("SELECT * FROM vitals")[0]) == tuple(before)


# who is asked


def test_the_checks_are_those_of_the_release_that_is_live(box: Box) -> None:
    """Not of one that failed; of none where a release has none, or an earlier one is deployed again."""
    work = app(box, {"command": "true"})
    work.commit(
        {".salt/PILLAR.sample": json.dumps({"makina-projects.hello": {"health": {"command": "false", "retries": 0}}})}
    )
    assert work.push().code == 1 and box.ended(2)
    with closing(box.history) as history:
        assert "true" in (history.vital("hello") or Vital("", "")).checks
    work.commit({".salt/PILLAR.sample": "{}"})
    assert work.push().code == 0
    with closing(box.history) as history:
        assert history.vital("hello") is None and history.health("hello") is None
    box.ask(op="rollback", project="hello")
    assert box.ended(4)
    with closing(box.history) as history:
        assert "true" in (history.vital("hello") or Vital("", "")).checks


def test_checks_are_adopted_by_a_recovery_too(box: Box) -> None:
    box.stop()
    box.start("record live", "before", "kill")
    sample = json.dumps({"makina-projects.hello": {"health": {"command": "true"}}})
    box.app(files={".salt/PILLAR.sample": sample}).push()
    box.revive()
    assert box.ended(1).state == "deployed"
    with closing(box.history) as history:
        assert history.vital("hello")


NOT_ASKED: dict[str, Callable[[History], object]] = {
    "broken": lambda history: history.set_broken("hello", "why", 1),
    "removed": lambda history: history.forget_project("hello", purge=False),
    "something else is in project/": lambda history: history.set_tree("hello", "a" * 40, None),
    "a deployment waits": lambda history: history.enqueue("hello", Request()),
}


@pytest.mark.parametrize("why", NOT_ASKED)
def test_a_project_that_is_not_live_and_whole_is_not_asked(box: Box, why: str) -> None:
    app(box, {"command": f"touch {box.root / 'asked'}"})
    (box.root / "asked").unlink()  # by the deployment
    box.stop()
    settings(box)
    with asking(box) as (site, one):
        before = site.history.vital("hello")
        assert before
        NOT_ASKED[why](site.history)
        one._ask("hello")
        assert one._intervals() == {} and not (box.root / "asked").exists()
        if why in ("removed", "a deployment waits"):  # it came while it was asked: the answer counts no more
            assert not site.history.record_vital(dataclasses.replace(before, state=FAILING))


def test_a_frozen_project_is_asked(box: Box) -> None:
    app(box, {"command": "true"})
    box.stop()
    settings(box)
    with asking(box) as (site, one):
        site.history.freeze("hello", "why", "jo")
        one._ask("hello")
        assert (site.history.health("hello") or Vital("", "")).state == HEALTHY


def test_a_deployment_cuts_off_what_is_being_asked(new_box: Callable[..., Box]) -> None:
    box = new_box()
    settings(box)
    box.init()
    box.start()
    slow, pid = box.root / "slow", box.root / "pid"
    script = f"if test -e {slow}; then echo $$ > {pid}; exec sleep 600; fi"
    work = app(box, {"command": ["sh", "-c", script], "timeout": 0})
    awaited(box, HEALTHY)
    slow.touch()
    number = int(until(lambda: pid.exists() and pid.read_text().strip()))
    slow.unlink()
    work.commit({"index.html": "two"})
    assert work.push().code == 0
    until(lambda: not Path(f"/proc/{number}").exists())
    assert awaited(box, HEALTHY).times == 0


def test_a_check_that_hangs_holds_up_no_stop(new_box: Callable[..., Box]) -> None:
    box = new_box()
    settings(box)
    box.init()
    box.start()
    slow, pid = box.root / "slow", box.root / "pid"
    app(box, {"command": ["sh", "-c", f"if test -e {slow}; then echo $$ > {pid}; exec sleep 600; fi"], "timeout": 0})
    slow.touch()
    number = int(until(lambda: pid.exists() and pid.read_text().strip()))
    box.stop()  # which fails after 30 s
    until(lambda: not Path(f"/proc/{number}").exists())


def test_what_a_killed_daemon_asked_is_stopped_by_the_next(new_box: Callable[..., Box]) -> None:
    box = new_box()
    settings(box)
    box.init()
    box.start()
    slow = box.root / "slow"
    app(box, {"command": ["sh", "-c", f"test ! -e {slow} || exec sleep 600"], "timeout": 0})
    slow.touch()
    mark = f"{pulse.MARK}={box.host.state_dir}"
    left = until(lambda: carrying(mark))
    box.kill()
    slow.unlink()
    assert left <= carrying(mark)
    box.start()
    until(lambda: not left & carrying(mark))


def test_an_embedded_daemon_asks_nobody_and_leaves(new_box: Callable[..., Box]) -> None:
    box = new_box()
    settings(box, idle_timeout=0.5)
    box.init()
    work = app(box, {"command": f"sh -c 'echo >> {box.root / 'asked'}'"})  # the push starts one
    assert work.remote
    until(lambda: not box.host.socket.exists())
    assert (box.root / "asked").read_text() == "\n"  # by the deployment


def test_it_can_be_switched_off_for_all_and_for_one(box: Box) -> None:
    app(box, {"command": "true"})
    box.stop()
    for more, asked in (
        ({"health_every": 0}, False),
        ({"health_every": 0, "projects": {"hello": {"health_every": 5}}}, True),
        ({"projects": {"hello": {"health_every": 0}}}, False),
    ):
        settings(box, **more)
        with asking(box) as (site, one):
            assert bool(one._intervals()) == asked
            one._ask("hello")
            assert bool(inspection.status(site, box.row(), str).health) == asked


# many of them


@dataclasses.dataclass
class Many:
    """A store with many projects that are live."""

    rows: list[Vital]

    def vitals(self) -> list[Vital]:
        return self.rows


def test_many_projects_are_not_asked_at_once(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.stop()
    box.settings("health_every: 60")
    clock = [1000.0]
    monkeypatch.setattr(pulse.time, "monotonic", lambda: clock[0])
    with asking(box) as (site, one):
        site.history = Many([Vital(f"p{number}", "[{}]") for number in range(500)])  # type: ignore[assignment]
        seen: dict[str, list[float]] = {}
        monkeypatch.setattr(Pulse, "_start_threads", lambda self: None)
        while clock[0] < 1200:
            assert 0 < one._queue_due() <= pulse.GLANCE
            for name in list(one._waiting):
                seen.setdefault(name, []).append(clock[0])
            one._open.clear()
            one._waiting.clear()
            clock[0] += 1
    assert len(seen) == 500 and all(2 <= len(times) <= 4 for times in seen.values())
    counts = [sum(second in times for times in seen.values()) for second in range(1000, 1200)]
    assert max(counts) < 40  # 8 on average


def test_a_few_are_asked_at_once_and_the_others_in_their_turn(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.stop()
    box.settings("health_every: 0.05")
    busy, most, done = set[str](), list[int](), set[str]()

    def ask(self: Pulse, name: str) -> None:
        busy.add(name)
        most.append(len(busy))
        time.sleep(0.005)  # what a check takes
        busy.discard(name)
        done.add(name)
        if name == "p3":
            raise OSError("a fault of one is no fault of the others")

    monkeypatch.setattr(Pulse, "_ask", ask)
    with asking(box) as (site, one):
        site.history = Many([Vital(f"p{number}", "[{}]") for number in range(60)])  # type: ignore[assignment]
        one.start()
        until(lambda: len(done) == 60)
        one.stop()
        one.wait()
    assert 1 < max(most) <= 8


def test_a_check_is_asked_once_and_never_for_ever() -> None:
    row = Vital("hello", json.dumps([{"tcp": "a:1", "timeout": 0, "retries": 50}, {"http": "http://a/", "timeout": 3}]))
    first, second = pulse._checks(row)
    assert (first.retries, first.timeout, second.timeout) == (0, pulse.LONGEST, 3)
    assert pulse._checks(Vital("hello", '[{"smtp": "a"}]')) == pulse._checks(Vital("hello", "{")) == []


def test_a_reason_shows_no_secret(box: Box) -> None:
    work = box.work(repo="pillar")
    work.commit({"init.sls": json.dumps({"makina-projects.hello": {"data": {"db_password": "geheim-4711"}}})})
    work.push()
    flag = box.root / "well"
    flag.touch()
    app(box, {"command": ["sh", "-c", f"test -e {flag}", "geheim-4711"]})
    box.stop()
    flag.unlink()
    settings(box)
    with asking(box) as (site, one):
        one._ask("hello")
        found = site.history.health("hello")
    assert found and found.state == FAILING and "geheim" not in found.reason and os.path.basename(flag) in found.reason


def test_status_and_metrics_say_nothing_of_who_is_not_asked(box: Box) -> None:
    """Of a broken project it is said that it is broken."""
    app(box, {"command": "true"})
    box.stop()
    settings(box)
    with asking(box) as (site, one):
        one._ask("hello")
        assert "    healthy for 0 s" in view.status(gives.plain(inspection.status(site, box.row(), str)), time.time())
        site.history.set_broken("hello", "why", 1)
        found = inspection.status(site, box.row(), str)
    assert not any("healthy" in str(line) for line in view.status(gives.plain(found), time.time()))
    assert not any(line.startswith("corpushooks_healthy{") for line in statistics.metrics([(found, [])]))
