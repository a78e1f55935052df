"""What `corpus set` is told: keys, values, the file that has them, and what they do to cfg."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpushooks.core.errors import ConfigError, UsageError
from corpushooks.core.project import Host
from corpushooks.release import assigned, config
from corpushooks.release import keys as cfg_keys
from corpushooks.release.assigned import Change, Given, Put

VALUES = {
    "true": True, "false": False, "null": None, "8000": 8000, "-3": -3, "0": 0, "1.5": 1.5,
    '"8000"': "8000", '"-"': "-", '["a", 1]': ["a", 1], '{"a": {"b": 1}}': {"a": {"b": 1}}, '""': "",
    # what YAML or JSON would lose, or make something else of, stays text
    "": "", "1.10": "1.10", "007": "007", "1e5": "1e5", "0x10": "0x10", "1_000": "1_000", "+1": "+1", " 1": " 1",
    "yes": "yes", "NO": "NO", "True": "True", "~": "~", "12:30:00": "12:30:00", "2020-01-01": "2020-01-01",
    "NaN": "NaN", "-Infinity": "-Infinity", "1e999": "1e999", "9223372036854775808": "9223372036854775808",
    "9" * 5000: "9" * 5000, "[" * 5000: "[" * 5000, "[a, b]": "[a, b]", "{name}": "{name}", "{{ 7*7 }}": "{{ 7*7 }}",
    "{% for x in y %}": "{% for x in y %}", "a: b": "a: b", "- a": "- a", "a\nb": "a\nb", "&a *b !!c": "&a *b !!c",
    "# x": "# x", "=": "=", "a=b": "a=b",
}  # fmt: skip
REFUSED = [
    "a\0b", "a\x1b[31m", "\x7f", "\x85", "\udc80", "\ufdd0", "\ufffe", '"\\ud800"', '"\\u0000"', "[1e999]",
    "[9223372036854775808]", '{"a.b": 1}', '{"": 1}', '{"1": 1}', "[" * 30 + "]" * 30, "x" * (40 << 10),
]  # fmt: skip
KEYS = [
    "",
    ".",
    "a.",
    ".a",
    "a..b",
    "a b",
    "1",
    "a.1",
    "\u00e4",
    "a\n",
    "a/b",
    "{a}",
    "a" * 201,
    ".".join("a" * 21),
    "data.",
]


def puts(**pairs: str) -> tuple[Put, ...]:
    return tuple(assigned.put(key.replace("__", "."), text, secret=False) for key, text in pairs.items())


@pytest.mark.parametrize("text", VALUES, ids=lambda text: text[:20])
def test_a_value_is_what_json_says_or_the_text_itself(text: str) -> None:
    found = assigned.put("key", text, secret=False).value
    assert (found, type(found)) == (VALUES[text], type(VALUES[text]))
    assert assigned.put("key", text, secret=True).value == text


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: repr(text[:20]))
def test_what_no_file_should_have_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        assigned.put("key", text, secret=False)
    assert caught.value.message.isprintable() and "key" in caught.value.message and text not in caught.value.message


@pytest.mark.parametrize(("data", "text"), [
    (b"a b", "a b"), (b"a\n", "a"), (b"a\n\n", "a\n"), (b"a\r\n", "a"), (b"8000\n", "8000"), (b"true", "true"),
    (b" x \n", " x "), (b"one\ntwo\n", "one\ntwo"), (b'"q"\n', '"q"'), (b"-\n", "-"), ("\u00e4\n".encode(), "\u00e4"),
])  # fmt: skip
def test_standard_input_is_text_without_its_last_newline(data: bytes, text: str) -> None:
    assert assigned.of_input("key", data) == text
    assert assigned.put("key", text, secret=True).value == text


@pytest.mark.parametrize("data", [b"", b"\n", b"\r\n", b"\xff\xfe", b"a\0b", b"\x1b[1m"])
def test_standard_input_that_is_no_value_is_refused(data: bytes) -> None:
    with pytest.raises(UsageError, match="key"):
        assigned.of_input("key", data)


@pytest.mark.parametrize("key", KEYS)
def test_keys_that_name_nothing_are_refused(key: str) -> None:
    with pytest.raises(UsageError):
        assigned.path_of(key)


def test_data_may_be_said_or_not() -> None:
    assert assigned.path_of("data.a.b") == assigned.path_of("a.b") == ("a", "b")
    assert assigned.path_of("data") == ("data",)


@pytest.mark.parametrize("rows", [[("a", "1", ""), ("a", "2", "")], [("a", "1", ""), ("a.b", "2", "")],
                                  [("a.b", "1", ""), ("data.a", "{}", "")]])  # fmt: skip
def test_a_key_is_given_once(rows: list[tuple[str, str, str]]) -> None:
    with pytest.raises(UsageError, match=r"is given twice|contains .*, which is also given"):
        assigned.change(rows, [])


PARTS = st.from_regex(r"\A[a-z_][a-z0-9_-]{0,5}\Z")
TEXTS = st.text(max_size=30).filter(lambda text: not any(map(assigned._is_odd, text)))
SCALARS = st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | TEXTS
SCALARS |= st.floats(allow_nan=False, allow_infinity=False)
TREES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PARTS, inner, max_size=3))


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(PARTS, TREES, max_size=4))
def test_the_file_says_what_was_set(data: dict[str, Any]) -> None:
    assert assigned.load(assigned.dump(Given(data))) == Given(data)


@settings(max_examples=200, deadline=None)
@given(SCALARS | st.lists(SCALARS, max_size=3))
def test_what_is_listed_can_be_typed(value: Any) -> None:
    text = assigned.written(value)
    assert text.isprintable()
    found = assigned.value_of(text)
    assert json.dumps(found) == json.dumps(value)


@pytest.mark.parametrize("text", [
    "- a", "data: 1", "other: {}", "data: {a: &x 1, b: *x}", "data: {a: [", "data: {1: 2}", "data: {a.b: 1}",
    "data: {a: 2020-01-01}", "data: {a: .nan}", "data: {a: !!python/object:os.system x}", "secrets: a", "secrets: [1]",
    "data: {a: {b: " + "[" * 3000, "data: \x01", "data: {a: " + "x" * assigned.FILE_LIMIT + "}", "\t- x",
])  # fmt: skip
def test_a_file_that_was_edited_badly_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^corpus-set\.yaml( line \d+)?: "):
        assigned.load((assigned.HEAD + text).encode())


def test_a_file_of_somebody_else_says_nothing() -> None:
    assert assigned.load(b"data: {a: 1}\n") == assigned.load(None) == Given()


def test_changes() -> None:
    old = Given({"a": {"b": 1, "c": 2}, "x": "y"}, frozenset({"x"}))
    assert assigned.changed(old, Change(puts(a__b="2", n__m="true"))).data == {
        "a": {"b": 2, "c": 2}, "x": "y", "n": {"m": True},
    }  # fmt: skip
    assert assigned.changed(old, Change(drops=(("a", "b"),))).data == {"a": {"c": 2}, "x": "y"}
    assert assigned.changed(old, Change(drops=(("a", "b"), ("a", "c")))).data == {"x": "y"}, "nothing empty stays"
    assert assigned.changed(old, Change(drops=(("a",), ("x",)))) == Given()
    assert old.data == {"a": {"b": 1, "c": 2}, "x": "y"}
    assert assigned.changed(old, Change(puts(x="z"))).secrets == {"x"}, "what was secret stays so"
    for wrong in (puts(x__y="1"), puts(a="1"), puts(a__b__c="1")):
        with pytest.raises(UsageError, match="corpus set"):
            assigned.changed(old, Change(wrong))


def test_the_message_of_a_commit_has_keys_and_no_values() -> None:
    change = assigned.change([("db.password", "hunter2-secret", "stdin"), ("a", "1", "")], ["b", "data.c"])
    assert change.message == "Set db.password, a; Unset b, c"


SAMPLE = {"makina-projects.x": {"data": {"v": "sample", "db": {"host": "a", "port": 1}, "url": "pg://{v}/{name}"},
                                "env_defaults": {"prod": {"v": "env"}}}}  # fmt: skip
PILLAR = {"makina-projects.foo": {"data": {"v": "pillar"}}, "makina-projects.foo.data.db": {"host": "b"}}


def cfg(data: dict[str, Any], *, env_wins: bool = False, pillar: dict[str, Any] | None = None) -> config.Cfg:
    project = Host(Path("/")).project("foo")
    low = cfg_keys.builtin(project, "prod", minion_id="m", fqdn="f.example.org", archive_dir=Path("/a"), chrono="c")
    minion = {"makina-projects.foo": {"data": {"v": "minion"}}}
    read = config.Layers(
        low, SAMPLE, PILLAR if pillar is None else pillar, {}, minion, {"v2": "request"}, given=Given(data)
    )
    return config.compute(read, name="foo", env_defaults_win=env_wins)


@pytest.mark.parametrize("env_wins", [False, True])
def test_what_is_set_wins_over_all_but_the_request(env_wins: bool) -> None:
    found = cfg({"v": "set", "db": {"host": "c"}, "v2": "set", "n": 1}, env_wins=env_wins)
    data = found.values["data"]
    assert (data["v"], data["db"], data["v2"], data["n"]) == ("set", {"host": "c", "port": 1}, "request", 1)
    assert found.origin["data", "v"] == found.origin["data", "db", "host"] == found.origin["data", "n"] == "corpus set"
    assert found.origin["data", "db", "port"] == "PILLAR.sample"
    assert cfg({}).values["data"]["v"] == "minion"


def test_braces_in_what_is_set_are_text_also_where_others_refer_to_it() -> None:
    data = cfg({"v": "a{name}b{{ x }}", "list": ["{fqdn}"], "m": {"k": "{v}"}}).values["data"]
    assert data["v"] == "a{name}b{{ x }}"
    assert data["url"] == "pg://a{name}b{{ x }}/foo"
    assert (data["list"], data["m"]) == (["{fqdn}"], {"k": "{v}"})


def test_salt_sees_it_in_the_form_that_the_pillar_has() -> None:
    assert cfg({"a": "{v}"}).above == {"makina-projects.foo": {"data": {"a": "{v}"}}}
    nested = cfg({"a": 1}, pillar={"makina-projects": {"foo": {"data": {}}}}).above
    assert nested["makina-projects.foo"] == nested["makina-projects"]["foo"] == {"data": {"a": 1}}
    assert cfg({}).above == {}


def test_what_came_from_standard_input_is_masked_whatever_its_key() -> None:
    given_ = Given({"smtp": {"pw": "abc"}, "v": "x"}, frozenset({"smtp.pw", "gone"}))
    assert given_.masked({"smtp": {"pw": "abc", "h": 1}, "v": "x"}) == {"smtp": {"pw": "********", "h": 1}, "v": "x"}
    assert list(given_.hidden()) == ["abc"]
