"""The lease of a held deployment, by the boot id and the boot clock, which cannot be set.

A reboot ends the lease. The clock continues while the machine is suspended.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from corpushooks.core.deployment import Deployment

BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Lease:
    """A number of seconds, until a time within one boot."""

    seconds: float
    boot: str
    until: float  # by CLOCK_BOOTTIME

    @classmethod
    def begin(cls, seconds: float) -> Lease:
        """Return a lease that begins now."""
        return cls(seconds, boot(), now() + seconds)

    @property
    def survived(self) -> bool:
        """Whether the machine was not rebooted since."""
        return self.boot == boot()

    def left(self) -> float:
        """Return how many seconds are left."""
        return max(0.0, min(self.until - now(), self.seconds)) if self.survived else 0.0


def boot() -> str:
    """Return the id of the current boot."""
    return BOOT.read_text().strip()


def now() -> float:
    """Return the seconds since the boot."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def lease_of(deployment: Deployment) -> Lease:
    """Return the lease of a deployment."""
    return Lease(deployment.lease or 0.0, deployment.boot or "", deployment.until or 0.0)
