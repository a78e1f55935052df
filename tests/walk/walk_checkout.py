"""A checkout on a bare server without a compiler: `make demo`, as the README says, with what Debian calls python3."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from corpushooks.system.process import run
from tests.support import nspawn
from tests.support.deb import RELEASES, TOP

pytestmark = pytest.mark.timeout(1800)


@pytest.mark.parametrize("release", RELEASES.values())
def test_the_demo_plays_without_a_compiler_and_says_what_it_does(release: str, tmp_path: Path) -> None:
    root = nspawn.bare(release).installed("git", "make", "python3-venv")
    for name in run(["git", "-C", TOP, "ls-files"]).text.splitlines():
        (tmp_path / "checkout" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(TOP / name, tmp_path / "checkout" / name, follow_symlinks=False)
    with nspawn.memory() as folder, nspawn.booted(root, folder, network=True) as server:
        server.put(tmp_path / "checkout", "/root/checkout")
        done = server.run('test -z "$(command -v cc gcc)"; cd /root/checkout && make demo </dev/null 2>&1', timeout=900)
        first, *_ = done.text.splitlines()
        assert first.startswith("Setting up .venv, once: ")
        assert "Installed " in done.text and "remote: success: hello is live" in done.text
