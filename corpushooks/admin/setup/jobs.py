"""The scheduled jobs of a host: backups, drills, checks of the backup repository. Values only."""

from __future__ import annotations

from dataclasses import dataclass

CRON = "corpushooks"  # in /etc/cron.d, without systemd


@dataclass(frozen=True)
class Job:
    """A scheduled job; `calendar` is its schedule for systemd, `cron` for cron."""

    name: str
    words: str  # of the command
    what: str
    calendar: str
    cron: str

    @property
    def unit(self) -> str:
        """The name of its units, without suffix."""
        return f"corpushooks-{self.name}"

    @property
    def timer(self) -> str:
        return f"{self.unit}.timer"

    @property
    def files(self) -> dict[str, str]:
        """Its units, each with its template."""
        return {f"{self.unit}.service": "job.service", self.timer: "job.timer"}

    @property
    def values(self) -> dict[str, str]:
        """The values for its templates."""
        return {"unit": self.unit, "words": self.words, "what": self.what, "calendar": self.calendar}


JOBS = (
    Job("backup", "backup --all", "backs up every project", "*-*-* 03:15", "15 3 * * *"),
    Job("drill", "drill --all", "restores every backup aside and compares it", "*-*-01 05:15", "15 5 1 * *"),
    Job("check", "backups --check", "checks the backup repository", "Sun *-*-* 07:15", "15 7 * * 0"),
)


def lines(corpus: str) -> str:
    """Return the lines for cron; output is dropped, errors are mailed by cron."""
    return "\n".join(f"{job.cron} root {corpus} {job.words} >/dev/null" for job in JOBS)
