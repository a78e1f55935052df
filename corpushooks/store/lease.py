"""How long a deployment is held: counted by the boot of the machine and the clock of that, which nobody sets.

After a reboot a lease is over. The clock goes on while the machine is suspended.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from corpushooks.core.deployment import Deployment

BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Lease:
    """So many seconds, up to a moment of one boot."""

    seconds: float
    boot: str
    until: float  # by CLOCK_BOOTTIME

    @classmethod
    def begin(cls, seconds: float) -> Lease:
        """Return a lease that begins now."""
        return cls(seconds, boot(), now() + seconds)

    @property
    def survived(self) -> bool:
        """Whether the machine has not been started again since."""
        return self.boot == boot()

    def left(self) -> float:
        """Return how many seconds are left of it."""
        return max(0.0, min(self.until - now(), self.seconds)) if self.survived else 0.0


def boot() -> str:
    """Return which boot of the machine this is."""
    return BOOT.read_text().strip()


def now() -> float:
    """Return the seconds since that."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def lease_of(deployment: Deployment) -> Lease:
    """Return how long a deployment is held."""
    return Lease(deployment.lease or 0.0, deployment.boot or "", deployment.until or 0.0)
