"""A window of a real browser: Debian's Chromium, driven by playwright, on the pages of a box.

with browsing() as chromium, window(chromium, web, width=360, dark=True) as page:
    sign_in(page, token)
    press(page, "Deploy again")  # by keyboard
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.web import Web

CHROMIUM = "/usr/bin/chromium"
HEIGHT = 900
SECONDS = 20  # for what is awaited on a page
TABS = 200  # more than there are things to reach on a page
REACHED = """() => {
    const it = document.activeElement;
    return it.ariaLabel ?? (it.labels?.[0] ?? it).innerText?.trim() ?? '';
}"""
LABELLED = "() => document.activeElement.labels?.[0]?.innerText?.trim() ?? ''"
SIDEWAYS = """() => [...document.querySelectorAll("*")].filter((it) =>
    it.scrollWidth > it.clientWidth + 1 && it.clientWidth && getComputedStyle(it).display !== "inline"
    && !["INPUT", "TEXTAREA", "SELECT"].includes(it.tagName)
    && (!it.closest("thead") || getComputedStyle(it.closest("thead")).clipPath === "none")  // hidden on a phone
).map((it) => it.outerHTML.slice(0, 100))"""
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


@contextlib.contextmanager
def browsing() -> Iterator[Browser]:
    """Run a browser while the block runs; root's has no sandbox."""
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


@contextlib.contextmanager
def window(chromium: Browser, web: Web, *, width: int = 1280, dark: bool = False) -> Iterator[Page]:
    """Open a window of somebody new; whatever a page complains of, or asks, fails the test when it closes."""
    context = chromium.new_context(
        base_url=f"http://localhost:{web.port}", viewport={"width": width, "height": HEIGHT},
        color_scheme="dark" if dark else "light", reduced_motion="reduce",
    )  # fmt: skip
    page, wrong = context.new_page(), list[str]()
    page.set_default_timeout(SECONDS * 1000)
    expect.set_options(timeout=SECONDS * 1000)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" and _ours(said.text) else None)
    page.on("dialog", lambda asked: (wrong.append(f"asks: {asked.message}"), asked.dismiss()))
    try:
        yield page
    finally:
        context.close()
    assert not wrong


def _ours(text: str) -> bool:
    """Say whether a complaint is about the page, and not about an answer that a test wants, or a stopped process."""
    return not text.startswith("Failed to load resource")


def sign_in(page: Page, token: str) -> None:
    """Sign in with a token."""
    page.goto("/sign-in")
    page.locator("#token").fill(token)
    page.locator("#token").press("Enter")
    page.get_by_role("button", name="Sign out").wait_for()


def press(page: Page, name: str) -> None:
    """Go to what has a name, by keyboard, and press Enter on it."""
    reach(page, name)
    page.keyboard.press("Enter")


def click(page: Page, name: str) -> None:
    """Click on the link or button in a page that has a name."""
    main = page.locator("main")
    main.get_by_role("link", name=name, exact=True).or_(main.get_by_role("button", name=name, exact=True)).click()


HOW: Mapping[str, Callable[[Page, str], None]] = {"click": click, "key": press}  # how people act


def reach(page: Page, name: str) -> None:
    """Go to what has a name, by keyboard."""
    seen = []
    for _ in range(TABS):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(REACHED))
        if seen[-1] == name:
            return
    raise AssertionError(f"{name} is not reached by keyboard, only {seen}")


def arrive(page: Page, label: str) -> None:
    """Go to the field with a label that begins so, by keyboard; it can have the focus already."""
    seen = []
    for _ in range(TABS):
        seen.append(page.evaluate(LABELLED))
        if seen[-1].startswith(label):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{label} is not reached by keyboard, only {seen}")


def faults(page: Page) -> list[str]:
    """Return what keeps people from using a page: what axe finds, and what is wider than it should be."""
    found: Any = Axe().run(page, options=RULES).response["violations"]
    said = [f"{each['id']}: {node['html']}" for each in found for node in each["nodes"]]
    return [*said, *wide(page)]


def wide(page: Page) -> list[str]:
    """Return what has more in it than fits sideways: it would be scrolled, or lie over what is beside it."""
    found: list[str] = page.evaluate(SIDEWAYS)
    return [f"wider than there is room: {each}" for each in found]
