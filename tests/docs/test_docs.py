"""The pages for people: what they show works, where they link is something, and what they list is all there is.

python -m tests.support.reference writes anew what is made from the code: docs/settings.md, docs/commands.md.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import corpushooks
from corpushooks.cli.commands import whole
from corpushooks.cli.main import corpus as command
from corpushooks.core.settings import parse
from corpushooks.deploy.push import options
from corpushooks.system import process as door
from tests.support import reference
from tests.support.box import Box
from tests.support.command import quick_words
from tests.support.places import TOP

PACKAGE = Path(corpushooks.__file__).parent
PAGES = [TOP / "README.md", TOP / "CHANGELOG.md", *sorted((TOP / "docs").glob("*.md"))]
SETTINGS = TOP / "docs/settings.md"
SOURCE = [path.read_text() for path in (*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.jinja"), *TOP.glob("hooks/p*"))]
SHOWN = re.compile(r"((?:^[^\n]+\n)+)\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)  # a paragraph and its block


def files_of(page: str) -> dict[str, str]:
    """Return the files that a page shows: the paragraph before a block names what is in it."""
    found = {}
    for paragraph, language, text in SHOWN.findall((TOP / page).read_text()):
        named = re.findall(r"`(\.salt/[\w./]+|init\.sls)`", paragraph)
        if named and language in ("yaml", "html"):
            found[named[0]] = text
    return found


def test_the_project_of_the_readme_deploys(box_with_salt: Box) -> None:
    files = files_of("README.md")
    assert list(files) == [".salt/PILLAR.sample", ".salt/00_page.sls"]
    work = box_with_salt.work()
    work.commit(files)
    assert work.push("HEAD:refs/deploy/now").code == 0
    assert (box_with_salt.project().tree / "page.html").read_text() == "Hello from hello\n"


def test_the_first_project_deploys_with_its_pillar_and_its_task(box_with_salt: Box) -> None:
    box, files = box_with_salt, files_of("docs/first-project.md")
    assert sorted(files) == [
        ".salt/00_page.sls", ".salt/10_check.sls", ".salt/PILLAR.sample", ".salt/files/page.html",
        ".salt/task_shout.sls", "init.sls",
    ]  # fmt: skip
    pillar = box.work(repo="pillar")
    pillar.commit({"init.sls": files.pop("init.sls")})
    work = box.work()
    work.commit(files)
    corpus = quick_words(box)
    checked = [f"{name}: fine" for name in ("PILLAR.sample", "00_page.sls", "10_check.sls", "task_shout.sls")]
    assert door.run([*corpus, "check", "."], cwd=work.path).text.splitlines() == checked
    assert work.push().code == 0
    page = box.project().tree / "page.html"
    assert re.fullmatch(r"<p>Hello from http://\S+/hello</p>\n", page.read_text())
    assert pillar.push(options=("deploy",)).code == 0
    assert page.read_text().startswith("<p>Bonjour from http://")
    door.run([*corpus, "task", "hello", "shout"])
    assert "<P>BONJOUR FROM HTTP://" in door.run([*corpus, "log", "hello"]).text


@pytest.fixture
def box_with_salt(new_box: object) -> Box:
    """Return a host whose pushes run real Salt."""
    box: Box = new_box(salt=True)  # type: ignore[operator]
    box.init()
    box.start()
    return box


# -- links ------------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as the usual renderers make them."""
    found = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)  # a block has no links
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith("https://"):
            path, _, anchor = target.partition("#")
            linked = (page.parent / path).resolve() if path else page
            assert linked.is_file(), target
            assert not anchor or anchor in anchors(linked), target


def test_pages_that_messages_name_exist() -> None:
    """A message names a command that shows the page: nobody who reads it has our files."""
    named = {
        found
        for text in SOURCE
        for either in re.findall(r'corpus help ([a-z-]+)|command\("help", "([a-z-]+)"', text)
        for found in either
        if found
    }
    assert len(named) > 4
    for page in named:
        assert (TOP / "docs" / f"{page}.md").is_file(), page
    files = re.compile(r"docs/[\w-]+\.md")
    said = [line for text in SOURCE for line in text.splitlines() if files.search(line)]
    assert [line for line in said if not line.startswith("{#-")] == []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the site that `make docs` builds; whatever leads nowhere fails it (but not with --quiet)."""
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", TOP / "mkdocs.yml"]
    door.run([*words, "--site-dir", folder])
    return folder


def test_the_site_has_every_page_and_finds_it(site: Path) -> None:
    pages = {path.stem for path in (TOP / "docs").glob("*.md")}
    assert {path.stem for path in site.glob("*.html")} == pages | {"404"}
    index = json.loads((site / "search/search_index.json").read_text())
    assert {entry["location"].partition(".html")[0] for entry in index["docs"]} == pages
    assert any("corpus rebuild" in entry["text"] for entry in index["docs"])


def test_the_site_fetches_nothing_from_elsewhere(site: Path) -> None:
    fetched = re.compile(r"<(?:script|img|iframe)[^>]*\ssrc=[\"'](?:https?:)?//|<link[^>]*href=[\"'](?:https?:)?//")
    assert [page.name for page in site.rglob("*.html") if fetched.search(page.read_text())] == []
    styles = [path.name for path in site.rglob("*.css") if re.search(r"url\([\"']?(?:https?:)?//", path.read_text())]
    assert styles == []


def test_the_readme_links_every_page() -> None:
    linked = set(re.findall(r"\]\(docs/([\w-]+\.md)\)", (TOP / "README.md").read_text()))
    assert linked == {path.name for path in (TOP / "docs").glob("*.md")} - {"index.md"}


# -- lists ------------------------------------------------------------------------------------------------


def test_the_architecture_names_every_wing() -> None:
    told = re.findall(
        r"^\| (?:\d+|beside|alone) \| `(\w+)` \|", (TOP / "docs/architecture.md").read_text(), re.MULTILINE
    )
    assert sorted(told) == sorted(path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name[0] != "_")


@pytest.mark.parametrize(("page", "what", "made"), reference.PARTS)
def test_what_is_made_from_the_code_is_up_to_date(page: str, what: str, made: Callable[[], str]) -> None:
    found = reference.marked(what).search((TOP / "docs" / page).read_text())
    assert found and found[0] == made(), "run: python -m tests.support.reference"


def test_the_example_of_the_settings_page_is_read() -> None:
    shown = [text for _, language, text in SHOWN.findall(SETTINGS.read_text()) if language == "yaml"]
    assert parse(shown[0], "F").for_project("hello").timeout == 600


def test_the_options_of_a_push_and_the_commands_of_the_readme_exist() -> None:
    given = re.findall(r"^\| `-o (\S+)`", (TOP / "docs/commands.md").read_text(), re.MULTILINE)
    assert len(given) == 10
    options(given)
    listed = re.search(r"Commands on the server: (.*?);", (TOP / "README.md").read_text(), re.DOTALL)
    assert listed
    names = {name.removeprefix("corpus ") for name in re.findall(r"`([\w ]+)`", listed[1])}
    assert names <= set(whole(command))


def test_the_messages_that_are_explained_are_said() -> None:
    text = (TOP / "docs/troubleshooting.md").read_text()
    quoted = re.findall(r"\*\*`(.+?)`\*\*(?! is (?:git|ssh)'s own)", text)
    assert len(quoted) > 25
    joined = "\n".join(SOURCE)
    for message in quoted:
        part = max(re.split("…", message), key=len).strip()
        assert len(part) > 5 and part in joined, message
