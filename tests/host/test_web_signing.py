"""Accounts: made, used and revoked; what the daemon keeps of them; and what hostile people try at the sign-in."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from corpushooks.access import accounts, attempts, proof
from corpushooks.access.accounts import Accounts
from corpushooks.access.attempts import Attempts, is_loopback, network
from corpushooks.access.keys import ACCOUNT, TOKEN, Key
from corpushooks.access.sessions import IDLE, LONGEST, MOST, PREFIX, Sessions
from corpushooks.access.tokens import Tokens, digest
from corpushooks.core.errors import BusyError, CredentialError, StoreError, UsageError
from corpushooks.store.audit import Audit
from corpushooks.store.history import History
from tests.support.box import Box, until
from tests.support.browsing import GOOD, Browser, Seen, account, path_of
from tests.support.command import ME, asked, complains, corpus
from tests.support.shared_box import shared_box
from tests.support.web import Web, serving

FAR = {"X-Forwarded-For": "192.0.2.7"}


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with shared_box(tmp_path_factory.mktemp("signing"), page="one") as box, serving(box) as found:
        box.init("other")
        yield found


def signs_in(browser: Browser, name: str, password: str, after: str = "/") -> Any:
    return browser.post("/sign-in", {"name": name, "password": password, "next": after})


# the command


def test_an_account_is_made_listed_linked_and_revoked(box: Box) -> None:
    found = asked(box, "account", "add", "ann", "--push", "--project", "hello", "--expires", "30d")
    link = found.pop("link")
    assert (found["right"], found["projects"], found["by"], found["password"]) == ("push", ["hello"], ME, False)
    assert asked(box, "account", "list") == [found]
    assert corpus(box, "account", "list").text.startswith("ann              push hello, until ")
    assert ", no password yet" in corpus(box, "account", "list").text
    complains(corpus(box, "account", "add", "ann"), 2, "there is already an account 'ann'",
              "corpus account revoke ann, or choose another name")  # fmt: skip
    again = corpus(box, "account", "link", "ann").text.splitlines()
    assert again[0].startswith("http://localhost:8040/password/") and again[0] != link
    assert again[1].startswith("to set the password of ann, once, until ")
    complains(corpus(box, "account", "link", "jo"), 2, "unknown account 'jo'", "corpus account list")
    assert corpus(box, "account", "revoke", "ann").text == "revoked ann: push hello"
    complains(corpus(box, "account", "revoke", "ann"), 2, "unknown account 'ann'", "corpus account list")
    assert asked(box, "account", "list") == []


def test_links_lead_to_the_address_of_the_settings(box: Box) -> None:
    box.settings("web_url: https://deploy.example.org/\n")
    assert asked(box, "account", "add", "ann")["link"].startswith("https://deploy.example.org/password/")


def test_the_store_has_nothing_that_can_be_presented(tmp_path: Any) -> None:
    history = History(tmp_path / "store.sqlite")
    store = Accounts(history)
    made = store.add(Key("ann", ACCOUNT, "", "read"))
    link = store.link("ann").secret
    session = Sessions(history).begin(ACCOUNT, "ann", "account ann", mark=made.blob)
    hashed = proof.hash_({"password": GOOD})["hash"]
    store.set_password(link, hashed)
    session = Sessions(history).begin(ACCOUNT, "ann", "account ann", mark=made.blob)
    assert [row["hash"] for row in history.rows("SELECT * FROM session")] == [digest(session)]
    history.close()
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("store*"))
    assert hashed.encode() in kept and hashed.startswith("$argon2id$")
    assert not [text for text in (link, session, GOOD) if text.encode() in kept]


def test_a_link_is_spent_with_its_password_or_not_at_all(tmp_path: Any) -> None:
    history = History(tmp_path / "store.sqlite")
    store = Accounts(history)
    made = store.add(Key("ann", ACCOUNT, "", "read"))
    Sessions(history).begin(ACCOUNT, "ann", "account ann", mark=made.blob)
    link = store.link("ann").secret
    with history.change() as db:
        db.execute("CREATE TRIGGER full BEFORE DELETE ON session BEGIN SELECT RAISE(ABORT, 'the disk is full'); END")
    with pytest.raises(StoreError, match="the disk is full"):
        store.set_password(link, "hashed")
    assert (store.of_link(link, accounts.PASSWORD).name, store.known("ann").password) == ("ann", "")
    with history.change() as db:
        db.execute("DROP TRIGGER full")
    assert store.set_password(link, "hashed").name == "ann" and store.known("ann").password == "hashed"
    with pytest.raises(CredentialError):
        store.set_password(link, "other")
    assert store.known("ann").password == "hashed"
    history.close()


def test_who_signed_in_from_where_is_found_by_an_index(tmp_path: Any) -> None:
    history = History(tmp_path / "store.sqlite")
    asked: list[str] = []
    audit = Audit(history)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(History, "rows", lambda _, text, *values: asked.append(text) or [])
        assert not audit.has_signed_in("ann", "192.0.2.1")
    plan = history.rows(f"EXPLAIN QUERY PLAN {asked[0]}", "ann", "192.0.2.1", "done")
    assert "audit_signed_in" in plan[0]["detail"]
    history.close()


# sign in


def test_who_has_an_account_signs_in_with_its_rights_and_no_more(web: Web) -> None:
    account(web, "carl", "--read", "--project", "hello")
    browser = Browser(web)
    done = signs_in(browser, "carl", GOOD, "/projects/hello")
    assert (done.status, done.headers["location"]) == (303, "/projects/hello")
    assert browser.get("/projects/hello").status == 200 and "account carl" in browser.get("/").text
    other, nowhere = (browser.get(f"/projects/{name}") for name in ("other", "nowhere"))
    assert other.status == nowhere.status == 403 and other.body == nowhere.body
    form = Seen(browser.get("/projects/hello/redeploy").text).form()
    assert browser.post("/projects/hello/redeploy", form).status == 403


def test_what_somebody_does_has_their_name(web: Web) -> None:
    dora = account(web, "dora", "--push", "--project", "hello")
    done = dora.act("/projects/hello/redeploy")
    number = int(done.headers["location"].rpartition("/")[2])
    assert web.box.ended(number).request.who == "account dora"


@pytest.mark.parametrize(("name", "password"), [
    ("eve", "wrong password"), ("eve", ""), ("nobody", GOOD), ("", GOOD), ("", ""), ("eve' OR 1=1 --", GOOD),
    ("EVE", GOOD), ("eve", GOOD + " "), ("eve", GOOD.upper()),
])  # fmt: skip
def test_what_is_wrong_signs_nobody_in_and_does_not_say_why(web: Web, name: str, password: str) -> None:
    if not any(each["name"] == "eve" for each in asked(web.box, "account", "list")):
        account(web, "eve")
    browser = Browser(web)
    found = signs_in(browser, name, password)
    assert found.status == 401 and "wrong name or password" in found.text and not browser.cookie


def test_an_account_without_a_password_or_that_is_over_signs_nobody_in(web: Web) -> None:
    asked(web.box, "account", "add", "new")
    assert signs_in(Browser(web), "new", "").status == signs_in(Browser(web), "new", GOOD).status == 401
    old = account(web, "old", "--expires", "30d")
    history = web.box.history
    with history.change() as db:
        db.execute("UPDATE account SET expires = 1.0 WHERE name = 'old'")
    history.close()
    assert old.get("/").status == 303
    assert signs_in(Browser(web), "old", GOOD).status == 401


def test_a_link_sets_a_password_once_and_ends_what_began_before(web: Web) -> None:
    first = account(web, "fay")
    link = path_of(asked(web.box, "account", "link", "fay")["link"])
    shown = Browser(web).get(link)
    assert shown.status == 200 and "fay" in Seen(shown.text).text
    assert shown.headers["referrer-policy"] == "same-origin"
    assert Browser(web).get(link).status == 200  # who looks ahead does not use it up
    second = Browser(web)
    for wrong, why in (("short", "12 to 1024"), ("aaaaaaaaaaaaaaaa", "too easy"), ("x" * 2000, "12 to 1024")):
        told = second.post(link, {"password": wrong, "again": wrong})
        assert told.status == 400 and why in told.text and not second.cookie
    assert second.post(link, {"password": GOOD, "again": "another"}).status == 400
    assert second.post(link, {"password": "another good one", "again": "another good one"}).status == 303
    assert first.get("/").status == 303 and second.get("/").status == 200
    for browser in (Browser(web), second):
        assert browser.get(link).status == 404
        assert browser.post(link, {"password": GOOD, "again": GOOD}).status == 404
    assert signs_in(Browser(web), "fay", GOOD).status == 401
    assert signs_in(Browser(web), "fay", "another good one").status == 303


def test_a_link_ends_when_its_time_is_over_another_is_made_or_the_account_is_gone(web: Web) -> None:
    old = path_of(asked(web.box, "account", "add", "gus")["link"])
    new = path_of(asked(web.box, "account", "link", "gus")["link"])
    assert Browser(web).get(old).status == 404 and Browser(web).get(new).status == 200
    history = web.box.history
    with history.change() as db:
        db.execute("UPDATE account SET link_ends = 1.0 WHERE name = 'gus'")
    history.close()
    assert Browser(web).get(new).status == 404
    new = path_of(asked(web.box, "account", "link", "gus")["link"])
    asked(web.box, "account", "revoke", "gus")
    assert Browser(web).get(new).status == Browser(web).get("/password/").status == 404


def test_a_link_is_used_by_one_of_many_who_come_at_once(tmp_path: Any) -> None:
    history, used = History(tmp_path / "store.sqlite"), list[str]()
    store = Accounts(history)
    store.add(Key("ann", ACCOUNT, "", "read"))
    secret, start = store.link("ann").secret, threading.Barrier(8)

    def use() -> None:
        start.wait()
        with contextlib.suppress(CredentialError):
            used.append(store.use_link(secret, accounts.PASSWORD).name)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert used == ["ann"]
    history.close()


def test_a_link_to_sign_in_is_for_this_machine_and_for_a_click(web: Web) -> None:
    history = web.box.history
    Accounts(history).add(Key("demo", ACCOUNT, "", "host"))
    path = f"/sign-in/link/{Accounts(history).link('demo', accounts.SIGN_IN).secret}"
    assert Browser(web).get(path.replace("/sign-in/link/", "/password/")).status == 404
    far = Browser(web, headers=FAR)
    found = far.post(path, {})
    assert found.status == 401 and "on the machine itself" in found.text and not far.cookie
    near = Browser(web)
    assert near.get(path).status == 200 and not near.cookie
    assert near.post(path, {}, Origin="https://evil.example").status == 409
    assert near.post(path, {}).status == 303 and near.get("/").status == 200
    assert Browser(web).post(path, {}).status == 404
    history.close()


# sessions


def test_a_session_goes_on_after_a_restart_of_the_pages_and_of_the_daemon(box: Box) -> None:
    with serving(box) as web:
        ann = account(web, "ann")
        web.stop()
        box.stop()
        box.start()
        web.start()
        assert ann.get("/").status == 200


def test_a_session_ends_with_its_account_and_another_with_its_name_does_not_get_it(web: Web) -> None:
    ida = account(web, "ida", "--host")
    asked(web.box, "account", "revoke", "ida")
    assert ida.get("/").headers["location"] == "/sign-in?next=/"
    history = web.box.history
    mark = Accounts(history).add(Key("ida", ACCOUNT, "", "read")).blob
    text = Sessions(history).begin(ACCOUNT, "ida", "account ida", mark="another")
    assert Browser(web, text).get("/").status == 303
    text = Sessions(history).begin(ACCOUNT, "ida", "account ida", mark=mark)
    assert Browser(web, text).get("/").status == 200
    history.close()


def test_a_session_is_always_new_and_what_was_there_before_ends(web: Web) -> None:
    jane = account(web, "jane")
    before = jane.cookie
    for planted in ("fixed", PREFIX + "x" * 43, before):
        browser = Browser(web, planted)
        assert signs_in(browser, "jane", GOOD).status == 303
        assert browser.cookie not in ("fixed", planted, before) and browser.cookie.startswith(PREFIX)
        assert Browser(web, planted).get("/").status == 303
        assert browser.get("/").status == 200


def test_the_sessions_of_somebody_are_listed_and_ended_by_a_command_and_a_page(web: Web) -> None:
    gina, other = account(web, "gina", "--read"), account(web, "hugo", "--read")
    assert signs_in(Browser(web), "gina", GOOD).status == 303
    found = asked(web.box, "session", "list", "account gina")
    assert [(each["who"], each["source"], each["address"]) for each in found] == [
        ("account gina", "account", "127.0.0.1")
    ] * 2
    assert "account hugo" in corpus(web.box, "session", "list").text
    assert web.api("GET", "/sessions?who=account%20gina").json == found
    assert corpus(web.box, "session", "end", "account gina").text.startswith("ended account gina")
    assert gina.get("/").status == 303 and other.get("/").status == 200
    complains(corpus(web.box, "session", "end", "account gina"), 2, "'account gina' is not signed in",
              "corpus session list")  # fmt: skip
    host = Browser(web).sign_in()
    assert "/host/end-sessions?who=account%20hugo" in Seen(host.get("/host/sessions").text).links
    done = host.act("/host/end-sessions?who=account%20hugo", who="account hugo")
    assert (done.status, done.headers["location"]) == (303, "/host/sessions")
    assert other.get("/").status == 303 and host.get("/").status == 200
    assert web.api("DELETE", "/sessions?who=account%20hugo").status == 400


def test_sign_out_ends_the_session_everywhere_and_cuts_a_log(web: Web) -> None:
    kim = account(web, "kim")
    csrf = Seen(kim.get("/").text).form("/sign-out")
    assert Browser(web, kim.cookie).post("/sign-out", {"csrf": "x"}).status == 409
    web.box.work().commit({".salt/30_gate.sls": f"gate:\n  cmd.run:\n    - name: while ! test -e {web.box.root}/gate; "
                                               "do sleep 0.05; done\n"}, "gate")  # fmt: skip
    push = web.box.work().start_push()
    history = web.box.history
    until(lambda: [each for each in history.unfinished("hello") if each.state == "running"])
    number = history.last("hello").number
    history.close()
    headers = {"Accept": "text/event-stream", "Cookie": f"__Host-corpus={kim.cookie}"}
    with web.asking("GET", f"/projects/hello/deployments/{number}/log", headers=headers) as stream:
        assert stream.status == 200 and stream.readline()
        assert kim.post("/sign-out", csrf).headers["location"] == "/sign-in"
        text = stream.read().decode()
    assert "event: refused" in text and "you are not signed in" in text
    assert Browser(web, kim.cookie).get("/").status == 303
    (web.box.root / "gate").touch()
    assert push.wait(60) == 0


def test_sessions_are_bounded_and_end_by_themselves(tmp_path: Any) -> None:
    history = History(tmp_path / "store.sqlite")
    mark = Accounts(history).add(Key("ann", ACCOUNT, "", "read")).blob
    store = Sessions(history)
    first, *others = (store.begin(ACCOUNT, "ann", "account ann", mark=mark) for _ in range(MOST + 1))
    assert store.presented(first) is None and all(store.presented(each) for each in others)
    for column, age in (("seen", IDLE), ("began", LONGEST), ("began", -60.0), ("seen", -3600.0)):
        text = store.begin(ACCOUNT, "ann", "account ann", mark=mark)
        with history.change() as db:
            db.execute(f"UPDATE session SET {column} = ? WHERE hash = ?", (time.time() - age, digest(text)))
        assert store.presented(text) is None, column
        assert not history.rows("SELECT * FROM session WHERE hash = ?", digest(text))
    history.close()


def test_a_session_of_a_token_is_not_that_of_another_with_its_name(tmp_path: Any) -> None:
    history = History(tmp_path / "store.sqlite")
    made, _ = Tokens(history).add(Key("ci", TOKEN, "", "read"))
    found = Sessions(history).presented(Sessions(history).begin(TOKEN, "ci", "token ci", mark=made.blob))
    assert found and Sessions(history).key(found) == made
    Tokens(history).revoke("ci")
    Tokens(history).add(Key("ci", TOKEN, "", "host"))
    assert Sessions(history).key(found) is None
    history.close()


# many attempts


def test_attempts_are_counted_for_each_account_and_each_address() -> None:
    held = Attempts()

    def fails(account: str, address: str, *, familiar: bool = False) -> None:
        with pytest.raises(CredentialError), held.attempt(account, address, familiar=familiar):
            raise CredentialError("wrong")

    for number in range(attempts.OF_ACCOUNT):
        fails("ann", f"192.0.2.{number}")
    with pytest.raises(BusyError), held.attempt("ann", "198.51.100.1", familiar=False):
        pass
    with held.attempt("ann", "203.0.113.5", familiar=True):  # where she has signed in before she still can
        pass
    for number in range(attempts.OF_ADDRESS):
        fails(f"someone-{number}", "2001:db8::1")
    with pytest.raises(BusyError), held.attempt("new", "2001:db8::ffff", familiar=False):
        pass
    with held.attempt("new", "2001:db8:0:1::1", familiar=False):
        pass


def test_sign_ins_that_are_begun_elsewhere_are_counted_for_each_address() -> None:
    found = Attempts()
    for _ in range(attempts.BEGUN):
        found.begin("192.0.2.1")
    with pytest.raises(BusyError, match="begun from this address"):
        found.begin("192.0.2.1")
    found.begin("192.0.2.2")


def test_a_failure_of_ours_does_not_count() -> None:
    held = Attempts()
    for _ in range(3 * attempts.OF_ADDRESS):
        with pytest.raises(BusyError, match="down"), held.attempt("ann", "192.0.2.1", familiar=False):
            raise BusyError("the directory is down")
    with held.attempt("ann", "192.0.2.1", familiar=False):
        pass


def test_what_succeeds_does_not_count_and_what_is_long_ago_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Attempts()
    for _ in range(3 * attempts.OF_ADDRESS):
        with held.attempt("ann", "192.0.2.1", familiar=False):
            pass
    monkeypatch.setattr(attempts, "WHILE", -1.0)
    for _ in range(3 * attempts.OF_ADDRESS):
        with pytest.raises(CredentialError), held.attempt("ann", "192.0.2.1", familiar=False):
            raise CredentialError("wrong")


def test_many_at_once_are_not_more_than_one_after_the_other() -> None:
    held, refused, start = Attempts(), list[int](), threading.Barrier(40)
    go = threading.Event()

    def attempt() -> None:
        start.wait()
        try:
            with held.attempt("ann", "192.0.2.1", familiar=False):
                go.wait()
        except BusyError:
            refused.append(1)

    threads = [threading.Thread(target=attempt) for _ in range(40)]
    for each in threads:
        each.start()
    until(lambda: len(refused) == 40 - attempts.OF_ACCOUNT)
    go.set()
    for each in threads:
        each.join()
    assert len(refused) == 40 - attempts.OF_ACCOUNT


def test_what_counts_as_one_address() -> None:
    assert network("2001:db8::1") == network("2001:db8::2") != network("2001:db8:0:1::1")
    assert network("::ffff:192.0.2.1") == "192.0.2.1" and network("fe80::1%eth0") == "fe80::/64"
    assert network("unknown") == network("") == ""
    assert is_loopback("127.0.0.1") and is_loopback("::1") and not is_loopback("192.0.2.1") and not is_loopback("")


def test_too_many_wrong_passwords_are_refused_from_there_and_not_from_home(web: Web) -> None:
    account(web, "lena")
    for number in range(attempts.OF_ACCOUNT):
        far = Browser(web, headers={"X-Forwarded-For": f"198.51.100.{number}"})
        assert signs_in(far, "lena", "a wrong password").status == 401
    for password in ("a wrong password", GOOD):
        assert signs_in(Browser(web, headers=FAR), "lena", password).status == 503
    assert signs_in(Browser(web), "lena", GOOD).status == 303


# hostile


@pytest.mark.parametrize("path", ["/sign-in", "/password/x", "/sign-in/link/x"])
@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Origin": "null"},
                                     {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}])  # fmt: skip
def test_another_site_signs_nobody_in(web: Web, path: str, headers: dict[str, str]) -> None:
    if not any(each["name"] == "mia" for each in asked(web.box, "account", "list")):
        account(web, "mia")
    browser = Browser(web)
    found = browser.post(path, {"name": "mia", "password": GOOD}, **headers)
    assert found.status in (404, 409) and not browser.cookie


@pytest.mark.parametrize("to", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:x", "/\tx"])
def test_who_signs_in_is_not_led_elsewhere(web: Web, to: str) -> None:
    token = {"token": web.token("read"), "next": to}
    assert Browser(web).post("/sign-in", token).headers["location"] == "/"
    shown = Browser(web).get("/sign-in?next=https://evil.example/")
    assert "evil" not in shown.text


def test_a_secret_of_a_form_does_not_tell_the_session_and_is_of_one_session(web: Web) -> None:
    nina, olaf = account(web, "nina", "--admin"), account(web, "olaf", "--admin")
    form = Seen(nina.get("/projects/hello/freeze").text).form()
    assert form["csrf"] not in nina.cookie and nina.cookie not in nina.get("/projects/hello/freeze").text
    assert olaf.post("/projects/hello/freeze", {**form, "reason": "forged"}).status == 409


def test_a_session_is_worth_nothing_after_its_end_to_the_api_either(web: Web) -> None:
    pam = account(web, "pam")
    asked(web.box, "account", "revoke", "pam")
    found = web.api("GET", "/projects", token=pam.cookie)
    assert found.status == 401 and found.json["detail"] == "you are not signed in"


def test_a_password_is_judged_by_length_and_by_what_is_in_it() -> None:
    assert accounts.check_password(GOOD, "ann") == GOOD
    for wrong in ("", "x" * 11, "x" * 1025, "ababababababab", "maria-maria1"):
        with pytest.raises(UsageError):
            accounts.check_password(wrong, "maria")


def test_the_child_judges_and_says_nothing_more() -> None:
    hashed = proof.hash_({"password": GOOD})["hash"]
    assert proof.verify({"hash": hashed, "password": GOOD}) == {"right": True}
    for wrong in ("", hashed + "x", proof.NONE, "$argon2id$broken", "plain"):
        assert proof.verify({"hash": wrong, "password": GOOD}) == {"right": False}
    assert proof.verify({"hash": hashed, "password": ""}) == {"right": False}


def test_json_has_no_password(web: Web) -> None:
    account(web, "quin")
    assert "argon2" not in json.dumps(asked(web.box, "account", "list"))
    assert "argon2" not in web.api("GET", "/accounts").text
    assert web.api("DELETE", "/accounts/quin").status == 200
