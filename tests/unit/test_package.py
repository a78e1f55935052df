"""The wheel: what a server gets that is not a checkout."""

from __future__ import annotations

import email
import re
import shutil
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from corpushooks.system.process import run
from tests.support.sources import HOME, ROOT, SOURCES


def can_make_wheels() -> bool:
    return bool(find_spec("wheel") or (find_spec("setuptools") and find_spec("setuptools.command.bdist_wheel")))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what a wheel unpacks to, built from a copy, so that nothing is left in the checkout."""
    folder = tmp_path_factory.mktemp("package")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, folder / name)
    place = folder / "unpacked"
    for left in (folder / "build/lib", place):  # by an earlier build, of what is renamed since
        (left / "corpushooks").mkdir(parents=True)
        (left / "corpushooks/renamed.py").touch()
    if can_make_wheels():
        shutil.rmtree(place)
        run([sys.executable, "-m", "build", "--wheel", "--no-isolation", folder], cwd=folder, timeout=200)
        (wheel,) = (folder / "dist").glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(place)
    else:  # setuptools before 70.1 makes no wheel by itself: look at what it would put into one
        pytest.importorskip("setuptools")
        run([sys.executable, "setup.py", "--quiet", "build", "--build-lib", place], cwd=folder, timeout=200)
    return place


def files(folder: Path) -> set[str]:
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)) for path in found}


def test_the_package_has_everything_that_runs(package: Path) -> None:
    wanted = {f"corpushooks/{name}" for name in files(ROOT / "corpushooks")}
    assert {
        "corpushooks/salt_worker/__main__.py",
        "corpushooks/py.typed",
        "corpushooks/salt/loader/_modules/corpushooks.py",
    } < wanted
    assert wanted - files(package) == set() and "corpushooks/renamed.py" not in files(package)
    shipped = package / "corpushooks/hooks/proc-receive"
    assert shipped.read_bytes() == (ROOT / "hooks/proc-receive").read_bytes()
    assert {path.name for path in package.iterdir() if not path.name.endswith(".dist-info")} == {"corpushooks"}


def test_the_metadata_is_what_an_index_shows(package: Path) -> None:
    (about,) = package.glob("*.dist-info/METADATA")
    said = email.message_from_string(about.read_text())
    assert (said["License-Expression"], said["License"]) == ("BSD-3-Clause", None)
    assert said["Author"] and said["Description-Content-Type"] == "text/markdown"
    assert said["Maintainer"] and re.fullmatch(r"\S+@\S+", said["Maintainer-email"])  # the Debian package has it so
    urls = dict(url.split(", ") for url in said.get_all("Project-URL", []))
    assert urls["Homepage"] == HOME and all(url.startswith(HOME) for url in urls.values())
    assert {"Homepage", "Documentation", "Source", "Issues", "Changelog"} == set(urls)
    classifiers = said.get_all("Classifier", [])
    assert {f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 15)} < set(classifiers)
    links = re.findall(r"\]\(([^)#]+)", said.get_payload())
    assert links and all(link.startswith("https://") for link in links)
    ours = [link.removeprefix(f"{urls['Homepage']}/blob/main/") for link in (*links, urls["Documentation"])]
    assert "docs/getting-started.md" in ours
    assert [link for link in ours if not link.startswith("https://") and not (ROOT / link).exists()] == []


def test_where_the_project_is_at_home_is_said_in_few_places() -> None:
    """And the same there: docs/contributing.md lists them for whoever moves it."""
    clones = {
        name: set(re.findall(r"git clone (https://\S+)", (ROOT / name).read_text()))
        for name in ("README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
    }
    assert {name: said for name, said in clones.items() if said} == {
        "README.md": {HOME},
        "docs/getting-started.md": {HOME},
    }
    places = run(["git", "-C", ROOT, "grep", "--fixed-strings", "--files-with-matches", HOME]).text.split()
    assert set(places) == {"README.md", "docs/getting-started.md", "setup.cfg"}


def test_the_package_works_without_the_checkout(package: Path, tmp_path: Path) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); import corpushooks; print(corpushooks.__file__, flush=True);"
        "from corpushooks.cli.main import main; main()"
    )
    done = run([sys.executable, "-I", "-c", script, package, "--root", tmp_path / "host", "init", "hello"])
    first, second = done.text.splitlines()[:2]
    assert first == str(package / "corpushooks/__init__.py")
    assert second == "created hello (prod, deploys master)"
    hook = tmp_path / "host/srv/projects/hello/git/project.git/hooks/proc-receive"
    assert hook.read_text().startswith(f"#!{sys.executable} -IS\n")
