"""Repositories: those that are pushed to, their configuration, and the git dir of checkouts."""

from __future__ import annotations

import contextlib
import functools
import os
import re
from pathlib import Path

from dulwich.config import ConfigFile

from corpushooks.core.errors import GitError
from corpushooks.git.access import PINS, call, stamp
from corpushooks.system import disk
from corpushooks.system.patience import Check, endless
from corpushooks.system.process import run

FORMATS = ("sha1", "sha256")  # the first is what projects have unless told otherwise, whatever git's default is
LONG_ID = re.compile(rb"^[0-9a-f]{64}\b", re.MULTILINE)
EMPTY_TREES = {
    "sha1": "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    "sha256": "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
}

# Line ends, keywords and encodings are as .gitattributes has them; no program of a filter is run.
ATTRIBUTES = "* -filter\n"


def bare_config(path: Path, *, shared: bool = False) -> dict[str, str]:
    """Return the configuration that a repository for pushes must have; `shared` with a group that pushes."""
    return {
        "core.sharedRepository": "0640" if shared else "umask",
        "core.bare": "true",
        "core.hooksPath": str(path / "hooks"),  # a global one would hide our hook
        "core.fsync": "committed,reference",  # by default git does not fsync a small push
        "core.logAllRefUpdates": "true",
        "core.useReplaceRefs": "false",  # those that an older version stored
        "gc.auto": "0",
        "receive.advertisePushOptions": "true",
        "receive.autogc": "false",
        "receive.denyNonFastForwards": "false",
        "receive.procReceiveRefs": "refs",
        "receive.shallowUpdate": "false",
        "receive.unpackLimit": "1",  # a push is one pack, in one folder, and not a file in each of many
        "transfer.hideRefs": PINS,
    }


# without these a push deploys nothing
VITAL = (
    "core.bare",
    "core.hookspath",
    "receive.advertisepushoptions",
    "receive.procreceiverefs",
    "extensions.objectformat",
)


def object_format(path: Path) -> str:
    """Return by which hash a repository names its objects; where its configuration is damaged its refs say so."""
    said = _configuration(path / "config", stamp(path / "config")).get("extensions.objectformat")
    if said in FORMATS:
        return said
    for file in (path / "packed-refs", *sorted((path / "refs/heads").glob("*"))):
        with contextlib.suppress(OSError):
            if LONG_ID.search(file.read_bytes()):
                return "sha256"
    return FORMATS[0]


def empty_tree(path: Path) -> str:
    """Return the tree that has nothing in it, as a repository names it."""
    return EMPTY_TREES[object_format(path)]


def _format_config(path: Path) -> dict[str, str]:
    """Return what the configuration of a repository must say of its hash; without it git reads nothing of it."""
    if object_format(path) == FORMATS[0]:
        return {}
    return {"core.repositoryFormatVersion": "1", "extensions.objectFormat": object_format(path)}


def init_bare(path: Path, branch: str, *, shared: bool = False, hashed: str = "sha1") -> bool:
    """Make or repair a bare repository; return whether anything was changed. One that is there keeps its hash."""
    new = not any((path / name).exists() for name in ("HEAD", "objects", "refs"))
    if new:
        path.parent.mkdir(parents=True, exist_ok=True)
        words = ["--quiet", "--bare", "--template=", f"--initial-branch={branch}", f"--object-format={hashed}"]
        run(["git", "init", *words, path])
    else:
        new = _point_head(path, branch)
    for name in ("objects/pack", "refs/heads", "hooks"):
        (path / name).mkdir(parents=True, exist_ok=True)
    return _configure(path, {**_format_config(path), **bare_config(path, shared=shared)}) or new


def flaw(path: Path, branch: str) -> str:
    """Say why a push to a repository would deploy nothing, as far as `init_bare` mends that; nothing where it would."""
    for name in ("objects", "refs"):
        if not (path / name).is_dir():
            return f"{path / name} is missing"
    if _head(path) != _head_text(branch):
        return f"{path / 'HEAD'} does not name {branch}"
    found = _configuration(path / "config", stamp(path / "config"))
    wanted = {**bare_config(path), **_format_config(path)}
    wrong = [key for key in wanted if key.lower() in VITAL and found.get(key.lower()) != wanted[key]]
    return f"{path / 'config'} is damaged: {wrong[0]} is not {wanted[wrong[0]]}" if wrong else ""


def _head_text(branch: str) -> bytes:
    return f"ref: refs/heads/{branch}\n".encode()


def _head(path: Path) -> bytes:
    """Return what HEAD says; nothing where it cannot be read."""
    try:
        return (path / "HEAD").read_bytes()
    except OSError:
        return b""


