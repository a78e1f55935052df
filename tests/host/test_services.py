"""What cfg names of that which runs, whose a unit is, and how the journal and files are read."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from corpushooks.core import services
from corpushooks.core.errors import ConfigError, DoorError, RefusedError
from corpushooks.core.project import Host
from corpushooks.core.services import Named, Origin
from corpushooks.deploy import restart
from corpushooks.host import accounts
from corpushooks.host.site import Site, open_site
from corpushooks.operations import follower
from corpushooks.operations.follower import Feed
from corpushooks.protocol.connection import Connection
from corpushooks.release import app_units
from corpushooks.reports import app_log
from corpushooks.reports.app_log import Line, Wanted
from corpushooks.system import units
from corpushooks.system.process import start_time
from corpushooks.system.units import Unit
from tests.support.box import Box, until
from tests.support.command import corpus

CFG = {"project_root": "/srv/projects/hello/project", "data_root": "/srv/projects/hello/data"}
SAMPLE = "makina-projects.hello:\n  logs: ['{data_root}/app.log', '{project_root}/x.log']\n"
SECRET = "hunter2-secret"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="another account is taken")

# what cfg names


def test_units_and_files_that_cfg_names() -> None:
    found = services.of({**CFG, "units": ["hello", ["hello-web.service", "hello"], "hello.timer", "a@1", ""],
                         "logs": ["/srv/projects/hello/data//a.log", "/var/log/hello/b c.log"]})  # fmt: skip
    assert found.units == ("hello.service", "hello-web.service", "hello.timer", "a@1.service")
    assert found.files == ("/srv/projects/hello/data/a.log", "/var/log/hello/b c.log")
    assert services.of({**CFG, "units": "hello", "logs": None}) == Named(("hello.service",), ())
    assert services.of(CFG) == Named((), ())


@pytest.mark.parametrize("name", ["a b", "*", "hello*", "a/b", "-a", "a@", "a\n", "corpushooks.service", "corpushooks",
                                  "a;b", "[a]", "hello@.service", "../a", "é"])  # fmt: skip
def test_what_is_no_unit(name: str) -> None:
    with pytest.raises(ConfigError, match="cfg: units: ") as caught:
        services.of({**CFG, "units": [name]})
    assert caught.value.message.isprintable() and caught.value.hint == services.HINT


@pytest.mark.parametrize("path", [
    "/etc/shadow", "app.log", "/srv/projects/hello/data/../../../../etc/shadow", "/srv/projects/hello/data",
    "/var/log/../../etc/shadow", "/srv/projects/other/data/a", "/var/logs", "/srv/projects/hello/data/a\nb",
    "//etc/passwd", "/srv/projects/hello/git/pillar-stage/init.sls",
])  # fmt: skip
def test_what_is_no_log(path: str) -> None:
    with pytest.raises(ConfigError, match="cfg: logs: ") as caught:
        services.of({**CFG, "logs": [path]})
    assert caught.value.message.isprintable()


def test_a_deployment_that_names_what_cannot_be_is_refused(box: Box) -> None:
    work = box.app(files={".salt/PILLAR.sample": "makina-projects.hello:\n  logs: [/etc/shadow]\n"})
    pushed = work.push()
    assert (pushed.code, box.row().live) == (1, None)
    said = " ".join(" ".join(pushed.lines).split())
    assert "invalid log file '/etc/shadow': expected an absolute path below project/, data/ or /var/log" in said


# whose a unit is

MADE, PACKAGED = "/etc/systemd/system/x.service", "/lib/systemd/system/x.service"


@pytest.mark.parametrize(
    ("origin", "own"),
    [
        (Origin("hello.service", MADE, ""), True),
        (Origin("hello-worker.service", MADE, "www-data"), True),
        (Origin("hello@2.service", MADE, ""), True),
        (Origin("circus-hello-django.service", MADE, ""), True),
        (Origin("anything.service", MADE, "hello-user"), True),
        (Origin("anything.service", PACKAGED, "hello-user"), True),
        (Origin("hello.timer", MADE, ""), True),
        (Origin("ssh.service", PACKAGED, ""), False),
        (Origin("hello.service", PACKAGED, ""), False),  # a package has the name of the project
        (Origin("nginx.service", MADE, ""), False),
        (Origin("hellos.service", MADE, ""), False),
        (Origin("hello-shop.service", MADE, ""), False),  # the project hello-shop's
        (Origin("hello-shop-web.service", MADE, "hello-shop-user"), False),
        (Origin("corpushooks.service", MADE, "hello-user"), False),
        (Origin("hello.service", "", ""), False),
    ],
)
def test_whose_a_unit_is(origin: Origin, own: bool) -> None:
    why = services.foreign(origin, "hello-user", "hello", ["hello", "hello-shop", "other"])
    assert (why == "") == own, why
    assert services.foreign(origin, "shop-user", "shop", ["shop", "hello"])


def test_a_project_can_be_called_as_watchers_are() -> None:
    origin, names = Origin("circus-hello-web.service", MADE, ""), ["hello", "circus-hello"]
    assert services.foreign(origin, "circus-hello-user", "circus-hello", names) == ""
    assert services.foreign(origin, "hello-user", "hello", names), "the project circus-hello's"


# what systemd says

SHOW = """\
#!/bin/sh
for last; do :; done
echo "Id=$last"
echo LoadState=loaded
echo FragmentPath=/etc/systemd/system/$last
echo User=
echo ActiveState=failed
echo SubState=failed
echo Result=exit-code
echo NRestarts=3
"""
ENTRIES = [
    {"__REALTIME_TIMESTAMP": "1700000000000001", "_SYSTEMD_UNIT": "a.service", "MESSAGE": "one\ntwo"},
    {"__REALTIME_TIMESTAMP": "1700000001000000", "_SYSTEMD_UNIT": "init.scope", "UNIT": "b.service", "MESSAGE": "up"},
    {"__REALTIME_TIMESTAMP": "1700000002000000", "_SYSTEMD_UNIT": "a.service", "MESSAGE": [104, 105, 255]},
    {"__REALTIME_TIMESTAMP": "1700000003000000", "_SYSTEMD_UNIT": "a.service", "MESSAGE": None},
    {"__REALTIME_TIMESTAMP": "1700000004000000", "_SYSTEMD_UNIT": "a.service", "MESSAGE": ["x", "y"]},
]


def test_how_a_unit_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "systemctl").write_text(SHOW)
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = units.look("a.service")
    assert found == Unit("a.service", "loaded", "/etc/systemd/system/a.service", "", "failed", "failed", "exit-code", 3)
    assert found.state == "failed: exit-code"


def test_entries_of_the_journal() -> None:
    names = ["a.service", "b.service"]
    found = [units.entry(json.dumps(each), names) for each in ENTRIES]
    assert [(each.unit, each.text) for each in found if each] == [
        ("a.service", "one\ntwo"), ("b.service", "up"), ("a.service", "hi\\xff"), ("a.service", ""),
        ("a.service", "x\ny"),
    ]  # fmt: skip
    for garbage in ("", "{", "[]", "1", '{"MESSAGE": "x"}', '{"__REALTIME_TIMESTAMP": [], "MESSAGE": "x"}', "[" * 9999):
        assert units.entry(garbage, names) is None


@pytest.mark.parametrize(
    ("active", "sub", "result", "restarts", "good"),
    [
        ("active", "running", "success", 0, True), ("active", "exited", "success", 0, True),
        ("inactive", "dead", "success", 0, True), ("active", "running", "success", 1, False),
        ("activating", "auto-restart", "exit-code", 0, False), ("failed", "failed", "exit-code", 0, False),
        ("inactive", "dead", "exit-code", 0, False), ("deactivating", "stop", "success", 0, False),
    ],
)  # fmt: skip
def test_which_units_run(active: str, sub: str, result: str, restarts: int, good: bool) -> None:
    assert restart.runs(Unit("a", "loaded", "", "", active, sub, result, restarts), 0) == good


# files


@pytest.fixture
def site(box: Box) -> Site:
    pillar = box.work(repo="pillar")
    pillar.commit({"init.sls": f"makina-projects.hello:\n  data: {{password: {SECRET}}}\n"})
    assert pillar.push().code == 0
    assert box.app(files={".salt/PILLAR.sample": SAMPLE}).push().code == 0
    return open_site(box.host)


def nobody_asks() -> None:
    """Let it go on."""


def shown(site: Site, lines: int = 100) -> tuple[list[str], list[str]]:
    """Return the lines that are shown, and the notes."""
    found: list[Line] = []
    row = site.history.project("hello")
    assert row is not None
    named = app_units.named(site.host.project("hello"))
    app_log.show(site, row, Wanted(named, lines, follow=False), found.append, nobody_asks)
    return [each.shown(named=True) for each in found if not each.note], [
        each.shown(named=True) for each in found if each.note
    ]


def test_lines_are_harmless_and_without_secrets(site: Site) -> None:
    data = site.host.project("hello").data
    long = "x" * 5000
    (data / "app.log").write_bytes(
        f"old\nkey {SECRET} \x1b[2J\x07\nhun\x1b[0mter2-secret\r\n\xff\n{long}\nlast, unended".encode("latin-1")
    )
    lines, notes = shown(site, 5)
    assert lines[:3] == [
        "data/app.log: key ******** ·", "data/app.log: ********", "data/app.log: \\xff",
    ]  # fmt: skip
    assert lines[3].endswith("904 more characters") and lines[4] == "data/app.log: last, unended"
    (note,) = notes
    assert note.startswith("project/x.log: ") and "No such file" in note
    assert shown(site, 0)[0] == []


def planted(path: Path, how: str) -> None:
    if how == "fifo":
        os.mkfifo(path)
    elif how == "folder":
        path.mkdir()
    elif how == "itself":
        path.symlink_to(path.name)
    else:
        path.symlink_to(how)


@pytest.mark.parametrize("how", ["/etc/shadow", "/dev/zero", "fifo", "folder", "itself", "/proc/kmsg"])
def test_what_an_application_planted_shows_nothing(
    site: Site, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(app_log, "LIMIT", 1.0)
    project = site.host.project("hello")
    planted(project.tree / "x.log", how)
    planted(project.data / "app.log", how)
    monkeypatch.setattr(app_log, "_account", nobody_of) if os.geteuid() == 0 else None
    with contextlib.suppress(DoorError):  # what has no end is given up
        assert shown(site)[0] == []
    monkeypatch.undo()
    if os.geteuid() == 0:  # a host in a folder, where root reads
        with pytest.raises(RefusedError, match="none of the logs of hello can be shown"):
            shown(site)


def nobody_of(project: object) -> app_log.Account:
    return app_log.Account(65534, 65534)


@needs_root
def test_a_file_is_read_with_the_rights_of_the_application(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    project = site.host.project("hello")
    for folder in project.data.parents:  # the way to it is for all
        folder.chmod(folder.stat().st_mode | 0o011)
    project.data.chmod(0o755)
    secret = project.data / "app.log"
    secret.write_text("root's own\n")
    secret.chmod(0o600)
    monkeypatch.setattr(app_log, "_account", nobody_of)
    lines, notes = shown(site)
    assert lines == [] and "Permission denied" in notes[0]
    secret.chmod(0o644)
    assert shown(site)[0] == ["data/app.log: root's own"]


@needs_root
def test_who_reads_a_file_is_the_application_and_has_nothing_of_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OURS", "secret")
    said: list[Line] = []
    source = app_log.Source(
        "x", ["sh", "-c", "id -u; id -G; env; ls /proc/self/fd"], lambda text: [Line("x", text)], nobody_of(None)
    )
    secrets = app_log.Secrets(Box(tmp_path).project(), app_log.Redactor())
    app_log._read_output([source], secrets, said.append, nobody_asks, 10.0)
    texts = [line.text for line in said]
    assert texts[:2] == ["65534", "65534"] and not [text for text in texts if "OURS" in text]
    assert texts[-4:] == ["0", "1", "2", "3"]  # the last is that of the folder


def test_without_an_account_to_read_as_root_reads_nothing_on_a_real_host(monkeypatch: pytest.MonkeyPatch) -> None:
    project = Host().project("hello")
    monkeypatch.setattr(accounts, "account_ids", lambda *_: (None, None))
    with pytest.raises(PermissionError, match="no account hello-user to read it as"):
        app_log._opened(project, Path("/var/log/dpkg.log"))


@pytest.mark.parametrize(("uid", "groups"), [(0, [7]), (7, [7, 0])])
def test_an_account_with_the_rights_of_root_reads_nothing(
    monkeypatch: pytest.MonkeyPatch, uid: int, groups: list[int]
) -> None:
    monkeypatch.setattr(accounts, "account_ids", lambda *_: (uid, 7))
    monkeypatch.setattr(os, "getgrouplist", lambda *_: groups)
    with pytest.raises(PermissionError, match="hello-user has the rights of root"):
        app_log._account(Host().project("hello"))


def test_nothing_named_is_one_clear_line(box: Box) -> None:
    with pytest.raises(RefusedError, match="hello was never deployed"):
        app_units.named(box.project())
    box.app().push()
    with pytest.raises(RefusedError, match="hello names no units and no log files") as caught:
        app_units.named(box.project())
    assert "`units: [hello.service]`" in str(caught.value.hint) and "corpus help services" in str(caught.value.hint)


def test_what_is_named_is_known_while_the_next_deployment_prepares_and_after_it_failed_early(box: Box) -> None:
    box.app(files={".salt/PILLAR.sample": "makina-projects.hello: {logs: [/var/log/x.log]}\n"}).push()
    assert app_units.named(box.project()).files == ("/var/log/x.log",)
    box.work().commit({".salt/PILLAR.sample": "{{ broken\n"})
    assert box.work().push().code == 1
    assert app_units.named(box.project()).files == ("/var/log/x.log",)


def test_a_host_in_a_folder_has_no_journal(box: Box) -> None:
    box.app(files={".salt/PILLAR.sample": "makina-projects.hello:\n  units: hello\n"}).push()
    said = corpus(box, "app-log", "hello")
    assert said.code == 3 and said.stdout == b""
    assert b"warning: hello.service: systemd is not running on this host: no journal" in said.stderr
    said = corpus(box, "restart", "hello")
    assert said.code == 3 and b"error: systemd is not running on this host: nothing to restart" in said.stderr
    assert box.history.newest("hello") == 1


# to follow


def test_who_follows_is_judged_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key can be revoked while it follows."""
    monkeypatch.setattr(follower, "AGAIN", 0.0)
    monkeypatch.setattr(app_log, "TICK", 0.01)
    (site.host.project("hello").data / "app.log").write_text("one\n")
    row, wanted = site.known("hello"), Wanted(app_units.named(site.host.project("hello")), 10, follow=True)
    ours, theirs = socket.socketpair()

    def still() -> None:
        raise RefusedError("revoked")

    with ours, theirs, pytest.raises(RefusedError, match="revoked"):
        feed = Feed(Connection(ours), site, wanted, still)
        app_log.show(site, row, wanted, feed.tell, until_late(feed.check))


