"""Somebody at a browser that knows no JavaScript: what they see, and what they send."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urlencode

from corpushooks.web import sessions
from tests.support.command import asked
from tests.support.web import Answer, Web

FORM = "application/x-www-form-urlencoded"
GOOD = "correct horse battery"  # a password


class Seen(HTMLParser):
    """What is in a page: tags with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def links(self) -> list[str]:
        return [attrs["href"] for tag, attrs in self.tags if tag == "a"]

    def form(self, action: str | None = None) -> dict[str, str]:
        """Return the fields of the form that goes to an address, or to that of the page."""
        found, inside = {}, False
        for tag, attrs in self.tags:
            if tag == "form":
                inside = attrs.get("action") == action
            elif tag == "input" and inside:
                found[attrs["name"]] = attrs.get("value", "")
        assert found, action
        return found


@dataclass
class Browser:
    """Somebody with a cookie, and without JavaScript."""

    web: Web
    cookie: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, **headers: str) -> Answer:
        return self._come("GET", path, None, headers)

    def post(self, path: str, fields: Mapping[str, str], **headers: str) -> Answer:
        data = urlencode(fields).encode()
        return self._come("POST", path, data, {"Content-Type": FORM, **headers})

    def _come(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        sent = {**self.headers, **({"Cookie": f"{sessions.COOKIE}={self.cookie}"} if self.cookie else {}), **headers}
        found = self.web.ask(method, path, body, headers=sent)
        if given := re.match(rf"{sessions.COOKIE}=([^;]*);", found.headers.get("set-cookie", "")):
            self.cookie = given[1].strip('"')
        return found

    def sign_in(self, right: str = "host", *projects: str) -> Browser:
        found = self.post("/sign-in", {"token": self.web.token(right, *projects), "next": "/"})
        assert (found.status, found.headers["location"]) == (303, "/")
        return self

    def act(self, path: str, **fields: str) -> Answer:
        """Look at what an action says, then do it."""
        shown = self.get(path)
        assert shown.status == 200, shown.text
        return self.post(path.partition("?")[0], {**Seen(shown.text).form(), **fields})


def account(web: Web, name: str, *rights: str, password: str = GOOD) -> Browser:
    """Make an account, and set its password by its link; return who did so, signed in."""
    link = asked(web.box, "account", "add", name, *rights)["link"]
    browser = Browser(web)
    done = browser.post(path_of(link), {"password": password, "again": password})
    assert (done.status, done.headers["location"]) == (303, "/"), done.text
    return browser


def path_of(link: str) -> str:
    base, _, path = link.removeprefix("http://").partition("/")
    assert base == "localhost:8040"
    return f"/{path}"
