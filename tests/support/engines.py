"""An engine without Salt, for the tests whose subject is something else.

It shows the engines' results in Salt's own form, so that what reads them is the same code; and it runs commands
under the same keeper. It knows no include, no requisite but `require`, and the functions below.
"""

from __future__ import annotations

import difflib
import fnmatch
import functools
import json
import re
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jinja2
import yaml

from corpushooks import salt
from corpushooks.core.errors import SaltError
from corpushooks.salt import Minion, source
from corpushooks.salt.call import CallSession
from corpushooks.salt.configuration import prepare

JINJA = re.compile(r"{[{%#]")
Ended = tuple["bool | None", dict[str, Any], str]  # result, changes, comment


class FakeEngine:
    """Renders with Jinja and YAML and runs a handful of functions, in this process."""

    def session(self, minion: Minion, listener: salt.Listener) -> salt.Session:
        """Open a session."""
        prepare(minion)
        return _FakeSession(minion, listener, Path("salt-call"))

    def warm(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class _FakeSession(CallSession):
    """Answers in Salt's stead; only commands are processes."""

    _seen: Mapping[str, Any] = MappingProxyType({})  # the configuration that Salt would read

    def _write(self, content: dict[str, Any]) -> None:
        super()._write(content)
        self._seen = content

    def _call(self, words: list[str], timeout: float | None) -> Any:
        if self._over:
            raise SaltError(self._over)
        if words[0] == "state.sls":
            return self._sls(words[1], words[2] == "test=True", timeout)
        answers: dict[str, Callable[[Any], Any]] = {"facts": self._facts, "syntax": self._syntax, "check": self._check}
        return json.dumps(answers[words[0].partition(".")[2]](json.loads(words[1])), default=str)

    def _sls(self, sls: str, test: bool, timeout: float | None) -> Any:
        pillar, errors = self._pillar()
        if errors:
            return ["Pillar failed to render with the following messages:", *errors]
        try:
            high = self._render(sls, pillar)
        except _Wrong as exc:
            return [str(exc)]
        told: dict[str, dict[str, Any]] = {}
        for state_id, body in high.items():
            for function, arguments in _functions(body):
                if self._over:
                    raise SaltError(self._over)
                begun = time.monotonic()
                kind, _, name = function.partition(".")
                tag = f"{kind}_|-{state_id}_|-{arguments.get('name', state_id)}_|-{name}"
                missing = _failed(arguments.get("require", []), told)
                if missing:
                    ended: Ended = (False, {}, f"One or more requisite failed: {sls}.{missing}")
                else:
                    ended = self._state(sls, function, {"name": state_id, **arguments}, test, timeout)
                told[tag] = {
                    "result": ended[0], "changes": ended[1], "comment": ended[2],
                    "name": arguments.get("name", state_id), "__id__": state_id, "__sls__": sls,
                    "__run_num__": len(told), "__state_ran__": not missing,
                    "duration": (time.monotonic() - begun) * 1000,
                }  # fmt: skip
        return told

    def _state(self, sls: str, function: str, arguments: dict[str, Any], test: bool, timeout: float | None) -> Ended:
        if function == "cmd.run":
            return self._command(arguments, test, timeout)
        if function not in FUNCTIONS:
            return False, {}, f"State '{function}' was not found in SLS '{sls}'\nReason: it is a fake."
        return FUNCTIONS[function](arguments, test)

    def _command(self, arguments: Mapping[str, Any], test: bool, timeout: float | None) -> Ended:
        name = str(arguments["name"])
        if test:
            return None, {"cmd": name}, f'Command "{name}" would have been executed'
        script = name if "cwd" not in arguments else f"cd '{arguments['cwd']}' || exit 1; {name}"
        variables = {k: v for each in arguments.get("env", []) for k, v in each.items()}
        words = ["env", *(f"{key}={value}" for key, value in variables.items()), "sh", "-c", script]
        with tempfile.TemporaryFile() as out:
            _, status = self._keep(words, out.fileno(), timeout)
            out.seek(0)
            output = out.read()
        self.listener.output(output)
        changes = {"retcode": status >> 8, "stdout": output.decode(errors="replace").strip(), "stderr": ""}
        return status == 0, changes, f'Command "{name}" run'

    def _facts(self, sample: str) -> Any:
        pillar, errors = self._pillar()
        if errors:
            return {"where": "pillar", "errors": errors}
        try:
            rendered = (self._load(Path(sample), pillar) if sample else None) or {}
        except _Wrong as exc:
            return {"where": "sample", "errors": [str(exc)]}
        if not isinstance(rendered, dict):
            wrong = f"expected a mapping, got a {type(rendered).__name__}"
            return {"where": "sample", "errors": [wrong]}
        return {"grains": self._grains(), "pillar": pillar, "sample": rendered}

    def _syntax(self, files: list[str]) -> Any:
        found = []
        for file in files:
            text = Path(file).read_text()
            try:
                if JINJA.search(text):
                    _environment(()).parse(text)
                elif not text.startswith("#!") or text.splitlines()[0] == "#!yaml":
                    _yaml(text)
            except jinja2.TemplateSyntaxError as exc:
                found.append([file, exc.lineno, f"Jinja: {exc.message}"])
            except yaml.MarkedYAMLError as exc:
                found.append([file, exc.problem_mark.line + 1 if exc.problem_mark else None, f"YAML: {exc.problem}"])
        return found

    def _check(self, sls: list[list[str]]) -> Any:
        return [self._checked(each) for each, _ in sls]

    def _checked(self, sls: str) -> Any:
        pillar, errors = self._pillar()
        try:
            high = self._render(sls, pillar)
        except _Wrong as exc:
            return {"errors": [["", text] for text in (*errors, str(exc))], "states": [], "commands": []}
        known = {"cmd.run", *FUNCTIONS}
        found = [(state_id, *each) for state_id, body in high.items() for each in _functions(body)]
        unknown = [
            f"State '{function}' was not found in SLS '{sls}' in state [{state_id}]"
            for state_id, function, _ in found
            if function not in known
        ]
        return {
            "errors": [["", text] for text in (*errors, *unknown)],
            "states": [[*each, sls] for each in found],
            "commands": [],
        }

    def _grains(self) -> dict[str, Any]:
        given = self.minion.dir / "grains"
        kept = yaml.safe_load(given.read_text()) if given.exists() else {}
        return {"id": self.minion.id or "fake", "fqdn": "fake.example.org", "os": "Debian", **kept}

    def _pillar(self) -> tuple[dict[str, Any], list[str]]:
        """Return the pillar of the tops, over what configure() laid under it, and the errors."""
        found: dict[str, Any] = {}
        errors = []
        tops = [top for root in self.minion.pillars if (top := root / "top.sls").is_file()]
        wanted = (self._load(tops[0], {}) or {}).get("base", {}) if tops else {}
        for target, names in wanted.items():
            for name in names if fnmatch.fnmatch(self._grains()["id"], target) else []:
                try:
                    file = source(name, self.minion.pillars)
                    loaded = (self._load(file, {}) or {}) if file else {}
                    if not isinstance(loaded, dict):
                        raise _Wrong(f"SLS '{name}' does not render to a dictionary")
                    found = _merged(found, loaded)
                except _Wrong as exc:
                    errors.append(f"Rendering SLS '{name}' failed, render error:\n{exc}")
        under, *above = self._seen.get("ext_pillar", [{"corpushooks": [{}]}])[0]["corpushooks"]
        return functools.reduce(_merged, [found, *above], under), errors

    def _render(self, sls: str, pillar: dict[str, Any]) -> dict[str, Any]:
        file = source(sls, self.minion.states)
        if not file:
            raise _Wrong(f"No matching sls found for '{sls}' in env 'base'")
        try:
            high = self._load(file, pillar) or {}
        except _Wrong as exc:
            raise _Wrong(f"Rendering SLS 'base:{sls}' failed: {exc}") from exc
        if not isinstance(high, dict):
            raise _Wrong(f"SLS {sls} does not render to a dictionary")
        return high

    def _load(self, file: Path, pillar: dict[str, Any]) -> Any:
        """Return what a file renders to; raise _Wrong as Salt's renderers word it."""
        given = json.loads(json.dumps(dict(self._seen)))
        environment = _environment(self.minion.states)
        if "ms_project" in given:
            environment.globals["cfg"] = given["ms_project"]
        grains = self._grains()
        stub = {"test.echo": lambda text: text, "grains.get": grains.get, "pillar.get": pillar.get}
        try:
            template = environment.from_string(file.read_text())
            text = template.render(opts=given, pillar=pillar, grains=grains, salt=stub)
        except jinja2.TemplateSyntaxError as exc:
            raise _Wrong(f"Jinja syntax error: {exc.message}; line {exc.lineno}\n") from exc
        except jinja2.UndefinedError as exc:
            lines = [f.lineno for f in traceback.extract_tb(exc.__traceback__) if f.filename == "<template>"]
            raise _Wrong(f"Jinja variable {exc.message}; line {lines[-1]}\n") from exc
        try:
            return _yaml(text)
        except yaml.MarkedYAMLError as exc:
            number = exc.problem_mark.line + 1 if exc.problem_mark else 1
            marked = text.splitlines()[number - 1] if number <= len(text.splitlines()) else ""
            excerpt = f"---\n{marked}    <======================\n---"
            raise _Wrong(f"YAML: {exc.problem}; line {number}\n\n{excerpt}") from exc


class _Wrong(Exception):
    """An SLS that cannot be rendered."""


def _environment(roots: tuple[Path, ...]) -> jinja2.Environment:
    return jinja2.Environment(
        extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"],
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FileSystemLoader(roots),
    )


def _yaml(text: str) -> Any:
    """Load YAML in which no id stands twice."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    seen = set()
    for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
        if key.value in seen:
            raise yaml.MarkedYAMLError(problem=f"found conflicting ID '{key.value}'", problem_mark=key.start_mark)
        seen.add(key.value)
    return yaml.safe_load(text)


def _merged(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    both = {key for key in low if isinstance(low[key], dict) and isinstance(high.get(key), dict)}
    return {**low, **high, **{key: _merged(low[key], high[key]) for key in both}}


def _functions(body: Any) -> list[tuple[str, dict[str, Any]]]:
    if isinstance(body, str):
        return [(body, {})]
    return [(name, {k: v for each in given or [] for k, v in each.items()}) for name, given in body.items()]


def _failed(wanted: list[Mapping[str, str]], told: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the id of a requisite that failed."""
    names = [name for each in wanted for name in each.values()]
    found = (each for each in told.values() if each["result"] is False)
    return next((each["__id__"] for each in found if each["__id__"] in names or each["name"] in names), "")


def _configurable(arguments: Mapping[str, Any], test: bool) -> Ended:
    changes = {"testing": {"old": "Unchanged", "new": "Something pretended to change"}}
    changed = bool(arguments.get("changes", True))
    result = None if test and changed else bool(arguments.get("result", True))
    return result, changes if changed else {}, str(arguments.get("comment", ""))


def _managed(arguments: Mapping[str, Any], test: bool) -> Ended:
    path = Path(arguments["name"])
    wanted = str(arguments.get("contents", "")).rstrip("\n") + "\n"
    if path.is_file() and path.read_text() == wanted:
        return True, {}, f"File {path} is in the correct state"
    old = path.read_text().splitlines() if path.is_file() else None
    diff = "New file" if old is None else "\n".join(difflib.unified_diff(old, wanted.splitlines(), lineterm=""))
    return _write(path, wanted, {"diff": diff}, test, makedirs=bool(arguments.get("makedirs")))


def _append(arguments: Mapping[str, Any], test: bool) -> Ended:
    path = Path(arguments["name"])
    old = path.read_text() if path.is_file() else ""
    text = str(arguments["text"]).rstrip("\n")
    if text in old.splitlines():
        return True, {}, f"File {path} is in correct state"
    return _write(path, f"{old}{text}\n", {"diff": f"+{text}"}, test, makedirs=bool(arguments.get("makedirs")))


def _write(path: Path, text: str, changes: dict[str, Any], test: bool, *, makedirs: bool) -> Ended:
    if test:
        return None, changes, f"The file {path} is set to be changed"
    if makedirs:
        path.parent.mkdir(parents=True, exist_ok=True)
    if not path.parent.is_dir():
        return False, {}, f"Parent directory not present: {path.parent}"
    path.write_text(text)
    return True, changes, f"File {path} updated"


def _absent(arguments: Mapping[str, Any], test: bool) -> Ended:
    path = Path(arguments["name"])
    if not path.is_symlink() and not path.exists():
        return True, {}, f"File {path} is not present"
    if not test:
        path.unlink()
    return None if test else True, {"removed": str(path)}, f"Removed file {path}"


FUNCTIONS: Mapping[str, Callable[[Mapping[str, Any], bool], Ended]] = {
    "test.nop": lambda _arguments, _test: (True, {}, "Success!"),
    "test.succeed_without_changes": lambda _arguments, _test: (True, {}, "Success!"),
    "test.succeed_with_changes": lambda _arguments, test: _configurable({"comment": "Success!"}, test),
    "test.fail_without_changes": lambda given, _test: (False, {}, str(given.get("comment", "Failure!"))),
    "test.configurable_test_state": _configurable,
    "fake.loud": lambda given, _test: (False, {}, "\n".join(["x" * given["width"]] * given["lines"])),
    "file.managed": _managed,
    "file.append": _append,
    "file.absent": _absent,
}
