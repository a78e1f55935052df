"""The pages in a real browser, on a real daemon with real pushes: look, follow and act, by click and by keyboard."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from corpushooks.system.process import Child, spawn
from corpushooks.web.actions import ACTIONS, HOST_ACTIONS
from corpushooks.web.views import HOST_VIEWS, VIEWS
from tests.support.box import FAILING, Box, until
from tests.support.command import GATE, corpus
from tests.support.shared_box import shared_box
from tests.support.web import Web, serving
from tests.support.window import HOW, browsing, click, faults, press, sign_in, wide, window

pytestmark = pytest.mark.timeout(900)  # a browser looks at every page

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Return the pages of a host with some history, of which much is hostile."""
    with shared_box(tmp_path_factory.mktemp("browser"), page="one") as box, serving(box) as found:
        box.init("other")
        work = box.app("two")
        assert work.push().code == 0
        work.git("config", "user.name", EVIL)
        work.commit({".salt/20_broken.sls": FAILING, "<img src=x onerror=alert(1)>": EVIL}, EVIL)
        assert work.push().code == 1
        work.git("rm", "--quiet", ".salt/20_broken.sls")
        work.commit(message=EVIL)
        box.ended(3)
        long = "a-name-that-is-as-long-as-names-of-keys-and-accounts-can-be-64ch"
        found.token("read", name=long)
        assert corpus(box, "account", "add", "ann", "--push", "--project", "hello").code == 0
        assert corpus(box, "account", "add", long, "--read").code == 0
        assert corpus(box, "set", "hello", f"{long}={long}{long}").code == 0
        yield found


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browsing() as found:
        yield found


@pytest.fixture
def page(chromium: Browser, web: Web) -> Iterator[Page]:
    """Return a window of somebody who is signed in."""
    with window(chromium, web) as found:
        sign_in(found, web.token("host"))
        yield found


def gated(box: Box, *options: str, gate: bool = True) -> tuple[Child[bytes], int]:
    """Push what waits for the test, or not; return the push, and the number of what came of it."""
    (box.root / "gate").unlink(missing_ok=True)
    work, before = box.work(), newest(box)
    work.write({".salt/30_gate.sls": GATE.format(box.root) if gate else "{}"})
    work.commit()
    words = [f"--push-option={option}" for option in options]
    push = spawn(["git", "-C", work.path, "push", "--quiet", *words, work.remote, "+HEAD:master"])
    return push, until(lambda: (now := newest(box)) > before and now)


def newest(box: Box) -> int:
    store = box.history
    found = store.newest("hello")
    store.close()
    return found


# looking


PAGES = (
    "/", "/api", "/audit", "/accounts", "/accounts/ann/link", "/nothing", "/projects/hello", "/projects/other",
    "/projects/hello/deployments/3", "/projects/hello/audit", "/projects/hello/rollback?number=1", "/sign-in/link/x",
    *(f"/projects/hello/{name}" for name in VIEWS), *(f"/host/{name}" for name in HOST_VIEWS),
    *(f"/projects/hello/{name}" for name, action in ACTIONS.items() if not action.numbered),
    *(f"/host/{name}" for name in HOST_ACTIONS),
)  # fmt: skip


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_every_page_can_be_used_by_anyone(chromium: Browser, web: Web, width: int, dark: bool) -> None:
    with window(chromium, web, width=width, dark=dark) as page:
        page.goto("/sign-in")
        assert faults(page) == []
        sign_in(page, web.token("host"))
        for path in PAGES:
            page.goto(path)
            assert (path, faults(page)) == (path, [])


@pytest.mark.parametrize("width", [320, 600, 896, 897, 1024])
def test_no_page_is_wider_than_its_window(chromium: Browser, web: Web, width: int) -> None:
    with window(chromium, web, width=width) as page:
        sign_in(page, web.token("host"))
        for path in PAGES:
            page.goto(path)
            page.evaluate("() => document.querySelectorAll('details').forEach((it) => { it.open = true; })")
            assert (path, wide(page)) == (path, [])


def test_one_comes_from_the_projects_to_a_log_by_keyboard(page: Page, web: Web) -> None:
    press(page, "hello")
    expect(page).to_have_url(re.compile("/projects/hello$"))
    press(page, "deployment 3")
    expect(page.locator("h1")).to_contain_text("rolled back")
    assert page.locator("#log").text_content() == corpus(web.box, "log", "hello", "3").stdout.decode()


def test_hostile_texts_are_texts(page: Page) -> None:
    page.goto("/projects/hello/deployments/3")
    assert page.locator("img, iframe, main script").count() == 0
    page.goto("/projects/hello")
    assert page.locator("img, iframe, main script").count() == 0  # an alert fails the test by itself


# following


def follows(page: Page, number: int) -> None:
    """Await that a page follows a log."""
    page.goto(f"/projects/hello/deployments/{number}")
    expect(page.locator("#state")).to_have_text("Following it live.")


