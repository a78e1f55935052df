"""The names of a host and its projects, and the paths of their files. Values only: nothing here touches a disk."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path

from corpushooks.core.errors import UsageError
from corpushooks.core.hints import Advice, Spelling

NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
NAME_LIMIT = 27  # NAME-user must fit the 32 characters of a system account
ENVIRONMENT = re.compile(r"[a-z][a-z0-9_-]*")
BRANCH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]*")

PROCEDURES = frozenset({"archive", "post_archive", "fixperms", "rollback", "notify", "quiesce", "dump", "resume"})
MODULE_KINDS = (
    "_modules", "_states", "_runners", "_grains", "_pillar", "_returners", "_renderers", "_output",
    "_outputters", "_utils", "_sdb", "_beacons", "_engines", "_proxy", "_wrapper", "_tops", "_roster",
    "_netapi", "_auth", "_queues", "_wheel", "_clouds", "_fileserver", "_search", "_log_handlers",
)  # fmt: skip


@dataclass(frozen=True)
class Host:
    """One host: every path is below `root` (/ on a server, any folder otherwise)."""

    root: Path = Path("/")

    @functools.cached_property
    def embedded(self) -> bool:
        """Return whether this host is a folder: no system users, no units, nothing outside it changed."""
        return self.root != Path("/")

    def spell(self, said: Advice) -> str:
        """Return advice as text, with its commands as typed for this host."""
        return Spelling(str(self.root) if self.embedded else "")(said)

    @functools.cached_property
    def config_file(self) -> Path:
        return self.root / "etc/corpushooks/config.yaml"

    @functools.cached_property
    def state_dir(self) -> Path:
        """The folder of the store, the logs, the locks and Salt's caches."""
        return self.root / "var/lib/corpushooks"

    @functools.cached_property
    def store(self) -> Path:
        return self.state_dir / "store.sqlite"

    @functools.cached_property
    def scratch(self) -> Path:
        return self.state_dir / "scratch"

    @functools.cached_property
    def backups_dir(self) -> Path:
        """The folder in which backups are prepared, and of the cache of the backup program."""
        return self.state_dir / "backups"

    @functools.cached_property
    def fleet_dir(self) -> Path:
        """The folder of a controller: its key, and the host keys of its nodes."""
        return self.state_dir / "fleet"

    @functools.cached_property
    def locks_dir(self) -> Path:
        return self.state_dir / "locks"

    @functools.cached_property
    def socket(self) -> Path:
        return self.root / "run/corpushooks/corpushooks.sock"

    @functools.cached_property
    def projects_dir(self) -> Path:
        return self.root / "srv/projects"

    @functools.cached_property
    def ballast(self) -> Path:
        """Space reserved for a rollback when the disk is full."""
        return self.projects_dir / ".ballast"

    @functools.cached_property
    def pillar_dir(self) -> Path:
        """Salt's pillar root, shared by all projects."""
        return self.root / "srv/pillar"

    @functools.cached_property
    def salt_dir(self) -> Path:
        """Salt's state root, shared by all projects."""
        return self.root / "srv/salt"

    def project(self, name: str) -> Project:
        """Return the project `name`, which need not exist; raise UsageError if the name is invalid."""
        return Project(self, check_name(name))


