# ruff: noqa: F821  (Salt fills in the names with underscores)
"""Virtual hosts of a web server, from the arguments of SLS files written for makina-states."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from salt.exceptions import CommandExecutionError

__salt__: dict[str, Callable[..., Any]]  # Salt's loader fills it in

CERTIFICATES = "makina-states.localsettings.ssl.certificates"
NONE = {"ssl_cert": "", "ssl_key": "", "ssl_cert_path": "", "ssl_key_path": "", "self_signed": {}}
SENDS = r"\breturn\s|\brewrite\s|\bRedirect|\bRewriteRule\s"
REDIRECT = re.compile(rf"^[^#\n]*?(?:{SENDS})[^#\n]*?https://([^/\s;\"']*)", re.M | re.I)
OURS = "salt://makina-states/"
ITSELF = ("$", "%{", "{{")  # a host in a template that is the requested one


def vhost_settings(own: dict[str, Any], domain: str, doc_root: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return the variables of the templates: settings of the web server, arguments of the macro, and derived ones."""
    args = {**given, **dict(given.get("extra") or {}), "domain": domain, "doc_root": doc_root or own["doc_root"]}
    name = str(args.get("vhost_basename") or domain)
    if not domain or "/" in name or name.startswith("."):
        raise CommandExecutionError(f"virtualhost: invalid file name {name!r}: set domain or vhost_basename")
    aliases = args.get("server_aliases") or []
    args["server_aliases"] = aliases.split() if isinstance(aliases, str) else list(aliases)
    args["vhost_basename"] = name
    data = {**_files(own, name), **own, "server_name": domain, "active": own["default_activation"], **args}
    args["vh_content_source"] = args.get("vh_content_source") or args.get("vh_in_template_source")
    for which in ("top", "content"):
        data[f"vh_{which}_source"] = args.get(f"vh_{which}_source") or own[f"vhost_{which}_template"]
    data["vh_template_source"] = args.get("vh_template_source") or own["vhost_wrapper_template"]
    data |= _certificate(own, data)
    return {**data, "data": data, "extra": {**data, "data": data, **dict(given.get("extra") or {})}}


def _files(own: dict[str, Any], name: str) -> dict[str, str]:
    """Return the paths of a virtual host."""
    stem = f"{own['basedir']}/sites-available/{name}"
    return {
        "small_name": name.replace(".", "_").replace("-", "_").replace("*", "star"),
        "vhost_available_file": f"{stem}.conf",
        "vhost_top_file": f"{stem}.top.conf",
        "vhost_content_file": f"{stem}.content.conf",
        "vhost_enabled_file": f"{own['basedir']}/sites-enabled/{name}.conf",
    }


def _certificate(own: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """Return the certificate and the key, each as a path and, if the text was given, as text to write there."""
    cert, key = data.get("ssl_cert"), data.get("ssl_key")
    if cert is False:  # no certificate: a proxy terminates TLS
        return NONE
    if not cert and not key:
        names = (data.get("ssl_common_name"), data["domain"])
        known = __salt__["mc_utils.get"](CERTIFICATES) or {}
        cert, key = next((known[name][:2] for name in names if name in known), (None, None))
    if not cert and not key:
        return _self_signed(own, data) if data["active"] and _redirects(data) else NONE
    if not cert or not key:
        raise CommandExecutionError("virtualhost: ssl_cert and ssl_key must be set together")
    found: dict[str, Any] = {"ssl_cert": cert, "ssl_key": key, "self_signed": {}}
    for name, text in (("ssl_cert", cert), ("ssl_key", key)):
        ending = name.removeprefix("ssl_").replace("cert", "crt")
        aside = f"{own['basedir']}/ssl/{data['vhost_basename']}.{ending}"
        found[f"{name}_path"] = aside if "-----BEGIN" in text else text
    return found


def _self_signed(own: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """Return a certificate that is created once if it is missing."""
    paths = {what: f"{own['basedir']}/ssl/{data['vhost_basename']}.self-signed.{what}" for what in ("crt", "key")}
    names = [data.get("ssl_common_name") or data["domain"], data["domain"], *data["server_aliases"]]
    return {**NONE, "ssl_cert_path": paths["crt"], "ssl_key_path": paths["key"],
            "self_signed": {**paths, "names": list(dict.fromkeys(map(str, names)))}}  # fmt: skip


def _redirects(data: dict[str, Any]) -> bool:
    """Return whether a virtual host needs TLS: by its arguments, or since a template of it redirects to https."""
    if data.get("ssl_redirect") or data.get("ssl_common_name"):
        return True
    own = {data["domain"], *data["server_aliases"]}
    for source in (data[f"vh_{which}_source"] for which in ("content", "top", "template")):
        text = "" if source.startswith(OURS) else __salt__["cp.get_file_str"](source) or ""
        if any(host.startswith(ITSELF) or host in own for host in REDIRECT.findall(text)):
            return True
    return False


def vhost(own: dict[str, Any], domain: str, doc_root: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of the state for the files of a virtual host."""
    data = vhost_settings(own, domain, doc_root, given)
    seen = json.dumps(data, default=str)
    files = [
        {"path": data[f"{name}_path"], "contents": data[name], "mode": "0600", "secret": True}
        for name in ("ssl_cert", "ssl_key")
        if "-----BEGIN" in data[name]
    ]
    for path, source in (("top", "top"), ("content", "content"), ("available", "template")):
        files.append({"path": data[f"vhost_{path}_file"], "source": data[f"vh_{source}_source"], "data": seen})
    links = {data["vhost_enabled_file"]: data["vhost_available_file"] if data["active"] else ""}
    if data["active"] and data.get("default_server"):
        links[f"{data['basedir']}/sites-enabled/{own['debian_default']}"] = ""  # which is also the default server
    return {"name": data["vhost_basename"], "service": data["service"], "files": files, "links": links,
            "self_signed": data["self_signed"], "tls": bool(data["ssl_cert_path"])}  # fmt: skip
