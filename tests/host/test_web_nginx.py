"""`corpus web` behind a real nginx with TLS, by the lines that `corpus setup --web` writes."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing
from importlib import resources
from pathlib import Path
from string import Template

import pytest

from corpushooks.system.process import run, spawn
from tests.support.box import until
from tests.support.browsing import GOOD, account
from tests.support.command import GATE, asked
from tests.support.shared_box import shared_box
from tests.support.web import Answer, Web, serving

CONF = """\
{user}
daemon off;
pid {base}/pid;
error_log {base}/error.log;
worker_processes 1;
events {{}}
http {{
    access_log off;
    {temp}
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {base}/cert.pem;
        ssl_certificate_key {base}/key.pem;
        include {base}/nginx-web.conf;
    }}
}}
"""
CLIENT = "127.0.0.3"  # of this machine, but no web server is there
TEMP = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as found:
        return int(found.getsockname()[1])


class Front:
    """An nginx before the pages."""

    def __init__(self, base: Path, web: Web) -> None:
        self.base, self.web, self.port = base, web, free_port()
        base.mkdir()
        shipped = Template((resources.files("corpushooks.share") / "host/nginx-web.conf").read_text()).substitute()
        assert shipped.count("127.0.0.1:8040") == 1
        (base / "nginx-web.conf").write_text(shipped.replace(":8040", f":{web.port}"))
        run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
             "-keyout", base / "key.pem", "-out", base / "cert.pem"])  # fmt: skip
        temp = " ".join(f"{name}_temp_path {base}/{name};" for name in TEMP)
        user = "user root;" if os.geteuid() == 0 else ""
        (base / "nginx.conf").write_text(CONF.format(base=base, temp=temp, user=user, port=self.port))

    def link(self) -> http.client.HTTPSConnection:
        trusted = ssl.create_default_context(cafile=str(self.base / "cert.pem"))
        trusted.check_hostname = False
        return http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=60, context=trusted, source_address=(CLIENT, 0)
        )  # fmt: skip


def ask(link: http.client.HTTPConnection, method: str, path: str, body: str = "", **headers: str) -> Answer:
    """Ask for something, and return the whole answer."""
    with closing(link):
        link.request(method, path, body, headers)
        found = link.getresponse()
        return Answer(found.status, found.headers, found.read())


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("front")
    with shared_box(folder, page="one") as box, serving(box) as web:
        found = Front(folder / "nginx", web)
        child = spawn([shutil.which("nginx") or "nginx", "-c", found.base / "nginx.conf", "-p", found.base])
        try:
            until(lambda: (found.base / "pid").exists() and (found.base / "pid").read_text().strip())
            yield found
        finally:
            child.terminate()
            child.wait(20)


def signed_in(front: Front, link: http.client.HTTPConnection, name: str) -> tuple[Answer, str]:
    """Sign in, with headers by which somebody says that they are elsewhere; return from where the daemon has it."""
    account(front.web, name, "--read")
    form = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin",
            "X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "gopher"}  # fmt: skip
    done = ask(link, "POST", "/sign-in", f"name={name}&password={GOOD.replace(' ', '+')}&next=/", **form)
    return done, asked(front.web.box, "session", "list", f"account {name}")[0]["address"]


def test_people_sign_in_over_tls_and_their_address_is_what_nginx_sees(front: Front) -> None:
    done, address = signed_in(front, front.link(), "ann")
    assert (done.status, done.headers["location"], address) == (303, "/", CLIENT)
    cookie = done.headers["set-cookie"]
    assert "Secure" in cookie and "HttpOnly" in cookie
    page = ask(front.link(), "GET", "/", Cookie=cookie.partition(";")[0])
    assert page.status == 200 and "hello" in page.text


def test_what_is_said_of_an_address_counts_from_the_web_server_only(front: Front) -> None:
    direct = http.client.HTTPConnection("127.0.0.1", front.web.port, timeout=60, source_address=(CLIENT, 0))
    done, address = signed_in(front, direct, "bea")
    assert (done.status, address) == (303, CLIENT)


def test_a_log_comes_line_by_line_through_nginx(front: Front) -> None:
    box = front.web.box
    (box.root / "gate").unlink(missing_ok=True)
    work = box.work()
    work.commit({".salt/30_gate.sls": GATE.format(box.root)}, "gate")
    push = work.start_push()
    number = until(lambda: next((one["number"] for one in asked(box, "history", "hello") if not one["ended"]), 0))
    with closing(front.link()) as link:
        link.request("GET", f"/api/v1/projects/hello/deployments/{number}/log", headers={
            "Authorization": f"Bearer {front.web.token('read')}", "Accept": "text/event-stream"})  # fmt: skip
        answer = link.getresponse()
        assert answer.headers["content-type"].startswith("text/event-stream")
        seen = b""
        while b"fixperms" not in seen:  # for ever, if nginx kept it until the end, since that waits for us
            seen += answer.readline()
        assert b"event: end" not in seen
        (box.root / "gate").touch()
        rest = answer.read()
    assert b"event: end" in rest and push.wait(60) == 0
    told = [json.loads(line[6:]) for line in (seen + rest).splitlines() if line.startswith(b"data: ")]
    assert told[-1]["state"] == "deployed"


def test_a_body_that_is_too_long_is_refused_by_nginx(front: Front) -> None:
    assert ask(front.link(), "POST", "/sign-in", "x" * (300 << 10)).status == 413
