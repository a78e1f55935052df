"""People of a directory sign in to the pages: a real slapd judges their password, the settings their groups."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from corpushooks.access import ldap
from corpushooks.core.settings import parse
from tests.support.box import Box
from tests.support.browsing import GOOD, Browser, account
from tests.support.command import asked
from tests.support.shared_box import shared_box
from tests.support.slapd import BASE, READER, Slapd, serving
from tests.support.web import Web
from tests.support.web import serving as web_of


def said(slapd: Slapd, **other: object) -> dict[str, object]:
    """Return what the settings say of the directory."""
    return {
        "uri": slapd.uri, "base": f"ou=people,{BASE}", "group_base": f"ou=groups,{BASE}", "bind_dn": READER,
        "bind_password_file": str(slapd.folder / "reader"), "ca_file": str(slapd.folder / "tls.crt"), "timeout": 10,
        "groups": {"devs": {"right": "push", "projects": ["hello"]}, "ops": {"right": "admin"}}, **other,
    }  # fmt: skip


@pytest.fixture(scope="module")
def slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with serving(tmp_path_factory.mktemp("slapd")) as found:
        found.person("ann", password=GOOD)
        found.person("bea", password=GOOD)
        found.person("carl", password=GOOD, cn="carl one")
        found.person("carl", password=GOOD, cn="carl two")
        found.person("nobody")  # who has no password
        found.person("d*n", password=GOOD)
        found.group("devs", ["ann", "carl", "nobody", "lea", "d*n"])
        found.group("hello-deploy", ["bea"])  # a name that means something here gives nothing
        yield found


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory, slapd: Slapd) -> Iterator[Web]:
    with shared_box(tmp_path_factory.mktemp("pages"), page="one") as box:
        settle(box, slapd)
        with web_of(box) as found:
            yield found


def settle(box: Box, slapd: Slapd, **other: object) -> None:
    box.stop()
    box.settings(json.dumps({"auth": "ldap", "ldap": said(slapd, **other)}))
    box.start()


def signs_in(web: Web, name: str, password: str) -> tuple[Browser, Any]:
    browser = Browser(web)
    return browser, browser.post("/sign-in", {"name": name, "password": password})


def later(web: Web, seconds: float = 120.0) -> None:
    """Make the directory's answers older than they are."""
    history = web.box.history
    with history.change() as db:
        db.execute("UPDATE session SET checked = checked - ?", (seconds,))
    history.close()


def test_a_person_signs_in_with_the_rights_of_their_groups(web: Web) -> None:
    ann, found = signs_in(web, "ann", GOOD)
    assert found.status == 303 and ann.get("/projects/hello").status == 200
    done = ann.act("/projects/hello/redeploy")
    number = int(done.headers["location"].rpartition("/")[2])
    assert (web.box.ended(number).request.who, web.box.ended(number).request.via) == ("ann", "page")
    assert ann.get("/projects/hello/freeze").status == 200
    assert ann.act("/projects/hello/freeze", reason="x").status == 403
    row = asked(web.box, "audit", "--who", "ann")[-1]
    assert (row["operation"], row["detail"], row["outcome"]) == ("sign-in", {"by": "ldap"}, "done")


@pytest.mark.parametrize(("name", "password"), [
    ("ann", ""), ("ann", "wrong password"), ("nobody", GOOD), ("nobody", ""), ("bea", GOOD), ("carl", GOOD),
    ("*", GOOD), ("a*", GOOD), ("ann)(uid=*", GOOD), ("", GOOD), ("", ""), ("reader", "pass word"), ("d*n", GOOD),
    ("unknown", GOOD), (f"cn=ann,ou=people,{BASE}", GOOD),
])  # fmt: skip
def test_what_is_wrong_signs_nobody_in(web: Web, name: str, password: str) -> None:
    browser = Browser(web, headers={"X-Forwarded-For": "192.0.2.33" if len(name) > 3 else "192.0.2.34"})
    found = browser.post("/sign-in", {"name": name, "password": password})
    assert found.status == 401 and "wrong name or password" in found.text and not browser.cookie


def test_an_empty_password_is_refused(slapd: Slapd) -> None:
    where = parse(json.dumps({"ldap": said(slapd)}), "F").ldap
    assert where
    door = ldap.prepared(where)
    assert ldap.sign_in(door, "ann", "") is None and ldap.sign_in(door, "", GOOD) is None
    assert ldap.sign_in(door, "ann", GOOD) == ldap.Person("ann", ("devs",))
    assert ldap.by_name(where, "ann") == ldap.Person("ann", ("devs",)) and ldap.by_name(where, "x") is None


def test_an_account_comes_before_a_person_with_its_name(web: Web) -> None:
    account(web, "lea", "--read", password="another good one")
    assert signs_in(web, "lea", GOOD)[1].status == 401
    lea, found = signs_in(web, "lea", "another good one")
    assert found.status == 303 and "account lea" in lea.get("/").text


def test_rights_follow_the_directory_and_a_session_ends_with_them(web: Web, slapd: Slapd) -> None:
    entry = slapd.person("fay", password=GOOD)
    group = slapd.group("ops", ["fay"])
    fay, _ = signs_in(web, "fay", GOOD)
    assert fay.act("/projects/hello/freeze", reason="x").status == 303
    assert fay.act("/projects/hello/thaw").status == 303
    slapd.take_out(group)
    later(web)
    assert fay.get("/").status == 303
    group = slapd.group("ops", ["fay"])
    fay, _ = signs_in(web, "fay", GOOD)
    slapd.take_out(entry)
    assert fay.get("/").status == 200  # the answer is fresh
    later(web)
    assert fay.get("/").status == 303
    slapd.take_out(group)


def test_while_the_directory_is_down_nobody_signs_in_and_sessions_go_on_for_a_while(web: Web, slapd: Slapd) -> None:
    ann, _ = signs_in(web, "ann", GOOD)
    slapd.stop()
    try:
        later(web)
        assert ann.get("/").status == 200
        found = signs_in(web, "ann", GOOD)[1]
        assert found.status == 503 and "the directory did not answer" in found.text and slapd.uri not in found.text
        later(web, 2 * 86400.0)
        assert ann.get("/").status == 303
    finally:
        slapd.start()


def test_sessions_end_where_the_settings_no_longer_have_it(web: Web, slapd: Slapd) -> None:
    kept = signs_in(web, "ann", GOOD)[0].cookie
    settle(web.box, slapd, groups={"others": {"right": "host"}})
    assert Browser(web, kept).get("/").status == 303 and signs_in(web, "ann", GOOD)[1].status == 401
    settle(web.box, slapd, sign_in=False)
    assert Browser(web, kept).get("/").status == 303 and signs_in(web, "ann", GOOD)[1].status == 401
    settle(web.box, slapd)
    assert Browser(web, kept).get("/").status == 200
