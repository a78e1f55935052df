"""A real browser: Debian's Chromium, in a root of its own.

    with browser.opened(tmp_path / "browser", leader=server.leader) as chromium:  # in the network of a server
        page = chromium.page("http://www.example.org/")  # its DOM, after its scripts have run
        chromium.picture("http://www.example.org/", tmp_path / "seen.png", width=360)

Every name is at 127.0.0.1 for it. Without `leader` its network is a loopback of its own, where `serves` is a folder
that it finds at http://127.0.0.1:8000/.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from corpushooks.system.process import run
from tests.support import nspawn

WORDS = (
    "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
    "--host-resolver-rules=MAP * 127.0.0.1", "--user-data-dir=/tmp/profile", "--virtual-time-budget=60000",
)  # fmt: skip
SERVE = "python3 -m http.server --bind 127.0.0.1 --directory /serves 8000 >/dev/null 2>&1 &\n"
SERVED = "until python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 8000))' 2>/dev/null; do :; done\n"


@dataclass(frozen=True)
class Browser:
    """A browser that is started for each page; what it writes lies in `folder`."""

    folder: Path
    net: tuple[str, ...]
    serves: Path | None

    def page(self, url: str) -> str:
        """Return the DOM of a page."""
        return self._run(shlex.join([*WORDS, "--dump-dom", url]))

    def picture(self, url: str, target: Path, *, width: int = 1280, height: int = 900) -> None:
        """Write what is seen of a page as a PNG."""
        self._run(shlex.join([*WORDS, "--screenshot=/seen/page.png", f"--window-size={width},{height}", url]))
        shutil.move(self.folder / "seen/page.png", target)

    def _run(self, script: str) -> str:
        words = [*nspawn.NSPAWN, "--as-pid2", "--resolv-conf=off", f"--directory={self.folder / 'root'}", *self.net]
        words.append(f"--bind={self.folder / 'seen'}:/seen")
        if self.serves:
            words.append(f"--bind-ro={self.serves}:/serves")
        text = f"{SERVE}{SERVED}{script}" if self.serves else script
        return run([*_root().over(self.folder), *words, "sh", "-euc", text], timeout=600).text


@contextmanager
def opened(folder: Path, *, leader: int = 0, serves: Path | None = None) -> Iterator[Browser]:
    """Return a browser in the network of a server, or in one of its own."""
    (folder / "seen").mkdir(parents=True)
    net = f"--network-namespace-path=/proc/{leader}/ns/net" if leader else "--private-network"
    yield Browser(folder, (net,), serves)
    shutil.rmtree(folder)


def _root() -> nspawn.Root:
    return nspawn.bare("bookworm").installed("chromium", "fonts-dejavu-core", "python3")
