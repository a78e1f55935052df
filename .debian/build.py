"""Build the Debian package: `make deb` (RELEASE=12 or 13, ARCH=amd64 or arm64, REVISION=1). No root, nothing compiled.

uv lays the wheels for the Python of that release, as locked, into an environment below /opt/corpushooks; the units, the
man page and the completions are those that `corpus setup` would write. The environment starts /usr/bin/python3.N of the
release, so that Debian's security updates of Python, OpenSSL and git are its own. Byte code is made on the server, as
Debian's packages do. The maintainer scripts lie beside this file.

Why not dh: what it would do for us is what we do not want: compile, enable units, start a daemon before `corpus setup`.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import shutil
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass
from email.utils import formatdate
from importlib import metadata
from pathlib import Path

from corpushooks import __version__
from corpushooks.admin import setup
from corpushooks.admin.setup import manual
from corpushooks.cli.main import corpus
from corpushooks.core.errors import CorpusError
from corpushooks.core.project import Host
from corpushooks.core.settings import Settings
from corpushooks.system.process import run

HERE = Path(__file__).parent
TOP = HERE.parent
PYTHONS = {12: "3.11", 13: "3.13"}  # Debian's own, by release
SYSTEMDS = {12: 252, 13: 257}
PLATFORMS = {"amd64": "x86_64-manylinux_2_28", "arm64": "aarch64-manylinux_2_28"}
UV = Path(sysconfig.get_path("scripts"), "uv")
PLACE = Path("/opt/corpushooks")
SCRIPTS = ("preinst", "postinst", "prerm", "postrm")
UNWANTED = ("libcloud/test",)  # a quarter of all files, and no code that runs
# what `corpus setup` writes, and where a package has it
PLACES = {
    "/etc/systemd/system": "/usr/lib/systemd/system",
    "/usr/local/share/zsh/site-functions": "/usr/share/zsh/vendor-completions",
    "/usr/local/share": "/usr/share",
    "/etc": "/etc",
}
DEPENDS = "git (>= 1:2.30), passwd, libc6 (>= 2.28), libstdc++6, libgcc-s1, zlib1g"
CONTROL = """\
Package: corpushooks
Version: {version}
Architecture: {arch}
Maintainer: {maintainer}
Installed-Size: {size}
Pre-Depends: init-system-helpers (>= 1.54~)
Depends: python3 (>= {python}~), python3 (<< {after}~), {depends}
Recommends: openssh-server (>= 1:7.4), logrotate
Section: vcs
Priority: optional
Homepage: {home}
Description: deploy projects on your own server with git push
 A push archives the running project, syncs the new commit and runs the
 project's own Salt states; where anything fails, everything goes back to what
 it was, and git rejects the push.
 .
 Salt and all that is needed of Python comes along, in /opt/corpushooks.
