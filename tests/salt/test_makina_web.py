"""A static site written for makina-states: real pushes, a real nginx."""

from __future__ import annotations

import shutil
import ssl
import stat
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from tests.support.box import Box, tree_of, until
from tests.support.nginx import Nginx, nginx_in
from tests.support.places import TESTS

PROJECTS = TESTS / "projects"


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Nginx]:
    with nginx_in(tmp_path / "nginx") as found:
        yield found


def test_a_static_site_behind_nginx(new_box: Callable[..., Box], nginx: Nginx) -> None:
    box = new_box(salt=True)
    box.settings(yaml.safe_dump({"minion": nginx.settings}))
    box.init()
    work = box.work()
    shutil.copytree(PROJECTS / "static", work.path, dirs_exist_ok=True)
    work.commit()
    pushed = work.push()
    assert pushed.code == 0, pushed.text
    status, page, headers = nginx.get("/")
    assert (status, page.strip()) == (200, "<h1>one</h1>")
    assert (headers["X-Greeting"], headers["X-Answer"]) == ("hello", "42 www.example.org")
    assert headers["X-Scheme"] == f"http 0 {nginx.port} "
    for proxy in ({"X-SSL": "1"}, {"X-Forwarded-Proto": "https"}):
        assert nginx.get("/", **proxy)[2]["X-Scheme"] == "https 1 443 on"
    assert nginx.get("/private/")[0] == 401
    assert nginx.get("/private/", "editor:secret-word")[1].strip() == "for editors"
    moved, _, headers = nginx.get("/x", host="example.org")
    assert (moved, headers["Location"]) == (301, "http://www.example.org/x")
    pid = (nginx.base / "nginx.pid").read_text()

    before = tree_of(nginx.base / "sites-available", times=False)
    content = (work.path / ".salt/files/nginx.conf").read_text()
    work.commit({"www/index.html": "two", ".salt/files/nginx.conf": content + "\nlissen 1;\n"})
    refused = work.push()
    assert refused.code == 1
    assert refused.rejected == "install 700_reverseproxy failed; rolled back"
    said = next(line for line in refused.lines if "[emerg]" in line)
    assert 'unknown directive "lissen" in' in said
    assert any("the changes were reverted" in line for line in refused.lines), refused.text
    assert tree_of(nginx.base / "sites-available", times=False) == before
    assert nginx.get("/")[1].strip() == "<h1>one</h1>"

    work.commit({"www/index.html": "three", ".salt/files/nginx.conf": content.replace("X-Answer", "X-Other")})
    pushed = work.push()
    assert pushed.code == 0, pushed.text
    until(lambda: nginx.get("/")[2].get("X-Other") == "42 www.example.org")  # once a worker has read it
    assert nginx.get("/")[1] == "three"
    assert (nginx.base / "nginx.pid").read_text() == pid


REDIRECTS = "if ($forwarded_ssl_scheme = http) { return 301 https://$host$request_uri; }\n"


def test_a_site_that_redirects_to_https_answers_there(new_box: Callable[..., Box], nginx: Nginx) -> None:
    """Without a certificate of its own: a self-signed one is made once, and a warning names it."""
    box = new_box(salt=True)
    box.settings(yaml.safe_dump({"minion": nginx.settings}))
    box.init()
    work = box.work()
    shutil.copytree(PROJECTS / "static", work.path, dirs_exist_ok=True)
    content = work.path / ".salt/files/nginx.conf"
    work.commit({".salt/files/nginx.conf": REDIRECTS + content.read_text()})
    pushed = work.push()
    assert pushed.code == 0, pushed.text
    assert "no certificate for www.example.org: a self-signed one is created, which browsers warn about" in pushed.text
    moved, _, headers = nginx.get("/x")
    assert (moved, headers["Location"]) == (301, "https://www.example.org/x")
    crt, key = sorted((nginx.base / "ssl").glob("*.self-signed.*"))
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    trusted = ssl.create_default_context(cafile=str(crt))
    trusted.check_hostname = False  # the name is looked at below: here we come by address
    handler = urllib.request.HTTPSHandler(context=trusted)
    opener = urllib.request.build_opener(handler, urllib.request.ProxyHandler({}))
    request = urllib.request.Request(f"https://127.0.0.1:{nginx.port + 1}/", headers={"Host": "www.example.org"})
    with opener.open(request, timeout=10) as answer:
        assert answer.read().strip() == b"<h1>one</h1>"
    names = x509.load_pem_x509_certificate(crt.read_bytes()).extensions
    said = names.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    assert said == ["www.example.org", "example.org"]
    before = crt.read_bytes(), key.read_bytes()
    work.commit({"www/index.html": "two"})
    assert work.push().code == 0
    assert (crt.read_bytes(), key.read_bytes()) == before
