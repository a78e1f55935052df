"""A host with a deployment that is live, and commands on it."""

from __future__ import annotations

import pytest

from tests.support.box import Box


def command(script: str) -> str:
    """Return an SLS that runs a script."""
    lines = "".join(f"        {line}\n" for line in script.splitlines())
    return f"command:\n  cmd.run:\n    - cwd: {{{{ cfg.project_root }}}}\n    - name: |\n{lines}"


@pytest.fixture
def live(box: Box) -> Box:
    """Return a host with a live release and files of its application."""
    box.app(files={"lib/a.txt": "a", "lib/deep/b.txt": "b"}).push()
    box.ended(1)
    tree = box.project().tree
    (tree / "uploads").mkdir()
    (tree / "uploads/photo").write_text("precious")
    return box
