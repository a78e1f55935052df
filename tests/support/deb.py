"""The Debian package, built once for each release."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from corpushooks.system.process import run
from tests.support.places import TOP

RELEASES = {12: "bookworm", 13: "trixie"}


NEEDS = ("python3", "git", "openssh-server", "logrotate", "man-db", "bash-completion")


INSTALL = "DEBIAN_FRONTEND=noninteractive apt-get install --yes"


FETCHED = "Need to get 0 B/"  # what apt says where it downloads nothing


Built = Callable[[int], Path]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Return what gives the package for a release, built once from this checkout."""
    folder = tmp_path_factory.mktemp("packages")

    def build(release: int) -> Path:
        if not list(folder.glob(f"*~deb{release}_*.deb")):
            run(["make", "-C", TOP, "deb", f"RELEASE={release}", f"DIST={folder}"], timeout=900)
        (found,) = folder.glob(f"*~deb{release}_*.deb")
        return found

    return build
