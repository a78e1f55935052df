"""What is made of what is told, before anybody reads it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import yaml

from corpushooks.reports import reports
from corpushooks.reports.inspection import Seen
from corpushooks.reports.reports import Report


@dataclass(frozen=True)
class Told:
    name: str
    path: Path


def test_a_report_is_plain_whatever_is_in_it() -> None:
    plain = Report([Told("a", Path("/b")), {"path": Path("/c")}], []).plain
    assert plain == [{"name": "a", "path": "/b"}, {"path": "/c"}] == json.loads(json.dumps(plain))


def test_a_cfg_begins_with_what_the_project_says_itself() -> None:
    values = {"user": "web", "data": {"a": 1}, "name": "hello", "keep_archives": 5}
    layers = {"user": "built-in", "name": "built-in", "keep_archives": "pillar", "data.a": "PILLAR.sample"}
    seen = Seen(values, {path: {"layer": layer, "file": ""} for path, layer in layers.items()})
    (text,) = reports._own_values_first(seen)
    own, rest = text.split("\n\n# names, paths and flags\n")
    assert yaml.safe_load(own) == {"data": {"a": 1}, "keep_archives": 5}
    assert yaml.safe_load(rest) == {"name": "hello", "user": "web"}


def test_the_data_of_a_project_is_its_own_also_where_all_of_it_is_built_in() -> None:
    seen = Seen({"data": {}, "name": "hello"}, {"name": {"layer": "built-in", "file": ""}})
    (text,) = reports._own_values_first(seen)
    assert text.startswith("data: {}")
