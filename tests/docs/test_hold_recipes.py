"""The recipes of docs/confirm.md, as they stand there: a change that cuts the pusher off is gone after the lease."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from corpushooks.system.process import Child, Output, run, spawn
from tests.support.box import Box, Push, Work, until
from tests.support.places import TOP
from tests.support.sshd import ONE_KEY, SSHD, Server, start

PAGE = TOP / "docs/confirm.md"
LEASE = 8  # seconds: enough to try the way in meanwhile
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs namespaces of the network")


def files_of(section: str) -> dict[str, str | None]:
    """Return the files that a section of the page shows."""
    text = re.split(rf"^## {section}$", PAGE.read_text(), flags=re.MULTILINE)[1].split("\n## ")[0]
    return dict(re.findall(r"^`(\.salt/\S+)`:\n\n```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


def configured(box: Box, name: str, **data: str) -> None:
    """Give a project what differs in a test."""
    work = box.work(name, "pillar")
    lines = "".join(f"    {key}: {value}\n" for key, value in data.items())
    work.commit({"init.sls": f"makina-projects.{name}:\n  data:\n{lines}"})
    assert work.push().code == 0


def connects(server: Server) -> bool:
    """Say whether a new connection gets in."""
    user, _, address = server.url("").removeprefix("ssh://").partition("@")
    host, _, port = address.partition(":")
    words = [*server.command.split(), "-o", "ConnectTimeout=2", "-p", port, f"{user}@{host}", "true"]
    return run(words, check=False, timeout=60).code == 0


@contextlib.contextmanager
def sshd(folder: Path, keys: str) -> Iterator[Server]:
    os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
    for name in ("host", "key"):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name])
    server = start(folder, keys)
    try:
        yield server
    finally:
        server.process.terminate()
        server.process.wait(10)


@AS_ROOT
def test_a_setting_of_sshd_that_lets_nobody_in_is_gone_again(new_box: Callable[..., Box], tmp_path: Path) -> None:
    box = new_box(salt=True)
    box.init("access")
    box.start()
    own, files = tmp_path / "sshd/own.conf", files_of("sshd")
    own.parent.mkdir()
    own.write_text("")
    with sshd(own.parent, f"Include {own}\n{ONE_KEY.format(folder=own.parent)}") as server:
        reload = f"kill -HUP {server.process.pid}"
        check = f"{SSHD} -t -h {own.parent}/host -f"
        configured(box, "access", file=str(own), check=check, reload=reload)
        work = box.work("access")
        work.commit({**files, ".salt/files/sshd.conf": "PasswordAuthentication no\n"})
        work.git("config", "core.sshCommand", server.command)
        work.remote = server.url(work.remote)
        assert work.push().code == 0
        until(lambda: connects(server))
        work.commit({".salt/files/sshd.conf": "AllowGroups nobody-is-in-this\n"})
        push = work.start_push(f"--push-option=confirm={LEASE}", "HEAD:master")
        until(lambda: box.exists(2, "access") and box.deployment(2, "access").state == "held", 60)
        until(lambda: not connects(server))
        assert push.poll() is None and box.deployment(2, "access").state == "held"
        assert push.wait(90) == 1
        assert box.ended(2, "access").reason == f"not confirmed within {LEASE} s"
        until(lambda: connects(server))
        assert own.read_text() == "PasswordAuthentication no\n"


# nftables: a server and a client, each in a network of its own


def space() -> tuple[Child[bytes], tuple[str, ...]]:
    """Return a process in a new network, and the words that enter it."""
    ready, told = os.pipe()
    holder = spawn(["unshare", "--net", "sh", "-c", "echo; exec sleep 600"], stdout=told)
    os.close(told)
    os.read(ready, 1)
    os.close(ready)
    return holder, ("nsenter", f"--net=/proc/{holder.pid}/ns/net")


@contextlib.contextmanager
def networks() -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Give two networks that reach each other: 10.99.0.1, the server, and 10.99.0.2, the client."""
    (one, server), (other, client) = space(), space()
    try:
        run([*server, "ip", "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", str(other.pid)])
        for enter, address in ((server, "10.99.0.1/24"), (client, "10.99.0.2/24")):
            run([*enter, "ip", "address", "add", address, "dev", "wire"])
            for device in ("lo", "wire"):
                run([*enter, "ip", "link", "set", device, "up"])
        yield server, client
    finally:
        for each in (one, other):
            each.kill()
            each.wait(10)


