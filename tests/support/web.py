"""A web process of a host, and people who ask it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from corpushooks.access.keys import TOKEN, Key
from corpushooks.access.tokens import Tokens
from corpushooks.system.process import Child
from tests.support import daemons
from tests.support.box import Box, until


@dataclass(frozen=True)
class Answer:
    """What a request was answered."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class Web:
    """The web process of a box."""

    box: Box
    child: Child[bytes] | None = None
    port: int = 0
    tokens: dict[str, str] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)  # of modules of the web, for a test that reaches them

    def start(self) -> None:
        """Start it, and await what it says; a second time on the same port."""
        path = self.box.root / "web.log"
        out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self.child = daemons.web(self.box.host.root, self.port, out, self.limits)
        os.close(out)
        until(lambda: self.child and (self.child.poll() is not None or "listening" in path.read_text()))
        self.port = int(path.read_text().rpartition(":")[2])

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.child:
            self.child.send_signal(number)
            self.child.wait(20)
            self.child = None

    def token(self, right: str = "push", *projects: str, name: str = "", expires: float | None = None) -> str:
        """Return a token with a right; made once."""
        name = name or "-".join([right, *projects])
        if name not in self.tokens:
            history = self.box.history
            self.tokens[name] = Tokens(history).add(Key(name, TOKEN, "", right, projects, expires))[1]
            history.close()
        return self.tokens[name]

    @contextlib.contextmanager
    def asking(
        self, method: str, path: str, body: Any = None, token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[http.client.HTTPResponse]:  # fmt: skip
        """Ask for something, and give the answer as it comes."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        try:
            link.request(method, path, data, sent)
            yield link.getresponse()
        finally:
            link.close()

    def ask(
        self, method: str, path: str, body: Any = None, token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:  # fmt: skip
        """Ask for something, and return the whole answer."""
        with self.asking(method, path, body, token, headers) as found:
            return Answer(found.status, found.headers, found.read())

    def api(self, method: str, path: str, body: Any = None, token: str = "", **headers: str) -> Answer:
        """Ask the API, with a token that has every right where none is given."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask(method, f"/api/v1{path}", body, token or self.token("host"), given)


@contextlib.contextmanager
def serving(box: Box, **limits: float) -> Iterator[Web]:
    """Serve a box while the block runs, with other limits (MODULE_LIMIT)."""
    web = Web(box, limits={name.replace("_", ".", 1): value for name, value in limits.items()})
    web.start()
    try:
        yield web
    finally:
        web.stop()
