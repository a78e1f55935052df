"""Secrets of the pillar, in deployments whose SLS files do everything to show them, with real Salt."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from corpushooks import tree
from corpushooks.core.deployment import Request
from corpushooks.core.redaction import MARK
from corpushooks.core.settings import load
from corpushooks.deploy.lanes import Lanes
from corpushooks.host.site import Site
from corpushooks.operations.acts import ACTS
from corpushooks.protocol import client
from corpushooks.protocol.asks import Task
from corpushooks.salt import Minion, result_of
from corpushooks.store.history import History
from tests.support.box import FAILING, Box, Push, until
from tests.support.command import corpus
from tests.support.engines import FakeEngine
from tests.support.own_log import captured

PILLAR = """\
makina-projects.hello:
  data:
    db_password: {0}
    api-key: 98765432{1}
    private_key: |
      -----BEGIN KEY-----
      bGluZSBvbmUgb2YgaXQ{1}
      -----END KEY-----
    tokens: {{deploy: 'tok"en-in-quotes{1}', all: [listed-token-{1}]}}
    colour: chartreuse
computed_secret: {{{{ 'made' ~ '-by-' ~ 'jin' ~ {1} }}}}
"""
FIRST = ("hunter2-first", 1)
SECOND = ("hunter2-second", 2)


def secrets_of(name: str, number: int) -> list[str]:
    return [
        name, f"98765432{number}", f"bGluZSBvbmUgb2YgaXQ{number}", f'tok"en-in-quotes{number}',
        f'tok\\"en-in-quotes{number}', f"listed-token-{number}", f"made-by-jin{number}",
    ]  # fmt: skip


SHOWN = """\
{% set d = cfg.data %}
conf:
  file.managed:
    - name: {{ cfg.data_root }}/app.conf
    - mode: '0600'
    - contents: |
        colour={{ d.colour }} password={{ d.db_password }} key={{ d['api-key'] }}
        made={{ pillar.computed_secret }}
        {{ d.private_key | indent(8) }}
        {{ d.tokens.deploy }} {{ d.tokens.all[0] }}
echo {{ d.db_password }}:
  cmd.run:
    - name: cat {{ cfg.data_root }}/app.conf; echo the-colour-{{ d.colour }}
    - env: [PASSWORD: '{{ d.db_password }}']
coloured:
  cmd.run:
    - name: printf 'hunter2\\033[1;31m-%s\\033[m here, rewritten\\r\\n' {{ d.db_password.split('-')[1] }}
terminal:
  cmd.run:
    - name: echo {{ d.tokens.all[0] }}
    - use_vt: True
module:
  module.run:
    - leak.log: []
"""
MODULE = """\
import json
import logging
import sys

def log():
    secret = __pillar__["makina-projects.hello"]["data"]
    logging.getLogger(__name__).error("the module has %s", json.dumps(secret))
    print("printed", secret)
    sys.stderr.write(repr(secret))
    return secret

def fail():
    raise RuntimeError(repr(__pillar__["makina-projects.hello"]["data"]))
"""
FAILS = """\
{% set d = cfg.data %}
command:
  cmd.run:
    - name: echo wrong {{ d.db_password }} {{ d.tokens.all[0] }} >&2; exit 3
coloured-failure:
  cmd.run:
    - name: printf 'hunter2\\033[1;31m-%s\\033[m here' {{ d.db_password.split('-')[1] }}; exit 1
said:
  test.fail_without_changes:
    - name: not {{ d['api-key'] }}
    - comment: |
        the key is
        {{ d.private_key | indent(8) }}
raised:
  module.run:
    - leak.fail: []
"""
DOES_NOT_RENDER = """\
{% set d = cfg.data %}
a: {{ d.db_password }}
b: {{ pillar.computed_secret }}
 c: d
