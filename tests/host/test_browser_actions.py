"""Everything that can be done from a page, in a real browser: each action by click and by keyboard."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from corpushooks.web.actions import ACTIONS, HOST_ACTIONS
from tests.support.box import until
from tests.support.browsing import GOOD, account
from tests.support.browsing import Browser as Plain
from tests.support.command import asked
from tests.support.shared_box import shared_box
from tests.support.ssh_keys import ED25519
from tests.support.web import Web, serving
from tests.support.window import HOW, arrive, browsing, sign_in, window

pytestmark = pytest.mark.timeout(300)
ELSEWHERE = {"redeploy", "rollback", "confirm", "cancel", "freeze", "thaw"}  # of hello: tests/host/test_browser.py


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Return the pages of a host with a task, some archives, and things that each way of acting has for itself."""
    with shared_box(tmp_path_factory.mktemp("actions"), page="one") as box, serving(box) as found:
        hi = "hi:\n  cmd.run:\n    - name: echo hi from the task\n"
        assert box.app("two", files={".salt/task_hi.sls": hi}).push().code == 0
        for page in ("three", "four"):
            assert box.app(page).push().code == 0
        for how in HOW:
            box.init(f"old-{how}")
            found.token("read", name=f"spare-{how}")
            found.token("read", name=f"guest-{how}")
            Plain(found).post("/sign-in", {"token": found.token("read", name=f"guest-{how}"), "next": "/"})
        account(found, "ann", "--host")
        yield found


@pytest.fixture(scope="module")
def ann(web: Web) -> Iterator[Page]:
    """Return the window of somebody who signed in with a name and a password, by keyboard."""
    with browsing() as chromium, window(chromium, web) as page:
        page.goto("/")
        expect(page.get_by_label("Name")).to_be_focused()
        page.keyboard.type("ann")
        fill(page, "key", "Password", GOOD)
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_have_text("Projects")
        yield page


def fill(page: Page, how: str, label: str, value: str) -> None:
    """Fill in a field, choose one of a list, or tick a box."""
    if how == "key":
        arrive(page, label)
        kind = page.evaluate("() => document.activeElement.type")
        page.keyboard.press("Control+a") if kind in ("text", "textarea", "password") else None
        page.keyboard.press("Space") if kind == "checkbox" else page.keyboard.type(value)
        return
    found = page.locator("main").get_by_label(label, exact=False).first
    kind = found.evaluate("it => it.type")
    if kind == "select-one":
        found.select_option(value)
    elif kind == "checkbox":
        found.check()
    else:
        found.fill(value)


Came = Callable[[Web, str], Any]


@dataclass(frozen=True)
class Walk:
    """How somebody comes to an action, what they fill in, and what comes of it; {how} is the way they act."""

    at: str
    link: str = ""  # what leads to the form from there; empty: it is there
    button: str = ""  # empty: as the link
    fields: Mapping[str, str] = field(default_factory=dict)
    ended: str = ""  # how the deployment ends whose page comes then
    sees: str = ""  # on the page that comes then
    refused: str = ""  # what the daemon answers where there is nothing to do it with
    came: Came = lambda web, how: True


