"""docs/ci.md: its job deploys through a real sshd, in sh as CI systems run it, and its exit code is the result."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from corpushooks.system.process import Output, run
from tests.support.box import FAILING, Box
from tests.support.door import Door
from tests.support.places import TOP
from tests.support.sshd import serving

PAGE = (TOP / "docs/ci.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
JOB = next(text for kind, text in BLOCKS if "DEPLOY_HOST_KEY" in text and kind == "sh")


@pytest.fixture
def door(box: Box, tmp_path: Path) -> Iterator[Door]:
    folder = tmp_path / "door"
    folder.mkdir()
    with serving(folder, box.host.root) as server:
        yield Door(box, server, folder)


def job(door: Door, clone: Path, **env: str) -> Output:
    """Run the job of the page in a clone."""
    host = f"[127.0.0.1]:{door.server.port} {(door.folder / 'host.pub').read_text()}"
    secrets = {"DEPLOY_KEY": (door.folder / "ci").read_text(), "DEPLOY_HOST_KEY": host}
    given = {**secrets, "DEPLOY_URL": door.server.url("/hello"), **env}
    return run(["sh", "-c", JOB], cwd=clone, env=given, check=False, timeout=60)


def test_the_job_deploys_and_its_exit_code_is_the_result(door: Door, tmp_path: Path) -> None:
    door.add("ci", "push", "hello")
    work = door.box.app()
    before = set(Path("/tmp").glob("tmp.*"))
    done = job(door, work.path)
    assert (done.code, door.box.row().live) == (0, 1), done.stderr
    assert job(door, work.path).code == 0 and door.box.row().live == 2  # run again
    work.commit({".salt/10_broken.sls": FAILING})
    assert (job(door, work.path).code, door.box.row().live) == (1, 2)
    assert set(Path("/tmp").glob("tmp.*")) <= before  # no key is left


def test_the_job_believes_no_other_server_and_no_other_key(door: Door) -> None:
    door.add("ci", "push", "hello")
    work = door.box.app()
    other = f"[127.0.0.1]:{door.server.port} ssh-ed25519 {(door.folder / 'ci.pub').read_text().split()[1]}"
    refused = job(door, work.path, DEPLOY_HOST_KEY=other)
    assert (refused.code, b"HOST IDENTIFICATION HAS CHANGED" in refused.stderr) == (128, True)
    door.remove("ci")
    refused = job(door, work.path)
    assert (refused.code, b"Permission denied" in refused.stderr) == (128, True)


def test_a_shallow_clone_is_made_whole_first(door: Door, tmp_path: Path) -> None:
    door.add("ci", "push", "hello")
    work = door.box.app()
    work.commit({"index.html": "two"})
    run(["git", "clone", "--quiet", "--depth=1", f"file://{work.path}", tmp_path / "shallow"])
    run(["git", "-C", tmp_path / "shallow", "remote", "add", "prod", door.server.url("/hello")])
    env = {"GIT_SSH_COMMAND": door.server.command_with(door.folder / "ci")}
    refused = run(["git", "-C", tmp_path / "shallow", "push", "prod", "HEAD:master"], env=env, check=False)
    assert (refused.code, b"shallow update not allowed" in refused.stderr) == (1, True)
    done = job(door, tmp_path / "shallow")
    assert (done.code, door.box.row().live) == (0, 1), done.stderr


def test_what_ci_systems_read_can_be_read() -> None:
    kinds = [kind for kind, _ in BLOCKS]
    assert (kinds.count("yaml"), kinds.count("groovy")) == (2, 1)
    github, gitlab = [yaml.safe_load(text) for kind, text in BLOCKS if kind == "yaml"]
    checkout, deploy = github["jobs"]["deploy"]["steps"]
    assert checkout["with"]["fetch-depth"] == 0 and set(deploy["env"]) == set(re.findall(r"\$(DEPLOY_\w+)", JOB))
    assert gitlab["deploy"]["variables"]["GIT_DEPTH"] == 0 and gitlab["deploy"]["script"] == ["sh deploy.sh"]