"""


@dataclass(frozen=True)
class Package:
    """What is built: for which release and architecture, and in which folder."""

    release: int
    arch: str
    revision: str
    root: Path

    @property
    def version(self) -> str:
        return f"{__version__}-{self.revision}~deb{self.release}"

    @property
    def python(self) -> str:
        return PYTHONS[self.release]

    @property
    def packages(self) -> Path:
        return self.root / f"opt/corpushooks/lib/python{self.python}/site-packages"

    def write(self, path: str | Path, text: str, mode: int = 0o644) -> None:
        """Write a file of the package, zipped where its name says so."""
        place = self.root / str(path).lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(gzip.compress(text.encode(), mtime=0) if place.suffix == ".gz" else text.encode())
        place.chmod(mode)


def build(package: Package, wheel: Path, lock: Path, folder: Path) -> Path:
    """Build the package from our wheel and from what is locked; return its file in a folder."""
    _tell(f"1/2 what it needs of Python {package.python}")
    environment(package, wheel, lock)
    host_files(package)
    documents(package)
    control(package)
    _tell("2/2 the package")
    file = folder / f"corpushooks_{package.version}_{package.arch}.deb"
    run(["dpkg-deb", "--root-owner-group", "-Zxz", "-z1", "--build", package.root, file])
    return file


def _tell(what: str) -> None:
    """Tell whoever waits what is done now; the standard output has the file alone."""
    print(f"  {what}", file=sys.stderr, flush=True)


# what is in it


def environment(package: Package, wheel: Path, lock: Path) -> None:
    """Lay out a virtual environment of the release's own Python."""
    words = [UV, "pip", "install", "--quiet", "--no-deps", "--target", package.packages]
    words += ["--link-mode", "copy"]  # else modes are those of uv's cache, too, and tar sees others link the same file
    words += ["--python-version", package.python, "--python-platform", PLATFORMS[package.arch]]
    words += ["--only-binary", ":all:", "--no-binary", "salt"]  # Salt has no wheel; what is built of it is Python alone
    run([*words, "--require-hashes", "--requirements", lock])
    run([*words, wheel])
    _programs(package)
    for unwanted in (*package.packages.rglob("__pycache__"), *(package.packages / name for name in UNWANTED)):
        shutil.rmtree(unwanted)
    for about in package.packages.glob("*.dist-info/direct_url.json"):  # names a folder of this machine
        about.unlink()
    (about,) = package.packages.glob("corpushooks-*.dist-info")
    (about / "INSTALLER").write_text("debian\n")


def _programs(package: Package) -> None:
    """Have the programs below PLACE, run by its Python, which is the release's own."""
    scripts = package.root / "opt/corpushooks/bin"
    (package.packages / "bin").rename(scripts)
    for path in scripts.iterdir():
        first, _, rest = path.read_bytes().partition(b"\n")
        assert first.startswith(b"#!") and b"python" in first, path
        path.write_bytes(f"#!{PLACE}/bin/python\n".encode() + rest)
    (scripts / f"python{package.python}").symlink_to(f"/usr/bin/python{package.python}")
    for name in ("python", "python3"):
        (scripts / name).symlink_to(f"python{package.python}")
    package.write(
        PLACE / "pyvenv.cfg", f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {package.python}\n"
    )


def host_files(package: Package) -> None:
    """Have what `corpus setup` would write beside the environment."""
    manuals = manual.files(corpus, "corpus", __version__)
    for file in setup.Plan(
        Host(Path("/")), Settings(), None, manuals, PLACE / "bin", SYSTEMDS[package.release]
    ).files():
        before, after = next((old, new) for old, new in PLACES.items() if file.path.is_relative_to(old))
        path = Path(after, file.path.relative_to(before))
        package.write(f"{path}.gz" if "man" in path.parts else path, file.text)
    link = package.root / "usr/bin/corpus"
    link.parent.mkdir(parents=True)
    link.symlink_to(PLACE / "bin/corpus")


def documents(package: Package) -> None:
    """Have the pages, the license and the changes."""
    place = Path("usr/share/doc/corpushooks")
    for page in (*TOP.glob("docs/*.md"), TOP / "README.md"):
        package.write(place / page.relative_to(TOP), page.read_text())
    package.write(place / "changelog.gz", (TOP / "CHANGELOG.md").read_text())
    entry = f"corpushooks ({package.version}) unstable; urgency=medium\n\n  * See changelog.gz.\n\n"
    package.write(place / "changelog.Debian.gz", f"{entry} -- {_maintainer()}  {formatdate(_epoch())}\n")
    package.write(place / "copyright", f"{_copyright()}\n")
    package.write("usr/share/lintian/overrides/corpushooks", (HERE / "lintian-overrides").read_text())