HELLO = "/projects/hello"
WALKS: Mapping[str, Walk] = {
    "plan": Walk(HELLO, "Plan", ended="done", sees="nothing was changed"),
    "task": Walk(f"{HELLO}/tasks", "Run hi", "Run a task", ended="done", sees="hi from the task"),
    "restart": Walk(HELLO, "Restart", refused="hello names no units"),
    "repair": Walk(f"{HELLO}/repair", "", "Repair", ended="done", sees="hello is repaired"),
    "backup": Walk(f"{HELLO}/backups", "Back up", came=lambda web, how: newest(web)[0] == "backup"),
    "drill": Walk(f"{HELLO}/drill?number=1", "", "Test backup 1", came=lambda web, how: newest(web)[0] == "drill"),
    "prune": Walk(f"{HELLO}/backups", "Remove expired backups", came=lambda web, how: newest(web)[0] == "prune"),
    "check-backups": Walk(f"{HELLO}/backups", "Check the backups",
                          came=lambda web, how: newest(web)[0] == "check-backups"),
    "set": Walk(f"{HELLO}/configuration", "Set a variable", fields={"Variable": "colour_{how}", "Value": "blue"},
                came=lambda web, how: variables(web).get(f"colour_{how}") == "blue"),
    "unset": Walk(f"{HELLO}/configuration", "Unset a variable", fields={"Variable": "colour_{how}"},
                  came=lambda web, how: f"colour_{how}" not in variables(web)),
    "set-setting": Walk(f"{HELLO}/settings", "Change keep_archives", "Change a setting", {"Value": "9"},
                        came=lambda web, how: kept(web) == ("9", "project")),
    "unset-setting": Walk(f"{HELLO}/settings", "Unset keep_archives", "Use the host's setting",
                          came=lambda web, how: kept(web)[1] != "project"),
    "remove-archive": Walk(f"{HELLO}/archives", "Remove archive {other}", fields={"Type hello to confirm": "hello"},
                           came=lambda web, how: newest(web) == ("remove-archive", "done")),
    "remove": Walk("/projects/old-{how}/access", "Remove the project",
                   fields={"Also remove its files": "yes", "Type old-{how} to confirm": "old-{how}"},
                   sees="Remove the project: done", came=lambda web, how: f"old-{how}" not in projects(web)),
    "create": Walk("/host/overview", "Create a project", fields={"Name": "new-{how}", "Installer": "static"},
                   sees="created new-{how}", came=lambda web, how: f"new-{how}" in projects(web)),
    "add-key": Walk("/host/keys", "Add an ssh key",
                    fields={"Name": "jo-{how}", "Public key": "{key}", "Right": "push", "Projects": "hello"},
                    sees="jo-{how}", came=lambda web, how: named(web, "keys", f"jo-{how}")["right"] == "push"),
    "set-key": Walk("/host/keys", "Change jo-{how}", "Change a key", {"Right": "admin"},
                    came=lambda web, how: named(web, "keys", f"jo-{how}")["right"] == "admin"),
    "test-key": Walk("/host/keys", "Test jo-{how}", "Test a key", {"Project": "hello"}, sees="admin"),
    "revoke-key": Walk("/host/keys", "Revoke jo-{how}", "Revoke a key", {"Type the name again": "jo-{how}"},
                       came=lambda web, how: not named(web, "keys", f"jo-{how}")),
    "add-token": Walk("/host/keys", "Add a token", fields={"Name": "ci-{how}", "Right": "read"}, sees="corpus_",
                      came=lambda web, how: named(web, "tokens", f"ci-{how}")["right"] == "read"),
    "revoke-token": Walk("/host/keys", "Revoke spare-{how}", "Revoke a token", {"Type the name again": "spare-{how}"},
                         came=lambda web, how: not named(web, "tokens", f"spare-{how}")),
    "end-sessions": Walk("/host/sessions", "Sign out token guest-{how}", "Sign somebody out",
                         came=lambda web, how: f"token guest-{how}" not in str(asked(web.box, "session", "list"))),
    "freeze-all": Walk("/host/overview", "Freeze the host", fields={"Reason": "moving by {how}"},
                       came=lambda web, how: frozen(web)),
    "thaw-all": Walk("/host/overview", "Thaw the host", came=lambda web, how: not frozen(web)),
    "account add": Walk("/accounts", "", "Add the account", {"Name": "bo-{how}", "Right": "push", "Projects": "hello"},
                        sees="/password/", came=lambda web, how: named(web, "accounts", f"bo-{how}")),
    "account link": Walk("/accounts", "New link for bo-{how}", "New link", sees="/password/"),
    "account revoke": Walk("/accounts", "Revoke bo-{how}", "Revoke",
                           came=lambda web, how: not named(web, "accounts", f"bo-{how}")),
}  # fmt: skip
NOT_LINKED = {"repair", "drill"}  # their form is led to only where there is something to repair, or to test


