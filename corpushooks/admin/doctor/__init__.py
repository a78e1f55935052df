"""What can be wrong with a host, as a table of checks: each finds what is wrong and which command repairs it.

    soundness   what a host must have
    backups     whether backups are kept, and come back
    privacy     what others must not be able to read
    patient     the host that is looked at, and what may be found

A further check is a further row of CHECKS, in `soundness` or `privacy`.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from corpushooks.admin.doctor import backups, privacy, soundness
from corpushooks.admin.doctor.patient import Check, Finding, Patient
from corpushooks.core.errors import CorpusError, Fault

CHECKS = (*soundness.CHECKS, *backups.CHECKS, *privacy.CHECKS)


@dataclass(frozen=True)
class Found:
    """What one check found."""

    check: str
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return what people read of it: a line, or one for each fault."""
        if not self.faults:
            return [f"ok     {self.check:<20} {', '.join(self.notes)}".rstrip()]
        return [f"wrong  {self.check:<20} {fault.what}; {fault.repair}" for fault in self.faults]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def examine(patient: Patient, checks: Sequence[Check] = CHECKS) -> list[Found]:
    """Return what each check found; commands in it are as one types them for this host."""
    found = []
    for check in checks:
        findings = _found(check, patient)
        faults = [each for each in findings if isinstance(each, Fault)]
        words = tuple(replace(fault, repair=patient.host.spell(fault.repair)) for fault in faults)
        found.append(Found(check.name, words, tuple(each for each in findings if isinstance(each, str))))
    return found


def _found(check: Check, patient: Patient) -> list[Finding]:
    """Return what a check finds; what it cannot look at is a fault, and the next checks go on."""
    found: list[Finding] = []
    try:
        found += check.find(patient)
    except (CorpusError, OSError) as exc:
        hint = exc.hint if isinstance(exc, CorpusError) else None
        found.append(Fault(f"cannot be checked: {exc}", hint or f"ls -la {shlex.quote(str(patient.host.state_dir))}"))
    return found
