"""Make the pictures of the pages in docs/: python -m tests.support.pictures [FOLDER]"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.support.box import Box, until
from tests.support.command import corpus
from tests.support.places import TOP
from tests.support.shared_box import shared_box
from tests.support.web import Web, serving
from tests.support.window import browsing, sign_in, window

BROKEN = """\
shop-service:
  cmd.run:
    - name: |
        echo 'nginx: [emerg] unknown directive "lissen"'; exit 1
"""
AT_ROOT = """(root) => {
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) texts.currentNode.data = texts.currentNode.data.replaceAll(root, "");
}"""  # paths as on a host that is not in a folder
SHOTS = (  # file, page, width, dark, height
    ("web-projects", "/", 1280, False, 420),
    ("web-project", "/projects/shop", 1280, True, 760),
    ("web-failure", "/projects/shop/deployments/{failed}", 1280, False, 780),
    ("web-phone", "/projects/shop/deployments/{failed}", 360, True, 760),
    ("web-phone-project", "/projects/shop", 360, False, 760),
)


def fill(box: Box) -> int:
    """Deploy some things; return the number of a deployment that failed."""
    for name in ("shop", "blog", "wiki"):
        box.init(name)
    for page in ("one", "two", "three", "four"):
        assert box.app(page, "shop").push().code == 0
    assert box.app("hello", "blog").push().code == 0
    assert box.app("hello", "wiki").push().code == 0
    corpus(box, "freeze", "wiki", "moving to another disk")
    work = box.work("shop")
    work.commit({".salt/20_shop.sls": BROKEN}, "Serve the shop by nginx")
    assert work.push().code == 1
    failed = box.history.newest("shop")
    until(lambda: box.deployment(failed, "shop").ended)
    return failed


def shoot(web: Web, failed: int, folder: Path) -> None:
    """Write the pictures."""
    with browsing() as chromium:
        for name, path, width, dark, height in SHOTS:
            with window(chromium, web, width=width, dark=dark) as page:
                page.set_viewport_size({"width": width, "height": height})
                sign_in(page, web.token("host", name="ann"))
                page.goto(path.format(failed=failed))
                page.evaluate(AT_ROOT, str(web.box.host.root))
                page.screenshot(path=str(folder / f"{name}.png"))


def main() -> None:
    """Fill a host, and write its pictures."""
    folder = Path(sys.argv[1]) if sys.argv[1:] else TOP / "docs"
    with tempfile.TemporaryDirectory(prefix="corpushooks-") as made, shared_box(Path(made)) as box, serving(box) as web:
        shoot(web, fill(box), folder)


if __name__ == "__main__":
    main()
