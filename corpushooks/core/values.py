"""Frozen dataclasses that are defined in a tenth of the time and memory: for modules with dozens of them.

`dataclasses` writes six methods for each class and compiles them. These share theirs, which take longer to run.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(*, frozen: bool, kw_only: bool = False) -> Any:
        """Do what the decorator of `dataclasses` does, for classes without __post_init__."""
        assert frozen

        def made(cls: type[Any]) -> type[Any]:
            cls.__doc__ = cls.__doc__ or cls.__name__  # else it would be made from the signature
            kind = dataclasses.dataclass(init=False, repr=False, eq=False, kw_only=kw_only)(cls)
            for method in (__init__, __repr__, __eq__, __hash__, __setattr__, __delattr__):
                setattr(kind, method.__name__, method)
            return kind

        return made


def __init__(self: Any, *given: Any, **named: Any) -> None:
    kind = type(self)
    if given:
        names = kind.__match_args__  # those that can be given by position
        if len(given) > len(names) or not named.keys().isdisjoint(names[: len(given)]):
            raise TypeError(f"{kind.__qualname__}: too many positional arguments, or one is given twice")
        named.update(zip(names, given))  # noqa: B905 (fewer are given than there are)
    own, left = self.__dict__, len(named)
    for name, field in kind.__dataclass_fields__.items():
        if name in named:
            own[name] = named[name]
            left -= 1
        elif field.default is not dataclasses.MISSING:
            own[name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            own[name] = field.default_factory()
        else:
            raise TypeError(f"{kind.__qualname__}: missing argument {name!r}")
    if left:
        raise TypeError(f"{kind.__qualname__}: unexpected argument {next(iter(named.keys() - own.keys()))!r}")


def _values(value: Any) -> tuple[Any, ...]:
    return tuple(getattr(value, name) for name in type(value).__dataclass_fields__)


def __repr__(self: Any) -> str:
    shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in type(self).__dataclass_fields__)
    return f"{type(self).__qualname__}({shown})"


def __eq__(self: Any, other: object) -> Any:
    return _values(self) == _values(other) if type(self) is type(other) else NotImplemented


def __hash__(self: Any) -> int:
    return hash(_values(self))


def __setattr__(self: Any, name: str, value: Any) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def __delattr__(self: Any, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
