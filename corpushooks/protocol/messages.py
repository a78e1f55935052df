"""What is said over the daemon's socket: a request in one line of JSON, then lines of JSON in answer. Values only.

The first line of each side has the version of the protocol as `v`. Fields that are added later have defaults, so that a
caller who is older is served; one who is newer could mean something that is not understood, and is told so. The
callers are git's hook, the command, and what sshd starts.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeVar, get_type_hints

from corpushooks.core import records
from corpushooks.core.errors import RefusedError, UsageError
from corpushooks.protocol.answers import VERSION
from corpushooks.protocol.asks import LONG, RAW

T = TypeVar("T")

NUMBER_LIMIT = 1 << 62  # what a store or a file takes
RESTART = "on the host, restart the daemon: systemctl restart corpushooks"


@dataclass(frozen=True)
class Asked:
    """A request as it came: a mapping of which nothing is believed until it is read as what its operation asks."""

    values: dict[str, Any]
    text: int = 64 << 10  # characters of a field

    @property
    def name(self) -> str:
        """The operation that is asked for; raise what `version` raises."""
        self.check_version()
        return str(self.values.get("op"))

    @property
    def admission(self) -> str:
        """What shows that sshd let the caller in, or nothing."""
        return str(self._checked("admission", self.values.get("admission", ""), raw=False, long=False, kind=str))

    @property
    def bearer(self) -> str | None:
        """The token that is presented, which may be empty; None: the caller is its account, or an admission."""
        if "bearer" not in self.values:
            return None
        return str(self._checked("bearer", self.values["bearer"], raw=False, long=False, kind=str))

    def check_version(self) -> None:
        """Raise RefusedError for a caller that is newer than we are, UsageError if its version is none."""
        version = self.values.get("v", 0)
        if type(version) is not int or version < 0:
            raise not_understood("v")
        if version > VERSION:
            raise RefusedError(
                f"the caller is newer than the daemon: it speaks version {version} of the protocol, not {VERSION}",
                hint=RESTART,
            )

    def unknown(self) -> UsageError:
        """Return what is said of an operation that there is not."""
        version = self.values.get("v", 0)
        if version == VERSION:
            return not_understood()
        return UsageError(
            f"the caller is older than the daemon: it speaks version {version} of the protocol, not {VERSION}",
            hint="run it again, from the version that is installed",
        )

    def typed(self, kind: type[T]) -> T:
        """Return what is asked; raise UsageError for a field that is missing or not of its type."""
        found, types = {}, get_type_hints(kind)
        for each in fields(kind):  # type: ignore[arg-type]
            if each.name in self.values:
                how = {"raw": each.metadata.get(RAW, False), "long": each.metadata.get(LONG, False)}
                value = self._checked(each.name, self.values[each.name], **how)
                found[each.name] = _converted(each.name, value, types[each.name])
            elif each.default is MISSING:
                raise not_understood(each.name)
        return kind(**found)

    def _checked(self, key: str, value: Any, *, raw: bool, long: bool, kind: type = object) -> Any:
        """Return a value of which every text can be written and every number stored; raise UsageError."""
        if not isinstance(value, kind):
            raise not_understood(key)
        size, left = 0, [value]
        while left:
            each = left.pop()
            if isinstance(each, str):
                size += len(each)
                _check_text(key, each, "surrogateescape" if raw else "strict")
            elif isinstance(each, list):
                left += each
            elif isinstance(each, int) and not 0 <= each < NUMBER_LIMIT:
                raise not_understood(key)
        if size > self.text and not long:
            raise UsageError(f"the request is too long: {key}")
        return value


def _converted(key: str, value: Any, kind: Any) -> Any:
    try:
        return records.typed(value, kind)
    except ValueError:
        raise not_understood(key) from None


def _check_text(key: str, text: str, errors: str) -> None:
    """Refuse what cannot be written as bytes: what git hands us need not be UTF-8, but has no NUL."""
    try:
        if b"\0" not in text.encode("utf-8", errors):
            return
    except UnicodeEncodeError:
        pass
    raise not_understood(key)


def not_understood(what: str = "") -> UsageError:
    return UsageError("the request is not understood" + (f": {what}" if what else ""))
