# ruff: noqa: F821  (Salt fills in the names with underscores)
"""A buildout that was run: a state that Salt had and has no more."""

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

DEBIAN = "/usr/bin/python3"  # Debian's own; what makes environments of it is a package apart
VENV = "python3-venv"
PLACE = ".buildout"  # where zc.buildout is installed, in a folder that has no bin/buildout


def installed(
    name: str, config: str = "buildout.cfg", parts: str | Sequence[str] = (), user: str | None = None,
    runas: str | None = None, python: str = "python3", newest: bool = False, offline: bool = False, **_given: Any,
) -> dict[str, Any]:  # fmt: skip
    """Have the buildout in a folder run, by its bin/buildout or by one that is installed for it with `python`.

    root runs no buildout in a folder that others can write: there its owner does. Only these arguments have a meaning.
    Salt gives whatever else an SLS says.
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
    """Return the program, installed where it is missing."""
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
    """Have Debian's package that environments of its Python are made with; another Python brings its own."""
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
    """Forget `runas` for a while: Salt runs every command of a state that has it as that user."""
    user = __context__.pop("runas", None)
    try:
        yield
    finally:
        __context__["runas"] = user


def _run(argv: list[str], folder: str, user: str | None) -> str:
    """Run a program and return its last lines; raise what it said where it failed."""
    told = __salt__["cmd.run_all"](argv, cwd=folder, runas=user, python_shell=False, redirect_stderr=True)
    said = "\n".join(told["stdout"].splitlines()[-20:])
    if told["retcode"]:
        raise CommandExecutionError(f"{' '.join(argv)}:\n{said or told['retcode']}")
    return said
