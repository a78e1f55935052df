"""The log of a deployment over HTTP: in three formats, resumed anywhere, and equal to what the terminal shows."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from corpushooks.access.tokens import Tokens
from tests.support.box import Box, until
from tests.support.command import asked, corpus
from tests.support.shared_box import shared_box
from tests.support.web import Web, serving

LOG = "/api/v1/projects/hello/deployments/{}/log"
SSE, LINES = "text/event-stream", "application/jsonl"
COUNT = 20
# an SLS that ends when the test lets it, after 500 lines
TICK = (
    "tick-{0}:\n  cmd.run:\n    - name: while ! test -e {1}/tick-{0}; do sleep 0.01; done; seq {0}000 {0}499;"
    " echo 'tick {0} ☃ <b>&amp;'\n"
)


def ticking(folder: Path) -> dict[str, str | None]:
    """Return so many SLS files that wait for the test."""
    return {f".salt/{number:02}_tick.sls": TICK.format(number, folder) for number in range(1, COUNT + 1)}


@dataclass
class Source:
    """What a browser's EventSource keeps: the events that came, and the last id."""

    last: str = ""
    events: list[tuple[str, str]] = field(default_factory=list)  # (type, data)

    def feed(self, answer: http.client.HTTPResponse, count: int = 1 << 30) -> bool:
        """Read so many events or to the end; say whether the log came to its end."""
        kind, data, left = "", "", count
        while left and (line := answer.fp.readline() if not answer.chunked else answer.readline()):
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "id":
                self.last = value
            elif name == "event":
                kind = value
            elif name == "data":
                data = value
            elif not name and not value and data:
                self.events.append((kind, data))
                if kind == "end":
                    return True
                kind, data, left = "", "", left - 1
        return False

    @property
    def text(self) -> str:
        texts = [json.loads(data)["text"] for kind, data in self.events if kind == "log"]
        return "".join(f"{text}\n" for text in texts if text)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with shared_box(tmp_path_factory.mktemp("logs"), page="one") as box, serving(box) as found:
        yield found


def terminal(box: Box, number: int) -> str:
    """Return what the command prints of a log."""
    return corpus(box, "log", "hello", str(number)).stdout.decode()


def test_a_log_is_text_lines_of_json_or_events(web: Web) -> None:
    token, path = web.token("read", "hello"), LOG.format(1)
    text = web.ask("GET", path, token=token)
    assert (text.headers["content-type"], text.text) == ("text/plain; charset=utf-8", terminal(web.box, 1))
    lines = web.ask("GET", path, token=token, headers={"Accept": LINES})
    assert lines.headers["content-type"].startswith(LINES)
    assert [json.loads(line) for line in lines.text.splitlines()] == asked(web.box, "log", "hello", "1")
    source = Source()
    with web.asking("GET", path, token=token, headers={"Accept": f"{SSE}, */*"}) as answer:
        assert answer.headers["content-type"].startswith(SSE) and answer.headers["x-accel-buffering"] == "no"
        assert source.feed(answer)
    assert source.text == text.text
    assert json.loads(source.events[-1][1])["state"] == "deployed"


def test_who_comes_again_at_any_event_gets_the_rest(web: Web) -> None:
    whole, token = Source(), web.token("read", "hello")
    with web.asking("GET", LOG.format(1), token=token, headers={"Accept": SSE}) as answer:
        assert whole.feed(answer)
    for cut in range(1, len(whole.events)):
        part = Source()
        for headers in ({}, None):
            sent = {"Accept": SSE, **({"Last-Event-ID": part.last} if headers is None else {})}
            with web.asking("GET", LOG.format(1), token=token, headers=sent) as answer:
                part.feed(answer, cut if headers is not None else 1 << 30)
        assert part.events == whole.events
    asked_again = web.ask("GET", f"{LOG.format(1)}?offset={whole.last}", token=token)
    assert (asked_again.status, asked_again.text) == (200, "")


@pytest.mark.parametrize("wrong", ["x", "-1", "1e3", "٣", "9" * 30])
def test_an_id_that_is_none_is_refused(web: Web, wrong: str) -> None:
    headers = {"Last-Event-ID": wrong.encode().decode("latin-1")}
    found = web.ask("GET", LOG.format(1), token=web.token("read"), headers=headers)
    assert (found.status, found.json["detail"]) == (400, "the header Last-Event-ID is not an offset of this log")


def test_an_offset_within_an_event_is_refused_before_anything_is_said(web: Web) -> None:
    found = web.ask("GET", f"{LOG.format(1)}?offset=7", token=web.token("read"), headers={"Accept": SSE})
    assert found.status >= 400 and found.headers["content-type"] == "application/problem+json"


def test_a_log_is_followed_live_through_reconnects_and_restarts(box: Box) -> None:
    with serving(box) as web:
        box.app(files=ticking(box.root))
        push = box.work().start_push()
        token, source = web.token("read", "hello"), Source()
        until(lambda: web.api("GET", "/projects/hello").json["open"])
        for number in range(1, COUNT + 1):
            sent = {"Accept": SSE, **({"Last-Event-ID": source.last} if source.last else {})}
            with web.asking("GET", LOG.format(1), token=token, headers=sent) as answer:
                assert answer.status == 200
                source.feed(answer, 1)  # more are there, and are lost with the connection
                (box.root / f"tick-{number}").touch()
            if number in (7, 14):
                web.stop(9)
                web.start()
        last = {"Accept": SSE, "Last-Event-ID": source.last}
        with web.asking("GET", LOG.format(1), token=token, headers=last) as answer:
            assert source.feed(answer)
        assert push.wait(30) == 0
        assert source.text == terminal(box, 1) and f"install {COUNT}_tick" in source.text
        assert source.text.count("\n") > 10_000


def test_who_follows_stays_while_daemons_come_and_go(box: Box) -> None:
    with serving(box) as web:
        box.faults(["2 sync", "before", "wait"])
        box.app()
        push = box.work().start_push()
        until(lambda: "2 sync before" in box.happened())
        with web.asking("GET", LOG.format(1), token=web.token("read")) as answer:
            begin = answer.read1()
            box.kill()
            box.start()
            (box.host.root / "gate").touch()
            text = (begin + answer.read()).decode()
        assert push.wait(30) == 1
        assert text == terminal(box, 1) and "interrupted" in text


def test_what_is_there_is_given_without_waiting(box: Box) -> None:
    with serving(box) as web:
        box.faults(["2 sync", "before", "wait"])
        box.app()
        push = box.work().start_push()
        until(lambda: "2 sync before" in box.happened())
        found = web.ask("GET", f"{LOG.format(1)}?follow=false", token=web.token("read"))
        assert found.status == 200 and "deployment 1" in found.text
        (box.host.root / "gate").touch()
        assert push.wait(30) == 0


def test_who_follows_is_told_when_their_token_is_revoked(box: Box) -> None:
    with serving(box) as web:
        box.faults(["2 sync", "before", "wait"])
        box.app()
        push = box.work().start_push()
        until(lambda: "2 sync before" in box.happened())
        source = Source()
        with web.asking("GET", LOG.format(1), token=web.token("read"), headers={"Accept": SSE}) as answer:
            source.feed(answer, 1)
            history = box.history
            Tokens(history).revoke("read")
            history.close()
            assert not source.feed(answer)
        assert source.events[-1] == ("refused", json.dumps({"detail": "invalid token: unknown, revoked or expired"}))
        (box.host.root / "gate").touch()
        assert push.wait(30) == 0
