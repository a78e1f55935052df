"""What a newcomer is told to do on Getting started: its blocks, and a machine for them."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from corpushooks.system.process import Output
from tests.support.machine import CHECKOUT
from tests.support.places import TOP
from tests.support.sources import HOME, SOURCES

PAGE = (TOP / "docs/getting-started.md").read_text()


SERVER, DEVELOPER, FILE, PRINTED = "on the server", "on your own machine", "a file", "printed by the block before"


PACKAGE, PLAIN = "on a server with the package", "on a server without it"


WHERE = {  # each block of the page by its first line: who does it, or why that cannot be here
    f"git clone {HOME}": "not run: tests/walk/walk_getting_started.py builds it",
    "apt-get update": PACKAGE,
    "python3 -m venv /opt/corpushooks": PLAIN,
    "corpus setup --dry-run": SERVER,
    "corpus setup": SERVER,
    "cat ~/.ssh/id_ed25519.pub": DEVELOPER,
    "corpus init hello": SERVER,
    "In your working copy:": PRINTED,
    "git init --initial-branch=master hello": DEVELOPER,
    "makina-projects.hello:": FILE,
    "page:": FILE,
    "git add .salt": DEVELOPER,
    "$ git push prod": DEVELOPER,
    "$ cat /srv/projects/hello/project/page.html": SERVER,
    "check:": FILE,
    "$ git add .salt": DEVELOPER,
    "ssh corpus@server.example.org log hello 2": DEVELOPER,
    "sed -i s/Helo/Hello/ .salt/10_check.sls": DEVELOPER,
    "systemctl restart corpushooks.socket corpushooks.service": SERVER,
    "systemctl stop corpushooks.socket corpushooks.service": SERVER,
    "apt-get install --yes --reinstall ./corpushooks_*.deb": PACKAGE,
    "/opt/corpushooks/bin/pip install --no-deps --require-hashes -r requirements.txt": PLAIN,
    "corpus setup --undo": SERVER,
}


NEWCOMER = """\
useradd --create-home --shell /bin/sh jo
mkdir --mode 700 /home/jo/.ssh
ssh-keygen -q -t ed25519 -N '' -f /home/jo/.ssh/id_ed25519
echo "server.example.org $(cat /etc/ssh/ssh_host_ed25519_key.pub)" >/home/jo/.ssh/known_hosts  # jo has said yes
HOME=/home/jo git config --global user.name Jo
HOME=/home/jo git config --global user.email jo@example.org
chown --recursive jo:jo /home/jo
"""


@dataclass(frozen=True)
class Block:
    """A block of the page; `file` is what the text before it named last."""

    text: str
    file: str

    @property
    def name(self) -> str:
        return self.text.partition("\n")[0]

    @property
    def commands(self) -> list[tuple[str, str]]:
        """Return the commands of a block that shows what they say, each with that."""
        return re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", self.text, re.MULTILINE)


def blocks() -> Iterator[Block]:
    """Yield the blocks of the page."""
    for found in re.finditer(r"^```\w*\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        named = re.findall(r"`(\.salt/[\w./]+)`", PAGE[: found.start()])
        yield Block(found[1], named[-1] if named else "")


class There(Protocol):
    """Where somebody walks."""

    def run(self, script: str, *, user: str = "root", cwd: str = "", stdin: bytes = b"") -> Output: ...


@dataclass
class Walk:
    """Somebody who follows the page; `said` is what came of each block, `took` are the seconds of each."""

    there: There
    server: str = PLAIN
    home: str = str(CHECKOUT)  # where root does it
    said: dict[str, str] = field(default_factory=dict)
    took: dict[str, float] = field(default_factory=dict)

    def follow(self, block: Block) -> None:
        """Do what a block says, or write the file that it is."""
        who, begun = WHERE.get(block.name, ""), time.monotonic()
        if who in (SERVER, DEVELOPER, self.server):
            act = self.jo if who == DEVELOPER else self.root
            asked = [self._asked(act(command), command) for command, _ in block.commands]
            self.said[block.name] = "\n".join(asked) if asked else self._done(act(block.text))
            self.took[block.name] = time.monotonic() - begun
        elif who == FILE:
            self.jo(f"cat >{block.file} <<'END'\n{block.text}END")

    def _asked(self, output: Output, command: str) -> str:
        return f"$ {command}\n{output.text}\n{output.stderr.decode()}" + ("" if output.code == 0 else "(failed)")

    def _done(self, output: Output) -> str:
        said = output.text + output.stderr.decode()
        assert output.code == 0, said
        return said

    def root(self, script: str) -> Output:
        """Run a script as root; who adds a key pastes what jo was shown."""
        return self.there.run(script, cwd=self.home, stdin=self._pasted())

    def _pasted(self) -> bytes:
        return self.said.get("cat ~/.ssh/id_ed25519.pub", "").encode()

    def jo(self, script: str) -> Output:
        """Run a script as jo, where the one before it ended."""
        where = 'cd "$(cat ~/.where 2>/dev/null || echo ~)"'
        return self.there.run(f"{where}\ntrap 'pwd >~/.where' EXIT\n{script}", user="jo")


@contextmanager
def checkout(folder: Path) -> Iterator[Path]:
    """Have a folder with a checkout of what is installed."""
    for name in SOURCES:
        if (source := TOP / name).is_dir():
            shutil.copytree(source, folder / "checkout" / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, folder / "checkout" / name)
    yield folder


def masked(text: str) -> list[str]:
    """Return lines with commits and times made equal."""
    text = re.sub(r"\b\d+\.\d s\b", "0.0 s", text)
    text = re.sub(r"\b[0-9a-f]{7}\b", "ccccccc", text)
    return [line.rstrip() for line in text.splitlines() if line.strip() and line != "(failed)"]
