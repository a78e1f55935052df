# ruff: noqa: F821  (Salt fills in the names with underscores)
"""Projects, for SLS files and their templates, and for `salt-call mc_project.…` by hand.

In a deployment, cfg is available. Everything else calls the command `corpus`.
"""

from __future__ import annotations

import contextlib
import copy
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import salt.utils.args
import salt.utils.yaml
from salt.exceptions import CommandExecutionError

__opts__: dict[str, Any]  # Salt's loader fills these in
__context__: dict[str, Any]

Names = str | Iterable[str] | None


# configuration


def get_configuration(name: str = "") -> dict[str, Any]:
    """Return the cfg of a project, by default of the one that is deployed; of another, the last deployed one.

    By hand it is computed from the live release, including its secrets, which `corpus config` hides.
    """
    own = __opts__.get("ms_project_name", "")
    if name in ("", own) and own:
        return copy.deepcopy(dict(__opts__["ms_project"]))
    if not own:
        return dict(_json_output("config", _one(name), "--show-secrets"))
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
        raise CommandExecutionError(f"mc_project.get_configuration: invalid project name {name!r}")
    folder = Path(__opts__["conf_file"]).parents[1] / name
    with contextlib.suppress(OSError, ValueError):
        return dict(json.loads((folder / "cfg.json").read_text()))
    with contextlib.suppress(OSError, KeyError):  # older versions wrote `minion` alone
        return dict(salt.utils.yaml.safe_load((folder / "minion").read_text())["ms_project"])
    raise CommandExecutionError(f"mc_project.get_configuration: project {name!r} is unknown or was never deployed")


def get_configuration_item(name: str, item: str) -> Any:
    """Return one first-level value of the cfg of a project."""
    found = get_configuration(name)
    if item not in found:
        raise CommandExecutionError(f"mc_project.get_configuration_item: unknown key {item!r} in the cfg of {name}")
    return found[item]


# projects


def init_project(name: str, env: str = "", branch: str = "", installer: str = "") -> dict[str, Any]:
    """Create or repair a project, as `corpus init` does; return the addresses for pushes."""
    options = {"--env": env, "--branch": branch, "--installer": installer}
    return dict(_json_output("init", *(f"{option}={value}" for option, value in options.items() if value), _one(name)))


def list_projects() -> list[str]:
    """Return the names of the projects."""
    return [each["project"] for each in _json_output("status")]


def report(name: str = "") -> Any:
    """Return the status of a project, or of all, and the addresses for pushes."""
    return _json_output("status", "--urls", *([_one(name)] if name else []))


def link(names: Names) -> bool:
    """Create the wiring of projects (comma-separated or a list): links, modules, the pillar's top file."""
    for name in _words(names):
        _run("link", _one(name))
    return True


def unlink(names: Names) -> bool:
    """Remove the wiring of projects; the next deployment creates it again."""
    for name in _words(names):
        _run("unlink", _one(name))
    return True


def sync_modules(name: str) -> bool:
    """Link the modules of a project, with the rest of its wiring; every deployment does so."""
    return link([name])


# deployments


def deploy(
    name: str, rev: str = "", only: Names = None, only_steps: Names = None, skip: Names = None,
    dry_run: bool = False, nowait: bool = False, **skips: Any,
) -> dict[str, Any]:  # fmt: skip
    """Deploy a commit, by default the live one again; return the deployment, with `result` true or false.

    `only` selects steps and `only_steps` install SLS files; skip_archive=True and the like skip a step.
    """
    given = salt.utils.args.clean_kwargs(**skips)
    unknown = [key for key in given if not key.startswith("skip_")]
    if unknown:
        raise CommandExecutionError(f"mc_project.deploy: unknown option {unknown[0]!r}")
    left_out = [*_words(skip), *(key[len("skip_") :] for key, wanted in given.items() if wanted is True)]
    lists = {"--only": _words(only), "--steps": _words(only_steps), "--skip": left_out}
    options = [f"{option}={','.join(words)}" for option, words in lists.items() if words]
    options += [option for option, wanted in {"--dry-run": dry_run, "--nowait": nowait}.items() if wanted]
    return _deployment_result("deploy", *options, _one(name), *([_one(rev)] if rev else []))


