"""An nginx of our own on loopback, which the states of makina-states configure in the place of the host's."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from corpushooks.system.process import start_time
from tests.support.box import until

CONF = """\
{user}
pid {base}/nginx.pid;
error_log {base}/error.log;
worker_processes 1;
events {{}}
http {{
    include /etc/nginx/mime.types;
    access_log off;
    {temp}
    include {base}/conf.d/*.conf;
    include {base}/sites-enabled/*.conf;
}}
"""
TEMP = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@dataclass(frozen=True)
class Nginx:
    """The folder and the port of an nginx; the states start it."""

    base: Path
    port: int

    @property
    def settings(self) -> dict[str, object]:
        """Return what the host says of its nginx: settings of makina-states."""
        given = {
            "package": "", "basedir": str(self.base), "pid_file": str(self.base / "nginx.pid"),
            "logdir": str(self.base), "port": f"127.0.0.1:{self.port}", "ssl_port": f"127.0.0.1:{self.port + 1}",
        }  # fmt: skip
        nginx = {f"makina-states.services.http.nginx.{key}": value for key, value in given.items()}
        return {**nginx, "makina-states.systemctl": ""}

    def get(
        self, path: str, user: str = "", host: str = "www.example.org", **headers: str
    ) -> tuple[int, str, dict[str, str]]:
        """Ask for a page; return status, text and headers."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers={"Host": host, **headers})
        if user:
            request.add_header("Authorization", f"Basic {b64encode(user.encode()).decode()}")
        opener = urllib.request.build_opener(_Stay, urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=10) as answer:
                return answer.status, answer.read().decode(), dict(answer.headers)
        except urllib.error.HTTPError as exc:
            with exc:
                return exc.code, exc.read().decode(), dict(exc.headers)


class _Stay(urllib.request.HTTPRedirectHandler):
    """Shows a redirection, and does not follow it."""

    def redirect_request(self, *_given: object) -> None:
        return None


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextlib.contextmanager
def nginx_in(base: Path) -> Iterator[Nginx]:
    """Make the configuration of an nginx in a folder; stop at the end what the states started."""
    base.mkdir()
    temp = " ".join(f"{name}_temp_path {base}/{name};" for name in TEMP)
    user = "user root;" if os.geteuid() == 0 else ""
    (base / "nginx.conf").write_text(CONF.format(base=base, temp=temp, user=user))
    try:
        yield Nginx(base, _free_port())
    finally:
        with contextlib.suppress(OSError, ValueError):
            pid = int((base / "nginx.pid").read_text())
            os.kill(pid, signal.SIGTERM)
            until(lambda: start_time(pid) is None)
