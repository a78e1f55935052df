"""Users of RabbitMQ, as Salt's own state makes them by a `rabbitmqctl` that answers as that of 3.10 does.

A real server is asked in tests/walk/walk_trees.py.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from corpushooks.salt import WarmEngine
from tests.support.makina import run_one
from tests.support.world import World

PROGRAM = """\
#!PYTHON -IS
import json, pathlib, sys
file = pathlib.Path(__file__).with_name("users.json")
users = json.loads(file.read_text()) if file.exists() else {}
verb, *words = [word for word in sys.argv[1:] if word not in ("-q", "--formatter=json")]
if verb == "status":
    print("Runtime\\n\\nRabbitMQ version: 3.10.8")
elif verb == "list_users":
    print("user\\ttags")
    for name, user in users.items():
        print(f"{name}\\t[{', '.join(user['tags'])}]")
elif verb == "list_user_permissions":
    print(json.dumps(list(users[words[0]]["perms"].values())))
elif verb == "authenticate_user":
    sys.exit(0 if users[words[0]]["password"] == words[1] else 65)
elif verb == "add_user":
    users[words[0]] = {"password": words[1], "tags": [], "perms": {}}
elif verb == "change_password":
    users[words[0]]["password"] = words[1]
elif verb == "set_user_tags":
    users[words[0]]["tags"] = words[1:]
elif verb == "set_permissions":
    _, host, name, *three = words
    users[name]["perms"][host] = {"vhost": host, **dict(zip(("configure", "write", "read"), three))}
else:
    sys.exit(f"unexpected: {sys.argv}")
file.write_text(json.dumps(users))
"""
USERS = """\
{% import 'makina-states/services/queue/rabbitmq/macros.sls' as rabbit with context %}
include: [makina-states.services.queue.rabbitmq.hooks]
{{ rabbit.rabbitmq_user('plain', PASSWORD) }}
{{ rabbit.rabbitmq_user('plain', PASSWORD, perms=[{'other': ['', '', '.*']}], state_uid='elsewhere') }}
{{ rabbit.rabbitmq_user('boss', 'b', tags=TAGS) }}
{{ rabbit.rabbitmq_user('boss', 'b', state_uid='again', perms=[{'other': ['', '', '']}]) }}
"""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    (tmp_path / "programs").mkdir()
    program = tmp_path / "programs/rabbitmqctl"
    program.write_text(PROGRAM.replace("PYTHON", sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    engine = WarmEngine(Path(sys.executable), log=tmp_path / "log")
    yield World(tmp_path, engine)
    engine.close()


def changed(world: World, password: str, tags: str) -> dict[str, list[str]]:
    """Deploy the users; return what changes in each state."""
    ended = run_one(world, USERS.replace("PASSWORD", repr(password)).replace("TAGS", tags))
    assert ended.ok, [(each.id, each.comment) for each in ended.states if not each.result]
    return {
        each.id.removeprefix("makina-rabbitmq-create-"): sorted(each.changes) for each in ended.states if each.changes
    }


def user(world: World, name: str) -> tuple[str, list[str]]:
    found = json.loads((world.root / "programs/users.json").read_text())[name]
    return found["password"], [tag for tag in found["tags"] if tag]


def test_a_user_of_rabbitmq_changes_only_with_what_is_written(world: World) -> None:
    assert list(changed(world, "one", "['administrator', 'monitoring']")) == [
        "plain-plain", "plain-elsewhere", "boss-boss", "boss-again",
    ]  # fmt: skip
    assert changed(world, "one", "'monitoring administrator'") == {}
    assert user(world, "plain") == ("one", []) and user(world, "boss") == ("b", ["administrator", "monitoring"])
    assert changed(world, "two", "[]") == {"plain-plain": ["password"], "boss-boss": ["tags"]}
    assert changed(world, "two", "[]") == {}
    assert user(world, "plain") == ("two", []) and user(world, "boss") == ("b", [])
