"""The wiring: what Salt sees of a project, beside what others put there."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from corpushooks.core.errors import DoorError
from corpushooks.core.project import Host, Project
from corpushooks.host import wiring
from tests.support.box import tree_of

ENTRY = "makina-projects.hello"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return a project whose stage and pillar hold something."""
    project = Host(tmp_path).project("hello")
    for folder in (project.stage / ".salt", project.pillar_stage):
        folder.mkdir(parents=True)
    (project.stage / ".salt/00_a.sls").write_text("")
    (project.pillar_stage / "init.sls").write_text("")
    return project


def module(project: Project, name: str, kind: str = "_modules") -> Path:
    path = project.stage / ".salt" / kind / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("")
    return path


def links(folder: Path) -> dict[str, str]:
    return {path.name: os.readlink(path) for path in folder.iterdir() if path.is_symlink()} if folder.is_dir() else {}


# links


def test_wire_makes_what_salt_sees(project: Project) -> None:
    wiring.wire(project, "prod")
    assert os.readlink(project.salt_link) == "git/stage/.salt"
    assert (project.wired_salt / "00_a.sls").exists()
    assert (project.wired_pillar / "init.sls").exists()
    assert top(project) == {"base": {"**": [ENTRY]}}


def test_wire_again_changes_nothing(project: Project) -> None:
    module(project, "foo.py")
    wiring.wire(project, "prod")
    before = tree_of(project.host.root)
    wiring.wire(project, "prod")
    after = tree_of(project.host.root)
    locks = str(project.host.locks_dir.relative_to(project.host.root))
    assert {k: v for k, v in after.items() if not k.startswith(locks)} == {
        k: v for k, v in before.items() if not k.startswith(locks)
    }


def test_an_environment_with_sls_files_of_its_own_wins(project: Project) -> None:
    own = project.stage / ".salt/staging"
    own.mkdir()
    wiring.wire(project, "staging")
    assert os.readlink(project.wired_salt) == str(project.salt_link)  # it holds no .sls
    (own / "00_b.sls").write_text("")
    wiring.wire(project, "staging")
    assert os.readlink(project.wired_salt) == str(project.salt_link / "staging")
    wiring.wire(project, "prod")
    assert os.readlink(project.wired_salt) == str(project.salt_link)


