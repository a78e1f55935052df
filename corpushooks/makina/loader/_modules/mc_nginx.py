# ruff: noqa: F821  (Salt fills in the names with underscores)
"""nginx for SLS files written for makina-states: its paths, and how it is run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__salt__: dict[str, Callable[..., Any]]  # Salt's loader fills it in

PREFIX = "makina-states.services.http.nginx"
FILES = "salt://makina-states/files/etc/nginx"
DEFAULTS = {
    "package": "nginx",
    "service": "nginx",
    "program": "/usr/sbin/nginx",
    "basedir": "/etc/nginx",
    "conf": "{basedir}/nginx.conf",
    "pid_file": "/run/nginx.pid",
    "logdir": "/var/log/nginx",
    "user": "www-data",
    "group": "www-data",
    "doc_root": "/var/www/html",
    "port": "80",
    "ssl_port": "443",
    "ssl_protocols": "TLSv1.2 TLSv1.3",
    "ssl_redirect": False,
    "loglevel": "crit",
    "client_max_body_size": "100m",
    "redirect_aliases": True,
    "default_activation": True,
    "debian_default": "default",
    "vhost_wrapper_template": f"{FILES}/sites-available/vhost.conf",
    "vhost_top_template": f"{FILES}/includes/vhost.top.conf",
    "vhost_content_template": f"{FILES}/includes/vhost.content.conf",
}


def settings() -> dict[str, Any]:
    """Return the settings of nginx; the host's configuration, pillar and grains can override them."""
    found: dict[str, Any] = __salt__["mc_utils.defaults"](PREFIX, DEFAULTS)
    return found


def service() -> dict[str, Any]:
    """Return the arguments of the state that runs nginx."""
    own = settings()
    nginx = [own["program"], "-q", "-c", own["conf"]]
    return {
        "name": own["service"], "tested_by": [*nginx, "-t"], "started_by": nginx,
        "reloaded_by": [*nginx, "-s", "reload"], "pid_file": own["pid_file"],
    }  # fmt: skip


def vhost(domain: str, doc_root: str = "", **given: Any) -> Any:
    """Return the arguments of the state for the files of a virtual host; `given` are those of the macro."""
    return __salt__["mc_www.vhost"](settings(), domain, doc_root, given)


def vhost_settings(domain: str, doc_root: str = "", **given: Any) -> Any:
    """Return the variables of a virtual host's templates; `given` are the arguments of the macro."""
    return __salt__["mc_www.vhost_settings"](settings(), domain, doc_root, given)
