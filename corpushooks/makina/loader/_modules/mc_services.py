# ruff: noqa: F821  (Salt fills in the names with underscores)
"""Services of this host: by systemd if it runs, otherwise by their own programs."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from salt.exceptions import CommandExecutionError

__salt__: dict[str, Callable[..., Any]]  # Salt's loader fills it in


def _loaded() -> Any:
    """Return sockets.py as a module of this interpreter, which can lack our package."""
    path = Path(__file__).parents[3] / "system/sockets.py"
    spec = importlib.util.spec_from_file_location("corpushooks_sockets", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SOCKETS: Any = _loaded()
SYSTEMCTL = "makina-states.systemctl"  # a setting: a replacement for systemctl, or empty for none
BOOTED = Path("/run/systemd/system")  # checked by sd_booted(3)


def systemctl() -> str:
    """Return the program that manages the services of this host, or nothing if none does."""
    said = __salt__["mc_utils.get"](SYSTEMCTL)
    if said is not None:
        return str(said or "")
    return "systemctl" if BOOTED.is_dir() else ""


def manage(*words: str) -> None:
    """Run systemctl; raise its output if it failed, or an error if systemd does not run."""
    if not systemctl():
        raise CommandExecutionError("systemd is not running here")
    run([systemctl(), *words])


def ask(*words: str) -> bool:
    """Return whether a systemctl query succeeds."""
    return bool(_run_program([systemctl(), "--quiet", *words])["retcode"] == 0)


def script(name: str) -> str:
    """Return the script that manages a service without systemd, or nothing if there is none."""
    path = f"{__salt__['mc_locations.settings']()['initd_dir']}/{name}"
    if not re.fullmatch(r"[\w@+-][\w.@+-]*", name) or not __salt__["mc_files.exists"](path):
        return ""
    __salt__["mc_files.check_firm"](path)
    return path


def succeeds(argv: Sequence[str]) -> bool:
    """Return whether a program succeeds."""
    return bool(_run_program(argv)["retcode"] == 0)


def run(argv: Sequence[str]) -> None:
    """Run a program, without a shell; raise its output if it failed."""
    if not shutil.which(argv[0]):
        raise CommandExecutionError(f"{argv[0]} is not installed")
    told = _run_program(argv)
    if told["retcode"]:
        said = (told["stderr"] or told["stdout"]).strip() or f"exit code {told['retcode']}, no output"
        raise CommandExecutionError(f"{' '.join(argv)}:\n{said}")


def _run_program(argv: Sequence[str]) -> Any:
    return __salt__["cmd.run_all"](list(argv), python_shell=False, ignore_retcode=True)


def listening(name: str, port: int) -> str:
    """Return why a unit does not listen on a TCP port, or nothing if it does."""
    found = SOCKETS.listening().get(port, {})
    pids = SOCKETS.holders(set(found))
    if any(SOCKETS.unit(pid) == name for pid in pids):
        return ""
    if pids:
        return f"port {port} is in use by {SOCKETS.described(pids[0])}, not by {name}.service"
    return f"nothing listens on port {port}; see: journalctl -u {name}"


def alive(pid_file: str) -> bool:
    """Return whether the process of a pid file exists."""
    try:
        os.kill(int(__salt__["mc_files.read"](pid_file)), 0)
    except PermissionError:
        return True
    except (OSError, ValueError, CommandExecutionError):
        return False
    return True