def test_an_environment_that_is_a_link_is_not_followed(project: Project, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/x.sls").write_text("")
    (project.stage / ".salt/prod").symlink_to(tmp_path / "outside")
    wiring.wire(project, "prod")
    assert os.readlink(project.wired_salt) == str(project.salt_link)


def test_a_link_is_replaced_without_ever_being_absent(tmp_path: Path) -> None:
    path, seen = tmp_path / "a/link", []
    wiring.link(path, Path("0"))
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            seen.append(path.is_symlink())

    watcher = threading.Thread(target=look)
    watcher.start()
    for number in range(300):
        assert wiring.link(path, Path(str(number + 1)))
    over.set()
    watcher.join()
    assert all(seen)
    assert [p.name for p in path.parent.iterdir()] == ["link"]


def test_a_link_that_is_right_is_left_alone(tmp_path: Path) -> None:
    assert wiring.link(tmp_path / "a/link", Path("/x"))
    before = (tmp_path / "a/link").lstat()
    assert not wiring.link(tmp_path / "a/link", Path("/x"))
    assert (tmp_path / "a/link").lstat() == before


def test_what_a_crash_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/.link.new").symlink_to("/half")
    wiring.link(tmp_path / "a/link", Path("/x"))
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["link"]


@pytest.mark.parametrize("what", ["wired_salt", "wired_pillar", "salt_link"])
def test_a_real_folder_in_the_way_is_an_error_and_stays(project: Project, what: str) -> None:
    path: Path = getattr(project, what)
    path.mkdir(parents=True)
    (path / "precious").write_text("x")
    with pytest.raises(DoorError, match=f"^cannot link {path} to .*: the path exists$") as caught:
        wiring.wire(project, "prod")
    assert str(caught.value.hint) == f"move {path} away"
    wiring.unwire(project)
    assert (path / "precious").read_text() == "x"


# the top file


def top(project: Project) -> Any:
    return yaml.safe_load((project.host.pillar_dir / "top.sls").read_text())


TOPS = {
    "none": "",
    "empty base": "base:\n",
    "all": "base:\n  '*':\n    - common\n    - makina-projects.other  # corpushooks\n",
    "comments": "# ours\nbase:  \n  # everybody\n  '*':\n    - common  # see there\n  'web*':\n    - web\n# the end\n",
    "double quotes": 'base:\n  "*":\n    - common\n',
    "no quotes": "base:\n  'a':\n    - x\n",
    "a narrow list": "base:\n  '*':\n  - common\n",
    "wide": "base:\n      '*':\n            - common\n",
    "no newline at the end": "base:\n  '*':\n    - common",
    "more environments": "base:\n  '*':\n    - common\ndev:\n  '*':\n    - debug\n",
    "quoted base": "'base':\n  '*':\n    - common\n",
    "a comment behind base": "base:  # the only one\n  '*':\n    - common\n",
    "a document mark": "---\nbase:\n  'a':\n    - x\n...\n",
    "a comment behind the target": "base:\n  '*':  # everybody\n    - common\n",
    "a list in flow style": "base:\n  '*': [common]\n",
    "a comment behind base, no target": "base:  # the only one\n  'web*':\n    - web\n",
    "another environment first": "dev:\n  '*':\n    - debug\nbase:\n  '*':\n    - common\n",
    "a comment before a wide list": "base:\n  '*':\n      # everybody\n      - common\n",
    "jinja": "{% set x = 1 %}\nbase:\n  '*':\n    - common\n{% if x %}\n    - more\n{% endif %}\n",
}


class Strict(yaml.SafeLoader):
    """Refuses a key that stands twice, as Salt does."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        found = super().construct_mapping(node, deep)
        assert len(found) == len(node.value), f"a key stands twice: {[key.value for key, _ in node.value]}"
        return found


Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, Strict.construct_mapping)


def meant(text: str) -> Any:
    """Return what a top.sls says, without the Jinja lines."""
    return yaml.load("\n".join(line for line in text.splitlines() if "{%" not in line), Strict) or {}


@pytest.mark.parametrize("name", TOPS)
def test_an_entry_is_added_for_all_and_the_rest_is_kept(name: str) -> None:
    text = TOPS[name]
    before, after = meant(text), meant(wiring.top_text(text, "hello", wanted=True))
    assert after["base"].pop("**") == [ENTRY]
    assert after == {"base": {}, **{env: targets or {} for env, targets in before.items()}}
    changed = wiring.top_text(text, "hello", wanted=True).splitlines()
    assert [line for line in text.splitlines() if line not in changed] == []


@pytest.mark.parametrize("text", ["base: {'*': [common]}\n", "{base: {'*': [common]}}\n", "base:\n  a: [\n"])
def test_a_top_file_without_a_place_is_left_alone(project: Project, text: str) -> None:
    path = project.host.pillar_dir / "top.sls"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    (project.pillar_stage / "init.sls").write_text("a: 1\n")
    with pytest.raises(DoorError, match=r"^top\.sls: "):
        wiring.wire(project, "prod")
    assert path.read_text() == text


@pytest.mark.parametrize("name", TOPS)
def test_an_entry_is_added_once_and_removed_without_a_trace(name: str) -> None:
    once = wiring.top_text(TOPS[name], "hello", wanted=True)
    assert wiring.top_text(once, "hello", wanted=True) == once
    gone = wiring.top_text(once, "hello", wanted=False)
    assert ENTRY not in gone
    assert set(TOPS[name].splitlines()) <= set(gone.splitlines())


def test_no_target_is_left_empty_when_the_last_project_goes() -> None:
    gone = wiring.top_text(wiring.top_text("", "hello", wanted=True), "hello", wanted=False)
    assert not [target for targets in meant(gone).values() for target in targets.values() if not target]


def test_no_target_is_left_empty_for_a_project_without_a_pillar_beside_one_with() -> None:
    own = wiring.only_own(wiring.top_text("", "other", wanted=True), "hello")
    assert not [target for targets in meant(own).values() for target in targets.values() if not target]


def test_no_target_of_a_person_is_left_empty() -> None:
    text = wiring.top_text("base:\n  '*':\n    - common\n", "hello", wanted=True)
    for own in (wiring.only_own(text, "third"), wiring.only_own(text.replace("hello", "third"), "hello")):
        assert not [target for targets in meant(own).values() for target in targets.values() if not target]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from(["hello", "other", "a-b"]), max_size=6), st.sampled_from(sorted(TOPS)))
def test_projects_come_and_go_in_any_order(names: list[str], start: str) -> None:
    text, present = TOPS[start], set(["other"] if "makina-projects.other" in TOPS[start] else [])
    for name in names:
        present ^= {name}
        text = wiring.top_text(text, name, wanted=name in present)
        base = meant(text).get("base") or {}
        entries = [*(base.get("*") or []), *(base.get("**") or [])]
        assert {e.removeprefix("makina-projects.") for e in entries if "." in e} == present


def test_a_project_reads_nobody_elses_pillar() -> None:
    text = TOPS["all"] + "    - local  # mine\n"
    own = wiring.only_own(wiring.top_text(text, "hello", wanted=True), "hello")
    assert meant(own) == {"base": {"**": [ENTRY], "*": ["common", "local"]}}


def test_the_top_follows_the_pillar(project: Project) -> None:
    project.host.pillar_dir.mkdir()
    (project.host.pillar_dir / "top.sls").write_text("base:\n  '*':\n    - common\n")
    wiring.wire(project, "prod")
    assert top(project) == {"base": {"**": [ENTRY], "*": ["common"]}}
    (project.pillar_stage / "init.sls").unlink()
    wiring.wire(project, "prod")
    assert top(project) == {"base": {"*": ["common"]}}


def test_no_top_is_made_for_nothing(project: Project) -> None:
    (project.pillar_stage / "init.sls").unlink()
    wiring.wire(project, "prod")
    wiring.unwire(project)
    assert not (project.host.pillar_dir / "top.sls").exists()


# modules


def test_modules_are_linked_under_both_names_and_removed_when_gone(project: Project) -> None:
    first, second = module(project, "foo.py"), module(project, "bar.py", "_states")
    module(project, "notes.txt")
    (project.stage / ".salt/_modules/link.py").symlink_to("/etc/passwd")
    (project.stage / ".salt/_modules/pack.py").mkdir()
    wiring.wire(project, "prod")
    shared, own = project.host.salt_dir, wiring.loader_dir(project)
    for base in (shared, own):
        assert links(base / "_modules") == dict.fromkeys(
            ("foo.py", "hello_foo.py"), str(project.salt_link / "_modules/foo.py")
        )
        assert set(links(base / "_states")) == {"bar.py", "hello_bar.py"}
    assert (shared / "_modules/foo.py").resolve() == first
    first.unlink()
    second.unlink()
    second.parent.rmdir()
    wiring.wire(project, "prod")
    for base in (shared, own):
        assert links(base / "_modules") == links(base / "_states") == {}


def test_foreign_links_and_files_are_untouched(project: Project, tmp_path: Path) -> None:
    module(project, "foo.py")
    folder = project.host.salt_dir / "_modules"
    folder.mkdir(parents=True)
    (folder / "theirs.py").symlink_to("/elsewhere/theirs.py")
    (folder / "real.py").write_text("x")
    (folder / "near.py").symlink_to(f"{project.salt_link}-more/_modules/near.py")
    wiring.wire(project, "prod")
    wiring.unwire(project)
    assert links(folder) == {
        "theirs.py": "/elsewhere/theirs.py", "near.py": f"{project.salt_link}-more/_modules/near.py",
    }  # fmt: skip
    assert (folder / "real.py").read_text() == "x"


def test_a_foreign_link_of_the_same_name_is_untouched(project: Project) -> None:
    module(project, "foo.py")
    folder = project.host.salt_dir / "_modules"
    folder.mkdir(parents=True)
    (folder / "foo.py").symlink_to("/elsewhere/foo.py")
    wiring.wire(project, "prod")
    assert links(folder)["foo.py"] == "/elsewhere/foo.py"
    assert "hello_foo.py" in links(folder)


def test_two_projects_may_have_a_module_of_the_same_name(project: Project) -> None:
    other = project.host.project("other")
    (other.stage / ".salt").mkdir(parents=True)
    mine, theirs = module(project, "foo.py"), module(other, "foo.py")
    wiring.wire(project, "prod")
    wiring.wire(other, "prod")
    folder = project.host.salt_dir / "_modules"
    assert (folder / "hello_foo.py").resolve() == mine
    assert (folder / "other_foo.py").resolve() == (folder / "foo.py").resolve() == theirs
    assert (wiring.loader_dir(project) / "_modules/foo.py").resolve() == mine
    wiring.unwire(project)
    assert set(links(folder)) == {"foo.py", "other_foo.py"}


def test_unwire_takes_only_its_own(project: Project) -> None:
    module(project, "foo.py")
    other = project.host.project("hello-too")
    (other.stage / ".salt").mkdir(parents=True)
    other.pillar_stage.mkdir(parents=True)
    (other.pillar_stage / "init.sls").write_text("")
    module(other, "bar.py")
    for each in (project, other):
        wiring.wire(each, "prod")
    wiring.unwire(project)
    wiring.unwire(project)
    assert top(project) == {"base": {"**": ["makina-projects.hello-too"]}}
    assert not project.wired_salt.is_symlink() and not project.wired_pillar.is_symlink()
    assert other.wired_salt.is_symlink() and other.wired_pillar.is_symlink()
    assert set(links(project.host.salt_dir / "_modules")) == {"bar.py", "hello-too_bar.py"}
    assert (project.stage / ".salt/00_a.sls").exists()
    wiring.wire(project, "prod")
    assert sorted(top(project)["base"]["**"]) == [ENTRY, "makina-projects.hello-too"]
