"""The pages on a server with systemd: its units and account, nginx and haproxy with TLS in front, a push followed."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support import nspawn
from tests.support.box import until
from tests.support.browsing import GOOD, Seen
from tests.support.deb import INSTALL, NEEDS, RELEASES, Built
from tests.support.nspawn import Server

FRONTS = ("nginx-light", "haproxy", "curl", "openssl")
SET_UP = """\
corpus setup >/dev/null
corpus setup --web
corpus init hello >/dev/null
git config --global user.name jo; git config --global user.email jo@example.org
git init --quiet --initial-branch=master /root/app
mkdir /root/app/.salt
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost \\
    -keyout /root/key.pem -out /root/cert.pem 2>/dev/null
cat /root/cert.pem /root/key.pem >/root/both.pem
rm -f /etc/nginx/sites-enabled/default
systemctl restart nginx
"""
NGINX = """\
server {
    listen 127.0.0.1:443 ssl;
    ssl_certificate /root/cert.pem;
    ssl_certificate_key /root/key.pem;
    include /etc/corpushooks/nginx-web.conf;
}
"""
HAPROXY = """\
frontend tls
    mode http
    timeout client 1h
    bind 127.0.0.1:8443 ssl crt /root/both.pem
    use_backend corpushooks
"""
GATE = "gate:\n  cmd.run:\n    - name: while ! test -e /root/gate; do sleep 0.1; done; echo through the gate\n"
CURL = "curl --silent --show-error --cacert /root/cert.pem --cookie /root/jar --cookie-jar /root/jar"
SECONDS = 200  # for what a server does that has much to do
WEB = "corpushooks-web.socket corpushooks-web.service"
pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module", params=RELEASES)
def server(request: pytest.FixtureRequest, built: Built) -> Iterator[Server]:
    root = nspawn.bare(RELEASES[request.param]).fetched(*NEEDS, *FRONTS)
    with nspawn.memory() as folder, nspawn.booted(root, folder) as there:
        package = built(request.param)
        there.put(package, f"/root/{package.name}")
        there.run(f"{INSTALL} git {' '.join(FRONTS)} /root/{package.name}", timeout=900)
        there.run("mkdir -p /etc/nginx/conf.d; cat >/etc/nginx/conf.d/web.conf", stdin=NGINX.encode())
        there.run(SET_UP, timeout=300)
        yield there


@pytest.fixture(scope="module")
def ann(server: Server) -> str:
    """Set the password of an account by its link, through nginx; return how she asks: her cookie is kept."""
    link = json.loads(server.run("corpus account add ann --push --project hello --json").stdout)["link"]
    path = link[link.index("/password/") :]
    words = GOOD.replace(" ", "+")
    there = f"{CURL} --data 'password={words}&again={words}' --write-out '%{{http_code}}' https://localhost{path}"
    assert server.run(there).text.endswith("303")
    return CURL


def test_the_units_run_as_an_account_that_has_no_rights(server: Server) -> None:
    assert server.run(f"systemctl is-active {WEB}").text.split() == ["active", "active"]
    assert server.run(f"systemctl is-enabled {WEB}").text.split() == ["enabled", "enabled"]
    ran = server.run("ps -o user:20= -p $(systemctl show --value -p MainPID corpushooks-web)").text
    assert ran.strip() == "corpus-web"
    assert server.run("ss -Hltn 'sport = :8040'").text.split()[3] == "127.0.0.1:8040"
    refused = server.run("corpus freeze hello because", user="corpus-web", check=False)
    assert refused.code == 3 and "not allowed" in refused.stderr.decode()


def test_somebody_signs_in_through_nginx_and_sees_the_project(server: Server, ann: str) -> None:
    page = Seen(server.run(f"{ann} https://localhost/").text)
    assert "account ann" in page.text and "hello" in page.text and "Host" not in page.links
    (session,) = json.loads(server.run("corpus session list --json").stdout)
    assert (session["who"], session["address"]) == ("account ann", "127.0.0.1")
    stranger = "curl --silent --cacert /root/cert.pem --output /dev/null --write-out '%{http_code}' https://localhost/"
    assert server.run(stranger).text == "303"


def test_a_push_is_followed_while_the_service_is_killed_and_comes_again(server: Server, ann: str) -> None:
    server.run("cat >.salt/00_gate.sls", cwd="/root/app", stdin=GATE.encode())
    server.run("git add . && git commit --quiet -m app", cwd="/root/app")
    server.run("git push /srv/projects/hello/git/project.git HEAD:master >/root/push 2>&1 & true", cwd="/root/app")
    log = "https://localhost/projects/hello/deployments/1/log"
    until(lambda: "[3/8]" in server.run(f"{ann} --max-time 2 {log}", check=False).text, SECONDS)
    server.run(f"{ann} --no-buffer -H 'Accept: text/event-stream' {log} >/root/first 2>&1 & true")
    until(lambda: "fixperms" in server.run("cat /root/first").text, SECONDS)
    server.run("systemctl kill --signal=KILL corpushooks-web.service")
    server.run(f"{ann} --output /root/page https://localhost/projects/hello")  # waits in the socket, and is answered
    assert "deployment 1" in server.run("cat /root/page").text
    until(lambda: server.run("pgrep -x curl", check=False).code == 1, SECONDS)
    last = [line for line in server.run("cat /root/first").text.splitlines() if line.startswith("id: ")][-1][4:]
    server.run("touch /root/gate")
    follow = f"{ann} --no-buffer -H 'Accept: text/event-stream' -H 'Last-Event-ID: {last}' {log}"
    rest = server.run(follow, timeout=120).text
    assert "event: end" in rest
    told = "".join(texts(server.run("cat /root/first").text) + texts(rest))
    assert told == server.run("corpus log hello 1").stdout.decode() and "through the gate" in told
    until(lambda: "success: hello is live" in server.run("cat /root/push").text, SECONDS)


def texts(stream: str) -> list[str]:
    """Return the lines of a log in a stream of events, each whole."""
    found = []
    for event in stream.split("\n\n"):
        lines = event.strip("\n").splitlines()
        if "event: log" in lines and (data := [line[6:] for line in lines if line.startswith("data: ")]):
            said = json.loads("\n".join(data))["text"]
            found += [f"{said}\n"] if said else []
    return found


def test_haproxy_serves_it_too_and_says_from_where(server: Server) -> None:
    server.run("cat >/root/haproxy.cfg", stdin=HAPROXY.encode())
    files = "-f /root/haproxy.cfg -f /etc/corpushooks/haproxy-web.cfg"
    server.run(f"haproxy -c -q {files} && haproxy -D {files}")
    token = server.run("corpus token add ci --admin --project hello").text.splitlines()[0]
    ask = f"curl --silent --cacert /root/cert.pem -H 'Authorization: Bearer {token}' -H 'X-Forwarded-For: 192.0.2.1'"
    where = "https://localhost:8443/api/v1/projects/hello/freeze"
    assert json.loads(server.run(f'{ask} --data \'{{"reason": "moving"}}\' {where}').stdout)
    row = json.loads(server.run("corpus audit hello --limit 1 --json").stdout)[0]
    assert (row["who"], row["via"], row["origin"], row["operation"]) == ("token ci", "token", "127.0.0.1", "freeze")


def test_setup_takes_it_back(server: Server) -> None:
    server.run("corpus setup --undo", timeout=300)
    words = f"systemctl is-active {WEB} || true; ls /etc/systemd/system /etc/corpushooks || true; id corpus-web || true"
    left = server.run(words)
    said = left.text + left.stderr.decode()
    assert "corpushooks-web" not in left.text and "-web." not in left.text and "no such user" in said
