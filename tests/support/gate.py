"""What asks a daemon as the account of ssh, one thing after the other."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from corpushooks.daemon import server
from corpushooks.system.process import run
from tests.support.callers import UIDS

SSH = UIDS["ssh"]
# Asks one thing after the other as somebody else; what has an admission presents the last one that was given.
ASK = """\
import json, os, socket, sys
uid, groups, path, asked, token = json.loads(sys.argv[1])
os.setgroups(groups), os.setgid(uid), os.setuid(uid)
for one in asked:
    link = socket.socket(socket.AF_UNIX)
    link.connect(path)
    link.sendall(json.dumps({**one, "admission": token} if one.pop("shows", True) else one).encode() + b"\\n")
    said = json.loads(link.makefile().read().splitlines()[-1])
    token = said.get("result", {}).get("admission", token)
    print(json.dumps(said), flush=True)
print(json.dumps(token))
"""


def ask(
    serving: server.Daemon, *asked: dict[str, Any], uid: int = SSH, groups: Sequence[int] = (), token: str = ""
) -> list[Any]:
    """Ask as an account; return the answers, and last the token."""
    given = json.dumps([uid, list(groups), str(serving.site.host.socket), asked, token])
    return [json.loads(line) for line in run([sys.executable, "-ISc", ASK, given]).text.splitlines()]


def admit(key: str = "alice", project: str = "hello", right: str = "read", **more: str) -> dict[str, Any]:
    return {
        "v": 1,
        "op": "admit",
        "key": key,
        "certificate": "",
        "right": right,
        "project": project,
        "repo": "project",
        **more,
    }
