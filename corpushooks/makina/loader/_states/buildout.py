# ruff: noqa: F821  (Salt fills in the names with underscores)
"""Run a buildout: a state that Salt no longer has."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from salt.exceptions import CommandExecutionError

__salt__: dict[str, Callable[..., Any]]  # Salt's loader fills these in
__states__: dict[str, Callable[..., dict[str, Any]]]
__opts__: dict[str, Any]
__context__: dict[str, Any]

DEBIAN = "/usr/bin/python3"  # Debian's own; its venv module is a separate package
VENV = "python3-venv"
PLACE = ".buildout"  # where zc.buildout is installed in a folder without bin/buildout


def installed(
    name: str, config: str = "buildout.cfg", parts: str | Sequence[str] = (), user: str | None = None,
    runas: str | None = None, python: str = "python3", newest: bool = False, offline: bool = False, **_given: Any,
) -> dict[str, Any]:  # fmt: skip
    """Run the buildout in a folder, by its bin/buildout or by one that is installed for it with `python`.

    In a folder that others can write it runs as the owner, not as root. Other arguments of the SLS, which Salt passes,
    are ignored.
    """
    ended = {"name": name, "result": True, "changes": {}, "comment": ""}
    if __opts__["test"]:
        return {**ended, "result": None, "comment": f"buildout -c {config} would run in {name}"}
    words = ["-c", config, *(["-o"] if offline else []), "-n" if newest else "-N"]
    words += ["install", *([parts] if isinstance(parts, str) else parts)] if parts else []
    try:
        own = __salt__["mc_files.runner"](name, user or runas)
        said = _run([_program(Path(name), python, own), *words], name, own)
    except CommandExecutionError as exc:
        return {**ended, "result": False, "comment": str(exc)}
    return {**ended, "changes": {"buildout": said}, "comment": f"buildout -c {config} has run"}


def _program(folder: Path, python: str, user: str | None) -> str:
    """Return the program, installing it if it is missing."""
    own = folder / "bin/buildout"
    ours = folder / PLACE / "bin/buildout"
    if os.access(own, os.X_OK):
        return str(own)
    if not ours.exists():
        _have_venv(python)
        _run([python, "-m", "venv", str(folder / PLACE)], str(folder), user)
        _run([str(ours.with_name("pip")), "install", "--quiet", "zc.buildout"], str(folder), user)
    return str(ours)


def _have_venv(python: str) -> None:
    """Install Debian's package for virtual environments, unless another Python is used, which includes it."""
    if os.geteuid() or os.path.realpath(shutil.which(python) or "") != os.path.realpath(DEBIAN):
        return
    told = __salt__["cmd.run_all"]([python, "-c", "import ensurepip"], python_shell=False, ignore_retcode=True)
    if told["retcode"]:
        with _as_root():
            made = __states__["pkg.installed"](VENV)
        if not made["result"]:
            raise CommandExecutionError(str(made["comment"]))


@contextlib.contextmanager
def _as_root() -> Iterator[None]:
    """Remove `runas` for a while: Salt would run every command of the state as that user."""
    user = __context__.pop("runas", None)
    try:
        yield
    finally:
        __context__["runas"] = user


def _run(argv: list[str], folder: str, user: str | None) -> str:
    """Run a program and return its last lines; raise its output if it failed."""
    told = __salt__["cmd.run_all"](argv, cwd=folder, runas=user, python_shell=False, redirect_stderr=True)
    said = "\n".join(told["stdout"].splitlines()[-20:])
    if told["retcode"]:
        raise CommandExecutionError(f"{' '.join(argv)}:\n{said or told['retcode']}")
    return said
