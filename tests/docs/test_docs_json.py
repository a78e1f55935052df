"""docs/json.md: what it says of each command is what that prints, key by key."""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest

import corpushooks
from corpushooks.cli.base import Context
from corpushooks.cli.commands import whole
from corpushooks.cli.main import corpus
from corpushooks.core import records
from corpushooks.core.errors import CorpusError
from corpushooks.core.events import NAMES
from corpushooks.core.rollouts import Node
from corpushooks.operations.table import OPERATIONS
from corpushooks.protocol import gives
from corpushooks.store.fleet import Fleet
from tests.support.box import FAILING, Box
from tests.support.command import ran
from tests.support.json_page import PAGE, agrees, sections
from tests.support.shared_box import shared_box, world

PACKAGE = Path(corpushooks.__file__).parent
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPMHgbyzhCJiCcVi3vhLWr/jDCx8y1gI6Ed0uCJgVZ6S"
SHOWN = {  # section of the page: commands that print such a mapping, or a list of them; after ! only asked
    "A deployment": ["deploy hello", "deploy hello --nowait"],
    "corpus status": ["status hello --urls", "status --urls"],
    "corpus history --commands": ["history hello --commands"],
    "corpus open": ["open hello"],
    "corpus archives": ["archives hello"],
    "corpus setting list": ["setting list hello"],
    "corpus backups": ["!backup hello", "backups hello"],
    "corpus log": ["log hello 1"],
    "corpus app-log": ["app-log hello"],
    "corpus diff": ["diff hello"],
    "corpus stats": ["stats"],
    "corpus metrics": ["metrics"],
    "corpus set": ["set hello a=1 --no-deploy", "set hello a=1", "unset hello a --no-deploy"],
    "corpus check": ["check hello"],
    "corpus doctor": ["doctor"],
    "corpus init": ["init hello"],
    "corpus remove": ["!init other", "remove other"],
    "corpus link": ["link hello", "unlink hello", "!link hello"],
    "corpus rename-branch": ["!init moved", "rename-branch moved main", "!remove moved --purge"],
    "corpus key add": ["key add jo KEY", "key set jo --read", "!key remove jo"],
    "corpus key list": ["!key add jo KEY", "key list", "key remove jo"],
    "corpus key test": ["!key add ann KEY", "key test ann hello", "!key remove ann"],
    "corpus token add": ["token add ci", "!token revoke ci"],
    "corpus token list": ["!token add ci", "token list", "token revoke ci"],
    "corpus audit": ["audit", "audit hello"],
    "corpus account add": ["account add jo", "account link jo", "!account revoke jo"],
    "corpus account list": ["!account add jo", "account list", "account revoke jo"],
    "corpus node list": ["node list", "node show n1", "node drain n1", "node resume n1"],
    "corpus node remove": ["!node unlink n1 hello", "node remove n1"],
    "corpus node key": ["node key"],
    "corpus freeze": ["freeze hello why", "!thaw hello"],
    "corpus thaw": ["!freeze hello why", "thaw hello"],
}

BESIDE = {
    "corpus key add": "corpus key list",
    "corpus token add": "corpus token list",
    "corpus account add": "corpus account list",
}  # section -> that which has the rest of its keys


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """Return a host with two releases and a failure."""
    folder = tmp_path_factory.mktemp("live")
    with shared_box(folder, page="one") as box, world(folder / "second"):
        logs = "makina-projects.hello:\n  logs: ['{data_root}/page']\n"
        assert box.app("two", files={".salt/PILLAR.sample": logs}).push().code == 0
        box.work().commit({".salt/20_broken.sls": FAILING})
        assert box.work().push().code == 1
        box.ended(3)
        (box.root / "key.pub").write_text(f"{KEY} dev\n")
        ran("--root", str(box.host.root), "run", "hello", "true")
        store = Fleet(box.history)
        store.add(Node(name="n1", address="root@127.0.0.1:1"))  # where nobody listens
        store.place("hello", "n1")
        store.store.close()
        yield box


def printed(box: Box, words: str) -> Any:
    """Return what a command prints with --json."""
    given = [str(box.root / "key.pub") if word == "KEY" else word for word in words.removeprefix("!").split()]
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        corpus.main(["--root", str(box.host.root), *given, "--json"], standalone_mode=False, obj=Context())
    return json.loads(out.getvalue())


