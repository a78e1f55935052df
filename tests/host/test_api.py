"""The API, on a real daemon: what the command can do, with the same JSON and the same judge."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from corpushooks.operations import serving as acts
from corpushooks.operations.routes import NOT_THERE, ROUTES
from corpushooks.operations.table import COMMAND, OPERATIONS, by_door
from corpushooks.web import openapi
from corpushooks.web.api import BASE
from tests.support.box import Box, until
from tests.support.command import GATE, asked
from tests.support.shared_box import shared_box
from tests.support.ssh_keys import ED25519
from tests.support.web import Web, serving

WRONG = "invalid token: unknown, revoked or expired"


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Return the API of a host where something is live, and another project that was never deployed."""
    with shared_box(tmp_path_factory.mktemp("api"), page="one") as box, serving(box) as found:
        box.init("other")
        assert box.app("two").push().code == 0
        box.ended(2)
        yield found


def ended(web: Web, where: str) -> Any:
    """Await the end of a deployment; return it."""
    path = where.removeprefix(BASE)
    return until(lambda: (found := web.api("GET", path).json)["ended"] and found)


# the table


def test_what_the_command_can_do_the_api_can() -> None:
    assert by_door(COMMAND).keys() - ROUTES.keys() == NOT_THERE.keys()
    assert not NOT_THERE.keys() & ROUTES.keys()


def test_what_talks_is_what_gives_something_at_its_end() -> None:
    assert {name for name, row in OPERATIONS.items() if row.talks} == set(acts.TALKS)


def test_no_two_operations_have_one_place() -> None:
    places = [re.sub(r"{\w+", "{", place) for each in ROUTES.values() for place in each]
    assert len(set(places)) == len(places)


# looking


SAME = {  # path -> the command that prints the same
    "/projects": ["status"], "/projects/hello?urls=true": ["status", "hello", "--urls"],
    "/projects/hello/deployments?limit=5": ["history", "hello", "--limit", "5"],
    "/projects/hello/archives": ["archives", "hello"], "/projects/hello/addresses": ["open", "hello"],
    "/stats": ["stats"], "/keys": ["key", "list"],
    "/projects/hello/config?origin=true": ["config", "hello", "--origin"],
    "/projects/hello/variables": ["set", "hello"],
    "/projects/hello/diff": ["diff", "hello"], "/tokens": ["token", "list"],
}  # fmt: skip


@pytest.mark.parametrize("path", SAME)
def test_the_json_is_that_of_the_command(web: Web, path: str) -> None:
    web.token("host")
    found = web.api("GET", path)
    assert (found.status, found.headers["content-type"]) == (200, "application/json")
    assert found.json == asked(web.box, *SAME[path])


def test_metrics_are_text_for_whoever_scrapes_them(web: Web) -> None:
    text = web.api("GET", "/metrics", Accept="text/plain;version=0.0.4").text
    assert "corpushooks_deployments_total" in text and text.startswith("# HELP")
    assert set(web.api("GET", "/metrics", Accept="application/json").json) == {"text"}


def test_who_asks_is_told_who_they_are(web: Web) -> None:
    found = web.api("GET", "/whoami", token=web.token("read", "hello")).json
    assert found == {"who": "token read-hello", "may": "read hello", "expires": None,
                     "rights": [{"right": "read", "projects": ["hello"]}]}  # fmt: skip


# the judge


