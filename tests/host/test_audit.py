"""The audit: everything that acts, by each way, with who, from where, and what came of it; and who can read it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from corpushooks.operations.auditing import detail
from corpushooks.operations.table import CALLER, OPERATIONS
from corpushooks.protocol import asks
from corpushooks.store import audit
from corpushooks.store.audit import DONE, REFUSED, Asked, Audit
from corpushooks.store.history import History
from tests.support.box import Box
from tests.support.browsing import GOOD, Browser, Seen, account
from tests.support.command import ME, asked, complains, corpus
from tests.support.door import Door
from tests.support.shared_box import shared_box
from tests.support.web import Web, serving


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with shared_box(tmp_path_factory.mktemp("audit"), page="one") as box, serving(box) as found:
        box.init("other")
        yield found


def newest(box: Box, *words: str) -> dict[str, Any]:
    """Return the newest row of the audit."""
    found: dict[str, Any] = asked(box, "audit", *words)[0]
    return found


def short(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[key] for key in ("who", "via", "origin", "operation", "project", "outcome"))


# what is in it


def test_what_acts_is_in_the_audit_and_what_looks_is_not() -> None:
    looking = {name for name, row in OPERATIONS.items() if row.about != CALLER and not row.acts}
    assert looking == {
        "status", "history", "deployment", "commands", "open", "log", "app-log", "archives", "backups", "stats",
        "metrics", "config", "diff", "variables", "audit", "key list", "key test", "token list", "account list",
        "host", "doctor", "names", "tasks", "storage", "node list", "node show", "node key", "node hello",
        "node outcome", "node log", "tests", "setting list", "session list",
    }  # fmt: skip


def test_a_push_and_a_command_are_in_it(web: Web) -> None:
    box = web.box
    work = box.app("two")
    assert work.push().code == 0
    row = newest(box, "hello")
    assert short(row) == (ME, "push", ME, "push", "hello", "deployed")
    assert row["detail"]["commands"] == [f"refs/heads/master {work.head}"] and box.deployment(row["number"])
    assert corpus(box, "freeze", "hello", "moving house").code == 0
    row = newest(box)
    assert short(row) == (ME, "command", ME, "freeze", "hello", "done") and row["detail"] == {"reason": "moving house"}
    box.work().commit({"page.html": "three"}, "three")
    assert box.work().push().code == 1
    row = newest(box)
    assert short(row)[3:] == ("push", "hello", "refused") and row["number"] is None
    assert "frozen" in row["reason"]
    corpus(box, "thaw", "hello")
    assert corpus(box, "rollback", "hello", "1").code == 0
    assert short(newest(box)) == (ME, "command", ME, "rollback", "hello", "deployed")
    text = corpus(box, "audit", "hello").text.splitlines()[0]
    assert f"  {ME}  command from {ME}  rollback hello {newest(box)['number']}  number=1  deployed" in text


def test_a_token_and_a_page_are_in_it_and_so_are_deployments(web: Web) -> None:
    box = web.box
    found = web.api("POST", "/projects/hello/deployments", {}, X_Forwarded_For="192.0.2.9")
    assert found.status == 202
    number = found.json["number"]
    box.ended(number)
    row = newest(box, "hello")
    assert short(row) == ("token host", "token", "192.0.2.9", "deploy", "hello", "deployed") and row["number"] == number
    assert box.deployment(number).request.via == "token"
    ann = Browser(web, headers={"X-Forwarded-For": "192.0.2.10"}).sign_in()
    done = ann.act("/projects/hello/redeploy")
    number = int(done.headers["location"].rpartition("/")[2])
    assert box.ended(number).request.via == "page"
    assert short(newest(box, "hello")) == ("token host", "page", "192.0.2.10", "deploy", "hello", "deployed")


def test_who_signs_in_and_out_is_in_it_and_who_fails(web: Web) -> None:
    box = web.box
    link = asked(box, "account", "add", "ann")["link"].partition("8040")[2]
    assert newest(box)["detail"] == {"name": "ann", "right": "read"}
    ann = Browser(web, headers={"X-Forwarded-For": "192.0.2.11"})
    assert ann.post(link, {"password": GOOD, "again": GOOD}).status == 303
    signed, password = asked(box, "audit", "--limit", "2")
    assert short(signed) == ("account ann", "page", "192.0.2.11", "sign-in", "", "done")
    assert short(password) == ("account ann", "page", "192.0.2.11", "set-password", "", "done")
    ann.post("/sign-out", Seen(ann.get("/").text).form("/sign-out"))
    assert short(newest(box))[3:] == ("sign-out", "", "done")
    ann.post("/sign-in", {"name": "ann", "password": "hunter2hunter2"})
    assert short(newest(box)) == ("account ann", "page", "192.0.2.11", "sign-in", "", "refused")
    ann.post("/sign-in", {"name": "my-secret-password", "password": ""})
    row = newest(box)
    assert short(row) == ("", "page", "192.0.2.11", "sign-in", "", "refused")
    everything = json.dumps(asked(box, "audit"))
    assert not [text for text in ("hunter2", "my-secret", GOOD, link.rpartition("/")[2]) if text in everything]


def test_what_is_not_allowed_is_in_it_as_refused_and_once(web: Web) -> None:
    token = web.token("read", "hello")
    for _ in range(5):
        assert web.api("POST", "/projects/hello/freeze", {"reason": "x"}, token).status == 403
        assert web.api("POST", "/projects/other/thaw", {}, token).status == 403
    rows = asked(web.box, "audit", "--who", "token read-hello")
    assert [(row["operation"], row["project"], row["outcome"], row["times"]) for row in rows] == [
        ("thaw", "other", "refused", 5), ("freeze", "hello", "refused", 5),
    ]  # fmt: skip


def test_secrets_are_not_in_it() -> None:
    given = asks.Assign(project="hello", pairs=(("password", "hunter2", "stdin"), ("colour", "blue", "")), keys=())
    assert json.loads(detail(given)) == {"pairs": ["password", "colour"], "deploy": True}
    assert "AAAA" not in detail(asks.KeyAdd(name="jo", key="ssh-ed25519 AAAA"))
    assert "hunter2" not in detail(asks.Run(project="hello", words=("mysql", "-phunter2")))
    long = json.loads(detail(asks.Freeze(project="hello", reason="x\x1b[2J\n" * 500)))
    assert len(long["reason"]) == 200 and "\x1b" not in long["reason"]


# who reads it


def test_the_audit_is_for_admins_of_what_it_is_about(web: Web) -> None:
    box = web.box
    corpus(box, "freeze", "other", "why")
    corpus(box, "thaw", "other")
    corpus(box, "thaw", "--all")
    for right, projects, status in (("read", (), 403), ("push", ("hello",), 403), ("admin", ("hello",), 200)):
        token = web.token(right, *projects)
        found = web.api("GET", "/projects/hello/audit", token=token)
        assert found.status == status, right
        assert web.api("GET", "/projects/other/audit", token=token).status == 403
        every = web.api("GET", "/audit", token=token)
        assert {row["project"] for row in every.json} <= {"hello"}, right
    assert {row["project"] for row in web.api("GET", "/audit", token=web.token("admin")).json} >= {"", "other"}


def test_the_audit_can_be_narrowed(web: Web) -> None:
    box = web.box
    corpus(box, "freeze", "other", "why")
    corpus(box, "thaw", "other")
    assert {row["project"] for row in asked(box, "audit", "other")} == {"other"}
    assert {row["who"] for row in asked(box, "audit", "--who", ME)} == {ME}
    assert asked(box, "audit", "--who", "nobody") == [] and "nothing" in corpus(box, "audit", "--who", "nobody").text
    assert asked(box, "audit", "--since", "1d") and asked(box, "audit", "--since", "2090-01-01") == []
    assert len(asked(box, "audit", "--limit", "1")) == 1
    complains(corpus(box, "audit", "--since", "monday"), 2, "invalid day 'monday'",
              "use a date like 2030-12-31, or days like 90d")  # fmt: skip


def test_the_audit_is_bounded_and_a_flood_of_refusals_is_one_row(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "MOST", 20)
    monkeypatch.setattr(audit, "OFTEN", 10)
    history = History(tmp_path / "store.sqlite")
    store, freeze = Audit(history), Asked("jo", "ssh", "192.0.2.1", "freeze", "hello")
    store.add(freeze, DONE)
    for _ in range(100):
        store.add(freeze, REFUSED, "not allowed")
    rows = store.rows(None)
    assert [(row["outcome"], row["times"]) for row in rows] == [("refused", 100), ("done", 1)]
    for _ in range(100):
        store.add(freeze, DONE)
    assert len(store.rows(None, limit=1000)) <= 30
    history.close()


def test_refusals_of_one_caller_do_not_push_out_what_was_done(tmp_path: Any) -> None:
    history = History(tmp_path / "store.sqlite")
    store = Audit(history)
    store.add(Asked("jo", "ssh", "192.0.2.1", "freeze", "hello"), DONE)
    for number in range(3 * audit.OTHERS):
        asked = Asked("eve", "token", "192.0.2.9", "task", f"p{number}", json.dumps({"task": f"{number}"}))
        store.add(asked, REFUSED, f"unknown project p{number}")
    rows = store.rows(None, limit=1000)
    assert len(rows) == 1 + audit.OTHERS
    assert sum(row["times"] for row in rows) == 1 + 3 * audit.OTHERS
    assert rows[-1]["who"] == "jo"
    history.close()


# over ssh, and as pages


def test_who_comes_over_ssh_is_in_it_with_their_address(door: Door) -> None:
    door.box.app()
    door.add("alice", "push", "hello")
    door.add("boss", "host")
    assert door.work("alice").push().code == 0
    row = newest(door.box)
    assert short(row) == ("alice", "push", "127.0.0.1", "push", "hello", "deployed")
    assert door.ssh("alice", "freeze hello why").code == 3
    row = newest(door.box)
    assert short(row)[:3] == ("alice", "ssh", "127.0.0.1") or row["operation"] == "push"  # refused at the door
    assert door.ssh("boss", "rollback hello 1").code == 0
    assert short(newest(door.box)) == ("boss", "ssh", "127.0.0.1", "rollback", "hello", "deployed")
    assert json.loads(door.ssh("boss", "audit hello --json").stdout)[0]["operation"] == "rollback"
    assert door.ssh("alice", "audit hello").code == 3


EVIL = "<script>alert(1)</script>\"'>"


def test_the_pages_of_the_audit_and_of_accounts(web: Web) -> None:
    boss = account(web, "boss", "--host")
    form = {**Seen(boss.get("/accounts").text).form("/accounts"), "name": "pia", "right": "push", "projects": "hello"}
    assert boss.post("/accounts", {**form, "csrf": "x"}).status == 409
    found = boss.post("/accounts", form)
    assert found.status == 200 and "http://localhost:8040/password/" in found.text
    assert boss.post("/accounts", form).status == 400  # the name is used
    assert "http://localhost:8040/password/" not in boss.get("/accounts").text
    assert "password/" in boss.act("/accounts/pia/link").text
    boss.act("/projects/hello/freeze", reason=EVIL)
    boss.act("/projects/hello/thaw")
    for path in ("/audit", "/projects/hello/audit", "/audit?who=account+boss&since=1d", "/audit?who=%3Cb%3E"):
        page = boss.get(path)
        assert page.status == 200 and not [tag for tag, _ in Seen(page.text).tags if tag in ("script", "b")], path
    assert "alert(1)" in Seen(boss.get("/projects/hello/audit").text).text
    assert boss.get("/audit?since=monday").status == 400
    assert boss.act("/accounts/pia/revoke").headers["location"] == "/accounts"
    assert "pia" not in Seen(boss.get("/accounts").text).text
    push = Browser(web).sign_in("push", "hello")
    for path in ("/accounts", "/accounts/pia/revoke", "/accounts/pia/link", "/projects/hello/audit"):
        assert push.get(path).status == 403, path
    assert "/audit" not in push.get("/").text and "/accounts" in boss.get("/").text


def test_a_token_that_is_signed_in_makes_no_accounts(web: Web) -> None:
    token = Browser(web).sign_in("host")
    form = {**Seen(token.get("/accounts").text).form("/accounts"), "name": "quin", "right": "read"}
    refused = token.post("/accounts", form)
    assert refused.status == 409 and "a token cannot create accounts" in refused.text


def test_what_the_command_does_in_its_own_process_is_in_it_too(box: Box) -> None:
    box.app().push()
    box.stop()
    assert corpus(box, "deploy", "hello", "--here").code == 0
    row = newest(box)
    assert short(row) == (ME, "command", ME, "deploy", "hello", "deployed") and row["number"] == 2