def pushed(work: Work, client: tuple[str, ...], *words: str) -> Push:
    argv = [*client, "git", "-C", work.path, "push", *words, work.remote, "HEAD:master"]
    return Push.of(run(argv, check=False, timeout=120))


@AS_ROOT
def test_a_rule_that_cuts_the_pusher_off_is_gone_again(
    new_box: Callable[..., Box], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shutil.which("nft", path="/usr/sbin:/sbin"), "nft is missing: sh tests/need_system.sh"
    box, files, rules = new_box(salt=True), files_of("nftables"), ".salt/files/rules.nft"
    folder = tmp_path / "sshd"
    folder.mkdir()
    with networks() as (server, client):
        box.init("firewall")
        begun = within(server, box, folder)
        with begun as sshd_there:
            configured(box, "firewall", file=str(tmp_path / "firewall.nft"))
            work = box.work("firewall")
            work.git("config", "core.sshCommand", sshd_there.command)
            work.remote = sshd_there.url(work.remote).replace("127.0.0.1", "10.99.0.1")
            good = str(files[rules]).replace("22,", f"{sshd_there.port},")
            work.commit({**files, rules: good})
            done = pushed(work, client)
            assert done.code == 0, done.text
            assert reaches(client, sshd_there) and "dport" in ruleset(server).stdout.decode()
            work.commit({rules: good.replace(f"{sshd_there.port},", "2,")})
            argv = [
                *client,
                "git",
                "-C",
                work.path,
                "push",
                f"--push-option=confirm={LEASE}",
                work.remote,
                "HEAD:master",
            ]
            push = spawn(argv, stderr=os.open(work.path / "../log", os.O_WRONLY | os.O_CREAT, 0o600))
            until(lambda: box.exists(2, "firewall") and box.deployment(2, "firewall").state == "held", 60)
            assert not reaches(client, sshd_there)
            assert push.poll() is None and box.deployment(2, "firewall").state == "held"
            assert push.wait(90) == 1
            assert f"not confirmed within {LEASE} s; rolled back" in (work.path / "../log").read_text()
            assert reaches(client, sshd_there)
            box.ended(2, "firewall")


def ruleset(server: tuple[str, ...]) -> Output:
    return run([*server, "nft", "list", "ruleset"])


def reaches(client: tuple[str, ...], server: Server) -> bool:
    """Say whether a new connection gets from the client's network to the server's sshd."""
    words = [
        *client,
        *server.command.split(),
        "-o",
        "ConnectTimeout=2",
        "-p",
        str(server.port),
        "root@10.99.0.1",
        "true",
    ]
    return run(words, check=False, timeout=60).code == 0


@contextlib.contextmanager
def within(enter: tuple[str, ...], box: Box, folder: Path) -> Iterator[Server]:
    """Run the daemon of a host, and an sshd, in a network."""
    words = [*enter, sys.executable, "-m", "corpushooks", "--root", box.host.root, "daemon"]
    box.daemon = spawn(words, cwd=TOP)
    until(box.reachable)
    os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
    for name in ("host", "key"):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name])
    config = CONFIG_THERE.format(folder=folder)
    (folder / "config").write_text(config)
    process = spawn([*enter, shutil.which("sshd", path="/usr/sbin") or "sshd", "-D", "-e", "-f", folder / "config"])
    server = Server(folder, 2222, process)
    try:
        yield server
    finally:
        process.terminate()
        process.wait(10)
        box.stop()


CONFIG_THERE = """\
Port 2222
HostKey {folder}/host
PidFile {folder}/pid
AuthorizedKeysFile {folder}/key.pub
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
UseDNS no
"""
