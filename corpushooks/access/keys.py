"""ssh keys and their rights. Values only.

A key is written in the format of sshd (sshd(8), AUTHORIZED_KEYS FILE FORMAT); its rights are ours.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from corpushooks.core.errors import RefusedError, UsageError
from corpushooks.core.hints import Hint, command
from corpushooks.core.rights import ALONE, GRANTED, HOST, NODE, OBJECTS, PUSH, READ, Grant, includes

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
PRINCIPAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]*")
KINDS = frozenset({
    "ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa",
    "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com",
})  # fmt: skip
RSA_BITS = 2048  # at least
CERTIFICATE = "-cert-v01@openssh.com"
PARTS_BEFORE_SERIAL = {"ssh-rsa": 2, "ssh-ed25519": 1}  # of a public key in a certificate; others 2, sk-ecdsa 3
DAY = 86400.0
TOKEN, ACCOUNT = "token", "account"  # in the place of a kind of key: a token for the API, a person who signed in,
MASTER = "salt-master"  # and a controller that comes by its Salt master, whose fingerprint is in the place of a key


@dataclass(frozen=True)
class Key:
    """A public key and its rights. The key of an authority applies to every certificate that it signed.

    A key of a directory has that as its `source`, the time it was last `seen` there, belongs to a `person`, and can
    have `more` than one right, from several groups.
    """

    name: str
    kind: str
    blob: str  # base64
    right: str = PUSH
    projects: tuple[str, ...] = ()  # empty: all
    expires: float | None = None  # seconds since the epoch
    authority: bool = False
    principals: tuple[str, ...] = ()  # that are accepted in a certificate; empty: the account's name
    added: float = 0.0
    by: str = ""
    source: str = ""  # empty: added by hand
    seen: float | None = None
    person: str = ""
    more: tuple[Grant, ...] = ()

    @property
    def who(self) -> str:
        """Return the name shown with deployments of this key."""
        return self.person or self.name

    @property
    def is_token(self) -> bool:
        return self.kind == TOKEN

    @property
    def is_account(self) -> bool:
        return self.kind == ACCOUNT

    @property
    def is_controller(self) -> bool:
        """Whether it belongs to a controller, whose node this host is."""
        return self.right == NODE

    @property
    def is_master(self) -> bool:
        """Whether a controller comes by its Salt master, not over ssh."""
        return self.kind == MASTER

    @property
    def is_node(self) -> bool:
        """Whether it belongs to a node of this controller, which is its `person`."""
        return self.right == OBJECTS

    @property
    def least(self) -> str:
        """The right without which a key opens nothing."""
        return self.right if self.right in ALONE else READ

    @property
    def grants(self) -> tuple[Grant, ...]:
        return (Grant(self.right, self.projects), *self.more)

    @property
    def may(self) -> str:
        """Return the rights of this key, for people."""
        return "; ".join(map(str, self.grants))

    @property
    def told(self) -> dict[str, str]:
        """Return the changeable properties of a key, for people."""
        return {
            "rights": self.may,
            "expiry": f"{day(self.expires)} UTC" if self.expires else "none",
            "principals": " ".join(self.principals) or "the account",
            "source": self.source or "added by hand",
        }

    @property
    def fingerprint(self) -> str:
        return self.blob if self.is_master else fingerprint(self.blob)

    @property
    def mark(self) -> str:
        """Return an id of this key, to distinguish it from earlier and later keys with the same name."""
        return hashlib.sha256(self.blob.encode()).hexdigest()[:32]

    def refusal(self, right: str, project: str = "", now: float | None = None) -> str:
        """Return why this key lacks a right (on a project), or nothing."""
        if self.expires is not None and self.expires <= (time.time() if now is None else now):
            return f"it expired on {day(self.expires)}"
        rights = [grant.right for grant in self.grants if grant.covers(project)]
        if not rights:
            return (
                f"it is limited to {' '.join(dict.fromkeys(name for grant in self.grants for name in grant.projects))}"
            )
        if any(includes(each, right) for each in rights):
            return ""
        return f"it has the right {max(rights, key=GRANTED.index)}, not {right}"

    def line(self, command: Sequence[str], account: str) -> str:
        """Return this key as a line for sshd: it can only run `command`, with a terminal to show progress.

        Without principals, the name of the `account` is used: sshd would otherwise accept certificates without any.
        """
        words = " ".join(command).replace("\\", "\\\\").replace('"', '\\"')
        options = ["restrict", "pty", f'command="{words}"']
        if self.expires is not None:
            end = time.strftime("%Y%m%d%H%M%S", time.localtime(self.expires))  # only newer versions support UTC
            options.append(f'expiry-time="{end}"')
        if self.authority:
            options.append("cert-authority")
            options.append(f'principals="{",".join(self.principals or (account,))}"')
        return f"{','.join(options)} {self.kind} {self.blob} {self.name}"


def parse(text: str) -> tuple[str, str, str]:
    """Return type, base64 and comment of the only public key in a text; raise UsageError."""
    if "PRIVATE KEY" in text:
        raise UsageError("expected a public key, got a private key", hint="use the file that ends in .pub")
    lines = [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]
    if len(lines) != 1:
        raise UsageError(f"expected one public key, found {len(lines)}", hint="to create one: ssh-keygen -t ed25519")
    kind, _, rest = lines[0].partition(" ")
    blob, _, comment = rest.strip().partition(" ")
    if kind.endswith(CERTIFICATE):
        raise UsageError(
            "expected a public key, got a certificate", hint="add the key of the authority with --authority"
        )
    if kind not in KINDS:
        raise UsageError(f"unsupported key type {kind[:40]!r}", hint=f"supported: {' '.join(sorted(KINDS))}")
    _check_blob(kind, blob)
    return kind, blob, comment.strip()


def _check_blob(kind: str, blob: str) -> None:
    try:
        parts = fields(base64.b64decode(blob, validate=True))
    except (binascii.Error, ValueError, struct.error):
        parts = []
    if len(parts) < 2 or parts[0] != kind.encode():
        raise UsageError("the public key is damaged or incomplete", hint="to check it: ssh-keygen -l -f FILE")
    if kind == "ssh-rsa" and int.from_bytes(parts[2] if len(parts) > 2 else b"", "big").bit_length() < RSA_BITS:
        raise UsageError(f"the RSA key is too short: use at least {RSA_BITS} bits", hint="ssh-keygen -t ed25519")


def is_key(kind: str, blob: str) -> bool:
    """Return whether this is a supported public key."""
    try:
        return parse(f"{kind} {blob}") == (kind, blob, "")
    except UsageError:
        return False


def fields(data: bytes) -> list[bytes]:
    """Return the strings in a key; raise ValueError (RFC 4251, section 5)."""
    found, place = [], 0
    while place < len(data):
        (size,) = struct.unpack_from(">I", data, place)
        if place + 4 + size > len(data):
            raise ValueError("shorter than declared")
        found.append(data[place + 4 : place + 4 + size])
        place += 4 + size
    return found


def certified(kind: str, blob: str) -> tuple[str, str]:
    """Return the key id of a certificate and its authority's key; nothing if it is unreadable.

    sshd checks whether the certificate is valid. Source: PROTOCOL.certkeys of OpenSSH.
    """
    plain = kind.removesuffix(CERTIFICATE)
    keys = PARTS_BEFORE_SERIAL.get(plain, 3 if plain.startswith("sk-ecdsa") else 2)
    try:
        data = base64.b64decode(blob, validate=True)
        place = _after(data, 0, 2 + keys) + 8 + 4  # past kind, nonce, key, serial and type
        name, place = _string(data, place)
        place = _after(data, place, 1) + 16  # past the principals and the two times
        authority, _ = _string(data, _after(data, place, 3))  # past options, extensions and a reserved field
    except (binascii.Error, ValueError, struct.error):
        return "", ""
    return name.decode("utf-8", "replace"), base64.b64encode(authority).decode()


def _string(data: bytes, place: int) -> tuple[bytes, int]:
    (size,) = struct.unpack_from(">I", data, place)
    if place + 4 + size > len(data):
        raise ValueError("shorter than declared")
    return data[place + 4 : place + 4 + size], place + 4 + size


def _after(data: bytes, place: int, count: int) -> int:
    for _ in range(count):
        _, place = _string(data, place)
    return place


def fingerprint(blob: str) -> str:
    """Return the fingerprint of a key as in ssh-keygen -l."""
    digest = hashlib.sha256(base64.b64decode(blob)).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


# changes to a registered key

ANY = ""  # in levels: every other project


def levels(key: Key) -> dict[str, int]:
    """Return the rights of a key as their index in GRANTED, by project and by ANY."""
    found: dict[str, int] = {}
    for grant in key.grants:
        for project in grant.projects or (ANY,):
            found[project] = max(found.get(project, -1), GRANTED.index(grant.right))
    return found


def with_levels(key: Key, found: Mapping[str, int]) -> Key:
    """Return a key with exactly the rights of `found`."""
    general = found.get(ANY, -1)
    grants = [Grant(GRANTED[general])] if general >= 0 else []
    for place, right in enumerate(GRANTED):
        if names := tuple(name for name, level in found.items() if name and level == place > general):
            grants.append(Grant(right, names))
    return replace(key, right=grants[0].right, projects=grants[0].projects, more=tuple(grants[1:]))


def gained(old: Key, new: Key) -> Key:
    """Return a registered key with the additional rights of `new`; raise RefusedError if it would lose any."""
    had, given = levels(old), levels(new)
    if old.right != new.right and (alone := {old.right, new.right} & set(ALONE)):
        raise RefusedError(f"the key {old.name} has: {old.may}; the right {min(alone)} goes with no other right",
                           hint=Hint(command("key", "remove", old.name), ", then add it again"))  # fmt: skip
    _refuse_loss(old, new, had, given)
    if old.source:
        return new
    both = {name: max(had.get(name, -1), given.get(name, -1)) for name in {**had, **given}}
    principals = tuple(dict.fromkeys((*old.principals, *new.principals)))
    return with_levels(replace(old, expires=new.expires or old.expires, principals=principals, by=new.by), both)


def _refuse_loss(old: Key, new: Key, had: Mapping[str, int], given: Mapping[str, int]) -> None:
    """Refuse changes that `key add` cannot make: removing rights, or extending a limited key to every project."""
    name, change = old.name, ("key", "set", old.name)
    named = [word for each in new.projects or () for word in ("--project", each)]
    everything = command(*change, f"--{new.right}", *(named or ["--every-project"]))
    if old.authority != new.authority:
        raise RefusedError(f"the key {name} is {'' if old.authority else 'not '}registered as an authority",
                           hint=Hint(command("key", "remove", name), ", then add it again"))  # fmt: skip
    if old.source and any(given.get(each, given.get(ANY, -1)) < level for each, level in had.items()):
        raise RefusedError(f"the key {name} has more rights from the directory: {old.may}", hint=everything)
    if ANY in given and ANY not in had:
        raise RefusedError(f"no project given, but the key {name} is limited to some: {old.may}", everything)
    if new.principals and not old.principals and old.authority:
        words = [word for each in new.principals for word in ("--principal", each)]
        raise RefusedError(f"the key {name} accepts the account's principal", hint=command(*change, *words))
    if new.expires and not old.source and (old.expires is None or new.expires < old.expires):
        end = f"expires on {old.told['expiry']}" if old.expires else "does not expire"
        raise RefusedError(f"the key {name} {end}, with all its rights: {old.may}",
                           hint=command(*change, "--expires", last_day(new.expires)))  # fmt: skip


def last_day(end: float) -> str:
    """Return the date that `expiry` parses to this time."""
    return time.strftime("%Y-%m-%d", time.gmtime(end - 1))


def check_key_name(name: str) -> str:
    """Return `name` if it is a valid key name; raise UsageError."""
    if not NAME.fullmatch(name):
        raise UsageError(f"invalid key name {name!r}: use letters, digits and . _ @ + -, at most 64")
    return name


def check_grants(key: Key) -> None:
    """Raise UsageError if a key has a right on single projects that applies to the whole host."""
    for grant in key.grants:
        if grant.right in (HOST, *ALONE) and grant.projects:
            raise UsageError(f"the right {grant.right} applies to the whole host, not to projects", "omit --project")


def check_within(own: Key, given: Key) -> None:
    """Raise RefusedError if a key would get rights that the granting key lacks, or for longer."""
    had = levels(own)
    for project, level in levels(given).items():
        if level > max(had.get(project, -1), had.get(ANY, -1)):
            on = project or "every project"
            raise RefusedError(f"you cannot grant {GRANTED[level]} on {on}: your key has {own.may}")
    if own.expires is not None and (given.expires is None or given.expires > own.expires):
        until = command("key", "set", given.name, "--expires", last_day(own.expires))
        raise RefusedError(f"a key cannot outlast yours, which expires on {own.told['expiry']}", until)


def check_principals(names: Sequence[str]) -> tuple[str, ...]:
    """Return principals without duplicates; raise UsageError."""
    for name in names:
        if not PRINCIPAL.fullmatch(name):
            raise UsageError(f"invalid principal {name!r}: use letters, digits and . _ @ + -")
    return tuple(dict.fromkeys(names))


def expiry(text: str, now: float) -> float:
    """Return when a key expires: 30d from now, or at the end of a date (UTC); raise UsageError."""
    if found := re.fullmatch(r"(\d{1,5})d", text):
        return now + int(found[1]) * DAY
    try:
        end = _midnight(text) + DAY
    except (ValueError, OverflowError):
        raise UsageError(f"invalid expiry {text!r}", hint="use a date like 2030-12-31, or days like 90d") from None
    if end <= now:
        raise UsageError(f"expiry date {text} is in the past", hint="use a future date")
    return end


def ago(text: str, now: float) -> float:
    """Return when something begins: 30d before now, or at the beginning of a date (UTC); raise UsageError."""
    if found := re.fullmatch(r"(\d{1,5})d", text):
        return now - int(found[1]) * DAY
    try:
        return _midnight(text)
    except (ValueError, OverflowError):
        raise UsageError(f"invalid day {text!r}", hint="use a date like 2030-12-31, or days like 90d") from None


def _midnight(text: str) -> float:
    """Return when a date begins (UTC); raise ValueError or OverflowError."""
    from calendar import timegm  # here: it takes half a megabyte, and the daemon seldom needs it

    return float(timegm(time.strptime(text, "%Y-%m-%d")))


def day(when: float) -> str:
    """Return a time for people, UTC."""
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(when))