"""


@pytest.fixture(params=["warm", pytest.param("salt-call", marks=pytest.mark.slow)])
def salted(request: pytest.FixtureRequest, new_box: Callable[..., Box]) -> Box:
    box = new_box(salt=True)
    box.settings(f"engine: {request.param}\n")
    box.init()
    box.start()
    return box


def give_pillar(box: Box, values: tuple[str, int], *options: str) -> Push:
    pillar = box.work(repo="pillar")
    pillar.commit({"init.sls": PILLAR.format(*values)})
    return pillar.push(options=options)


def kept(box: Box) -> Iterator[tuple[Path, str]]:
    """Yield what we keep of deployments: logs and store; not what Salt is given, nor its caches."""
    salt = box.host.state_dir / "salt/hello"
    for path in [*box.host.state_dir.rglob("*"), *box.root.glob("*.log")]:
        ours = path.is_relative_to(salt / "log") or not path.is_relative_to(salt)
        if path.is_file() and ours:
            yield path, path.read_bytes().decode("utf-8", "replace")


def check_hidden(box: Box, pushed: Push, *values: tuple[str, int]) -> None:
    """See that no secret is in what was shown or kept."""
    for secret in [secret for each in values for secret in secrets_of(*each)]:
        assert secret not in pushed.text
        for path, text in kept(box):
            assert secret not in text, path
    assert "hunter2-" not in pushed.text


def test_no_secret_is_shown_or_kept(salted: Box) -> None:
    box = salted
    assert give_pillar(box, FIRST).code == 0
    work = box.work()
    work.commit({"a": "1", ".salt/00_shown.sls": SHOWN, ".salt/_modules/leak.py": MODULE})
    pushed = work.push()
    assert pushed.code == 0, pushed.text
    check_hidden(box, pushed, FIRST)
    log = box.log(1)
    assert f"colour=chartreuse password={MARK} key={MARK}" in log
    assert "the-colour-chartreuse" in log, "what is no secret stays readable"
    assert f"{MARK} here, rewritten" in log, "escape sequences hide no secret"
    log = "\n".join(text for path, text in kept(box) if path.name in ("salt-worker.log", "salt-call"))
    assert "the module has" in log and MARK in log, "Salt's own log is kept"
    assert not (box.project().minion_dir / "answer.json").exists(), "the whole result, as it came"


@pytest.mark.parametrize("salted", ["warm"], indirect=True)
def test_differences_failures_and_a_roll_back_show_no_secret(salted: Box) -> None:
    box = salted
    give_pillar(box, FIRST)
    work = box.work()
    work.commit({"a": "1", ".salt/00_shown.sls": SHOWN, ".salt/_modules/leak.py": MODULE})
    assert work.push().code == 0
    pushed = give_pillar(box, SECOND, "deploy")
    assert pushed.code == 0, pushed.text
    check_hidden(box, pushed, FIRST, SECOND)
    assert f"-colour=chartreuse password={MARK}" in box.log(2) and f"+colour=chartreuse password={MARK}" in box.log(2)

    work.commit({".salt/10_fails.sls": FAILS})
    pushed = work.push()
    assert pushed.code == 1
    check_hidden(box, pushed, FIRST, SECOND)
    assert f"wrong {MARK} {MARK}" in pushed.text and f"          {MARK}\n" in box.log(3)

    work.commit({".salt/10_fails.sls": DOES_NOT_RENDER})
    pushed = work.push()
    assert pushed.code == 1
    check_hidden(box, pushed, FIRST, SECOND)
    assert f"a: {MARK}" in pushed.text, "the excerpt of what was rendered"

    said = box.ask(op="rollback", project="hello", number=1, token="t")
    assert said["state"] == "deployed"
    check_hidden(box, pushed, FIRST, SECOND)
    assert f"+colour=chartreuse password={MARK}" in box.log(5), "a roll back shows the secrets of both releases"


SEES = """\
see:
  cmd.run:
    - name: |
        for process in /proc/[0-9]*; do tr '\\0' ' ' < $process/cmdline; echo; done > {{ cfg.data_root }}/seen
        cat {{ cfg.data_root }}/password
    - require: [file: password]
password:
  file.managed:
    - name: {{ cfg.data_root }}/password
    - contents: {{ cfg.data.db_password }}
"""


def test_no_secret_is_in_a_command_line_of_ours(salted: Box) -> None:
    give_pillar(salted, FIRST)
    work = salted.work()
    work.commit({"a": "1", ".salt/00_sees.sls": SEES})
    pushed = work.push()
    assert pushed.code == 0, pushed.text
    seen = (salted.project().data / "seen").read_text()
    assert str(salted.host.root) in seen and "git" in seen
    assert not [secret for secret in secrets_of(*FIRST) if secret in seen]


BAD_PILLARS = {
    "an alias": "db_password: *hunter2-first\n",
    "a tag": "db_password: !hunter2-first x\n",
    "in a line that is wrong": "db_password: 'hunter2-first\nother: [\n",
    "in Jinja": "{% set password = 'hunter2-first' %}{{ password.nothing.at_all }}\n",
    "made by Jinja": "a: 1\nb: {{ salt['test.echo'](db_password='hunter2-first') }}\n",
    "as a key of nothing": "passwords:\n  root: hunter2-first\n  - broken\n",
}


def test_a_pillar_that_does_not_compile_shows_no_secret(new_box: Callable[..., Box]) -> None:
    box = new_box(salt=True)
    box.init()
    box.start()
    pillar = box.work(repo="pillar")
    for case, text in BAD_PILLARS.items():
        pillar.commit({"init.sls": text})
        pushed = pillar.push()
        assert (pushed.code, "init.sls" in pushed.rejected) == (1, True), (case, pushed.text)
        assert "hunter2" not in pushed.text, case
    assert not [path for path, text in kept(box) if "hunter2" in text]


# what is not Salt's, with the fake engine

ECHO = """\
echo:
  cmd.run:
    - name: echo it is {{ cfg.data.db_password }} of {{ cfg.data.colour }}; cat {{ cfg.data_root }}/old || true
