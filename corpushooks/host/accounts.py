"""The door to the accounts of a project: its user, its groups, and its own ssh key."""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import re
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from corpushooks.core.command import Account
from corpushooks.core.errors import ProcessError, RefusedError
from corpushooks.core.hints import command
from corpushooks.core.project import Host, Project
from corpushooks.core.rights import USER
from corpushooks.system import disk
from corpushooks.system.process import run

KEY = "id_ed25519"
ACCOUNT = r"[a-z_][a-z0-9_-]{0,31}"  # a name of a user or a group
PUBLIC_LIMIT = 4096  # bytes


def make(project: Project, account: str) -> list[str]:
    """Create the system user and groups of a project, as root on a real host; return what was created, or why not.

    `account` is the one of ssh, and becomes a member of the group that can push.
    """
    if project.host.embedded or os.geteuid() != 0:
        return ["system users are not created: not root, or a host in a folder"]
    made: list[str] = []
    for name in (project.group, project.deploy_group):
        if not _exists(grp.getgrnam, name):
            run(["groupadd", "--system", name])
            made.append(f"group {name}")
    if not _exists(pwd.getpwnam, project.user):
        _add_user(project, project.user, project.group)
        made.append(f"user {project.user}")
    if _exists(pwd.getpwnam, account) and account not in grp.getgrnam(project.deploy_group).gr_mem:
        run(["usermod", "--append", "--groups", project.deploy_group, account])
        made.append(f"{account} in group {project.deploy_group}")
    return made


def make_groups(host: Host, names: Iterable[str]) -> list[str]:
    """Create the missing groups that a cfg names, without members; return errors.

    An existing group is used as it is: a project cannot add members to groups of the host.
    """
    if host.embedded or os.geteuid() != 0:
        return []
    wrong = []
    for name in names:
        if not re.fullmatch(ACCOUNT, name):
            wrong.append(f"cannot create group {name!r}: invalid name")
        elif not _exists(grp.getgrnam, name):
            try:
                run(["groupadd", "--system", name])
            except ProcessError as exc:
                wrong.append(f"cannot create group {name}: {exc}")
    return wrong


def make_user(project: Project, user: str, group: str) -> list[str]:
    """Create the user that a cfg names if it is missing, as `make` does; return errors.

    An existing user is used as it is. One that `init` would create for another project is refused.
    """
    if project.host.embedded or os.geteuid() != 0 or _exists(pwd.getpwnam, user):
        return []
    if not re.fullmatch(ACCOUNT, user):
        return [f"cannot create user {user!r}: invalid name"]
    if user.endswith(USER):
        return [f"cannot create user {user}: the name is reserved for the project {user.removesuffix(USER)}"]
    try:
        _add_user(project, user, group)
    except ProcessError as exc:
        return [f"cannot create user {user}: {exc}"]
    return []


def _add_user(project: Project, user: str, group: str) -> None:
    run(["useradd", "--system", "--gid", group, "--home-dir", project.dir, "--no-create-home", "--shell", "/bin/bash",
         user])  # fmt: skip


def _exists(lookup: object, name: str) -> bool:
    try:
        lookup(name)  # type: ignore[operator]
    except KeyError:
        return False
    return True


def group_id(host: Host, group: str) -> int | None:
    """Return the gid of a group to share with; None if we cannot change groups, or it does not exist."""
    if host.embedded or os.geteuid() != 0 or not _exists(grp.getgrnam, group):
        return None
    return grp.getgrnam(group).gr_gid


def account_ids(host: Host, user: str, group: str) -> tuple[int | None, int | None]:
    """Return the uid and gid for files; None if we cannot change owners."""
    if host.embedded or os.geteuid() != 0:
        return None, None
    try:
        return pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid
    except KeyError:
        return None, None


def names(uids: Iterable[int], gids: Iterable[int]) -> dict[str, dict[str, str]]:
    """Return the names of users and groups by id (as text), without ids that have no name."""
    users, groups = {}, {}
    for uid in uids:
        with contextlib.suppress(KeyError):
            users[str(uid)] = pwd.getpwuid(uid).pw_name
    for gid in gids:
        with contextlib.suppress(KeyError):
            groups[str(gid)] = grp.getgrgid(gid).gr_name
    return {"users": users, "groups": groups}


def here(named: Mapping[str, Mapping[str, str]]) -> Callable[[int, int], tuple[int, int]]:
    """Return a function that maps ids of another host, from its `names`, to the ids here."""
    users, groups = named.get("users", {}), named.get("groups", {})

    def owner(uid: int, gid: int) -> tuple[int, int]:
        own = (uid, gid)
        with contextlib.suppress(KeyError):
            own = (pwd.getpwnam(users[str(uid)]).pw_uid, own[1])
        with contextlib.suppress(KeyError):
            own = (own[0], grp.getgrnam(groups[str(gid)]).gr_gid)
        return own

    return owner


def of_application(project: Project) -> Account:
    """Return the account that commands of a project run as: its user, or our own if we cannot change users.

    Raise RefusedError if the user does not exist.
    """
    if project.host.embedded or os.geteuid() != 0:
        own = pwd.getpwuid(os.geteuid())
        return Account(own.pw_name, own.pw_dir, own.pw_shell)
    hint = command("init", project.name)
    try:
        found = pwd.getpwnam(project.user)
    except KeyError:
        raise RefusedError(f"the account {project.user} does not exist", hint=hint) from None
    groups = os.getgrouplist(project.user, found.pw_gid)
    if found.pw_uid == 0 or 0 in groups:
        raise RefusedError(f"{project.user} has the rights of root", hint=f"check: id {project.user}")
    return Account(project.user, found.pw_dir, found.pw_shell, found.pw_uid, found.pw_gid, tuple(groups))


def make_key(project: Project, fqdn: str) -> str:
    """Create or repair the ssh key pair of a project's user, in its home; return the public key. Raise RefusedError.

    The folder belongs to that user, who is not trusted, so no link in it is followed.
    """
    home, owner = project.dir / ".ssh", account_ids(project.host, project.user, project.group)
    if not home.exists():
        with tempfile.TemporaryDirectory(prefix=".ssh-", dir=project.dir) as folder:
            made = Path(folder) / "made"
            made.mkdir()
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"{project.user}@{fqdn}", "-f", made / KEY])
            disk.flush_folder(made)
            made.rename(home)
    try:
        with _opened(home, None) as folder_fd:
            _set_owner(folder_fd, 0o700, owner)
            with _opened(KEY, folder_fd) as private, _opened(f"{KEY}.pub", folder_fd) as public:
                _set_owner(private, 0o600, owner)
                _set_owner(public, 0o644, owner)
                return os.read(public, PUBLIC_LIMIT).decode("utf-8", "replace").strip()
    except OSError as exc:
        raise RefusedError(f"{home} has no valid key pair: {exc}", f"check it, then: rm -r {home}") from exc


@contextmanager
def _opened(path: Path | str, folder: int | None) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        st = os.fstat(descriptor)
        if not (stat.S_ISREG(st.st_mode) and st.st_nlink == 1) and not (folder is None and stat.S_ISDIR(st.st_mode)):
            raise OSError(errno.EINVAL, "not a plain file", str(path))
        yield descriptor
    finally:
        os.close(descriptor)


def _set_owner(descriptor: int, mode: int, owner: tuple[int | None, int | None]) -> None:
    uid, gid = owner
    if uid is not None and gid is not None:
        os.fchown(descriptor, uid, gid)
    os.fchmod(descriptor, mode)
