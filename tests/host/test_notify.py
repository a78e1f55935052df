"""Notifications: a real mail server and a real HTTP receiver on loopback get them, and nothing waits for them."""

from __future__ import annotations

import contextlib
import dataclasses
import email
import email.policy
import json
import os
import re
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import apprise
import pytest
from aiosmtpd.controller import Controller

from corpushooks.admin.doctor import privacy
from corpushooks.admin.doctor.patient import Patient
from corpushooks.admin.projects import init
from corpushooks.core import notification
from corpushooks.core.deployment import Request
from corpushooks.core.errors import ConfigError, CorpusError, UsageError
from corpushooks.core.notification import Notification, Template, render
from corpushooks.core.project import Host
from corpushooks.core.settings import load, parse
from corpushooks.deploy import prepare
from corpushooks.deploy.lanes import Lanes
from corpushooks.host.site import Site
from corpushooks.notify import announce, send
from corpushooks.operations.acts import ACTS
from corpushooks.store.history import open_store
from corpushooks.system import distribution
from corpushooks.system.process import run
from tests.support.box import FAILING, Box, until
from tests.support.command import corpus
from tests.support.engines import FakeEngine
from tests.support.places import TOP
from tests.support.receiver import FAILURE, SECRET, Receiver

MISSING = f"cannot send notifications: apprise (the extra `notify`) is not installed; {distribution.completing()}"


class Post(Controller):
    """A mail server that keeps what it gets."""

    def __init__(self) -> None:
        self.got: list[EmailMessage] = []
        super().__init__(self, hostname="127.0.0.1", port=0)

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()

    async def handle_DATA(self, server: object, session: object, envelope: Any) -> str:
        text = envelope.content.replace(b"\r\n", b"\n")
        self.got.append(email.message_from_bytes(text, policy=email.policy.default))  # type: ignore[arg-type]
        return "250 OK"


@pytest.fixture
def post() -> Iterator[Post]:
    found = Post()
    found.start()
    yield found
    found.stop()


def settings(*urls: str, **more: Any) -> str:
    return json.dumps({"notify": urls, "environment": "prod", **more})


@pytest.fixture
def notified(new_box: Callable[..., Box], hook: Receiver) -> Box:
    """Return a host that notifies the web hook of failures and recoveries."""
    box = new_box()
    box.settings(settings(hook.url(), notify_on=["failure", "recovery"]))
    box.init()
    box.start()
    return box


def fail(box: Box) -> None:
    work = box.app("two", files={".salt/10_broken.sls": FAILING})
    assert work.push().code == 1


def mend(box: Box, page: str = "three") -> None:
    broken = box.work().path / ".salt/10_broken.sls"
    box.work().commit({"index.html": page, **({".salt/10_broken.sls": None} if broken.exists() else {})})
    assert box.work().push().code == 0


def complaints(box: Box) -> str:
    path = box.host.state_dir / "notify.log"
    return until(lambda: path.exists() and path.read_text())  # it is made, then written in one go


# what is said, and when


def test_a_failure_and_the_recovery_from_it_are_told(new_box: Callable[..., Box], hook: Receiver, post: Post) -> None:
    box = new_box()
    mail = f"mailto://127.0.0.1:{post.port}?from=corpus@example.org&to=ops@example.org&mode=insecure&format=text"
    box.settings(settings(hook.url(), mail, notify_on=["failure", "recovery"]))
    box.init()
    box.start()
    assert box.app("one").push().code == 0
    fail(box)
    mend(box)
    mend(box, "four")
    box.ended(4)
    until(lambda: len(hook.got) == len(post.got) == 2)
    first, second = "rolled back: hello (prod), deployment 2", "works again: hello (prod), deployment 3"
    said = {str(one["subject"]): one.get_content() for one in post.got}
    assert sorted(said) == sorted(hook.titles) == [first, second]  # none of 1 and 4; which arrives first is not ours
    assert {one["title"]: one["type"] for one in hook.got} == {first: "failure", second: "info"}
    who = box.deployment(2).request.who
    for part in (
        r"^What:    hello \(prod\) deployment 2: \w+ -> \w+, 1 commit", rf"^Who:     {re.escape(who)}$",
        r"^Outcome: rolled back, after \d+\.\d s$", r"^Reason:  install 10_broken failed: broken$",
        r"^    error: install 10_broken failed: broken$", r"^The whole log: corpus --root \S+ log hello 2$",
    ):  # fmt: skip
        assert re.search(part, said[first], re.MULTILINE), (part, said)
    assert not (box.host.state_dir / "notify.log").exists()