def test_a_push_is_followed_live_through_a_restart_of_the_pages(page: Page, web: Web) -> None:
    box = web.box
    push, number = gated(box)
    follows(page, number)
    expect(page.locator("#log")).to_contain_text("fixperms")
    web.stop(9)
    expect(page.locator("#state")).to_have_text("Connection lost; reconnecting.")
    web.start()
    expect(page.locator("#state")).to_have_text("Following it live.")
    (box.root / "gate").touch()
    expect(page.locator("h1")).to_contain_text("deployed")
    assert push.wait(30) == 0
    assert page.locator("#log").text_content() == corpus(box, "log", "hello", str(number)).stdout.decode()


def test_a_line_comes_to_the_page_without_loading_it_again(page: Page, web: Web) -> None:
    push, number = gated(web.box)
    follows(page, number)
    page.evaluate("() => { window.same = true; }")
    (web.box.root / "gate").touch()
    expect(page.locator("#log")).to_contain_text("30_gate")
    until(lambda: web.box.ended(number).state == "deployed")
    assert push.wait(30) == 0


# acting


@pytest.mark.parametrize("how", HOW)
def test_deploy_again(page: Page, web: Web, how: str) -> None:
    page.goto("/projects/hello")
    HOW[how](page, "Deploy again")
    expect(page.locator("main")).to_contain_text("Deploys the live commit of hello again")
    HOW[how](page, "Deploy again")
    expect(page.locator("h1")).to_contain_text("deployed")
    assert web.box.deployment(newest(web.box)).request.who == "token host"


@pytest.mark.parametrize("how", HOW)
def test_roll_back(page: Page, web: Web, how: str) -> None:
    page.goto("/projects/hello")
    HOW[how](page, "Roll back to 1")
    expect(page.locator("main")).to_contain_text("Returns hello to the result of deployment 1")
    HOW[how](page, "Roll back to 1")
    expect(page.locator("h1")).to_contain_text("deployed")
    assert web.box.deployment(newest(web.box)).request.kind == "rollback"


@pytest.mark.parametrize("how", HOW)
def test_freeze_and_thaw(page: Page, web: Web, how: str) -> None:
    page.goto("/projects/hello")
    HOW[how](page, "Freeze")
    expect(page.locator("#reason")).to_be_focused()
    page.keyboard.type(f"moving by {how}")
    HOW[how](page, "Freeze")
    expect(page.locator("main")).to_contain_text(f"moving by {how}")
    HOW[how](page, "Thaw")
    expect(page.locator("main")).to_contain_text("Accepts deployments of hello again")
    HOW[how](page, "Thaw")
    expect(page.get_by_role("link", name="Freeze")).to_be_visible()
    assert web.api("GET", "/projects/hello").json["frozen"] is None


@pytest.mark.parametrize("how", HOW)
def test_cancel(page: Page, web: Web, how: str) -> None:
    push, number = gated(web.box)
    page.goto(f"/projects/hello/deployments/{number}")
    HOW[how](page, "Cancel")
    expect(page.locator("main")).to_contain_text("Cancels what runs or waits in hello")
    HOW[how](page, "Cancel")
    expect(page.locator("h1")).to_contain_text("rolled back")
    expect(page.locator("main")).to_contain_text("Cancelled by")
    assert push.wait(30) == 1 and web.box.ended(number).cancelled == "token host"


@pytest.mark.parametrize("how", HOW)
def test_confirm(page: Page, web: Web, how: str) -> None:
    push, number = gated(web.box, "confirm=60", gate=False)
    until(lambda: web.box.deployment(number).state == "held")
    page.goto(f"/projects/hello/deployments/{number}")
    HOW[how](page, "Confirm")
    expect(page.locator("main")).to_contain_text("it becomes final")
    HOW[how](page, f"Confirm {number}")
    expect(page.locator("h1")).to_contain_text("deployed")
    assert push.wait(30) == 0 and web.box.ended(number).confirmed == "token host"


def test_two_windows_act_at_once(chromium: Browser, page: Page, web: Web) -> None:
    push, number = gated(web.box, "confirm=60", gate=False)
    until(lambda: web.box.deployment(number).state == "held")
    with window(chromium, web) as other:
        sign_in(other, web.token("push", "hello"))
        for each, action in ((page, f"confirm?number={number}"), (other, "cancel")):
            each.goto(f"/projects/hello/{action}")
        click(page, f"Confirm {number}")
        click(other, "Cancel")
        for each in (page, other):
            each.locator("h1").wait_for()
        assert web.box.ended(number).confirmed == "token host"
        assert push.wait(30) == 0
        expect(other.locator("[role=alert]")).to_contain_text("nothing")


def test_that_the_daemon_is_down_is_said(page: Page, web: Web) -> None:
    web.box.stop()
    page.goto("/projects/hello")
    expect(page.locator("[role=alert]")).to_contain_text("daemon")
    assert faults(page) == []
    web.box.start()
    page.reload()
    expect(page.locator("h1")).to_contain_text("hello")