@pytest.mark.parametrize("section", SHOWN)
def test_a_command_prints_the_keys_of_the_page(live: Box, section: str) -> None:
    for words in SHOWN[section]:
        found = printed(live, words)
        for each in () if words.startswith("!") else found if isinstance(found, list) else [found]:
            agrees(each, sections()[section] | sections().get(BESIDE.get(section, ""), {}))
        assert found, words


GIVEN = {  # section of the page -> what has its keys; those of another that it names are not said again
    "A deployment": (gives.Deployment, None), "corpus status": (gives.Status, None),
    "corpus open": (gives.Addresses, None),
    "corpus history": (gives.OfHistory, gives.Deployment), "corpus history --commands": (gives.Command, None),
    "corpus archives": (gives.Archive, None), "corpus backups": (gives.Backup, None),
    "corpus diff": (gives.Difference, None), "corpus stats": (gives.Statistics, None),
    "corpus tests": (gives.Suite, None), "corpus setting list": (gives.Setting, None),
    "corpus session list": (gives.SessionOf, None),
    "corpus metrics": (gives.Metrics, None), "corpus set": (gives.Stored, None), "corpus init": (gives.Made, None),
    "corpus remove": (gives.Removed, None), "corpus link": (gives.Linked, None),
    "corpus rename-branch": (gives.Renamed, None), "corpus key add": (gives.Changed, gives.Key),
    "corpus key list": (gives.Key, None), "corpus token list": (gives.Token, None),
    "corpus token add": (gives.NewToken, gives.Token), "corpus key test": (gives.Rights, None),
    "corpus audit": (gives.Audited, None),
    "corpus account list": (gives.Account, None), "corpus account add": (gives.LinkedAccount, gives.Account),
    "corpus node list": (gives.Node, None), "corpus node link": (gives.LinkedNode, None),
    "corpus node remove": (gives.RemovedNode, None), "corpus node key": (gives.ControllerKey, None),
    "corpus node release": (gives.Released, None),
    "corpus freeze": (gives.Frozen, None),
    "corpus thaw": (gives.Thawed, None),
}  # fmt: skip
WORDS = {"str": "string", "int": "number", "bool": "boolean", "list": "array", "None": "null"}


def as_page(kind: str) -> set[str]:
    """Return how the page may write a type: a type without a word of its own is an object."""
    parts = [part.strip() for part in kind.split("|")]
    said = [WORDS.get(part.partition("[")[0], "object") for part in parts]
    if "float" not in kind or "list" in kind:
        return {" or ".join(said)}
    return {" or ".join([word, *said[1:]]) for word in ("time", "number")}


@pytest.mark.parametrize("section", GIVEN)
def test_the_page_has_the_keys_that_are_given(section: str) -> None:
    kind, other = GIVEN[section]
    given = {key: each for key, each in gives.keys(kind).items() if other is None or key not in gives.keys(other)}
    told = sections()[section]
    assert set(told) == set(given)
    assert {key: told[key] in as_page(each) for key, each in given.items()} == dict.fromkeys(given, True)


def test_every_kind_of_answer_is_on_the_page() -> None:
    small = {
        gives.Nothing,
        gives.Daemon,
        gives.Admitted,
        gives.Whoami,
        gives.SignedIn,
        gives.Begun,
        gives.Ways,
        gives.Link,
        gives.Storage,
        gives.TaskOf,
        gives.CaseOf,
        gives.NameOf,
        gives.HostOf,
        gives.Examined,
        gives.Lines,
        gives.Ended,
        gives.Condition,
        gives.OnNode,
        gives.LogPart,
        gives.Ordered,
        gives.NodeKey,
        gives.Fetched,
        dict,
    }  # not printed as they are
    assert {row.gives for row in OPERATIONS.values()} - small <= {kind for kind, _ in GIVEN.values()}


