# ruff: noqa: F821  (Salt fills in the names with underscores)
"""PHP for SLS files written for makina-states: its packages, and pools of php-fpm."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__salt__: dict[str, Callable[..., Any]]  # Salt's loader fills it in

PREFIX = "makina-states.services.php"
SAME = (  # name -> php-name
    "apcu cas cli curl dev fpm gd gmp imap intl json ldap mbstring mcrypt memcache memcached mysql pear redis snmp soap"
    " xdebug xml xmlrpc zip"
)
PACKAGES = {
    **{name: f"php-{name}" for name in SAME.split(" ")},
    "main": "php-cli",  # `php` would install Apache
    "php_fpm": "php-fpm",
    "apc": "php-apcu",
    "imagemagick": "php-imagick",
    "postgresql": "php-pgsql",
    "sqlite": "php-sqlite3",
    "mod_fcgid": "libapache2-mod-fcgid",
    "mod_fastcgi": "libapache2-mod-fcgid",
}
DEFAULTS = {
    "php_ver": "8.2",
    "packages": PACKAGES,
    "service": "php{php_ver}-fpm",
    "program": "/usr/sbin/php-fpm{php_ver}",
    "etcdir": "/etc/php/{php_ver}",
    "confdir": "{etcdir}/mods-available",
    "pool_dir": "{etcdir}/fpm/pool.d",
    "pid_file": "/run/php/php{php_ver}-fpm.pid",
    "socket_directory": "/run/php",
    "pools_directory": "/var/lib/php/pools",  # in the project, fixperms would take it away from php-fpm
    "fpm_user": "www-data",
    "fpm_group": "www-data",
    "listen_owner": "www-data",
    "listen_group": "www-data",
    "pm": "dynamic",
    "pm_max_children": 10,
    "pm_start_servers": 2,
    "pm_min_spare_servers": 1,
    "pm_max_spare_servers": 4,
    "pm_max_requests": 500,
    "memory_limit": "256M",
    "upload_max_filesize": "100M",
    "post_max_size": "{upload_max_filesize}",
    "max_execution_time": 300,
    "max_input_time": 300,
    "max_input_vars": 1000,
    "allow_url_fopen": False,
    "allow_url_include": False,
    "display_errors": False,
    "session_auto_start": False,
    "session_gc_probability": 1,  # Debian's own clean-up does not cover pools
    "timezone": "",
    "modules": {},
    "pool_template_source": "salt://makina-states/files/etc/php/pool.conf",
}
VALUES = {  # option of a pool -> option of PHP
    "memory_limit": "memory_limit",
    "upload_max_filesize": "upload_max_filesize",
    "post_max_size": "post_max_size",
    "max_execution_time": "max_execution_time",
    "max_input_time": "max_input_time",
    "max_input_vars": "max_input_vars",
    "allow_url_fopen": "allow_url_fopen",
    "allow_url_include": "allow_url_include",
    "display_errors": "display_errors",
    "session_auto_start": "session.auto_start",
    "session_gc_probability": "session.gc_probability",
    "session_cookie_domain": "session.cookie_domain",
    "timezone": "date.timezone",
    "sessions_dir": "session.save_path",
    "tmp_dir": "upload_tmp_dir",
    "error_log": "error_log",
    "open_basedir": "open_basedir",
    "include_path": "include_path",
}


def settings() -> dict[str, Any]:
    """Return the settings of PHP; the host's configuration, pillar and grains can override them."""
    found: dict[str, Any] = __salt__["mc_utils.defaults"](PREFIX, DEFAULTS)
    return found


def service() -> dict[str, Any]:
    """Return the arguments of the state that runs php-fpm."""
    own = settings()
    reloaded = ["pkill", "--pidfile", own["pid_file"], "--signal", "USR2"]
    return {
        "name": own["service"], "tested_by": [own["program"], "-t"], "started_by": [own["program"], "--daemonize"],
        "reloaded_by": reloaded, "pid_file": own["pid_file"],
    }  # fmt: skip


def fpmpool_settings(domain: str, doc_root: str, **given: Any) -> dict[str, Any]:
    """Return the variables of a pool's template: settings, arguments of the macro, and derived ones."""
    own = settings()
    root = given.get("project_root") or str(Path(doc_root).parent)
    name = given.get("pool_name") or domain.replace(".", "_")
    base = given.get("project_root") or str(Path(own["pools_directory"]) / name)
    tmp = given.get("tmp_dir") or f"{base}/tmp"
    places = {
        "private_dir": f"{base}/private", "log_dir": f"{base}/log", "tmp_dir": tmp, "sessions_dir": f"{tmp}/sessions",
        "pool_name": name, "socket_name": f"{name}.sock", "session_cookie_domain": domain,
    }  # fmt: skip
    args = {**places, **own, **{key: value for key, value in given.items() if value is not None}}
    args["listen"] = given.get("listen") or str(Path(own["socket_directory"]) / args["socket_name"])
    args.setdefault("error_log", f"{args['log_dir']}/fpm.log")
    shut = [doc_root, "/tmp", args["tmp_dir"], args["private_dir"], args["log_dir"], args["sessions_dir"]]
    args["open_basedir"] = _paths(shut, given.get("open_basedir", []))
    args["include_path"] = _paths(
        [".", doc_root, f"{doc_root}/include", "/usr/share/php"], given.get("include_path", [])
    )
    return {**args, "domain": domain, "doc_root": doc_root, "project_root": root, "values": _values(args)}


def _paths(first: list[str], more: Any) -> str:
    """Return a search path; an explicit empty value means none."""
    if more in ("", None, False):
        return ""
    found = [*first, *(more.split(":") if isinstance(more, str) else more)]
    return ":".join(dict.fromkeys(found))


def _values(args: Mapping[str, Any]) -> dict[str, str]:
    """Return the PHP options of a pool."""
    found = {option: args.get(name) for name, option in VALUES.items()}
    for module, options in dict(args["modules"]).items():
        found |= {f"{module}.{key}": value for key, value in dict(options or {}).items()}
    return {key: _php_value(value) for key, value in found.items() if value not in (None, "")}


def _php_value(value: Any) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def fpm_pool(domain: str, doc_root: str, **given: Any) -> dict[str, Any]:
    """Return the arguments of the state for the file of a pool, and the folders that it needs."""
    data = fpmpool_settings(domain, doc_root, **given)
    path = f"{data['pool_dir']}/{data['pool_name']}.conf"
    active = data.get("active", True)
    file = {"path": path, "source": data["pool_template_source"], "data": json.dumps(data, default=str)}
    return {
        "name": data["pool_name"], "service": data["service"], "files": [file] if active else [],
        "links": {} if active else {path: ""}, "user": data["fpm_user"], "group": data["fpm_group"],
        "folders": [data[f"{name}_dir"] for name in ("log", "private", "tmp", "sessions")],
    }  # fmt: skip
