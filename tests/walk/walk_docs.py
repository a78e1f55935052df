"""The pages as `make docs` builds them, in a real browser, as wide as a telephone and as a desk's screen."""

from __future__ import annotations

import json
import re
import shutil
import sys
from html import unescape
from pathlib import Path

import pytest

from corpushooks.system.process import run
from tests.support import browser
from tests.support.places import TOP

WIDTHS = (360, 1280)
# Each page in a frame of each width: what is wider than that, and lies in nothing that scrolls.
LOOK = """\
<!doctype html><meta charset="utf-8"><body><script>
const scrolls = (node) => {
  for (let each = node.parentElement; each && each.tagName != "BODY"; each = each.parentElement)
    if (["auto", "scroll"].includes(each.ownerDocument.defaultView.getComputedStyle(each).overflowX)) return true;
  return false;
};
const opened = async (url, width) => {
  const frame = document.createElement("iframe");
  frame.style.cssText = `border: 0; height: 800px; width: ${width}px`;
  const loaded = new Promise((done) => (frame.onload = done));
  frame.src = url;
  document.body.append(frame);
  await loaded;
  await frame.contentDocument.fonts.ready;
  return frame;
};
const cut = (frame, width) => {
  const page = frame.contentDocument, found = [];
  if (page.documentElement.scrollWidth > width) found.push("the page itself");
  for (const node of page.querySelectorAll("article *"))
    if (node.getBoundingClientRect().right > width + 1 && !scrolls(node))
      found.push(`${node.tagName}: ${node.textContent.trim().slice(0, 50)}`);
  return found;
};
const until = async (asked) => {
  // The clock of a page is not the real one here (--virtual-time-budget), but it stops while something is fetched.
  for (let tries = 0; tries < 2000 && !asked(); tries++) await fetch(`site.css?${tries}`, { cache: "no-store" });
  return asked();
};
const searched = async (words) => {
  const frame = await opened("index.html", 1280), page = frame.contentDocument;
  const input = page.querySelector("[data-md-component=search-query]");
  await until(() => page.querySelector(".md-search-result__meta").textContent.trim() != "Initializing search");
  page.querySelector("#__search").click();
  input.focus();
  input.value = words;
  input.dispatchEvent(new frame.contentWindow.KeyboardEvent("keyup", { bubbles: true }));
  input.dispatchEvent(new frame.contentWindow.Event("input", { bubbles: true }));
  await until(() => page.querySelector(".md-search-result__link"));
  return [...page.querySelectorAll(".md-search-result__link")].map((each) => each.getAttribute("href"));
};
(async () => {
  const told = { cut: {}, found: await searched(SEARCHED) };
  for (const page of PAGES)
    for (const width of WIDTHS) {
      const frame = await opened(page, width);
      told.cut[`${page} ${width}`] = cut(frame, width);
      frame.remove();
    }
  document.body.innerHTML = "<pre></pre>";
  document.querySelector("pre").textContent = JSON.stringify(told);
})();
</script>
"""
SEARCHED = "keep_archives"

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the pages as a site."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder]
    run(words, cwd=TOP, env={"NO_MKDOCS_2_WARNING": "1"}, timeout=300)
    return folder


@pytest.fixture(scope="module")
def told(site: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Return what a browser saw of all pages."""
    served = tmp_path_factory.mktemp("served") / "site"
    shutil.copytree(site, served)
    pages = sorted(path.name for path in site.glob("*.html"))
    assert len(pages) > 20
    given = {"PAGES": pages, "WIDTHS": WIDTHS, "SEARCHED": SEARCHED}
    text = LOOK
    for name, value in given.items():
        text = re.sub(rf"\b{name}\b", json.dumps(value), text)
    (served / "look.html").write_text(text)
    with browser.opened(tmp_path_factory.mktemp("chromium") / "browser", serves=served) as chromium:
        page = chromium.page("http://127.0.0.1:8000/look.html")
    (said,) = re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL)
    return json.loads(unescape(said))


def test_nothing_is_cut_on_any_page(told: dict[str, dict[str, list[str]]]) -> None:
    assert {name: nodes for name, nodes in told["cut"].items() if nodes} == {}


def test_search_finds_a_setting(told: dict[str, list[str]]) -> None:
    assert any("settings.html" in link for link in told["found"]), told["found"]
