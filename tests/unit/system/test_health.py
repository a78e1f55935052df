"""Health: what was installed is asked whether it answers, and what does not is rolled back."""

from __future__ import annotations

import contextlib
import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from corpushooks.core.errors import CancelledError, ConfigError
from corpushooks.system import health
from tests.support.box import Box

NOTHING: Callable[[], None] = lambda: None  # noqa: E731


@contextlib.contextmanager
def answering(status: Callable[[], int], text: str = "all is well") -> Iterator[str]:
    """Be an application; return its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status())
            self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: Any) -> None:
            """Be quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def asked(**given: Any) -> str:
    (check,) = health.checks({"retries": 0, "delay": 0, "timeout": 5, **given})
    return health.await_answer(check, NOTHING)


def test_an_application_is_asked_over_http() -> None:
    with answering(lambda: 500) as address:
        assert asked(http=f"http://{address}/x") == "answered 500, not 200"
        assert asked(http=f"http://{address}/x", status=500, text="is well") == ""
        assert asked(http=f"http://{address}/x", status=500, text="ill") == "answered 500, without the text 'ill'"
    with answering(lambda: 302) as address:  # it is not followed
        assert asked(http=f"http://{address}/", status=302) == ""
    assert asked(http=f"http://{address}/") == "no answer: Connection refused"


def test_a_port_and_a_command_are_asked(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert asked(tcp=address) == ""
    assert asked(tcp=address) == "no answer: Connection refused"
    assert asked(command=f"test -d '{tmp_path}'") == ""
    assert asked(command=["test", "-e", str(tmp_path / "a b")]) == "exited with 1"
    assert asked(command="/nonexistent/program") == "/nonexistent/program: No such file or directory"
    assert asked(command="sleep 60", timeout=0.2) == "timed out after 0.2 s"


def test_it_is_asked_again_until_it_is_right_or_somebody_cancels() -> None:
    answers = [500, 503, 200]
    with answering(lambda: answers.pop(0)) as address:
        assert asked(http=f"http://{address}/", retries=5) == ""
    assert answers == []

    def cancel() -> None:
        raise CancelledError("cancelled")

    (check,) = health.checks({"tcp": "127.0.0.1:1", "retries": 1000, "delay": 1000})
    calls: list[int] = []
    with pytest.raises(CancelledError):
        health.await_answer(check, lambda: cancel() if calls else calls.append(1))


WRONG = {
    "health: expected a mapping with one of http, tcp, command": "text",
    "health, item 2: expected one of http, tcp, command": [{"tcp": "a:1"}, {"status": 200}],
    "health: expected one of http, tcp, command": {"tcp": "a:1", "http": "http://a/"},
    "health: unknown key 'port'": {"tcp": "a:1", "port": 2},
    "health: retries: expected a number, got 'many'": {"tcp": "a:1", "retries": "many"},
    "health: timeout: expected a number, got -1": {"tcp": "a:1", "timeout": -1},
    "health: http: invalid http check 'ftp://a/'": {"http": "ftp://a/"},
    "health: tcp: invalid tcp check 'a'": {"tcp": "a"},
    'health: command: invalid command check "it\'s"': {"command": "it's"},
}


@pytest.mark.parametrize("message", WRONG)
def test_a_wrong_check_is_told_in_one_line(message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        health.checks(WRONG[message])
    assert caught.value.message == message


# a deployment


def test_an_application_that_answers_500_is_rolled_back(box: Box) -> None:
    """It answers with the status that stands in its tree."""
    sample = "makina-projects.hello:\n  health:\n    http: http://{}/\n    retries: 0\n    text: is well\n"
    with answering(lambda: int((box.project().tree / "status").read_text())) as address:
        work = box.app(files={"status": "200", ".salt/PILLAR.sample": sample.format(address)})
        pushed = work.push()
        assert pushed.code == 0
        assert any(line.startswith(f"      health http://{address}/") for line in pushed.lines)
        work.commit({"status": "500"})
        pushed = work.push()
        assert (pushed.code, pushed.rejected) == (1, "health check failed; rolled back")
        assert f"        FAILED   http://{address}/: answered 500, not 200" in pushed.lines
        assert (box.project().tree / "status").read_text() == "200"
        assert box.deployment(2).reason == f"health check failed: http://{address}/: answered 500, not 200"


def test_wrong_checks_stop_a_deployment_before_anything_is_installed(box: Box) -> None:
    work = box.app(files={".salt/PILLAR.sample": "makina-projects.hello:\n  health:\n    port: 80\n"})
    pushed = work.push()
    assert (pushed.code, "install" in pushed.text) == (1, False)
    assert "health: unknown key 'port'" in pushed.text