def until_late(check: Callable[[], None]) -> Callable[[], None]:
    """Return a check that gives up after a while."""
    end = time.monotonic() + 20

    def limited() -> None:
        check()
        assert time.monotonic() < end

    return limited


def test_a_reader_that_leaves_leaves_nothing_behind(site: Site) -> None:
    path = site.host.project("hello").data / "app.log"
    path.write_text("one\n")
    found, left = [list[Line](), threading.Event()]
    row = site.history.project("hello")
    assert row is not None

    class Gone(Exception):
        pass

    def check() -> None:
        if left.is_set():
            raise Gone

    def follow() -> None:
        named = app_units.named(site.host.project("hello"))
        with pytest.raises(Gone):
            app_log.show(site, row, Wanted(named, 10, follow=True), found.append, check)

    thread = threading.Thread(target=follow)
    thread.start()
    until(lambda: [line.text for line in found if not line.note] == ["one"])
    with path.open("a") as file:
        file.write("two\n")
    until(lambda: [line.text for line in found if not line.note] == ["one", "two"])
    children = readers()
    assert children
    left.set()
    thread.join(20)
    assert not thread.is_alive()
    assert not [pid for pid, start in children.items() if start_time(pid) == start]


def readers() -> dict[int, int | None]:
    """Return our children that read files."""
    ours = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    pids = [int(pid) for path in ours for pid in path.read_text().split()]
    return {pid: start_time(pid) for pid in pids if b"tail" in Path(f"/proc/{pid}/cmdline").read_bytes()}