ASKED = {
    "status": {}, "history": {"project": "hello"}, "commands": {"project": "hello"}, "open": {"project": "hello"},
    "archives": {"project": "hello"}, "backups": {"project": "hello"}, "stats": {}, "metrics": {},
    "deploy": {"project": "hello"}, "plan": {"project": "hello"}, "log": {"project": "hello"}, "key list": {},
    "key test": {"name": "of-operations", "project": "hello"}, "link": {"project": "hello"}, "ping": {},
}  # fmt: skip


@pytest.mark.parametrize("name", ASKED)
def test_what_the_daemon_answers_is_what_the_table_says(live: Box, name: str) -> None:
    row = OPERATIONS[name]
    printed(live, "!key add of-operations KEY")
    found = live.ask(name, **ASKED[name])
    printed(live, "!key remove of-operations")
    value = found["value"] if "value" in found and name != "ping" else found
    kind: Any = list[row.gives] if row.several else row.gives  # type: ignore[name-defined]
    assert json.loads(json.dumps(records.plain(records.typed(value, kind)))) == value


def test_status_has_what_it_should_and_within_it_deployments(live: Box) -> None:
    told = sections()
    found = printed(live, "status hello")
    assert set(told["corpus status"]) == set(found)
    assert (found["code_url"], found["pillar_url"], found["urls"]) == (None, None, None)
    agrees(found["last_failure"], told["A deployment"])
    assert found["last_failure"]["number"] == 3


def test_history_has_deployments_and_says_which_is_live(live: Box) -> None:
    told = sections()
    found = printed(live, "history hello --limit 1000")
    for each in found:
        agrees(each, told["A deployment"] | told["corpus history"])
    assert [each["number"] for each in found if each["live"]] == [live.row().live]


def test_config_has_an_origin_of_each_value(live: Box) -> None:
    for each in printed(live, "config hello --origin").values():
        agrees(each, sections()["corpus config"])


def test_every_command_that_reports_is_on_the_page() -> None:
    deploying = {
        "deploy",
        "rollback",
        "task",
        "repair",
        "backup",
        "restore",
        "drill",
        "cancel",
        "confirm",
        "restart",
        "history",
        "key remove",
        "key set",
        "token revoke",
        "account link",
        "account revoke",
        "unset",
        "unlink",
        "remove-archive",
        "prune",
        "check-backups",
        "setting set",
        "setting unset",
        "session end",
    }  # told in others
    commands = dict(whole(corpus))
    for two in ("key", "token", "account", "setting", "session"):
        group = commands.pop(two)
        assert isinstance(group, click.Group)
        commands |= {f"{two} {name}": command for name, command in group.commands.items()}
    reporting = {name for name, each in commands.items() if any("--json" in option.opts for option in each.params)}
    assert {f"corpus {name}" for name in reporting - deploying} <= set(sections())


def test_a_line_of_a_log_on_the_disk(live: Box) -> None:
    told = sections()["The log of a deployment"]
    lines = [json.loads(line) for line in live.project().log_file(3).read_text().splitlines()]
    assert {key for line in lines for key in line} >= set(told)
    for line in lines:
        known = {field.name for field in fields(NAMES[line["event"]])}
        agrees(
            {key: value for key, value in line.items() if key in told},
            {key: kind for key, kind in told.items() if key in line or key in ("at", "event")},
        )
        assert set(line) - set(told) <= known


def test_the_events_of_the_daemons_log_are_all_there(live: Box) -> None:
    source = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    noted = re.findall(r"own_log\.(info|warning|error)\(\"([\w ]+)\"", source)
    assert len(re.findall(r"own_log\.(?:info|warning|error)\(", source)) == len(noted) + 1  # that of deployments:
    noted += [("info", event) for event in re.findall(r"\.event\(\"(\w+)\"", source)]
    rows = re.findall(r"^\| `([\w ]+)` \| (info|warning|error) \| (.*?) \|", PAGE.read_text(), re.MULTILINE)
    assert {(level, event) for event, level, _ in rows} == set(noted)
    with pytest.raises(CorpusError):
        live.ask(op="cancel", project="hello")
    line = json.loads((live.root / "daemon.log").read_text().splitlines()[-1])
    keys = next(keys for event, _, keys in rows if event == line["event"] == "refused")
    assert set(line) == {"event", "level", "timestamp", *re.findall(r"`(\w+)`", keys)}
