"""The requests of the daemon's protocol: one line of JSON, answered by lines of JSON. Values only.

The first line of each side has the version of the protocol as `v`. New fields have defaults, so that older callers are
served; newer ones are refused, since we could misunderstand them. The callers are git's hook, the command, and the
shell that sshd starts.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeVar, get_type_hints

from corpushooks.core import records
from corpushooks.core.errors import RefusedError, UsageError
from corpushooks.protocol.answers import VERSION
from corpushooks.protocol.asks import LONG, RAW

T = TypeVar("T")

NUMBER_LIMIT = 1 << 62  # for the store and files
RESTART = "on the host, restart the daemon: systemctl restart corpushooks"


@dataclass(frozen=True)
class Asked:
    """A request as it came: an unchecked mapping, until `typed` reads it as the fields of its operation."""

    values: dict[str, Any]
    text: int = 64 << 10  # characters of a field

    @property
    def name(self) -> str:
        """The requested operation; raise what `check_version` raises."""
        self.check_version()
        return str(self.values.get("op"))

    @property
    def admission(self) -> str:
        """The admission token of a session of ssh, or nothing."""
        return str(self._checked("admission", self.values.get("admission", ""), raw=False, long=False, kind=str))

    @property
    def bearer(self) -> str | None:
        """The token that is presented, which may be empty; None: the caller is its account, or an admission."""
        if "bearer" not in self.values:
            return None
        return str(self._checked("bearer", self.values["bearer"], raw=False, long=False, kind=str))

    @property
    def origin(self) -> str:
        """The address that somebody comes from, as the one says who relays them."""
        return str(self._checked("came_from", self.values.get("came_from", ""), raw=False, long=False, kind=str))[:64]

    def check_version(self) -> None:
        """Raise RefusedError if the caller is newer than we are, UsageError if its version is invalid."""
        version = self.values.get("v", 0)
        if type(version) is not int or version < 0:
            raise not_understood("v")
        if version > VERSION:
            raise RefusedError(
                f"the caller is newer than the daemon: it uses version {version} of the protocol, not {VERSION}",
                hint=RESTART,
            )

    def unknown(self) -> UsageError:
        """Return the error for an unknown operation."""
        version = self.values.get("v", 0)
        if version == VERSION:
            return not_understood()
        return UsageError(
            f"the caller is older than the daemon: it uses version {version} of the protocol, not {VERSION}",
            hint="run it again with the installed version",
        )

    def typed(self, kind: type[T]) -> T:
        """Return the request as a dataclass; raise UsageError for a missing field or a wrong type."""
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
        """Check that the texts of a value can be encoded, and its numbers stored; raise UsageError."""
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
            elif isinstance(each, (int, float)) and not 0 <= each < NUMBER_LIMIT:  # NaN neither
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
    """Check that a text can be encoded: text from git need not be UTF-8, but has no NUL."""
    try:
        if b"\0" not in text.encode("utf-8", errors):
            return
    except UnicodeEncodeError:
        pass
    raise not_understood(key)


def not_understood(what: str = "") -> UsageError:
    return UsageError("invalid request" + (f": {what}" if what else ""))