def test_success_is_told_where_a_project_wants_that(new_box: Callable[..., Box], hook: Receiver) -> None:
    box = new_box()
    own = {"hello": {"notify": [hook.url("own")], "notify_on": ["success"]}}
    box.settings(settings(hook.url("host"), projects=own))
    box.init()
    box.start()
    assert box.app().push().code == 0
    until(lambda: hook.got)
    assert [(one["path"], one["title"]) for one in hook.got] == [("/own", "deployed: hello (prod), deployment 1")]


def test_what_waits_for_confirmation_is_told(new_box: Callable[..., Box], hook: Receiver) -> None:
    box = new_box()
    box.settings(settings(hook.url(), notify_on=["held"]))
    box.init()
    box.start()
    assert box.app().push(options=("confirm=600", "nowait")).code == 0
    until(lambda: hook.got)
    assert hook.titles == ["confirm: hello (prod), deployment 1"]
    said = hook.got[0]["message"]
    until_then = r"^It waits for confirmation until \d+-\d+-\d+ \d+:\d+:\d+ [+-]\d+, then it is rolled back.$"
    assert re.search(until_then, said, re.MULTILINE), said
    assert re.search(r"^Confirm it:  corpus --root \S+ confirm hello 1$", said, re.MULTILINE), said
    box.ask(op="confirm", project="hello", number=1)


def test_a_push_may_leave_it_out_and_a_broken_project_is_told(notified: Box, hook: Receiver) -> None:
    box = notified
    assert box.app().push().code == 0
    box.work().commit({".salt/10_broken.sls": FAILING})
    assert box.work().push(options=("skip=notify",)).code == 1
    box.ended(2)
    box.stop()
    box.start("undo restore", "before", "bug")
    box.work().commit({"index.html": "x"})
    assert "THE ROLLBACK FAILED" in box.work().push().text
    until(lambda: hook.got)
    assert hook.titles == ["broken: hello (prod), deployment 3"]


def test_a_new_project_is_told_with_where_to_push(new_box: Callable[..., Box], hook: Receiver, post: Post) -> None:
    box = new_box()
    box.settings(
        settings(f"mailto://127.0.0.1:{post.port}?from=a@example.org&to=b@example.org&mode=insecure&format=text")
    )
    box.init()
    until(lambda: post.got)
    box.init()  # a repair: told to nobody
    box.init("other")
    until(lambda: len(post.got) == 2)
    assert [one["subject"] for one in post.got] == ["new project: hello (prod)", "new project: other (prod)"]
    said = post.got[0].get_content()
    git = box.project().git_dir
    assert f"{git}/project.git\n" in said and f"{git}/pillar.git\n" in said
    assert f"Who can push:\n- everyone with write access to {box.host.root}\n" in said


# what nothing waits for


def test_what_hangs_delays_nothing_and_outlives_the_daemon(new_box: Callable[..., Box], hook: Receiver) -> None:
    box = new_box()
    box.settings(settings(hook.url("hang")))
    box.init()
    hook.hanging.wait(20)  # of init, which has ended
    hook.hanging.clear()
    box.start()
    fail(box)
    assert box.ended(1).state == "rolled_back"
    assert hook.hanging.wait(20) and not hook.got
    box.kill()
    for path in [*Path("/proc").glob("[0-9]*/cmdline"), *Path("/proc").glob("[0-9]*/environ")]:
        try:
            assert SECRET.encode() not in path.read_bytes(), path
        except OSError:
            continue
    hook.free.set()
    until(lambda: len(hook.got) == 2)


def test_what_fails_is_in_a_log_without_what_is_secret(new_box: Callable[..., Box], hook: Receiver) -> None:
    box = new_box()
    box.settings(settings(hook.url("fail"), f"json://127.0.0.1:1/{SECRET}", f"bogus://{SECRET}"))
    box.init()
    said = complaints(box)
    assert re.sub(r"^\S+ ", "", said, flags=re.MULTILINE).splitlines() == [
        f"hello init: URL 1 (json://127.0.0.1:{hook.port}): Failed to send JSON POST notification:"
        " Internal server error., error=500",
        "hello init: URL 2 (json://127.0.0.1:1): A Connection error occurred sending JSON notification to 127.0.0.1:"
        " [Errno 111] Connection refused",
        "hello init: URL 3 (bogus://): invalid URL: apprise does not support it, or a part is missing",
    ]
    assert stat.S_IMODE((box.host.state_dir / "notify.log").stat().st_mode) == 0o600


def test_the_log_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(send, "LOG_SIZE", 1000)
    for index in range(100):
        send.write(tmp_path / "notify.log", [f"problem {index}"])
    kept = sorted(tmp_path.glob("notify*"))
    assert [path.name for path in kept] == ["notify.log", "notify.log.1"]
    assert all(path.stat().st_size < 1100 for path in kept) and "problem 99" in kept[0].read_text()


