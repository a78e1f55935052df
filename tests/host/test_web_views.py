"""The further pages: configuration, storage, tasks, backups, access, and the host; and what can be done there."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from corpushooks.web.actions import ACTIONS, HOST_ACTIONS, Action
from corpushooks.web.views import HOST_VIEWS, VIEWS
from tests.support.box import until
from tests.support.browsing import Browser, Seen
from tests.support.command import asked
from tests.support.shared_box import shared_box
from tests.support.ssh_keys import ED25519
from tests.support.web import Web, serving

SECRET = "s3cret-value"
SAMPLE = f"makina-projects.hello:\n  data:\n    colour: blue\n    db_password: {SECRET}\n  urls: [http://localhost/]\n"
TASK = "hi:\n  cmd.run:\n    - name: echo hi from the task\n"
BROKEN = "broken:\n  cmd.run:\n    - name: echo it is <b>wrong</b>; exit 3\n"


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Return the pages of a host with three deployments, a task, and something secret."""
    with shared_box(tmp_path_factory.mktemp("views"), page="one") as box, serving(box) as found:
        files = {".salt/task_hi.sls": TASK, ".salt/PILLAR.sample": SAMPLE}
        assert box.app("two", files={**files}).push().code == 0
        assert box.app("three").push().code == 0
        box.ended(3)
        yield found


@pytest.fixture
def ann(web: Web) -> Browser:
    return Browser(web).sign_in()


EVERY = [*(f"/projects/hello/{name}" for name in VIEWS), *(f"/host/{name}" for name in HOST_VIEWS)]


@pytest.mark.parametrize("path", EVERY)
def test_a_page_shows_what_the_daemon_answers_and_never_a_secret(ann: Browser, path: str) -> None:
    found = ann.get(path)
    assert found.status == 200 and "<h1>" in found.text and SECRET not in found.text
    assert {link for link in Seen(found.text).links if "/host/" in link or "/projects/" in link}
    assert (
        found.headers["x-frame-options"] == "DENY"
        and "frame-ancestors 'none'" in found.headers["content-security-policy"]
    )
    assert found.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", EVERY)
def test_who_may_not_is_told_nothing(web: Web, path: str) -> None:
    assert Browser(web).get(path).status == 303
    other = Browser(web).sign_in("admin", "nowhere").get(path)
    assert "blue" not in other.text and "hello" not in other.text.replace(path, "")
    if path != "/host/metrics":  # those of what one can see
        assert other.status == 403 and "not allowed" in other.text


def test_the_audit_of_a_project_is_a_step_away_for_admins_only(web: Web, ann: Browser) -> None:
    for path in ("/projects/hello", "/projects/hello/tasks"):
        assert "/projects/hello/audit" in Seen(ann.get(path).text).links
        pusher = Browser(web).sign_in("push", "hello").get(path)
        assert pusher.status == 200 and "/projects/hello/audit" not in Seen(pusher.text).links
    assert ann.get("/projects/hello/audit").status == 200


def test_a_configuration_says_where_each_value_is_from(ann: Browser) -> None:
    text = Seen(ann.get("/projects/hello/configuration").text).text
    assert "data.colour" in text and "blue" in text and "PILLAR.sample" in text and "********" in text


def test_storage_has_the_size_of_each_archive(ann: Browser) -> None:
    text = Seen(ann.get("/projects/hello/archives").text).text
    assert "KiB" in text and "Free" in text
    found = ann.web.api("GET", "/projects/hello/storage").json
    assert [each["number"] for each in found["archives"]] and all(each["size"] > 0 for each in found["archives"])
    assert found["tree"] > 0 and 0 < found["free"] < found["total"]


def test_names_lead_here_or_not(ann: Browser) -> None:
    assert "localhost" in ann.get("/projects/hello/access").text
    assert ann.web.api("GET", "/projects/hello/names").json[0]["here"] is True


def test_a_task_is_run_and_its_deployment_tells_of_it(ann: Browser) -> None:
    assert "Run hi" in Seen(ann.get("/projects/hello/tasks").text).text
    assert "task" in offered(ann, "/projects/hello/tasks")
    ann.web.box.init("other")
    assert "task" not in offered(ann, "/projects/other/tasks")  # it has none
    done = ann.act("/projects/hello/task?task=hi")
    number = int(done.headers["location"].rpartition("/")[2])
    assert ann.web.box.ended(number).state == "done"
    assert "hi from the task" in ann.get(done.headers["location"]).text
    assert f"/projects/hello/deployments/{number}" in Seen(ann.get("/projects/hello/tasks").text).links


