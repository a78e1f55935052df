"""A window of a real browser: Debian's Chromium, driven by playwright, on the pages of a box.

with browsing() as chromium, window(chromium, web, width=360, dark=True) as page:
    sign_in(page, token)
    press(page, "Deploy again")  # by keyboard
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.web import Web

CHROMIUM = "/usr/bin/chromium"
HEIGHT = 900
TABS = 200  # more than there are things to reach on a page
REACHED = "() => { const it = document.activeElement; return (it.labels?.[0] ?? it).innerText?.trim() ?? ''; }"
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
    page.set_default_timeout(20_000)
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


def reach(page: Page, name: str) -> None:
    """Go to what has a name, by keyboard."""
    seen = []
    for _ in range(TABS):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(REACHED))
        if seen[-1] == name:
            return
    raise AssertionError(f"{name} is not reached by keyboard, only {seen}")


def faults(page: Page) -> list[str]:
    """Return what keeps people from using a page: what axe finds, and what is wider than the window."""
    found: Any = Axe().run(page, options=RULES).response["violations"]
    said = [f"{each['id']}: {node['html']}" for each in found for node in each["nodes"]]
    wide = page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return [*said, *([f"{wide} px wider than the window"] if wide > 0 else [])]
