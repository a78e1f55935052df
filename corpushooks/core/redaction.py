"""Secrets, taken out of texts: what a pillar says under keys that look secret. Values only.

A secret is hidden wherever its text stands, so one of fewer than six characters is not: it would hide ordinary
words. Of a secret of several lines each line counts. Forms that an SLS file makes of it (base64, a hash, another
quoting) are not known here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

MARK = "********"  # whatever was hidden: not even its length shows
LEAST = 6  # characters of a secret
WIDTH = 8192  # characters of a written line that are looked at
PAIR = re.compile(r"""(?<![\w.-])([\w.-]+)['"]?\s*[:=]\s*(?=("[^"]*"|'[^']*'|[^\s,}\]][^,}\]]*)?)""")  # key: value
SIGILS = "!&*@%`|>"  # what makes a tag, an anchor, an alias, a block in YAML, or nothing that it allows
FLOW = re.compile(r"[\[\]{},]")
CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass
class Redactor:
    """What is known of one project's secrets: it learns, and hides what it knows."""

    words: tuple[str, ...] = ()  # parts of the keys under which secrets stand
    everything: bool = False  # every value that a pillar gives is one
    values: frozenset[str] = frozenset()  # what was learnt here
    earlier: frozenset[str] = frozenset()  # what others knew before
    _parts: tuple[str, ...] = field(init=False, repr=False)
    _forms: list[str] = field(default_factory=list, repr=False)  # what is looked for, the longest first

    def __post_init__(self) -> None:
        self._parts = tuple(map(_plain, self.words))

    def hides(self, key: object) -> bool:
        """Say whether what stands under a key is secret."""
        name = _plain(str(key))
        return any(part in name for part in self._parts)

    def learn(self, pillar: Mapping[str, Any]) -> None:
        """Learn the secrets of a compiled pillar."""
        self.know(self._under(pillar, self.everything))

    def learn_text(self, text: str) -> None:
        """Learn what can be seen in a pillar's file: it may be one that does not compile."""
        self.know(bare for found in self._written(text) for bare in _bare(found))

    def know(self, values: Iterable[str]) -> None:
        """Hide these values from now on."""
        new = {value for value in values if _counts(value)} - self.values
        if new:
            self.values |= new
            self._prepare()

    def recall(self, values: Iterable[str]) -> None:
        """Hide too what was known earlier."""
        self.earlier |= frozenset(values)
        self._prepare()

    def _prepare(self) -> None:
        forms = {form for value in self.values | self.earlier for form in _forms(value)}
        self._forms = sorted(forms, key=lambda form: (-len(form), form))

    def redact(self, text: str) -> str:
        """Return a text without the secrets; twice, since a mark may complete a secret that has asterisks."""
        again = True
        while again:
            again = False
            for form in self._forms:
                if form in text:
                    text, again = text.replace(form, MARK), True
        return text

    def within(self, value: Any) -> Any:
        """Return a value with the secrets taken out of every text in it, and of the keys."""
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
        """Return a configuration for people: what stands under a secret key is masked, however short it is."""
        if isinstance(value, Mapping):
            return {key: self.masked(inner, hidden or self.hides(key)) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.masked(inner, hidden) for inner in value]
        return MARK if hidden and _is_said(value) else self.within(value)

    def _under(self, value: Any, hidden: bool) -> Iterator[str]:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                yield from self._under(inner, hidden or self.hides(key))
        elif isinstance(value, (list, tuple)):
            for inner in value:
                yield from self._under(inner, hidden)
        elif hidden and _is_said(value):
            yield str(value)

    def _written(self, text: str) -> Iterator[str]:
        """Yield what stands behind secret keys, and on the lines below them that are further in."""
        below: int | None = None  # how far in the secret key above stands
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


def _plain(key: str) -> str:
    """Return a key as it is compared: apiKey, API-KEY and api_key are one."""
    return re.sub(r"[\W_]+", "_", CAMEL.sub("_", key)).lower()


def _is_said(value: object) -> bool:
    return isinstance(value, (str, int, float)) and not isinstance(value, bool) and value != ""


def _counts(text: str) -> bool:
    """Say whether a text is long enough to be hidden; one of asterisks only would be hidden by itself."""
    return len(text.strip()) >= LEAST and bool(text.replace("*", "").strip())


def _forms(value: str) -> Iterator[str]:
    """Yield how a value may stand in a text: each of its lines, as it is and as JSON, repr and YAML quote it."""
    for text in {value.strip(), *(line.strip() for line in value.splitlines())}:
        if _counts(text):
            yield from (text, text.replace("'", "''"), repr(text)[1:-1])
            yield from (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])


def _bare(found: str) -> set[str]:
    """Return what a written value may mean: without its comment, its quotes, its tag, anchor or alias."""
    texts = {found.strip(), found.partition(" #")[0].strip(), found.lstrip(" \t#-").strip()}
    texts |= {word for text in texts if text[:1] in SIGILS for word in text.split()}
    texts |= {part.strip() for text in texts if text[:1] in "[{" for part in FLOW.split(text)}
    texts |= {text.strip("'\"") for text in texts}
    return texts | {text.lstrip(SIGILS) for text in texts}
