"""Sign in by a provider of OpenID Connect: who gets which rights, and what a lying provider or browser gets."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from corpushooks.access import pending, persons
from corpushooks.access.pending import Pending
from corpushooks.access.sessions import OIDC, ONCE, Sessions
from corpushooks.core import provider as providers_settings
from corpushooks.core.errors import ConfigError
from corpushooks.core.rights import Grant
from corpushooks.core.schema import keys_of
from corpushooks.core.settings import parse
from corpushooks.web import signing
from tests.support import provider as providers
from tests.support.box import Box
from tests.support.browsing import Browser
from tests.support.command import asked
from tests.support.places import TOP
from tests.support.provider import CLIENT, SECRET, Claims, Provider, providing
from tests.support.shared_box import shared_box
from tests.support.web import Answer, Web, serving

BACK = "/sign-in/provider/back"


@pytest.fixture(scope="module")
def telling() -> Iterator[Provider]:
    with providing() as found:
        yield found


@pytest.fixture
def provider(telling: Provider) -> Provider:
    telling.truth()
    return telling


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory, telling: Provider) -> Iterator[Web]:
    with shared_box(tmp_path_factory.mktemp("oidc"), page="one") as box:
        settle(box, telling)
        box.init("other")
        with serving(box) as found:
            yield found


def settle(box: Box, provider: Provider, **other: Any) -> None:
    secret = box.root / "secret"
    secret.write_text(SECRET + "\n")
    secret.chmod(0o600)
    said = {
        "issuer": provider.issuer, "client_id": CLIENT, "client_secret_file": str(secret),
        "groups": {"/devs": {"right": "push", "projects": ["hello"]}, "/ops": {"right": "admin"}}, **other,
    }  # fmt: skip
    box.stop()
    box.settings(json.dumps({"web_url": "https://deploy.example.org", "oidc": said}))
    box.start()


class Person(Browser):
    """Somebody at a browser that also keeps the cookie of a sign-in that goes on."""

    binding = ""

    def begin(self, after: str = "/") -> str:
        """Go to the provider; return the address."""
        found = self.get(f"/sign-in/provider?next={after}")
        assert found.status == 303, found.text
        value, *flags = found.headers["set-cookie"].split("; ")
        name, _, self.binding = value.partition("=")
        assert name == signing.BINDING
        assert {"Secure", "HttpOnly", "SameSite=lax"} <= set(flags)
        return str(found.headers["location"])

    def back(self, path: str) -> Answer:
        """Come back from the provider."""
        cookies = [f"{signing.BINDING}={self.binding}"] + ([f"__Host-corpus={self.cookie}"] if self.cookie else [])
        found = self.get(path, Cookie="; ".join(cookies))
        for each in found.headers.get_all("set-cookie") or ():
            if each.startswith("__Host-corpus=") and '""' not in each:
                self.cookie = each.partition("=")[2].partition(";")[0]
        return found


def refused(found: Answer, person: Person, why: str) -> None:
    assert found.status == 401 and why in found.text and not person.cookie, found.text


NOT_VALID = "answer is not valid"
NOT_BEGUN = "this sign-in was not begun here"


def test_a_person_signs_in_with_the_rights_of_their_groups(web: Web, provider: Provider) -> None:
    ann = Person(web)
    assert "/sign-in/provider?next=" in ann.get("/sign-in").text
    path = provider.approve(
        ann.begin("/projects/hello"), "248289761001", "/devs", "other", preferred_username="ann <b>"
    )
    found = ann.back(path)
    assert (found.status, found.headers["location"]) == (303, "/projects/hello")
    assert ann.get("/projects/hello").status == 200 and ann.get("/projects/other").status == 403
    done = ann.act("/projects/hello/redeploy")
    number = int(done.headers["location"].rpartition("/")[2])
    assert web.box.ended(number).request.who == "oidc ann__b_/248289761001"
    row = asked(web.box, "audit", "--who", "oidc ann__b_/248289761001")[-1]
    assert (row["operation"], row["detail"], row["outcome"]) == ("sign-in", {"by": "oidc"}, "done")
    assert ann.act("/projects/hello/freeze", reason="x").status == 403


@pytest.mark.parametrize("groups", [[], ["other"], ["/DEVS"], ["hello-deploy", "corpus", "admin"], ["devs"]])
def test_groups_that_the_settings_do_not_name_give_nothing(web: Web, provider: Provider, groups: list[str]) -> None:
    ann = Person(web)
    refused(ann.back(provider.approve(ann.begin(), "s", *groups)), ann, "your groups have no rights here")


LIES: dict[str, Callable[[Claims], Claims]] = {
    "another issuer": lambda claims: {**claims, "iss": "https://evil.example"},
    "another audience": lambda claims: {**claims, "aud": "another"},
    "several audiences, for another": lambda claims: {**claims, "aud": [CLIENT, "another"], "azp": "another"},
    "several audiences, for nobody": lambda claims: {**claims, "aud": [CLIENT, "another"]},
    "no audience": lambda claims: {key: value for key, value in claims.items() if key != "aud"},
    "another nonce": lambda claims: {**claims, "nonce": "x" * 43},
    "no nonce": lambda claims: {key: value for key, value in claims.items() if key != "nonce"},
    "expired": lambda claims: {**claims, "exp": int(time.time()) - 3600},
    "no expiry": lambda claims: {key: value for key, value in claims.items() if key != "exp"},
    "of the future": lambda claims: {**claims, "iat": int(time.time()) + 3600},
    "no subject": lambda claims: {key: value for key, value in claims.items() if key != "sub"},
    "an empty subject": lambda claims: {**claims, "sub": ""},
    "a long subject": lambda claims: {**claims, "sub": "x" * 300},
    "an odd subject": lambda claims: {**claims, "sub": ["x"]},
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_token_that_is_not_for_us_now_signs_nobody_in(web: Web, provider: Provider, lie: str) -> None:
    provider.change = LIES[lie]
    ann = Person(web, headers={"X-Forwarded-For": f"192.0.2.{list(LIES).index(lie)}"})
    refused(ann.back(provider.approve(ann.begin(), "s", "/ops")), ann, NOT_VALID)


FORGERIES = [providers.unsigned, providers.with_the_public_key, providers.with_another_key, providers.with_its_own_key,
             providers.changed_later, lambda provider, claims: "x.y.z", lambda provider, claims: ""]  # fmt: skip


@pytest.mark.parametrize("forge", FORGERIES)
def test_a_token_that_the_provider_did_not_sign_signs_nobody_in(web: Web, provider: Provider, forge: Any) -> None:
    provider.sign = forge
    ann = Person(web, headers={"X-Forwarded-For": f"198.51.100.{FORGERIES.index(forge)}"})
    refused(ann.back(provider.approve(ann.begin(), "s", "/ops")), ann, NOT_VALID)


def test_a_nonce_of_another_sign_in_is_refused(web: Web, provider: Provider) -> None:
    nonces: list[str] = []
    provider.change = lambda claims: nonces.append(claims["nonce"]) or {**claims, "nonce": nonces[0]}  # type: ignore[func-returns-value]
    first, second = Person(web), Person(web)
    assert first.back(provider.approve(first.begin(), "s", "/ops")).status == 303
    refused(second.back(provider.approve(second.begin(), "s", "/ops")), second, NOT_VALID)


def test_a_sign_in_is_finished_once_by_the_browser_that_began_it(web: Web, provider: Provider) -> None:
    ann, eve = Person(web), Person(web)
    path = provider.approve(ann.begin(), "s", "/ops")
    eve.begin()
    refused(eve.back(path), eve, NOT_BEGUN)  # which ends it for both
    refused(ann.back(path), ann, NOT_BEGUN)
    path = provider.approve(ann.begin(), "s", "/ops")
    assert ann.back(path).status == 303
    again = Person(web)
    again.binding = ann.binding
    refused(again.back(path), again, NOT_BEGUN)
    for wrong in (BACK, f"{BACK}?error=access_denied&state=x", f"{BACK}?code=x", f"{BACK}?code=x&state=y"):
        refused(Person(web, headers={"X-Forwarded-For": "203.0.113.1"}).back(wrong), again, NOT_BEGUN)


def test_another_issuer_in_the_answer_is_refused(web: Web, provider: Provider) -> None:
    ann = Person(web)
    path = provider.approve(ann.begin(), "s", "/ops")
    refused(ann.back(f"{path}&iss=https://evil.example"), ann, NOT_VALID)
    path = provider.approve(ann.begin(), "s", "/ops")
    assert ann.back(f"{path}&iss={provider.issuer}").status == 303


@pytest.mark.parametrize("after", ["//evil.example", "https://evil.example", "/\\evil.example"])
def test_nobody_is_led_elsewhere(web: Web, provider: Provider, after: str) -> None:
    ann = Person(web)
    assert ann.back(provider.approve(ann.begin(after), "s", "/ops")).headers["location"] == "/"


@pytest.mark.parametrize("about", [
    {"issuer": "https://evil.example"}, {"authorization_endpoint": "http://evil.example/"},
    {"authorization_endpoint": "javascript:alert(1)"}, {"authorization_endpoint": None},
])  # fmt: skip
def test_a_provider_that_says_that_it_is_elsewhere_is_not_gone_to(web: Web, provider: Provider, about: Any) -> None:
    provider.about = about
    found = Person(web).get("/sign-in/provider")
    assert found.status == 503 and "location" not in found.headers and "evil" not in found.text


@pytest.mark.parametrize("about", [
    {"token_endpoint": "http://192.0.2.1/token"}, {"jwks_uri": "file:///etc/passwd"}, {"jwks_uri": None},
    {"token_endpoint": "ftp://127.0.0.1/"},
])  # fmt: skip
def test_a_provider_sends_us_nowhere_else(web: Web, provider: Provider, about: Any) -> None:
    ann = Person(web)
    path = provider.approve(ann.begin(), "s", "/ops")
    provider.about = about
    assert ann.back(path).status == 503 and not ann.cookie


def test_a_session_ends_when_the_settings_no_longer_have_its_group_or_provider(web: Web, provider: Provider) -> None:
    ann = Person(web)
    assert ann.back(provider.approve(ann.begin(), "s", "/ops")).status == 303
    kept = ann.cookie
    settle(web.box, provider, groups={"/others": {"right": "host"}})
    assert Browser(web, kept).get("/").status == 303
    settle(web.box, provider, issuer=provider.issuer.replace("127.0.0.1", "localhost"))
    assert Browser(web, kept).get("/").status == 303
    settle(web.box, provider)
    assert Browser(web, kept).get("/").status == 200
    history = web.box.history
    with history.change() as db:
        db.execute("UPDATE session SET began = began - ? WHERE source = ?", (ONCE, OIDC))
    assert not [row for row in history.rows("SELECT * FROM session") if Sessions(history).presented(row["hash"])]
    history.close()
    assert Browser(web, kept).get("/").status == 303


def test_identity_is_the_issuer_and_the_subject() -> None:
    assert persons.identity("https://a", "1") != persons.identity("https://b", "1")
    assert persons.called("ann", "1") != persons.called("ann", "2")
    assert persons.called("root/x y", "a b").startswith("oidc root_x_y/") and " b" not in persons.called("", "a b")


def test_what_was_begun_is_bounded_and_is_over_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Pending()
    kept = held.begin("/", "192.0.2.1")
    for _ in range(3 * pending.EACH):
        held.begin("/", "192.0.2.2")  # whoever floods pushes out their own
    assert len(held._begun) == pending.EACH + 1
    assert held.finish(kept.state, kept.binding) is kept and held.finish(kept.state, kept.binding) is None
    old = held.begin("/", "192.0.2.1")
    monkeypatch.setattr(pending, "LASTS", -1.0)
    assert held.finish(old.state, old.binding) is None


@pytest.mark.parametrize(("text", "why"), [
    ('{"oidc": {"issuer": "https://a", "client_id": "x", "groups": {"a": {"right": "read"}}}}', "web_url"),
    ('{"oidc": {"issuer": "http://a.example", "client_id": "x", "groups": {"a": {"right": "read"}}}}', "oidc.issuer"),
    ('{"oidc": {"issuer": "https://a", "client_id": "x", "groups": {"a": {"right": "root"}}}}', "oidc.groups.a.right"),
    ('{"oidc": {"issuer": "https://a", "groups": {"a": {"right": "read"}}}}', "client_id is missing"),
    ('{"oidc": {"issuer": "https://a", "client_id": "x"}}', "groups is missing"),
])  # fmt: skip
def test_wrong_settings_are_named(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        parse(text, "F")


PAGE = TOP / "docs/oidc.md"


def test_the_example_of_the_page_is_read() -> None:
    (shown,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    found = parse(shown, "F").oidc
    assert found and found.grants(["/deployers", "/operators"]) == (Grant("admin"), Grant("push", ("hello", "shop")))
    assert found.grants(["deployers", "/Operators"]) == ()


def test_the_page_names_every_key() -> None:
    rows = [f"| `{key.name}` | {key.kind.words} |" for key in keys_of(providers_settings.Provider).values()]
    assert [row for row in rows if row not in PAGE.read_text()] == []
