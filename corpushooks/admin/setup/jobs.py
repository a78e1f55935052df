"""What a host does by itself for its backups, and when: backups, drills, checks of the repository. Values only."""

from __future__ import annotations

from dataclasses import dataclass

CRON = "corpushooks"  # in /etc/cron.d, where systemd does not run


@dataclass(frozen=True)
class Job:
    """One thing that is done again and again; `calendar` as systemd has it, `cron` as cron does."""

    name: str
    words: str  # of the command
    what: str
    calendar: str
    cron: str

    @property
    def unit(self) -> str:
        """The name of its units, without what kind they are."""
        return f"corpushooks-{self.name}"

    @property
    def timer(self) -> str:
        return f"{self.unit}.timer"

    @property
    def files(self) -> dict[str, str]:
        """Its units, each with the file that it is made from."""
        return {f"{self.unit}.service": "job.service", self.timer: "job.timer"}

    @property
    def values(self) -> dict[str, str]:
        """What its units have in them."""
        return {"unit": self.unit, "words": self.words, "what": self.what, "calendar": self.calendar}


JOBS = (
    Job("backup", "backup --all", "backs up every project", "*-*-* 03:15", "15 3 * * *"),
    Job("drill", "drill --all", "restores every backup aside and compares it", "*-*-01 05:15", "15 5 1 * *"),
    Job("check", "backups --check", "checks the backup repository", "Sun *-*-* 07:15", "15 7 * * 0"),
)


def lines(corpus: str) -> str:
    """Return the lines of cron; what a command says is dropped, what is wrong is sent by cron."""
    return "\n".join(f"{job.cron} root {corpus} {job.words} >/dev/null" for job in JOBS)
