"""The lock files, from which all is installed, and the audit of what they name, against a stored answer."""

from __future__ import annotations

import configparser
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.support import audit
from tests.support.places import TOP

LOCKS = (TOP / "requirements.txt", TOP / "tests/requirements.txt")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")
LOCK = "salt==3008.4 \\\n    --hash=sha256:00\njinja2==3.1.0 ; python_version < '4'\nsalt==3008.4\n"


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def wanted(*extras: str) -> set[str]:
    """Return what setup.cfg asks for, by name."""
    read = configparser.ConfigParser()
    read.read(TOP / "setup.cfg")
    texts = [read["options"]["install_requires"], *(read["options.extras_require"][extra] for extra in extras)]
    return {plain(re.split("[><=]", line)[0]) for text in texts for line in text.split()}


@pytest.mark.parametrize("lock", [*LOCKS, TOP / ".ci/uv.txt"], ids=["package", "tests", "uv"])
def test_a_lock_file_pins_everything_by_hash_and_names_no_index(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text and not re.search("^-", text, re.M)
    pins = re.split(r"^(?=\S)", text, flags=re.M)[1:]
    for pin in pins:
        head, *hashes = pin.splitlines()
        assert audit.PINNED.match(head), head
        assert hashes and all(HASH.fullmatch(line) for line in hashes), head


def test_what_setup_asks_for_is_locked_and_one_version_for_all() -> None:
    package, tests = ({plain(name) for name, _ in audit.pinned([lock.read_text()])} for lock in LOCKS)
    assert wanted("ldap", "notify") <= package <= tests
    assert "timelib" not in tests  # it has no wheel, and would need a compiler
    assert wanted("ldap", "notify", "docs", "test") <= tests
    pins = audit.pinned([lock.read_text() for lock in LOCKS])
    assert set(pins) == set(audit.pinned([LOCKS[1].read_text()]))


@contextmanager
def answering(answer: bytes, asked: list[bytes]) -> Iterator[str]:
    """Be what advisories are asked of."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("results", "code", "said"),
    [
        ([{}, {}], 0, "no advisories against 2 packages"),
        ([{}, {"vulns": [{"id": "PYSEC-2"}, {"id": "GHSA-1"}]}], 1, "salt 3008.4: GHSA-1, PYSEC-2"),
        ([{}], 2, "no advisories can be reached at URL: 2 packages were asked for, 1 were answered"),
    ],
)
def test_the_audit_says_what_is_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], results: list[object], code: int, said: str
) -> None:
    (tmp_path / "lock").write_text(LOCK)
    asked: list[bytes] = []
    with answering(json.dumps({"results": results}).encode(), asked) as url:
        assert audit.main([str(tmp_path / "lock"), "--url", url]) == code
    assert capsys.readouterr().out == f"{said.replace('URL', url)}\n"
    queries = [(one["package"]["name"], one["version"]) for one in json.loads(asked[0])["queries"]]
    assert queries == [("jinja2", "3.1.0"), ("salt", "3008.4")]


@pytest.mark.parametrize("answer", [b"", b"<html>", b"[]", b'{"results": 3}'])
def test_an_audit_that_reaches_no_advisories_says_so_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], answer: bytes
) -> None:
    (tmp_path / "lock").write_text(LOCK)
    with answering(answer, []) as url:
        assert audit.main([str(tmp_path / "lock"), "--url", url]) == 2
    assert audit.main([str(tmp_path / "lock"), "--url", url]) == 2  # nobody listens there any more
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all(line.startswith(f"no advisories can be reached at {url}: ") for line in lines)
