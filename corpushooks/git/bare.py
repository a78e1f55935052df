"""Repositories for pushes, their configuration, and the git dir of checkouts."""

from __future__ import annotations

import contextlib
import functools
import os
import re
from pathlib import Path

from dulwich.config import ConfigFile

from corpushooks.core.errors import GitError
from corpushooks.git.access import PINS, ROLLOUTS, call, stamp
from corpushooks.system import disk
from corpushooks.system.patience import Check, endless
from corpushooks.system.process import run

FORMATS = ("sha1", "sha256")  # the first is the default of projects, whatever git's is
LONG_ID = re.compile(rb"^[0-9a-f]{64}\b", re.MULTILINE)
EMPTY_TREES = {
    "sha1": "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    "sha256": "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
}

# Line ends, keywords and encodings follow .gitattributes; no filter program is run.
ATTRIBUTES = "* -filter\n"


def bare_config(path: Path, *, shared: bool = False) -> dict[str, str]:
    """Return the configuration of a repository for pushes; `shared`: a group pushes to it."""
    return {
        "core.sharedRepository": "0640" if shared else "umask",
        "core.bare": "true",
        "core.hooksPath": str(path / "hooks"),  # a global one would hide our hook
        "core.fsync": "committed,reference",  # by default git does not fsync a small push
        "core.logAllRefUpdates": "true",
        "core.useReplaceRefs": "false",  # an older version stored them
        "gc.auto": "0",
        "receive.advertisePushOptions": "true",
        "receive.autogc": "false",
        "receive.denyNonFastForwards": "false",
        "receive.procReceiveRefs": "refs",
        "receive.shallowUpdate": "false",
        "receive.unpackLimit": "1",  # a push is stored as one pack, not as many loose objects
        "transfer.hideRefs": PINS,
        "uploadpack.hideRefs": ROLLOUTS,
    }


# without these a push would not deploy
VITAL = (
    "core.bare",
    "core.hookspath",
    "receive.advertisepushoptions",
    "receive.procreceiverefs",
    "extensions.objectformat",
)


def object_format(path: Path) -> str:
    """Return the hash of a repository's object ids, from its configuration or, if that is damaged, its refs."""
    said = _configuration(path / "config", stamp(path / "config")).get("extensions.objectformat")
    if said in FORMATS:
        return said
    for file in (path / "packed-refs", *sorted((path / "refs/heads").glob("*"))):
        with contextlib.suppress(OSError):
            if LONG_ID.search(file.read_bytes()):
                return "sha256"
    return FORMATS[0]


def empty_tree(path: Path) -> str:
    """Return the id of the empty tree in a repository."""
    return EMPTY_TREES[object_format(path)]


def _format_config(path: Path) -> dict[str, str]:
    """Return the configuration of a repository's hash, without which git cannot read it."""
    if object_format(path) == FORMATS[0]:
        return {}
    return {"core.repositoryFormatVersion": "1", "extensions.objectFormat": object_format(path)}


def init_bare(path: Path, branch: str, *, shared: bool = False, hashed: str = "sha1") -> bool:
    """Create or repair a bare repository; return whether anything changed. An existing one keeps its hash."""
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
    """Return why a push to a repository would not deploy, as far as `init_bare` repairs that; otherwise nothing."""
    for name in ("objects", "refs"):
        if not (path / name).is_dir():
            return f"{path / name} is missing"
    if _head(path) != _head_text(branch):
        return f"{path / 'HEAD'} does not point to {branch}"
    found = _configuration(path / "config", stamp(path / "config"))
    wanted = {**bare_config(path), **_format_config(path)}
    wrong = [key for key in wanted if key.lower() in VITAL and found.get(key.lower()) != wanted[key]]
    return f"{path / 'config'} is damaged: {wrong[0]} is not {wanted[wrong[0]]}" if wrong else ""


def _head_text(branch: str) -> bytes:
    return f"ref: refs/heads/{branch}\n".encode()


def _head(path: Path) -> bytes:
    """Return the content of HEAD; nothing if it cannot be read."""
    try:
        return (path / "HEAD").read_bytes()
    except OSError:
        return b""


def _point_head(path: Path, branch: str) -> bool:
    """Point HEAD to a branch by writing the file: git refuses to work if HEAD is damaged. Raise GitError."""
    if _head(path) == _head_text(branch):
        return False
    try:
        disk.write_file(path / "HEAD", _head_text(branch), 0o644)
    except OSError as exc:
        raise GitError(f"cannot write {path / 'HEAD'}: {exc.strerror}") from exc
    return True