def _point_head(path: Path, branch: str) -> bool:
    """Have HEAD name a branch, by a file of our own: git does nothing where HEAD is damaged. Raise GitError."""
    if _head(path) == _head_text(branch):
        return False
    try:
        disk.write_file(path / "HEAD", _head_text(branch), 0o644)
    except OSError as exc:
        raise GitError(f"{path / 'HEAD'} cannot be written: {exc.strerror}") from exc
    return True


def _configure(path: Path, wanted: dict[str, str]) -> bool:
    """Make the configuration of a repository what it should be; return whether it was not."""
    found = _configuration(path / "config", stamp(path / "config"))
    wrong = {key: value for key, value in wanted.items() if found.get(key.lower()) != value}
    if wrong:  # aside: git does not fsync it, and where it is empty a push is stored without a deployment
        aside = path / "config.wanted"
        try:
            aside.write_bytes(_sound(path / "config"))
            for key, value in wrong.items():
                _git_config(aside, "--replace-all", key, value)
            disk.write_file(path / "config", aside.read_bytes(), 0o644)
            aside.unlink()
        except OSError as exc:
            raise GitError(f"{path / 'config'} cannot be written: {exc.strerror}") from exc
    return bool(wrong)


def _sound(file: Path) -> bytes:
    """Return what a configuration says; of one that is damaged nothing, and it is kept as config.damaged."""
    try:
        _git_config(file, "--list")
        with file.open("rb") as opened:
            ConfigFile.from_file(opened)  # git passes over some lines that we do not
            return file.read_bytes()
    except (GitError, ValueError, OSError):
        with contextlib.suppress(FileNotFoundError):
            file.replace(file.with_name(f"{file.name}.damaged"))
        return b""


def _git_config(file: Path, *words: str) -> None:
    """Run git on a configuration file alone: where that of its repository is damaged, it would do nothing there."""
    call(Path(os.devnull), "config", "--file", file, *words)


@functools.lru_cache(maxsize=1024)
def _configuration(file: Path, stamp: tuple[int, ...]) -> dict[str, str]:
    """Return SECTION.NAME, in small letters, -> value of a file as it was at `stamp`; nothing where it is none."""
    try:
        config = ConfigFile.from_path(str(file))
    except (OSError, ValueError):
        return {}
    return {
        f"{section[0].decode()}.{name.decode()}".lower(): value.decode("utf-8", "replace")
        for section in config.sections()
        for name, value in config.items(section)
        if len(section) == 1
    }


def init_work(path: Path, sources: list[Path]) -> None:
    """Make or repair the git dir of the checkouts: it borrows the objects of the repositories `sources`."""
    if not (path / "HEAD").exists():
        hashed = object_format(sources[0]) if sources else FORMATS[0]
        run(["git", "init", "--quiet", "--bare", "--template=", f"--object-format={hashed}", path])
    _configure(path, {**_format_config(path), "core.bare": "false", "core.hooksPath": os.devnull,
                      "core.fileMode": "true", "core.symlinks": "true", "core.quotePath": "false",
                      "core.useReplaceRefs": "false", "gc.auto": "0"})  # fmt: skip
    for name, text in (
        ("info/attributes", ATTRIBUTES),
        ("objects/info/alternates", "".join(f"{source / 'objects'}\n" for source in sources)),
    ):
        file = path / name
        file.parent.mkdir(exist_ok=True)
        if not file.exists() or file.read_text() != text:
            disk.write_file(file, text.encode(), 0o644)
            distrust(path)


def distrust(work: Path) -> None:
    """Have the next checkouts write every file: their index may know what is not so, or no longer should be."""
    for index in work.glob("*.index"):
        index.unlink()


def flush_objects(path: Path) -> None:
    """Bring the names of the packs that were pushed to the disk: git brings only what is in them. Raise GitError."""
    try:
        disk.flush_folder(path / "objects/pack")
    except OSError as exc:
        raise GitError(f"{path} cannot be brought to the disk: {exc.strerror}") from exc


def bundle(path: Path, to: Path, check: Check = endless) -> bool:
    """Write all refs of a repository, and what they need, to one file that git can clone; return False for none."""
    if not call(path, "for-each-ref", "--count=1", check=check).text:
        return False
    call(path, "bundle", "create", "--quiet", to, "--all", check=check)
    return True


def unbundle(path: Path, bundle: Path, ref: str, to: str, check: Check = endless) -> str | None:
    """Bring a ref of a bundle, and what it needs, into a repository as `to`; return its commit, None for none."""
    named = call(path, "bundle", "list-heads", bundle, ref, check=check).text.split()
    if not named:
        return None
    call(path, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", bundle, f"+{ref}:{to}", check=check)
    return named[0]


def maintain(path: Path) -> None:
    """Collect what nothing needs any more; for an idle daemon."""
    call(path, "-c", "gc.auto=2000", "-c", "gc.autoDetach=false", "gc", "--auto", "--quiet")
