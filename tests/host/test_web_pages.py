"""The pages, as a browser without JavaScript sees them: sign in, look, act; and what hostile texts and sites do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import pytest

from corpushooks.access import attempts
from corpushooks.access.tokens import Tokens
from corpushooks.system.process import spawn
from corpushooks.web import chart
from corpushooks.web.forms import local
from tests.support.box import FAILING, Box, until
from tests.support.browsing import Browser, Seen
from tests.support.command import GATE, corpus
from tests.support.shared_box import shared_box
from tests.support.web import Web, serving

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)> javascript:alert(1) {{ 7*7 }}"


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with shared_box(tmp_path_factory.mktemp("pages"), page="one") as box, serving(box) as found:
        box.init("other")
        assert box.app("two").push().code == 0
        box.work().commit({".salt/20_broken.sls": FAILING}, "broken")
        assert box.work().push().code == 1
        box.ended(3)
        yield found


@pytest.fixture
def ann(web: Web) -> Browser:
    return Browser(web).sign_in()


# signing in


def test_who_is_not_signed_in_sees_nothing(web: Web) -> None:
    for path in (
        "/",
        "/projects/hello",
        "/projects/hello/deployments/1",
        "/projects/hello/freeze",
        "/projects/nowhere",
    ):
        found = Browser(web).get(path)
        assert (found.status, found.headers["location"], found.body) == (303, f"/sign-in?next={path}", b"")
    assert Browser(web).get("/projects/hello/deployments/1/log").status == 401
    assert "hello" not in Browser(web).get("/sign-in").text


def test_a_session_is_a_cookie_that_scripts_and_other_sites_do_not_get(web: Web) -> None:
    found = Browser(web, "fixed").post("/sign-in", {"token": web.token("read"), "next": "/projects/hello"})
    assert (found.status, found.headers["location"]) == (303, "/projects/hello")
    value, *flags = found.headers["set-cookie"].split("; ")
    assert value.startswith("__Host-corpus=") and "fixed" not in value and web.token("read") not in value
    assert {flag.lower() for flag in flags} == {"secure", "httponly", "samesite=lax", "path=/"}


def test_a_wrong_token_signs_nobody_in_and_too_many_are_refused(web: Web) -> None:
    far = Browser(web, headers={"X-Forwarded-For": "192.0.2.7"})
    for _ in range(attempts.OF_ADDRESS):
        found = far.post("/sign-in", {"token": "corpus_wrong"})
        assert found.status == 401 and "invalid token" in found.text and not far.cookie
    assert far.post("/sign-in", {"token": web.token("host")}).status == 503
    assert Browser(web).post("/sign-in", {"token": ""}).status == 401
    Browser(web).sign_in()


def test_a_session_ends_with_its_token_and_when_one_leaves(web: Web) -> None:
    browser = Browser(web).sign_in("read", "hello")
    history = web.box.history
    Tokens(history).revoke("read-hello")
    history.close()
    del web.tokens["read-hello"]
    assert browser.get("/").headers["location"] == "/sign-in?next=/"
    browser = Browser(web).sign_in()
    csrf = Seen(browser.get("/").text).form("/sign-out")
    kept = browser.cookie
    assert browser.post("/sign-out", csrf).headers["location"] == "/sign-in"
    assert Browser(web, kept).get("/").status == 303


@pytest.mark.parametrize(
    "to", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:x", "", "/a\nb"]
)
def test_nobody_is_led_elsewhere(to: str) -> None:
    assert local(to) == "/"
    assert local("/projects/hello?x=1") == "/projects/hello?x=1"


# looking


def test_the_projects_and_what_is_live(ann: Browser) -> None:
    found = ann.get("/")
    seen = Seen(found.text)
    assert found.status == 200 and {"/projects/hello", "/projects/other"} <= set(seen.links)
    assert "never deployed" in seen.text and "rolled back" in seen.text and "token host" in seen.text


def test_a_project_its_history_and_how_to_push(ann: Browser) -> None:
    seen = Seen(ann.get("/projects/hello").text)
    assert {f"/projects/hello/deployments/{number}" for number in (1, 2, 3)} <= set(seen.links)
    assert "git push prod" in seen.text and ann.web.box.row().code in seen.text
    assert len([tag for tag, _ in seen.tags if tag == "rect"]) == 3
    assert "/projects/hello/rollback?number=1" in seen.links and "/projects/hello/redeploy" in seen.links
    assert "It was never deployed:" in Seen(ann.get("/projects/other").text).text


def test_a_deployment_its_steps_and_its_whole_log(ann: Browser) -> None:
    seen = Seen(ann.get("/projects/hello/deployments/3").text)
    text = corpus(ann.web.box, "log", "hello", "3").stdout.decode()
    assert text in seen.text and "rolled back" in seen.text and "archive" in seen.text
    assert not [tag for tag, _ in seen.tags if tag == "script"]
    assert ann.get("/projects/hello/deployments/3/log").text == text


def test_somebody_with_a_small_right_sees_their_part_and_no_buttons(web: Web) -> None:
    reader = Browser(web).sign_in("read", "hello")
    first, project = reader.get("/"), reader.get("/projects/hello")
    assert "other" not in re.sub(r'class="other"', "", first.text)
    for action in ("redeploy", "rollback", "freeze", "cancel"):
        assert f"/{action}" not in project.text
    other, nowhere = (reader.get(f"/projects/{name}") for name in ("other", "nowhere"))
    assert other.status == nowhere.status == 403 and other.body == nowhere.body
    form = Seen(reader.get("/projects/hello/redeploy").text).form()
    assert reader.post("/projects/hello/redeploy", form).status == 403  # the daemon is who judges


def test_a_chart_has_a_bar_for_each_deployment() -> None:
    history = [{"number": n, "took": took, "state": state, "kind": "deploy"}
               for n, took, state in ((4, None, "running"), (3, 4.0, "rolled_back"), (2, 2.0, "cancelled"),
                                      (1, 0.0, "deployed"))]  # fmt: skip
    bars = chart.bars(history)
    assert [(bar.number, bar.height, bar.sort) for bar in bars] == [(1, 4, "ok"), (2, 40, "other"), (3, 80, "failed")]
    assert [bar.x for bar in bars] == [0, 15, 30] and bars[2].says == "deployment 3: rolled back, 4.0 s"
    assert chart.bars([]) == []


# acting


def test_each_action_says_what_it_will_do_and_does_it(web: Web) -> None:
    ann = Browser(web).sign_in()
    assert "Returns hello to the result of deployment 1" in ann.get("/projects/hello/rollback?number=1").text
    done = ann.act("/projects/hello/rollback?number=1")
    assert done.status == 303
    number = int(done.headers["location"].rpartition("/")[2])
    assert (web.box.ended(number).state, web.box.ended(number).request.who) == ("deployed", "token host")
    again = ann.act("/projects/hello/redeploy")
    assert web.box.ended(int(again.headers["location"].rpartition("/")[2])).state == "deployed"
    assert ann.act("/projects/hello/freeze", reason="moving").headers["location"] == "/projects/hello"
    assert "hello is frozen" in ann.get("/projects/hello").text or "moving" in ann.get("/projects/hello").text
    refused = ann.act("/projects/hello/redeploy")
    assert refused.status == 409 and "frozen by token host: moving" in Seen(refused.text).text
    assert ann.act("/projects/hello/thaw").status == 303


def test_a_form_that_is_sent_twice_is_done_once(ann: Browser) -> None:
    form = Seen(ann.get("/projects/hello/redeploy").text).form()
    first, again = (ann.post("/projects/hello/redeploy", form) for _ in range(2))
    assert first.headers["location"] == again.headers["location"]
    ann.web.box.ended(int(first.headers["location"].rpartition("/")[2]))


def test_what_runs_is_shown_cancelled_and_confirmed(box: Box) -> None:
    with serving(box) as web:
        ann = Browser(web).sign_in()
        box.app(files={".salt/00_page.sls": GATE.format(box.root)})
        push = box.work().start_push()
        until(lambda: "[2/8] sync" in ann.get("/projects/hello/deployments/1").text)
        seen = Seen(ann.get("/projects/hello/deployments/1").text)
        (script,) = [attrs for tag, attrs in seen.tags if tag == "script"]
        (shown,) = [attrs for tag, attrs in seen.tags if tag == "pre"]
        assert script["src"] == "/log.js" and int(shown["data-offset"]) > 0
        assert shown["data-log"] == "/projects/hello/deployments/1/log"
        assert "/projects/hello/cancel" in seen.links
        assert "/projects/hello/cancel" in Seen(ann.get("/projects/hello").text).links
        assert ann.act("/projects/hello/cancel").headers["location"] == "/projects/hello/deployments/1"
        assert push.wait(30) == 1 and box.ended(1).cancelled == "token host"
        work = box.app("three")
        push = spawn(
            ["git", "-C", work.path, "push", "--quiet", "--push-option=confirm=60", work.remote, "HEAD:master"]
        )
        until(lambda: web.api("GET", "/projects/hello/deployments/0").json["state"] == "held")
        assert "/projects/hello/confirm?number=2" in Seen(ann.get("/projects/hello/deployments/2").text).links
        assert ann.act("/projects/hello/confirm?number=2").headers["location"] == "/projects/hello/deployments/2"
        assert push.wait(30) == 0 and box.ended(2).confirmed == "token host"


# hostile


@pytest.fixture
def hostile(box: Box) -> Iterator[Web]:
    """Return the pages of a host where commits, authors and output are hostile."""
    box.app()
    name = "<script>alert(1)</script>"
    box.work().git("config", "user.name", EVIL)
    say = f"evil:\n  cmd.run:\n    - name: printf '%s' {EVIL.replace(chr(39), '')!r}; false\n"
    files = {f"{name.replace('/', '')}.html": "x", ".salt/20_evil.sls": "{% raw %}" + say + "{% endraw %}"}
    box.work().commit(files, EVIL)
    box.work().push()
    box.ended(1)
    with serving(box) as web:
        yield web


def test_hostile_texts_are_shown_and_nothing_more(hostile: Web) -> None:
    ann = Browser(hostile).sign_in()
    assert ann.act("/projects/hello/freeze", reason=EVIL).status == 303
    pages = [ann.get(path) for path in ("/", "/projects/hello", "/projects/hello/deployments/1", "/projects/<b>x")]
    assert "onerror" in pages[1].text and "onerror" in pages[2].text  # it is there, as text
    for page in pages:
        seen = Seen(page.text)
        assert not {tag for tag, _ in seen.tags} & {"script", "img", "iframe", "object", "b"}
        assert not [name for _, attrs in seen.tags for name in attrs if name.startswith("on") or name == "style"]
        assert not [link for link in seen.links if not link.startswith(("/", "#"))]
        assert "49" not in seen.text.replace("{{ 7*7 }}", "") or "{{ 7*7 }}" in seen.text
        policy = page.headers["content-security-policy"]
        assert "unsafe" not in policy and "script-src 'self'" in policy


FORGED: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "no csrf": ({"csrf": ""}, {}), "another's csrf": ({"csrf": "x" * 32}, {}), "odd csrf": ({"csrf": "☃"}, {}),
    "another site": ({}, {"Origin": "https://evil.example"}), "a frame of nowhere": ({}, {"Origin": "null"}),
    "cross-site": ({}, {"Sec-Fetch-Site": "cross-site"}), "a sister site": ({}, {"Sec-Fetch-Site": "same-site"}),
}  # fmt: skip


@pytest.mark.parametrize("how", FORGED)
def test_a_form_of_another_site_does_nothing(ann: Browser, how: str) -> None:
    fields, headers = FORGED[how]
    form = {**Seen(ann.get("/projects/hello/freeze").text).form(), "reason": "forged", **fields}
    found = ann.post("/projects/hello/freeze", form, **headers)
    assert found.status == 409 and "form" in found.text
    assert ann.web.api("GET", "/projects/hello").json["frozen"] is None
    own = {"Origin": f"http://127.0.0.1:{ann.web.port}", "Sec-Fetch-Site": "same-origin"}
    if not fields:
        assert ann.post("/projects/hello/freeze", {**form, "reason": "own"}, **own).status == 303
        assert ann.act("/projects/hello/thaw").status == 303


def test_a_cookie_is_nothing_to_the_api(ann: Browser) -> None:
    assert ann.get("/api/v1/projects").status == 401
    assert ann.post("/api/v1/projects/hello/freeze", {"reason": "x"}).status == 401


WRONGS = {
    "/nothing": 404, "/projects/hello/explode": 404, "/projects/nowhere": 404, "/projects/hello/deployments/99": 404,
    "/projects/hello/rollback": 400, "/projects/hello/rollback?number=x": 400,
    "/projects/hello/rollback?number=99": 404,
    "/projects/..%2f..%2fetc": 404, "/../../etc/passwd": 404, "/templates/base.html": 404,
}  # fmt: skip


@pytest.mark.parametrize("path", WRONGS)
def test_a_wrong_address_is_a_page(ann: Browser, path: str) -> None:
    found = ann.get(path)
    assert found.status == WRONGS[path] and found.headers["content-type"] == "text/html; charset=utf-8"
    assert "Traceback" not in found.text and 'href="/"' in found.text


def test_that_the_daemon_is_down_is_said_on_the_page(box: Box) -> None:
    with serving(box) as web:
        ann = Browser(web).sign_in()
        box.stop()
        found = ann.get("/")
        assert found.status == 503 and "the daemon" in Seen(found.text).text
        box.start()
        assert ann.get("/").status == 200


# as documents


def test_every_page_is_well_formed_and_can_be_read_aloud(ann: Browser) -> None:
    for path in (
        "/",
        "/sign-in",
        "/projects/hello",
        "/projects/hello/deployments/3",
        "/projects/hello/freeze",
        "/nope",
    ):
        text = ann.get(path).text
        seen = Seen(text)
        tags = [tag for tag, _ in seen.tags]
        assert tags.count("h1") == tags.count("main") == tags[: tags.index("body")].count("title") == 1
        assert ("html", {"lang": "en"}) in seen.tags
        labels = {attrs["for"] for tag, attrs in seen.tags if tag == "label"}
        inputs = {attrs["id"] for tag, attrs in seen.tags if tag == "input" and attrs.get("type") != "hidden"}
        assert labels == inputs
        ids = [attrs["id"] for _, attrs in seen.tags if "id" in attrs]
        assert len(ids) == len(set(ids))
        for chart_ in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
            ElementTree.fromstring(chart_)
        here = {link for link in seen.links if not link.startswith("#")}
        assert not [link for link in here if ann.get(link).status != 200]


def test_what_a_page_needs_comes_from_here(ann: Browser) -> None:
    for name, media in (("/style.css", "text/css"), ("/log.js", "text/javascript")):
        found = ann.get(name)
        assert found.status == 200 and found.headers["content-type"].startswith(media)
        assert "http" not in found.text.replace("https://", "http://") or "//" not in found.text
    seen: Any = Seen(ann.get("/projects/hello").text)
    assert [attrs["href"] for tag, attrs in seen.tags if tag == "link"] == ["/style.css"]
