"""What helps where something is missing depends on how this corpushooks was installed; what the machine is called."""

from __future__ import annotations

import json
import shlex
import socket
import sys
from importlib import metadata
from pathlib import Path

import pytest

from corpushooks.system import distribution, hostname
from tests.support.places import TOP

PIP = f"{sys.executable} -m pip install --no-deps --require-hashes -r"


def installed(monkeypatch: pytest.MonkeyPatch, folder: Path, **files: str) -> None:
    """Have the metadata of a corpushooks that somebody has installed."""
    about = folder / "corpushooks-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Name: corpushooks\nVersion: 1\n")
    for name, text in files.items():
        (about / name.replace("__", ".")).write_text(text)
    monkeypatch.setattr(metadata, "distribution", lambda name: metadata.PathDistribution(about))


def test_the_package_is_installed_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It has no pip, and a package of a registry would not be of the versions that it has."""
    installed(monkeypatch, tmp_path, INSTALLER="debian\n")
    assert distribution.completing() == "apt-get install --reinstall ./corpushooks_*.deb"
    build, page = (TOP / name for name in (".debian/build.py", "docs/getting-started.md"))
    assert f'"INSTALLER").write_text("{distribution.PACKAGE}\\n")' in build.read_text()
    assert distribution.AGAIN.replace(" --", " --yes --") in page.read_text()


@pytest.mark.parametrize("editable", [True, False])
def test_a_checkout_has_its_lock_file(editable: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = tmp_path / "a checkout"
    place.mkdir()
    (place / "requirements.txt").touch()
    url = json.dumps({"url": place.as_uri(), "dir_info": {"editable": editable}})
    installed(monkeypatch, tmp_path, INSTALLER="pip\n", direct_url__json=url)
    assert distribution.completing() == f"{PIP} {shlex.quote(str(place / 'requirements.txt'))}"


@pytest.mark.parametrize(
    "files",
    [
        {"INSTALLER": "pip"},
        {"direct_url__json": '{"url": "file:///nowhere/corpushooks-1-py3-none-any.whl", "archive_info": {}}'},
        {"direct_url__json": "cut {"},
        {"direct_url__json": '["no mapping"]'},
    ],
)
def test_a_wheel_has_the_lock_file_beside_it(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    installed(monkeypatch, tmp_path, **files)
    assert distribution.completing() == f"{PIP} requirements.txt"


def test_without_metadata_there_is_a_command_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", unknown)
    assert distribution.completing() == f"{PIP} requirements.txt"


def test_salt_of_another_python_is_installed_there() -> None:
    other = Path("/opt/salt tools/bin/python3")
    assert distribution.with_salt(other) == "'/opt/salt tools/bin/python3' -m pip install 'salt>=3007'"
    assert distribution.with_salt(Path(sys.executable)) == distribution.completing()


@pytest.mark.parametrize(
    ("said", "full", "short", "found"),
    [
        ("www.example.org", "own.example.org", "own", "www.example.org"),
        ("", "own.example.org", "own", "own.example.org"),
        ("localhost", "own.example.org", "own", "own.example.org"),
        ("localhost.localdomain", "localhost", "own", "own"),
        ("ip6-localhost", "ip6-loopback", "localhost", "localhost"),
        ("localhosting.example.org", "own", "own", "localhosting.example.org"),
    ],
)
def test_a_machine_is_not_called_localhost(
    said: str, full: str, short: str, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/etc/hosts may say so first of the address that the name of the machine has."""
    monkeypatch.setattr(socket, "getfqdn", lambda: full)
    monkeypatch.setattr(socket, "gethostname", lambda: short)
    assert hostname.fqdn(said) == found