def test_a_plan_says_what_would_change(ann: Browser) -> None:
    box = ann.web.box
    box.work().commit({"new.html": "x", "index.html": None}, "plan")
    box.work().git("push", box.work().remote, "HEAD:refs/heads/next")
    done = ann.act("/projects/hello/plan", rev="next")
    box.ended(int(done.headers["location"].rpartition("/")[2]))
    seen = Seen(ann.get(done.headers["location"]).text)
    assert "new.html" in seen.text and "Files" in seen.text
    box.work().git("reset", "--hard", "--quiet", "HEAD~1")


def test_a_failure_says_the_cause_first(ann: Browser) -> None:
    box = ann.web.box
    box.work().commit({".salt/20_broken.sls": BROKEN}, "broken")
    assert box.work().push().code == 1
    number = (
        box.row().live + 100 if box.row().live is None else ann.web.api("GET", "/projects/hello").json["last"]["number"]
    )
    box.ended(number)
    text = ann.get(f"/projects/hello/deployments/{number}").text
    assert text.index("cmd.run, 20_broken.sls line 1") < text.index("<h2>Log</h2>")
    assert "it is &lt;b&gt;wrong&lt;/b&gt;" in text and "rolled back" in text
    box.work().commit({".salt/20_broken.sls": None}, "whole")


def test_a_variable_is_set_and_a_secret_masked(ann: Browser) -> None:
    assert ann.act("/projects/hello/set", key="shade", text="turquoise", secret="", deploy="").status == 303
    assert ann.act("/projects/hello/set", key="api_token", text=SECRET, secret="yes", deploy="").status == 303
    shown = ann.get("/projects/hello/configuration").text
    assert "shade" in shown and "turquoise" in shown and "api_token" in shown and SECRET not in shown
    assert ann.act("/projects/hello/unset", keys="shade api_token").status == 303


# what destroys


def test_an_archive_is_removed_but_never_the_newest_nor_a_needed_one(ann: Browser) -> None:
    until(lambda: not asked(ann.web.box, "status", "hello")["open"])  # of what an earlier test asked for
    numbers = sorted(each["number"] for each in asked(ann.web.box, "archives", "hello"))
    assert len(numbers) >= 3
    live = ann.web.box.row().live
    assert live in numbers
    first = next(each for each in numbers if each not in (live, numbers[-1]))
    path = f"/projects/hello/remove-archive?number={first}"
    assert ann.act(path, typed="other").status == 400
    assert first in [each["number"] for each in asked(ann.web.box, "archives", "hello")]
    assert ann.act(path, typed="hello").status == 303
    assert first not in [each["number"] for each in asked(ann.web.box, "archives", "hello")]
    for number in {live, numbers[-1]}:
        refused = ann.act(f"/projects/hello/remove-archive?number={number}", typed="hello")
        assert refused.status == 409 and "archive" in refused.text
    assert ann.act("/projects/hello/remove-archive?number=77", typed="hello").status == 400


def test_a_project_is_created_and_removed_by_its_name(ann: Browser) -> None:
    made = ann.act("/host/create", project="third", installer="static")
    assert made.status == 200 and "created third" in made.text and "git clone" in made.text
    assert ann.act("/projects/third/remove", typed="thrd", purge="yes").status == 400
    assert ann.get("/projects/third").status == 200
    assert "third" in ann.act("/projects/third/remove", typed="third", purge="yes").text
    assert ann.get("/projects/third").status == 404


def test_keys_and_tokens(ann: Browser) -> None:
    key = {"name": "jo", "key": f"ssh-ed25519 {ED25519}", "right": "push", "projects": "hello"}
    assert ann.act("/host/add-key", **key).status == 200
    assert "push" in ann.act("/host/test-key", name="jo", project="hello").text
    assert "Revoke jo" in ann.get("/host/keys").text
    assert ann.act("/host/revoke-key?name=jo", typed="").status == 400
    assert ann.act("/host/revoke-key?name=jo", name="jo", typed="jo").status == 303
    refused = ann.act("/host/add-token", name="more", right="read")
    assert refused.status == 409 and "a token cannot create tokens" in refused.text
    ann.web.token("read", name="spare")
    assert ann.act("/host/revoke-token?name=spare", name="spare", typed="spare").status == 303
    assert "spare" not in ann.get("/host/keys").text


