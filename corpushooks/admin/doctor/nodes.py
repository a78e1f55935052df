"""The checks of doctor for a controller: its key, and the host keys by which it knows its nodes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from corpushooks.access.keys import is_key
from corpushooks.admin.doctor.patient import Check, Finding, Patient
from corpushooks.admin.doctor.privacy import kept
from corpushooks.core.errors import Fault, ProcessError
from corpushooks.core.hints import command
from corpushooks.core.rollouts import CONTROLLER_KEY, PINNED
from corpushooks.system.process import run


def identity(patient: Patient) -> Iterator[Finding]:
    """Find what keeps this controller from reaching its nodes, or them from knowing it."""
    key = patient.host.fleet_dir / CONTROLLER_KEY
    if not patient.nodes:
        yield "no nodes"
        return
    if not key.exists():
        yield Fault(f"the key of this controller is missing: {key}; each node must let a new one in",
                    command("node", "key"))  # fmt: skip
    elif not key.stat().st_mode & 0o077:  # ssh takes no other, and the check of who can read it tells
        yield from _key_findings(key)
    for node in patient.nodes:
        if not _is_pinned(patient.host.fleet_dir / PINNED / node.name, node.name):
            add = command("node", "add", node.name, node.address)
            yield Fault(f"{node.name} has no valid host key here: nothing is sent to it", add)
    yield f"{len(patient.nodes)} nodes"


def _key_findings(key: Path) -> Iterator[Fault]:
    """Find a key that cannot be used, or a public key that is not its own."""
    public = key.with_name(f"{key.name}.pub")
    try:
        kind, blob = run(["ssh-keygen", "-y", "-P", "", "-f", key], timeout=10).text.split()[:2]
    except (ProcessError, ValueError):
        again = f"mv {shlex.quote(str(key))} {shlex.quote(str(key))}.unusable"
        yield Fault(f"{key} is no private key that can be used; each node must let a new one in", again)
        return
    if public.exists() and public.read_text().split()[:2] != [kind, blob]:
        yield Fault(f"{public} is not the public key of {key}", f"rm {shlex.quote(str(public))}")


def _is_pinned(path: Path, name: str) -> bool:
    try:
        host, kind, blob = path.read_text().split()
    except (FileNotFoundError, ValueError):
        return False
    return host == name and is_key(kind, blob)


def _paths(patient: Patient) -> Iterator[Path]:
    folder = patient.host.fleet_dir
    yield from (folder, folder / CONTROLLER_KEY, folder / PINNED)
    yield from sorted((folder / PINNED).glob("*"))


CHECKS = (Check("nodes", identity), Check("keys of nodes", kept(_paths)))