old:
  file.managed:
    - name: {{ cfg.data_root }}/old
    - contents: {{ cfg.data.db_password }}
"""
BAD = "echo {{ cfg.data.db_password }}:\n  test.fail_without_changes: []\n"
SIMPLE = "makina-projects.hello:\n  data:\n    db_password: {0}\n    colour: chartreuse\n"


def give(box: Box, password: str) -> None:
    pillar = box.work(repo="pillar")
    pillar.commit({"init.sls": SIMPLE.format(password)})
    assert pillar.push().code == 0


def known(box: Box) -> list[str]:
    path = box.project().minion_dir / "secrets.json"
    assert path.stat().st_mode & 0o777 == 0o600
    return list(json.loads(path.read_text()))


def test_old_secrets_are_known_until_a_release_without_them_is_live(box: Box) -> None:
    give(box, "hunter2-first")
    work = box.app(files={".salt/10_echo.sls": ECHO})
    assert work.push().code == 0
    assert known(box) == ["hunter2-first"]
    give(box, "hunter2-second")
    box.stop()  # what one daemon has learnt the next one knows
    box.start()
    assert work.push("HEAD:refs/deploy/now").code == 0
    log = box.log(2)
    assert f"it is {MARK} of chartreuse" in log and f"-{MARK}" in log and f"+{MARK}" in log
    assert "hunter2" not in log
    until(lambda: known(box) == ["hunter2-second"])


def test_secrets_of_a_release_that_fails_stay_known(box: Box) -> None:
    give(box, "hunter2-first")
    work = box.app(files={".salt/10_echo.sls": ECHO})
    assert work.push().code == 0
    give(box, "hunter2-second")
    work.commit({".salt/20_broken.sls": FAILING})
    pushed = work.push()
    assert (pushed.code, pushed.rejected) == (1, "install 20_broken failed; rolled back")
    assert known(box) == ["hunter2-first", "hunter2-second"]
    assert "hunter2" not in pushed.text + box.log(2)
    assert f"-{MARK}" in box.log(2), "what failed wrote its secret, and the roll back took it away"


def test_secrets_in_the_reason_are_not_stored(box: Box) -> None:
    give(box, "hunter2-first")
    pushed = box.app(files={".salt/10_bad.sls": BAD}).push()
    assert pushed.rejected == "install 10_bad failed; rolled back"
    assert box.deployment(1).reason == f"install 10_bad failed: echo {MARK}"
    assert f"error: install 10_bad failed: echo {MARK}" in pushed.lines
    assert not [path for path, text in kept(box) if "hunter2" in text]


CUT = """\
cut:
  test.fail_without_changes:
    - comment: "{{ 'x' * 395 }}{{ cfg.data.db_password }}"
lines:
  test.fail_without_changes:
    - comment: {{ ('the pin: ' ~ cfg.data.pin_secret) | tojson }}
