"""ssh keys as values: how they are read, written for sshd, and what they may."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from corpushooks.access import keys
from corpushooks.access.keyring import Keyring
from corpushooks.core import rights
from corpushooks.core.errors import CorpusError, UsageError
from corpushooks.store.history import History
from corpushooks.system.process import run
from tests.support.ssh_keys import ED25519, KEY, OTHER

KINDS = {"ed25519": [], "ecdsa": ["-b", "384"], "rsa": ["-b", "2048"]}
WRONG = {
    "": "expected one public key, found 0",
    f"ssh-ed25519 {ED25519}\nssh-ed25519 {ED25519}": "expected one public key, found 2",
    "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNz": "expected a public key, got a private key",
    f'command="sh" ssh-ed25519 {ED25519}': "unsupported key type",
    "ssh-dss AAAAB3NzaC1kc3M=": "unsupported key type",
    f"ssh-ed25519-cert-v01@openssh.com {ED25519}": "expected a public key, got a certificate",
    f"ssh-rsa {ED25519}": "the public key is damaged",
    f"ssh-ed25519 {ED25519[:-8]}": "the public key is damaged",
    "ssh-ed25519 äöü": "the public key is damaged",
    "ssh-ed25519": "the public key is damaged",
}


def made(folder: Path, kind: str, *more: str) -> Path:
    run(["ssh-keygen", "-q", "-t", kind, *more, "-N", "", "-C", "alice@example", "-f", folder / kind])
    return folder / f"{kind}.pub"


@pytest.mark.parametrize("kind", KINDS)
def test_what_ssh_keygen_makes_is_read(tmp_path: Path, kind: str) -> None:
    path = made(tmp_path, kind, *KINDS[kind])
    found, blob, comment = keys.parse(f"# a comment\n{path.read_text()}\n")
    assert (found, comment) == (path.read_text().split()[0], "alice@example")
    assert run(["ssh-keygen", "-l", "-f", path]).text.split()[1] == keys.fingerprint(blob)
    run(["ssh-keygen", "-q", "-s", path.with_suffix(""), "-I", "alice of ops", "-n", "corpus", "-V", "+1d", path])
    given = (tmp_path / f"{kind}-cert.pub").read_text().split()
    assert keys.certified(*given[:2]) == ("alice of ops", blob)
    assert keys.certified(given[0], given[1][:80]) == ("", "")


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_key_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        keys.parse(text)
    assert WRONG[text] in caught.value.message
    assert "\n" not in caught.value.message + str(caught.value.hint)


def test_a_short_rsa_key_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path, "rsa", "-b", "1024")
    with pytest.raises(UsageError, match=r"^the RSA key is too short: use at least 2048 bits$"):
        keys.parse(path.read_text())


def test_what_a_key_may() -> None:
    reader = replace(KEY, right="read", projects=("hello", "shop"), expires=86400.0)
    assert reader.refusal("read", "hello", now=0.0) == ""
    assert reader.refusal("push", "hello", now=0.0) == "it has the right read, not push"
    assert reader.refusal("read", "other", now=0.0) == "it is limited to hello shop"
    assert reader.refusal("read", "hello", now=86400.0) == "it expired on 1970-01-02 00:00"
    assert [KEY.refusal(right, "any") for right in rights.RIGHTS] == [
        "", "", "it has the right push, not admin", "it has the right push, not host",
    ]  # fmt: skip
    assert replace(KEY, right="admin").refusal("admin", "any") == ""


def test_a_line_for_sshd_allows_one_command(tmp_path: Path) -> None:
    key = replace(KEY, authority=True, principals=("a", "b"), expires=4102444800.0)
    line = key.line(["/opt/a b/x", 'q"q'], "corpus")
    assert line.startswith('restrict,pty,command="/opt/a b/x q\\"q",expiry-time="')
    assert line.endswith(f',cert-authority,principals="a,b" ssh-ed25519 {ED25519} alice')
    (tmp_path / "keys").write_text(KEY.line(["x"], "corpus") + "\n")
    assert keys.fingerprint(ED25519) in run(["ssh-keygen", "-l", "-f", tmp_path / "keys"]).text


@pytest.mark.parametrize(
    ("text", "end"),
    [("30d", 1000.0 + 30 * 86400), ("1970-01-02", 2 * 86400.0), ("1969-12-31", None), ("soon", None)],
)  # fmt: skip
def test_when_a_key_ends(text: str, end: float | None) -> None:
    if end is None:
        with pytest.raises(UsageError):
            keys.expiry(text, 1000.0)
    else:
        assert keys.expiry(text, 1000.0) == end


def test_names_that_could_be_more_than_names_are_refused() -> None:
    for name in ("", "-x", "a b", "a\nb", 'a"b', "a" * 65, "../x"):
        with pytest.raises(UsageError):
            keys.check_key_name(name)
    for names in (["UP"], ["a b"], [""]):
        with pytest.raises(UsageError):
            rights.check_projects(names)
    with pytest.raises(UsageError):
        keys.check_principals(["a,b"])
    assert rights.check_projects(["b", "a", "b"]) == ("b", "a")


# in the store


@pytest.fixture
def ring(tmp_path: Path) -> Keyring:
    return Keyring(History(tmp_path / "store.sqlite"))


def test_a_key_is_kept_as_it_was_given(ring: Keyring) -> None:
    key = replace(KEY, right="read", projects=("a", "b"), expires=5.5, authority=True, principals=("p",), by="root")
    kept = ring.add(key)
    assert replace(kept, added=0.0) == key
    assert ring.all() == [kept] and ring.key("alice") == kept and ring.holding(ED25519) == kept
    again = ring.add(replace(key, right="push"))
    assert ring.all() == [again] and again.right == "push"
    assert ring.remove("alice") == again
    assert ring.all() == [] and ring.key("alice") is None and ring.holding(ED25519) is None


def test_one_key_has_one_name_and_one_name_has_one_key(ring: Keyring) -> None:
    ring.add(KEY)
    for key in (replace(KEY, name="bob"), replace(KEY, blob=OTHER)):
        with pytest.raises(UsageError) as caught:
            ring.add(key)
        assert "corpus key remove alice" in str(caught.value.hint)
    with pytest.raises(CorpusError, match="unknown key 'bob'"):
        ring.remove("bob")
    assert [key.name for key in ring.all()] == ["alice"]


def test_sessions_are_known_by_their_token(ring: Keyring) -> None:
    one = ring.admit(KEY, "alice/x", "push", "hello", (12, 34))
    two = ring.admit(KEY, "alice", "read", "", (13, 35))
    assert one.token != two.token
    assert ring.admission(one.token) == one
    ring.dismiss(one)
    assert ring.admissions() == [two]
    assert ring.admission(one.token) is None


def test_sshd_takes_the_line(tmp_path: Path) -> None:
    """As far as a key file can be tried without a server: ssh-keygen reads the options too."""
    (tmp_path / "keys").write_text(
        replace(KEY, expires=4102444800.0).line(["corpus-shell", "serve", "alice"], "corpus") + "\n"
    )
    done = subprocess.run(["ssh-keygen", "-l", "-f", tmp_path / "keys"], capture_output=True, text=True, check=True)
    assert done.stdout.split()[2] == "alice"
