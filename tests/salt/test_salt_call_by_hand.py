"""salt-call mc_project.… by hand, with a Salt that was told nothing of us; and from within a deployment."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from corpushooks.salt.configuration import EXTENSION
from corpushooks.system.process import Output, run
from tests.support.box import FAILING, Box

SALT_CALL = Path(sys.executable).with_name("salt-call")


def salt_call(box: Box, *words: str, name: str = "by-hand") -> Output:
    """Run a salt-call whose configuration says no more than that it must not touch this machine."""
    folder = box.root / name
    folder.mkdir(exist_ok=True)
    (folder / "minion").write_text(f"root_dir: {folder}\nid: m\nfile_client: local\n")
    program = [SALT_CALL, "--local", "--config-dir", folder, "--out=json", *words]
    return run(program, check=False, env={"CORPUS_ROOT": str(box.host.root)}, timeout=60)


def told(output: Output) -> Any:
    return json.loads(output.stdout)["local"]


def test_stock_salt_finds_it_and_says_how_it_ended(box: Box) -> None:
    box.app().push()
    work = box.app(files={".salt/20_broken.sls": FAILING})
    run(["git", "--git-dir", box.project().code_git, "fetch", "--quiet", work.path, "+HEAD:refs/heads/bad"])
    good = salt_call(
        box, "mc_project.deploy", "hello", "only=install,fixperms", "only_steps=00_page", "skip_notify=True"
    )
    assert (good.code, told(good)["result"], told(good)["state"]) == (0, True, "deployed")
    assert b"[2/8] sync                   skipped" in good.stderr  # seen as it happens
    bad = salt_call(box, "mc_project.deploy", "hello", "bad")
    assert (bad.code, told(bad)["result"], told(bad)["state"]) == (1, False, "rolled_back")
    assert told(bad)["reason"] == "install 20_broken failed: broken"
    told_of = told(salt_call(box, "mc_project.report", "hello"))
    assert (told_of["live"], told_of["code_url"]) == (2, str(box.project().code_git))


def test_an_error_is_one_line(box: Box) -> None:
    output = salt_call(box, "mc_project.deploy", "nobody")
    lines = (output.stdout + output.stderr).decode().strip().splitlines()
    assert output.code == 1
    assert len(lines) == 1 and "unknown project 'nobody'; corpus " in lines[0]


ASKS = """\
asks:
  test.configurable_test_state:
    - changes: false
    - result: true
    - comment: {{ salt['mc_project.deploy'](cfg.name, nowait=NOWAIT).state | tojson }}
"""


def test_a_deployment_does_not_wait_for_itself(new_box: Callable[..., Box]) -> None:
    box = new_box(salt=True)
    box.init()
    push = box.app(files={".salt/10_asks.sls": ASKS.replace("NOWAIT", "False")}).push()
    assert push.code == 1
    assert "called from within deployment 1 of hello; it would wait for itself" in push.text
    command = f"asks:\n  cmd.run:\n    - name: {{{{ grains.pythonexecutable }}}} -m corpushooks --root {box.host.root} "
    unlinks = box.app(files={".salt/10_asks.sls": f"{command}unlink hello\n"})  # it needs the project's lock
    assert "would wait for it" in unlinks.push().text
    assert box.app(files={".salt/10_asks.sls": f"{command}deploy hello --nowait --skip install\n"}).push().code == 0
    assert box.ended(4).state == "deployed"


# what each calls

CALLER = """\
import json, runpy, sys
said = []
for function, args, kwargs in json.load(sys.stdin):
    calls = []
    def noted(*words, shows=False):
        calls.append(" ".join(words).removesuffix(" --json"))
        return b"{}", 0
    module = runpy.run_path(sys.argv[1])
    module[function].__globals__.update(_run=noted, __opts__={}, __context__={})
    try:
        module[function](*args, **kwargs)
        said.append(calls)
    except Exception as exc:
        said.append(str(exc))
print(json.dumps(said))
"""


CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any], list[str]]] = [
    ("deploy", (), {}, ["deploy hello"]),
    ("deploy", ("v1",), {"only": ["install", "fixperms"], "only_steps": "00_a,10_b", "__pub_fun": "x"},
     ["deploy --only=install,fixperms --steps=00_a,10_b hello v1"]),
    ("deploy", (), {"skip_archive": True, "skip_notify": False, "skip": "fixperms", "dry_run": True},
     ["deploy --skip=fixperms,archive --dry-run hello"]),
    ("archive", (), {}, ["deploy --only=archive hello"]),
    ("release_sync", (), {}, ["deploy --only=release_sync hello"]),
    ("install", ("00_a",), {}, ["deploy --only=install --steps=00_a hello"]),
    ("fixperms", (), {}, ["deploy --only=fixperms hello"]),
    ("rotate_archives", (), {}, ["deploy --only=rotate_archives hello"]),
    ("notify", (), {}, ["deploy --only=notify hello"]),
    ("rollback", (), {}, ["rollback hello"]),
    ("rollback", (3,), {}, ["rollback hello 3"]),
    ("run_task", ("task_a.sls,b",), {}, ["task hello a", "task hello b"]),
    ("report", (), {}, ["status --urls hello"]),
    ("link", (), {}, ["link hello"]),
    ("unlink", (), {}, ["unlink hello"]),
    ("sync_modules", (), {}, ["link hello"]),
    ("init_project", (), {"env": "dev", "installer": "static"}, ["init --env=dev --installer=static hello"]),
    ("get_configuration", (), {}, ["config hello --show-secrets"]),
]  # fmt: skip


REFUSED: list[tuple[str, tuple[str, ...], dict[str, Any], str]] = [
    ("deploy", ("hello",), {"onyl": "install"}, "mc_project.deploy: unknown option 'onyl'"),
    ("deploy", ("hello",), {"only": 3}, "mc_project: expected comma-separated names or a list, got 3"),
    ("deploy", ("--root=/x",), {}, "mc_project: expected a name, got '--root=/x'"),
    ("deploy", ("hello", "-x"), {}, "mc_project: expected a name, got '-x'"),
]


def test_each_function_is_a_command() -> None:
    """In a process of its own: Salt changes how modules are found."""
    cases = [(function, ("hello", *args), kwargs) for function, args, kwargs, _ in CALLS]
    cases += [(function, args, kwargs) for function, args, kwargs, _ in REFUSED]
    program = [sys.executable, "-c", CALLER, EXTENSION / "modules/mc_project.py"]
    said = json.loads(run(program, stdin=json.dumps(cases).encode()).stdout)
    assert said == [words for *_, words in (*CALLS, *REFUSED)]
