"""The checks of doctor: each finds faults of a host and the command that repairs each.

    soundness   what a host needs
    backups     backups are made, and can be restored
    nodes       the key of a controller, and those of its nodes
    privacy     what others must not be able to read
    patient     the host that is examined, and the types of findings

A new check is a new row of CHECKS, in `soundness` or `privacy`.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from corpushooks.admin.doctor import backups, nodes, privacy, soundness
from corpushooks.admin.doctor.patient import Check, Finding, Patient
from corpushooks.core.errors import CorpusError, Fault

CHECKS = (*soundness.CHECKS, *backups.CHECKS, *nodes.CHECKS, *privacy.CHECKS)


@dataclass(frozen=True)
class Found:
    """What one check found."""

    check: str
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return its lines: one, or one per fault."""
        if not self.faults:
            return [f"ok     {self.check:<20} {', '.join(self.notes)}".rstrip()]
        return [f"wrong  {self.check:<20} {fault.what}; {fault.repair}" for fault in self.faults]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def examine(patient: Patient, checks: Sequence[Check] = CHECKS) -> list[Found]:
    """Run the checks; commands in the findings are spelled for this host."""
    found = []
    for check in checks:
        findings = _found(check, patient)
        faults = [each for each in findings if isinstance(each, Fault)]
        words = tuple(replace(fault, repair=patient.host.spell(fault.repair)) for fault in faults)
        found.append(Found(check.name, words, tuple(each for each in findings if isinstance(each, str))))
    return found


def _found(check: Check, patient: Patient) -> list[Finding]:
    """Run a check; if it fails, that is a fault, and the other checks still run."""
    found: list[Finding] = []
    try:
        found += check.find(patient)
    except (CorpusError, OSError) as exc:
        hint = exc.hint if isinstance(exc, CorpusError) else None
        found.append(Fault(f"check failed: {exc}", hint or f"ls -la {shlex.quote(str(patient.host.state_dir))}"))
    return found
