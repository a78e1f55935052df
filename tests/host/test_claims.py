"""Claims: a port and an address belong to one project of a host."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from corpushooks.admin import rebuild
from corpushooks.core import claims
from corpushooks.core.claims import CHOICE, Claim
from corpushooks.core.errors import ConfigError
from corpushooks.core.settings import load
from corpushooks.host.site import open_site
from corpushooks.system import sockets
from tests.support.box import FAILING, Box, Push, Work
from tests.support.command import asked, corpus, said

AUTO = "  ports: [app_port]\n  data: {app_port: auto}\n"
SHOP = "  urls: ['http://{domain}']\n  data: {domain: shop.example.org}\n"
PAGE = "page:\n  file.managed:\n    - name: {{ cfg.data_root }}/port\n    - contents: '{{ cfg.data.app_port }}'\n"


@pytest.fixture
def box(new_box: Callable[..., Box]) -> Box:
    box = new_box(salt=True)
    box.start()
    return box


def app(box: Box, name: str, sample: str, sls: str = "nothing:\n  test.nop: []\n") -> Work:
    if not box.project(name).dir.exists():
        box.init(name)
    work = box.work(name)
    work.commit({".salt/PILLAR.sample": f"makina-projects.{name}:\n{sample}", ".salt/300_app.sls": sls})
    return work


def pillar(box: Box, name: str, text: str) -> Push:
    work = box.work(name, "pillar")
    work.commit({"init.sls": f"makina-projects.{name}: {text}\n"})
    return work.push()


def held(box: Box) -> list[tuple[str, str]]:
    with closing(box.history) as store:
        return [(each.project, each.claim.value) for each in store.held()]


@pytest.fixture
def listener() -> Iterator[int]:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server.getsockname()[1]


# words


@pytest.mark.parametrize(
    ("urls", "found"),
    [
        (["http://a.example"], [("a.example:80", "http://a.example")]),
        ("https://A.example./", [("a.example:443", "https://a.example")]),
        (["http://a.example:8080", ["b.example"]], [("a.example:8080", "http://a.example:8080"),
                                                    ("b.example:8080", "http://b.example:8080")]),
        (["https://a.example/one/", "https://a.example/two"], [("a.example:443/one", "https://a.example/one"),
                                                               ("a.example:443/two", "https://a.example/two")]),
        (["a.example", "http://a.example/", []], [("a.example:80", "http://a.example")]),
        (["http://[::1]:81"], [("[::1]:81", "http://[::1]:81")]),
    ],
)  # fmt: skip
def test_urls(urls: object, found: list[tuple[str, str]]) -> None:
    assert [(each.value, each.key) for each in claims.of({"urls": urls, "data": {}})] == found


@pytest.mark.parametrize("url", ["ftp://a.example", "http://", "http://{domain}", "http://a b", "http://a:0", "a/b c"])
def test_what_is_not_a_url(url: str) -> None:
    with pytest.raises(ConfigError, match="cfg: urls: "):
        claims.of({"urls": [url], "data": {}})


@pytest.mark.parametrize("value", [0, 65536, "x", True, None, [1]])
def test_what_is_not_a_port(value: object) -> None:
    with pytest.raises(ConfigError, match=r"cfg: ports: data\.p: expected a port from 1 to 65535, or auto"):
        claims.of({"ports": ["p"], "data": {"p": value}})


def test_a_port_without_its_key_is_named() -> None:
    with pytest.raises(ConfigError, match="cfg: ports: unknown key of data 'p'"):
        claims.of({"ports": ["p"], "data": {}})
    assert claims.of({"ports": [8125, "8125"], "data": {}}) == [Claim("port", "8125", "")]


def test_free_ports_differ_and_pass_over_what_is_used() -> None:
    give = claims.giver("a", (), lambda port: port != CHOICE.start)
    assert [give("one"), give("two"), give("one")] == [CHOICE.start + 1, CHOICE.start + 2, CHOICE.start + 1]
    with pytest.raises(ConfigError, match="no free port from 20000 to 29999"):
        claims.giver("a", (), lambda port: False)("one")


# ports


def test_who_listens_is_looked_up_once_and_only_for_a_new_port(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    monkeypatch.setattr(sockets, "listening", lambda: looked.append("again") or {})
    give = open_site(box.host).ports(box.project("one"))
    assert not looked
    assert give("a") != give("b")
    assert looked == ["again"]


def test_each_project_has_its_port_and_keeps_it(box: Box) -> None:
    one, two = app(box, "one", AUTO, PAGE), app(box, "two", AUTO, PAGE)
    for work in (one, two):
        assert work.push("HEAD:refs/deploy/plan").code == 0
    assert held(box) == []  # a plan claims nothing
    for work in (one, two):
        pushed = work.push()
        assert pushed.code == 0, pushed.text
    ports = [(box.project(name).data / "port").read_text().strip() for name in ("one", "two")]
    assert held(box) == [("one", ports[0]), ("two", ports[1])]
    assert len(set(ports)) == 2 and all(int(port) in CHOICE for port in ports)
    assert json.loads(corpus(box, "config", "two", "--json").stdout)["data"]["app_port"] == int(ports[1])
    said(corpus(box, "remove", "one"))
    assert held(box) == [("two", ports[1])]
    two.commit()
    assert two.push().code == 0
    assert held(box) == [("two", ports[1])]  # also where a lower one is free by now


def test_a_port_of_another_project_is_refused_before_anything_is_touched(box: Box) -> None:
    fixed = AUTO.replace("auto", "8765")
    assert app(box, "one", fixed).push().code == 0
    two = app(box, "two", fixed)
    planned = two.push("HEAD:refs/deploy/plan")
    assert planned.code == 0
    assert "warning: port 8765 (app_port) belongs to project one; a push would be refused" in planned.lines
    refused = two.push()
    assert refused.rejected == "port 8765 (app_port) belongs to project one"
    hint = "set makina-projects.two.data.app_port: auto in the pillar; or, to release it: corpus remove one"
    assert f"hint: {hint}" in refused.lines
    assert not any("archive" in line for line in refused.lines) and box.ref("two") is None
    assert pillar(box, "two", "{data: {app_port: auto}}").code == 0
    assert two.push().code == 0
    assert len(held(box)) == 2


def test_a_port_that_the_host_uses_is_refused(box: Box, listener: int) -> None:
    work = app(box, "one", f"  ports: [{listener}]\n")
    refused = work.push()
    assert refused.code == 1 and refused.rejected.startswith(f"port {listener} is in use on this host, by ")
    assert held(box) == []


def test_a_project_may_listen_at_its_own_port(box: Box, listener: int) -> None:
    assert app(box, "one", "  ports: []\n").push().code == 0
    with closing(box.history) as store:
        assert store.claim("one", 1, [Claim("port", str(listener), "")]) is None
    pushed = app(box, "one", f"  ports: [{listener}]\n").push()
    assert pushed.code == 0, pushed.text


def test_what_failed_keeps_no_claim_and_takes_none_away(box: Box) -> None:
    fixed = AUTO.replace("auto", "8765")
    assert app(box, "one", fixed).push().code == 0
    failed = app(box, "one", fixed.replace("8765", "8766"), FAILING).push()
    assert "rolled back" in failed.rejected
    assert held(box) == [("one", "8765")]
    changed = app(box, "one", fixed.replace("8765", "8767")).push()
    assert changed.code == 0
    assert held(box) == [("one", "8767")]  # the old one is released


# addresses


def test_an_address_of_another_project_is_refused_with_what_to_set(box: Box) -> None:
    pushed = app(box, "one", SHOP).push()
    assert pushed.code == 0
    assert pushed.lines[-1] == "  http://shop.example.org", pushed.text
    assert "  http://shop.example.org" in said(corpus(box, "status", "one", "--urls")).splitlines()
    assert asked(box, "status", "one", "--urls")["urls"] == ["http://shop.example.org"]
    two = app(box, "two", SHOP.replace("shop", "SHOP"))
    refused = two.push()
    assert refused.rejected == "address http://shop.example.org belongs to project one"
    hint = "set another name in the pillar: makina-projects.two.data.domain; or, to release it: corpus remove one"
    assert f"hint: {hint}" in refused.lines
    assert not list(box.project("two").stage.glob(".salt"))
    said(corpus(box, "remove", "one"))
    assert two.push().code == 0


def test_aliases_are_addresses_too(box: Box) -> None:
    more = (
        "  urls: ['https://{domain}', '{aliases}']\n  data: {domain: a.example, aliases: [b.example, '*.c.example']}\n"
    )
    pushed = app(box, "one", more).push()
    assert pushed.lines[-2:] == ["  https://a.example", "  https://b.example"], pushed.text
    refused = app(box, "two", "  urls: ['https://b.example/']\n").push()
    assert refused.rejected == "address https://b.example belongs to project one"
    assert any("makina-projects.two.urls" in line for line in refused.lines)


def test_a_lost_store_has_its_claims_again(box: Box) -> None:
    assert app(box, "one", SHOP + "  ports: [8765]\n").push().code == 0
    before = held(box)
    box.stop()
    box.host.store.write_bytes(b"not a store")
    rebuild.rebuild(box.host, load(box.host.config_file))
    assert held(box) == before and len(before) == 2


def test_a_check_names_what_belongs_to_another(box: Box) -> None:
    assert app(box, "one", SHOP).push().code == 0
    assert app(box, "two", SHOP.replace("shop", "toys")).push().code == 0
    assert pillar(box, "two", "{data: {domain: shop.example.org}}").code == 0
    output = corpus(box, "check", "two")
    assert output.code == 1
    assert b"address http://shop.example.org belongs to project one" in output.stdout + output.stderr