def _configure(path: Path, wanted: dict[str, str]) -> bool:
    """Set the configuration of a repository; return whether anything changed."""
    found = _configuration(path / "config", stamp(path / "config"))
    wrong = {key: value for key, value in wanted.items() if found.get(key.lower()) != value}
    if wrong:  # written aside: git does not fsync it, and with an empty one a push would not deploy
        aside = path / "config.wanted"
        try:
            sound = _undamaged_config(path / "config")
            new = {key: value for key, value in wrong.items() if not sound or key.lower() not in found}
            ends = not sound or (sound.endswith(b"\n") and not sound.endswith(b"\\\n"))  # its last line
            aside.write_bytes(
                sound + (b"" if ends else b"\n\n") + _config_text(new)
            )  # at once: git would be started for each
            for key in wrong.keys() - new.keys():
                _git_config(aside, "--replace-all", key, wrong[key])
            disk.write_file(path / "config", aside.read_bytes(), 0o644)
            aside.unlink()
        except OSError as exc:
            raise GitError(f"cannot write {path / 'config'}: {exc.strerror}") from exc
    return bool(wrong)


def _config_text(values: dict[str, str]) -> bytes:
    """Return settings as lines of a configuration. Source: git-config(1), "Syntax"."""
    lines = []
    for key, value in values.items():
        section, _, name = key.partition(".")
        quoted = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        lines.append(f'[{section}]\n\t{name} = "{quoted}"\n')
    return os.fsencode("".join(lines))


def _undamaged_config(file: Path) -> bytes:
    """Return the content of a configuration; if it is damaged, keep it as config.damaged and return nothing."""
    try:
        _git_config(file, "--list")
        with file.open("rb") as opened:
            ConfigFile.from_file(opened)  # git ignores some lines that we do not
            return file.read_bytes()
    except (GitError, ValueError, OSError):
        with contextlib.suppress(FileNotFoundError):
            file.replace(file.with_name(f"{file.name}.damaged"))
        return b""


def _git_config(file: Path, *words: str) -> None:
    """Run git on a configuration file alone: in a repository with a damaged one it would refuse to work."""
    call(Path(os.devnull), "config", "--file", file, *words)


@functools.lru_cache(maxsize=1024)
def _configuration(file: Path, stamp: tuple[int, ...]) -> dict[str, str]:
    """Return section.name (lower case) -> value of a file at a `stamp`; nothing if it is invalid."""
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
    """Create or repair the git dir of the checkouts, which borrows the objects of the repositories `sources`."""
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
    """Remove the index files, so that the next checkouts write every file: an index can be outdated."""
    for index in work.glob("*.index"):
        index.unlink()


def flush_objects(path: Path) -> None:
    """Flush the names of pushed packs to the disk: git flushes only their content. Raise GitError."""
    try:
        disk.flush_folder(path / "objects/pack")
    except OSError as exc:
        raise GitError(f"cannot flush {path} to the disk: {exc.strerror}") from exc


def bundle(path: Path, to: Path, check: Check = endless) -> bool:
    """Write all refs of a repository and their objects to a bundle; return False if there are none."""
    if not call(path, "for-each-ref", "--count=1", check=check).text:
        return False
    call(path, "bundle", "create", "--quiet", to, "--all", check=check)
    return True


def unbundle(path: Path, bundle: Path, ref: str, to: str, check: Check = endless) -> str | None:
    """Fetch a ref of a bundle, with its objects, into a repository as `to`; return its commit, None if missing."""
    named = call(path, "bundle", "list-heads", bundle, ref, check=check).text.split()
    if not named:
        return None
    call(path, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", bundle, f"+{ref}:{to}", check=check)
    return named[0]


def unbundle_all(path: Path, bundle: Path, check: Check = endless) -> None:
    """Make the refs of a repository those of a bundle, with all objects that they need; others are removed."""
    call(path, "fetch", "--quiet", "--prune", "--no-write-fetch-head", bundle, "+refs/*:refs/*", check=check)


def maintain(path: Path) -> None:
    """Collect garbage; for an idle daemon."""
    call(path, "-c", "gc.auto=2000", "-c", "gc.autoDetach=false", "gc", "--auto", "--quiet")
