"""The door to a directory (LDAP): who has an ssh key or a password, and their groups. The only user of ldap3.

A directory answers completely, or DoorError is raised. Import this only if a directory is used: without ldap3 that
raises ConfigError.
"""

from __future__ import annotations

import dataclasses
import math
import os
import queue
import re
import ssl
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from corpushooks.core.directory import Directory
from corpushooks.core.errors import ConfigError, CorpusError, DoorError, RefusedError
from corpushooks.core.text import one_line
from corpushooks.system import distribution

try:
    import ldap3
    from ldap3.core.exceptions import LDAPException, LDAPInvalidCredentialsResult, LDAPOperationResult
    from ldap3.utils.conv import escape_filter_chars as escaped
except ImportError as exc:
    raise ConfigError("ldap requires the library ldap3", distribution.completing(), ("auth",)) from exc

T = TypeVar("T")
PAGE = 500  # entries of one result page
MORE = "1.2.840.113556.1.4.319"  # the control for paged results (RFC 2696)
PASSWORD_LIMIT = 4096


@dataclass(frozen=True)
class Person:
    """The owner of a key, and the cn of their groups."""

    uid: str
    groups: tuple[str, ...]


def find(where: Directory, kind: str, blob: str) -> Person | None:
    """Return the owner of a public key, or None if the directory has none.

    Raise RefusedError if the answer is not acceptable, DoorError if there is none, ConfigError if the settings are
    wrong.
    """
    password = _password(where)

    def ask() -> Person | None:
        with _connected(where, password) as link:
            return _person(where, link, kind, blob)

    return _with_timeout(where.timeout, f"the directory {where.uri}", ask)


def check(where: Directory) -> str:
    """Test the directory; return the error, or nothing."""
    try:
        password = _password(where)

        def ask() -> None:
            with _connected(where, password) as link:
                for base in (where.base, where.group_base or where.base):
                    _search(link, base, "(objectClass=*)", "1.1", scope=ldap3.BASE)
                if not _people(where, link, f"({where.key}=*)", "1.1", limit=1):
                    raise DoorError(f"the directory {where.uri} has no entry with {where.key} and {where.filter}")

        _with_timeout(where.timeout, f"the directory {where.uri}", ask)
    except CorpusError as exc:
        return exc.message
    return ""


@dataclass(frozen=True)
class Prepared:
    """A directory, and what only root can read of its settings."""

    where: Directory
    password: str | None
    tls: ldap3.Tls


def prepared(where: Directory) -> Prepared:
    """Read what is needed to ask a directory later, with fewer rights."""
    return Prepared(where, _password(where), _tls(where))


def sign_in(door: Prepared, name: str, password: str) -> Person | None:
    """Return whose name and password these are, or None.

    An empty password is refused: a directory takes it for a bind without a name, which succeeds (RFC 4513, 5.1.2).
    """
    if not name or not password:
        return None
    where = door.where

    def ask() -> Person | None:
        with _connected(where, door.password, door.tls) as link:
            entry = _named(where, link, name)
            if entry is None or not _opens(door, entry.dn, password):
                return None
            return _of_entry(where, link, entry)

    return _with_timeout(where.timeout, f"the directory {where.uri}", ask)


def by_name(where: Directory, name: str) -> Person | None:
    """Return the person with a name and their groups now, or None."""
    password = _password(where)

    def ask() -> Person | None:
        with _connected(where, password) as link:
            entry = _named(where, link, name)
            return _of_entry(where, link, entry) if entry else None

    return _with_timeout(where.timeout, f"the directory {where.uri}", ask)


def _opens(door: Prepared, dn: str, password: str) -> bool:
    """Return whether an entry has a password."""
    try:
        with _connected(dataclasses.replace(door.where, bind_dn=dn), password, door.tls) as link:
            return bool(link.bound)
    except LDAPInvalidCredentialsResult:
        return False


def _named(where: Directory, link: ldap3.Connection, name: str) -> Entry | None:
    """Return the only entry of a person with a name; two are as good as none."""
    found = _people(where, link, f"({where.uid}={escaped(name)})", where.uid)
    return found[0] if len(found) == 1 and found[0].dn and found[0].texts(where.uid) else None


def _with_timeout(seconds: float, what: str, ask: Callable[[], T]) -> T:
    """Ask with a total timeout: the library limits single answers only, and has no limit for name lookups."""
    said: queue.SimpleQueue[Callable[[], T]] = queue.SimpleQueue()

    def work() -> None:
        try:
            found = ask()
            said.put(lambda: found)
        except (LDAPException, OSError) as exc:
            wrong = DoorError(f"{what}: {_one_line_error(exc)}")
            said.put(lambda: _fail(wrong))
        except CorpusError as exc:
            known = exc
            said.put(lambda: _fail(known))

    threading.Thread(target=work, daemon=True).start()
    try:
        return said.get(timeout=seconds)()
    except queue.Empty:
        raise DoorError(f"{what} did not answer within {seconds:g} s") from None


def _fail(exc: CorpusError) -> Any:
    raise exc


def _one_line_error(exc: Exception) -> str:
    """Return the error of the library in one line: some of its exceptions contain nested tuples."""
    if isinstance(exc, LDAPOperationResult):
        return one_line(" ".join(filter(None, (exc.description, exc.message))))
    return one_line(re.sub(r"""^\((['"])(.*)\1,\)$""", r"\2", str(exc)))