def archive(name: str) -> dict[str, Any]:
    """Only archive a project."""
    return deploy(name, only="archive")


def release_sync(name: str) -> dict[str, Any]:
    """Only sync the files of the live commits to a project."""
    return deploy(name, only="release_sync")


def install(name: str, only_steps: Names = None) -> dict[str, Any]:
    """Run the install SLS of a project, or some of them."""
    return deploy(name, only="install", only_steps=only_steps)


def fixperms(name: str) -> dict[str, Any]:
    """Set the owners and modes of a project."""
    return deploy(name, only="fixperms")


def rotate_archives(name: str) -> dict[str, Any]:
    """Remove surplus archives of a project."""
    return deploy(name, only="rotate_archives")


def notify(name: str) -> dict[str, Any]:
    """Run the notify.sls of a project."""
    return deploy(name, only="notify")


def rollback(name: str, number: int = 0) -> dict[str, Any]:
    """Return to the result of a deployment, by default the one before the live one."""
    return _deployment_result("rollback", _one(name), *([str(int(number))] if number else []))


def run_task(name: str, only_steps: Names) -> list[dict[str, Any]]:
    """Run tasks of a project, task_NAME or NAME, up to the first failure; return the result of each."""
    ended = []
    for task in _words(only_steps):
        ended.append(_deployment_result("task", _one(name), _one(task.removesuffix(".sls").removeprefix("task_"))))
        if not ended[-1]["result"]:
            break
    return ended


# the command


def _words(given: Names) -> list[str]:
    """Return names given comma-separated, or as a list."""
    if not isinstance(given, str | list | tuple | None):
        raise CommandExecutionError(f"mc_project: expected comma-separated names or a list, got {given!r}")
    words = given.split(",") if isinstance(given, str) else list(given or ())
    return [word.strip() for word in map(str, words) if word.strip()]


def _one(word: Any) -> str:
    """Return an argument of the command that is not an option."""
    if not isinstance(word, str) or not word or word.startswith("-"):
        raise CommandExecutionError(f"mc_project: expected a name, got {word!r}")
    return word


def _program() -> list[str]:
    """Return the command line of `corpus` for this host: in a deployment, of the same installation."""
    beside = __opts__.get("corpushooks", {}).get("resetperms")
    program = [str(Path(beside).with_name("corpus"))] if beside else [sys.executable, "-I", "-m", "corpushooks"]
    own = dict(__opts__.get("ms_project", {}))
    return [*program, "--root", str(Path(own["project_dir"]).parents[2])] if own else program


def _json_output(*words: str) -> Any:
    """Return the JSON output of the command."""
    return json.loads(_run(*words, "--json")[0])


def _deployment_result(*words: str) -> dict[str, Any]:
    """Return a deployment; its output is shown, and the exit code of salt-call is its result."""
    said, code = _run(*words, "--json", shows=True)
    __context__["retcode"] = code
    return {**json.loads(said), "result": code == 0}


def _run(*words: str, shows: bool = False) -> tuple[bytes, int]:
    """Run the command; return its output and exit code. Raise if it failed without a result."""
    with tempfile.TemporaryFile() as printed:
        program = [*_program(), *words]
        with subprocess.Popen(program, stdin=subprocess.DEVNULL, stdout=printed, stderr=subprocess.PIPE) as process:
            assert process.stderr
            held: list[str] = []  # error lines, until we know whether more follow
            for line in process.stderr:
                held.append(line.decode("utf-8", "replace"))
                if shows and not held[-1].startswith(("error: ", "hint: ")):
                    sys.stderr.write("".join(held))
                    held.clear()
        printed.seek(0)
        said = printed.read()
    if process.returncode and not said:
        raise CommandExecutionError(_complaint(held))
    sys.stderr.write("".join(held))
    return said, process.returncode


def _complaint(said: list[str]) -> str:
    """Return the error of the command and its hint in one line."""
    words = [line.strip().removeprefix("error: ").removeprefix("hint: ") for line in said[-2:]]
    return "; ".join(words) or "the command corpus printed no error"
