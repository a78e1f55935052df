"""Rules for paths and links of a commit, so that its checkout is one tree without links out of it. Values only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from corpushooks.core.text import shown

NAME_LIMIT = 255  # bytes of a name in Linux
PATH_LIMIT = 3072  # bytes of a path; Linux allows 4095 including the parent folders
HOPS = 40  # links that Linux follows on the way to a file


def flaw(paths: Iterable[str], depth: int) -> str:
    """Return the first path that is duplicate or impossible, with folders at most `depth` deep; or ''."""
    found = Counter(paths)
    for path, times in found.items():
        if times > 1:
            return f"{shown(path, 60)} exists twice"
        if max(map(_size, path.split("/"))) > NAME_LIMIT:
            return f"{shown(path, 60)}: a name is longer than {NAME_LIMIT} bytes"
        if _size(path) > PATH_LIMIT:
            return f"{shown(path, 60)}: the path is longer than {PATH_LIMIT} bytes"
        if path.count("/") > depth:
            return f"{shown(path, 60)}: more than {depth} folders deep"
    return ""


def strays(links: Mapping[str, str], where: str = "") -> list[str]:
    """Return those of `links` (path -> target) below `where` that lead out of the tree, also through other links."""
    return [path for path in links if path.startswith(where) and _leads_outside(links, path)]


def _leads_outside(links: Mapping[str, str], path: str) -> bool:
    """Follow a link as the kernel would, within the tree only."""
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
