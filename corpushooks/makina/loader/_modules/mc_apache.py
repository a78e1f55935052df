# ruff: noqa: F821  (Salt fills in the names with underscores)
"""Apache for SLS files written for makina-states: its paths, and how it is run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__salt__: dict[str, Callable[..., Any]]  # Salt's loader fills it in

PREFIX = "makina-states.services.http.apache"
FILES = "salt://makina-states/files/etc/apache2"
DEFAULTS = {
    "package": "apache2",
    "service": "apache2",
    "program": "/usr/sbin/apache2ctl",
    "basedir": "/etc/apache2",
    "vhostdir": "{basedir}/sites-available",
    "evhostdir": "{basedir}/sites-enabled",
    "confdir": "{basedir}/conf-available",
    "pid_file": "/run/apache2/apache2.pid",
    "logdir": "/var/log/apache2",
    "httpd_user": "www-data",
    "doc_root": "/var/www/html",
    "port": "80",
    "ssl_port": "443",
    "mpm": "",
    "log_level": "warn",
    "allow_htaccess": False,
    "redirect_aliases": True,
    "default_activation": True,
    "debian_default": "000-default.conf",
    "mod_packages": {"mod_fcgid": "libapache2-mod-fcgid", "mod_fastcgi": "libapache2-mod-fcgid"},
    "vhost_wrapper_template": f"{FILES}/sites-available/vhost.conf",
    "vhost_top_template": f"{FILES}/includes/empty.conf",
    "vhost_content_template": f"{FILES}/includes/empty.conf",
}


def settings() -> dict[str, Any]:
    """Return the settings of Apache; the host's configuration, pillar and grains can override them."""
    found: dict[str, Any] = __salt__["mc_utils.defaults"](PREFIX, DEFAULTS)
    return found


def service() -> dict[str, Any]:
    """Return the arguments of the state that runs Apache."""
    own = settings()
    return {
        "name": own["service"], "tested_by": [own["program"], "-t"], "started_by": [own["program"], "start"],
        "reloaded_by": [own["program"], "graceful"], "pid_file": own["pid_file"],
    }  # fmt: skip


def vhost(domain: str, doc_root: str = "", **given: Any) -> Any:
    """Return the arguments of the state for the files of a virtual host; `given` are those of the macro."""
    return __salt__["mc_www.vhost"](settings(), domain, doc_root, given)
