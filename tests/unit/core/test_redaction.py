"""What is taken for a secret, and that nothing of it is left in a text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpushooks.core.redaction import LEAST, MARK, Redactor
from corpushooks.core.settings import SECRET_KEYS

SECRET = "hunter2-secret"


def knowing(*values: str) -> Redactor:
    redactor = Redactor()
    redactor.know(values)
    return redactor


def learnt(pillar: dict[str, Any], *, everything: bool = False) -> set[str]:
    redactor = Redactor(SECRET_KEYS, everything)
    redactor.learn(pillar)
    return set(redactor.values)


SECRET_NAMES = (
    "password", "db_password", "PASSWORD", "dbPassword", "passwords", "passwd", "db-pass", "smtpPass", "ssh_passphrase",
    "secret", "secret_key_base", "client-secret", "api_key", "apikey", "api-key", "apiKey", "API key", "access_token",
    "aws_access_key", "private_key", "privateKey", "credentials", "encryption.key",
)  # fmt: skip
OPEN_NAMES = ("user", "compass", "bypass", "passenger", "keyboard", "pass", "key", "domain", "", "monkey")


@pytest.mark.parametrize("key", SECRET_NAMES)
def test_keys_that_look_secret(key: str) -> None:
    assert learnt({"a": {"b": [{key: SECRET}]}}) == {SECRET}


@pytest.mark.parametrize("key", OPEN_NAMES)
def test_keys_that_do_not(key: str) -> None:
    assert learnt({key: SECRET}) == set()


def test_all_that_lies_under_a_secret_key_is_secret() -> None:
    pillar = {"passwords": {"root": "for-root", "others": ["for-one", {"two": "for-two"}]}, "open": {"root": "for-all"}}
    assert learnt(pillar) == {"for-root", "for-one", "for-two"}


def test_numbers_are_secrets_too_and_short_values_truth_and_nothing_are_not() -> None:
    pillar = {
        "password": [123456, 1234.567, 12345, "12345", "123456 "],
        "token": [True, None, "", "      ", "********"],
    }
    assert learnt(pillar) == {"123456", "1234.567", "123456 "}


def test_everything_of_a_pillar() -> None:
    assert learnt({"user": "somebody", "port": 1234567, "on": True}, everything=True) == {"somebody", "1234567"}
    assert learnt({"user": "somebody"}) == set()


def test_a_mark_shows_neither_the_secret_nor_its_length() -> None:
    redactor = knowing("short1", "a-very-long-secret-of-many-characters")
    assert redactor.redact("x short1 y a-very-long-secret-of-many-characters z") == f"x {MARK} y {MARK} z"


def test_the_longest_goes_first() -> None:
    assert knowing("secret", "secret-and-more").redact("secret-and-more") == MARK


QUOTED = {
    "JSON": json.dumps('pass"w\\ö\nrd'),
    "JSON in UTF-8": json.dumps('pass"w\\ö\nrd', ensure_ascii=False),
    "repr": repr('pass"w\\ö\nrd'),
}


@pytest.mark.parametrize("kind", QUOTED)
def test_a_secret_is_known_as_it_is_quoted(kind: str) -> None:
    redactor = knowing('pass"w\\ö\nrd')
    assert redactor.redact(f"{{'x': {QUOTED[kind]}}}") in (f"{{'x': \"{MARK}\"}}", f"{{'x': '{MARK}'}}")
    assert knowing("it's secret").redact("x: 'it''s secret'") == f"x: '{MARK}'"


def test_each_line_of_a_secret_is_one() -> None:
    redactor = knowing("-----BEGIN-----\n  line-one\nshort\nline-two\n")
    assert redactor.redact("+  line-one\n+short\n+  line-two") == f"+  {MARK}\n+short\n+  {MARK}"
    assert knowing("abc\ndef").redact("x abc\ndef y") == f"x {MARK} y", "as a whole it is long enough"


def test_within_mappings_lists_keys_and_numbers() -> None:
    redactor = knowing(SECRET, "1234567")
    value = {f"echo {SECRET}": [SECRET, {"n": 1234567, "m": 123456}, None, True], "plain": ("a",)}
    assert redactor.within(value) == {f"echo {MARK}": [MARK, {"n": MARK, "m": 123456}, None, True], "plain": ["a"]}
    assert Redactor().within(value) is value, "with no secrets nothing is looked at"


def test_a_configuration_for_people() -> None:
    redactor = Redactor(SECRET_KEYS)
    redactor.know([SECRET])
    value = {"password": "abc", "tokens": [1, {"x": "y"}], "secret": None, "url": f"http://u:{SECRET}@host", "n": 5}
    assert redactor.masked(value) == {
        "password": MARK, "tokens": [MARK, {"x": MARK}], "secret": None, "url": f"http://u:{MARK}@host", "n": 5,
    }  # fmt: skip


WRITTEN = {
    "plain": f"password: {SECRET}",
    "quoted": f"'db_password' : '{SECRET}'  # the new one",
    "double": f'"api-key": "{SECRET}"',
    "comment behind": f"password: {SECRET} # old",
    "in a list": f"users:\n  - token: {SECRET}",
    "flow": f"{{user: me, password: {SECRET}, port: 5}}",
    "flow in flow": f"passwords: {{root: {SECRET}, me: other1}}",
    "below": f"passwords:\n  root: {SECRET}\nopen: nothing-secret",
    "a list below": f"tokens:\n- {SECRET}",
    "a block": f"private_key: |\n  line-one\n\n  {SECRET}\nopen: nothing-secret",
    "Jinja": "{% set password = 'SECRET' %}".replace("SECRET", SECRET),
    "a call": f"x: {{{{ salt['x'](db_password='{SECRET}') }}}}",
    "tag": f"password: !{SECRET} x",
    "alias": f"password: *{SECRET}",
    "commented out": f"#password: {SECRET}",
}


@pytest.mark.parametrize("case", WRITTEN)
def test_what_a_file_that_may_not_compile_shows(case: str) -> None:
    redactor = Redactor(SECRET_KEYS)
    redactor.learn_text(WRITTEN[case])
    assert SECRET not in redactor.redact(f"could not read {SECRET} here")
    assert redactor.redact("nothing-secret") == "nothing-secret"


def test_everything_that_a_file_shows() -> None:
    redactor = Redactor((), everything=True)
    redactor.learn_text("user: somebody-else\nlist: [one-more, x]\n")
    assert redactor.redact("somebody-else one-more") == f"{MARK} {MARK}"


def test_a_long_line_takes_no_time() -> None:
    """The regular expression must be linear: this would not end otherwise."""
    redactor = Redactor(SECRET_KEYS)
    for text in ("a" * 10**6, "a:" * 10**6, "a" + " " * 10**6 + "b", "'" * 10**6, "a: '" * 10**5):
        redactor.learn_text(text)


def test_what_was_known_earlier_is_hidden_and_not_taken_for_learnt() -> None:
    redactor = Redactor(SECRET_KEYS)
    redactor.recall([SECRET])
    redactor.learn({"password": "another-one"})
    assert redactor.redact(f"{SECRET} another-one") == f"{MARK} {MARK}"
    assert redactor.values == {"another-one"}


TEXTS = st.text(st.sampled_from("ab*'\"\\\nö é\t"), max_size=30)
SECRETS = st.lists(st.text(st.sampled_from("ab*'\"\\\nö "), min_size=LEAST, max_size=12), max_size=6)


@settings(deadline=None, max_examples=300)
@given(SECRETS, TEXTS, TEXTS)
def test_no_secret_is_left(secrets: list[str], before: str, after: str) -> None:
    redactor = knowing(*secrets)
    text = before + after.join(secrets) + json.dumps(secrets) + repr(secrets) + after
    redacted = redactor.redact(text)
    for secret in redactor.values:
        assert secret.strip() not in redacted
        for line in secret.splitlines():
            assert len(line.strip()) < LEAST or not line.replace("*", "").strip() or line.strip() not in redacted
    assert redactor.redact(redacted) == redacted


@settings(deadline=None, max_examples=100)
@given(st.text())
def test_a_text_without_secrets_stays(text: str) -> None:
    assert Redactor(SECRET_KEYS, everything=True).redact(text) == text
    assert knowing("zzzzzzzzzzzzzzz-not-in-it").redact(text) == text


@settings(deadline=None, max_examples=100)
@given(st.text())
def test_any_file_can_be_looked_at(text: str) -> None:
    Redactor(SECRET_KEYS, everything=True).learn_text(text)