def test_without_apprise_a_line_says_so(new_box: Callable[..., Box], monkeypatch: pytest.MonkeyPatch) -> None:
    box = new_box()
    box.settings(settings("json://127.0.0.1:1", notify_on=["init", "success"]))
    monkeypatch.setattr(send, "find_spec", lambda name: None)
    with contextlib.closing(open_store(box.host)) as store:
        made = init(box.host, load(box.host.config_file), store, "hello", None, None)
        row, work = store.project("hello"), box.app()
        assert row and made.notes[-1] == MISSING
        run(["git", "--git-dir", box.project().code_git, "fetch", "--quiet", work.path, "+HEAD:refs/heads/topic"])
        site = Site(box.host, load(box.host.config_file), store, FakeEngine())
        store.enqueue("hello", prepare.requested(site, row, Request(new=work.head, via="command", who="ann")))
        Lanes(site, ACTS).work_off("hello")
    assert box.deployment(1).state == "deployed" and f"warning: {MISSING}" in box.log(1).splitlines()


def test_who_recovers_after_a_typing_error_is_told_once(notified: Box, hook: Receiver) -> None:
    fail(notified)
    until(lambda: len(hook.got) == 1)
    for op, wrong in (("rollback", {"number": 1}), ("task", {"task": "clena"})):
        with contextlib.suppress(CorpusError):
            notified.ask(op, project="hello", **wrong)
    with closing(notified.history) as history:
        assert [each.state for each in history.deployments("hello", 1)] == ["refused"]
    mend(notified)
    until(lambda: len(hook.got) == 2)
    mend(notified, "four")
    fail(notified)
    until(lambda: len(hook.got) == 3)  # of the good one between them nobody was told
    assert [title.partition(":")[0] for title in hook.titles] == ["rolled back", "works again", "rolled back"]


# templates


def in_stage(box: Box, text: str) -> None:
    box.work().commit({".salt/notify.jinja": text})


def test_a_project_may_say_it_in_its_own_words(notified: Box, hook: Receiver) -> None:
    beside = notified.host.config_file.with_name("notify.jinja")
    beside.write_text('{% extends "built-in" %}{% block subject %}[{{ host }}] {{ super() }}{% endblock %}')
    fail(notified)  # its first deployment: the empty project has no template
    until(lambda: len(hook.got) == 1)
    assert re.fullmatch(r"\[\S+\] rolled back: hello \(prod\), deployment 1", hook.titles[0])
    in_stage(notified, '{% extends "host" %}{% block body %}{{ reason or "well" }}: {{ number }}{% endblock %}')
    mend(notified)
    until(lambda: len(hook.got) == 2)
    assert re.fullmatch(r"\[\S+\] works again: hello \(prod\), deployment 2", hook.titles[1])
    assert hook.got[1]["message"].strip() == "well: 2"
    in_stage(notified, "{{ event }}\n\n{{ nobody.knows }}")
    mend(notified, "four")
    fail(notified)
    until(lambda: len(hook.got) == 3)
    wrong = f"{notified.project().salt_link}/notify.jinja line 3: 'nobody' is undefined"
    assert f"(The template is invalid: {wrong})" in hook.got[2]["message"] and hook.titles[2].startswith("rolled back")
    assert f"failure: {wrong}; the built-in template was used\n" in complaints(notified)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("a\n{% if %}", "T line 2: Expected an expression, got 'end of statement block'"),
        ("a\n\n{{ 1 / 0 }}", "T line 3: division by zero"),
        ("{{ ''.__class__.mro() }}", "T line 1: access to attribute '__class__' of 'str' object is unsafe."),
        ('{% extends "nothing" %}', "T line 1: nothing"),
    ],
)
def test_a_wrong_template_is_named_and_another_used(text: str, wrong: str) -> None:
    message, said = send._message(send.Outgoing(FAILURE, [], Template("T", text)), 20)
    assert (said, message) == (wrong, render(FAILURE))


def test_nothing_waits_for_a_template_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def rendered(
        said: Notification, template: Template | None = None, host: Template | None = None
    ) -> notification.Message:
        assert template is None or over.wait(60)
        return render(said)

    monkeypatch.setattr(send, "render", rendered)
    found = send._message(send.Outgoing(FAILURE, [], Template("T", "")), 0.01)
    over.set()
    assert found == (render(FAILURE), "T: timed out")


@pytest.mark.parametrize("name", ["notification", "notice"])
def test_what_an_older_daemon_hands_over_is_understood(name: str) -> None:
    """While a package is upgraded the old daemon still runs, and starts the new program."""
    handed = {name: dataclasses.asdict(FAILURE), "urls": ["json://h"], "project": None, "host": None}
    found = send._parsed(json.loads(json.dumps(handed)))
    assert (found.notification.subject, found.urls) == (FAILURE.subject, ["json://h"])