def variables(web: Web) -> dict[str, Any]:
    found: dict[str, Any] = web.api("GET", f"{HELLO}/variables").json
    return found


def kept(web: Web) -> tuple[str, str]:
    row = next(each for each in web.api("GET", f"{HELLO}/settings").json if each["name"] == "keep_archives")
    return row["value"], row["origin"]


def archives(web: Web) -> list[int]:
    return sorted(each["number"] for each in web.api("GET", f"{HELLO}/archives").json)


def newest(web: Web) -> tuple[str, str]:
    row = asked(web.box, "audit", "hello")[0]
    return row["operation"], row["outcome"]


def projects(web: Web) -> list[str]:
    return [each["project"] for each in web.api("GET", "/projects").json]


def named(web: Web, what: str, name: str) -> dict[str, Any]:
    return next((each for each in web.api("GET", f"/{what}").json if each["name"] == name), {})


def frozen(web: Web) -> Any:
    return web.api("GET", "/host").json["frozen"]


def removable(web: Web) -> int:
    """Return an archive that is neither the newest nor needed."""
    live = web.box.row().live
    return next((each for each in archives(web)[:-1] if each != live), 0)


def test_every_action_is_walked_to() -> None:
    assert {*ACTIONS, *HOST_ACTIONS} == {*WALKS, *ELSEWHERE} - {"account add", "account link", "account revoke"}
    assert {name for name, walk in WALKS.items() if not walk.link} == NOT_LINKED | {"account add"}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("how", HOW)
def test_every_action_is_done(ann: Page, web: Web, how: str) -> None:
    for name, walk in WALKS.items():
        print(name)  # what a failure is about
        follow(ann, web, walk, how)
    told(web)


def follow(ann: Page, web: Web, walk: Walk, how: str) -> None:
    """Come to an action, do it, and await what comes of it."""

    def full(text: str) -> str:
        other = removable(web) if "{other}" in text else ""
        return text.format(how=how, key=f"ssh-ed25519 {ED25519}", other=other)

    ann.goto(full(walk.at))
    link = full(walk.link)
    if link:
        HOW[how](ann, link)
        expect(ann.locator("main form.box")).to_be_visible()
    for label, value in walk.fields.items():
        fill(ann, how, full(label), full(value))
    HOW[how](ann, full(walk.button) or link)
    if walk.ended:  # its page is loaded again at its end
        expect(ann.locator("h1")).to_contain_text(walk.ended)
    if walk.refused:
        expect(ann.locator("[role=alert]")).to_contain_text(walk.refused)
    if walk.sees:
        expect(ann.locator("main")).to_contain_text(full(walk.sees))
    until(lambda: walk.came(web, how))
    expect(ann.locator("#state")).to_have_count(0)  # a page that follows something is loaded again at its end


def told(web: Web) -> None:
    """Check that the audit says who acted, and that they did by a page."""
    rows = [each for each in asked(web.box, "audit", "hello") if each["operation"] in ("task", "plan", "set")]
    assert rows and {(each["who"], each["via"]) for each in rows} == {("account ann", "page")}


def test_who_has_no_right_sees_nothing_not_even_names(chromium: Browser, web: Web) -> None:
    with window(chromium, web) as page:
        sign_in(page, web.token("admin", "nowhere"))
        for path in ("/", "/projects/hello", f"{HELLO}/deployments/1", f"{HELLO}/audit", f"{HELLO}/freeze", "/audit",
                     "/accounts", "/host/overview", "/host/metrics", "/host/keys", "/host/create"):  # fmt: skip
            page.goto(path)
            told = page.content().replace(path, "")
            assert not [name for name in ("hello", "old-", "ann", "guest", "spare") if name in told], (path, told)
            assert page.locator("main form[method=post]").count() == 0
        page.goto("/")
        expect(page.locator("main")).to_contain_text("There are no projects that you can see.")


@pytest.fixture(scope="module")
def chromium(ann: Page) -> Browser:
    found = ann.context.browser
    assert found
    return found
