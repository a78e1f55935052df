"""The settings of a project: shown, and changed in the file of the host, by a command, the API and the page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.browsing import Browser, Seen
from tests.support.command import asked, corpus
from tests.support.shared_box import shared_box
from tests.support.web import Web, serving

SECRET = "s3cret"
FILE = f"# ours\nkeep_archives: 7\nprojects:\n  hello:\n    notify: ['mailto://me:{SECRET}@example.org']  # me\n"


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with shared_box(tmp_path_factory.mktemp("setting")) as box:
        box.host.config_file.parent.mkdir(parents=True, exist_ok=True)
        box.host.config_file.write_text(FILE)
        box.stop()
        box.start()
        with serving(box) as found:
            yield found


@pytest.fixture(autouse=True)
def restored(web: Web) -> Iterator[None]:
    """Leave the file as it was."""
    yield
    web.box.host.config_file.write_text(FILE)


def settings(web: Web) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in web.api("GET", "/projects/hello/settings").json}


def file(web: Web) -> str:
    return web.box.host.config_file.read_text()


def test_each_is_shown_with_its_origin_and_no_secret(web: Web) -> None:
    found = settings(web)
    assert found == {each["name"]: each for each in asked(web.box, "setting", "list", "hello")}
    assert (found["keep_archives"]["value"], found["keep_archives"]["origin"]) == ("7", "host")
    assert (found["watch"]["value"], found["watch"]["origin"]) == ("false", "default")
    assert found["notify"]["origin"] == "project" and SECRET not in json.dumps(found)
    page = Browser(web).sign_in().get("/projects/hello/settings").text
    assert SECRET not in page and "keep_archives" in Seen(page).text


def test_a_change_counts_at_once_and_other_lines_stay(web: Web) -> None:
    output = corpus(web.box, "setting", "set", "hello", "keep_archives", "2")
    assert (output.code, output.stdout.decode()) == (0, "keep_archives of hello is 2 (project)\n")
    assert file(web) == FILE.replace("    notify", "    keep_archives: 2\n    notify")
    assert settings(web)["keep_archives"]["value"] == "2"  # the daemon has not read the file again
    assert corpus(web.box, "setting", "unset", "hello", "keep_archives").code == 0
    assert file(web) == FILE
    assert settings(web)["keep_archives"]["value"] == "7"


def test_a_page_and_the_api_change_one_too(web: Web) -> None:
    ann = Browser(web).sign_in()
    assert "/projects/hello/set-setting?name=watch&value=false" in Seen(ann.get("/projects/hello/settings").text).links
    done = ann.act("/projects/hello/set-setting?name=watch", value="true")
    assert (done.status, done.headers["location"]) == (303, "/projects/hello/settings")
    assert settings(web)["watch"]["value"] == "true"
    assert "/projects/hello/unset-setting?name=watch" in Seen(ann.get("/projects/hello/settings").text).links
    assert web.api("DELETE", "/projects/hello/settings/watch").json["origin"] == "default"
    found = web.api("PUT", "/projects/hello/settings/timeout", {"value": "99"})
    assert found.status == 200 and found.json["value"] == "99"
    assert web.api("DELETE", "/projects/hello/settings/timeout").status == 200
    assert file(web) == FILE


@pytest.mark.parametrize(
    ("key", "value", "wrong"),
    [
        ("keep_archives", "none", "keep_archives: expected a positive whole number"),
        ("keep_archives", "[", "expected a positive whole number"),
        ("max_parallel", "3", "unknown setting of a project"),
        ("environment", "dev", "unknown setting of a project"),
        ("notify", f"[{SECRET}]", "item 1 is not a URL"),
    ],
)
def test_what_is_wrong_is_refused_and_the_file_stays(web: Web, key: str, value: str, wrong: str) -> None:
    output = corpus(web.box, "setting", "set", "hello", key, value)
    assert output.code == 2 and wrong in output.stderr.decode() and SECRET not in output.stderr.decode()
    assert file(web) == FILE


def test_a_file_that_is_wrong_by_hand_is_not_written(web: Web) -> None:
    path = web.box.host.config_file
    path.write_text(FILE + "nonsense: 1\n")
    output = corpus(web.box, "setting", "set", "hello", "keep_archives", "2")
    assert output.code == 2 and 'unknown key "nonsense"' in output.stderr.decode()
    assert file(web) == FILE + "nonsense: 1\n"


def test_only_admins_change_one_and_the_audit_has_no_value(web: Web) -> None:
    for right, sees, does in (("read", 403, 403), ("push", 200, 403), ("admin", 200, 200)):
        token = web.token(right, "hello")
        assert web.api("GET", "/projects/hello/settings", token=token).status == sees, right
        path, value = "/projects/hello/settings/notify", {"value": f"[mailto://a:{SECRET}@b]"}
        assert web.api("PUT", path, value, token=token).status == does, right
        assert web.api("PUT", "/projects/other/settings/notify", value, token=token).status == 403
    rows = [row for row in web.api("GET", "/audit").json if row["operation"] == "setting set"]
    assert rows and SECRET not in json.dumps(rows)