"""


def test_secrets_that_a_terminal_sees_cut_or_in_lines(box: Box) -> None:
    pillar = box.work(repo="pillar")
    pillar.commit({"init.sls": SIMPLE.format("hunter2-first") + '    pin_secret: "two\\nfour"\n'})
    assert pillar.push().code == 0
    pushed = box.app(files={".salt/10_cut.sls": CUT}).push()
    assert pushed.code == 1
    for text in (pushed.text, box.log(1)):
        assert "hunt" not in text and "xxx" + MARK[:5] in text
        assert "two" not in text and "four" not in text and f"the pin: {MARK}" in text


def test_a_pillar_that_fails_late_is_not_quoted() -> None:
    rendering = (
        "Rendering SLS 'hello' failed, render error:\nYAML: wrong; line 2\n\n---\na: made-by-jinja    <====\n---"
    )
    minion = Minion("hello", Path("m"), (Path("s"),), (Path("p"),), Path("l"))
    (error,) = result_of(
        minion, "a.b", ["Pillar failed to render with the following messages:", rendering], False
    ).errors
    assert "YAML: wrong" in error and "made-by-jinja" not in error


def test_a_broken_project_says_no_secret(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    give(box, "hunter2-first")
    work = box.app(files={".salt/10_echo.sls": ECHO})
    assert work.push().code == 0
    work.commit({".salt/20_broken.sls": FAILING})
    work.push("HEAD:refs/heads/other")
    box.stop()

    def fail(*_: object) -> None:
        raise RuntimeError("lost hunter2-first")

    monkeypatch.setattr(tree, "restore", fail)
    site = Site(box.host, load(box.host.config_file), History(box.host.store), FakeEngine())
    site.history.enqueue("hello", Request(new=work.head, token="t"))
    Lanes(site, ACTS).work_off("hello")
    assert box.row().broken == f"the rollback of deployment 2 failed: lost {MARK}"
    assert "hunter2" not in box.log(2) and f"lost {MARK}" in box.log(2)


def test_a_fault_of_our_own_says_no_secret(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    give(box, "hunter2-first")
    work = box.app(files={".salt/10_echo.sls": ECHO})
    assert work.push().code == 0
    box.ended(1)
    box.stop()

    def fail(*_: object) -> None:
        raise RuntimeError("lost hunter2-first")

    site = Site(box.host, load(box.host.config_file), History(box.host.store), FakeEngine())
    with monkeypatch.context() as patch, captured() as logs:
        patch.setattr(tree, "sync", fail)
        site.history.enqueue("hello", Request(token="t"))
        Lanes(site, ACTS).work_off("hello")
        site.history.enqueue("hello", Request(token="u"))
        Lanes(site, {**ACTS, "deploy": fail}).work_off("hello")
    assert box.deployment(2).reason == f"sync failed: RuntimeError: lost {MARK}"
    assert box.deployment(3).reason == f"internal error: lost {MARK}"
    assert f"lost {MARK}" in box.log(2) and f"lost {MARK}" in str(logs[0]["exception"])
    assert "hunter2" not in box.log(2) + box.log(3) + str(logs)


def test_everything_of_the_pillar_is_hidden_on_request(box: Box) -> None:
    box.stop()
    box.settings("projects: {hello: {secret_pillar: true}}\n")
    box.start()
    give(box, "hunter2-first")
    assert box.app(files={".salt/10_echo.sls": ECHO}).push().code == 0
    assert f"it is {MARK} of {MARK}" in box.log(1)
    assert "chartreuse" not in "".join(text for _, text in kept(box))


def test_which_keys_are_secret_is_a_setting(box: Box) -> None:
    box.stop()
    box.settings("secret_keys: [colour]\n")
    box.start()
    give(box, "hunter2-first")
    assert box.app(files={".salt/10_echo.sls": ECHO}).push().code == 0
    assert f"it is hunter2-first of {MARK}" in box.log(1)


def test_a_task_and_a_plan_show_no_secret(box: Box) -> None:
    give(box, "hunter2-first")
    work = box.app(files={".salt/10_echo.sls": ECHO, ".salt/task_echo.sls": ECHO})
    plan = work.push("HEAD:refs/deploy/plan")
    assert plan.code == 0 and "would" in plan.text and "hunter2" not in plan.text + box.log(1)
    assert work.push().code == 0
    said: list[str] = []
    client.ask(box.host, "task", Task(project="hello", task="echo"), said.append)
    assert f"        it is {MARK} of chartreuse" in "\n".join(said).splitlines() and "hunter2" not in box.log(3)


def config(box: Box, *words: str) -> str:
    done = corpus(box, "config", "hello", *words)
    assert done.code == 0, done.stderr
    return done.text


def test_the_configuration_is_shown_masked(new_box: Callable[..., Box]) -> None:
    box = new_box(salt=True)
    box.init()
    sample = "makina-projects.hello:\n  data:\n    api_token: abc\n    url: 'x://u:{db_password}@host'\n"
    box.app(files={".salt/PILLAR.sample": sample})
    box.start()
    give(box, "hunter2-first")
    assert box.works["hello-project"].push().code == 0
    box.stop()
    for words in ((), ("--json",), ("--origin",), ("--origin", "--json")):
        assert "hunter2" not in config(box, *words)
    data = json.loads(config(box, "--json"))["data"]
    assert (data["db_password"], data["api_token"], data["url"]) == (MARK, MARK, f"x://u:{MARK}@host")
    assert data["colour"] == "chartreuse"
    data = json.loads(config(box, "--json", "--show-secrets"))["data"]
    assert (data["db_password"], data["api_token"]) == ("hunter2-first", "abc")
    assert "db_password: hunter2-first" in config(box, "--show-secrets")
