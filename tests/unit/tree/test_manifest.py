"""The file format of manifests, which are read and written fast where all names are ASCII."""

from __future__ import annotations

import json

import pytest

from corpushooks.core import records
from corpushooks.tree import manifest
from corpushooks.tree.manifest import Entry, Manifest, read_manifest, write_manifest
from corpushooks.tree.mounts import Place

FILE = Entry("file", 0o640, 1, 2, 3, 4 << 40, 5, 6 << 40, 1, 3, 0, "", {})
FOLDER = FILE.but(kind="folder", size=0)
ROWS = [records.plain(entry) for entry in (FILE, FOLDER)]


def tree(name: str, value: str = "\xff\0") -> Manifest:
    """Return a manifest with a name in all places where names are."""
    link = FILE.but(kind="link", target=name, xattrs={"user.x": value}, flags=16)
    folders = {"": {"d": FOLDER, name: FILE.but(group=1)}, "d": {name: link, "e": FILE.but(mtime_ns=-1)}}
    return Manifest(FOLDER, folders, left=frozenset({f"d/{name}", "gone"}), place=Place(False, 1 << 40, 2, "b"))


NAMES = ["plain", 'a "b"\\\n\t\x01\x7f', "grün", "\U0001f600", "\udcff", "\udcff ü"]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_what_is_written_is_read(name: str) -> None:
    written = write_manifest(tree(name))
    assert written.isascii() and written.count(b"\n") == 1 and manifest.is_intact(written)
    found = read_manifest(written)
    assert found == tree(name)
    assert all(type(entry) is Entry for _, entry in found.entries) and type(found.root) is Entry
    assert manifest.read_place(written[: manifest.HEAD]) == found.place


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_each_version_reads_what_the_other_wrote(name: str) -> None:
    whole = tree(name)
    before = manifest.pack(
        {"place": whole.place, "root": whole.root, "folders": whole.folders, "left": sorted(whole.left)}
    )
    assert read_manifest(before) == whole
    assert manifest.unpack(write_manifest(whole)) == manifest.unpack(before)


def test_names_in_ascii_take_the_fast_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_: object, **__: object) -> object:
        raise AssertionError("the slow way")

    written = write_manifest(tree("plain", "x"))
    monkeypatch.setattr(json, "loads", slow)
    monkeypatch.setattr(json, "dumps", slow)
    assert read_manifest(written) == tree("plain", "x")
    assert write_manifest(tree("plain", "x")) == written
    with pytest.raises(AssertionError, match="the slow way"):
        write_manifest(tree("\udcff"))


def test_a_manifest_from_before_flags_mounts_and_what_was_left() -> None:
    old = manifest.pack({"root": ROWS[1][:13], "folders": {"": {"a": ROWS[0][:13]}}})
    assert read_manifest(old) == Manifest(FOLDER, {"": {"a": FILE}})


@pytest.mark.parametrize(
    "value", [{}, [], None, {"root": FOLDER}, {"root": FOLDER, "folders": []}, {"root": [1], "folders": {}},
              {"root": [*ROWS[1], 1], "folders": {}}, {"root": FOLDER, "folders": {"": {"a": [*ROWS[0], 1, 2]}}}],
)  # fmt: skip
def test_anything_else_is_no_manifest(value: object) -> None:
    with pytest.raises(ValueError, match="not a manifest"):
        read_manifest(manifest.pack(value))


def test_a_damaged_one_is_no_manifest() -> None:
    written = write_manifest(tree("plain"))
    for wrong in (written[:-1], written.replace(b"plain", b"plaim"), b"", b"x"):
        with pytest.raises(ValueError, match="damaged"):
            read_manifest(wrong)