def test_the_host_is_frozen_and_thawed(ann: Browser) -> None:
    assert offered(ann, "/host/overview") & {"freeze-all", "thaw-all"} == {"freeze-all"}
    assert ann.act("/host/freeze-all", reason="moving").status == 303
    assert offered(ann, "/host/overview") & {"freeze-all", "thaw-all"} == {"thaw-all"}
    assert "moving" in ann.get("/host/overview").text
    assert "moving" in ann.get("/projects/hello").text
    assert offered(ann, "/projects/hello") & {"freeze", "thaw"} == {
        "freeze"
    }  # thawing it would not end that of the host
    assert ann.act("/projects/hello/freeze", reason="a migration").status == 303
    page = ann.get("/projects/hello").text
    assert "moving" in page and "a migration" in page
    assert offered(ann, "/projects/hello") & {"freeze", "thaw"} == {"thaw"}  # its own: it would be overwritten
    assert ann.act("/projects/hello/thaw").status == 303
    assert offered(ann, "/projects/hello") & {"freeze", "thaw"} == {"freeze"}
    assert ann.act("/host/thaw-all").status == 303
    assert ann.act("/projects/hello/freeze", reason="moving").status == 303
    assert offered(ann, "/projects/hello") & {"freeze", "thaw"} == {"thaw"}
    assert ann.act("/projects/hello/thaw").status == 303


def offered(ann: Browser, path: str) -> set[str]:
    """Return the actions that a page leads to."""
    return {link.rpartition("/")[2] for link in Seen(ann.get(path).text).links}


def test_keys_of_a_project_are_on_its_page_for_who_manages_the_host(web: Web, ann: Browser) -> None:
    for name, projects in (("here", ["hello"]), ("elsewhere", ["other"])):
        key = {"name": name, "key": f"ssh-ed25519 {ED25519}", "right": "read", "projects": projects}
        assert web.api("POST", "/keys", key).status == 200
        shown = Seen(ann.get("/projects/hello/access").text)
        assert (f"/host/test-key?name={name}&project=hello" in shown.links) == (name == "here")
        assert "ssh keys" not in Seen(Browser(web).sign_in("push", "hello").get("/projects/hello/access").text).text
        assert web.api("DELETE", f"/keys/{name}").status == 200


def test_the_api_has_a_page_for_anyone(web: Web, ann: Browser) -> None:
    for who in (Browser(web), ann):
        found = who.get("/api")
        assert found.status == 200 and "/projects/{project}/deployments" in Seen(found.text).text
        assert "hello" not in found.text
    assert "/api" in Seen(ann.get("/").text).links


HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}"


@pytest.mark.parametrize(
    "path",
    ["/host/add-key?name={}", "/host/create?project={}", "/projects/hello/task?task={}", "/host/revoke-key?name={}"],
)
def test_what_an_address_says_is_shown_as_text(ann: Browser, path: str) -> None:
    found = ann.get(path.format(quote(HOSTILE)))
    seen = Seen(found.text)
    assert found.status == 200 and not {tag for tag, _ in seen.tags} & {"script", "img"}
    assert HOSTILE in [attrs.get("value") for tag, attrs in seen.tags if tag == "input"]


def test_hostile_values_in_a_configuration_are_text(ann: Browser) -> None:
    assert ann.act("/projects/hello/set", key="evil", text=HOSTILE, secret="", deploy="").status == 303
    seen = Seen(ann.get("/projects/hello/configuration").text)
    assert HOSTILE in seen.text and not {tag for tag, _ in seen.tags} & {"script", "img"}


def test_a_form_that_is_too_long_is_refused(ann: Browser) -> None:
    form = Seen(ann.get("/projects/hello/freeze").text).form()
    found = ann.post("/projects/hello/freeze", {**form, "reason": "x" * (300 << 10)})
    assert found.status == 400 and "too long" in found.text
    assert ann.web.api("GET", "/projects/hello").json["frozen"] is None


ACTS = [(f"/projects/hello/{each.name}", each) for each in ACTIONS.values()]
ACTS += [(f"/host/{each.name}", each) for each in HOST_ACTIONS.values()]


@pytest.mark.parametrize(("path", "action"), ACTS, ids=[path for path, _ in ACTS])
def test_nobody_acts_without_the_right(web: Web, path: str, action: Action) -> None:
    reader = Browser(web).sign_in("read", "hello")
    query = "?number=1" if action.numbered else ""
    shown = reader.get(f"{path}{query}")
    own = Seen(reader.get("/projects/hello").text).form("/sign-out")["csrf"]
    values = {each.name: each.choices[0] if each.choices else "hello" for each in action.fields}
    sent = {**values, "typed": "hello", "number": "1", "once": "x", "csrf": own}
    assert shown.status in (200, 403)
    assert reader.post(path, sent).status == 403
    assert reader.post(path, {**sent, "csrf": "x"}).status == 409