def _copyright() -> str:
    text = (TOP / "LICENSE").read_text().strip().replace("\n\n", "\n.\n").replace("\n", "\n ")
    return (
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"
        "Comment: The works of others in /opt/corpushooks have their licenses beside them, in *.dist-info.\n\n"
        "Files: *\nCopyright: 2026, the corpushooks authors\nLicense: BSD-3-Clause\n\n"
        f"License: BSD-3-Clause\n {text}"
    )


# what dpkg reads


def control(package: Package) -> None:
    """Write what dpkg reads: the control file, the scripts, sums, and which files are configuration."""
    files = sorted(path for path in package.root.rglob("*") if path.is_file() and not path.is_symlink())
    for path in files:
        path.chmod(0o755 if _is_program(path) else 0o644)
    for folder in (package.root, *(path for path in package.root.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
    names = [(path, path.relative_to(package.root)) for path in files]
    sums = [f"{hashlib.md5(path.read_bytes()).hexdigest()}  {name}\n" for path, name in names]
    about = {
        "control": _control(package, files),
        "md5sums": "".join(sums),
        "conffiles": "".join(f"/{name}\n" for _, name in names if name.is_relative_to("etc")),
    }
    for name, text in about.items():
        package.write(Path("DEBIAN", name), text)
    for name in SCRIPTS:
        package.write(Path("DEBIAN", name), (HERE / name).read_text(), 0o755)


def _is_program(path: Path) -> bool:
    """Say whether a file is to be run: wheels say so of libraries and tests, too."""
    with path.open("rb") as file:
        begins = file.read(4)
    script, binary = begins.startswith(b"#!"), begins == b"\x7fELF" and ".so" not in path.name
    return bool(path.stat().st_mode & 0o100) and (script or binary)


def _control(package: Package, files: list[Path]) -> str:
    major, minor = map(int, package.python.split("."))
    return CONTROL.format(
        version=package.version, arch=package.arch, maintainer=_maintainer(), home=_home(), python=package.python,
        after=f"{major}.{minor + 1}", depends=DEPENDS, size=sum(path.stat().st_size // 1024 + 1 for path in files),
    )  # fmt: skip


def _home() -> str:
    """Return where we are at home, as the metadata of the wheel says."""
    urls = metadata.metadata("corpushooks").get_all("Project-URL") or []
    return next(url.partition(", ")[2] for url in urls if url.startswith("Homepage"))


def _maintainer() -> str:
    """Return who builds packages, and the address for mail, as the metadata of the wheel says."""
    about = metadata.metadata("corpushooks")
    return f"{about['Maintainer']} <{about['Maintainer-email']}>"


def _epoch() -> int:
    """Return the time of what is built, so that it is built the same again."""
    said = os.environ.get("SOURCE_DATE_EPOCH") or run(["git", "-C", TOP, "log", "-1", "--format=%ct"], check=False).text
    return int(said or time.time())


# the command


def main() -> None:
    """Build what the command line says."""
    parser = argparse.ArgumentParser(description="Build the Debian package of corpushooks.")
    parser.add_argument("--release", type=int, choices=PYTHONS, required=True, help="of Debian")
    parser.add_argument("--arch", choices=PLATFORMS, default=run(["dpkg", "--print-architecture"]).text)
    parser.add_argument("--revision", default="1", help="of the package, where the version stays")
    parser.add_argument("--into", type=Path, default=Path("dist"), help="a folder")
    given = parser.parse_args()
    os.environ["SOURCE_DATE_EPOCH"] = str(_epoch())
    given.into.mkdir(exist_ok=True)
    print(f"Building the package for Debian {given.release}, a minute or two:", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="corpus-deb-") as folder:
        package = Package(given.release, given.arch, given.revision, Path(folder, "root"))
        run([UV, "build", "--quiet", "--wheel", "--out-dir", folder, TOP])
        (wheel,) = Path(folder).glob("*.whl")
        print(build(package, wheel, TOP / "requirements.txt", given.into))


if __name__ == "__main__":
    try:
        main()
    except CorpusError as exc:
        sys.exit(f"error: {exc}")