def test_a_template_is_a_small_file_that_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("x" * 100_000)
    (tmp_path / "link").symlink_to("real")
    os.mkfifo(tmp_path / "pipe")
    found = send.template_in(tmp_path / "real")
    assert found and len(found.text) == 64 << 10
    assert [send.template_in(tmp_path / name) for name in ("link", "absent")] == [None, None]
    send.template_in(tmp_path / "pipe")  # waits for nobody


def test_a_subject_is_one_line_and_every_event_has_a_text() -> None:
    for event in (*notification.EVENTS, notification.TEST):
        message = render(Notification(event, "host", "he\nllo", "prod", may_push=("ann",), log=("l",)))
        assert message.subject and "\n" not in message.subject and message.body.strip()
    assert render(FAILURE, Template("T", "\n")).subject == FAILURE.subject


# the settings, and the command


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (f"notify: json://{SECRET}", "F: notify: expected a list of URLs, got another value"),
        (f"notify: [json://ok, {SECRET}]", "F: notify: item 2 is not a URL: expected scheme://…"),
        (
            f"projects: {{hello: {{notify: {SECRET}}}}}",
            "F: projects.hello.notify: expected a list of URLs, got another value",
        ),
        (
            "notify_on: [never]",
            "F: notify_on: expected a list of failure, recovery, success, held, init, unhealthy, healthy, overdue, got"
            " a list",
        ),
    ],
)
def test_wrong_settings_are_named_and_not_shown(text: str, error: str) -> None:
    with pytest.raises(ConfigError) as info:
        parse(text, "F").for_project("hello")
    assert info.value.message == error


def test_the_command_sends_a_test_and_says_what_fails(new_box: Callable[..., Box], hook: Receiver) -> None:
    box = new_box()
    box.init()
    with pytest.raises(UsageError, match="no notifications are configured: `notify` is empty"):
        announce.test(load(box.host.config_file), box.host, None)
    box.settings(settings(hook.url(), f"json://127.0.0.1:1/{SECRET}", projects={"hello": {"notify": [hook.url()]}}))
    done = corpus(box, "notify", "test", "--json")
    first, second = json.loads(done.stdout)["deliveries"]
    assert (done.code, first["problem"], second["to"]) == (1, "", "URL 2 (json://127.0.0.1:1)")
    assert SECRET not in (done.stdout + done.stderr).decode()
    done = corpus(box, "notify", "test", "hello", "--event", "failure")
    assert (done.code, done.text) == (0, f"URL 1 (json://127.0.0.1:{hook.port}): sent")
    assert len(hook.got) == 2
    box.host.config_file.chmod(0o644)
    patient = Patient(box.host, load(box.host.config_file), (box.project(),))
    assert list(privacy._settings(patient)) == [box.host.config_file]


def test_who_may_push_is_said_of_a_real_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Group:
        gr_mem = ("ann", "corpus")

    monkeypatch.setattr(announce.grp, "getgrnam", lambda name: Group)
    monkeypatch.setattr(Host, "embedded", property(lambda host: False))
    store = open_store(Host(tmp_path))
    said = announce._may_push(parse("", "F"), store, Host(tmp_path).project("hello"))
    store.close()
    assert said == ("root", "ann (group corpus: all rights)", "ann (group hello-deploy: this project)")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # apprise loads modules that Python will drop
def test_the_examples_of_the_page_are_read() -> None:
    page = (TOP / "docs/notifications.md").read_text()
    (example,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    found = parse(example, "F")
    assert [len(found.for_project(name).notify) for name in ("any", "hello", "playground")] == [2, 1, 0]
    for url in (*found.notify, *found.for_project("hello").notify):
        assert apprise.Apprise().add(url), url
    extended, whole = re.findall(r"^```jinja\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert render(FAILURE, Template("T", extended)).subject == f"[host] {FAILURE.subject}"
    assert "wiki.example.org/hello" in render(FAILURE, Template("T", extended)).body
    assert render(FAILURE, Template("T", whole)).subject == "hello: rolled back"
    named = set(re.findall(r"`(\w+)`", page.partition("| name | is |")[2].partition("A template")[0]))
    assert named == {field.name for field in dataclasses.fields(Notification)} | {"subject"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # see above
def test_what_is_secret_in_a_url_is_hidden_in_whatever_is_said_of_it() -> None:
    parts = ("ge%40heim-1", "ge@heim-1", "/hook/tok-abc123", "tok-abc123", "header-1")
    one = send._Recipient(apprise, 7, "json://ann:ge%40heim-1@127.0.0.1:81/hook/tok-abc123?+X=header-1")
    assert one.shown == "URL 7 (json://127.0.0.1:81)"
    assert one.hide("at 127.0.0.1:81: " + " ".join(parts)) == "at 127.0.0.1:81: " + " ".join(["********"] * 5)
