"""What the macros for databases promise, asked from a real server as its users would: log in, write, read."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from corpushooks.salt import Result
from tests.support.databases import mariadb, mysql, postgresql, psql
from tests.support.makina import run_one
from tests.support.world import World

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="root asks the servers, as it does on a host")


POSTGRESQL = """\
{% import 'makina-states/services/db/postgresql/macros.sls' as pg with context %}
include: [makina-states.services.db.postgresql.hooks]
{{ pg.postgresql_db('shop-1', db_host=HOST) }}
{{ pg.postgresql_user('shop', "it's a \\\\ secret", db='shop-1', db_host=HOST) }}
{{ pg.postgresql_user('true', 'md5-like', encrypted=True, db_host=HOST) }}
{{ pg.postgresql_user('number', 1234, db_host=HOST) }}
{{ pg.postgresql_group('crew', login=True, rolepassword='of the crew', db_host=HOST) }}
"""
USERS = {"shop": "it's a \\ secret", "true": "md5-like", "number": "1234", "crew": "of the crew"}


def test_users_of_postgresql_log_in(world: World) -> None:
    with postgresql() as base:
        text = POSTGRESQL.replace("HOST", repr(str(base)))
        psql(base, "postgres", "", "set password_encryption = 'md5'; create role shop password 'old' login")
        first, again = run_one(world, text), run_one(world, text)
        assert first.ok, [(each.id, each.comment) for each in first.states if not each.result]
        assert [each.id for each in again.states if each.changes] == []
        assert {user: psql(base, user, word, "select current_user") for user, word in USERS.items()} == {
            user: (0, user) for user in USERS
        }
        assert psql(base, "shop", "wrong", "select 1")[0] != 0
        used = "create table t (n int); insert into t values (7); select n from t"
        assert psql(base, "shop", USERS["shop"], used, db="shop-1") == (0, "7")


MARIADB = """\
{% import 'makina-states/services/db/mysql/macros.sls' as my with context %}
include: [makina-states.services.db.mysql.hooks]
{{ my.mysql_db('shop_1', password='of the shop') }}
{{ my.mysql_db('bare', user_creation=False) }}
{{ my.mysql_user('reader', "it's a \\\\ secret", host=['localhost', '%'], grant='SELECT', databases=['shop_1']) }}
{{ my.mysql_user('stored', none, databases='bare') }}
"""


def asked(world: World, socket: Path, text: str) -> Result:
    world.minion = replace(world.minion, passwords=world.root / "passwords.json")
    own: dict[str, Any] = {"makina-states.services.db.mysql.socket": str(socket)}
    return run_one(world, text, **own)


def test_users_of_mariadb_log_in(world: World) -> None:
    with mariadb() as socket:
        first, again = asked(world, socket, MARIADB), asked(world, socket, MARIADB)
        assert first.ok, [(each.id, each.comment) for each in first.states if not each.result]
        assert [each.id for each in again.states if each.changes] == []
        used = "create table t (n int, s varchar(9)); insert into t values (7, '\U0001f600'); select n, s from t"
        assert mysql(socket, "shop_1", "of the shop", used, "shop_1") == (0, "7\t\U0001f600")
        reader = "it's a \\ secret"
        assert mysql(socket, "reader", reader, "select n from t", "shop_1") == (0, "7")
        assert mysql(socket, "reader", reader, "insert into t values (1, '')", "shop_1")[0] != 0
        assert mysql(socket, "shop_1", "wrong", "select 1")[0] != 0
        mysql(socket, "root", "", "create database shopx1")
        assert mysql(socket, "shop_1", "of the shop", "use shopx1")[0] != 0  # _ is no pattern
        changed = asked(world, socket, MARIADB.replace("of the shop", "another"))
        assert [each.id for each in changed.states if each.changes] == ["makina-mysql-cuser-shop_1-_"]
        assert mysql(socket, "shop_1", "another", "select 1")[0] == 0


STATES = """\
a: {mysql_database.present: []}
b: {mysql_user.present: [{password: "0"}]}
c: {mysql_user.present: []}
d: {mysql_grants.present: [{grant: "ALL; DROP DATABASE a"}, {database: a.*}, {user: b}]}
"""


def test_states_of_mariadb_that_projects_write_themselves(world: World) -> None:
    with mariadb() as socket:
        result = asked(world, socket, STATES)
        assert {each.id: each.result for each in result.states} == {"a": True, "b": True, "c": False, "d": False}
        gone = "a: {mysql_database.absent: []}\nb: {mysql_user.absent: []}\n"
        assert asked(world, socket, gone).ok
        assert [each.changes for each in asked(world, socket, gone).states] == [{}, {}]
        assert mysql(socket, "b", "0", "select 1")[0] != 0
    stopped = asked(world, socket, "a: {mysql_database.present: []}\n")
    assert "Can't connect to local server" in stopped.states[0].comment
