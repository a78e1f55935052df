"""make matrix: a quick part of the suite on each Python and git that this machine can have; not for CI.

    make matrix
    make matrix ARGS='"Python 3.12" "Debian sid"'   # some rows

A Python is one of this machine (python3.N, or one of pyenv). A git other than its own is that of a release of Debian,
from a root of its own (tests/support/nspawn.py): an older one takes the place of ours in mounts of its own; a newer
one, which needs a newer libc, is run with the Python of its root. What cannot be had is a row that says why. What
pytest said is in build/matrix/ROW.log.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from corpushooks.core.errors import CorpusError
from corpushooks.system.process import run
from tests.support import nspawn
from tests.support.places import TOP

MADE = TOP / "build/matrix"
UV = TOP / ".venv/bin/uv"
MINORS = range(10, 15)
LONGEST = 3600.0  # seconds for one row
# What is run: where Python and git matter most, and some pushes.
QUICK = (
    "unit/release/test_config",
    "unit/core/test_settings",
    "unit/deploy/test_judge",
    "unit/system/test_run",
    "unit/git/test_git",
    "host/test_refs",
    "host/test_history",
    "unit/store/test_log",
    "host/test_hook",
    "host/test_shallow",
    "host/test_sha256",
    "host/test_deploy_now",
    "salt/test_engine_checks",
)
PACKAGES = ("git", "acl", "strace", "python3", "python3-venv", "python3-dev", "gcc", "libc6-dev", "openssh-client")
# A mirror may be older than what sid says of itself.
INSTALL = f"apt-get update --quiet -o Acquire::Check-Valid-Until=false\n{nspawn.INSTALL} "
PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider", *(f"tests/{name}.py" for name in QUICK))
VERSIONS = (
    "import platform, subprocess; print(platform.python_version(), subprocess.getoutput('git --version').split()[2])"
)
OLDER_GIT = """\
mount --bind "$1/usr/lib/git-core" "$(git --exec-path)"
mount --bind "$1/usr/bin/git" "$(command -v git)"
shift
exec "$@"
"""


class NotAvailable(Exception):
    """Something cannot be had on this machine; says why."""


@dataclass(frozen=True)
class Place:
    """Where a row runs: the words before a program, and its Python."""

    before: Sequence[str | Path]
    python: Path


@dataclass(frozen=True)
class Outcome:
    """What came of a row."""

    versions: str  # of Python and of git
    result: str
    failed: bool = False


def interpreter(minor: int) -> Path | None:
    """Return a whole Python of this machine, or None."""
    name = f"python3.{minor}"
    found = [shutil.which(name), *sorted(Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/{name}"))]
    for path in filter(None, found):
        if run([path, "-c", "import ssl, sqlite3, venv"], check=False).code == 0:
            return Path(path)
    return None


def rooted(release: str) -> nspawn.Root:
    """Return the root of a release of Debian, made where there is none yet."""
    if os.geteuid() != 0:
        raise NotAvailable("a root of Debian needs root")
    packages = ("git",) if release == "bullseye" else PACKAGES
    try:
        return nspawn.bare(release).plus(INSTALL + shlex.join(packages))
    except CorpusError as exc:
        raise NotAvailable(f"no root of Debian {release}: {exc.message}") from None


def on_python(minor: int) -> Place:
    """Return where a Python runs with the git of this machine, or in the root that has that Python."""
    if python := interpreter(minor):
        return Place((), environment((), MADE / f"python3.{minor}", python))
    for release in ("trixie", "sid"):
        if any((layer / f"usr/bin/python3.{minor}").exists() for layer in rooted(release).layers):
            return in_root(release)
    raise NotAvailable(f"no python3.{minor} on this machine, nor in Debian 13 and sid")


def with_older_git(release: str) -> Place:
    """Return where our own Python runs with the git of an older release."""
    git = rooted(release).layers[0]
    return Place(
        ("unshare", "--mount", "--propagation", "private", "sh", "-euc", OLDER_GIT, "git", git), Path(sys.executable)
    )


def in_root(release: str) -> Place:
    """Return where Python and git of a release run, in its root."""
    root, cache = rooted(release), Path.home() / ".cache/uv"
    cache.mkdir(parents=True, exist_ok=True)
    folder = MADE / f"{release}.root"
    binds = [f"--bind={TOP}", f"--bind={cache}:/root/.cache/uv", *_git_folder()]
    if nspawn.CERTIFICATES.exists():  # packages of the root may have brought others
        binds += [f"--bind-ro={nspawn.CERTIFICATES}"]
        binds += [f"--setenv={name}={nspawn.CERTIFICATES}" for name in nspawn.TRUST]
    shutil.rmtree(folder, ignore_errors=True)
    words = [*root.over(folder), *nspawn.NSPAWN, f"--machine=matrix-{os.getpid()}", "--resolv-conf=copy-host", *binds]
    words += ["--as-pid2", f"--chdir={TOP}", f"--directory={folder / 'root'}"]
    return Place(words, environment(words, MADE / release, Path("/usr/bin/python3")))


def _git_folder() -> list[str]:
    """Return what shows the git dir of a worktree to the root: without it git finds a repository that is damaged."""
    found = Path(run(["git", "rev-parse", "--path-format=absolute", "--git-common-dir"], cwd=TOP, check=False).text)
    return [f"--bind-ro={found}"] if found.is_absolute() and not found.is_relative_to(TOP) else []


def environment(before: Sequence[str | Path], place: Path, python: Path) -> Path:
    """Make a virtual environment with what the tests need, as it is locked; return its Python."""
    own = place / "bin/python"
    for words in (
        ["venv", "--quiet", "--clear", "--python", python, place],
        ["pip", "install", "--quiet", "--python", own, "--no-deps", "--require-hashes", "-r", "tests/requirements.txt"],
        ["pip", "install", "--quiet", "--python", own, "--no-deps", "--editable", "."],
    ):
        done = run([*before, UV, *words], cwd=TOP, timeout=LONGEST, check=False)
        if done.code:
            said = done.stderr.decode(errors="replace").splitlines()
            raise NotAvailable(next((line for line in said if line.startswith("error")), done.complaint))
    return own


ROWS: dict[str, Callable[[], Place]] = {
    **{f"Python 3.{minor}": lambda minor=minor: on_python(minor) for minor in MINORS},  # type: ignore[misc]
    "Debian 11": lambda: with_older_git("bullseye"),
    "Debian 13": lambda: in_root("trixie"),
    "Debian sid": lambda: in_root("sid"),
}


def outcome(name: str) -> Outcome:
    """Run a row."""
    try:
        place = ROWS[name]()
        versions = run([*place.before, place.python, "-c", VERSIONS], cwd=TOP).text
    except (NotAvailable, CorpusError) as exc:
        return Outcome("", f"not available: {exc}")
    done = run([*place.before, place.python, *PYTEST], cwd=TOP, timeout=LONGEST, check=False)
    log = MADE / f"{name.replace(' ', '-')}.log"
    log.write_bytes(done.stdout + done.stderr)
    last = re.sub(r"^=+ | =+$", "", done.text.splitlines()[-1]) if done.text else done.complaint
    return Outcome(versions, last if done.code == 0 else f"{last}: {log.relative_to(TOP)}", failed=done.code != 0)


def table(names: Sequence[str]) -> Iterator[tuple[str, Outcome]]:
    """Yield the rows as they end."""
    print(f"{'':<12} {'Python':<9} {'git':<9} result", flush=True)
    for name in names:
        found = outcome(name)
        python, _, git = found.versions.partition(" ")
        print(f"{name:<12} {python:<9} {git:<9} {found.result}", flush=True)
        yield name, found


def main(names: Sequence[str]) -> int:
    """Run some rows, or all; return an exit code."""
    unknown = sorted(set(names) - set(ROWS))
    if unknown:
        print(f"no row {unknown[0]!r}; there are: {', '.join(ROWS)}", file=sys.stderr)
        return 2
    MADE.mkdir(parents=True, exist_ok=True)
    return int(any(found.failed for _, found in list(table(names or list(ROWS)))))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
