"""What the paths and links of a commit may be, so that what is made of it is one tree, and stays in it. Values only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from corpushooks.core.text import shown

NAME_LIMIT = 255  # bytes of a name that Linux takes
PATH_LIMIT = 3072  # bytes of a path; Linux takes 4095 with all that stands before it
HOPS = 40  # links on the way to a file that Linux follows


def flaw(paths: Iterable[str], depth: int) -> str:
    """Say which path is there twice or cannot be made, where folders may be `depth` deep; nothing where all can."""
    found = Counter(paths)
    for path, times in found.items():
        if times > 1:
            return f"{shown(path, 60)} is there twice"
        if max(map(_size, path.split("/"))) > NAME_LIMIT:
            return f"{shown(path, 60)}: a name of more than {NAME_LIMIT} bytes"
        if _size(path) > PATH_LIMIT:
            return f"{shown(path, 60)}: a path of more than {PATH_LIMIT} bytes"
        if path.count("/") > depth:
            return f"{shown(path, 60)}: more than {depth} folders deep"
    return ""


def strays(links: Mapping[str, str], where: str = "") -> list[str]:
    """Return which of `links` (path -> target) below `where` lead out of the tree, be it by way of others."""
    return [path for path in links if path.startswith(where) and _leads_out(links, path)]


def _leads_out(links: Mapping[str, str], path: str) -> bool:
    """Follow a link as the kernel would, with what the tree holds and nothing else."""
    at = path.split("/")
    hops, ahead = 0, [at[-1]]
    del at[-1]
    while ahead:
        part = ahead.pop()
        if part == "..":
            if not at:
                return True
            at.pop()
        elif part not in ("", "."):
            target = links.get("/".join([*at, part]))
            if target is None:
                at.append(part)
                continue
            hops += 1
            if target.startswith("/"):
                return True
            if hops > HOPS:
                return False
            ahead += reversed(target.split("/"))
    return False


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))
