# ruff: noqa: F821  (Salt fills in the names with underscores)
"""Watchers of circus, run by systemd: each becomes a unit."""

from __future__ import annotations

import os
import re
import shlex
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from salt.exceptions import CommandExecutionError

__salt__: dict[str, Callable[..., Any]]  # Salt's loader fills it in

PREFIX = "makina-states.services.monitoring.circus"
DEFAULTS = {"unit_dir": "/etc/systemd/system", "environment_dir": "/etc/default"}
UNIT = """\
# Written by Salt: the watcher {name}.
[Unit]
Description={name}
After=network.target

[Service]
Type=exec
ExecStart={command}
{more}
Restart=always
RestartSec=1

[Install]
WantedBy=multi-user.target
"""
# Options without meaning for systemd, which starts one process with a clean environment, and keeps its output.
IGNORED = {
    "warmup_delay", "copy_env", "copy_path", "manager_force_reload", "force_restart", "force_reload", "autostart",
    "priority", "conf_priority", "stdout_stream", "stderr_stream", "singleton", "respawn", "max_age_variance",
    "send_hup", "hup_signal",
}  # fmt: skip


def settings() -> dict[str, Any]:
    """Return the folders of units and environments; the host's configuration, pillar and grains can override them."""
    found: dict[str, Any] = __salt__["mc_utils.defaults"](PREFIX, DEFAULTS)
    return found


def watcher(name: str, cmd: str = "", args: str = "", **given: Any) -> dict[str, Any]:
    """Return the unit of a watcher: its name, and its files."""
    if not re.fullmatch(r"[A-Za-z0-9:_.@-]+", name) or not cmd:
        raise CommandExecutionError(
            f"circusAddWatcher: invalid watcher {name!r}: use a name of letters and digits, and set cmd"
        )
    own, service = settings(), f"circus-{name}"
    unit = f"{own['unit_dir']}/{service}.service"
    kept = f"{own['environment_dir']}/{service}"
    text = UNIT.format(
        name=name, command=_command(f"{cmd} {args}".strip(), given), more="\n".join(_options(name, kept, given))
    )
    return {
        "name": service,
        "files": [
            {"path": kept, "contents": _environment(given.get("environment")), "mode": "0600", "secret": True},
            {"path": unit, "contents": text},
        ],
        "force_restart": bool(given.get("force_restart")),
    }


def _command(cmd: str, given: Mapping[str, Any]) -> str:
    """Return a command for systemd, with an absolute path of the program, which systemd requires."""
    words = ["/bin/sh", "-c", cmd] if _true(given.get("shell")) else shlex.split(cmd)
    if "/" in words[0] and given.get("working_dir"):
        words[0] = os.path.normpath(Path(given["working_dir"]) / words[0])
    return " ".join(_quoted(word) for word in words)


def _quoted(word: str) -> str:
    r"""Quote for systemd, in which %, $ and \ are special everywhere."""
    for special, said in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%"), ("$", "$$"), ("\n", "\\n")):
        word = word.replace(special, said)
    return word if re.fullmatch(r"[\w@%$+=:,./-]+", word) else f'"{word}"'


def _options(name: str, kept: str, given: Mapping[str, Any]) -> list[str]:
    known = {
        "uid": "User", "gid": "Group", "working_dir": "WorkingDirectory", "rlimit_nofile": "LimitNOFILE",
        "max_age": "RuntimeMaxSec", "graceful_timeout": "TimeoutStopSec",
    }  # fmt: skip
    others = IGNORED | {"environment", "shell", "stop_children", "stop_signal"} | set(known)
    unknown = sorted(key for key in given if key not in others)
    if unknown:
        raise CommandExecutionError(
            f"circusAddWatcher: {name}: not supported here: {unknown[0]}; see: corpus help makina-states"
        )
    lines = [f"{option}={_plain(given[key])}" for key, option in known.items() if given.get(key) not in (None, "")]
    lines += [f"KillSignal={_signal(given['stop_signal'])}"] if given.get("stop_signal") else []
    lines += [] if _true(given.get("stop_children")) else ["KillMode=mixed"]
    return [*lines, f"EnvironmentFile={kept}"]


def _plain(value: Any) -> str:
    return str(value).replace("%", "%%")


def _true(value: Any) -> bool:
    return str(value).lower() in ("true", "1", "yes", "on")


def _signal(said: Any) -> str:
    """Return the name of a signal from its number or name."""
    text = str(said).upper()
    try:
        return (
            signal.Signals(int(text)).name if text.isdigit() else signal.Signals[f"SIG{text.removeprefix('SIG')}"].name
        )
    except (KeyError, ValueError):
        raise CommandExecutionError(f"circusAddWatcher: invalid signal {said!r}") from None


def _environment(given: Any) -> str:
    """Return an environment file, which can have secrets and is only readable by root."""
    lines = []
    for key, value in sorted(dict(given or {}).items()):
        text = re.sub(r'([\\"$`])', r"\\\1", str(value))
        lines.append(f'{key}="{text}"\n')
    return "# Written by Salt.\n" + "".join(lines)
