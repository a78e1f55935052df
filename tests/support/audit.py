"""Ask whether there are advisories against what the lock files have us install: make audit.

    python -m tests.support.audit LOCK … [--url URL]

Exit 0: none is known; 1: some are, a line each; 2: none could be asked for. Source of the format: the API of OSV.
"""

from __future__ import annotations

import json
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

URL = "https://api.osv.dev/v1/querybatch"
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.M)
PATIENCE = 30.0  # seconds

Pinned = tuple[str, str]


def pinned(texts: Sequence[str]) -> list[Pinned]:
    """Return each (name, version) that lock files pin, once."""
    return sorted({(name, version) for text in texts for name, version in PINNED.findall(text)})


def advisories(found: Sequence[Pinned], url: str) -> list[str]:
    """Return a line for each package with advisories; raise OSError or ValueError where they cannot be asked for."""
    queries = [{"package": {"name": name, "ecosystem": "PyPI"}, "version": version} for name, version in found]
    asked = urllib.request.Request(url, json.dumps({"queries": queries}).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=PATIENCE) as answer:
        results = json.load(answer)["results"]
    if len(results) != len(found):
        raise ValueError(f"{len(found)} packages were asked for, {len(results)} were answered")
    named = [sorted(each["id"] for each in result.get("vulns", ())) for result in results]
    return [f"{name} {version}: {', '.join(ids)}" for (name, version), ids in zip(found, named, strict=True) if ids]


def main(words: Sequence[str]) -> int:
    """Print what there is, and return the exit code."""
    url = words[words.index("--url") + 1] if "--url" in words else URL
    files = [word for word in words if word not in ("--url", url)]
    found = pinned([Path(file).read_text() for file in files])
    try:
        lines = advisories(found, url)
    except (OSError, ValueError, KeyError, TypeError) as exc:
        print(f"no advisories can be reached at {url}: {getattr(exc, 'reason', exc)}")
        return 2
    print("\n".join(lines) or f"no advisories against {len(found)} packages")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
