# ruff: noqa: F821  (Salt fills in the names with underscores)
"""Projects, for SLS files and their templates, and for who works with `salt-call mc_project.…` by hand.

In a deployment, cfg is at hand. All else is what the command `corpus` says or does.
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
    """Return the cfg of a project, by default of the one that is deployed; of another, as it was deployed last.

    By hand it is computed from the live release, and has its secrets: `corpus config` hides them.
    """
    own = __opts__.get("ms_project_name", "")
    if name in ("", own) and own:
        return copy.deepcopy(dict(__opts__["ms_project"]))
    if not own:
        return dict(_told("config", _one(name), "--show-secrets"))
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
        raise CommandExecutionError(f"mc_project.get_configuration: invalid project name {name!r}")
    folder = Path(__opts__["conf_file"]).parents[1] / name
    with contextlib.suppress(OSError, ValueError):
        return dict(json.loads((folder / "cfg.json").read_text()))
    with contextlib.suppress(OSError, KeyError):  # older versions wrote `minion` alone
        return dict(salt.utils.yaml.safe_load((folder / "minion").read_text())["ms_project"])
    raise CommandExecutionError(f"mc_project.get_configuration: unknown project {name!r}, or none was deployed")


def get_configuration_item(name: str, item: str) -> Any:
    """Return one first-level value of the cfg of a project."""
    found = get_configuration(name)
    if item not in found:
        raise CommandExecutionError(f"mc_project.get_configuration_item: the cfg of {name} has no {item!r}")
    return found[item]


# projects


def init_project(name: str, env: str = "", branch: str = "", installer: str = "") -> dict[str, Any]:
    """Make a project, or repair it, as `corpus init` does; return where to push."""
    options = {"--env": env, "--branch": branch, "--installer": installer}
    return dict(_told("init", *(f"{option}={value}" for option, value in options.items() if value), _one(name)))


def list_projects() -> list[str]:
    """Return the names of the projects."""
    return [each["project"] for each in _told("status")]


def report(name: str = "") -> Any:
    """Return what is live in a project, or in each, what runs or waits, and where to push."""
    return _told("status", "--urls", *([_one(name)] if name else []))


def link(names: Names) -> bool:
    """Let Salt see projects, given with commas between them or as a list: links, modules, the pillar's top file."""
    for name in _words(names):
        _run("link", _one(name))
    return True


def unlink(names: Names) -> bool:
    """Take projects out of Salt's sight; the next deployment links them again."""
    for name in _words(names):
        _run("unlink", _one(name))
    return True


def sync_modules(name: str) -> bool:
    """Link the modules that a project ships, with all else by which Salt sees it; every deployment does so."""
    return link([name])


# deployments


def deploy(
    name: str, rev: str = "", only: Names = None, only_steps: Names = None, skip: Names = None,
    dry_run: bool = False, nowait: bool = False, **skips: Any,
) -> dict[str, Any]:  # fmt: skip
    """Deploy a commit, by default the live one again; return what came of it, with `result` true or false.

    `only` names steps and `only_steps` install SLS; skip_archive=True and the like leave a step out.
    """
    given = salt.utils.args.clean_kwargs(**skips)
    unknown = [key for key in given if not key.startswith("skip_")]
    if unknown:
        raise CommandExecutionError(f"mc_project.deploy: there is no option {unknown[0]!r}")
    left_out = [*_words(skip), *(key[len("skip_") :] for key, wanted in given.items() if wanted is True)]
    lists = {"--only": _words(only), "--steps": _words(only_steps), "--skip": left_out}
    options = [f"{option}={','.join(words)}" for option, words in lists.items() if words]
    options += [option for option, wanted in {"--dry-run": dry_run, "--nowait": nowait}.items() if wanted]
    return _done("deploy", *options, _one(name), *([_one(rev)] if rev else []))


def archive(name: str) -> dict[str, Any]:
    """Archive a project, and deploy nothing else of it."""
    return deploy(name, only="archive")


def release_sync(name: str) -> dict[str, Any]:
    """Bring the files of the live commits to a project, and deploy nothing else of it."""
    return deploy(name, only="release_sync")


def install(name: str, only_steps: Names = None) -> dict[str, Any]:
    """Run the install SLS of a project, or some of them."""
    return deploy(name, only="install", only_steps=only_steps)


def fixperms(name: str) -> dict[str, Any]:
    """Set the owners and modes of a project."""
    return deploy(name, only="fixperms")


def rotate_archives(name: str) -> dict[str, Any]:
    """Remove the archives of a project that are too many."""
    return deploy(name, only="rotate_archives")


def notify(name: str) -> dict[str, Any]:
    """Run the notify.sls of a project."""
    return deploy(name, only="notify")


def rollback(name: str, number: int = 0) -> dict[str, Any]:
    """Return to the result of a deployment, by default the one before the live one."""
    return _done("rollback", _one(name), *([str(int(number))] if number else []))


def run_task(name: str, only_steps: Names) -> list[dict[str, Any]]:
    """Run tasks of a project, task_NAME or NAME, up to the first that fails; return what came of each."""
    ended = []
    for task in _words(only_steps):
        ended.append(_done("task", _one(name), _one(task.removesuffix(".sls").removeprefix("task_"))))
        if not ended[-1]["result"]:
            break
    return ended


# the command


def _words(given: Names) -> list[str]:
    """Return names that were given with commas between them, or as a list."""
    if not isinstance(given, str | list | tuple | None):
        raise CommandExecutionError(f"mc_project: expected names, with commas between them or a list, got {given!r}")
    words = given.split(",") if isinstance(given, str) else list(given or ())
    return [word.strip() for word in map(str, words) if word.strip()]


def _one(word: Any) -> str:
    """Return an argument of the command, which none of its options is."""
    if not isinstance(word, str) or not word or word.startswith("-"):
        raise CommandExecutionError(f"mc_project: expected a name, got {word!r}")
    return word


def _program() -> list[str]:
    """Return the command, as it is called for this host: in a deployment the one beside what deploys."""
    beside = __opts__.get("corpushooks", {}).get("resetperms")
    program = [str(Path(beside).with_name("corpus"))] if beside else [sys.executable, "-I", "-m", "corpushooks"]
    own = dict(__opts__.get("ms_project", {}))
    return [*program, "--root", str(Path(own["project_dir"]).parents[2])] if own else program


def _told(*words: str) -> Any:
    """Return what the command prints as JSON."""
    return json.loads(_run(*words, "--json")[0])


def _done(*words: str) -> dict[str, Any]:
    """Return what came of a deployment; who ran salt-call sees it happen, and its failure in the exit code."""
    said, code = _run(*words, "--json", shows=True)
    __context__["retcode"] = code
    return {**json.loads(said), "result": code == 0}


def _run(*words: str, shows: bool = False) -> tuple[bytes, int]:
    """Run the command; return what it printed and its exit code. Raise where it could not do what was asked."""
    with tempfile.TemporaryFile() as printed:
        program = [*_program(), *words]
        with subprocess.Popen(program, stdin=subprocess.DEVNULL, stdout=printed, stderr=subprocess.PIPE) as process:
            assert process.stderr
            held: list[str] = []  # what an error says, until it shows whether more comes
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
    """Return in one line what the command complained of, and what helps."""
    words = [line.strip().removeprefix("error: ").removeprefix("hint: ") for line in said[-2:]]
    return "; ".join(words) or "the command corpus said nothing"
