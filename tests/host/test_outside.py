"""What states of ours wrote outside of the project for a release that did not live is taken back with it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.support.box import FAILING, Box, Push
from tests.support.command import corpus, said

TEST = 'for pool in {0}/*.conf; do if [ -e "$pool" ]; then cd "$(cat "$pool")" || exit 78; fi; done\n'
LOAD = "cat {0}/*.conf >{0}/loaded 2>/dev/null || true\n"  # what the service has read
POOL = """\
pool:
  mc_service.configured:
    - service: fpm
    - files:
      - path: {0}/NAME.conf
        contents: {{{{ cfg.project_root }}}}/public
    - links: {{ {0}/NAME.link: NAME.conf }}
runs:
  mc_service.running:
    - name: fpm
    - tested_by: [sh, {0}/test]
    - started_by: ["false"]
    - reloaded_by: [sh, {0}/load]
    - pid_file: {0}/pid
    - watch:
      - mc_service: pool
"""


@pytest.fixture
def pools(tmp_path: Path) -> Path:
    """Return the folder of pools of a service that tests all of them, as php-fpm does, before it reads any."""
    folder = tmp_path / "pools"
    folder.mkdir()
    (folder / "test").write_text(TEST.format(folder))
    (folder / "load").write_text(LOAD.format(folder))
    (folder / "pid").write_text(str(os.getpid()))
    return folder


@pytest.fixture
def box(new_box: Callable[..., Box]) -> Box:
    box = new_box(salt=True)
    box.settings(yaml.safe_dump({"minion": {"makina-states.systemctl": ""}}))
    box.start()
    return box


def push(box: Box, name: str, *pools: str, fails: bool = False) -> Push:
    if not box.project(name).dir.exists():
        box.init(name)
    work = box.work(name)
    work.commit({"public/index.php": "", ".salt/300_app.sls": "".join(pools) or "none:\n  test.nop: []\n",
                 ".salt/900_end.sls": FAILING if fails else "end:\n  test.nop: []\n"})  # fmt: skip
    return work.push()


def pool(pools: Path, name: str) -> str:
    return POOL.format(pools).replace("NAME", name)


def there(pools: Path) -> list[str]:
    return sorted(path.name for path in pools.iterdir() if path.suffix in (".conf", ".link"))


def test_a_failed_first_deployment_leaves_nothing_that_others_stumble_over(box: Box, pools: Path) -> None:
    for _ in range(2):
        failed = push(box, "one", pool(pools, "one"), fails=True)
        assert "rolled back" in failed.rejected, failed.text
        assert f"      restored: {pools}/one.conf" in failed.lines
        assert there(pools) == []
        assert (pools / "loaded").read_text() == ""  # and the service has read that
    assert push(box, "two", pool(pools, "two")).code == 0
    mended = push(box, "one", pool(pools, "one"))
    assert mended.code == 0, mended.text
    assert there(pools) == ["one.conf", "one.link", "two.conf", "two.link"]


def test_a_failed_second_deployment_changes_nothing_of_the_first(box: Box, pools: Path) -> None:
    assert push(box, "one", pool(pools, "one")).code == 0
    before = (pools / "one.conf").read_text(), (pools / "loaded").read_text()
    other = pool(pools, "one").replace("}}/public", "}}")
    failed = push(box, "one", other, fails=True)
    assert "rolled back" in failed.rejected
    assert ((pools / "one.conf").read_text(), (pools / "loaded").read_text()) == before
    failed = push(box, "one", pool(pools, "new"), fails=True)  # whose release has none of the first's
    assert "rolled back" in failed.rejected
    assert there(pools) == ["one.conf", "one.link"]
    assert (pools / "loaded").read_text() == before[1]


def test_a_return_to_a_release_without_it(box: Box, pools: Path) -> None:
    assert push(box, "one").code == 0
    assert push(box, "one", pool(pools, "one")).code == 0
    said(corpus(box, "rollback", "one", "1"))
    assert there(pools) == []
    assert (pools / "loaded").read_text() == ""


def test_remove_takes_it_back_but_for_what_others_have(box: Box, pools: Path) -> None:
    (pools / "one.link").write_text("before")
    for name in ("one", "two"):
        pushed = push(box, name, pool(pools, "one"))
        assert pushed.code == 0, pushed.text
    said(corpus(box, "remove", "one", "--purge"))
    assert "one.conf" in there(pools)
    assert (pools / "one.link").read_text() == "before"
    said(corpus(box, "remove", "two", "--purge"))
