"""Projects written for makina-states, one of each kind: what a check says of them, before and after --fix."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.aptlists import apt_with
from tests.support.box import Box
from tests.support.command import asked, corpus
from tests.support.places import TESTS

TREES = TESTS / "trees"
# What Debian 12 has of what they name, by the old name or the new one.
DEBIAN = re.findall(
    r"\S+",
    "apache2-utils autoconf automake build-essential curl default-libmysqlclient-dev default-mysql-client"
    " default-mysql-server gettext git libbz2-dev libcurl4-openssl-dev libjpeg62-turbo-dev libpng-dev libpq-dev"
    " libreadline-dev libssl-dev libtool libxml2-dev libxslt1-dev m4 nginx php-cli php-curl php-fpm php-gd php-mysql"
    " php-pear pkg-config postgresql postgresql-client postgresql-contrib postgresql-server-dev-all python3 python3-dev"
    " python3-libxml2 python3-mysqldb python3-pika python3-pil python3-redis python3-virtualenv rabbitmq-server"
    " redis-server redis-tools rsync supervisor tcl8.6 unzip wv zlib1g-dev",
)
SAID = {  # tree -> (kind, file, line), without what this host happens to have or not (command, later)
    "buildout": "package 000_prereqs 7, package 000_prereqs 8, package 000_prereqs 9, package 000_prereqs 12,"
    " package 000_prereqs 13, not-run 100_buildout 3",
    "circus": "",
    "django": "package 000_prereqs 19, package 000_prereqs 20, package 000_prereqs 21, doubled 000_prereqs 24",
    "drupal": "package 000_prereqs 5, package 000_prereqs 6, package 000_prereqs 7, package 000_prereqs 9,"
    " doubled 000_prereqs 11",
    "mariadb": "package 000_prereqs 5, package 000_prereqs 6, package 000_prereqs 7",
    "php": "package 000_prereqs 5, package 000_prereqs 6, package 000_prereqs 7, package 000_prereqs 8",
    "postgresql": "package 000_prereqs 8",
    "rabbitmq": "package 000_prereqs 7",
    "redis": "doubled 000_prereqs 6, package 000_prereqs 6",
    "static": "doubled 000_prereqs 7",
}
LEFT = {  # what no program can put right
    "buildout": "not-run 100_buildout 3",
    "php": "package 000_prereqs 8",
}


def said(checked: dict[str, Any]) -> str:
    found = [each for each in checked["findings"] if each["kind"] not in ("command", "later")]
    names = [(each["kind"], each["file"].removeprefix(".salt/").removesuffix(".sls"), each["line"]) for each in found]
    return ", ".join(f"{kind} {file} {line}" for kind, file, line in names)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_each_kind_of_project_is_judged_and_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = Box(tmp_path / "box", salt=True)
    for name in ("apt", "box"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("APT_CONFIG", apt_with(tmp_path / "apt", DEBIAN))
    shutil.copytree(TREES, tmp_path / "trees")
    paths = [str(tmp_path / "trees" / name) for name in SAID]
    assert sorted(SAID) == sorted(path.name for path in TREES.iterdir())
    before = asked(box, "check", *paths, code=1)
    assert {Path(each["target"]).name: said(each) for each in before} == SAID
    assert corpus(box, "check", "--fix", "--write", *paths).code == 0
    after = asked(box, "check", *paths, code=1)
    assert {name: left for each in after if (left := said(each)) for name in [Path(each["target"]).name]} == LEFT
