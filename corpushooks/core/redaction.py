"""Remove secrets from text: the values in a pillar whose keys look secret. Values only.

A secret is hidden wherever its text occurs. One of fewer than six characters is not, since that would hide ordinary
words. Of a multi-line secret each line is hidden. Other forms of it (base64, a hash, another quoting) are not
recognised.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

MARK = "********"  # not even the length of a secret is shown
LEAST = 6  # characters of a secret
WIDTH = 8192  # characters of a line that are searched
PAIR = re.compile(r"""(?<![\w.-])([\w.-]+)['"]?\s*[:=]\s*(?=("[^"]*"|'[^']*'|[^\s,}\]][^,}\]]*)?)""")  # key: value
SIGILS = "!&*@%`|>"  # in YAML: tag, anchor, alias, block, or reserved
FLOW = re.compile(r"[\[\]{},]")
CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass
class Redactor:
    """The known secrets of one project: it learns them, and hides them."""

    words: tuple[str, ...] = ()  # parts of secret keys
    everything: bool = False  # every value of a pillar is secret
    values: frozenset[str] = frozenset()  # learnt by this one
    earlier: frozenset[str] = frozenset()  # learnt before
    _parts: tuple[str, ...] = field(init=False, repr=False)
    _forms: list[str] = field(default_factory=list, repr=False)  # the texts to hide, the longest first

    def __post_init__(self) -> None:
        self._parts = tuple(map(_normalized, self.words))

    def hides(self, key: object) -> bool:
        """Return whether the value of a key is secret."""
        name = _normalized(str(key))
        return any(part in name for part in self._parts)

    def learn(self, pillar: Mapping[str, Any]) -> None:
        """Learn the secrets of a compiled pillar."""
        self.know(self._values_under(pillar, self.everything))

    def learn_text(self, text: str) -> None:
        """Learn the secrets in the text of a pillar file, which need not compile."""
        self.know(bare for found in self._secrets_in_text(text) for bare in _unquoted_forms(found))

    def know(self, values: Iterable[str]) -> None:
        """Hide these values from now on."""
        new = {value for value in values if _is_long_enough(value)} - self.values
        if new:
            self.values |= new
            self._prepare()

    def recall(self, values: Iterable[str]) -> None:
        """Also hide values that were learnt earlier."""
        self.earlier |= frozenset(values)
        self._prepare()

    def _prepare(self) -> None:
        forms = {form for value in self.values | self.earlier for form in _forms(value)}
        self._forms = sorted(forms, key=lambda form: (-len(form), form))

    def redact(self, text: str) -> str:
        """Return a text without the secrets; repeatedly, since a mark can complete a secret with asterisks."""
        again = True
        while again:
            again = False
            for form in self._forms:
                if form in text:
                    text, again = text.replace(form, MARK), True
        return text

    def within(self, value: Any) -> Any:
        """Return a value with the secrets removed from every text in it, keys included."""
        if not self._forms:
            return value
        if isinstance(value, Mapping):
            return {self.within(key): self.within(inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.within(inner) for inner in value]
        text = str(value)
        redacted = self.redact(text)
        return value if redacted == text else redacted

    def masked(self, value: Any, hidden: bool = False) -> Any:
        """Return a configuration for people: the value of a secret key is masked, however short."""
        if isinstance(value, Mapping):
            return {key: self.masked(inner, hidden or self.hides(key)) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.masked(inner, hidden) for inner in value]
        return MARK if hidden and _is_plain_value(value) else self.within(value)

    def _values_under(self, value: Any, hidden: bool) -> Iterator[str]:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                yield from self._values_under(inner, hidden or self.hides(key))
        elif isinstance(value, (list, tuple)):
            for inner in value:
                yield from self._values_under(inner, hidden)
        elif hidden and _is_plain_value(value):
            yield str(value)

    def _secrets_in_text(self, text: str) -> Iterator[str]:
        """Yield the values of secret keys, and the indented lines below them."""
        below: int | None = None  # the indentation of the secret key above
        for line in (line[:WIDTH] for line in text.splitlines()):
            depth = len(line) - len(line.lstrip(" \t#-"))
            if not line.strip() or (below is not None and depth <= below):
                below = None if line.strip() else below
            if below is not None:
                yield line
            for pair in PAIR.finditer(line):
                secret = self.hides(pair[1])
                if secret or self.everything or below is not None:
                    yield from (pair[2] or "", line[pair.end(1) :].lstrip("'\" \t:="))
                if secret and below is None:
                    below = depth


def _normalized(key: str) -> str:
    """Return a key in the form that is compared: apiKey, API-KEY and api_key are the same."""
    return re.sub(r"[\W_]+", "_", CAMEL.sub("_", key)).lower()


def _is_plain_value(value: object) -> bool:
    return isinstance(value, (str, int, float)) and not isinstance(value, bool) and value != ""


def _is_long_enough(text: str) -> bool:
    """Return whether a text is long enough to be hidden; one of asterisks only would loop for ever."""
    return len(text.strip()) >= LEAST and bool(text.replace("*", "").strip())


def _forms(value: str) -> Iterator[str]:
    """Yield the forms of a value in a text: each of its lines, plain and as quoted by JSON, repr and YAML."""
    for text in {value.strip(), *(line.strip() for line in value.splitlines())}:
        if _is_long_enough(text):
            yield from (text, text.replace("'", "''"), repr(text)[1:-1])
            yield from (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])


def _unquoted_forms(found: str) -> set[str]:
    """Return the possible values of a text in YAML: without comment, quotes, tag, anchor or alias."""
    texts = {found.strip(), found.partition(" #")[0].strip(), found.lstrip(" \t#-").strip()}
    texts |= {word for text in texts if text[:1] in SIGILS for word in text.split()}
    texts |= {part.strip() for text in texts if text[:1] in "[{" for part in FLOW.split(text)}
    texts |= {text.strip("'\"") for text in texts}
    return texts | {text.lstrip(SIGILS) for text in texts}