@contextmanager
def _connected(where: Directory, password: str | None, tls: ldap3.Tls | None = None) -> Iterator[ldap3.Connection]:
    """Yield a bound connection, over TLS unless it is local."""
    seconds = math.ceil(where.timeout)
    server = ldap3.Server(where.uri, get_info=ldap3.NONE, tls=tls or _tls(where), connect_timeout=seconds)
    link = ldap3.Connection(
        server, where.bind_dn, password, receive_timeout=seconds, raise_exceptions=True, read_only=True,
        check_names=False, auto_referrals=False, auto_bind=ldap3.AUTO_BIND_NONE,
    )  # fmt: skip
    try:
        link.open()
        if where.starttls and where.uri.startswith("ldap://"):
            link.start_tls(read_server_info=False)
        link.bind()
        yield link
    finally:
        with suppress(LDAPException, OSError):
            link.unbind()
        if link.socket:  # the library leaves it open if a connection fails halfway
            link.socket.close()


def _tls(where: Directory) -> ldap3.Tls:
    """Return settings for TLS with Python's defaults, which verify the certificate and the host name."""
    if where.ca_file and not os.access(where.ca_file, os.R_OK):
        raise ConfigError(f"cannot read {where.ca_file}", where=("ldap.ca_file",))

    context = ssl.create_default_context(cafile=where.ca_file)

    class Verified(ldap3.Tls):
        def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:
            connection.socket = context.wrap_socket(connection.socket, server_hostname=connection.server.host)

    return Verified(validate=ssl.CERT_REQUIRED)


def _password(where: Directory) -> str | None:
    """Return the password of the account to bind as; refuse one that others can read."""
    if where.bind_password_file is None:
        return None
    path = where.bind_password_file
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            password = file.read(PASSWORD_LIMIT).decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"cannot read the password: {exc}", where=(str(path),)) from exc
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO) or found.st_uid not in (0, os.geteuid()):
        raise ConfigError("the password is readable by others", f"chown root {path}; chmod 600 {path}", (str(path),))
    if not password:
        raise ConfigError("the file has no password", where=(str(path),))
    return password


# queries


@dataclass(frozen=True)
class Entry:
    """An entry of the directory."""

    dn: str
    values: dict[str, list[bytes]]  # by attribute, in lower case

    def texts(self, attribute: str) -> list[str]:
        return [value.decode("utf-8", "replace") for value in self.values.get(attribute.lower(), [])]


def _person(where: Directory, link: ldap3.Connection, kind: str, blob: str) -> Person | None:
    holders = [entry for entry in _candidates(where, link, kind, blob) if _has_key(where, entry, kind, blob)]
    if not holders:
        return None
    if len(holders) > 1:
        names = "; ".join(sorted(entry.dn for entry in holders))
        raise RefusedError(f"the ssh key is in {len(holders)} entries, expected one: {names}")
    (entry,) = holders
    return _of_entry(where, link, entry)


def _of_entry(where: Directory, link: ldap3.Connection, entry: Entry) -> Person:
    """Return the person of an entry, with their groups."""
    uids = sorted(entry.texts(where.uid))
    if not uids:
        raise RefusedError(f"{entry.dn} has an ssh key but no {where.uid}")
    about = {"{uid}": uids[0], "{dn}": entry.dn}
    wanted = re.sub(r"\{uid\}|\{dn\}", lambda found: escaped(about[found[0]]), where.group_filter)
    groups = _search(link, where.group_base or where.base, wanted, "cn")
    return Person(uids[0], tuple(name for group in groups for name in group.texts("cn")))


def _candidates(where: Directory, link: ldap3.Connection, kind: str, blob: str) -> Iterator[Entry]:
    """Find the entries that possibly have a key.

    Many schemas do not support substring filters on keys (openssh-lpk has no SUBSTR rule): these then find nothing.
    Every key begins with AAAA, so a filter for that shows whether they are supported. If not, all entries are read.
    """
    attributes = (where.key, where.uid)
    line, part = escaped(f"{kind} {blob}"), escaped(blob)
    yield from (found := _people(where, link, f"(|({where.key}={line})({where.key}=*{part}*))", *attributes))
    if not found and not _people(where, link, f"({where.key}=*AAAA*)", "1.1", limit=1):
        yield from _people(where, link, f"({where.key}=*)", *attributes)


def _people(where: Directory, link: ldap3.Connection, about: str, *attributes: str, limit: int = 0) -> list[Entry]:
    return _search(link, where.base, f"(&{where.filter}{about})", *attributes, limit=limit)


def _has_key(where: Directory, entry: Entry, kind: str, blob: str) -> bool:
    """Return whether an entry has a key, with an optional comment. A key with options before it does not count."""
    return any(line.split()[:2] == [kind, blob] for line in entry.texts(where.key))


def _search(
    link: ldap3.Connection, base: str, wanted: str, *names: str, scope: Any = ldap3.SUBTREE, limit: int = 0
) -> list[Entry]:
    """Return all entries that match a filter, or at most `limit`; raise DoorError if the result is incomplete."""
    found: list[Entry] = []
    page: Any = None
    while True:
        link.search(
            base, wanted, scope, attributes=list(names), size_limit=limit, paged_size=None if limit else PAGE,
            paged_cookie=page,
        )  # fmt: skip
        found += [_entry(each) for each in link.response or [] if each["type"] == "searchResEntry"]
        if limit and found:
            return found[:limit]
        if link.result["result"] != 0:  # not all of these raise
            raise DoorError(f"the answer of the directory is incomplete: {link.result['description']}")
        page = link.result.get("controls", {}).get(MORE, {}).get("value", {}).get("cookie")
        if not page:
            return found


def _entry(said: dict[str, Any]) -> Entry:
    return Entry(said["dn"], {name.lower(): list(values) for name, values in said["raw_attributes"].items()})