@pytest.mark.parametrize("header", [None, "", "Basic eDp5", "Bearer", "Bearer x", "bearer corpus_x"])
def test_nobody_is_answered_without_a_token(web: Web, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    for method, path in (place.split() for each in ROUTES.values() for place in each):
        path = path.replace("{project}", "hello").replace("{number:int}", "1").replace("{name}", "x")
        found = web.ask(method, f"{BASE}{path}", None if method in ("GET", "DELETE") else {}, headers=headers)
        assert found.status in (401, 400), path  # 400: what is asked was not whole
        assert found.headers["content-type"] == "application/problem+json"
        if found.status == 401:
            assert found.headers["www-authenticate"] == "Bearer"
            assert found.json["detail"] in ("no token was presented", WRONG)
    assert "hello" not in found.text


def test_a_token_sees_its_projects_and_not_even_the_names_of_others(web: Web) -> None:
    token = web.token("push", "hello")
    for path in ("/projects", "/stats", "/metrics"):
        assert "other" not in web.api("GET", path, token=token).text.replace("another", "")
    unlike = [web.api(method, path.replace("NAME", name), body, token) for name in ("other", "nowhere")
              for method, path, body in (("GET", "/projects/NAME", None), ("POST", "/projects/NAME/deployments", {}),
                                         ("GET", "/projects/NAME/deployments/1/log", None))]  # fmt: skip
    assert {(each.status, each.body) for each in unlike} == {(403, unlike[0].body)}
    assert unlike[0].json["detail"] == "not allowed"


def test_a_right_that_is_too_small_is_refused(web: Web) -> None:
    read, push = web.token("read"), web.token("push")
    assert web.api("POST", "/projects/hello/deployments", {}, read).status == 403
    assert web.api("POST", "/projects/hello/freeze", {"reason": "why"}, push).status == 403
    assert web.api("GET", "/keys", token=web.token("admin")).status == 403
    assert not web.box.row().broken and web.api("GET", "/projects/hello", token=read).json["frozen"] is None


def test_a_revoked_token_opens_nothing(web: Web) -> None:
    token = web.token("host", name="short")
    assert web.api("GET", "/projects", token=token).status == 200
    assert web.api("DELETE", "/tokens/short").json["name"] == "short"
    assert web.api("GET", "/projects", token=token).json["detail"] == WRONG
    assert web.api("POST", "/tokens", {"name": "more"}).status == 405  # a token makes no tokens


# acting


def test_what_starts_work_answers_with_its_address(web: Web) -> None:
    found = web.api("POST", "/projects/hello/deployments", {}, web.token("push", "hello"))
    assert found.status == 202
    where = found.headers["location"]
    assert where == f"{BASE}/projects/hello/deployments/{found.json['number']}"
    done = ended(web, where)
    assert (done["state"], done["by"], done["key"], done["kind"]) == ("deployed", "token push-hello", "", "deploy")
    assert web.box.row().live == done["number"]
    again = web.api("POST", "/projects/hello/rollbacks", {"number": 1})
    assert ended(web, again.headers["location"])["kind"] == "rollback"


def test_the_same_key_is_the_same_request(web: Web) -> None:
    first, again, other = (
        web.api("POST", "/projects/hello/deployments", {}, Idempotency_Key=key) for key in ("a", "a", "b")
    )
    assert first.status == again.status == 202
    assert first.headers["location"] == again.headers["location"] != other.headers["location"]
    someone = web.api("POST", "/projects/hello/deployments", {}, web.token("push"), Idempotency_Key="a")
    assert someone.headers["location"] not in (first.headers["location"], other.headers["location"])
    wrong = web.api("POST", "/projects/hello/plans", {}, Idempotency_Key="a")
    assert (wrong.status, wrong.json["detail"]) == (400, "this token belongs to another request")
    ended(web, someone.headers["location"])


def test_variables_are_set_and_unset(web: Web) -> None:
    stored = web.api("POST", "/projects/hello/variables", {"pairs": [["colour", "blue", "stdin"]], "deploy": False})
    assert (stored.status, stored.json["state"]) == (200, "stored")
    assert web.api("GET", "/projects/hello/variables").json == {"colour": "********"}  # "stdin": a secret
    found = web.api("POST", "/projects/hello/variables/unset", {"keys": ["colour"]})
    assert found.status == 202 and ended(web, found.headers["location"])["via"] == "set"
    assert web.api("GET", "/projects/hello/variables").json == {}


def test_a_project_is_frozen_and_thawed(web: Web) -> None:
    found = web.api("POST", "/projects/hello/freeze", {"reason": "moving"}, web.token("admin", "hello"))
    assert (found.status, found.json["who"]) == (200, "token admin-hello")
    refused = web.api("POST", "/projects/hello/deployments", {}, web.token("push", "hello"))
    assert (refused.status, refused.json["title"]) == (409, "Conflict")
    assert refused.json["detail"] == "hello is frozen by token admin-hello: moving"
    assert "thaw hello" in refused.json["hint"]
    assert web.api("POST", "/projects/hello/thaw").json["thawed"] == "hello"


def test_projects_and_keys_are_made_and_removed(web: Web) -> None:
    made = web.api("POST", "/projects", {"project": "third", "env": "staging"})
    assert (made.status, made.json["environment"]) == (200, "staging")
    assert web.api("GET", "/projects/third").status == 200
    assert web.api("DELETE", "/projects/third?purge=true").json["project"] == "third"
    assert web.api("GET", "/projects/third").status == 404
    key = {"name": "jo", "key": f"ssh-ed25519 {ED25519}", "right": "read", "projects": ["hello"]}
    assert web.api("POST", "/keys", key).json["by"] == "token host"
    assert web.api("PATCH", "/keys/jo", {"right": "push"}).json["right"] == "push"
    assert web.api("GET", "/keys/jo/test?project=hello").json["push"] is True
    assert web.api("DELETE", "/keys/jo").json["name"] == "jo"


def test_what_runs_is_cancelled(box: Box) -> None:
    gate = GATE.format(box.root)
    with serving(box) as web:
        box.app(files={".salt/00_page.sls": gate})
        push = box.work().start_push()
        until(lambda: web.api("GET", "/projects/hello").json["open"])
        until(lambda: web.api("GET", "/projects/hello").json["open"][0]["state"] == "running")
        found = web.api("POST", "/projects/hello/cancel", {})
        assert found.status == 202
        assert ended(web, found.headers["location"])["cancelled"] == "token host"
        assert push.wait(30) == 1
        none = web.api("POST", "/projects/hello/cancel", {})
        assert (none.status, none.json["detail"]) == (409, "nothing is running or waiting in hello")


# what is wrong


WRONGS: dict[str, tuple[str, str, Any, int, str]] = {
    "no such page": ("GET", "/nothing", None, 404, "Not Found"),
    "no such method": ("PUT", "/projects", {}, 405, "Method Not Allowed"),
    "unknown project": ("GET", "/projects/nowhere", None, 404, "unknown project 'nowhere'"),
    "bad name": ("GET", "/projects/..%2fx", None, 404, ""),
    "unknown deployment": ("GET", "/projects/hello/deployments/99999", None, 404, "hello has no deployment 99999"),
    "big number": ("GET", f"/projects/hello/deployments/{'9' * 30}", None, 400, ""),
    "never deployed": ("GET", "/projects/other/deployments/0", None, 404, "other was never deployed"),
    "no addresses": ("GET", "/projects/other/addresses?needed=true", None, 409, "nothing is live in other"),
    "not JSON": ("POST", "/projects/hello/deployments", b"{", 400, "the body is not a JSON object"),
    "a list": ("POST", "/projects/hello/deployments", [], 400, "the body is not a JSON object"),
    "deep": ("POST", "/projects/hello/deployments", b"[" * 100_000, 400, "the body is not a JSON object"),
    "a wrong type": ("POST", "/projects/hello/rollbacks", {"number": "1"}, 400, "invalid request: Expected `int`"),
    "an unknown field": ("POST", "/projects/hello/rollbacks", {"to": 1}, 400, "unknown field 'to'"),
    "a field of ours": ("POST", "/projects/hello/deployments", {"token": "x"}, 400, "unknown field 'token'"),
    "another project": ("POST", "/projects/hello/deployments", {"project": "x"}, 400, "unknown field 'project'"),
    "a credential": ("POST", "/projects/hello/deployments", {"bearer": "x"}, 400, "unknown field 'bearer'"),
    "another operation": ("POST", "/projects/hello/deployments", {"op": "remove"}, 400, "unknown field 'op'"),
    "want of a field": ("POST", "/projects/hello/freeze", {}, 400, "invalid request"),
    "a wrong query": ("GET", "/projects/hello/deployments?limit=many", None, 400, "limit is a number"),
    "an unknown query": ("GET", "/projects/hello/deployments?x=1", None, 400, "unknown field 'x'"),
    "a query twice": ("GET", "/projects/hello/deployments?limit=1&limit=2", None, 400, "'limit' is given more than"),
    "no truth": ("GET", "/projects/hello?urls=1", None, 400, "urls is true or false"),
    "too long": ("POST", "/projects/hello/deployments", b" " * (257 << 10), 400, "the body is too long"),
    "too much text": ("POST", "/projects/hello/freeze", {"reason": "x" * 100_000}, 400, "the request is too long"),
    "NUL": ("POST", "/projects/hello/freeze", {"reason": "\0"}, 400, "invalid request: reason"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONGS)
def test_what_is_wrong_is_said_as_a_problem(web: Web, name: str) -> None:
    method, path, body, status, detail = WRONGS[name]
    found = web.api(method, path, body)
    said = found.json
    assert (found.status, said["status"], found.headers["content-type"]) == (status, status, "application/problem+json")
    assert said["detail"].startswith(detail) and said["type"] == "about:blank" and said["title"]


def test_every_answer_has_the_headers_that_guard_it(web: Web) -> None:
    for found in (web.api("GET", "/projects"), web.ask("GET", "/nothing"), web.api("GET", "/projects", token="x")):
        assert "default-src 'none'" in found.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in found.headers["content-security-policy"]
        assert (found.headers["x-content-type-options"], found.headers["cache-control"]) == ("nosniff", "no-store")
        assert "server" not in found.headers


def test_that_the_daemon_is_down_is_said(box: Box) -> None:
    with serving(box) as web:
        web.token("host")
        box.stop()
        found = web.api("GET", "/projects")
        assert (found.status, found.headers["retry-after"]) == (503, "5")
        assert found.json["detail"].startswith("cannot connect to the daemon") and found.json["hint"]
        assert not box.reachable()  # it starts none
        box.start()
        assert web.api("GET", "/projects").status == 200


def test_a_web_that_dies_harms_no_deployment(box: Box) -> None:
    box.app()
    box.work().push()
    with serving(box) as web:
        box.faults(["2 sync", "before", "wait"])
        where = web.api("POST", "/projects/hello/deployments", {}).headers["location"]
        web.stop(9)
        (box.host.root / "gate").touch()
        web.start()
        assert ended(web, where)["state"] == "deployed"


def test_a_head_that_is_too_long_is_refused(web: Web) -> None:
    with socket.create_connection(("127.0.0.1", web.port), timeout=60) as link:
        link.sendall(b"GET /api/v1/projects HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * (80 << 10))
        assert link.recv(100).startswith(b"HTTP/1.1 400")


# the document


def test_the_document_describes_every_route(web: Web) -> None:
    found = web.ask("GET", f"{BASE}/openapi.json")
    document = found.json
    places = {f"{method.upper()} {path}" for path, inner in document["paths"].items() for method in inner}
    assert places == {re.sub(r":\w+", "", place) for each in ROUTES.values() for place in each}
    names = [one["operationId"] for inner in document["paths"].values() for one in inner.values()]
    assert len(set(names)) == len(names)
    refs = set(re.findall(r'"#/components/schemas/(\w+)"', found.text))
    assert refs == set(document["components"]["schemas"])


def fits(value: Any, schema: dict[str, Any], schemas: dict[str, Any]) -> bool:
    """Say whether a value is as a schema says, of those that we write."""
    if "$ref" in schema:
        return fits(value, schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if "anyOf" in schema:
        return any(fits(value, each, schemas) for each in schema["anyOf"])
    if "prefixItems" in schema:
        return all(fits(each, one, schemas) for each, one in zip(value, schema["prefixItems"], strict=True))
    if schema.get("type") == "array":
        return isinstance(value, list) and all(fits(each, schema["items"], schemas) for each in value)
    if "properties" in schema:
        named = schema["properties"]
        return (
            isinstance(value, dict)
            and value.keys() == named.keys()
            and all(fits(value[key], named[key], schemas) for key in named)
        )
    if not schema:
        return True
    kind: Any = {"string": str, "integer": int, "boolean": bool, "null": type(None), "object": dict,
                 "number": (int, float)}[schema["type"]]  # fmt: skip
    return isinstance(value, kind) and isinstance(value, bool) == (schema["type"] == "boolean")


def test_what_is_answered_is_as_the_document_says(web: Web) -> None:
    document = openapi.document(BASE)
    schemas = document["components"]["schemas"]
    for path in ("/whoami", "/projects", "/projects/{project}", "/projects/{project}/deployments", "/keys", "/tokens",
                 "/projects/{project}/archives", "/projects/{project}/diff", "/stats"):  # fmt: skip
        content = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]
        value = web.api("GET", path.replace("{project}", "hello")).json
        assert (value and fits(value, content["schema"], schemas)) or path == "/keys", path
    assert not fits({"who": 1}, schemas["Whoami"], schemas)