@dataclass(frozen=True)
class Project:
    """One project of a host, and its paths."""

    host: Host
    name: str

    @functools.cached_property
    def dir(self) -> Path:
        return self.host.projects_dir / self.name

    @functools.cached_property
    def git_dir(self) -> Path:
        return self.dir / "git"

    @functools.cached_property
    def code_git(self) -> Path:
        return self.git_dir / "project.git"

    @functools.cached_property
    def pillar_git(self) -> Path:
        return self.git_dir / "pillar.git"

    @functools.cached_property
    def work_git(self) -> Path:
        """The git dir of the stage: its configuration is ours alone."""
        return self.git_dir / "work.git"

    @functools.cached_property
    def stamps(self) -> Path:
        """What the last sync recorded of the files of the stage and of project/."""
        return self.work_git / "stamps"

    @functools.cached_property
    def stage(self) -> Path:
        """The deployed commit exactly as git has it."""
        return self.git_dir / "stage"

    @functools.cached_property
    def tree(self) -> Path:
        """The tree that runs: the files of the stage, and those that the application created."""
        return self.dir / "project"

    @functools.cached_property
    def pillar_stage(self) -> Path:
        """The deployed commit of pillar.git exactly as git has it, which Salt reads: only root can write it."""
        return self.git_dir / "pillar-stage"

    @functools.cached_property
    def pillar(self) -> Path:
        """The same files for people and SLS files, which can give them to others."""
        return self.dir / "pillar"

    @functools.cached_property
    def pillar_stamps(self) -> Path:
        """What the last sync recorded of the files of pillar_stage and of pillar/."""
        return self.work_git / "pillar-stamps"

    @functools.cached_property
    def data(self) -> Path:
        return self.dir / "data"

    @functools.cached_property
    def reports(self) -> Path:
        """The folder in which a running task leaves its JUnit files; it can be written by the application."""
        return self.dir / ".reports"

    @functools.cached_property
    def archives(self) -> Path:
        return self.dir / "archives"

    @functools.cached_property
    def salt_link(self) -> Path:
        """.salt, which Salt reads: a link into the stage."""
        return self.dir / ".salt"

    @functools.cached_property
    def logs(self) -> Path:
        return self.host.state_dir / "logs" / self.name

    def log_file(self, number: int) -> Path:
        """Return the path of the log of a deployment."""
        return self.logs / f"{number}.log"

    @functools.cached_property
    def backups(self) -> Path:
        """The folder in which its backups are prepared."""
        return self.host.backups_dir / self.name

    @functools.cached_property
    def dumps(self) -> Path:
        """The folder to which dump.sls writes; only root can enter it."""
        return self.backups / "dumps"

    @functools.cached_property
    def lock(self) -> Path:
        return self.host.locks_dir / f"{self.name}.lock"

    @functools.cached_property
    def minion_dir(self) -> Path:
        """Salt's generated configuration, cache and module folders of this project."""
        return self.host.state_dir / "salt" / self.name

    @functools.cached_property
    def wired_salt(self) -> Path:
        return self.host.salt_dir / "makina-projects" / self.name

    @functools.cached_property
    def wired_pillar(self) -> Path:
        return self.host.pillar_dir / "makina-projects" / self.name

    @functools.cached_property
    def user(self) -> str:
        return f"{self.name}-user"

    @functools.cached_property
    def group(self) -> str:
        return f"{self.name}-grp"

    @functools.cached_property
    def deploy_group(self) -> str:
        """The group of people who can push."""
        return f"{self.name}-deploy"

    def sls_id(self, stem: str) -> str:
        """Return Salt's name of the SLS file `stem` of this project."""
        return f"makina-projects.{self.name}.{stem}"


def check_name(name: str) -> str:
    """Return `name` if it is a valid project name; raise UsageError."""
    if not NAME.fullmatch(name):
        raise UsageError(f"invalid project name {name!r}: use a-z, 0-9, - and _, starting with a letter or digit")
    if len(name) > NAME_LIMIT:
        raise UsageError(f"project name {name!r} is too long: use at most {NAME_LIMIT} characters")
    return name


def check_environment(name: str) -> str:
    """Return `name` if it is a valid environment; raise UsageError."""
    if not ENVIRONMENT.fullmatch(name):
        raise UsageError(f"invalid environment {name!r}: use a-z, 0-9, - and _, starting with a letter")
    return name


def check_branch(name: str) -> str:
    """Return `name` if it is a valid name of a branch to deploy; raise UsageError."""
    if not BRANCH.fullmatch(name) or re.search(r"\.\.|//|/\.|\.lock(/|$)|[/.]$", name):
        raise UsageError(f"invalid branch name {name!r}")
    return name


def install_stems(names: list[str]) -> list[str]:
    """Return the stems of the install SLS among the file names of .salt, in the order they run."""
    stems = sorted(name[: -len(".sls")] for name in names if name.endswith(".sls"))
    return [stem for stem in stems if stem not in PROCEDURES and not stem.startswith("task_")]


def task_names(names: list[str]) -> list[str]:
    """Return the tasks among the file names of .salt."""
    return sorted(n[len("task_") : -len(".sls")] for n in names if n.startswith("task_") and n.endswith(".sls"))
